/*
 * launchers.c - what launches pop3d, who has its ports, what does TLS in front.
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
        bool is_any_on, is_proxied;     /* an entry is on; one that is on has -x */
        unsigned port;                  /* the one that is looked at */
        unsigned listeners;             /* how many listen on it */
};

/* inetd may be called inetutils-inetd, but not xinetd. */
static bool
is_by(const struct entry *entry, const char *process)
{
        return strstr(process, launcher_names[entry->launcher]) != NULL &&
            (entry->launcher != INETD || *process != 'x');
}

/*
 * The entry that is on and listens on the port (field PORT), or connects to it (CONNECT); NULL if
 * there is none. Of several it is the one whose launcher is the process named holder.
 */
static const struct entry *
entry_of_port(const struct survey *survey, unsigned port, enum field field, const char *holder)
{
        const struct entry *found = NULL;

        for (size_t i = 0; i < survey->entries.count && port != 0; i++) {
                const struct entry *entry = &survey->entries.entry[i];
                unsigned own = field == PORT ? entry->port : entry->connects_to;

                if (entry->is_on && own == port && (found == NULL || is_by(entry, holder)))
                        found = entry;
        }
        return found;
}

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
        entry = entry_of_port(survey, listener->port, PORT, name);
        before = entry_of_port(survey, listener->port, CONNECT, "");
        is_tls = listener->port == POP3S_PORT || (entry != NULL && entry->launcher == STUNNEL);
        if (entry != NULL)
                is_foreign = pid > 0 && !is_by(entry, name);
        else
                is_foreign = pid > 0 && is_tls && !survey->is_proxied;
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
        const struct entry *entry = entry_of_port(survey, port, PORT, "");
        const struct entry *before = entry_of_port(survey, port, CONNECT, "");
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

/* ---- Entries -------------------------------------------------------------------------- */

/* What is wrong between stunnel and the pop3d that it connects to, or NULL. */
static const char *
proxy_trouble(const struct survey *survey, const struct entry *entry)
{
        const struct entry *inner = entry_of_port(survey, entry->connects_to, PORT, "");
        bool sends_proxy = strcmp(entry->value[PROTOCOL], "proxy") == 0;

        if (inner == NULL || (inner->options.auth.expects_proxy == sends_proxy &&
            (!sends_proxy || inner->options.auth.peer.is_secured)))
                return NULL;
        return "\ncause: stunnel's `protocol = proxy` and pop3d's -x -S are not all there\n"
               "remedy: add what is missing, and bind that port of pop3d's to loopback";
}

/* What is wrong with an entry, cause and remedy, or NULL. */
static const char *
entry_trouble(const struct survey *survey, const struct entry *entry)
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
        return proxy_trouble(survey, entry);
}

static void
check_entry(const struct survey *survey, const struct entry *entry)
{
        const char *wrong = entry_trouble(survey, entry), *program = entry->value[PROGRAM];
        const char *limit = entry->value[LIMIT], *user = entry->value[USER];
        bool has_program = *program != '\0';
        /* one that is off where another is on is no fault */
        bool is_spare = survey->is_any_on && !entry->is_on;
        const char *state = wrong == NULL ? "ok" : is_spare ? "skip" : "fail";

        if (wrong == NULL)
                wrong = "";
        print_row(survey->report, state, entry->launcher == STUNNEL ? "TLS" : "launcher",
            "%s: %s, %s %s as %s%s%s%s%s", entry->file, launcher_names[entry->launcher],
            has_program ? program : "to", entry->value[has_program ? ARGUMENTS : CONNECT],
            *user != '\0' ? user : "root", *limit != '\0' ? "; sessions at once: " : "", limit,
            is_spare ? ": switched off, unlike others" : wrong,
            !survey->is_any_on && entry->launcher == SYSTEMD ? entry->name : "");
}

/* Where no entry does TLS: whom does that keep out? */
static void
report_no_tls(const struct survey *survey, bool takes_clear_text)
{
        if (survey->is_proxied)
                print_row(survey->report, "skip", "TLS", "the proxy in front tells of it (-x)");
        else if (takes_clear_text)
                print_row(survey->report, "skip", "TLS",
                    "nothing known does it in front, and passwords are taken in clear text (-p)");
        else
                print_row(survey->report, survey->is_any_on ? "warn" : "skip", "TLS",
                    "nothing known does it in front\n"
                    "cause: so users on other machines are refused\n"
                    "remedy: set up pop3s, unless all are on this one");
}

static void
check_entries(const struct survey *survey)
{
        bool has_tls = false, takes_clear_text = false;

        for (size_t i = 0; i < survey->entries.count; i++) {
                const struct entry *entry = &survey->entries.entry[i];

                check_entry(survey, entry);
                if (!entry->is_on)
                        continue;
                if (entry->launcher == STUNNEL || strstr(entry->value[PROGRAM], "/stunnel") != NULL)
                        has_tls = true;
                if (entry->options.allows_clear_text)
                        takes_clear_text = true;
        }
        if (survey->entries.count == 0)
                print_row(survey->report, "skip", "launcher",
                    "no entry in xinetd, inetd, systemd or stunnel");
        if (!has_tls)
                report_no_tls(survey, takes_clear_text);
}

const struct entry *
launchers_check(struct report *report)
{
        static struct survey survey;

        survey.report = report;
        entries_read(&survey.entries, report);
        for (size_t i = 0; i < survey.entries.count; i++) {
                const struct entry *entry = &survey.entries.entry[i];

                if (entry->is_on)
                        survey.is_any_on = true;
                if (entry->is_on && entry->options.auth.expects_proxy)
                        survey.is_proxied = true;
                if (entry->runs_us && (survey.ours == NULL || !survey.ours->is_on))
                        survey.ours = entry;
        }
        check_entries(&survey);
        for (unsigned port = 1; port <= UINT16_MAX; port++)
                check_port(&survey, port);
        return survey.ours;
}
