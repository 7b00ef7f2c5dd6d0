/*
 * refusal.c - whether what restricts an entry by address keeps one out: its own lists, tcp wrappers.
 * Runs in:   pop3d-check, as root where it can.
 * May touch: what ports.c, sources.c, wrappers.c and command_access.c touch.
 */
#include "access.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool
is_listed(const char *list, const char *word)
{
        return list != NULL && strstr(list, word) != NULL;
}

/* ---- xinetd's lists ---------------------------------------------------------------------------- */

/* "128.138.{12,44}": the octets before the brace, then one of those within; the rest may be any. */
static bool
is_in_factors(const struct address *own, const char *pattern)
{
        const char *brace = strchr(pattern, '{'), *at = brace + 1;
        unsigned octet = 0;

        if (own->family != AF_INET)
                return false;
        for (const char *digit = pattern; digit < brace && octet < 3; octet++) {
                if (strtoul(digit, NULL, 10) != own->octets[octet])
                        return false;
                digit += strspn(digit, "0123456789") + 1;
        }
        for (; *at != '\0'; at += *at != '\0') {
                if (strtoul(at, NULL, 10) == own->octets[octet])
                        return true;
                at += strcspn(at, ",}");
        }
        return false;
}

/* A pattern of only_from or no_access. Octets of zero at the end of an IPv4 address may be any. */
static bool
matches(const struct address *own, const char *pattern)
{
        char name[VALUE_SIZE], network[VALUE_SIZE];
        unsigned char octets[4];
        unsigned prefix = 32;
        size_t length, wanted = strlen(pattern);

        if (strchr(pattern, '{') != NULL)
                return is_in_factors(own, pattern);
        if (strchr(pattern, '/') != NULL)
                return is_in_network(own, pattern);
        if (inet_pton(AF_INET, pattern, octets) == 1) {
                while (prefix > 0 && octets[prefix / 8 - 1] == 0)
                        prefix -= 8;
                (void)snprintf(network, sizeof(network), "%s/%u", pattern, prefix);
                return is_in_network(own, network);
        }
        if (strchr(pattern, ':') != NULL)
                return strcmp(pattern, "::") == 0 ? own->family == AF_INET6 : is_in_network(own, pattern);
        length = strlen(name_of(own, name));
        if (*pattern == '.')
                return length > wanted && strcasecmp(name + length - wanted, pattern) == 0;
        return strcasecmp(name, pattern) == 0;
}

/* The first pattern of the list that matches, or NULL. */
static const char *
find_match(const struct address *own, const char *list, char found[VALUE_SIZE])
{
        char text[4 * VALUE_SIZE], *rest;

        (void)snprintf(text, sizeof(text), "%s", list == NULL ? "" : list);
        for (char *one = strtok_r(text, " \t", &rest); one != NULL; one = strtok_r(NULL, " \t", &rest))
                if (matches(own, one)) {
                        (void)snprintf(found, VALUE_SIZE, "%s", one);
                        return found;
                }
        return NULL;
}

/* Whether a list names others than this machine. */
static bool
names_others(const char *list)
{
        char text[4 * VALUE_SIZE], *rest;

        (void)snprintf(text, sizeof(text), "%s", list == NULL ? "" : list);
        for (char *one = strtok_r(text, " \t", &rest); one != NULL; one = strtok_r(NULL, " \t", &rest))
                if (strncmp(one, "127.", 4) != 0 && strcmp(one, "::1") != 0 && strcmp(one, "localhost") != 0)
                        return true;
        return false;
}

static bool
xinetd_refuses(const struct entry *entry, const struct address *own, struct refusal *refusal)
{
        const char *only = entry_word(entry, "only_from"), *none = entry_word(entry, "no_access");
        char found[VALUE_SIZE], network[NETWORK_SIZE];

        if (find_match(own, none, found) != NULL) {
                (void)snprintf(refusal->cause, VALUE_SIZE, "no_access = %.900s", none);
                (void)snprintf(refusal->remedy, VALUE_SIZE, "write there: no_access -= %.900s", found);
                return true;
        }
        if (only == NULL || find_match(own, only, found) != NULL)
                return false;
        refusal->is_for_others = names_others(only);
        (void)snprintf(refusal->cause, VALUE_SIZE, "only_from = %.900s", only);
        (void)snprintf(refusal->remedy, VALUE_SIZE, "write there: only_from += %s",
            address_network(own, network));
        return true;
}

/* ---- systemd's lists --------------------------------------------------------------------------- */

static bool
is_in_list(const struct address *own, const char *list)
{
        char text[4 * VALUE_SIZE], *rest;

        (void)snprintf(text, sizeof(text), "%s", list == NULL ? "" : list);
        for (char *one = strtok_r(text, " \t", &rest); one != NULL; one = strtok_r(NULL, " \t", &rest))
                if (strcmp(one, "any") == 0 || (strcmp(one, "localhost") == 0 && own->is_loopback) ||
                    is_in_network(own, one))
                        return true;
        return false;
}

