/*
 * inquiry.c - what the rules of a service say to a login, if its password is right.
 * Runs in:   the check (-c) alone, as root where it can.
 * May touch: nothing itself; ask.c asks PAM.
 *
 * The password is not known, as a rule. So the modules that take one are not asked; it is assumed
 * that the password is right by the one of them that should know it, and the other rules are asked
 * in the order in which libpam comes to them. A rule that refuses is noted, and then taken as
 * mended, so that the next one is found as well.
 */
#include "rules.h"

#include <stdio.h>

enum { NOT_ASKED = -3, HANGS_MAX = 3 };

void
inquiry_begin(struct inquiry *inquiry, const struct auth *auth, const struct login *login,
    const struct rules *rules)
{
        *inquiry = (struct inquiry){ .auth = auth, .rules = rules };
        if (login != NULL)
                inquiry->login = *login;
        explicit_bzero(inquiry->login.password, sizeof(inquiry->login.password));
        for (size_t i = 0; i < RULES_MAX; i++)
                inquiry->answers[i] = NOT_ASKED;
}

bool
rule_goes_by_address(const struct rule *rule)
{
        char item[16];

        if (rule_is(rule, "pam_listfile.so"))
                return rule_argument(rule, "item", item, sizeof(item)) && strcmp(item, "rhost") == 0;
        if (rule_is(rule, "pam_succeed_if.so"))
                return strstr(rule->arguments, "rhost") != NULL;
        return rule_is(rule, "pam_access.so") || rule_is(rule, "pam_exec.so") ||
            rule_is(rule, "pam_sss.so") || strncmp(rule_module(rule), "pam_geoip", 9) == 0;
}

/* A module that counts what it is asked, or that only speaks, is taken as content. */
static bool
is_not_to_be_asked(const struct rule *rule)
{
        return strncmp(rule_module(rule), "pam_tally", 9) == 0 || rule_is(rule, "pam_abl.so") ||
            rule_is(rule, "pam_shield.so") || rule_is(rule, "pam_af.so");
}

/* Asks a rule that takes no password; or says what is known of it without asking. */
static int
answer(struct inquiry *inquiry, const struct rule *rule)
{
        int status;

        if (!rule->is_loaded)
                return PAM_MODULE_UNKNOWN;
        if (is_not_to_be_asked(rule))
                return PAM_SUCCESS;
        if (rule_is(rule, "pam_warn.so") || rule_is(rule, "pam_faildelay.so"))
                return PAM_IGNORE;
        if (rule_is(rule, "pam_faillock.so") && rule_has(rule, "authfail"))
                return PAM_AUTH_ERR;
        if (inquiry->hangs >= HANGS_MAX)
                return PAM_SUCCESS;
        status = ask_rule(inquiry->auth, &inquiry->login, rule);
        inquiry->hangs += status == ANSWER_HANGS;
        return status;
}

/* Follows the rules of a type, and asks each that has not been asked when the walk comes to it. */
static void
follow(struct inquiry *inquiry, bool is_account, int statuses[RULES_MAX], struct outcome *outcome)
{
        const struct rules *rules = inquiry->rules;
        bool has_asked = true;

        while (has_asked) {
                has_asked = false;
                stack_follow(rules, is_account, statuses, outcome);
                for (size_t i = 0; i < rules->count && !has_asked; i++) {
                        const struct rule *rule = &rules->rule[i];

                        if (!outcome->was_asked[i] || statuses[i] != NOT_ASKED ||
                            rule->kind != RULE_MODULE)
                                continue;
                        if (inquiry->answers[i] == NOT_ASKED)
                                inquiry->answers[i] = answer(inquiry, rule);
                        statuses[i] = inquiry->answers[i];
                        has_asked = true;
                }
        }
}

static bool
takes_password(const struct inquiry *inquiry, size_t index)
{
        const struct rule *rule = &inquiry->rules->rule[index];

        return !rule->is_account && rule->is_loaded && rule_takes_password(rule);
}

/*
 * Whether a rule wants the password that one before it has asked for, and there is none that asks. So it is where
 * the package of the module that stood before it was removed.
 */
static bool
has_none_before(const struct inquiry *inquiry, size_t index)
{
        if (!rule_has(&inquiry->rules->rule[index], "use_first_pass"))
                return false;
        while (index-- > 0)
                if (takes_password(inquiry, index))
                        return false;
        return true;
}

/*
 * Whether a rule wants a code beside the password, which no POP3 client asks for. Where no other takes a password, or
 * the code is typed behind it (forward_pass), the code is in what the client sends.
 */
static bool
wants_code(const struct inquiry *inquiry, size_t index)
{
        const struct rule *rule = &inquiry->rules->rule[index];
        size_t others = 0;

        for (size_t i = 0; i < inquiry->rules->count; i++)
                others += i != index && takes_password(inquiry, i);
        return others > 0 && rule_wants_code(rule) && !rule_has(rule, "forward_pass");
}

