/*
 * lines.c - lines of /etc/passwd and /etc/shadow that libc passes over, or that are there twice; users without any.
 * Runs in:   the check (-c) alone, as root where it can.
 * May touch: these two files and the service's file of PAM rules, for reading.
 */
#include "rules.h"

#include <stdio.h>
#include <string.h>

enum { LINE_MAX_OCTETS = 2048 };

/* What a file of accounts has of a name: how many lines, and of the first one its number and fields. */
struct lines {
        unsigned count, number, field_count;
        bool has_return;                /* it ends in CR LF */
};

static struct lines
find_lines(const char *path, const char *name)
{
        struct lines found = { .count = 0 };
        char line[LINE_MAX_OCTETS];
        size_t length = strlen(name);
        FILE *file = fopen(path, "re");

        for (unsigned number = 1; file != NULL && fgets(line, sizeof(line), file) != NULL; number++) {
                if (strncmp(line, name, length) != 0 || line[length] != ':' || found.count++ > 0)
                        continue;
                found.number = number;
                found.has_return = strstr(line, "\r\n") != NULL;
                for (const char *at = line; at != NULL; at = strchr(at + 1, ':'))
                        found.field_count++;
        }
        if (file != NULL)
                (void)fclose(file);
        explicit_bzero(line, sizeof(line));
        return found;
}

bool
lines_help_missing(const char *name, char out[512])
{
        struct lines found = find_lines("/etc/passwd", name);

        if (found.count > 0)
                (void)snprintf(out, 512, "line %u of /etc/passwd, which begins with %s:, is passed over: it has %u fields "
                    "of 7, or its numbers are none\nremedy: vipw, and write it like %s:x:UID:GID::/home/%s:/bin/sh",
                    found.number, name, found.field_count, name, name);
        return found.count > 0;
}

/* The first module of virtual users that a file of rules names, or NULL. */
static const char *
find_virtual_module(const char *path)
{
        static const char *const modules[] = { "pam_userdb.so", "pam_pwdfile.so", "pam_mysql.so", "pam_pgsql.so",
                "pam_sqlite3.so" };
        const char *module = NULL;
        char line[LINE_MAX_OCTETS];
        FILE *file = fopen(path, "re");

        while (file != NULL && module == NULL && fgets(line, sizeof(line), file) != NULL)
                for (size_t i = 0; *line != '#' && i < sizeof(modules) / sizeof(modules[0]); i++)
                        if (module == NULL && strstr(line, modules[i]) != NULL)
                                module = modules[i];
        if (file != NULL)
                (void)fclose(file);
        return module;
}

bool
lines_help_virtual(const struct auth *auth, const char *domain, char out[512])
{
        char path[512];
        const char *module;

        (void)snprintf(path, sizeof(path), "%s/%s", auth->configuration == NULL ? "/etc/pam.d" : auth->configuration,
            auth->service);
        module = find_virtual_module(path);
        if (module != NULL)
                (void)snprintf(out, 512, "the domain %s is not one of pop3d's (-d); %.200s asks %s, which knows virtual "
                    "users, and -v is not given\nremedy: add -v ACCOUNT to the launcher's options, the account to which "
                    "the maildrops belong, as -v vmail", domain, path, module);
        return module != NULL;
}

void
lines_check(const char *name, check_row row, void *context)
{
        static const struct {
                const char *path, *editor;
                unsigned fields;
        } files[] = { { "/etc/passwd", "vipw", 7 }, { "/etc/shadow", "vipw -s", 9 } };

        for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
                struct lines found = find_lines(files[i].path, name);

                if (found.count > 1)
                        row(context, "warn", "login", "%u lines of %s begin with %s:\ncause: only the first one counts, "
                            "line %u\nremedy: take out the other, or that one: %s", found.count, files[i].path, name,
                            found.number, files[i].editor);
                if (i == 1 && found.count > 0 && (found.field_count != files[i].fields || found.has_return))
                        row(context, "fail", "login", "line %u of %s, which begins with %s:, is passed over\ncause: it %s%u "
                            "fields of %u\nremedy: %s; it should be like %s:HASH:19000:0:99999:7:::", found.number,
                            files[i].path, name, found.has_return ? "ends in CR LF, and has " : "has ", found.field_count,
                            files[i].fields, found.has_return ? "sed -i 's/\\r$//' /etc/shadow" : files[i].editor, name);
        }
}
