/*
 * password.c - looks at an account's hash, and at the password that was given to the check.
 * Runs in:   the check (-c) alone, as root where it can; never in a session.
 * May touch: the account databases; crypt(3) of the library that pam_unix uses.
 */
#include "rules.h"

#include <errno.h>
#include <shadow.h>
#include <stdio.h>
#include <unistd.h>

enum { HASH_MIN = 13 };         /* octets of the shortest hash, that of DES */

enum hash {
        HASH_NOWHERE,           /* neither passwd nor shadow has the account */
        HASH_NO_SHADOW,         /* passwd says that shadow has it, and shadow has it not */
        HASH_NOT_SHADOWED,      /* shadow has it, and passwd does not say so */
        HASH_EMPTY,
        HASH_UNSET,             /* "*", "x", "!!": nothing that a password could match */
        HASH_LOCKED,            /* passwd -l */
        HASH_FOREIGN,           /* another program's, as "{SHA512-CRYPT}$6$..." */
        HASH_UNKNOWN,           /* crypt(3) of this machine does not know its kind */
        HASH_DAMAGED,           /* it has not the length of its kind */
        HASH_USABLE,
};

typedef char *crypt_function(const char *password, const char *hash);

bool
rule_takes_password(const struct rule *rule)
{
        static const char *const others[] = {
                "pam_access.so", "pam_cap.so", "pam_debug.so", "pam_deny.so", "pam_echo.so",
                "pam_env.so", "pam_faildelay.so", "pam_faillock.so", "pam_group.so", "pam_issue.so",
                "pam_keyinit.so", "pam_lastlog.so", "pam_limits.so", "pam_listfile.so",
                "pam_localuser.so", "pam_loginuid.so", "pam_mail.so", "pam_mkhomedir.so",
                "pam_motd.so", "pam_nologin.so", "pam_permit.so", "pam_rootok.so",
                "pam_securetty.so", "pam_sepermit.so", "pam_shells.so", "pam_succeed_if.so",
                "pam_time.so", "pam_umask.so", "pam_usertype.so", "pam_warn.so", "pam_wheel.so",
                "pam_tally.so", "pam_tally2.so", "pam_abl.so", "pam_shield.so", "pam_rhosts.so",
                "pam_timestamp.so", "pam_xauth.so", "pam_selinux.so", "pam_namespace.so",
                "pam_systemd.so", "pam_tty_audit.so", "pam_setquota.so", "pam_pwhistory.so",
        };

        if (rule->kind != RULE_MODULE)
                return false;
        if (rule_is(rule, "pam_exec.so"))
                return rule_has(rule, "expose_authtok");
        for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
                if (rule_is(rule, others[i]))
                        return false;
        return true;
}

bool
rule_wants_code(const struct rule *rule)
{
        static const char *const modules[] = { "pam_google_authenticator.so", "pam_oath.so",
                "pam_yubico.so", "pam_u2f.so", "pam_duo.so", "pam_otpw.so", "pam_fprintd.so",
                "pam_pkcs11.so", "pam_privacyidea.so" };

        for (size_t i = 0; i < sizeof(modules) / sizeof(modules[0]); i++)
                if (rule_is(rule, modules[i]))
                        return true;
        return false;
}

/* pam_unix, or NULL: who compares with the shadow file. */
static const struct rule *
unix_rule(const struct rules *rules)
{
        for (size_t i = 0; i < rules->count; i++)
                if (!rules->rule[i].is_account && rules->rule[i].is_loaded &&
                    rule_is(&rules->rule[i], "pam_unix.so"))
                        return &rules->rule[i];
        return NULL;
}

/* Whether a module that may know another password than that of the shadow file is asked, too. */
static bool
has_other_passwords(const struct rules *rules)
{
        for (size_t i = 0; i < rules->count; i++)
                if (!rules->rule[i].is_account && rules->rule[i].is_loaded &&
                    rule_takes_password(&rules->rule[i]) && !rule_is(&rules->rule[i], "pam_unix.so"))
                        return true;
        return false;
}

/* crypt(3) as pam_unix has it, or NULL. */
static crypt_function *
find_crypt(const struct rules *rules)
{
        const struct rule *rule = unix_rule(rules);
        void *found = rule == NULL ? NULL : rule_function(rule, "crypt");
        crypt_function *function = NULL;

        memcpy(&function, &found, sizeof(function));
        return function;
}

/*
 * The hash of an account: from the shadow file where passwd has an x for it, else from passwd, as
 * pam_unix takes it. NULL: it is in neither.
 */
static const char *
find_hash(const char *user)
{
        const struct passwd *entry = account_get(user);
        const struct spwd *shadow;

        if (entry != NULL && strcmp(entry->pw_passwd, "x") != 0 &&
            strncmp(entry->pw_passwd, "##", 2) != 0)
                return entry->pw_passwd;
        shadow = getspnam(user);
        return shadow == NULL ? NULL : shadow->sp_pwdp;
}

/* Whether nothing can match a hash: "*", "x", "!!". */
static bool
is_unset(const char *hash)
{
        const char *own = hash + strspn(hash, "!");

        return own[0] == '*' || strlen(own) < HASH_MIN;
}

/* Whether a hash of the shadow file is not looked at, because passwd has something else than an x. */
static bool
is_not_shadowed(const char *user, const char *hash)
{
        const struct spwd *shadow = is_unset(hash) ? getspnam(user) : NULL;

        return shadow != NULL && shadow->sp_pwdp != hash && !is_unset(shadow->sp_pwdp);
}

