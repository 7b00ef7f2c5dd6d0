/*
 * entries.c - all entries that the launchers' configuration has for POP3.
 * Runs in:   pop3d-check, as root where it can.
 * May touch: what the readers of the launchers' files touch.
 */
#include "entries.h"

#include <string.h>

/* Whether a process of this name can be this launcher. */
static bool
is_launcher(const struct entries *entries, enum launcher launcher, const char *process)
{
        switch (launcher) {
        case INETD:
                /* it may be called inetutils-inetd, but not xinetd, unless that reads its file */
                return strcmp(process, "xinetd") == 0 ? entries->xinetd_reads_inetd
                    : strstr(process, "inetd") != NULL || strcmp(process, "busybox") == 0;
        case SYSTEMD:
                return strcmp(process, "systemd") == 0;
        default:
                return strstr(process, launcher_names[launcher]) != NULL;
        }
}

bool
entry_is_by(const struct entries *entries, const struct entry *entry, const char *process)
{
        return entry->launcher == COMMAND ? strcmp(process, entry->name) == 0
            : is_launcher(entries, entry->launcher, process);
}

/* Which launchers are there at all. */
static void
take_process(void *context, const struct process *process)
{
        struct entries *entries = context;

        for (enum launcher launcher = XINETD; launcher < COMMAND; launcher++)
                entries->is_running[launcher] |= is_launcher(entries, launcher, process->name);
}

void
entries_read(struct entries *entries, struct report *report)
{
        char path[PATH_MAX];

        memset(entries, 0, sizeof(*entries));
        entries->report = report;
        if (find_beside("pop3d", path))
                (void)stat(path, &entries->self);
        addresses_read(&entries->own);
        processes_read(take_process, entries);
        xinetd_read(entries);
        inetd_read(entries);
        systemd_read(entries);
        commands_read(entries);
        /* those that can stand in front of the ones above come last, for they are known by them */
        stunnel_read(entries);
        haproxy_read(entries);
        for (size_t i = 0; i < entries->count; i++) {
                entries->is_any_on |= entries->entry[i].is_on;
                entries->is_proxied |= entries->entry[i].is_on &&
                    entries->entry[i].options.auth.expects_proxy;
        }
}

const struct entry *
entry_of_port(const struct entries *entries, unsigned port, enum field field, const char *holder)
{
        const struct entry *found = NULL;

        for (size_t i = 0; i < entries->count && port != 0; i++) {
                const struct entry *entry = &entries->entry[i];
                unsigned own = field == PORT ? entry->port : entry->connects_to;

                if (entry->is_on && own == port && (found == NULL || entry_is_by(entries, entry, holder)))
                        found = entry;
        }
        return found;
}

const struct entry *
entry_of_socket(const struct entries *entries, const char *path)
{
        for (size_t i = 0; i < entries->count && *path != '\0'; i++)
                if (entries->entry[i].is_on && strcmp(entries->entry[i].socket, path) == 0)
                        return &entries->entry[i];
        return NULL;
}
