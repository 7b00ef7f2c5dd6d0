/*
 * haproxy_access.c - whom the rules of HAProxy's frontends keep out: those that ask for the source address alone.
 * Runs in:   pop3d-check.
 * May touch: nothing but what haproxy.c has read.
 *
 * The word "rules" of an entry has them in their order, each with a ";" behind it: "reject if !{ src
 * 10.0.0.0/8 };". Where a rule asks for something else as well, nothing is said about it.
 */
#include "access.h"

#include <stdio.h>
#include <string.h>

/* Whether the address is one of a condition's: "10.0.0.0/8 192.0.2.7". */
static bool
is_listed(const struct address *address, char *list)
{
        char *rest;

        for (char *one = strtok_r(list, " \t", &rest); one != NULL; one = strtok_r(NULL, " \t", &rest))
                if (is_in_network(address, one))
                        return true;
        return false;
}

/*
 * Whether a rule's condition is met by the address; all of its terms must be. To HAProxy one without
 * terms is never met. False as well, and *is_known false, if one of them is not about the source.
 */
static bool
is_met(const struct address *address, const char *condition, bool *is_known)
{
        bool is_all = condition[strspn(condition, " \t")] != '\0';

        while (*(condition += strspn(condition, " \t")) != '\0') {
                bool is_not = *condition == '!';
                const char *end = strchr(condition, '}');
                char list[VALUE_SIZE];

                condition += is_not;
                condition += strspn(condition, " \t");
                if (end == NULL || strncmp(condition, "{ src ", 6) != 0) {
                        *is_known = false;
                        return false;
                }
                (void)snprintf(list, sizeof(list), "%.*s", (int)(end - condition - 6), condition + 6);
                is_all &= is_listed(address, list) != is_not;
                condition = end + 1;
        }
        return is_all;
}

/* Whether a rule is for the address: "reject", "reject if { src 10.0.0.0/8 }", "reject unless ...". */
static bool
is_for(const struct address *address, const char *rule, bool *is_known)
{
        const char *word = rule + strcspn(rule, " ");
        bool is_unless = strncmp(word, " unless", 7) == 0;

        word += strspn(word, " ");
        return *word == '\0' || is_met(address, word + strcspn(word, " "), is_known) != is_unless;
}

bool
haproxy_refuses(const struct entry *entry, const struct address *address, struct refusal *refusal)
{
        char text[4 * VALUE_SIZE], *end;

        (void)snprintf(text, sizeof(text), "%s", entry_word(entry, "rules") == NULL ? "" : entry_word(entry, "rules"));
        /* what has no ";" behind it was cut, and may have lost its condition */
        for (char *rule = text; (end = strchr(rule, ';')) != NULL; rule = end + 1) {
                bool is_known = true, applies;

                *end = '\0';
                applies = is_for(address, rule, &is_known);
                if (!is_known || !applies)
                        continue;
                if (strncmp(rule, "accept", 6) == 0)
                        return false;
                (void)snprintf(refusal->cause, VALUE_SIZE, "%.900s (tcp-request in frontend %s)", rule, entry->name);
                (void)snprintf(refusal->remedy, VALUE_SIZE, "write before it there: tcp-request connection accept if "
                    "{ src %s }", address_network(address, (char[NETWORK_SIZE]){ "" }));
                refusal->is_for_others = true;
                return true;
        }
        return false;
}