static enum hash
look_at_hash(const char *user, crypt_function *crypt)
{
        const char *hash = find_hash(user), *own, *made;

        if (hash == NULL)
                return account_get(user) == NULL ? HASH_NOWHERE : HASH_NO_SHADOW;
        own = hash + strspn(hash, "!");
        if (hash[0] == '\0')
                return HASH_EMPTY;
        if (is_unset(hash))
                return is_not_shadowed(user, hash) ? HASH_NOT_SHADOWED : HASH_UNSET;
        if (own != hash)
                return HASH_LOCKED;
        if (own[0] == '{')
                return HASH_FOREIGN;
        made = crypt == NULL ? own : crypt("?", own);
        if (made == NULL || made[0] == '*')
                return HASH_UNKNOWN;
        /* without a $ it is of DES, of which pam_unix also takes longer ones (bigcrypt) */
        return own[0] != '$' || strlen(made) == strlen(own) ? HASH_USABLE : HASH_DAMAGED;
}

bool
password_is_usable(const struct auth *auth, const char *user)
{
        return auth->virtual_account == NULL && geteuid() == 0 &&
            look_at_hash(user, NULL) == HASH_USABLE;
}

/* The row of a hash with which no password can be right. is_elsewhere: another module may know one. */
static void
report_hash(enum hash hash, const char *user, bool is_elsewhere, const struct rows *rows)
{
        static const struct {
                const char *text, *remedy;
        } texts[] = {
                [HASH_NO_SHADOW] = { "/etc/shadow has no line for the account\n"
                    "cause: /etc/passwd says that its password is there", "pwconv; passwd" },
                [HASH_EMPTY] = { "the password is empty\n"
                    "cause: pop3d asks nobody about an empty password", "passwd" },
                [HASH_UNSET] = { "no password is set", "passwd" },
                [HASH_LOCKED] = { "the password is locked", "passwd -u" },
                [HASH_FOREIGN] = { "the hash of the password begins with {\n"
                    "cause: so another program writes it (Dovecot, OpenLDAP); crypt(3) does not know "
                    "it", "take away what stands in {} in /etc/shadow, with the braces, if a $ comes "
                    "next; else passwd" },
                [HASH_UNKNOWN] = { "the hash of the password is of no kind that this machine's "
                    "crypt(3) knows\ncause: it was made on another system, or by hand", "passwd" },
                [HASH_DAMAGED] = { "the hash of the password has not the length of its kind\n"
                    "cause: it was cut, or something stands behind it", "passwd" },
        };
        bool is_fault = !is_elsewhere || (hash != HASH_UNSET && hash != HASH_NO_SHADOW);

        if (hash == HASH_NOWHERE || hash == HASH_USABLE)
                return;
        if (hash == HASH_NOT_SHADOWED)
                rows->row(rows->context, is_elsewhere ? "skip" : "fail", "login",
                    "/etc/passwd has no x where the password is\ncause: so nobody looks at the hash in "
                    "/etc/shadow\nremedy: sed -i '/^%s:/s/:[^:]*:/:x:/' /etc/passwd", user);
        else
                rows->row(rows->context, is_fault ? "fail" : "skip", "login", "%s%s%s%s%s",
                    texts[hash].text, is_fault ? "\nremedy: " : " here; another module of PAM's may know "
                    "one", is_fault ? texts[hash].remedy : "", is_fault ? " " : "", is_fault ? user : "");
}

/* The row of a password that was given: whether it is the account's. */
static void
report_password(const struct login *login, crypt_function *crypt, bool is_elsewhere,
    const struct rows *rows)
{
        const char *hash = find_hash(login->account);
        const char *made = hash == NULL ? NULL : crypt(login->password, hash);

        if (made == NULL || strlen(made) != strlen(hash))
                return;
        if (strcmp(made, hash) == 0)
                rows->row(rows->context, "ok", "login", "the password given is that of the account");
        else
                rows->row(rows->context, is_elsewhere ? "skip" : "fail", "login",
                    "the password given is wrong%s%s", is_elsewhere
                    ? " by /etc/shadow; another module of PAM's may know it"
                    : ": it is not that of /etc/shadow\nremedy: give the right one, or set one: "
                    "passwd ", is_elsewhere ? "" : login->account);
}

/* The row of a virtual user's password. pam_userdb compares it, and counts nothing. */
static void
ask_database(const struct auth *auth, const struct login *login, const struct rules *rules,
    const struct rows *rows)
{
        for (size_t i = 0; i < rules->count; i++) {
                const struct rule *rule = &rules->rule[i];
                int status;

                if (rule->is_account || !rule->is_loaded || !rule_is(rule, "pam_userdb.so"))
                        continue;
                status = ask_rule(auth, login, rule);
                if (status == PAM_SUCCESS || status == PAM_AUTH_ERR)
                        rows->row(rows->context, status == PAM_SUCCESS ? "ok" : "fail", "login",
                            "the password given is %s", status == PAM_SUCCESS
                            ? "that of the database" : "wrong: it is not that of the database\n"
                            "remedy: give the right one, or set one: see pop3-virtual.pam");
                return;
        }
}

void
password_check(const struct auth *auth, const struct login *login, const struct rules *rules,
    const struct rows *rows)
{
        crypt_function *crypt = find_crypt(rules);
        bool is_elsewhere = has_other_passwords(rules), is_given = login->password[0] != '\0';
        enum hash hash;

        if (auth->virtual_account != NULL && is_given)
                ask_database(auth, login, rules, rows);
        if (auth->virtual_account != NULL || geteuid() != 0 || unix_rule(rules) == NULL)
                return;
        hash = look_at_hash(login->account, crypt);
        report_hash(hash, login->account, is_elsewhere, rows);
        if (is_given && hash == HASH_USABLE && crypt != NULL)
                report_password(login, crypt, is_elsewhere, rows);
}
