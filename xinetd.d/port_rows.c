/*
 * port_rows.c - the rows of ports: who has them, and what a client meets at each address.
 * Runs in:   pop3d-check, as root where it can.
 * May touch: nothing but what the survey has found.
 */
#include "check.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>


enum { LIST_SIZE = 512 };

static bool
is_greeting(const char *heard)
{
        return strncmp(heard, GREETING, strlen(GREETING)) == 0;
}

/* ---- Who listens -------------------------------------------------------------------------- */

/* Whether the socket is an ordinary user's: then anybody may have put it there. */
static bool
is_ordinary(const struct listener *listener)
{
        return listener->uid >= ORDINARY_UID && listener->uid != geteuid();
}

/* The row of a listener that is somebody else than the entry's launcher. */
static void
report_rival(const struct port *port, const struct listener *listener, const struct entry *entry)
{
        char restart[VALUE_SIZE];

        if (entry == NULL)
                port_row(port, "warn", "%s (process %d) listens on %s; nothing known leads from it "
                    "to pop3d", listener->name, listener->pid, listener->text);
        else
                port_row(port, "fail", "%s (process %d) listens on %s\n"
                    "cause: it was first, so %s cannot: EADDRINUSE, \"Address already in use\"\n"
                    "remedy: stop it for good, then %s, for %s%s", listener->name, listener->pid,
                    listener->text, launcher_names[entry->launcher], restart_words(entry, restart),
                    entry->file, port->greets
                    ? ";\nor, if it is to stay, set disable = yes (or a #) there" : "");
}

static void
report_listener(const struct port *port, const struct listener *listener)
{
        const struct entry *entry = entry_of_port(&port->survey->entries, port->number, PORT,
            listener->name);

        if (is_ordinary(listener))
                port_row(port, "fail", "%s (process %d) listens on %s; the socket is uid %u's\n"
                    "cause: not a launcher that root started has this port, whatever it calls "
                    "itself: an ordinary user has, and hears the passwords that are sent there\n"
                    "remedy: kill %d; then start the launcher; let pop3d have a port below 1024, "
                    "or a Unix socket", listener->name, listener->pid, listener->text, listener->uid,
                    listener->pid);
        else if (listener->pid != 0 && strchr("Tt", listener->state) != NULL)
                port_row(port, "fail", "%s (process %d) listens on %s, but is stopped (state %c)\n"
                    "cause: a SIGSTOP, a debugger; the kernel accepts clients, and nobody greets\n"
                    "remedy: kill -CONT %d", listener->name, listener->pid, listener->text,
                    listener->state, listener->pid);
        else if (listener->pid == 0)
                port_row(port, "skip", "%s listens on %s", geteuid() == 0
                    ? "a process that is not seen from here" : "a process that only root sees",
                    listener->text);
        else if (entry != NULL ? !entry_is_by(&port->survey->entries, entry, listener->name) : port->is_foreign)
                report_rival(port, listener, entry);
        else
                port_row(port, "ok", "%s (process %d) listens on %s", listener->name, listener->pid,
                    listener->text);
}

/* ---- What is met at the doors ------------------------------------------------------------- */

/* Whether the same came of both, so that one row tells of them. */
static bool
is_alike(const struct door *one, const struct door *other)
{
        return one->port == other->port && one->outcome == other->outcome &&
            one->error == other->error && one->speaks_tls == other->speaks_tls &&
            strcmp(one->refused_by, other->refused_by) == 0 &&
            (one->speaks_tls || strcmp(one->heard, other->heard) == 0);
}

/* The addresses of all doors like this one: "127.0.0.1, ::1"; "" where one before it is alike. */
static const char *
list_doors(const struct survey *survey, const struct door *door, char list[LIST_SIZE])
{
        size_t used = 0;

        list[0] = '\0';
        for (size_t i = 0; i < survey->door_count && used < LIST_SIZE; i++) {
                const struct door *other = &survey->door[i];

                if (!is_alike(door, other))
                        continue;
                if (used == 0 && other != door)
                        return list;
                used += (size_t)snprintf(list + used, LIST_SIZE - used, "%s%s",
                    used > 0 ? ", " : "", other->address.text);
        }
        return list;
}

