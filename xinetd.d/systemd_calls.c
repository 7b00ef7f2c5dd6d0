/*
 * systemd_calls.c - whether SystemCallFilter= lets pop3d work.
 * Runs in:   pop3d-check, as root where it can.
 * May touch: nothing but what systemd.c has read.
 *
 * The first assignment decides: one that begins with ~ names what is forbidden, and all else is allowed; without ~
 * it names what is allowed, and all else is forbidden. Those behind it add to that, or with ~ take away. An empty one
 * takes back all before it. What is forbidden kills the session, or fails where SystemCallErrorNumber= says so.
 */
#include "systemd.h"

#include <string.h>

/* The calls that stand for what a session does, and systemd's groups that have them. */
static const struct {
        const char *name, *groups, *what;
        bool may_fail;                  /* pop3d goes on without it */
} calls[] = {
        { "setresuid", "@setuid @privileged @system-service", "become the mail user", false },
        { "setresgid", "@setuid @privileged @system-service", "become the mail user", false },
        { "setgroups", "@setuid @privileged @system-service", "become the mail user", false },
        { "clone", "@process @system-service", "have its helpers", false },
        { "openat", "@file-system @system-service", "read mail", false },
        { "read", "@basic-io @file-system @io-event @system-service", "hear the client", false },
        { "recvfrom", "@network-io @system-service", "hear the client", false },
        { "poll", "@io-event @system-service", "wait for the client", false },
        { "fsync", "@sync @system-service", "remove mail", false },
        { "capset", "@process @privileged @system-service", "give up root's rights", false },
        { "chroot", "@mount @privileged", "shut itself in", true },
};

void
systemd_take_calls(struct entry *entry, const char *value)
{
        entry_set(entry, *value == '\0' ? SET : ADD, "SystemCallFilter", value);
        if (*value != '\0')
                entry_set(entry, ADD, "SystemCallFilter", ";");
}

/* Whether a word of the list, of length octets, is the call or a group that has it. "setresuid:EPERM" is as well. */
static bool
is_named(const char *word, size_t length, size_t call)
{
        const char *at = calls[call].groups;
        size_t own = strcspn(word, ":");

        if (own < length)
                length = own;
        if (strlen(calls[call].name) == length && strncmp(word, calls[call].name, length) == 0)
                return true;
        for (; *word == '@' && (at = strchr(at, '@')) != NULL; at++)
                if (strncmp(at, word, length) == 0 && (at[length] == ' ' || at[length] == '\0'))
                        return true;
        return false;
}

/* Whether the assignment, of length octets and without its ~, names the call. */
static bool
has_call(const char *words, size_t length, size_t call)
{
        for (size_t at = 0, end; at < length; at = end) {
                at += strspn(words + at, " \t");
                end = at + strcspn(words + at, " \t;");
                if (end == at)
                        break;
                if (is_named(words + at, end - at, call))
                        return true;
        }
        return false;
}

/* What all assignments together make of a call, and the one that decides, which ends in ';'. */
static bool
is_allowed(const char *list, size_t call, const char **decides)
{
        bool allows = *list == '~';

        for (*decides = list; *list != '\0'; list += strspn(list, "; \t")) {
                bool takes_away = *list == '~';
                size_t length = strcspn(list, ";");

                if (has_call(list + takes_away, length - takes_away, call)) {
                        allows = !takes_away;
                        *decides = list;
                }
                list += length;
        }
        return allows;
}

void
systemd_find_calls(struct entry *entry)
{
        const char *list = entry_word(entry, "SystemCallFilter"), *error = entry_word(entry, "SystemCallErrorNumber");
        bool is_deadly = error == NULL || *error == '\0' || strcmp(error, "kill") == 0;
        const char *decides;

        for (size_t i = 0; list != NULL && *list != '\0' && i < sizeof(calls) / sizeof(calls[0]); i++) {
                if (is_allowed(list, i, &decides) || (calls[i].may_fail && !is_deadly))
                        continue;
                entry_trouble(entry, "fail", "\ncause: SystemCallFilter=%.*s: that forbids %s, so pop3d cannot %s\n"
                    "remedy: %s, then: systemctl daemon-reload; systemctl restart %s", (int)strcspn(decides, ";") - 1,
                    decides, calls[i].name, calls[i].what, *decides == '~' ? "take out that line"
                    : "write SystemCallFilter=@system-service chroot behind that line", entry->name);
                return;
        }
}
