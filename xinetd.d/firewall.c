/*
 * firewall.c - the rows of what keeps clients out before any program sees them: rules, bans.
 * Runs in:   pop3d-check, as root where it can.
 * May touch: nft, iptables-save, fail2ban-client, which list and change nothing; /proc.
 */
#include "check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
        LISTING_MILLISECONDS = 3000,
        SAID_SIZE = 262144,
        FULL_PERCENT = 95,
        SHOWN = 160,            /* octets of a rule are shown */
        SOURCES_MAX = 64,       /* of a rule or ban are looked at */
};

static struct tool nft, iptables, ip6tables, fail2ban;

void
firewall_start(void)
{
        const char *nft_words[] = { "nft", "-a", "list", "ruleset", NULL };
        const char *four[] = { "iptables-save", NULL }, *six[] = { "ip6tables-save", NULL };
        const char *bans[] = { "fail2ban-client", "banned", NULL };

        nft.pid = iptables.pid = ip6tables.pid = fail2ban.pid = -1;
        if (geteuid() != 0)
                return;
        tool_start(&nft, nft_words, TOOL_AS_WE_ARE, "");
        tool_start(&iptables, four, TOOL_AS_WE_ARE, "");
        tool_start(&ip6tables, six, TOOL_AS_WE_ARE, "");
        if (access("/run/fail2ban/fail2ban.sock", F_OK) == 0)
                tool_start(&fail2ban, bans, TOOL_AS_WE_ARE, "");
}

/* ---- Sources ------------------------------------------------------------------------------ */

/*
 * The first address in a list ("{ 192.0.2.7, 198.51.100.0/24 }") that is of a network of this
 * machine's: an office rather than a stranger. False if there is none.
 */
static bool
find_near(const struct survey *survey, const char *sources, char found[INET6_ADDRSTRLEN])
{
        bool is_set = *sources == '{';
        struct address address;

        for (unsigned i = 0; i < SOURCES_MAX && *sources != '\0' && *sources != '}'; i++) {
                size_t length;

                sources += strspn(sources, "{ \t\n,'[");
                length = strspn(sources, "0123456789abcdefABCDEF.:");
                if (length > 0 && length < INET6_ADDRSTRLEN) {
                        (void)snprintf(found, INET6_ADDRSTRLEN, "%.*s", (int)length, sources);
                        if (address_read(&address, found) && addresses_are_near(&survey->entries.own, &address))
                                return true;
                }
                sources += length;
                if (!is_set)
                        return false;
                sources += strcspn(sources, ",}");
        }
        return false;
}

/* ---- Rules -------------------------------------------------------------------------------- */

/* A rule as a person is shown it. */
static const char *
shown(const struct rule *rule, char words[SHOWN])
{
        (void)snprintf(words, SHOWN, "%s", rule->text);
        return words;
}

/* The command that takes a rule away. */
static const char *
removal(const struct rules *rules, const struct rule *rule, char words[VALUE_SIZE])
{
        if (rules->is_nft)
                (void)snprintf(words, VALUE_SIZE, "nft delete rule %s %s handle %u", rule->table,
                    rule->chain, rule->handle);
        else
                (void)snprintf(words, VALUE_SIZE, "%s -t %s -D %s", rules->is_six ? "ip6tables"
                    : "iptables", rule->table, rule->text + strlen("-A "));
        return words;
}

static bool
is_same_chain(const struct rule *one, const struct rule *other)
{
        return strcmp(one->table, other->table) == 0 && strcmp(one->chain, other->chain) == 0;
}

/* Whether packets to the port come by a rule: it names it, or a rule that does leads to its chain. */
static bool
is_about(const struct rules *rules, const struct rule *rule, unsigned port)
{
        if (rule_names_port(rules, rule, port))
                return true;
        for (size_t i = 0; i < rules->count && rule->hook == HOOK_NONE; i++) {
                const struct rule *other = &rules->rule[i];

                if (strcmp(other->table, rule->table) == 0 && rule_leads_to(other, rule->chain) &&
                    rule_names_port(rules, other, port))
                        return true;
        }
        return false;
}

