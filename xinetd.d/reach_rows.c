/*
 * reach_rows.c - the rows of whom a port does not reach: nobody listens, or for some alone.
 * Runs in:   pop3d-check.
 * May touch: nothing but what the survey has found.
 */
#include "check.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

enum { WORDS_SIZE = 2048 };

void
port_row(const struct port *port, const char *state, const char *format, ...)
{
        char what[16], text[WORDS_SIZE];
        va_list arguments;

        va_start(arguments, format);
        (void)vsnprintf(text, sizeof(text), format, arguments);
        va_end(arguments);
        (void)snprintf(what, sizeof(what), "port %u", port->number);
        print_row(port->survey->report, state, what, "%s", text);
}

static bool
has_family(const struct survey *survey, int family)
{
        for (size_t i = 0; i < survey->entries.own.count; i++)
                if (!survey->entries.own.address[i].is_loopback && survey->entries.own.address[i].family == family)
                        return true;
        return false;
}

/* Whether the entry itself says that it wants this family alone. */
static bool
is_meant(const struct port *port, int family)
{
        const struct entry *entry = port->entry;
        const char *flags = entry == NULL ? NULL : entry_word(entry, "flags");
        const char *bind = entry == NULL ? NULL : entry_word(entry, "bind");

        for (size_t i = 0; i < port->survey->listeners.count; i++) {
                const struct listener *listener = &port->survey->listeners.listener[i];

                if (listener->port == port->number && !listener_is_wild(listener))
                        return true;
        }
        if (entry == NULL || entry->launcher == COMMAND)
                return true;
        if (flags != NULL && strstr(flags, family == AF_INET ? "IPv4" : "IPv6") != NULL)
                return true;
        if (bind != NULL && strchr(bind, family == AF_INET ? '.' : ':') != NULL)
                return true;
        return strchr(entry->value[PORT], family == AF_INET ? '.' : '[') != NULL;
}
/* Whether a process of this name has the port. openbsd-inetd's, for which tcp is both families, is "inetd". */
static bool
has_listener_of(const struct port *port, const char *name)
{
        for (size_t i = 0; i < port->survey->listeners.count; i++)
                if (port->survey->listeners.listener[i].port == port->number &&
                    strcmp(port->survey->listeners.listener[i].name, name) == 0)
                        return true;
        return false;
}

/* Clients of one family are not served, though this machine has addresses of it. */
static void
report_family(const struct port *port, int missing)
{
        const char *name = missing == AF_INET ? "IPv4" : "IPv6";
        const struct entry *entry = port->entry;
        bool is_by_inetd = entry != NULL && entry->launcher == INETD;
        const char *protocol = is_by_inetd && entry_word(entry, "protocol") != NULL ? entry_word(entry, "protocol") : "";

        if (is_meant(port, missing == AF_INET ? AF_INET6 : AF_INET))
                port_row(port, "skip", "not over %s, as it is set up", name);
        else if (is_by_inetd && strncmp(protocol, "tcp6", 4) == 0 && missing == AF_INET)
                port_row(port, "warn", "nobody listens over IPv4: such clients are refused\ncause: %s is IPv6 alone for "
                    "this inetd\nremedy: write the line in %s once more, with tcp4 in place of %s, then restart inetd",
                    protocol, entry->file, protocol);
        else if (is_by_inetd && strcmp(protocol, "tcp4") == 0 && missing == AF_INET6)
                port_row(port, "warn", "nobody listens over IPv6: such clients are refused\ncause: tcp4 is IPv4 alone\n"
                    "remedy: write %s in place of tcp4 in %s, then restart inetd",
                    has_listener_of(port, "inetd") ? "tcp" : "tcp6", entry->file);
        else if (is_by_inetd && missing == AF_INET)
                port_row(port, "warn", "nobody listens over IPv4: such clients are refused\n"
                    "cause: inetd closes a port for ten minutes (\"looping\" in its log) after "
                    "too many sessions in a minute: %s\nremedy: a higher number, as "
                    "nowait.60000, in %s, then restart inetd", entry->value[WAIT], entry->file);
        else
                port_row(port, "warn", "nobody listens over %s: such clients are refused\n"
                    "cause: %s\nremedy: %s", name,
                    is_by_inetd ? "tcp is IPv4 alone for this inetd, or it closed the port "
                    "(\"looping\" in its log)" : "the launcher was told so, or began when the "
                    "machine had no such address", is_by_inetd ? "write tcp6 in place of tcp in "
                    "/etc/inetd.conf, then restart inetd" : "let it listen on ::, and restart it");
}

