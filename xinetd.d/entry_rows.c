/*
 * entry_rows.c - the rows of the launchers' entries: what each says, and what is wrong with it.
 * Runs in:   pop3d-check, as root where it can.
 * May touch: nothing but what entries.c has read.
 */
#include "check.h"

#include <stdio.h>
#include <string.h>

/* What is wrong between stunnel and the pop3d that it connects to, or NULL. */
static const char *
proxy_trouble(const struct entries *entries, const struct entry *entry)
{
        const struct entry *inner = entry_of_port(entries, entry->connects_to, PORT, "");
        bool sends_proxy = strcmp(entry->value[PROTOCOL], "proxy") == 0;

        if (inner == NULL || (inner->options.auth.expects_proxy == sends_proxy &&
            (!sends_proxy || inner->options.auth.peer.is_secured)))
                return NULL;
        return "\ncause: stunnel's `protocol = proxy` and pop3d's -x -S are not all there\n"
               "remedy: add what is missing, and bind that port of pop3d's to loopback";
}

/* What is wrong with an entry, cause and remedy, or NULL. */
static const char *
entry_trouble(const struct entries *entries, const struct entry *entry)
{
        const char *program = entry->value[PROGRAM], *user = entry->value[USER];
        const char *wait = entry->value[WAIT];
        const struct options *options = &entry->options;

        if (!entry->is_on)
                return entry->launcher == SYSTEMD
                    ? "\ncause: it is a socket not enabled\nremedy: systemctl enable --now "
                    : "\ncause: it is switched off (disable = yes, a #)\n"
                      "remedy: switch it on there, then reload the launcher";
        if (*program != '\0' && !entry->runs_us && strstr(program, "/stunnel") == NULL)
                return "\ncause: that is not this pop3d, or is not there\nremedy: name this program";
        if (*program != '\0' && *user != '\0' && strncmp(user, "root", 4) != 0 &&
            options->auth.virtual_account == NULL)
                return "\ncause: without root neither PAM nor the users' mail is in reach\n"
                       "remedy: user = root; pop3d becomes the mail user by itself";
        if (strcmp(wait, "yes") == 0 || strcmp(wait, "wait") == 0)
                return "\ncause: pop3d needs a connection, not a listening socket\n"
                       "remedy: wait = no";
        if (entry->launcher == STUNNEL && *program != '\0' && !options->auth.peer.is_secured)
                return "\ncause: pop3d is not told that TLS was done\nremedy: add -S";
        return proxy_trouble(entries, entry);
}

static void
check_entry(const struct entries *entries, const struct entry *entry)
{
        const char *wrong = entry_trouble(entries, entry), *program = entry->value[PROGRAM];
        const char *limit = entry->value[LIMIT], *user = entry->value[USER];
        bool has_program = *program != '\0';
        /* one that is off where another is on is no fault */
        bool is_spare = entries->is_any_on && !entry->is_on;
        const char *state = wrong == NULL ? "ok" : is_spare ? "skip" : "fail";

        if (wrong == NULL)
                wrong = "";
        print_row(entries->report, state, entry->launcher == STUNNEL ? "TLS" : "launcher",
            "%s: %s, %s %s as %s%s%s%s%s", entry->file, launcher_names[entry->launcher],
            has_program ? program : "to", entry->value[has_program ? ARGUMENTS : CONNECT],
            *user != '\0' ? user : "root", *limit != '\0' ? "; sessions at once: " : "", limit,
            is_spare ? ": switched off, unlike others" : wrong,
            !entries->is_any_on && entry->launcher == SYSTEMD ? entry->name : "");
}

/* Where no entry does TLS: whom does that keep out? */
static void
report_no_tls(const struct entries *entries, bool takes_clear_text)
{
        if (entries->is_proxied)
                print_row(entries->report, "skip", "TLS", "the proxy in front tells of it (-x)");
        else if (takes_clear_text)
                print_row(entries->report, "skip", "TLS",
                    "nothing known does it in front, and passwords are taken in clear text (-p)");
        else
                print_row(entries->report, entries->is_any_on ? "warn" : "skip", "TLS",
                    "nothing known does it in front\n"
                    "cause: so users on other machines are refused\n"
                    "remedy: set up pop3s, unless all are on this one");
}

void
entries_check(const struct entries *entries)
{
        bool has_tls = false, takes_clear_text = false;

        for (size_t i = 0; i < entries->count; i++) {
                const struct entry *entry = &entries->entry[i];

                check_entry(entries, entry);
                if (!entry->is_on)
                        continue;
                if (entry->launcher == STUNNEL || strstr(entry->value[PROGRAM], "/stunnel") != NULL)
                        has_tls = true;
                if (entry->options.allows_clear_text)
                        takes_clear_text = true;
        }
        if (entries->count == 0)
                print_row(entries->report, "skip", "launcher",
                    "no entry in xinetd, inetd, systemd or stunnel");
        if (!has_tls)
                report_no_tls(entries, takes_clear_text);
}
