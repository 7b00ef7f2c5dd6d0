/*
 * login.c - takes login names apart.
 * Runs in:   AUTHORIZATION, and again in PAM, which believes nothing.
 * May touch: nothing; no system call.
 */
#include "auth.h"

#include <string.h>

static bool part_is_valid(const char *part)
{
        size_t length = strnlen(part, LOGIN_PART_MAX + 1);

        if (length < 1 || length > LOGIN_PART_MAX || part[0] == '.' || part[0] == '-')
                return false;
        for (size_t i = 0; i < length; i++)
                if (part[i] < 0x21 || part[i] > 0x7E || strchr("/:\\", part[i]) != NULL)
                        return false;
        return true;
}

bool login_name_is_valid(const struct login_name *name)
{
        if (!part_is_valid(name->user) || !part_is_valid(name->mailbox))
                return false;
        /* a@b in domain c and a in domain b@c would both be a@b@c to PAM */
        return name->domain[0] == '\0' || (part_is_valid(name->domain) &&
            strchr(name->domain, '@') == NULL && strchr(name->user, '@') == NULL &&
            strchr(name->mailbox, '@') == NULL);
}

/* Copies a part into a place of zeros; an empty one is not one left out. */
static bool take_part(char part[LOGIN_PART_MAX + 1], const char *text, const char *end)
{
        size_t length = (size_t)(end - text);

        if (length < 1 || length > LOGIN_PART_MAX || memchr(text, '\0', length) != NULL)
                return false;
        memcpy(part, text, length);
        return true;
}

bool login_name_parse(struct login_name *name, const char *text, size_t length)
{
        const char *end = text + length, *first = memchr(text, '\\', length);
        const char *at = memchr(text, '@', length), *second = NULL;
        const char *user = text, *user_end = end, *domain = NULL, *domain_end = end;

        memset(name, 0, sizeof(*name));
        if (first != NULL) {
                domain = text;
                domain_end = first;
                user = first + 1;
                second = memchr(user, '\\', (size_t)(end - user));
                user_end = second == NULL ? end : second;
        } else if (at != NULL) {
                user_end = at;
                domain = at + 1;
        }
        if (!take_part(name->user, user, user_end) ||
            (domain != NULL && !take_part(name->domain, domain, domain_end)) ||
            !take_part(name->mailbox, second == NULL ? user : second + 1,
                second == NULL ? user_end : end))
                return false;
        for (char *c = name->domain; *c != '\0'; c++)
                if (*c >= 'A' && *c <= 'Z')
                        *c = (char)(*c - 'A' + 'a');
        return login_name_is_valid(name);
}