bool
port_refuses_four(const struct survey *survey, unsigned port)
{
        bool is_served = false;

        for (size_t i = 0; i < survey->listeners.count; i++)
                if (survey->listeners.listener[i].port == port &&
                    survey->listeners.listener[i].family == AF_INET)
                        return false;
        for (size_t i = 0; i < survey->door_count; i++) {
                const struct door *door = &survey->door[i];
                bool is_refused = door->outcome == NOT_CONNECTED && door->error == ECONNREFUSED;

                if (door->port != port)
                        continue;
                if (door->address.family == AF_INET && !is_refused)
                        return false;
                is_served |= door->address.family == AF_INET6 && !is_refused;
        }
        return is_served;
}

/* Whom the port is out of reach for, if it is one for clients. */
void
reach_check(const struct port *port)
{
        const struct survey *survey = port->survey;
        bool is_open = port_is_open(survey, port->number, 0);
        bool is_for_clients = port->number == POP3_PORT || port->number == POP3S_PORT;

        if (!is_for_clients || port->before != NULL ||
            (!has_family(survey, AF_INET) && !has_family(survey, AF_INET6)))
                return;
        if (!is_open) {
                /* in clear text for this machine, and TLS for others, is as it should be */
                bool is_spare = port->number == POP3_PORT && port_is_open(survey, POP3S_PORT, 0);

                port_row(port, is_spare ? "skip" : "warn", "nobody listens but for this machine "
                    "itself%s%s%s%s", is_spare ? "" : ": others are refused\ncause: ",
                    is_spare ? "" : port->entry != NULL ? "the address in " : "a loopback address",
                    is_spare || port->entry == NULL ? "" : port->entry->file,
                    is_spare ? "" : "\nremedy: let it listen on :: (all addresses), unless all "
                    "clients are on this machine");
        } else if (has_family(survey, AF_INET6) && !port_is_open(survey, port->number, AF_INET6)) {
                report_family(port, AF_INET6);
        } else if (has_family(survey, AF_INET) && port_refuses_four(survey, port->number)) {
                report_family(port, AF_INET);
        }
}

/* Nobody listens on a port that something is set to use. Is that meant? */
void
nobody_check(const struct port *port)
{
        struct survey *survey = port->survey;
        const struct entry *entry = port->entry;
        bool is_bare = survey->entries.count == 0 && port->number == POP3_PORT;
        bool is_strange = entry != NULL && *entry->address != '\0' &&
            !addresses_have_name(&survey->entries.own, entry->address);
        const char *cps = entry == NULL ? NULL : entry_word(entry, "cps");
        char restart[VALUE_SIZE];

        if (is_strange)
                print_row(survey->report, "fail", "port", "nobody listens on %u, in spite of %s\n"
                    "cause: it wants to listen on %s, which this machine does not have (bind, "
                    "accept, ListenStream)\nremedy: write an address of this machine's there, or "
                    "none; then %s", port->number, entry->file, entry->address,
                    restart_words(entry, restart));
        else if (entry != NULL && entry->cannot_listen)
                print_row(survey->report, "skip", "port", "nobody listens on %u: why stands in the "
                    "row of %s", port->number, entry->file);
        else if (entry != NULL)
                print_row(survey->report, "fail", "port", "nobody listens on %u, in spite of %s%s%s\n"
                    "remedy: %s and see its log, or switch it off there", port->number, entry->file,
                    cps != NULL ? "\ncause: it does not run or could not begin; or it has switched the service off for "
                    "a while, cps = " : entry->launcher == INETD ? "\ncause: inetd does not run, has not read the line "
                    "since it was written, or has closed the port for ten minutes (\"looping\" in its log)" : "",
                    cps == NULL ? "" : cps, restart_words(entry, restart));
        else if (port->before != NULL)
                print_row(survey->report, "fail", "port", "nobody listens on %u, where %s connects\n"
                    "remedy: mend that, or switch on what is to listen, as pop3-inner",
                    port->number, port->before->file);
        else
                print_row(survey->report, is_bare ? "warn" : "skip", "port",
                    "nobody listens on %u, and no entry asks for it%s", port->number,
                    is_bare ? "\nremedy: choose a launcher from xinetd.d/" : "");
}