/* Whether one before it in its chain takes in some of those whom it keeps out. */
static bool
is_the_rest(const struct rules *rules, const struct rule *rule, unsigned port)
{
        for (const struct rule *other = rules->rule; other < rule; other++)
                if (is_same_chain(other, rule) && rule_verdict(other, port) == RULE_ACCEPTS &&
                    rule_names_port(rules, other, port))
                        return true;
        return false;
}

static void
report_dropped(const struct survey *survey, const struct rules *rules, const struct rule *rule,
    unsigned port)
{
        char words[SHOWN], removed[VALUE_SIZE];

        if (is_the_rest(rules, rule, port))
                print_row(survey->report, "skip", "firewall", "port %u is open to some alone: "
                    "others are kept out by: %s (%s)", port, shown(rule, words), rule->chain);
        else
                print_row(survey->report, "warn", "firewall", "clients are kept from port %u by a "
                    "rule: %s\ncause: it stands in chain %s of table %s\nremedy: %s; and take it "
                    "out of what makes it (/etc/nftables.conf, ufw, firewalld), unless it is meant",
                    port, shown(rule, words), rule->chain, rule->table,
                    removal(rules, rule, removed));
}

static void
report_redirected(const struct survey *survey, const struct rules *rules, const struct rule *rule,
    unsigned port)
{
        unsigned target = rule_target(rule);
        char words[SHOWN], removed[VALUE_SIZE];

        if (target != 0 && entry_of_port(&survey->entries, target, PORT, "") != NULL)
                return;
        print_row(survey->report, "warn", "firewall", "clients who connect to port %u are turned "
            "elsewhere by a rule: %s\ncause: a scanner's or proxy's redirection (nat); from this "
            "machine itself it is not seen\nremedy: %s; or let what is there pass them on to "
            "pop3d", port, shown(rule, words), removal(rules, rule, removed));
}

static void
report_banned(const struct survey *survey, const struct rules *rules, const struct rule *rule,
    const char *source)
{
        char words[SHOWN], removed[VALUE_SIZE];

        print_row(survey->report, "warn", "firewall", "%s, of a network of this machine's, is kept "
            "out by a rule: %s\ncause: a ban (fail2ban), or a rule for that address\n"
            "remedy: %s; where fail2ban made it: fail2ban-client unban %s", source,
            shown(rule, words), removal(rules, rule, removed), source);
}

static void
check_rule(const struct survey *survey, const struct rules *rules, const struct rule *rule,
    unsigned port, bool is_last_port)
{
        const char *sources = rule_sources(rules, rule);
        enum verdict_of_rule verdict = rule_verdict(rule, port);
        bool is_ours = is_about(rules, rule, port);
        bool is_about_all = !rule_names_any_port(rule) && rule->hook == HOOK_INPUT;
        char near[INET6_ADDRSTRLEN];

        if (rule->is_policy || rule->hook == HOOK_ELSEWHERE)
                return;
        if (sources != NULL && verdict == RULE_DROPS) {
                if ((is_ours || is_about_all) && is_last_port && find_near(survey, sources, near))
                        report_banned(survey, rules, rule, near);
        } else if ((is_ours || (is_about_all && rule_is_of_interface(rule))) && verdict == RULE_DROPS) {
                report_dropped(survey, rules, rule, port);
        } else if (is_ours && verdict == RULE_REDIRECTS) {
                report_redirected(survey, rules, rule, port);
        }
}

/* Whether a rule may let a new connection to the port in, for some at least. */
static bool
lets_in(const struct rules *rules, const struct rule *rule, unsigned port)
{
        bool is_old_alone = rule_says(rule, "established") && !rule_says(rule, "new");
        bool is_inner = rule_says(rule, "lo") || rule_says(rule, "icmp") || rule_says(rule, "icmpv6") ||
            rule_says(rule, "ipv6-icmp") || rule_says(rule, "udp");

        return !rule->is_policy && rule->hook != HOOK_ELSEWHERE &&
            rule_verdict(rule, port) == RULE_ACCEPTS && (rule_names_port(rules, rule, port) ||
            (!rule_names_any_port(rule) && !is_old_alone && !is_inner));
}

