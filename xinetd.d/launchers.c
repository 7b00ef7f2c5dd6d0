/*
 * launchers.c - who has the ports of POP3, and which entry starts this pop3d.
 * Runs in:   pop3d-check, as root where it can.
 * May touch: what entries.c and ports.c touch.
 */
#include "check.h"

#include <stdio.h>
#include <string.h>

struct survey {
        struct report *report;
        struct entries entries;
        const struct entry *ours;       /* what starts us, if anything does */
        unsigned port;                  /* the one that is looked at */
        unsigned listeners;             /* how many listen on it */
};

/* How a launcher is made to read its configuration again, in words for a remedy. */
static const char *
restart_words(const struct entry *entry, char words[VALUE_SIZE])
{
        if (entry->launcher == SYSTEMD)
                (void)snprintf(words, VALUE_SIZE, "systemctl restart %s", entry->name);
        else
                (void)snprintf(words, VALUE_SIZE, "restart %s", launcher_names[entry->launcher]);
        return words;
}

/* ---- Ports ---------------------------------------------------------------------------- */

/* The row of the process that listens. is_alike: it greets as we do. */
static void
report_holder(struct survey *survey, const struct listener *listener, const struct entry *entry,
    const char *name, int pid, bool is_foreign, bool is_alike)
{
        const char *state = is_foreign ? "warn" : pid > 0 ? "ok" : "skip";
        char what[16], restart[VALUE_SIZE];

        (void)snprintf(what, sizeof(what), "port %u", listener->port);
        if (!is_foreign || entry == NULL)
                print_row(survey->report, state, what, "%s (process %d) listens on %s%s", name, pid,
                    listener->text, is_foreign ? "; nothing known leads from it to pop3d" : "");
        else
                print_row(survey->report, "fail", what, "%s (process %d) listens on %s\n"
                    "cause: it was first, so %s cannot: EADDRINUSE, \"Address already in use\"\n"
                    "remedy: stop it for good, then %s, for %s%s", name, pid, listener->text,
                    launcher_names[entry->launcher], restart_words(entry, restart), entry->file,
                    is_alike ? ";\nor, if it is to stay, set disable = yes (or a #) there" : "");
}

/* Why somebody may greet otherwise than this pop3d. */
static const char *
cause_of_greeting(const char *heard, bool is_foreign)
{
        if (strstr(heard, "pop3d was started wrongly") != NULL)
                return "the launcher's arguments\nremedy: mend them";
        return is_foreign ? "another program answers in our place"
            : "the launcher starts something else, or refuses; see its log";
}

static void
report_greeting(struct survey *survey, unsigned port, const char *heard, bool is_foreign,
    bool is_alike)
{
        char what[16];

        (void)snprintf(what, sizeof(what), "port %u", port);
        if (is_alike)
                print_row(survey->report, is_foreign ? "warn" : "ok", what, "greets: %s", heard);
        else
                print_row(survey->report, "fail", what, "another greeting than ours:\nheard: %s\n"
                    "ours: %s\ncause: %s", heard, GREETING, cause_of_greeting(heard, is_foreign));
}

/* Whether whoever listens wants a PROXY header first: its entry says so, or who connects to it. */
static bool
expects_proxy(const struct entry *entry, const struct entry *before)
{
        if (entry != NULL)
                return entry->options.auth.expects_proxy;
        return before != NULL && strcmp(before->value[PROTOCOL], "proxy") == 0;
}

static void
check_listener(void *context, const struct listener *listener)
{
        struct survey *survey = context;
        char name[64], heard[HEARD_SIZE] = "";
        const struct entry *entry, *before;
        bool is_tls, is_foreign, is_alike;
        int pid;

        if (listener->port != survey->port)
                return;
        survey->listeners++;
        pid = listener_holder(listener, name);
        entry = entry_of_port(&survey->entries, listener->port, PORT, name);
        before = entry_of_port(&survey->entries, listener->port, CONNECT, "");
        is_tls = listener->port == POP3S_PORT || (entry != NULL && entry->launcher == STUNNEL);
        if (entry != NULL)
                is_foreign = pid > 0 && !entry_is_by(&survey->entries, entry, name);
        else
                is_foreign = pid > 0 && is_tls && !survey->entries.is_proxied;
        if (listener->port == POP3_PORT && entry != NULL && !is_foreign && entry->runs_us)
                survey->ours = entry;
        if (!is_tls)
                listener_hear(listener, expects_proxy(entry, before), heard);
        is_alike = strncmp(heard, GREETING, strlen(GREETING)) == 0;
        report_holder(survey, listener, entry, name, pid, is_foreign, is_alike);
        if (!is_tls)
                report_greeting(survey, listener->port, heard, is_foreign, is_alike);
}

/* The rows of a port that something is set to use. If nobody listens, is that meant? */
static void
check_port(struct survey *survey, unsigned port)
{
        const struct entry *entry = entry_of_port(&survey->entries, port, PORT, "");
        const struct entry *before = entry_of_port(&survey->entries, port, CONNECT, "");
        bool is_bare = survey->entries.count == 0 && port == POP3_PORT;
        char restart[VALUE_SIZE];

        if (entry == NULL && before == NULL && port != POP3_PORT && port != POP3S_PORT)
                return;
        survey->port = port;
        survey->listeners = 0;
        listeners_read(check_listener, survey);
        if (survey->listeners > 0)
                return;
        if (entry != NULL)
                print_row(survey->report, "fail", "port", "nobody listens on %u, in spite of %s\n"
                    "remedy: %s and see its log, or switch it off there", port, entry->file,
                    restart_words(entry, restart));
        else if (before != NULL)
                print_row(survey->report, "fail", "port", "nobody listens on %u, where %s connects\n"
                    "remedy: mend that, or switch on what is to listen, as pop3-inner", port,
                    before->file);
        else
                print_row(survey->report, is_bare ? "warn" : "skip", "port",
                    "nobody listens on %u, and no entry asks for it%s", port,
                    is_bare ? "\nremedy: choose a launcher from xinetd.d/" : "");
}

const struct entry *
launchers_check(struct report *report)
{
        static struct survey survey;

        survey.report = report;
        entries_read(&survey.entries, report);
        for (size_t i = 0; i < survey.entries.count; i++) {
                const struct entry *entry = &survey.entries.entry[i];

                if (entry->runs_us && (survey.ours == NULL || !survey.ours->is_on))
                        survey.ours = entry;
        }
        entries_check(&survey.entries);
        for (unsigned port = 1; port <= UINT16_MAX; port++)
                check_port(&survey, port);
        return survey.ours;
}