/* What a rule answers that takes a password: right, if it should know it, or wrong. */
static int
answer_to_password(const struct inquiry *inquiry, size_t index, size_t knows)
{
        const struct rule *rule = &inquiry->rules->rule[index];
        const char *socket;
        bool is_down;

        if (has_none_before(inquiry, index))
                return PAM_AUTH_ERR;
        if (directory_unit(rule, &is_down, &socket) != NULL && is_down)
                return PAM_AUTHINFO_UNAVAIL;
        if (rule_is(rule, "pam_pwdfile.so") &&
            list_pwdfile_status(rule, inquiry->login.account) != PAM_SUCCESS)
                return list_pwdfile_status(rule, inquiry->login.account);
        if (rule_is(rule, "pam_userdb.so") && userdb_is_mistaken(rule, inquiry->login.account))
                return PAM_AUTH_ERR;
        if (wants_code(inquiry, index))
                return rule_has(rule, "nullok") ? PAM_IGNORE : PAM_AUTH_ERR;
        return index == knows || knows == RULES_MAX ? PAM_SUCCESS : PAM_AUTH_ERR;
}

/*
 * Sets the statuses to begin with: nobody was asked, and of the modules that take a password the one
 * of this index finds it right; all of them for knows == RULES_MAX, none for more.
 */
static void
begin_statuses(const struct inquiry *inquiry, size_t knows, int statuses[RULES_MAX])
{
        for (size_t i = 0; i < RULES_MAX; i++) {
                statuses[i] = NOT_ASKED;
                if (i < inquiry->rules->count && takes_password(inquiry, i))
                        statuses[i] = answer_to_password(inquiry, i, knows);
        }
}

static bool
accepts(struct inquiry *inquiry, size_t knows)
{
        int statuses[RULES_MAX];
        struct outcome outcome;

        begin_statuses(inquiry, knows, statuses);
        follow(inquiry, false, statuses, &outcome);
        return outcome.status == PAM_SUCCESS;
}

/*
 * Chooses who is to know the password: pam_unix, if the shadow file has it; else whoever gets the
 * login accepted, alone or with all others (two factors). Any of them if none does.
 */
static size_t
choose_who_knows(struct inquiry *inquiry)
{
        const struct rules *rules = inquiry->rules;
        bool is_in_shadow = password_is_usable(inquiry->auth, inquiry->login.account);
        size_t chosen = RULES_MAX;

        for (size_t i = rules->count; i-- > 0; )
                if (takes_password(inquiry, i) &&
                    (!is_in_shadow || rule_is(&rules->rule[i], "pam_unix.so"))) {
                        chosen = i;
                        if (accepts(inquiry, i))
                                return i;
                }
        return chosen == RULES_MAX || accepts(inquiry, RULES_MAX) ? RULES_MAX : chosen;
}

/* Notes a rule that refuses, once. False: there is no room. */
static bool
note(struct view *view, const struct rule *rule, int status)
{
        if (view->count == CULPRITS_MAX)
                return false;
        view->culprit[view->count].rule = rule;
        view->culprit[view->count++].status = status;
        return true;
}

/* The first rule that was asked and hangs, or NULL. */
static const struct rule *
hanging(const struct rules *rules, const int statuses[RULES_MAX], const struct outcome *outcome)
{
        for (size_t i = 0; i < rules->count; i++)
                if (outcome->was_asked[i] && statuses[i] == ANSWER_HANGS)
                        return &rules->rule[i];
        return NULL;
}

/* Finds all rules of a type that refuse, each taken as mended for the search of the next one. */
static void
find_culprits(struct inquiry *inquiry, bool is_account, int statuses[RULES_MAX], struct view *view)
{
        const struct rules *rules = inquiry->rules;
        struct outcome *outcome = &view->outcome[is_account];
        const struct rule *culprit = NULL;

        do {
                follow(inquiry, is_account, statuses, outcome);
                culprit = hanging(rules, statuses, outcome);
                if (culprit == NULL && outcome->status == PAM_SUCCESS)
                        return;
                if (culprit == NULL)
                        culprit = stack_culprit(rules, is_account, statuses, outcome);
                if (culprit != NULL) {
                        int *status = &statuses[culprit - rules->rule];

                        if (!note(view, culprit, *status))
                                return;
                        *status = PAM_SUCCESS;
                }
        } while (culprit != NULL);
        view->refuses[is_account] = true;
}

