/*
 * session.c - lines and numbers of commands: the pure functions of pop3d.c.
 *
 * Runs in:   never; Frama-C's Eva reads it.
 * May touch: nothing.
 */
#include "prove.h"

#define main pop3d_main
#include "../../pop3d.c"

enum { LINE_OCTETS = 20, DIGITS_MAX = 24 };

/* Ends a line of case_length octets: in a CR before the LF, or in any other octet (case_second). */
static void
end_line(char *line)
{
        choose(case_second, 0, 1);
        line[case_length - 1] = '\n';
        if (case_second == 1)
                line[case_length - 2] = '\r';
        else
                fill_without(line + case_length - 2, 1, '\r', '\r');
}

/* Every line of up to 20 octets, and every limit; NUL comes where the text ends. */
void
prove_take_line(void)
{
        char data[LINE_OCTETS + 1];
        char *line;

        choose(case_length, 2, LINE_OCTETS);
        choose(case_room, 0, LINE_OCTETS);
        line = data + LINE_OCTETS - case_length;
        fill(data, sizeof(data));
        end_line(line);
        if (take_line(line, case_length, case_room)) {
                //@ assert case_length <= case_room;
                //@ assert line[case_length - 1 - case_second] == 0;
        }
}

/* The shortest line, which has nothing before its LF. */
void
prove_take_shortest(void)
{
        char line[1] = { '\n' };

        choose(case_room, 0, 1);
        if (take_line(line, 1, case_room)) {
                //@ assert case_room == 1 && line[0] == 0;
        }
}

/* Every line of 250 to 260 octets, and the limit of a command line, which is 255. */
void
prove_take_command(void)
{
        char data[260];
        char *line;
        bool is_taken;

        choose(case_length, COMMAND_MAX - 5, COMMAND_MAX + 5);
        line = data + COMMAND_MAX + 5 - case_length;
        fill(data, sizeof(data));
        end_line(line);
        is_taken = take_line(line, case_length, COMMAND_MAX);
        //@ assert case_length <= 255 || !is_taken;
        //@ assert case_length > 255 || line[case_length - 1 - case_second] == 0;
}

/* Every string of up to 24 octets: no digit is lost, no sum overflows. */
void
prove_number(void)
{
        char text[DIGITS_MAX + 1];
        const char *at;
        uint64_t number;

        choose(case_length, 0, DIGITS_MAX);
        fill(text + DIGITS_MAX - case_length, case_length);
        text[DIGITS_MAX] = '\0';
        at = text + DIGITS_MAX - case_length;
        if (parse_number(&at, &number)) {
                //@ assert \valid_read(at);
        }
}

/* Every number is written in 1 to 20 digits. */
void
prove_write_number(void)
{
        char out[20];
        uint64_t number, least = 1;
        size_t count;

        /* by how many digits it has */
        choose(case_first, 1, 20);
        for (size_t i = 1; i < case_first; i++)
                least *= 10;
        fill((char *)&number, sizeof(number));
        if (number < least || (case_first < 20 && number >= least * 10))
                return;
        count = write_number(out, number);
        //@ assert count == case_first || (count == 1 && case_first == 1);
}