static bool
systemd_refuses(const struct entry *entry, const struct address *own, struct refusal *refusal)
{
        const char *deny = entry_word(entry, "IPAddressDeny");
        char network[NETWORK_SIZE];

        if (is_in_list(own, entry_word(entry, "IPAddressAllow")) || !is_in_list(own, deny))
                return false;
        refusal->is_for_others = names_others(entry_word(entry, "IPAddressAllow"));
        (void)snprintf(refusal->cause, VALUE_SIZE, "IPAddressDeny=%.900s", deny);
        (void)snprintf(refusal->remedy, VALUE_SIZE, "write IPAddressAllow=%s beside it (systemctl edit), then: "
            "systemctl daemon-reload; systemctl restart %s", address_network(own, network), entry->name);
        return true;
}

/* ---- tcp wrappers ------------------------------------------------------------------------------ */

/* Whether a process has no libwrap in it, as far as it can be seen. */
static bool
lacks_libwrap(int pid)
{
        char path[NAME_SIZE], line[VALUE_SIZE];
        bool is_found = false;
        FILE *maps;

        (void)snprintf(path, sizeof(path), "/proc/%d/maps", pid);
        maps = pid == 0 ? NULL : fopen(path, "re");
        if (maps == NULL)
                return false;
        while (!is_found && fgets(line, sizeof(line), maps) != NULL)
                is_found = strstr(line, "libwrap") != NULL;
        (void)fclose(maps);
        return !is_found;
}

struct search {
        int pid;
        char letter;
        bool is_found;
};

static void
look_for_letter(void *context, const struct process *process)
{
        struct search *search = context;

        for (size_t i = 1; i < process->count && process->pid == search->pid; i++)
                search->is_found |= process->words[i][0] == '-' && process->words[i][1] != '-' &&
                    strchr(process->words[i], search->letter) != NULL;
}

/* Whether a process was started with an option of this letter. */
static bool
has_argument(int pid, char letter)
{
        struct search search = { .pid = pid, .letter = letter };

        processes_read(look_for_letter, &search);
        return search.is_found;
}

/* Under which name tcp wrappers know the daemon, or NULL if nothing asks them. */
static const char *
wrapped_name(const struct entries *entries, const struct entry *entry)
{
        const char *libwrap = entry_word(entry, "libwrap");
        const char *tcpwrap = entry_word(entry, "tcpwrap");
        bool has_tcpd = strcmp(base_name(entry->value[PROGRAM]), "tcpd") == 0;
        struct holder holder;

        if (entry->launcher == COMMAND && !has_tcpd)
                return tcpwrap == NULL || *tcpwrap != '\0' ? tcpwrap : entry->name;
        if (entry->launcher == STUNNEL)
                return libwrap != NULL && strcasecmp(libwrap, "yes") == 0 ? entry->name : NULL;
        if (has_tcpd)
                return base_name(entry->arguments[0]);
        find_holder(entry->port, &holder);
        if (lacks_libwrap(holder.pid))
                return NULL;
        if (entry->launcher == XINETD && !is_listed(entry->value[FLAGS], "NOLIBWRAP"))
                return is_listed(entry->value[FLAGS], "NAMEINARGS") ? base_name(entry->arguments[0])
                    : base_name(entry->value[PROGRAM]);
        if (entry->launcher == INETD && has_argument(holder.pid, 'l'))
                return base_name(entry->arguments[0]);
        return entry->launcher == INETD && entries->xinetd_reads_inetd
            ? base_name(entry->value[PROGRAM]) : NULL;
}

static bool
wrappers_refuse_entry(const struct entries *entries, const struct entry *entry, const struct address *own,
    struct refusal *refusal)
{
        const char *daemon = wrapped_name(entries, entry);
        char where[VALUE_SIZE], network[NETWORK_SIZE];

        if (daemon == NULL || !wrappers_refuse(entries, daemon, own, where))
                return false;
        (void)address_network(own, network);
        (void)snprintf(refusal->cause, VALUE_SIZE, "%.900s (tcp wrappers, for %s)", where, daemon);
        if (strstr(where, "hosts.allow") != NULL)
                (void)snprintf(refusal->remedy, VALUE_SIZE, "let %s in by a line before that one", network);
        else
                (void)snprintf(refusal->remedy, VALUE_SIZE, "echo '%s: %s%.*s%s%s' >>/etc/hosts.allow", daemon,
                    own->family == AF_INET6 ? "[" : "", (int)strcspn(network, "/"), network,
                    own->family == AF_INET6 ? "]" : "", network + strcspn(network, "/"));
        return true;
}

/* ---- All of them ------------------------------------------------------------------------------ */

bool
access_refusal(const struct entries *entries, const struct entry *entry, const struct address *own,
    struct refusal *refusal)
{
        refusal->is_for_others = false;
        if (entry->launcher == XINETD && xinetd_refuses(entry, own, refusal))
                return true;
        if (entry->launcher == SYSTEMD && systemd_refuses(entry, own, refusal))
                return true;
        if (entry->launcher == HAPROXY && haproxy_refuses(entry, own, refusal))
                return true;
        if (entry->launcher == COMMAND && command_refuses(entry, own, refusal))
                return true;
        return wrappers_refuse_entry(entries, entry, own, refusal);
}
