/*
 * systemd_bars.c - words of units because of which systemd starts nothing, or a session is not heard.
 * Runs in:   pop3d-check, as root where it can.
 * May touch: the places that these words name, by asking whether they are there.
 */
#include "systemd.h"

#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BURST_LEAST = 20 };              /* new connections at once, as an office's make in the morning */

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

/* Types of services that systemd takes for one that has not begun yet while a session lasts, and then ends. */
static void
find_type(struct entry *entry)
{
        static const char *const types[] = { "notify", "notify-reload", "forking", "dbus", "oneshot" };
        const char *type = entry_word(entry, "Type"), *most = entry_word(entry, "TimeoutStartSec");

        for (size_t i = 0; type != NULL && i < sizeof(types) / sizeof(types[0]); i++)
                if (strcmp(type, types[i]) == 0 && (strcmp(type, "oneshot") != 0 || most != NULL))
                        bar(entry, "warn", "Type", type, "systemd waits for the service to have begun, which pop3d "
                            "does not tell, and ends the session after TimeoutStartSec (90 seconds)",
                            "write Type=simple in its [Service]");
}

/* What keeps connections from the socket. */
static void
find_closed_socket(struct entry *entry)
{
        const char *device = entry_word(entry, "BindToDevice"), *burst = entry_word(entry, "TriggerLimitBurst");
        const char *interval = entry_word(entry, "TriggerLimitIntervalSec");

        if (device != NULL && *device != '\0' && if_nametoindex(device) == 0)
                bar(entry, "fail", "BindToDevice", device, "there is no such interface, so the socket does not begin",
                    "write BindToDevice= in its [Socket]");
        else if (device != NULL && strcmp(device, "lo") == 0)
                bar(entry, "warn", "BindToDevice", device, "nobody but this machine itself can connect",
                    "write BindToDevice= in its [Socket]");
        if (burst != NULL && atoi(burst) > 0 && atoi(burst) < BURST_LEAST &&
            (interval == NULL || (strcmp(interval, "0") != 0 && strcmp(interval, "infinity") != 0)))
                bar(entry, "warn", "TriggerLimitBurst", burst, "above so many new connections in "
                    "TriggerLimitIntervalSec systemd closes the port to everybody (trigger-limit-hit)",
                    "write TriggerLimitIntervalSec=0 in its [Socket]");
}

/* Whether the kernel has a profile of this name: AppArmor's list has "NAME (enforce)" in each line. */
static bool
has_profile(const char *name)
{
        FILE *list = fopen("/sys/kernel/security/apparmor/profiles", "re");
        char line[VALUE_SIZE];
        bool is_found = list == NULL;   /* nothing is known */

        while (list != NULL && !is_found && fgets(line, sizeof(line), list) != NULL)
                is_found = strncmp(line, name, strlen(name)) == 0 && strncmp(line + strlen(name), " (", 2) == 0;
        if (list != NULL)
                (void)fclose(list);
        return is_found;
}

/* A profile of AppArmor's that is not loaded. One with - before it may be missing. */
static void
find_profile(struct entry *entry)
{
        const char *profile = entry_word(entry, "AppArmorProfile");

        if (profile != NULL && *profile != '\0' && *profile != '-' && !has_profile(profile))
                bar(entry, "fail", "AppArmorProfile", profile, "AppArmor has no such profile, so systemd starts no "
                    "session (status 231/APPARMOR in its log)", "take out that line, or load it (apparmor_parser -r "
                    "/etc/apparmor.d/FILE)");
}

void
systemd_find_bars(struct entry *entry, const char *service)
{
        const char *output = entry_word(entry, "StandardOutput"), *twice = entry_word(entry, "ExecStart twice");
        const char *most = entry_word(entry, "RuntimeMaxSec");
        const char *families = entry_word(entry, "RestrictAddressFamilies");
        char *unit;

        find_conditions(entry);
        find_places(entry);
        find_type(entry);
        find_closed_socket(entry);
        find_profile(entry);
        if (twice != NULL && strcmp(twice, "yes") == 0)
                entry_trouble(entry, "fail", "\ncause: ExecStart= is there twice for %s, so systemd refuses it\n"
                    "remedy: write a line ExecStart= that is empty before the second one, then: systemctl "
                    "daemon-reload; systemctl restart %s", service, entry->name);
        if (output != NULL && *output != '\0' && strcmp(output, "socket") != 0 && strcmp(output, "inherit") != 0)
                bar(entry, "fail", "StandardOutput", output, "what pop3d says goes there, and not to the client",
                    "write StandardOutput=inherit there");
        systemd_find_calls(entry);
        if (families != NULL && *families != '\0' && *families != '~' && strstr(families, "AF_UNIX") == NULL)
                bar(entry, "warn", "RestrictAddressFamilies", families, "without AF_UNIX nothing is logged",
                    "write AF_UNIX there as well");
        if (most != NULL && strtoul(most, &unit, 10) > 0 && strtoul(most, NULL, 10) < 600 && (*unit == '\0' ||
            strcmp(unit, "s") == 0))
                bar(entry, "warn", "RuntimeMaxSec", most, "systemd kills a session after so many seconds, though "
                    "it may well be reading a large maildrop", "write RuntimeMaxSec=infinity there");
}
