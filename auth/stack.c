/*
 * stack.c - follows the rules of a PAM service as libpam does, from what each module answers.
 * Runs in:   the check (-c) alone.
 * May touch: nothing; no system call.
 *
 * libpam keeps an impression: none yet, good or bad, and the status that goes with it. Each module's
 * answer is looked up in its rule's actions, which change the impression, end the walk, or jump. A
 * substack is a list within the list: what ends the walk there ends the substack alone, and `reset`
 * brings the impression back that was when it began. The rules with a deeper level are the substack's.
 */
#include "rules.h"

enum impression { NONE, GOOD, BAD };

struct state {
        enum impression impression;
        int status;
        const struct rule *decided;
};

/* One walk: the rules of a type, as indexes into all. */
struct walk {
        const struct rules *rules;
        size_t list[RULES_MAX], count, at;
        struct state now, before[LEVELS_MAX + 1];       /* when the substack of a level began */
};

static const struct rule *
rule_at(const struct walk *walk, size_t at)
{
        return &walk->rules->rule[walk->list[at]];
}

/* Whether there is a next rule, and it is at this level or deeper. */
static bool
goes_on(const struct walk *walk, int level)
{
        return walk->at + 1 < walk->count && rule_at(walk, walk->at + 1)->level >= level;
}

/* Jumps over so many rules, a substack counting for one. False: there are not so many. */
static bool
jump(struct walk *walk, int level, int count)
{
        while (count > 0 && goes_on(walk, level)) {
                do
                        walk->at++;
                while (goes_on(walk, level + 1));
                count--;
        }
        return count == 0;
}

static void
refuse(struct state *now, const struct rule *rule, int status)
{
        if (now->impression == BAD)
                return;
        *now = (struct state){ BAD, status == PAM_IGNORE ? PAM_PERM_DENIED : status, rule };
}

/* Does what the rule says about an answer. True: the walk through this list is over. */
static bool
act(struct walk *walk, const struct rule *rule, int status, int action)
{
        struct state *now = &walk->now;

        switch (action) {
        case ACTION_RESET:
                *now = walk->before[rule->level];
                return false;
        case ACTION_OK:
        case ACTION_DONE:
                if (now->impression == NONE ||
                    (now->impression == GOOD && now->status == PAM_SUCCESS))
                        *now = (struct state){ GOOD, status, status == PAM_SUCCESS ? NULL : rule };
                return now->impression == GOOD && action == ACTION_DONE;
        case ACTION_BAD:
        case ACTION_DIE:
                refuse(now, rule, status);
                return action == ACTION_DIE;
        default:
                return false;
        }
}

void
stack_follow(const struct rules *rules, bool is_account, const int statuses[RULES_MAX],
    struct outcome *outcome)
{
        struct walk walk = { .rules = rules, .now = { NONE, PAM_PERM_DENIED, NULL } };
        int level = 0;

        *outcome = (struct outcome){ .status = PAM_PERM_DENIED };
        for (size_t i = 0; i < rules->count; i++)
                if (rules->rule[i].is_account == is_account)
                        walk.list[walk.count++] = i;
        walk.before[0] = walk.now;
        for (; walk.at < walk.count; walk.at++) {
                const struct rule *rule = rule_at(&walk, walk.at);
                size_t index = walk.list[walk.at];
                int status = statuses[index], action;

                if (level < rule->level)
                        walk.before[rule->level] = walk.now;
                level = rule->level;
                if (rule->kind == RULE_SUBSTACK)
                        continue;
                outcome->was_asked[index] = true;
                if (rule->kind == RULE_MUST_FAIL)
                        status = PAM_PERM_DENIED;
                action = status >= 0 && status < STATUSES ? rule->actions[status] : ACTION_BAD;
                if (action > 0) {
                        outcome->jumped = rule;
                        if (!jump(&walk, level, action))
                                walk.now = (struct state){ BAD, PAM_PERM_DENIED, rule };
                } else if (act(&walk, rule, status, action)) {
                        while (goes_on(&walk, level))
                                walk.at++;
                }
        }
        /* a success that a rule calls bad is a refusal all the same */
        outcome->status = walk.now.status == PAM_SUCCESS && walk.now.impression != GOOD
            ? PAM_PERM_DENIED : walk.now.status;
        outcome->decided = walk.now.decided;
}

static bool
only_denies(const struct rule *rule)
{
        return rule_is(rule, "pam_deny.so") || rule->kind == RULE_MUST_FAIL;
}

/* Whether the walk ends otherwise, and by another rule, if this one succeeds. */
static bool
would_help(const struct rules *rules, bool is_account, const int statuses[RULES_MAX], size_t index,
    const struct outcome *outcome)
{
        struct outcome then;
        int changed[RULES_MAX];

        memcpy(changed, statuses, sizeof(changed));
        changed[index] = PAM_SUCCESS;
        stack_follow(rules, is_account, changed, &then);
        return then.status == PAM_SUCCESS || then.decided != outcome->decided;
}

const struct rule *
stack_culprit(const struct rules *rules, bool is_account, const int statuses[RULES_MAX],
    const struct outcome *outcome)
{
        if (outcome->decided != NULL && !only_denies(outcome->decided) &&
            statuses[outcome->decided - rules->rule] != PAM_SUCCESS)
                return outcome->decided;
        for (size_t i = 0; i < rules->count; i++)
                if (outcome->was_asked[i] && statuses[i] != PAM_SUCCESS && !only_denies(&rules->rule[i]) &&
                    would_help(rules, is_account, statuses, i, outcome))
                        return &rules->rule[i];
        return NULL;
}
