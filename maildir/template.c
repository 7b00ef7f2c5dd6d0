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

/* Whether the template has a % with one of these letters. */
static bool
template_tells(const char *template, const char *letters)
{
        for (const char *at = strchr(template, '%'); at != NULL; at = strchr(at + 2, '%'))
                if (strchr(letters, at[1]) != NULL)
                        return true;
        return false;
}

static bool
template_is_valid(const char *template)
{
        static const struct maildir_names names = { "", "", "", "" };
        const char *at = template;

        while ((at = strchr(at, '%')) != NULL && expansion(at[1], &names) != NULL)
                at += 2;
        return at == NULL && template[0] != '\0';
}

const char *
maildir_template_problem(const char *template, bool is_virtual)
{
        if (!template_is_valid(template))
                return "-m takes a path with %u, %d, %m, %h and %%";
        if (is_virtual && !template_tells(template, "um"))
                return "-v needs -m with %u or %m, or all users would share one maildrop";
        return NULL;
}

/* A name must not lead to another folder than the template means. */
static bool
is_one_component(const char *name)
{
        return name[0] != '.' && strchr(name, '/') == NULL;
}

/* Appends what a template stands for; returns how long the path is, 0 when it does not fit. */
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
    bool tells_domains)
{
        bool is_absolute = template[0] == '/' || strncmp(template, "%h", 2) == 0;
        size_t used;

        errno = EINVAL;
        if (!template_is_valid(template) || !is_one_component(names->user) ||
            !is_one_component(names->domain) || !is_one_component(names->mailbox) ||
            names->home[0] != '/')
                return -1;
        /* the same user of two domains is two users, but not to the kernel */
        errno = EPERM;
        if (tells_domains && names->domain[0] != '\0' && !template_tells(template, "d"))
                return -1;
        errno = ENAMETOOLONG;
        used = is_absolute ? 0 : expand(path, size, 0, "%h/", names);
        return (is_absolute || used > 0) && expand(path, size, used, template, names) > 0 ? 0 : -1;
}
