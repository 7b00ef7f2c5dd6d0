/*
 * template.c - where a maildrop lies: %u %d %m %h made into a path.
 * Runs in:   pop3d at its start, and the TRANSACTION process.
 * May touch: memory it is given. Pure.
 */
#include <errno.h>
#include <string.h>

#include "maildir.h"

/* What a % and this letter stand for; NULL if they stand for nothing. */
static const char *
expansion(char letter, const struct maildir_names *names)
{
        switch (letter) {
        case 'u': return names->user;
        case 'd': return names->domain;
        case 'm': return names->mailbox;
        case 'h': return names->home;
        case '%': return "%";
        default: return NULL;
        }
}

static bool
is_valid(const char *template)
{
        static const struct maildir_names names = { "", "", "", "" };
        const char *at = template;

        while ((at = strchr(at, '%')) != NULL && expansion(at[1], &names) != NULL)
                at += 2;
        return at == NULL && template[0] != '\0';
}

/* Whether a valid template has a % with one of these letters. */
static bool
has_letter(const char *template, const char *letters)
{
        for (const char *at = strchr(template, '%'); at != NULL; at = strchr(at + 2, '%'))
                if (strchr(letters, at[1]) != NULL)
                        return true;
        return false;
}

/*
 * Whether two users can get one path: "%u.%d" gives a.b.c for b.c's user a and for c's user
 * a.b. A user and a domain are told apart by what is in no name, within one part of the
 * path; one such part, or one that has only the user or only the domain, is enough.
 */
static bool
is_ambiguous(const char *template)
{
        bool has_name = false, is_clear = true, is_mixed = false;
        char kind, last = '\0';

        for (;; template++) {
                if (*template == '/' || *template == '\0') {
                        if (has_name && is_clear)
                                return false;
                        is_mixed |= has_name;
                        if (*template == '\0')
                                return is_mixed;
                        has_name = false;
                        is_clear = true;
                        last = '\0';
                } else if (strchr(":\\@", *template) != NULL) {
                        last = '\0';
                } else if (*template == '%') {
                        /* %m is the same as %u, because a virtual user opens no other's mailbox */
                        kind = *++template;
                        if (kind == 'm')
                                kind = 'u';
                        if (kind == 'h')
                                last = '\0';
                        if (kind != 'u' && kind != 'd')
                                continue;
                        has_name = true;
                        is_clear &= last == '\0' || last == kind;
                        last = kind;
                }
        }
}

const char *
maildir_template_problem(const char *template, bool is_virtual)
{
        if (!is_valid(template))
                return "-m takes a path with %u, %d, %m, %h and %%";
        if (is_virtual && !has_letter(template, "um"))
                return "-v needs -m with %u or %m, or all users would share one maildrop";
        if (is_virtual && is_ambiguous(template))
                return "-v needs / or @ between %u and %d, or two users could share a maildrop";
        return NULL;
}

/* A relative template starts from the home. */
bool
maildir_template_has_home(const char *template)
{
        return template[0] != '/' || has_letter(template, "h");
}

/* False for a name that would lead to another folder than the template means. */
static bool
is_one_component(const char *name)
{
        return name[0] != '.' && strchr(name, '/') == NULL;
}

/* Appends what a template stands for. Returns the length of the path, 0 if it does not fit. */
static size_t
expand(char *path, size_t size, size_t used, const char *template,
    const struct maildir_names *names)
{
        for (; *template != '\0'; template++) {
                const char *octets = *template == '%' ? expansion(*++template, names) : template;
                size_t length = octets == template ? 1 : strlen(octets);

                if (length >= size - used)
                        return 0;
                memcpy(path + used, octets, length);
                path[used += length] = '\0';
        }
        return used;
}

int
maildir_path(char *path, size_t size, const char *template, const struct maildir_names *names,
    bool must_tell_domains)
{
        bool is_absolute = template[0] == '/' || strncmp(template, "%h", 2) == 0;
        size_t used = 0;

        errno = EINVAL;
        if (!is_valid(template))
                return -1;
        /*
         * The same user of two domains is two users, but to the kernel they are one account. One
         * without a domain is none of them.
         */
        errno = EPERM;
        if (must_tell_domains && (names->domain[0] != '\0') != has_letter(template, "d"))
                return -1;
        errno = EINVAL;
        if (!is_one_component(names->user) || !is_one_component(names->domain) ||
            !is_one_component(names->mailbox) || names->home[0] != '/')
                return -1;
        errno = ENAMETOOLONG;
        if (!is_absolute) {
                used = expand(path, size, 0, "%h/", names);
                if (used == 0)
                        return -1;
        }
        return expand(path, size, used, template, names) > 0 ? 0 : -1;
}
