/*
 * check_pam.c - the rows of the check about PAM: its files, its modules, what its rules say.
 * Runs in:   the check (-c) alone, as root where it can; never in a session.
 * May touch: what the files that rules.h declares touch; the files that rules by address look at.
 */
#include "rules.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { VIEWS_MAX = sizeof(((struct addresses *)0)->text) / ADDRESS_SIZE, HELP_SIZE = 1100 };

/* All that was found out about one login. */
struct findings {
        const struct auth *auth;
        const struct login *login;
        const struct rows *rows;
        struct rules rules;
        struct inquiry inquiry;
        struct view views[VIEWS_MAX];   /* the rules asked as from one address each */
        size_t view_count;
};

#define ROW(findings, state, ...) \
        (findings)->rows->row((findings)->rows->context, (state), "PAM", __VA_ARGS__)

static bool
refuses(const struct view *view)
{
        return view->count > 0 || view->refuses[0] || view->refuses[1];
}

static bool
has_culprit(const struct view *view, const struct rule *rule)
{
        for (size_t i = 0; i < view->count; i++)
                if (view->culprit[i].rule == rule)
                        return true;
        return false;
}

/* The address from which least is refused; of several the first, which is not loopback. */
static const struct view *
best_view(const struct findings *findings)
{
        const struct view *best = &findings->views[0];

        for (size_t i = 1; i < findings->view_count; i++)
                if (findings->views[i].count < best->count)
                        best = &findings->views[i];
        return best;
}

static bool
goes_by_address(const struct rules *rules)
{
        for (size_t i = 0; i < rules->count; i++)
                if (rule_goes_by_address(&rules->rule[i]))
                        return true;
        return false;
}

static void
look_from(struct findings *findings, const char *address)
{
        struct view *view = &findings->views[findings->view_count];

        if (findings->view_count == VIEWS_MAX)
                return;
        findings->view_count++;
        *view = (struct view){ .count = 0 };
        (void)snprintf(view->address, sizeof(view->address), "%s", address);
        inquiry_view(&findings->inquiry, view);
}

/* Asks as from an address out of each network that the file of a rule names. */
static void
look_from_named(struct findings *findings, const struct rule *rule)
{
        struct addresses named = { .count = 0 };
        char file[PATH_MAX], line[512];
        FILE *lines;

        if (!rule_argument(rule, rule_is(rule, "pam_access.so") ? "accessfile" : "file", file,
            sizeof(file)))
                (void)snprintf(file, sizeof(file), "/etc/security/access.conf");
        addresses_of_text(&named, rule->arguments);
        lines = rule_is(rule, "pam_exec.so") ? NULL : fopen(file, "re");
        while (lines != NULL && fgets(line, sizeof(line), lines) != NULL)
                if (line[0] != '#')
                        addresses_of_text(&named, line);
        if (lines != NULL)
                (void)fclose(lines);
        for (size_t i = 0; i < named.count; i++)
                look_from(findings, named.text[i]);
}

/* Asks as from this machine's own addresses, then from those that rules name which refuse these. */
static void
look(struct findings *findings)
{
        struct addresses own;
        const struct view *first = &findings->views[0];
        bool is_by_address = goes_by_address(&findings->rules);
        const char *given = getenv("REMOTE_HOST");
        struct peer peer;
        size_t at = 0;

        /* as a launcher tells the address to a session, it may be given to the check */
        if (given != NULL && peer_set_address(&peer, given)) {
                own = (struct addresses){ .count = 1 };
                memcpy(own.text[0], peer.address, sizeof(own.text[0]));
        } else {
                addresses_own(&own);
        }
        do
                look_from(findings, own.text[at]);
        while (is_by_address && refuses(first) && ++at < own.count);
        /* and, if it is let in from the first one, from this machine itself */
        if (is_by_address && !refuses(first) && own.count > 1)
                for (at = 1; at < own.count; at++)
                        look_from(findings, own.text[at]);
        first = best_view(findings);
        for (size_t i = 0; given == NULL && i < first->count; i++)
                if (rule_goes_by_address(first->culprit[i].rule))
                        look_from_named(findings, first->culprit[i].rule);
}

/* Lists the addresses from which a rule refuses, or from which it does not. */
static void
list_addresses(const struct findings *findings, const struct rule *rule, bool is_refused, char *out,
    size_t size)
{
        size_t used = 0;

        out[0] = '\0';
        for (size_t i = 0; i < findings->view_count; i++)
                if (has_culprit(&findings->views[i], rule) == is_refused && used < size)
                        used += (size_t)snprintf(out + used, size - used, "%s%s",
                            used == 0 ? "" : ", ", findings->views[i].address);
}