/* The rule without whose success a wrong password would be refused, or NULL. */
static const struct rule *
find_opening(struct inquiry *inquiry)
{
        int statuses[RULES_MAX], changed[RULES_MAX];
        struct outcome outcome, then;

        begin_statuses(inquiry, RULES_MAX + 1, statuses);
        follow(inquiry, false, statuses, &outcome);
        if (outcome.status != PAM_SUCCESS)
                return NULL;
        for (size_t i = 0; i < inquiry->rules->count; i++) {
                if (!outcome.was_asked[i] || statuses[i] != PAM_SUCCESS)
                        continue;
                memcpy(changed, statuses, sizeof(changed));
                changed[i] = PAM_AUTH_ERR;
                stack_follow(inquiry->rules, false, changed, &then);
                if (then.status != PAM_SUCCESS)
                        return &inquiry->rules->rule[i];
        }
        return NULL;
}

/* Whether the account rules may be asked as a whole: none of them would forget or count tries. */
static bool
may_ask_account(const struct inquiry *inquiry)
{
        for (size_t i = 0; i < inquiry->rules->count; i++) {
                const struct rule *rule = &inquiry->rules->rule[i];

                if (rule->is_account && (rule_is(rule, "pam_faillock.so") || is_not_to_be_asked(rule)))
                        return false;
        }
        return inquiry->hangs == 0;
}

void
inquiry_view(struct inquiry *inquiry, struct view *view)
{
        int statuses[RULES_MAX];

        (void)snprintf(inquiry->login.peer.address, sizeof(inquiry->login.peer.address), "%s",
            view->address);
        inquiry->login.peer.is_remote = !address_is_loopback(view->address);
        for (size_t i = 0; i < inquiry->rules->count; i++)
                if (rule_goes_by_address(&inquiry->rules->rule[i]) &&
                    inquiry->answers[i] != ANSWER_HANGS)
                        inquiry->answers[i] = NOT_ASKED;
        begin_statuses(inquiry, choose_who_knows(inquiry), statuses);
        find_culprits(inquiry, false, statuses, view);
        view->opens = view->count == 0 && !view->refuses[0] ? find_opening(inquiry) : NULL;
        view->status = may_ask_account(inquiry) ? ask_account(inquiry->auth, &inquiry->login) : -1;
        if (view->status != PAM_SUCCESS)
                find_culprits(inquiry, true, statuses, view);
}

/* Sets the statuses as if all that refuses were mended. */
static void
mend_all(const struct inquiry *inquiry, int statuses[RULES_MAX])
{
        begin_statuses(inquiry, RULES_MAX, statuses);
        for (size_t i = 0; i < inquiry->rules->count; i++)
                if (takes_password(inquiry, i))
                        statuses[i] = PAM_SUCCESS;
                else if (statuses[i] == NOT_ASKED)
                        statuses[i] = rule_is(&inquiry->rules->rule[i], "pam_deny.so") ? PAM_AUTH_ERR
                            : inquiry->answers[i] == PAM_IGNORE ? PAM_IGNORE : PAM_SUCCESS;
}

bool
inquiry_may_go(const struct inquiry *inquiry, const struct rule *rule)
{
        static struct rules changed;
        int statuses[RULES_MAX];
        struct outcome outcome;

        changed = *inquiry->rules;
        for (int i = 0; i < STATUSES; i++)
                changed.rule[rule - inquiry->rules->rule].actions[i] = ACTION_IGNORE;
        mend_all(inquiry, statuses);
        stack_follow(&changed, rule->is_account, statuses, &outcome);
        return outcome.status == PAM_SUCCESS;
}

int
inquiry_right_jump(const struct inquiry *inquiry, bool is_account, const struct rule **rule)
{
        static struct rules changed;
        int statuses[RULES_MAX];
        struct outcome outcome;

        mend_all(inquiry, statuses);
        for (size_t i = 0; i < inquiry->rules->count; i++)
                for (int number = 1; number < 8; number++) {
                        *rule = &inquiry->rules->rule[i];
                        if ((*rule)->is_account != is_account || (*rule)->actions[PAM_SUCCESS] <= 0)
                                break;
                        changed = *inquiry->rules;
                        changed.rule[i].actions[PAM_SUCCESS] = number;
                        stack_follow(&changed, is_account, statuses, &outcome);
                        if (outcome.status == PAM_SUCCESS)
                                return number;
                }
        return 0;
}

void
inquiry_without_login(struct inquiry *inquiry, struct view *view)
{
        int statuses[RULES_MAX];

        begin_statuses(inquiry, RULES_MAX, statuses);
        for (size_t i = 0; i < inquiry->rules->count; i++) {
                const struct rule *rule = &inquiry->rules->rule[i];

                if (statuses[i] != NOT_ASKED)
                        continue;
                statuses[i] = rule_is(rule, "pam_deny.so") ? PAM_AUTH_ERR : PAM_SUCCESS;
                /* whether such a rule jumps is known for a login alone */
                if (rule->actions[PAM_SUCCESS] > 0)
                        return;
        }
        stack_follow(inquiry->rules, false, statuses, &view->outcome[0]);
        view->refuses[0] = view->outcome[0].status != PAM_SUCCESS;
}
