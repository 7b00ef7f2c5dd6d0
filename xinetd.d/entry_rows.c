/*
 * entry_rows.c - the rows of the launchers' entries: what each says, and what is wrong with it.
 * Runs in:   pop3d-check, as root where it can.
 * May touch: what troubles.c touches.
 */
#include "access.h"
#include "troubles.h"

#include <stdio.h>
#include <string.h>

/* Whether it does TLS, or starts what does. */
static bool
does_tls(const struct entry *entry)
{
        return entry->launcher == STUNNEL || strstr(entry->value[PROGRAM], "/stunnel") != NULL ||
            (entry->launcher == HAPROXY && entry_word(entry, "ssl") != NULL);
}

/* What the entry says, in one line. */
static void
describe(const struct entry *entry, char text[6 * VALUE_SIZE])
{
        const char *program = entry->value[PROGRAM], *limit = entry->value[LIMIT];
        const char *user = entry->value[USER], *by = launcher_names[entry->launcher];
        const char *what = entry->value[*program != '\0' ? ARGUMENTS : CONNECT];

        (void)snprintf(text, 6 * VALUE_SIZE, "%s: %s, %s%s%s as %s%s%s", entry->file,
            entry->launcher == COMMAND ? entry->name : by, *program != '\0' ? program : "to",
            *what != '\0' ? " " : "", what, *user != '\0' ? user : "root",
            *limit != '\0' ? "; sessions at once: " : "", limit);
}

static void
check_entry(const struct entries *entries, struct entry *entry)
{
        const char *what = entry->launcher == STUNNEL || entry->launcher == HAPROXY ? "TLS" : "launcher";
        char text[6 * VALUE_SIZE];

        describe(entry, text);
        /* what its reader found wrong with an entry that is off is no matter */
        if (!entry->is_on)
                entry->trouble_count = 0;
        if (!entry->is_stray)
                entry_find_troubles(entries, entry);
        /* one that is off where another is on is no fault */
        if (!entry->is_on && entries->is_any_on && !entry->is_stray)
                print_row(entries->report, "skip", what, "%s: switched off, unlike others", text);
        else if (!entry->is_on && !entries->is_any_on)
                print_row(entries->report, "fail", what, "%s%s", text, entry->off);
        else if (entry->is_on && entry->trouble_count == 0)
                print_row(entries->report, "ok", what, "%s%s", text, entry->runs_script
                    ? "\nthat is a script, whose arguments for pop3d are not known" : "");
        for (size_t i = 0; i < entry->trouble_count; i++)
                print_row(entries->report, entry->trouble[i].state, what, "%s%s",
                    i == 0 ? text : entry->file, entry->trouble[i].text);
}

/* Where no entry does TLS: whom does that keep out? */
static void
report_no_tls(const struct entries *entries, bool takes_clear_text, bool is_configured)
{
        if (entries->is_proxied)
                print_row(entries->report, "skip", "TLS", "the proxy in front tells of it (-x)");
        else if (takes_clear_text)
                print_row(entries->report, "skip", "TLS",
                    "nothing known does it in front, and passwords are taken in clear text (-p)");
        else
                print_row(entries->report, is_configured ? "warn" : "skip", "TLS",
                    "nothing known does it in front\n"
                    "cause: so users on other machines are refused\n"
                    "remedy: set up pop3s, unless all are on this one");
}

void
entries_check(struct entries *entries)
{
        /* a command line alone is there to try it, or has its TLS where it is not seen */
        bool has_tls = false, takes_clear_text = false, is_configured = false;

        for (size_t i = 0; i < entries->count; i++) {
                struct entry *entry = &entries->entry[i];

                check_entry(entries, entry);
                has_tls |= entry->is_on && does_tls(entry);
                is_configured |= entry->is_on && entry->launcher != COMMAND;
                takes_clear_text |= entry->is_on && entry->options.allows_clear_text;
        }
        if (entries->count == 0)
                print_row(entries->report, "skip", "launcher",
                    "no entry in xinetd, inetd, systemd, stunnel or HAProxy, and no process that starts it");
        if (!has_tls)
                report_no_tls(entries, takes_clear_text, is_configured);
        access_check(entries);
}
