/*
 * rules.h - the rules of a PAM service: read, asked one by one, followed as libpam follows them.
 *
 * Runs in:   the check (-c) alone, as root where it can; never in a session.
 * May touch: see the file that each part is of.
 *
 * From the ground up: stack, addresses (pure), rules, modules; directory, ask; lists, remedies; password, inquiry;
 * check_pam.c calls them all.
 */
#ifndef POP3D_AUTH_RULES_H
#define POP3D_AUTH_RULES_H

#include "internal.h"

#include <security/_pam_types.h>

enum {
        RULES_MAX = 128,        /* of a service, with all that it includes */
        LEVELS_MAX = 16,        /* of files that include each other */
        STATUSES = _PAM_RETURN_VALUES,
};

enum rule_kind {
        RULE_MODULE,
        RULE_SUBSTACK,          /* what follows, at a deeper level, is a list of its own */
        RULE_MUST_FAIL,         /* libpam cannot read it, and takes it for a refusal */
};

/* What libpam does when a module has answered; a number above 0 jumps over so many rules. */
enum action {
        ACTION_IGNORE = 0, ACTION_OK = -1, ACTION_DONE = -2, ACTION_BAD = -3, ACTION_DIE = -4,
        ACTION_RESET = -5, ACTION_UNSET = -6,
};

struct rule {
        enum rule_kind kind;
        bool is_account;                /* else it is of type auth; no others are kept */
        bool may_be_missing;            /* the type has a "-" before it */
        int level;                      /* of substacks */
        char file[192], control[160], module[192], arguments[640];
        unsigned line;
        int actions[STATUSES];          /* by what the module answers */
        bool is_loaded;                 /* the module is there, and has a part for this type */
};

struct rules {
        size_t count;
        struct rule rule[RULES_MAX];
        bool lacks_file;                /* there is none of the service's own */
        bool is_other[2];               /* account, else auth: libpam takes those of "other" */
        unsigned faults;                /* rows that were made of what cannot be read or loaded */
};

/* A row of subject PAM. */
struct rows {
        check_row row;
        void *context;
};

/* rules.c */

/*
 * Reads the rules of a service and of what it includes, in their order; where it has none of a type
 * those of "other". Makes a row of each file and each line that libpam cannot read.
 */
void rules_read(struct rules *rules, const struct auth *auth, const struct rows *rows);

/* modules.c */

/* Loads the modules into this process. Makes a row of each that cannot be loaded. */
void rules_load(struct rules *rules, const struct rows *rows);

/* The file name of a rule's module, without a folder; and whether it is this one. */
const char *rule_module(const struct rule *rule);
bool rule_is(const struct rule *rule, const char *module);

/* Copies the value of "name=value" among a rule's arguments. False, and "", if it has none. */
bool rule_argument(const struct rule *rule, const char *name, char *value, size_t size);

/* Whether this word is among a rule's arguments. */
bool rule_has(const struct rule *rule, const char *word);

/* The function of a loaded module, or of what it is linked with, or NULL. */
void *rule_function(const struct rule *rule, const char *name);

/* stack.c */

/* What a walk through the rules of a type comes to. */
struct outcome {
        int status;                     /* PAM_SUCCESS, or what libpam would answer */
        const struct rule *decided;     /* the rule that refused; NULL: none did, but none accepted */
        const struct rule *jumped;      /* the last one that jumped over others, or NULL */
        bool was_asked[RULES_MAX];
};

/* Follows the rules of a type as libpam does, when each module answers its status. */
void stack_follow(const struct rules *rules, bool is_account, const int statuses[RULES_MAX],
    struct outcome *outcome);

/*
 * Finds the rule to mend first where rules refuse: the one whose success would have let the walk
 * come further. NULL: no rule alone, for even if all succeed they refuse. outcome is of
 * stack_follow() with these statuses.
 */
const struct rule *stack_culprit(const struct rules *rules, bool is_account,
    const int statuses[RULES_MAX], const struct outcome *outcome);

/* ask.c */

enum { ASK_SECONDS = 5, ANSWER_NONE = -1, ANSWER_HANGS = -2 };  /* beside PAM's own statuses */

/*
 * Asks one rule about a login, as a service of the same name that has only this rule. Returns its
 * module's status; ANSWER_HANGS after ASK_SECONDS, ANSWER_NONE if the module died. A tally of
 * pam_faillock is asked as a copy, so that it stays as it is.
 */
int ask_rule(const struct auth *auth, const struct login *login, const struct rule *rule);

/* A status in PAM's words. */
const char *status_text(int status);

/* Asks all account rules of the service at once. For the rest like ask_rule(). */
int ask_account(const struct auth *auth, const struct login *login);

/* The folder of pam_faillock's tallies, as the rule and its file of settings say. */
void faillock_folder(const struct rule *rule, char folder[PATH_MAX]);

/* password.c */

/*
 * The row of an account's hash, and of the password that is given with the login; hash is NULL
 * where there is no shadow file to look at.
 */
void password_check(const struct auth *auth, const struct login *login, const struct rules *rules,
    const struct rows *rows);

