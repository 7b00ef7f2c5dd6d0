/*
 * access.c - who may connect: what restricts an entry by address and by time.
 * Runs in:   pop3d-check, as root where it can.
 * May touch: what entries.c, refusal.c and limits.c touch.
 *
 * The addresses of this machine are asked for. Each stands for its network, whose clients are taken
 * to be ours: an entry that lets none of these networks in is a warning, whatever else it lets in.
 */
#include "access.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static bool
is_listed(const char *list, const char *word)
{
        return list != NULL && strstr(list, word) != NULL;
}

/* ---- Who is let in ------------------------------------------------------------------------------ */

static bool
is_loopback_address(const char *address)
{
        return strncmp(address, "127.", 4) == 0 || strcmp(address, "::1") == 0 ||
            strcmp(address, "localhost") == 0;
}

/* Who is to connect: users; a proxy or stunnel of this machine; a proxy on another, of which nothing is known. */
enum audience { CLIENTS, THIS_MACHINE, PROXIES };

static enum audience
audience_of(const struct entries *entries, const struct entry *entry)
{
        if (entry->port == 0 || entry_of_port(entries, entry->port, CONNECT, "") != NULL ||
            (is_loopback_address(entry->address) && (entry->options.auth.expects_proxy ||
            (entry->port != POP3_PORT && entry->port != POP3S_PORT))))
                return THIS_MACHINE;
        return entry->options.auth.expects_proxy ? PROXIES : CLIENTS;
}

/* Whether another entry, on its port or with TLS, is for the clients on other machines. */
static bool
is_for_local_use(const struct entries *entries, const struct entry *entry)
{
        for (size_t i = 0; i < entries->count; i++) {
                const struct entry *other = &entries->entry[i];

                bool does_tls = other->launcher == STUNNEL || other->launcher == HAPROXY ||
                    other->port == POP3S_PORT;

                if (other == entry || !other->is_on || is_loopback_address(other->address))
                        continue;
                if ((other->port == entry->port && is_loopback_address(entry->address)) || (does_tls &&
                    entry->port == POP3_PORT && !entry->options.allows_clear_text))
                        return true;
        }
        return false;
}

/* The words of the entry that restrict, as they are. */
static void
describe(const struct entry *entry, char text[4 * VALUE_SIZE])
{
        static const char *const words[] = {
                "bind", "only_from", "no_access", "access_times", "instances", "per_source", "cps", "max_load",
                "rlimit_as", "rlimit_cpu", "rlimit_data", "deny_time", "range", "tcpwrap", "max-children", "IPAddressAllow", "IPAddressDeny",
                "MaxConnections", "MaxConnectionsPerSource", "BindIPv6Only", "libwrap", "wait",
        };
        size_t used = (size_t)snprintf(text, 4 * VALUE_SIZE, "%.900s", entry->file), bare = used;

        for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
                const char *value = entry_word(entry, words[i]);

                if (value != NULL && strcmp(value, "no") != 0 && used < 3 * VALUE_SIZE)
                        used += (size_t)snprintf(text + used, 4 * VALUE_SIZE - used, "%s %s = %.600s",
                            used == bare ? ":" : ",", words[i], value);
        }
        if (used == bare)
                (void)snprintf(text + used, 4 * VALUE_SIZE - used, ": nothing there restricts who may connect");
}

/* Whether clients come from this address, or from its network. What is inner comes from where it connects to. */
static bool
is_source(const struct entry *entry, const struct address *own, bool inner)
{
        if (inner && *entry->address != '\0' && !is_loopback_address(entry->address))
                return strcmp(own->text, entry->address) == 0;
        return own->is_loopback == inner;
}

/* Whether one of this machine's networks of a family is let in, or its loopback; true without any. */
static bool
lets_family_in(const struct entries *entries, const struct entry *entry, bool inner, int family,
    struct refusal *refusal)
{
        bool is_any = false;

        for (size_t i = 0; i < entries->own.count; i++) {
                const struct address *own = &entries->own.address[i];
                struct refusal last;

                if (!is_source(entry, own, inner) || own->family != family)
                        continue;
                is_any = true;
                if (!access_refusal(entries, entry, own, &last))
                        return true;
                /* the first one is told of */
                if (refusal->cause[0] == '\0')
                        *refusal = last;
        }
        return !is_any;
}

/* Over IPv4 most clients come; over IPv6 alone only where this machine has no other network. */
static bool
lets_in(const struct entries *entries, const struct entry *entry, bool inner, struct refusal *refusal)
{
        bool has_four = false;

        for (size_t i = 0; i < entries->own.count; i++)
                has_four |= entries->own.address[i].family == AF_INET &&
                    is_source(entry, &entries->own.address[i], inner);
        return lets_family_in(entries, entry, inner, has_four ? AF_INET : AF_INET6, refusal);
}

/* Whether nobody can connect at all, as far as it is known: not from here either. */
static bool
is_shut(const struct entries *entries, const struct entry *entry, const struct refusal *refusal)
{
        struct refusal here = { .cause = "" };

        return !refusal->is_for_others && (!lets_in(entries, entry, true, &here) && !here.is_for_others);
}

