/*
 * systemd_bars.c - words of units because of which systemd starts nothing, or a session is not heard.
 * Runs in:   pop3d-check, as root where it can.
 * May touch: the places that these words name, by asking whether they are there.
 */
#include "systemd.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void
bar(struct entry *entry, const char *state, const char *name, const char *value, const char *why,
    const char *remedy)
{
        entry_trouble(entry, state, "\ncause: %s=%s: %s\nremedy: %s, then: systemctl daemon-reload; systemctl "
            "restart %s", name, value, why, remedy, entry->name);
}

/* A condition on a path; one that begins with ! is met where nothing is. Those with | are alternatives. */
static void
find_conditions(struct entry *entry)
{
        static const char *const names[] = { "ConditionPathExists", "AssertPathExists",
                "ConditionPathIsDirectory", "ConditionPathIsMountPoint" };

        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
                char text[VALUE_SIZE], remedy[2 * VALUE_SIZE], *rest;
                const char *value = entry_word(entry, names[i]);

                (void)snprintf(text, sizeof(text), "%s", value == NULL ? "" : value);
                for (char *one = strtok_r(text, " ", &rest); one != NULL; one = strtok_r(NULL, " ", &rest)) {
                        bool is_not = *one == '!';

                        if (*one == '|' || (access(one + is_not, F_OK) == 0) != is_not)
                                continue;
                        (void)snprintf(remedy, sizeof(remedy), "%s %s, or write %s= in its [Unit] by systemctl "
                            "edit", is_not ? "rm" : "have there", one + is_not, names[i]);
                        bar(entry, "fail", names[i], one, "that is not so, and systemd starts it only where it is",
                            remedy);
                }
        }
}

/* What has to be there before the program is started. */
static void
find_places(struct entry *entry)
{
        const char *folder = entry_word(entry, "WorkingDirectory"), *group = entry_word(entry, "Group");
        const char *before = entry_word(entry, "ExecStartPre");
        char path[VALUE_SIZE] = "", remedy[2 * VALUE_SIZE];

        (void)snprintf(remedy, sizeof(remedy), "mkdir -p %s", folder == NULL ? "" : folder);
        if (folder != NULL && *folder == '/' && access(folder, F_OK) != 0)
                bar(entry, "fail", "WorkingDirectory", folder, "that is not there (status 200/CHDIR in its log)",
                    remedy);
        if (group != NULL && *group != '\0' && strspn(group, "0123456789") != strlen(group) &&
            !auth_has_group(group))
                bar(entry, "fail", "Group", group, "there is no such group (status 216/GROUP in its log)",
                    "take out that line");
        if (before != NULL)
                (void)sscanf(before, "%1023s", path);
        if (*path != '\0' && *path != '-' && access(path + strspn(path, "+!:@"), X_OK) != 0)
                bar(entry, "fail", "ExecStartPre", path, "that cannot be started, so pop3d is not either",
                    "put it back, or write ExecStartPre= in its [Service] by systemctl edit");
}

/* Whether a list of system calls to forbid has one of those that pop3d cannot be without. */
static bool
forbids_calls(const char *list)
{
        static const char *const calls[] = { "@setuid", "@privileged", "@process", "@network-io", "@file-system",
                "@io-event", "@basic-io", "@sync", "setresuid", "setresgid", "setgroups", "chroot", "capset" };

        for (size_t i = 0; list != NULL && *list == '~' && i < sizeof(calls) / sizeof(calls[0]); i++) {
                const char *at = strstr(list, calls[i]);

                if (at != NULL && strchr(" ~", at[-1]) != NULL && strchr(" ", at[strlen(calls[i])]) != NULL)
                        return true;
        }
        return false;
}

void
systemd_find_bars(struct entry *entry, const char *service)
{
        const char *output = entry_word(entry, "StandardOutput"), *twice = entry_word(entry, "ExecStart twice");
        const char *calls = entry_word(entry, "SystemCallFilter"), *most = entry_word(entry, "RuntimeMaxSec");
        const char *families = entry_word(entry, "RestrictAddressFamilies");
        char *unit;

        find_conditions(entry);
        find_places(entry);
        if (twice != NULL && strcmp(twice, "yes") == 0)
                entry_trouble(entry, "fail", "\ncause: ExecStart= is there twice for %s, so systemd refuses it\n"
                    "remedy: write a line ExecStart= that is empty before the second one, then: systemctl "
                    "daemon-reload; systemctl restart %s", service, entry->name);
        if (output != NULL && *output != '\0' && strcmp(output, "socket") != 0 && strcmp(output, "inherit") != 0)
                bar(entry, "fail", "StandardOutput", output, "what pop3d says goes there, and not to the client",
                    "write StandardOutput=inherit there");
        if (forbids_calls(calls))
                bar(entry, "fail", "SystemCallFilter", calls, "pop3d cannot become the mail user, or not work at all",
                    "take out that line");
        if (families != NULL && *families != '\0' && *families != '~' && strstr(families, "AF_UNIX") == NULL)
                bar(entry, "warn", "RestrictAddressFamilies", families, "without AF_UNIX nothing is logged",
                    "write AF_UNIX there as well");
        if (most != NULL && strtoul(most, &unit, 10) > 0 && strtoul(most, NULL, 10) < 600 && (*unit == '\0' ||
            strcmp(unit, "s") == 0))
                bar(entry, "warn", "RuntimeMaxSec", most, "systemd kills a session after so many seconds, though "
                    "it may well be reading a large maildrop", "write RuntimeMaxSec=infinity there");
}