/* The policy, or rule for all, by which a table's input drops what no rule has taken; or NULL. */
static const struct rule *
find_last_word(const struct rules *rules, const char *table)
{
        for (size_t i = 0; i < rules->count; i++) {
                const struct rule *rule = &rules->rule[i];

                if (rule->hook == HOOK_INPUT && strcmp(rule->table, table) == 0 &&
                    ((rule->is_policy && rule->drops) || (!rule->is_policy &&
                    rule_verdict(rule, 0) == RULE_DROPS && rule_is_for_all(rule))))
                        return rule;
        }
        return NULL;
}

static void
check_policy(const struct survey *survey, const struct rules *rules, const struct rule *last,
    unsigned port)
{
        for (size_t i = 0; i < rules->count; i++)
                if (strcmp(rules->rule[i].table, last->table) == 0 &&
                    lets_in(rules, &rules->rule[i], port))
                        return;
        if (rules->is_nft)
                print_row(survey->report, "warn", "firewall", "no rule lets clients in to port %u\n"
                    "cause: chain %s of table %s drops what no rule accepts\n"
                    "remedy: nft insert rule %s %s tcp dport %u accept; and for good in "
                    "/etc/nftables.conf (ufw allow %u/tcp; firewall-cmd --permanent "
                    "--add-port=%u/tcp)", port, last->chain, last->table, last->table, last->chain,
                    port, port, port);
        else
                print_row(survey->report, "warn", "firewall", "no rule lets clients in to port %u\n"
                    "cause: chain %s of table %s drops what no rule accepts\n"
                    "remedy: %s -I %s -p tcp --dport %u -j ACCEPT; and for good (ufw allow "
                    "%u/tcp; firewall-cmd --permanent --add-port=%u/tcp)", port, last->chain,
                    last->table, rules->is_six ? "ip6tables" : "iptables", last->chain, port, port,
                    port);
}

/* Returns whether the program was there. */
static bool
check_listing(const struct survey *survey, struct tool *tool, bool is_nft, bool is_six,
    bool is_legacy_alone)
{
        static struct rules rules;
        static char said[SAID_SIZE];
        int status = tool_end(tool, LISTING_MILLISECONDS, said, sizeof(said));
        const unsigned ports[] = { POP3_PORT, POP3S_PORT };
        bool is_other = is_legacy_alone && strstr(said, "(legacy)") == NULL;

        if (status != 0)
                return false;
        rules.count = 0;
        rules.is_nft = is_nft;
        rules.is_six = is_six;
        if (!is_other)
                rules_take(&rules, said, is_nft);
        for (size_t i = 0; i < 2; i++) {
                const char *table = "";

                if (!port_is_open(survey, ports[i], 0))
                        continue;
                for (size_t j = 0; j < rules.count; j++) {
                        const struct rule *rule = &rules.rule[j], *last;

                        check_rule(survey, &rules, rule, ports[i],
                            i == 1 || !port_is_open(survey, ports[1], 0));
                        if (strcmp(table, rule->table) == 0)
                                continue;
                        table = rule->table;
                        last = find_last_word(&rules, table);
                        if (last != NULL)
                                check_policy(survey, &rules, last, ports[i]);
                }
        }
        return true;
}

/* ---- Bans, and the kernel's memory of connections ----------------------------------------- */

