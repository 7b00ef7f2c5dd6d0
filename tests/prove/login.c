/*
 * login.c - a name that another process sent is looked at within its memory.
 *
 * Runs in:   never; Frama-C's Eva reads it.
 * May touch: nothing.
 */
#include "../../auth/auth.h"
#include "prove.h"

static void
fill_part(char part[LOGIN_PART_MAX + 1], size_t length)
{
        fill_without(part, LOGIN_PART_MAX + 1, '\0', '\0');
        if (length > LOGIN_PART_MAX)
                return;
        part[length] = '\0';
        fill(part + length + 1, LOGIN_PART_MAX - length);
}

/* Any octets in place of a name that another process sent: terminated, empty, too long. */
void
prove_valid(void)
{
        static const size_t lengths[] = { 0, 1, 64, 65 };
        struct login_name name;

        choose(case_first, 0, 3);
        choose(case_second, 0, 3);
        choose(case_third, 0, 3);
        fill_part(name.user, lengths[case_first]);
        fill_part(name.domain, lengths[case_second]);
        fill_part(name.mailbox, lengths[case_third]);
        if (login_name_is_valid(&name)) {
                //@ assert 0 < case_first < 3 && case_second < 3 && 0 < case_third < 3;
        }
}
