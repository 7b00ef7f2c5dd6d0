/*
 * neighbours.c - single addresses of this machine's networks that an entry keeps out by name: an office, a ban.
 * Runs in:   pop3d-check, as root where it can.
 * May touch: /etc/hosts.allow and /etc/hosts.deny, for reading.
 */
#include "access.h"

#include <stdio.h>
#include <string.h>

enum { NEIGHBOURS_MAX = 256 };

/* Addresses that are written somewhere. */
struct found {
        const struct entries *entries;
        size_t count;
        struct address address[NEIGHBOURS_MAX];
};

/* Takes those of the text that are of a network of this machine's, and not its own. */
static void
take_text(struct found *found, const char *text)
{
        char word[INET6_ADDRSTRLEN];

        for (const char *at = text; *at != '\0' && found->count < NEIGHBOURS_MAX;) {
                struct address *address = &found->address[found->count];
                size_t length = strcspn(at, " \t,[]");

                /* of "ALL: 192.0.2.7: deny" the address, and of "[2001:db8::7]" what is within */
                (void)snprintf(word, sizeof(word), "%.*s", (int)length, at);
                while (*word != '\0' && word[strlen(word) - 1] == ':')
                        word[strlen(word) - 1] = '\0';
                if (address_read(address, word) && addresses_are_near(&found->entries->own, address) &&
                    !addresses_have(&found->entries->own, address)) {
                        address->network = address->family == AF_INET ? 32 : 128;
                        found->count++;
                }
                at += length;
                at += strspn(at, " \t,[]");
        }
}

static void
take_hosts_line(void *context, char *line, unsigned number)
{
        (void)number;
        if (*line != '#')
                take_text(context, line);
}

void
neighbours_check(const struct entries *entries, const struct entry *entry)
{
        static struct found found;
        struct refusal refusal;
        char restart[VALUE_SIZE];

        found.entries = entries;
        found.count = 0;
        if (entry_word(entry, "no_access") != NULL)
                take_text(&found, entry_word(entry, "no_access"));
        (void)file_read(entries, "/etc/hosts.allow", take_hosts_line, &found);
        (void)file_read(entries, "/etc/hosts.deny", take_hosts_line, &found);
        for (size_t i = 0; i < found.count; i++)
                if (access_refusal(entries, entry, &found.address[i], &refusal)) {
                        print_row(entries->report, "warn", "access", "%s: %s, of a network of this machine's, is "
                            "kept out\ncause: %s names it: a ban (DenyHosts, fail2ban), or a rule for that address\n"
                            "remedy: %s; then %s, unless it is meant", entry->file, found.address[i].text,
                            refusal.cause, refusal.remedy, restart_words(entry, restart));
                        return;
                }
}