/*
 * The row of a rule that refuses, wherever the client is. told is what was said of the rule before,
 * or "": pam_faillock stands in several rules, and one remedy is enough.
 */
static void
report_culprit(const struct findings *findings, const struct rule *rule, int status,
    char told[HELP_SIZE])
{
        char help[HELP_SIZE], from[240] = "", list[160];

        remedy_write(help, sizeof(help), findings->auth, findings->login, rule, status,
            inquiry_may_go(&findings->inquiry, rule));
        if (strcmp(help, told) == 0 && strstr(help, "this line") == NULL)
                return;
        memcpy(told, help, sizeof(help));
        if (rule_goes_by_address(rule) && !rule_is(rule, "pam_exec.so")) {
                list_addresses(findings, rule, true, list, sizeof(list));
                (void)snprintf(from, sizeof(from), " (asked as from %s)", list);
        }
        ROW(findings, "fail", "%s line %u %s %s: %s %s%s%s%s\n%s", rule->file, rule->line,
            status == ANSWER_HANGS ? "hangs when asked about" : "refuses", findings->login->account,
            rule->is_account ? "account" : "auth", rule->module,
            rule->arguments[0] == '\0' ? "" : " ", rule->arguments, from, help);
}

/* The row of a rule that refuses some addresses and not others. */
static void
report_by_address(const struct findings *findings, const struct rule *rule, int status,
    bool is_local_alone)
{
        char help[HELP_SIZE], refused[200], accepted[200];
        bool is_warning;

        list_addresses(findings, rule, true, refused, sizeof(refused));
        list_addresses(findings, rule, false, accepted, sizeof(accepted));
        /* an office may be all that is let in, and the check is not there; but not IPv6 alone */
        is_warning = is_local_alone || strchr(accepted, '.') == NULL;
        remedy_write(help, sizeof(help), findings->auth, findings->login, rule, status,
            inquiry_may_go(&findings->inquiry, rule));
        ROW(findings, is_warning ? "warn" : "skip", "%s line %u goes by the client's address: %s %s%s%s "
            "lets %s in from %s, not from %s%s%s", rule->file, rule->line,
            rule->is_account ? "account" : "auth", rule->module,
            rule->arguments[0] == '\0' ? "" : " ", rule->arguments,
            findings->login->account, accepted, refused, is_warning ? "\n" : "",
            is_warning ? help : "");
}

/* The row where rules refuse and none of them alone is to blame: their order is wrong. */
static void
report_order(const struct findings *findings, bool is_account, const struct outcome *outcome)
{
        const struct rule *wrong = NULL, *decided = outcome->decided;
        int number = inquiry_right_jump(&findings->inquiry, is_account, &wrong);
        char where[400] = "they end, and none of them has accepted", help[400];

        if (decided != NULL)
                (void)snprintf(where, sizeof(where), "%s line %u, %s, is reached", decided->file,
                    decided->line, decided->kind == RULE_MODULE ? rule_module(decided)
                    : decided->control);
        if (number > 0)
                (void)snprintf(help, sizeof(help), "success=%d in line %u leads there\n"
                    "remedy: write success=%d in line %u of %s", wrong->actions[PAM_SUCCESS],
                    wrong->line, number, wrong->line, wrong->file);
        else
                (void)snprintf(help, sizeof(help), "%s\nremedy: put the rules of pop3.pam into "
                    "/etc/pam.d/%s in their place", is_account ? "no rule accepts before it"
                    : "a right password does not lead past it", findings->auth->service);
        ROW(findings, "fail", "the %s rules refuse %s: %s\ncause: %s",
            is_account ? "account" : "auth", findings->login == NULL ? "everybody"
            : findings->login->account, where, help);
}

/* The rows of what refuses; false if there is nothing. */
static bool
report_refusals(const struct findings *findings)
{
        const struct view *best = best_view(findings);
        bool is_local = address_is_loopback(best->address) && findings->view_count > 1;
        bool is_faulty = findings->rules.faults > 0;
        char told[HELP_SIZE] = "";

        for (size_t i = 0; i < best->count; i++)
                /* what cannot be loaded has a row already */
                if (best->culprit[i].rule->is_loaded || best->culprit[i].rule->may_be_missing)
                        report_culprit(findings, best->culprit[i].rule, best->culprit[i].status,
                            told);
        for (size_t i = 0; i < findings->view_count; i++) {
                const struct view *view = &findings->views[i];

                for (size_t k = 0; k < view->count; k++) {
                        const struct rule *rule = view->culprit[k].rule;
                        bool is_told = has_culprit(best, rule);

                        for (size_t before = 0; before < i; before++)
                                is_told |= has_culprit(&findings->views[before], rule);
                        if (!is_told)
                                report_by_address(findings, rule, view->culprit[k].status, is_local);
                }
        }
        for (int is_account = 0; is_account < 2; is_account++)
                if (best->refuses[is_account] && !is_faulty &&
                    !findings->rules.is_other[is_account])
                        report_order(findings, is_account != 0, &best->outcome[is_account]);
        if (best->count == 0 && !best->refuses[1] && best->status > 0 && !is_faulty)
                ROW(findings, "fail", "the account rules refuse %s\ncause: %s\n"
                    "remedy: see the system's log, which the modules write to",
                    findings->login->account, status_text(best->status));
        return refuses(best) || best->status > 0;
}

