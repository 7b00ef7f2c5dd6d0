/*
 * remedies.c - why a PAM rule refuses a login, and what to do about it.
 * Runs in:   the check (-c) alone, as root where it can; never in a session.
 * May touch: the account databases, and the files that PAM's modules look at, for reading.
 *
 * A remedy is a command, or a line to write and where; it is tried by the tests as it stands here.
 */
#include "rules.h"

#include <errno.h>
#include <shadow.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static void
help_nologin(struct refusal *refusal)
{
        char file[PATH_MAX];

        if (!rule_argument(refusal->rule, "file", file, sizeof(file)))
                (void)snprintf(file, sizeof(file), "%s", access("/var/run/nologin", F_OK) == 0
                    ? "/var/run/nologin" : "/etc/nologin");
        if (access(file, F_OK) != 0)
                return;
        explain(refusal->cause, "%s is there, which closes the server for maintenance", file);
        explain(refusal->remedy, "rm %s", file);
}

static void
help_shells(struct refusal *refusal)
{
        const struct passwd *entry = account_get(refusal->user);
        const char *shell;

        if (entry == NULL)
                return;
        shell = entry->pw_shell[0] == '\0' ? "/bin/sh" : entry->pw_shell;
        explain(refusal->cause, "the shell of %s, %s, is not in /etc/shells", refusal->user, shell);
        explain(refusal->remedy, "echo %s >>/etc/shells", shell);
}

/* Whether a password would be refused for its age, too. */
static bool
is_too_old(const struct spwd *shadow, long today)
{
        return shadow->sp_lstchg == 0 || (shadow->sp_max >= 0 && shadow->sp_max < 10000 &&
            today > shadow->sp_lstchg + shadow->sp_max);
}

/* pam_unix among the account rules: passwords and accounts that expire (see shadow(5)). */
static void
help_unix(struct refusal *refusal)
{
        const struct spwd *shadow = getspnam(refusal->user);
        long today = (long)(time(NULL) / 86400);

        if (refusal->auth->virtual_account != NULL) {
                explain(refusal->cause, "pam_unix.so knows system accounts alone, and with -v users are none");
                explain(refusal->remedy, "put the rules of pop3-virtual.pam into /etc/pam.d/%s",
                    refusal->auth->service);
                return;
        }
        if (refusal->status == PAM_USER_UNKNOWN || shadow == NULL) {
                if (account_get(refusal->user) != NULL && shadow == NULL)
                        explain(refusal->remedy, "pwconv; passwd %s", refusal->user);
                return;
        }
        if (refusal->status == PAM_ACCT_EXPIRED && shadow->sp_expire > 0 &&
            today >= shadow->sp_expire)
                explain(refusal->remedy, "chage -E -1%s %s", is_too_old(shadow, today)
                    ? " -d $(date +%F)" : "", refusal->user);
        else if (refusal->status == PAM_NEW_AUTHTOK_REQD ||
            refusal->status == PAM_AUTHTOK_EXPIRED || refusal->status == PAM_ACCT_EXPIRED)
                explain(refusal->remedy, "passwd %s, or, to keep the password, chage -d $(date +%%F) %s",
                    refusal->user, refusal->user);
        else
                explain(refusal->remedy, "see `chage -l %s`", refusal->user);
}

static void
help_faillock(struct refusal *refusal)
{
        char folder[PATH_MAX];
        bool is_usual;

        faillock_folder(refusal->rule, folder);
        is_usual = strcmp(folder, "/var/run/faillock") == 0;
        explain(refusal->cause, "the account is locked for a while, after too many wrong passwords");
        explain(refusal->remedy, "faillock%s%s --user %s --reset", is_usual ? "" : " --dir ",
            is_usual ? "" : folder, refusal->user);
}

/* What kind a file is by the mark of Berkeley DB in it: 'h' hash, 'b' another kind, 't' none, '\0' not readable. */
static char
kind_of_database(const char *path)
{
        FILE *file = fopen(path, "re");
        uint32_t head[4] = { 0 };
        char kind = '\0';

        if (file == NULL)
                return kind;
        kind = fread(head, sizeof(head), 1, file) != 1 ? 't' : head[3] == 0x61561 ? 'h'
            : head[3] == 0x53162 || head[3] == 0x42253 ? 'b' : 't';
        (void)fclose(file);
        return kind;
}