/* Whether somebody is greeted at another door of the port. */
static bool
greets_others(const struct survey *survey, const struct door *door)
{
        for (size_t i = 0; i < survey->door_count; i++)
                if (survey->door[i].port == door->port && survey->door[i].outcome == HEARD)
                        return true;
        return false;
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
report_heard(const struct port *port, const struct door *door, const char *list)
{
        if (door->speaks_tls)
                port_row(port, "ok", "speaks TLS\nover %s", list);
        else if (strstr(door->heard, "Initializing inetd mode") != NULL)
                port_row(port, "fail", "stunnel writes its messages to the client, for it could not begin:\n"
                    "heard: %s\nover %s\ncause: its file, its certificate, or the account that it runs as: see the row "
                    "of %s\nremedy: what that row says; `stunnel FILE` by hand, as root, tells the same", door->heard,
                    list, port->entry != NULL ? port->entry->file : "its entry");
        else if (door->manner == WITH_TLS || door->manner == WITH_PROXY_AND_TLS)
                port_row(port, "fail", "speaks in clear text, where clients begin with TLS\n"
                    "heard: %s\nover %s\ncause: no TLS in front, or one that waits for STLS "
                    "(`protocol = pop3`)\nremedy: let stunnel have the port, as "
                    "stunnel-exec.conf shows, and without `protocol = pop3`; HAProxy: ssl crt "
                    "CERTIFICATE on its bind line", door->heard, list);
        else if (is_greeting(door->heard))
                port_row(port, port->is_foreign ? "warn" : "ok", "greets: %s\nover %s",
                    door->heard, list);
        else
                port_row(port, "fail", "another greeting than ours:\nheard: %s\n"
                    "ours: %s\nover %s\ncause: %s", door->heard, GREETING, list,
                    cause_of_greeting(door->heard, port->is_foreign));
}

/* Whether somebody is greeted over loopback, but not at this door. */
static bool
is_for_here_alone(const struct port *port, const struct door *door)
{
        for (size_t i = 0; i < port->survey->door_count; i++) {
                const struct door *other = &port->survey->door[i];

                if (other->port == door->port && other->address.is_loopback && other->outcome == HEARD)
                        return !door->address.is_loopback;
        }
        return false;
}

/* Connected, and closed without a greeting, and no word of the entry's is known to be why. */
static void
report_closed(const struct port *port, const struct door *door, const char *list)
{
        if (greets_others(port->survey, door))
                port_row(port, is_for_here_alone(port, door) ? "warn" : "skip", "clients at %s are "
                    "turned away: closed at once, though others are greeted\n"
                    "cause: the launcher limits who may connect; see its log\n"
                    "remedy: let the clients' networks in there", list);
        else
                port_row(port, "fail", "another greeting than ours:\n"
                    "heard: (nothing: closed at once)\nours: %s\nover %s\ncause: %s", GREETING,
                    list, port->is_foreign ? "another program answers in our place"
                    : "the launcher starts something else, or refuses; see its log. Limits "
                    "(instances, per_source), /etc/hosts.deny");
}

/* What may keep an address from being connected to though somebody listens there. */
static const char *
cause_of_error(int error)
{
        if (error == ETIMEDOUT)
                return "nothing answers: a firewall drops it";
        return "a firewall rejects it, or there is no route";
}

/* It is told of by reach_check(): the socket takes IPv6 alone. */
static bool
is_of_other_family(const struct port *port, const struct door *door)
{
        return door->address.family == AF_INET && port_refuses_four(port->survey, port->number);
}

static void
report_door(const struct port *port, const struct door *door)
{
        char list[LIST_SIZE];

        if (door->port != port->number || *list_doors(port->survey, door, list) == '\0')
                return;
        if (door->outcome == HEARD)
                report_heard(port, door, list);
        else if (*door->refused_by != '\0')
                /* whether that keeps out who should come is said by the row access */
                port_row(port, "skip", "clients at %s are turned away: %s", list, door->refused_by);
        else if (door->outcome == CLOSED)
                report_closed(port, door, list);
        else if (door->outcome == SILENT && door->speaks_tls)
                port_row(port, "fail", "speaks TLS at once, where clients begin in clear text\n"
                    "over %s\ncause: a TLS front without STLS has this port\nremedy: `protocol = "
                    "pop3` for it, as in stunnel-stls.conf; or let it have port 995", list);
        else if (door->outcome == SILENT && door->manner == WITH_TLS && port->entry == NULL &&
            port->survey->entries.is_proxied)
                port_row(port, "skip", "does not answer to TLS from here, at %s; who has it is no "
                    "launcher that is known, and may serve others", list);
        else if (door->outcome == SILENT)
                port_row(port, "fail", "another greeting than ours:\nheard: (nothing: timed out)\n"
                    "ours: %s\nover %s\ncause: %s\nremedy: see the launcher's log", GREETING, list,
                    door->manner == WITH_PROXY ? "it starts something else, or hangs"
                    : "the launcher hangs, asks ident (USERID), or waits for a PROXY header (-x)");
        else if (!is_of_other_family(port, door))
                port_row(port, "fail", "no connection to %s: %s (%s)\ncause: %s\n"
                    "remedy: let TCP to port %u in; `nft list ruleset` or `iptables-save` shows "
                    "the rules", list, strerror(door->error), error_name(door->error),
                    cause_of_error(door->error), port->number);
}

/* ---- All of a port ------------------------------------------------------------------------ */

/* What has to be known before the rows are printed. */
static void
look_at_port(struct port *port)
{
        struct survey *survey = port->survey;

        port->entry = entry_of_port(&survey->entries, port->number, PORT, "");
        port->before = entry_of_port(&survey->entries, port->number, CONNECT, "");
        for (size_t i = 0; i < survey->door_count; i++) {
                const struct door *door = &survey->door[i];

                if (door->port == port->number && is_greeting(door->heard))
                        port->greets = true;
        }
        for (size_t i = 0; i < survey->listeners.count; i++) {
                const struct listener *listener = &survey->listeners.listener[i];
                const struct entry *entry = entry_of_port(&survey->entries, port->number, PORT,
                    listener->name);

                if (listener->port != port->number)
                        continue;
                port->entry = entry;
                if (entry != NULL)
                        port->is_foreign = listener->pid > 0 &&
                            !entry_is_by(&survey->entries, entry, listener->name);
                else
                        port->is_foreign = listener->pid > 0 && !port->greets &&
                            port_begins_with_tls(survey, port->number) && !survey->entries.is_proxied;
                if (port->number == POP3_PORT && entry != NULL && !port->is_foreign &&
                    entry->runs_us)
                        survey->ours = entry;
        }
}

static void
check_port(struct survey *survey, unsigned number)
{
        struct port port = { .survey = survey, .number = number };
        bool is_taken = false;

        look_at_port(&port);
        for (size_t i = 0; i < survey->listeners.count; i++)
                if (survey->listeners.listener[i].port == number) {
                        report_listener(&port, &survey->listeners.listener[i]);
                        is_taken = true;
                }
        if (!is_taken) {
                nobody_check(&port);
                return;
        }
        for (size_t i = 0; i < survey->door_count; i++)
                report_door(&port, &survey->door[i]);
        reach_check(&port);
}

void
ports_check(struct survey *survey)
{
        for (size_t i = 0; i < survey->port_count; i++)
                check_port(survey, survey->port[i]);
}
