/*
 * rules.h - the contract of rules.c, which reads the rules of a PAM service.
 * Runs in:   the check (-c) alone, as root where it can; never in a session.
 * May touch: see rules.c.
 */
#ifndef POP3D_AUTH_RULES_H
#define POP3D_AUTH_RULES_H

#include "internal.h"

/*
 * A walk through the rules of a service. The first walk, without a login, counts the rules and
 * loads their modules. If it found no fault, a second one asks each rule about a login.
 */
struct rules_walk {
        const struct auth *auth;
        check_row row;          /* for what is wrong; of subject "PAM" and state "fail" */
        void *context;
        struct login *login;    /* NULL in the first walk */
        const char *refusal;    /* for the second walk: why the account rules refuse, or NULL */
        unsigned auth_rules, account_rules;     /* how many there are */
        unsigned faults;        /* how many rows were made */
        bool has_faillock;      /* among the account rules; asked, it forgets failed tries */
        int depth;              /* of files that include each other */
};

void rules_walk(struct rules_walk *walk);

/*
 * Asks the account rules of a service, or else its auth rules, about a login. NULL if they accept
 * it, else why not, in PAM's words. libpam must be loaded.
 */
const char *rules_ask(const struct auth *auth, struct login *login, bool are_account);

#endif