/* "[{'pop3d': ['192.0.2.7', '198.51.100.1']}, {'sshd': []}]" */
static void
check_bans(const struct survey *survey)
{
        static char said[SAID_SIZE];
        char *rest, near[INET6_ADDRSTRLEN], jail[64];

        if (fail2ban.pid < 0 || tool_end(&fail2ban, LISTING_MILLISECONDS, said, sizeof(said)) != 0)
                return;
        for (char *part = strtok_r(said, "{", &rest); part != NULL; part = strtok_r(NULL, "{", &rest)) {
                char *list = strchr(part, '[');

                if (sscanf(part, "'%63[^']", jail) != 1 || list == NULL || strchr(list, '\'') == NULL ||
                    (strstr(jail, "pop") == NULL && strstr(jail, "mail") == NULL &&
                    strstr(jail, "courier") == NULL && strstr(jail, "recidive") == NULL))
                        continue;
                *list = '{';
                list[strcspn(list, "]")] = '\0';
                if (find_near(survey, list, near))
                        print_row(survey->report, "warn", "firewall", "fail2ban has banned %s (jail "
                            "%s), of a network of this machine's\ncause: too many failed logins "
                            "from there; everybody at that address is kept out\nremedy: "
                            "fail2ban-client set %s unbanip %s; and ignoreip for it in "
                            "/etc/fail2ban/jail.local", near, jail, jail, near);
                else
                        print_row(survey->report, "skip", "firewall", "fail2ban (jail %s) has "
                            "banned: %.200s\nremedy: if that is a client of yours: fail2ban-client "
                            "set %s unbanip ADDRESS", jail, list + 1, jail);
        }
}

static unsigned long
read_number(const char *path)
{
        FILE *file = fopen(path, "re");
        unsigned long number = 0;

        if (file == NULL)
                return 0;
        if (fscanf(file, "%lu", &number) != 1)
                number = 0;
        (void)fclose(file);
        return number;
}

/* Routes that lead nowhere (unreachable, prohibit, blackhole), as fail2ban's action route makes them. */
static void
check_routes(const struct survey *survey)
{
        FILE *table = fopen("/proc/net/route", "re");
        char line[256], device[32];
        unsigned to, flags, mask;

        while (table != NULL && fgets(line, sizeof(line), table) != NULL) {
                struct sockaddr_in four = { .sin_family = AF_INET };
                struct address address;

                if (sscanf(line, "%31s %x %*x %x %*d %*d %*d %x", device, &to, &flags, &mask) != 4 || *device != '*')
                        continue;
                four.sin_addr.s_addr = to;
                (void)address_take(&address, (const void *)&four);
                if (addresses_are_near(&survey->entries.own, &address))
                        print_row(survey->report, "warn", "firewall", "a route shuts out %s%s, of a network of this "
                            "machine's\ncause: a ban (fail2ban's action route), or a rule for that address: answers "
                            "to it go nowhere\nremedy: ip route del %s/%d; where fail2ban made it: fail2ban-client "
                            "unban %s", address.text, mask == UINT32_MAX ? "" : " and its network", address.text,
                            __builtin_popcount(mask), address.text);
        }
        if (table != NULL)
                (void)fclose(table);
}

static void
check_conntrack(const struct survey *survey)
{
        unsigned long count = read_number("/proc/sys/net/netfilter/nf_conntrack_count");
        unsigned long most = read_number("/proc/sys/net/netfilter/nf_conntrack_max");

        if (most > 0 && count >= most / 100 * FULL_PERCENT)
                print_row(survey->report, "warn", "firewall", "the kernel's table of connections is "
                    "full: %lu of %lu (nf_conntrack)\ncause: new connections are dropped, from "
                    "everybody\nremedy: sysctl -w net.netfilter.nf_conntrack_max=%lu; and for good "
                    "in /etc/sysctl.d/", count, most, most * 2);
}

void
firewall_check(struct survey *survey)
{
        bool has_nft, has_iptables;
        int worst = survey->report->worst;

        if (geteuid() != 0) {
                print_row(survey->report, "skip", "firewall", "rules are root's to list");
                return;
        }
        has_nft = check_listing(survey, &nft, true, false, false);
        has_iptables = check_listing(survey, &iptables, false, false, has_nft);
        has_iptables &= check_listing(survey, &ip6tables, false, true, has_nft);
        check_bans(survey);
        check_routes(survey);
        check_conntrack(survey);
        if (!has_nft && !has_iptables)
                print_row(survey->report, "skip", "firewall", "rules were not looked at: neither "
                    "nft nor iptables-save is there");
        else if (survey->report->worst == worst && worst == CHECK_OK)
                print_row(survey->report, "ok", "firewall", "no rule of this machine's is seen that "
                    "keeps clients from POP3");
}
