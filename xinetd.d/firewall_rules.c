/*
 * firewall_rules.c - the rules of a firewall, as nft and iptables-save write them down, taken apart.
 * Runs in:   pop3d-check.
 * May touch: nothing: text and memory alone.
 *
 * Two ways of writing, one list. What is asked about a rule is asked of its words, which both share
 * but for "dport 110" and "--dport 110", "saddr" and "-s", "drop" and "-j DROP".
 */
#include "check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---- Words -------------------------------------------------------------------------------- */

static bool
is_of_word(char octet)
{
        return octet == '_' || octet == '-' || (octet >= '0' && octet <= '9') ||
            (octet >= 'a' && octet <= 'z') || (octet >= 'A' && octet <= 'Z');
}

/* What stands behind the first such word, in either case of letters; NULL where there is none. */
static const char *
behind_word(const char *text, const char *word)
{
        size_t length = strlen(word);

        for (const char *at = text; (at = strcasestr(at, word)) != NULL; at++)
                if ((at == text || !is_of_word(at[-1])) && !is_of_word(at[length]))
                        return at + length;
        return NULL;
}

bool
rule_says(const struct rule *rule, const char *word)
{
        return behind_word(rule->text, word) != NULL;
}

/* The number of a port, written as such or as a name. */
static unsigned
port_number(const char *text)
{
        if (strncmp(text, "pop3s", 5) == 0)
                return POP3S_PORT;
        return strncmp(text, "pop3", 4) == 0 ? POP3_PORT : (unsigned)strtoul(text, NULL, 10);
}

/* Whether "110", "100-120" or "100:120" has the port. */
static bool
is_in_range(const char *text, unsigned port)
{
        size_t first = strspn(text, "pops0123456789");

        if (text[first] == '-' || (text[first] == ':' && text[first + 1] >= '0' && text[first + 1] <= '9'))
                return port >= port_number(text) && port <= port_number(text + first + 1);
        return port_number(text) == port;
}

/* Whether "{ 22, 110 : accept }", "22,110" or "110" has the port. */
static bool
is_in_list(const char *text, unsigned port)
{
        bool is_set = *text == '{';

        for (text += is_set;; text++) {
                text += strspn(text, is_set ? " \t\n" : "");
                if (is_in_range(text, port))
                        return true;
                text += strcspn(text, is_set ? ",}" : ", ");
                if (*text != ',')
                        return false;
        }
}

/* The elements of a named set, behind their brace; NULL if it is not in the text. */
static const char *
find_set(const struct rules *rules, const char *name)
{
        char label[128];
        const char *at, *elements, *end;

        (void)snprintf(label, sizeof(label), "\tset %.*s {", (int)strcspn(name, " \t\n;}"), name);
        at = strstr(rules->whole, label);
        elements = at == NULL ? NULL : strstr(at, "elements = {");
        end = at == NULL ? NULL : strstr(at, "\n\t}");
        return elements != NULL && (end == NULL || elements < end)
            ? elements + strlen("elements = ") : NULL;
}

/* What stands behind "dport", "--dports" and the like; NULL in a rule for all ports. */
static const char *
ports_of(const struct rule *rule)
{
        const char *at = behind_word(rule->text, "dport");

        if (at == NULL)
                at = behind_word(rule->text, "--dport");
        if (at == NULL)
                at = behind_word(rule->text, "--dports");
        return at == NULL ? NULL : at + strspn(at, " ");
}

bool
rule_names_port(const struct rules *rules, const struct rule *rule, unsigned port)
{
        const char *at = ports_of(rule);

        if (at == NULL || behind_word(rule->text, "udp") != NULL)
                return false;
        if (strncmp(at, "vmap ", 5) == 0)
                at += 5;
        if (*at == '@')
                at = find_set(rules, at + 1);
        if (at != NULL && strncmp(at, "!= ", 3) == 0)
                return !is_in_list(at + 3, port);
        return at != NULL && is_in_list(at, port);
}

