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

/* Every line of up to 20 octets, and every limit; NUL comes where the text ends. */
void
prove_take_line(void)
{
        char data[LINE_OCTETS + 1];
        size_t length = 999;
        char *line;

        choose(case_length, 1, LINE_OCTETS);
        choose(case_room, 0, LINE_OCTETS);
        line = data + LINE_OCTETS - case_length;
        fill(data, sizeof(data));
        line[case_length - 1] = '\n';
        if (take_line(line, case_length, case_room, &length)) {
                //@ assert case_length <= case_room;
                //@ assert case_length - 2 <= length < case_length;
        }
}

/* Every line of 250 to 260 octets, and the limit of a command line, which is 255. */
void
prove_take_command(void)
{
        char data[260];
        size_t length = 999;
        char *line;
        bool is_taken;

        choose(case_length, COMMAND_MAX - 5, COMMAND_MAX + 5);
        line = data + COMMAND_MAX + 5 - case_length;
        fill(data, sizeof(data));
        line[case_length - 1] = '\n';
        is_taken = take_line(line, case_length, COMMAND_MAX, &length);
        //@ assert case_length <= 255 || !is_taken;
        //@ assert case_length > 255 || case_length - 2 <= length < case_length;
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

/* Every string as an option's seconds: 1 to 86,400 or refused. */
void
prove_seconds(void)
{
        char text[8];
        unsigned seconds = 1;

        choose(case_length, 0, 7);
        fill_without(text, case_length, '\0', '\0');
        text[case_length] = '\0';
        if (parse_seconds(text, &seconds)) {
                //@ assert 1 <= seconds <= 86400;
        }
}
