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
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { WORDS_SIZE = 512 };

/* What is to be explained, and where the words go. */
struct refusal {
        const struct auth *auth;
        const struct login *login;
        const struct rule *rule;
        int status;
        const char *user;               /* login->account */
        char cause[WORDS_SIZE], remedy[WORDS_SIZE];
};

static void put(char words[WORDS_SIZE], const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Writes the cause or the remedy; what was there before is gone. */
static void
put(char words[WORDS_SIZE], const char *format, ...)
{
        va_list arguments;

        va_start(arguments, format);
        (void)vsnprintf(words, WORDS_SIZE, format, arguments);
        va_end(arguments);
}

/* The value of an argument, or what the module takes without it. */
static const char *
argument(const struct rule *rule, const char *name, const char *otherwise, char value[PATH_MAX])
{
        if (!rule_argument(rule, name, value, PATH_MAX))
                (void)snprintf(value, PATH_MAX, "%s", otherwise);
        return value;
}

static void
help_nologin(struct refusal *refusal)
{
        char file[PATH_MAX];

        if (!rule_argument(refusal->rule, "file", file, sizeof(file)))
                (void)snprintf(file, sizeof(file), "%s", access("/var/run/nologin", F_OK) == 0
                    ? "/var/run/nologin" : "/etc/nologin");
        if (access(file, F_OK) != 0)
                return;
        put(refusal->cause, "%s is there, which closes the server for maintenance", file);
        put(refusal->remedy, "rm %s", file);
}

static void
help_access(struct refusal *refusal)
{
        char file[PATH_MAX], other[PATH_MAX];

        argument(refusal->rule, "accessfile", "/etc/security/access.conf", file);
        if (access(file, R_OK) != 0) {
                put(refusal->cause, "%s: %s", file, strerror(errno));
                return;
        }
        if (rule_argument(refusal->rule, "fieldsep", other, sizeof(other)) ||
            rule_argument(refusal->rule, "listsep", other, sizeof(other)))
                return;
        put(refusal->cause, "the first line of %s that fits says no", file);
        put(refusal->remedy, "sed -i '1i + : %s : ALL' %s", refusal->user, file);
}

static void
help_listfile(struct refusal *refusal)
{
        char file[PATH_MAX], item[PATH_MAX], sense[PATH_MAX];
        struct stat status;

        argument(refusal->rule, "file", "", file);
        argument(refusal->rule, "sense", "", sense);
        if (stat(file, &status) != 0) {
                put(refusal->cause, "%s: %s", file, strerror(errno));
                if (strcmp(sense, "deny") == 0)
                        put(refusal->remedy, "touch %s", file);
                else
                        put(refusal->remedy, "echo %s >%s", refusal->user, file);
                return;
        }
        if (!S_ISREG(status.st_mode) || (status.st_mode & S_IWOTH) != 0) {
                put(refusal->cause, "%s is no file, or everybody may write it", file);
                put(refusal->remedy, "chmod o-w %s", file);
                return;
        }
        argument(refusal->rule, "item", "", item);
        put(refusal->cause, "%s in %s (item=%s)", strcmp(sense, "deny") == 0 ? "found" : "not found",
            file, item);
        if (strcmp(item, "user") != 0)
                return;
        if (strcmp(sense, "deny") == 0)
                put(refusal->remedy, "sed -i '/^%s[[:space:]]*$/d' %s", refusal->user, file);
        else
                put(refusal->remedy, "echo %s >>%s", refusal->user, file);
}

static void
help_shells(struct refusal *refusal)
{
        const struct passwd *entry = account_get(refusal->user);
        const char *shell;

        if (entry == NULL)
                return;
        shell = entry->pw_shell[0] == '\0' ? "/bin/sh" : entry->pw_shell;
        put(refusal->cause, "the shell of %s, %s, is not in /etc/shells", refusal->user, shell);
        put(refusal->remedy, "echo %s >>/etc/shells", shell);
}

static void
help_succeed_if(struct refusal *refusal)
{
        char left[64], operator[64], right[128], rest[64];
        const char *words = refusal->rule->arguments;
        bool goes_on = true;
        int count;

        /* options may stand before the condition */
        while (goes_on) {
                char word[64] = "";
                int length = 0;

                (void)sscanf(words, " %63s%n", word, &length);
                goes_on = strcmp(word, "quiet") == 0 || strncmp(word, "quiet_", 6) == 0 ||
                    strcmp(word, "use_uid") == 0 || strcmp(word, "debug") == 0 ||
                    strcmp(word, "audit") == 0;
                words += goes_on ? length : 0;
        }
        count = sscanf(words, " %63s %63s %127s %63s", left, operator, right, rest);
        put(refusal->cause, "%s does not meet the condition \"%s\"", refusal->user,
            words + strspn(words, " \t"));
        /* of several conditions it is not known which one is not met */
        if (count != 3)
                return;
        if (strcmp(operator, "ingroup") == 0 && strcmp(left, "user") == 0)
                put(refusal->remedy, "usermod -aG %.*s %s", (int)strcspn(right, ":"), right,
                    refusal->user);
        else if (strcmp(operator, "notingroup") == 0 && strcmp(left, "user") == 0)
                put(refusal->remedy, "gpasswd -d %s %.*s", refusal->user, (int)strcspn(right, ":"),
                    right);
        else if (strcmp(operator, "in") == 0 &&
            (strcmp(left, "user") == 0 || strcmp(left, "service") == 0))
                put(refusal->remedy, "write %s:%s in place of %s in this line", right,
                    strcmp(left, "service") == 0 ? refusal->auth->service : refusal->user, right);
}

/* Whether a word of time.conf may mean this name: "*" stands for any end, "!" says that not. */
static bool
names(const char *field, const char *name)
{
        size_t length = strcspn(field, "*");

        field += field[0] == '!';
        return strncmp(field, name, field[length] == '*' ? length : strlen(name)) == 0;
}

/* pam_time: tells the line of its file, if there is just one that names the service and the user. */
static void
help_time(struct refusal *refusal)
{
        char file[PATH_MAX], line[512], service[128], user[128];
        unsigned number = 0, found = 0, lines = 0;
        FILE *rules;

        argument(refusal->rule, "conffile", "/etc/security/time.conf", file);
        rules = fopen(file, "re");
        while (rules != NULL && fgets(line, sizeof(line), rules) != NULL) {
                number++;
                line[strcspn(line, "#")] = '\0';
                if (sscanf(line, " %127[^; ] ; %*[^;]; %127[^; ]", service, user) == 2 &&
                    names(service, refusal->auth->service) && names(user, refusal->user)) {
                        found = number;
                        lines++;
                }
        }
        if (rules != NULL)
                (void)fclose(rules);
        put(refusal->cause, "not at this hour, says %s", file);
        if (lines == 1)
                put(refusal->remedy, "delete line %u of %s, or give it other hours", found, file);
        else
                put(refusal->remedy, "put a # before the lines of %s that name %s and %s, or give them "
                    "other hours", file, refusal->auth->service, refusal->user);
}

/* pam_unix among the account rules: passwords and accounts that expire (see shadow(5)). */
static void
help_unix(struct refusal *refusal)
{
        const struct spwd *shadow = getspnam(refusal->user);
        long today = (long)(time(NULL) / 86400);

        if (refusal->status == PAM_USER_UNKNOWN || shadow == NULL) {
                if (account_get(refusal->user) != NULL && shadow == NULL)
                        put(refusal->remedy, "pwconv; passwd %s", refusal->user);
                return;
        }
        if (refusal->status == PAM_ACCT_EXPIRED && shadow->sp_expire > 0 &&
            today >= shadow->sp_expire)
                put(refusal->remedy, "chage -E -1 %s", refusal->user);
        else if (refusal->status == PAM_NEW_AUTHTOK_REQD ||
            refusal->status == PAM_AUTHTOK_EXPIRED || refusal->status == PAM_ACCT_EXPIRED)
                put(refusal->remedy, "passwd %s, or, to keep the password, chage -d $(date +%%F) %s",
                    refusal->user, refusal->user);
        else
                put(refusal->remedy, "see `chage -l %s`", refusal->user);
}

static void
help_faillock(struct refusal *refusal)
{
        char folder[PATH_MAX];
        bool is_usual;

        faillock_folder(refusal->rule, folder);
        is_usual = strcmp(folder, "/var/run/faillock") == 0;
        put(refusal->cause, "the account is locked for a while, after too many wrong passwords");
        put(refusal->remedy, "faillock%s%s --user %s --reset", is_usual ? "" : " --dir ",
            is_usual ? "" : folder, refusal->user);
}

static void
help_userdb(struct refusal *refusal)
{
        char database[PATH_MAX], file[PATH_MAX + 4];

        if (!rule_argument(refusal->rule, "db", database, sizeof(database)))
                return;
        (void)snprintf(file, sizeof(file), "%s.db", database);
        if (access(file, R_OK) != 0)
                put(refusal->cause, "%s: %s", file, strerror(errno));
        else if (strchr(refusal->user, '@') == NULL && refusal->auth->virtual_account != NULL)
                put(refusal->cause, "%s has no %s; the login has no domain", file, refusal->user);
        else
                put(refusal->cause, "%s has no %s, or something else is there", file, refusal->user);
        if (strchr(refusal->user, '@') == NULL && refusal->auth->virtual_account != NULL &&
            access(file, R_OK) == 0)
                put(refusal->remedy, "log in with the domain, as %s@DOMAIN, if the database has it so",
                    refusal->user);
        else
                put(refusal->remedy, "printf '%s\\n%%s\\n' \"$(openssl passwd -6)\" | "
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
                put(refusal->cause, "%s: %s", program, strerror(errno));
                if (access(program, F_OK) == 0)
                        put(refusal->remedy, "chmod 755 %s", program);
                else
                        put(refusal->remedy, "put %s back, or delete this line", program);
                return;
        }
        if (refusal->status == ANSWER_HANGS)
                return;
        put(refusal->cause, "%s ends with another status than 0, which is a refusal", program);
        put(refusal->remedy, "see PAM_USER=%s PAM_SERVICE=%s PAM_TYPE=%s %s; mend it, or delete this line",
            refusal->user, refusal->auth->service, refusal->rule->is_account ? "account" : "auth",
            at);
}

/* Modules that ask another program, or a server elsewhere. */
static void
help_directory(struct refusal *refusal)
{
        const char *module = rule_module(refusal->rule);
        const char *unit = strcmp(module, "pam_sss.so") == 0 ? "sssd"
            : strcmp(module, "pam_winbind.so") == 0 ? "winbind"
            : strcmp(module, "pam_ldap.so") == 0 ? "nslcd" : NULL;

        if (refusal->status == PAM_USER_UNKNOWN)
                put(refusal->remedy, "add %s to the directory, or write user_unknown=ignore in this "
                    "line's [...]", refusal->user);
        else if (unit != NULL && refusal->status != PAM_PERM_DENIED)
                put(refusal->remedy, "systemctl start %s, and see its log", unit);
}

static void
help_localuser(struct refusal *refusal)
{
        char file[PATH_MAX];

        argument(refusal->rule, "file", "/etc/passwd", file);
        if (access(file, R_OK) == 0)
                put(refusal->cause, "%s has no line for %s", file, refusal->user);
        else
                put(refusal->cause, "%s: %s", file, strerror(errno));
}

static void
help_rootok(struct refusal *refusal)
{
        put(refusal->remedy, "delete this line: it is for programs that a user starts");
}

static const struct {
        const char *module;
        void (*help)(struct refusal *refusal);
        bool is_for_auth;
} helps[] = {
        { "pam_nologin.so", help_nologin, true }, { "pam_access.so", help_access, true },
        { "pam_listfile.so", help_listfile, true }, { "pam_shells.so", help_shells, true },
        { "pam_succeed_if.so", help_succeed_if, true }, { "pam_time.so", help_time, true },
        { "pam_unix.so", help_unix, false }, { "pam_faillock.so", help_faillock, true },
        { "pam_userdb.so", help_userdb, true }, { "pam_exec.so", help_exec, true },
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
                put(refusal.cause, "it has not answered within %d seconds, so logins wait", ASK_SECONDS);
                put(refusal.remedy, "start what it waits for, or delete this line");
        } else {
                put(refusal.cause, "%s", status == ANSWER_NONE ? "the module did not answer; it may have "
                    "crashed" : status_text(status));
                put(refusal.remedy, "%schange the file or account that it looks at", may_go
                    ? "delete this line, or " : "");
        }
        for (size_t i = 0; i < sizeof(helps) / sizeof(helps[0]); i++)
                if (rule_is(rule, helps[i].module) && (rule->is_account || helps[i].is_for_auth) &&
                    (status != ANSWER_HANGS || helps[i].help == help_exec))
                        helps[i].help(&refusal);
        (void)snprintf(out, size, "cause: %s\nremedy: %s", refusal.cause, refusal.remedy);
}
