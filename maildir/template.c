/*
 * template.c - where a maildrop lies: %u %d %m %h made into a path.
 *
 * Runs in:   pop3d at its start, and the TRANSACTION process.
 * May touch: memory it is given. Pure.
 */
#include <errno.h>
#include <string.h>

#include "maildir.h"

/* What a % and this letter stand for; NULL if they stand for nothing. */
static const char *expansion(char letter, const struct maildir_names *names)
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

bool maildir_template_is_valid(const char *template)
{
        static const struct maildir_names names = { "", "", "", "" };
        const char *at = template;

        while ((at = strchr(at, '%')) != NULL && expansion(at[1], &names) != NULL)
                at += 2;
        return at == NULL && template[0] != '\0';
}

/* A name must not lead to another folder than the template means. */
static bool is_one_component(const char *name)
{
        return name[0] != '.' && strchr(name, '/') == NULL;
}

/* Appends to a path of which used octets are taken; whether it fits. */
static bool append(char *path, size_t size, size_t *used, const char *octets, size_t length)
{
        if (length >= size - *used)
                return false;
        memcpy(path + *used, octets, length);
        path[*used += length] = '\0';
        return true;
}

int maildir_path(char *path, size_t size, const char *template, const struct maildir_names *names)
{
        bool is_absolute = template[0] == '/' || strncmp(template, "%h", 2) == 0;
        size_t used = 0;

        if (!maildir_template_is_valid(template) || !is_one_component(names->user) ||
            !is_one_component(names->domain) || !is_one_component(names->mailbox) ||
            names->home[0] != '/') {
                errno = EINVAL;
                return -1;
        }
        errno = ENAMETOOLONG;
        if (!is_absolute && (!append(path, size, &used, names->home, strlen(names->home)) ||
            !append(path, size, &used, "/", 1)))
                return -1;
        while (*template != '\0') {
                size_t plain = strcspn(template, "%");
                const char *octets = plain > 0 ? template : expansion(template[1], names);

                if (!append(path, size, &used, octets, plain > 0 ? plain : strlen(octets)))
                        return -1;
                template += plain > 0 ? plain : 2;
        }
        return 0;
}