/* The row of a service, or a type of rules, that is not there, so that libpam takes "other". */
static void
report_other(const struct findings *findings, bool is_refused)
{
        const struct rules *rules = &findings->rules;
        const char *directory = findings->auth->configuration, *service = findings->auth->service;
        bool has_none = rules->is_other[1], is_usual = strcmp(service, "pop3") == 0;
        bool has_usual = !is_usual && directory == NULL && access("/etc/pam.d/pop3", R_OK) == 0;
        char what[200];

        if (rules->lacks_file)
                (void)snprintf(what, sizeof(what), "%s/%.100s: No such file or directory",
                    directory == NULL ? "/etc/pam.d" : directory, service);
        else
                (void)snprintf(what, sizeof(what), "service %.100s has no %s rule", service,
                    !has_none ? "auth" : rules->is_other[0] ? "auth or account" : "account");
        ROW(findings, is_refused ? "fail" : "warn", "%s\ncause: so libpam asks its service \"other\", "
            "which %s%s%s\nremedy: %s", what, is_refused ? "refuses " : "may let ",
            findings->login == NULL ? "users" : findings->login->account, is_refused ? "" : " in",
            !rules->lacks_file ? "add one, as in xinetd.d/pop3.pam" : has_usual
            ? "take -s out of the launcher's line, as /etc/pam.d/pop3 is there"
            : "install it (`make install` does, as pop3), or name another with -s");
}

static void
report_content(const struct findings *findings)
{
        const char *service = findings->auth->service;
        unsigned count = (unsigned)findings->rules.count;

        if (findings->login == NULL)
                ROW(findings, "ok", "service %s: %u rules, all modules there", service, count);
        else
                ROW(findings, "ok", "service %s: %u rules, all modules there; the account rules accept "
                    "the user", service, count);
}

/* Rules that let anybody in, whatever the password. */
static void
report_opening(const struct findings *findings)
{
        const struct rule *opens = best_view(findings)->opens;

        if (opens != NULL)
                ROW(findings, "warn", "%s line %u: %s lets %s in whatever the password is\n"
                    "cause: no rule that takes a password decides\nremedy: delete this line, or let "
                    "pam_unix.so be required", opens->file, opens->line, opens->module,
                    findings->login->account);
}

/* The rows of a login, or, without one, of what is wrong for all. Returns whether all is well. */
static bool
report_answers(struct findings *findings)
{
        bool is_other = findings->rules.is_other[0] || findings->rules.is_other[1];
        bool is_refused;

        if (findings->login == NULL) {
                struct view view = { .count = 0 };

                inquiry_without_login(&findings->inquiry, &view);
                is_refused = view.refuses[0];
                if (is_refused && !is_other && findings->rules.faults == 0)
                        report_order(findings, false, &view.outcome[0]);
        } else {
                look(findings);
                is_refused = report_refusals(findings);
                report_opening(findings);
        }
        /* where a line cannot be read, or a file is missing, the type may be there all the same */
        if (is_other && (findings->rules.lacks_file || findings->rules.faults == 0))
                report_other(findings, is_refused);
        return !is_refused && !is_other;
}

void
auth_check_pam(const struct auth *auth, struct login *login, check_row row, void *context)
{
        static struct findings findings;
        const struct rows rows = { row, context };

        if (!libpam_load()) {
                row(context, "fail", "PAM", "libpam cannot be loaded\ncause: %s\n"
                    "remedy: install libpam, 1.4.0 or later", libpam_problem());
                return;
        }
        findings = (struct findings){ .auth = auth, .login = login, .rows = &rows };
        rules_read(&findings.rules, auth, &rows);
        rules_load(&findings.rules, &rows);
        if (login != NULL)
                password_check(auth, login, &findings.rules, &rows);
        inquiry_begin(&findings.inquiry, auth, login, &findings.rules);
        if (report_answers(&findings) && findings.rules.faults == 0)
                report_content(&findings);
}
