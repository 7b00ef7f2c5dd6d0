/*
 * sasl.c - what AUTH carries: no input makes the decoders leave their memory.
 *
 * Runs in:   never; Frama-C's Eva reads it.
 * May touch: nothing.
 */
#include "../../auth/auth.h"
#include "prove.h"

enum { TEXT_MAX = 32, MESSAGE_MAX = 12 };

/* Every text of up to 32 octets, with as much room as it takes, one octet less and one more. */
void
prove_base64(void)
{
        char text[TEXT_MAX], out[TEXT_MAX];
        ssize_t decoded;
        size_t room;

        choose(case_length, 0, TEXT_MAX);
        choose(case_room, 0, 2);
        room = case_length / 4 * 3 + case_room;
        if (room == 0)
                return;
        room--;
        fill(text + TEXT_MAX - case_length, case_length);
        decoded = base64_decode(out + TEXT_MAX - room, room, text + TEXT_MAX - case_length,
            case_length);
        //@ assert -1 <= decoded <= room;
        //@ assert case_length % 4 != 0 || case_room == 0 ==> decoded == -1;
}

/*
 * Every message of up to 12 octets, by the places of its first three NULs; what is taken
 * has two, and its parts end with the message.
 */
void
prove_plain(void)
{
        char message[MESSAGE_MAX + 1];
        struct sasl_plain plain;
        char *start;

        choose(case_length, 0, MESSAGE_MAX);
        start = message + MESSAGE_MAX - case_length;
        fill_without(start, case_length, '\0', '\0');
        choose(case_first, 0, case_length);
        put(start, case_first, '\0');
        choose_after(case_second, case_first);
        put(start, case_second, '\0');
        choose_after(case_third, case_second);
        put(start, case_third, '\0');
        /* after the third anything goes */
        for (size_t i = case_third + 1; i < case_length; i++)
                start[i] = (char)any_octet;
        if (sasl_plain_parse(&plain, start, case_length)) {
                //@ assert case_first < case_second < case_length;
                //@ assert case_third == case_length;
                //@ assert plain.authorization == start;
                //@ assert plain.authentication == start + case_first + 1;
                //@ assert plain.password == start + case_second + 1;
        }
}