bool
rule_is_of_interface(const struct rule *rule)
{
        static const char known[] = " iifname iif -i ip protocol tcp meta l4proto counter packets bytes drop reject "
            "with icmp icmpx type port-unreachable host-unreachable admin-prohibited reset -A INPUT PREROUTING -p -m "
            "-j DROP REJECT --reject-with icmp-port-unreachable icmp-host-prohibited # handle ip6 nexthdr ";
        char text[512], word[80], *rest;
        bool has_interface = false;

        (void)snprintf(text, sizeof(text), "%s", rule->text);
        for (char *one = strtok_r(text, " \t\n", &rest); one != NULL; one = strtok_r(NULL, " \t\n", &rest)) {
                bool is_name = false;

                if (strcmp(one, "iifname") == 0 || strcmp(one, "iif") == 0 || strcmp(one, "-i") == 0) {
                        one = strtok_r(NULL, " \t\n", &rest);
                        is_name = has_interface = one != NULL && strstr(one, "lo") == NULL && *one != '!' && *one != '{';
                        if (!is_name)
                                return false;
                        continue;
                }
                (void)snprintf(word, sizeof(word), " %.70s ", one);
                if (strstr(known, word) == NULL && one[strspn(one, "0123456789")] != '\0')
                        return false;
        }
        return has_interface;
}

bool
rule_is_for_all(const struct rule *rule)
{
        static const char *const conditions[] = { "dport", "--dport", "--dports", "saddr", "-s",
            "iif", "iifname", "-i", "oif", "oifname", "ct", "--ctstate", "--state", "icmp", "icmpv6",
            "limit", "--limit", "udp", "sport", "daddr", "-d", "mark", "fib", "flags", "hashlimit" };

        for (size_t i = 0; i < sizeof(conditions) / sizeof(conditions[0]); i++)
                if (rule_says(rule, conditions[i]))
                        return false;
        return true;
}

const char *
rule_sources(const struct rules *rules, const struct rule *rule)
{
        const char *at = behind_word(rule->text, "saddr");

        if (at == NULL)
                at = behind_word(rule->text, "-s");
        if (at == NULL)
                return NULL;
        at += strspn(at, " ");
        return *at == '@' ? find_set(rules, at + 1) : at;
}

unsigned
rule_target(const struct rule *rule)
{
        const char *at = behind_word(rule->text, "--to-ports");

        if (at == NULL)
                at = strstr(rule->text, "to :") == NULL ? NULL : strstr(rule->text, "to :") + 4;
        return at == NULL ? 0 : (unsigned)strtoul(at, NULL, 10);
}

bool
rule_leads_to(const struct rule *rule, const char *chain)
{
        static const char *const words[] = { "jump", "goto", "-j", "-g" };

        for (size_t i = 0; i < 4; i++) {
                const char *at = behind_word(rule->text, words[i]);
                size_t length = strlen(chain);

                if (at != NULL && strncmp(at + strspn(at, " "), chain, length) == 0 &&
                    !is_of_word(at[strspn(at, " ") + length]))
                        return true;
        }
        return false;
}

bool
rule_names_any_port(const struct rule *rule)
{
        return ports_of(rule) != NULL || behind_word(rule->text, "udp") != NULL;
}

/* Of "{ 22 : accept, 110 : drop }" the part that is the port's; else all of the rule. */
static struct rule
part_of_port(const struct rule *rule, unsigned port, char part[64])
{
        const char *at = behind_word(rule->text, "vmap");
        struct rule found = *rule;

        if (at == NULL)
                return found;
        part[0] = '\0';
        for (at += strspn(at, " {"); *at != '\0' && *at != '}'; at += strspn(at, ", ")) {
                if (is_in_range(at, port))
                        (void)snprintf(part, 64, "%.*s", (int)strcspn(at, ",}"), at);
                at += strcspn(at, ",}");
        }
        found.text = part;
        return found;
}