static void
check_addresses(const struct entries *entries, const struct entry *entry)
{
        enum audience audience = audience_of(entries, entry);
        bool inner = audience == THIS_MACHINE;
        struct refusal refusal = { .cause = "" };
        char text[4 * VALUE_SIZE], restart[VALUE_SIZE];

        describe(entry, text);
        (void)restart_words(entry, restart);
        if (entry->address[0] != '\0' && !addresses_have_name(&entries->own, entry->address))
                print_row(entries->report, "fail", "access", "%s\ncause: it listens on %s, which is no address of "
                    "this machine (bind), so nobody can connect\nremedy: take out %s there, then %s", text,
                    entry->address, entry->address, restart);
        else if (audience == CLIENTS && is_loopback_address(entry->address) && !is_for_local_use(entries, entry))
                print_row(entries->report, "warn", "access", "%s\ncause: it listens on %s alone (bind), so that "
                    "no other machine can connect\nremedy: take out %s there, then %s", text,
                    entry->address, entry->address, restart);
        else if (lets_in(entries, entry, inner, &refusal) || is_for_local_use(entries, entry)) {
                print_row(entries->report, "ok", "access", "%s", text);
                if (audience == CLIENTS)
                        neighbours_check(entries, entry);
        } else if (audience == PROXIES)
                print_row(entries->report, "skip", "access", "%s\ncause: what lets proxies of other machines in "
                    "(-x) is tried there alone\nremedy: see that it has their addresses", text);
        else
                print_row(entries->report, inner || is_shut(entries, entry, &refusal) ? "fail" : "warn", "access",
                    "%s\ncause: %s keeps out %s\n"
                    "remedy: %s; then %s, or see that your clients come from elsewhere", text,
                    refusal.cause, inner ? "this machine itself" : "the networks of this machine",
                    refusal.remedy, restart);
}

/* ---- Times -------------------------------------------------------------------------------------- */

/* "8:00-12:00 14:00-18:30": whether one of these has this minute in it. is_read: there are some at all. */
static bool
is_open_now(const char *times, bool *is_read)
{
        time_t seconds = time(NULL);
        const struct tm *now = localtime(&seconds);
        unsigned minute = now == NULL ? 0 : (unsigned)(now->tm_hour * 60 + now->tm_min);
        unsigned from[2], until[2];
        int length;

        *is_read = false;
        while (sscanf(times, " %u:%u-%u:%u%n", &from[0], &from[1], &until[0], &until[1], &length) == 4) {
                *is_read = true;
                if (from[0] * 60 + from[1] <= minute && minute <= until[0] * 60 + until[1])
                        return true;
                times += length;
        }
        return false;
}

static void
check_times(const struct entries *entries, const struct entry *entry)
{
        const char *times = entry_word(entry, "access_times");
        bool is_read;

        if (times != NULL && !is_open_now(times, &is_read))
                print_row(entries->report, "fail", "access", "%s: access_times = %s\ncause: it is %s\n"
                    "remedy: take out there the line with access_times, or change it (8:00-18:00), then restart "
                    "xinetd", entry->file, times, is_read ? "closed at this hour"
                    : "always closed, for times are written HH:MM-HH:MM");
}

/* xinetd asks the client's machine who the user is, and waits for the answer. */
static void
check_ident(const struct entries *entries, const struct entry *entry)
{
        static const char *const words[] = { "log_on_success", "log_on_failure" };

        for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
                if (entry->launcher == XINETD && is_listed(entry_word(entry, words[i]), "USERID"))
                        print_row(entries->report, "warn", "access", "%s: %s has USERID\ncause: xinetd asks the "
                            "client's machine by ident (port 113) who connects; where a firewall drops that, the "
                            "greeting comes half a minute late\nremedy: write there: %s -= USERID, then restart "
                            "xinetd", entry->file, words[i], words[i]);
        if (entry->launcher == XINETD && is_listed(entry->value[FLAGS], "IDONLY") &&
            is_listed(entry_word(entry, "log_on_success"), "USERID"))
                print_row(entries->report, "fail", "access", "%s: flags = %s\ncause: IDONLY lets in only clients "
                    "whose machine answers to ident (port 113), and hardly one does\nremedy: take IDONLY out "
                    "there, then restart xinetd", entry->file, entry->value[FLAGS]);
        if (entry->launcher == XINETD && entry_word(entry, "v6only") != NULL &&
            strcmp(entry_word(entry, "v6only"), "yes") == 0)
                print_row(entries->report, "warn", "access", "%s: v6only = yes\ncause: clients over IPv4 are "
                    "refused\nremedy: write there: v6only = no, then restart xinetd", entry->file);
}

void
access_check(const struct entries *entries)
{
        for (size_t i = 0; i < entries->count; i++) {
                const struct entry *entry = &entries->entry[i];

                /* a stunnel file without a port is for what starts that stunnel, and so has its entry */
                if (!entry->is_on || entry->cannot_listen || (entry->port == 0 && entry->socket[0] == '\0'))
                        continue;
                check_addresses(entries, entry);
                check_times(entries, entry);
                check_ident(entries, entry);
                limits_check(entries, entry);
        }
}
