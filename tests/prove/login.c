/*
 * login.c - no login name makes the parser leave its memory.
 *
 * Runs in:   never; Frama-C's Eva reads it.
 * May touch: nothing.
 */
#include "../../auth/auth.h"
#include "prove.h"

enum { NAME_MAX_SHORT = 6 };

/* Eva's C library only has a contract for it, too wide to follow parts by; this is what it does. */
char *
strsep(char **rest, const char *ends)
{
        char *part = *rest, *end = part == NULL ? NULL : strchr(part, ends[0]);

        if (end != NULL)
                *end++ = '\0';
        *rest = end;
        return part;
}

/* Every name of up to 6 octets, by the places of its backslashes and of its first '@'. */
void
prove_short(void)
{
        char text[NAME_MAX_SHORT + 1];  /* as every caller's it is a string */
        struct login_name name;
        char *start;

        text[NAME_MAX_SHORT] = '\0';
        choose(case_length, 0, NAME_MAX_SHORT);
        start = text + NAME_MAX_SHORT - case_length;
        fill_without(start, case_length, '\\', '@');
        choose(case_first, 0, case_length);
        put(start, case_first, '\\');
        choose_after(case_second, case_first);
        put(start, case_second, '\\');
        for (size_t i = case_second + 1; i < case_length; i++)
                start[i] = (char)any_octet;
        choose(case_third, 0, case_length);
        if (case_third != case_first && case_third != case_second)
                put(start, case_third, '@');
        if (login_name_parse(&name, start, case_length)) {
                //@ assert name.user[64] == 0 && name.domain[64] == 0 && name.mailbox[64] == 0;
        }
}

static size_t
append_part(char *text, size_t used, size_t length)
{
        for (size_t i = 0; i < length; i++) {
                char octet = (char)any_octet;

                text[used + i] = octet == '\\' || octet == '@' ? 'x' : octet;
        }
        return used + length;
}

/* Parts of 0, 64 and 65 octets in each of the four spellings. */
void
prove_long(void)
{
        static const size_t lengths[] = { 0, 64, 65 };
        char text[3 * 65 + 3];
        struct login_name name;
        size_t used;

        choose(case_room, 0, 3);
        choose(case_first, 0, 2);
        choose(case_second, 0, 2);
        choose(case_third, 0, 2);
        used = append_part(text, 0, lengths[case_first]);
        if (case_room > 0) {
                text[used++] = case_room == 1 ? '@' : '\\';
                used = append_part(text, used, lengths[case_second]);
        }
        if (case_room == 3) {
                text[used++] = '\\';
                used = append_part(text, used, lengths[case_third]);
        }
        text[used] = '\0';
        if (login_name_parse(&name, text, used)) {
                //@ assert name.user[64] == 0 && name.domain[64] == 0 && name.mailbox[64] == 0;
        }
}

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