enum verdict_of_rule
rule_verdict(const struct rule *rule, unsigned port)
{
        char part[64];
        const struct rule asked = part_of_port(rule, port, part);

        if (rule_says(&asked, "redirect") || rule_says(&asked, "dnat") || rule_says(&asked, "tproxy"))
                return RULE_REDIRECTS;
        if (rule_says(&asked, "drop") || rule_says(&asked, "reject"))
                return RULE_DROPS;
        return rule_says(&asked, "accept") ? RULE_ACCEPTS : RULE_OTHER;
}

/* ---- The two ways of writing -------------------------------------------------------------- */

/* What stands in a comment is nothing to go by; names of interfaces stand in quotes as well. */
static void
blank_comment(char *line)
{
        char *at = strstr(line, "comment \"");

        if (at == NULL)
                return;
        for (at += strlen("comment \""); *at != '\0' && *at != '"'; at++)
                *at = ' ';
}

static enum hook
hook_of(const char *name)
{
        if (strncasecmp(name, "input", 5) == 0)
                return HOOK_INPUT;
        if (strncasecmp(name, "prerouting", 10) == 0)
                return HOOK_PREROUTING;
        return strncasecmp(name, "output", 6) == 0 || strncasecmp(name, "forward", 7) == 0 ||
            strncasecmp(name, "postrouting", 11) == 0 ? HOOK_ELSEWHERE : HOOK_NONE;
}

/* Adds a line to the list, of the table and chain that are being read. */
static void
add_rule(struct rules *rules, const struct rule *place, const char *text)
{
        if (rules->count == RULES_MAX)
                return;
        rules->rule[rules->count] = *place;
        rules->rule[rules->count++].text = text;
}

/* "table inet filter {", "chain input {", "type filter hook input priority 0; policy drop;" */
static void
take_nft_line(struct rules *rules, struct rule *place, char *line)
{
        const char *hook, *handle = strstr(line, "# handle ");

        if (sscanf(line, "table %63[^{]", place->table) == 1)
                place->table[strcspn(place->table, "{") - 1] = '\0';
        else if (sscanf(line, " chain %63[^ {]", place->chain) == 1)
                place->hook = HOOK_NONE;
        else if (strncmp(line, "\tset ", 5) == 0 || strncmp(line, "\tmap ", 5) == 0)
                place->chain[0] = '\0';
        else if ((hook = behind_word(line, "hook")) != NULL && strstr(line, "type ") != NULL) {
                place->hook = hook_of(hook + strspn(hook, " "));
                place->drops = strstr(line, "policy drop") != NULL;
                place->is_policy = true;
                add_rule(rules, place, line);
                place->is_policy = false;
        } else if (handle != NULL && place->chain[0] != '\0') {
                place->handle = (unsigned)strtoul(handle + strlen("# handle "), NULL, 10);
                line[handle - line] = '\0';
                add_rule(rules, place, line + strspn(line, " \t"));
        }
}

/* "*filter", ":INPUT DROP [0:0]", "-A INPUT -p tcp --dport 110 -j DROP" */
static void
take_iptables_line(struct rules *rules, struct rule *place, char *line)
{
        char policy[16] = "";

        if (sscanf(line, "*%63s", place->table) == 1)
                return;
        if (sscanf(line, ":%63s %15s", place->chain, policy) == 2) {
                place->hook = hook_of(place->chain);
                place->drops = strcmp(policy, "DROP") == 0;
                place->is_policy = true;
                add_rule(rules, place, line);
        } else if (sscanf(line, "-A %63s", place->chain) == 1) {
                place->hook = hook_of(place->chain);
                place->drops = place->is_policy = false;
                add_rule(rules, place, line);
        }
}

void
rules_take(struct rules *rules, char *text, bool is_nft)
{
        struct rule place = { .hook = HOOK_NONE };
        char *rest;

        (void)snprintf(rules->whole, sizeof(rules->whole), "%s", is_nft ? text : "");
        for (char *line = strtok_r(text, "\n", &rest); line != NULL;
            line = strtok_r(NULL, "\n", &rest)) {
                blank_comment(line);
                if (is_nft)
                        take_nft_line(rules, &place, line);
                else
                        take_iptables_line(rules, &place, line);
        }
}