/* Whether a module takes a password, so far as one can know: any that is not known not to. */
bool rule_takes_password(const struct rule *rule);

/* Whether a module takes a code, a key or a finger, and no password. */
bool rule_wants_code(const struct rule *rule);

/* Whether the account's password is in the shadow file, as it should be for pam_unix. */
bool password_is_usable(const struct auth *auth, const char *user);

/* remedies.c, lists.c */

enum { EXPLANATION_MAX = 512 };

/* A refusal that is to be explained, and where the words go. */
struct refusal {
        const struct auth *auth;
        const struct login *login;
        const struct rule *rule;
        int status;
        const char *user;               /* login->account */
        char cause[EXPLANATION_MAX], remedy[EXPLANATION_MAX];
};

/* Writes a refusal's cause or remedy. */
void explain(char words[EXPLANATION_MAX], const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Explain what a module refuses that looks at a list or a condition. */
void list_help_access(struct refusal *refusal);
void list_help_listfile(struct refusal *refusal);
void list_help_succeed_if(struct refusal *refusal);
void list_help_time(struct refusal *refusal);
void list_help_pwdfile(struct refusal *refusal);

/* What pam_pwdfile would say to a right password, from its file. */
int list_pwdfile_status(const struct rule *rule, const char *user);

/* Whether a database of pam_userdb has hashes and its rule takes them for passwords, or the other way round. */
bool userdb_is_mistaken(const struct rule *rule, const char *user);

/*
 * Writes why a rule refuses a login, and what to do: "cause: ...\nremedy: ...". may_go: without the
 * rule the others would accept.
 */
void remedy_write(char *out, size_t size, const struct auth *auth, const struct login *login,
    const struct rule *rule, int status, bool may_go);

/* lines.c */

/* Of a name that is no account: words about a line of /etc/passwd that begins with it. False if none does. */
bool lines_help_missing(const char *name, char out[512]);

/* Of a domain that is not served: words, if the service's own rules ask a module for virtual users. */
bool lines_help_virtual(const struct auth *auth, const char *domain, char out[512]);

/* Rows of lines that are there twice, and of one of /etc/shadow that is passed over. */
void lines_check(const char *name, check_row row, void *context);

/* directory.c */

/*
 * The unit of the daemon that a module of PAM's asks, such as sssd, and the daemon's socket; NULL: it asks none that
 * is known. *is_down: nobody answers there.
 */
const char *directory_unit(const struct rule *rule, bool *is_down, const char **socket);

/*
 * Write cause and remedy: of a name service of which a part does not answer; of one of which a part is not
 * installed, or false.
 */
void directory_help_down(char out[512]);
bool directory_help_missing(char out[512]);

/* addresses.c */

enum { ADDRESS_SIZE = sizeof(((struct peer *)0)->address) };

struct addresses {
        size_t count;
        char text[12][ADDRESS_SIZE];
};

/* The addresses that this machine's clients may come from: its own, and the one of loopback last. */
void addresses_own(struct addresses *addresses);
bool address_is_loopback(const char *text);

/* Adds an address out of each network that a text names: "192.0.2.0/24", "192.0.2.", "2001:db8::1". */
void addresses_of_text(struct addresses *addresses, const char *text);

/* inquiry.c */

enum { CULPRITS_MAX = 8 };

/* What the rules say to a login from one address, if its password is right. */
struct view {
        char address[ADDRESS_SIZE];
        size_t count;                   /* of rules that refuse it; each can be mended by itself */
        struct {
                const struct rule *rule;
                int status;
        } culprit[CULPRITS_MAX];
        bool refuses[2];                /* account, else auth: refused, though no rule alone is to blame */
        struct outcome outcome[2];      /* of these */
        int status;                     /* of the account rules as a whole, if they were asked, or -1 */
        const struct rule *opens;       /* it lets in whatever the password, or NULL */
};

/* The questions that were asked so far. */
struct inquiry {
        const struct auth *auth;
        struct login login;
        const struct rules *rules;
        int answers[RULES_MAX];         /* of each rule, as asked from the last address */
        unsigned hangs;
};

void inquiry_begin(struct inquiry *inquiry, const struct auth *auth, const struct login *login,
    const struct rules *rules);

/* Asks as from view->address; sets the rest. What does not depend on the address is asked once. */
void inquiry_view(struct inquiry *inquiry, struct view *view);

/* Whether a rule's answer may depend on the client's address. */
bool rule_goes_by_address(const struct rule *rule);

/*
 * For rules that refuse a right password by their order alone: finds a jump that would be right.
 * Sets the rule and returns its new number of `success=`; 0: there is none.
 */
int inquiry_right_jump(const struct inquiry *inquiry, bool is_account, const struct rule **rule);

/* Whether the rules would accept a login without this one, if what else refuses it is mended. */
bool inquiry_may_go(const struct inquiry *inquiry, const struct rule *rule);

/*
 * What can be said without a login: whether a right password is refused by the order of the auth
 * rules alone. Sets view->refuses and outcome.
 */
void inquiry_without_login(struct inquiry *inquiry, struct view *view);

#endif