bool
userdb_is_mistaken(const struct rule *rule, const char *user)
{
        static const char *const kinds[] = { "$1$", "$2a$", "$2b$", "$2y$", "$5$", "$6$", "$y$" };
        static char octets[1 << 20];
        char path[PATH_MAX];
        bool has_hashes = false, wants_hashes, has_user;
        size_t count;
        FILE *file;

        if (!rule_argument(rule, "db", path, sizeof(path) - 4))
                return false;
        wants_hashes = rule_has(rule, "crypt=crypt");
        (void)memcpy(path + strlen(path), ".db", sizeof(".db"));
        file = fopen(path, "re");
        if (file == NULL)
                return false;
        count = fread(octets, 1, sizeof(octets), file);
        (void)fclose(file);
        for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
                has_hashes |= memmem(octets, count, kinds[i], strlen(kinds[i])) != NULL;
        has_user = memmem(octets, count, user, strlen(user)) != NULL;
        explicit_bzero(octets, sizeof(octets));
        return has_user && has_hashes != wants_hashes;
}

/* Whether it is the database itself that is wrong, and not that the user is not in it. */
static bool
explain_database(struct refusal *refusal, const char *database, const char *file)
{
        size_t length = strlen(database);
        char kind = kind_of_database(file);
        bool has_end = kind == '\0' && length > 3 && strcmp(database + length - 3, ".db") == 0 &&
            access(database, F_OK) == 0;
        bool is_wrong = has_end || kind == 'b' || kind == 't';

        if (has_end) {
                explain(refusal->cause, "%s: %s; the module adds .db itself", file, strerror(ENOENT));
                explain(refusal->remedy, "sed -i 's,db=%s,db=%.*s,' %s", database, (int)length - 3, database,
                    refusal->rule->file);
        } else if (kind == 'b') {
                explain(refusal->cause, "%s is no hash of Berkeley DB, but of another kind", file);
                explain(refusal->remedy, "mv %s %s.old; db5.3_dump %s.old | sed s/^type=.*/type=hash/ | "
                    "db5.3_load %s", file, file, file, file);
        } else if (kind == 't') {
                explain(refusal->cause, "%s is no database of Berkeley DB", file);
                explain(refusal->remedy, "if it is a text with a line NAME:HASH for each: mv %s %s.old; "
                    "sed 's/:/\\n/' %s.old | db5.3_load -T -t hash %s", file, file, file, file);
        }
        return is_wrong;
}

static void
help_userdb(struct refusal *refusal)
{
        char database[PATH_MAX], file[PATH_MAX + 4];

        if (!rule_argument(refusal->rule, "db", database, sizeof(database)))
                return;
        (void)snprintf(file, sizeof(file), "%s.db", database);
        if (explain_database(refusal, database, file))
                return;
        if (!refusal->rule->is_account && userdb_is_mistaken(refusal->rule, refusal->user)) {
                bool has_crypt = rule_has(refusal->rule, "crypt=crypt");

                explain(refusal->cause, has_crypt ? "%s has passwords, and crypt=crypt takes them for hashes"
                    : "%s has hashes, and without crypt=crypt they are taken for passwords", file);
                if (has_crypt)
                        explain(refusal->remedy, "write crypt=none in place of crypt=crypt in this line, or hashes "
                            "into the database");
                else
                        explain(refusal->remedy, "write crypt=crypt behind db=%s in this line", database);
                return;
        }
        if (access(file, R_OK) != 0)
                explain(refusal->cause, "%s: %s", file, strerror(errno));
        else if (strchr(refusal->user, '@') == NULL && refusal->auth->virtual_account != NULL)
                explain(refusal->cause, "%s has no %s; the login has no domain", file, refusal->user);
        else
                explain(refusal->cause, "%s has no %s, or something else is there", file, refusal->user);
        if (strchr(refusal->user, '@') == NULL && refusal->auth->virtual_account != NULL &&
            access(file, R_OK) == 0)
                explain(refusal->remedy, "log in with the domain, as %s@DOMAIN, if the database has it so",
                    refusal->user);
        else
                explain(refusal->remedy, "printf '%s\\n%%s\\n' \"$(openssl passwd -6)\" | "
                    "db5.3_load -T -t hash %s", refusal->user, file);
}

static void
help_exec(struct refusal *refusal)
{
        const char *at = refusal->rule->arguments;
        char program[PATH_MAX] = "";

        for (at = strchr(at, '/'); at != NULL && at > refusal->rule->arguments &&
            at[-1] != ' ' && at[-1] != '\t'; )
                at = strchr(at + 1, '/');
        if (at == NULL)
                return;
        (void)sscanf(at, "%4095s", program);
        if (access(program, X_OK) != 0) {
                explain(refusal->cause, "%s: %s", program, strerror(errno));
                if (access(program, F_OK) == 0)
                        explain(refusal->remedy, "chmod 755 %s", program);
                else
                        explain(refusal->remedy, "put %s back, or delete this line", program);
                return;
        }
        if (refusal->status == ANSWER_HANGS)
                return;
        explain(refusal->cause, "%s ends with another status than 0, which is a refusal", program);
        explain(refusal->remedy, "see PAM_USER=%s PAM_SERVICE=%s PAM_TYPE=%s %s; mend it, or delete this line",
            refusal->user, refusal->auth->service, refusal->rule->is_account ? "account" : "auth",
            at);
}

/* Modules that ask another program, or a server elsewhere. */
static void
help_directory(struct refusal *refusal)
{
        const char *socket = NULL, *unit;
        bool is_down;

        unit = directory_unit(refusal->rule, &is_down, &socket);
        if (is_down) {
                explain(refusal->cause, "%s does not run: nobody answers at %s", unit, socket);
                explain(refusal->remedy, "systemctl start %s, and see its log", unit);
        } else if (refusal->status == ANSWER_HANGS) {
                explain(refusal->cause, "%s has not answered within %d seconds, so logins wait", unit == NULL
                    ? "its server" : unit, ASK_SECONDS);
                explain(refusal->remedy, "%s%s, and see its log; or delete this line", unit == NULL
                    ? "start its server" : "systemctl restart ", unit == NULL ? "" : unit);
        } else if (refusal->status == PAM_USER_UNKNOWN)
                explain(refusal->remedy, "add %s to the directory, or write user_unknown=ignore in this "
                    "line's [...]", refusal->user);
        else if (unit != NULL && refusal->status != PAM_PERM_DENIED)
                explain(refusal->remedy, "systemctl start %s, and see its log", unit);
}

static void
help_localuser(struct refusal *refusal)
{
        char file[PATH_MAX];

        if (!rule_argument(refusal->rule, "file", file, sizeof(file)))
                (void)snprintf(file, sizeof(file), "/etc/passwd");
        if (access(file, R_OK) == 0)
                explain(refusal->cause, "%s has no line for %s", file, refusal->user);
        else
                explain(refusal->cause, "%s: %s", file, strerror(errno));
}

static void
help_rootok(struct refusal *refusal)
{
        explain(refusal->remedy, "delete this line: it is for programs that a user starts");
}

/* Auth rules that take the password, and would not have a right one. */
static void
help_password(struct refusal *refusal)
{
        if (refusal->rule->is_account)
                return;
        if (rule_wants_code(refusal->rule)) {
                explain(refusal->cause, "it wants a code or key beside the password, and a POP3 client sends "
                    "one password alone");
                explain(refusal->remedy, "delete this line, or let users without a code in (nullok)");
        } else if (rule_has(refusal->rule, "use_first_pass")) {
                explain(refusal->cause, "use_first_pass takes the password that a rule before it asked for, "
                    "and none asks");
                explain(refusal->remedy, "write try_first_pass in its place in this line");
        }
}

static const struct {
        const char *module;
        void (*help)(struct refusal *refusal);
        bool is_for_auth;
} helps[] = {
        { "pam_nologin.so", help_nologin, true }, { "pam_access.so", list_help_access, true },
        { "pam_listfile.so", list_help_listfile, true }, { "pam_shells.so", help_shells, true },
        { "pam_succeed_if.so", list_help_succeed_if, true }, { "pam_time.so", list_help_time, true },
        { "pam_unix.so", help_unix, false }, { "pam_faillock.so", help_faillock, true },
        { "pam_userdb.so", help_userdb, true }, { "pam_pwdfile.so", list_help_pwdfile, true }, { "pam_exec.so", help_exec, true },
        { "pam_sss.so", help_directory, true }, { "pam_ldap.so", help_directory, true },
        { "pam_winbind.so", help_directory, true }, { "pam_krb5.so", help_directory, true },
        { "pam_localuser.so", help_localuser, true }, { "pam_wheel.so", help_rootok, true },
        { "pam_rootok.so", help_rootok, true },
        { "pam_securetty.so", help_rootok, true },
};

void
remedy_write(char *out, size_t size, const struct auth *auth, const struct login *login,
    const struct rule *rule, int status, bool may_go)
{
        struct refusal refusal = { .auth = auth, .login = login, .rule = rule, .status = status,
                .user = login->account };

        if (status == ANSWER_HANGS) {
                explain(refusal.cause, "it has not answered within %d seconds, so logins wait", ASK_SECONDS);
                explain(refusal.remedy, "start what it waits for, or delete this line");
        } else {
                explain(refusal.cause, "%s", status == ANSWER_NONE ? "the module did not answer; it may have "
                    "crashed" : status_text(status));
                explain(refusal.remedy, "%schange the file or account that it looks at", may_go
                    ? "delete this line, or " : "");
        }
        if (status != ANSWER_HANGS && rule_takes_password(rule))
                help_password(&refusal);
        for (size_t i = 0; i < sizeof(helps) / sizeof(helps[0]); i++)
                if (rule_is(rule, helps[i].module) && (rule->is_account || helps[i].is_for_auth) &&
                    (status != ANSWER_HANGS || helps[i].help == help_exec ||
                    helps[i].help == help_directory))
                        helps[i].help(&refusal);
        (void)snprintf(out, size, "cause: %s\nremedy: %s", refusal.cause, refusal.remedy);
}
