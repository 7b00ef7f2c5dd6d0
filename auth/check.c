/*
 * check.c - the rows of the check that are auth's: the process, the log, the login.
 * Runs in:   the check (-c) alone, as root where it can; never in a session.
 * May touch: the log, the account databases.
 */
#include "rules.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

bool
auth_look_up(const char *name, uid_t *uid, gid_t *gid, char home[PATH_MAX])
{
        const struct passwd *account = account_get(name);

        if (account == NULL)
                return false;
        *uid = account->pw_uid;
        *gid = account->pw_gid;
        (void)snprintf(home, PATH_MAX, "%s", account->pw_dir);
        return true;
}

bool
auth_has_group(const char *name)
{
        return getgrnam(name) != NULL;
}

/* Sends one line of priority debug. Without waiting, because whoever has the log may not read. */
static void
check_log(check_row row, void *context)
{
        static const char line[] = "<23>pop3d: checked";
        const struct sockaddr_un log = { .sun_family = AF_UNIX, .sun_path = "/dev/log" };
        int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

        if (sendto(fd, line, sizeof(line) - 1, MSG_DONTWAIT, (const void *)&log, sizeof(log)) > 0)
                row(context, "ok", "log", "/dev/log takes a line");
        else
                row(context, "warn", "log", "/dev/log: %s\nremedy: start syslog", strerror(errno));
        (void)close(fd);
}

static void
check_capabilities(check_row row, void *context)
{
        static const struct {
                unsigned long number;
                const char *name;
        } needed[] = { { CAP_SETUID, "SETUID" }, { CAP_SETGID, "SETGID" },
                { CAP_SYS_CHROOT, "SYS_CHROOT" }, { CAP_KILL, "KILL" } };

        for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++)
                if (prctl(PR_CAPBSET_READ, needed[i].number) != 1)
                        row(context, "fail", "process", "root lacks CAP_%s\n"
                            "remedy: grant it to this container", needed[i].name);
}

static void
check_powerless_account(const struct auth *auth, check_row row, void *context)
{
        uid_t uid;
        gid_t gid;
        const char *name = account_powerless(auth, &uid, &gid);
        bool is_known = account_find(name, &uid, &gid);

        if (uid == 0 || gid == 0)
                row(context, "fail", "process", "account %s %s\n"
                    "cause: until login a session runs under this account (-n)\n"
                    "remedy: create it, or name another with -n", name,
                    is_known ? "has root's uid or gid" : "is unknown");
}

/* Asks for the version of Landlock; confine.c makes use of it from version 2 on. */
static bool
has_landlock(void)
{
        return syscall(SYS_landlock_create_ruleset, NULL, 0, 1) >= 2;
}

/* Sets a filter at NULL. A kernel that has filters says EFAULT, and this process stays as it is. */
static bool
has_seccomp(void)
{
        return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, NULL) != 0 && errno == EFAULT;
}

void
auth_check_process(const struct auth *auth, check_row row, void *context)
{
        const char *seccomp = has_seccomp() ? "has" : "lacks";
        const char *landlock = has_landlock() ? "has" : "lacks";
        struct statvfs mount;
        bool is_nosuid = statvfs("/proc/self/exe", &mount) == 0 && (mount.f_flag & ST_NOSUID) != 0;

        if (geteuid() == 0) {
                bool has_both = strcmp(seccomp, "has") == 0 && strcmp(landlock, "has") == 0;

                check_capabilities(row, context);
                row(context, has_both ? "ok" : "warn", "process",
                    "root%s; the kernel %s seccomp and %s Landlock", is_nosuid
                    ? ", on a nosuid mount, which does not matter where the launcher is root" : "",
                    seccomp, landlock);
        } else {
                row(context, "skip", "process", "not root, so many rows are skipped; "
                    "the kernel %s seccomp and %s Landlock", seccomp, landlock);
        }
        check_powerless_account(auth, row, context);
        check_log(row, context);
}

/* Whether an account may be meant by a login: but for capitals, or with a domain that is its own. */
static bool
may_be_meant(const struct login *login, const char *account)
{
        const struct login_name *name = &login->name;
        struct login_name found;

        if (strcasecmp(account, login->typed) == 0 || strcasecmp(account, name->user) == 0)
                return strcmp(account, login->account) != 0;
        return login_name_parse(&found, account, strlen(account)) && found.domain[0] != '\0' &&
            strcasecmp(found.user, name->user) == 0 &&
            (name->domain[0] == '\0' || strcasecmp(found.domain, name->domain) == 0);
}

/*
 * The name of the account that is meant by a login which no account has; NULL if there is none. A directory is asked
 * for the name in small letters, because it seldom lists all its accounts.
 */
static const char *
find_meant(const struct login *login)
{
        const struct passwd *entry;
        char small[LOGIN_TYPED_MAX + 1];

        (void)snprintf(small, sizeof(small), "%s", login->typed);
        for (char *c = small; *c != '\0'; c++)
                if (*c >= 'A' && *c <= 'Z')
                        *c = (char)(*c - 'A' + 'a');
        entry = strcmp(small, login->account) == 0 ? NULL : account_get(small);
        if (entry != NULL)
                return entry->pw_name;
        setpwent();
        do
                entry = getpwent();
        while (entry != NULL && !may_be_meant(login, entry->pw_name));
        endpwent();
        return entry == NULL ? NULL : entry->pw_name;
}

/* Where a name is no account's: which may be meant. Words in text, if there is one. */
static bool
help_meant(const struct login *login, char text[512])
{
        const char *other = find_meant(login);

        if (other != NULL)
                (void)snprintf(text, 512, "there is no such account, but there is %s%s\n"
                    "remedy: log in as %s", other, strcasecmp(other, login->typed) == 0
                    ? ", and capitals count" : ", whose name has a domain or is without one", other);
        return other != NULL;
}

/* The same of a login that no account has. */
static const char *
help_no_account(const struct auth *auth, const struct login *login, char text[512])
{
        if (auth->virtual_account != NULL)
                return "the account of -v is not there\nremedy: create it, or change -v";
        if (lines_help_missing(login->account, text) || help_meant(login, text) || directory_help_missing(text))
                return text;
        return "there is no such account; an account logs in, not a mailbox\n"
            "remedy: log in by the account's name, or, with -d DOMAIN, as "
            "DOMAIN\\USER\\MAILBOX";
}

/* The same where the login's domain is not served. */
static const char *
help_foreign(const struct auth *auth, const struct login *login, char text[512])
{
        const struct login_name *name = &login->name;

        if (auth->virtual_account != NULL)
                (void)snprintf(text, 512, "the domain is not one of pop3d's (-d)\n"
                    "remedy: add -d %s to the launcher's options", name->domain);
        else if (account_get(name->user) == NULL && lines_help_virtual(auth, name->domain, text))
                return text;
        else if (account_get(name->user) != NULL || !help_meant(login, text))
                (void)snprintf(text, 512, "the domain is not one of pop3d's (-d), and no account has "
                    "just that name\nremedy: log in as %s, or add -d %s to the launcher's options",
                    name->user, name->domain);
        return text;
}

static uid_t
account_uid(const struct login *login)
{
        const struct passwd *entry = account_get(login->account);

        return entry == NULL ? 0 : entry->pw_uid;
}

/* The same where the account's uid or gid are none that are served. */
static void
help_numbers(const struct auth *auth, const struct login *login, char text[512])
{
        unsigned uid = account_uid(login);

        if (auth->virtual_account != NULL)
                (void)snprintf(text, 512, "the account of -v has root's uid or gid, or -1, and is never served\n"
                    "remedy: name another, to which the maildrops belong, as -v vmail");
        else if (!is_never_served(uid) && uid < account_least_uid())
                (void)snprintf(text, 512, "its uid, %u, is below UID_MIN of /etc/login.defs, as services' "
                    "are\nremedy: if it is a person's: sed -i '/^UID_MIN/d;$aUID_MIN %u' "
                    "/etc/login.defs", uid, uid);
        else
                (void)snprintf(text, 512, "an account with root's uid or gid, or -1, is never served\n"
                    "remedy: for a person's: usermod -%s %s", is_never_served(uid) ? "u UID" : "g GROUP",
                    login->account);
}

/*
 * Cause and remedy of what fails a login whatever its password; the log's word for all the rest.
 * Writes some of them into text.
 */
static const char *
help_for(const struct auth *auth, const struct login *login, enum reason reason, char text[512])
{
        switch (reason) {
        case REASON_NONE:
                return "";
        case REASON_FOREIGN_DOMAIN:
                return help_foreign(auth, login, text);
        case REASON_NO_SUCH_MAILBOX:
                return "there is no such mailbox: its name must be that of an account\n"
                    "remedy: name an account behind the last \\, or leave it out";
        case REASON_MAILBOX_OF_ANOTHER:
                return "virtual users may open their own mailbox alone";
        case REASON_NAME_SERVICE_DOWN:
                directory_help_down(text);
                return text;
        case REASON_NO_SYSTEM_ACCOUNT:
                return help_no_account(auth, login, text);
        case REASON_ROOT_IS_REFUSED:
        case REASON_SYSTEM_ACCOUNT:
                help_numbers(auth, login, text);
                return text;
        case REASON_STARTED_WITHOUT_ROOT:
                return "only root may look at another's account";
        case REASON_TOO_MANY_GROUPS:
                return "the account is in more groups than pop3d can take over";
        default:
                return reason_name(reason);
        }
}

/* The row of what is no login: which part of pop3d(8), Login names, it does not keep. */
static void
report_malformed(const char *typed, check_row row, void *context)
{
        const char *why = "see pop3d(8), Login names";

        for (const char *c = typed; *c != '\0'; c++)
                if (*c == ' ' || *c == '\t')
                        why = "there is a blank in it, which no login may have";
                else if ((unsigned char)*c > 0x7E || (unsigned char)*c < 0x20)
                        why = "a character is none of ASCII, of which logins are";
                else if (*c == '/' || *c == ':')
                        why = "no login may have / or :";
        if (typed[0] == '.' || typed[0] == '-')
                why = "no login may begin with . or -";
        if (account_get(typed) != NULL)
                row(context, "fail", "login", "%s is no login\ncause: %s, though an account is named so\n"
                    "remedy: give the account another name: usermod -l NAME '%s'", typed, why, typed);
        else
                row(context, "fail", "login", "%s is no login\ncause: %s\n"
                    "remedy: log in by the account's name", typed, why);
}

bool
auth_check_login(const struct auth *auth, const char *typed, struct login *login,
    struct identity *identity, check_row row, void *context)
{
        const struct login_name *name = &login->name;
        const char *state = "fail", *whose = "given";
        char text[512];
        enum reason reason = REASON_FOREIGN_DOMAIN;
        bool is_named;

        (void)snprintf(login->typed, sizeof(login->typed), "%s", typed);
        if (!login_name_parse(&login->name, typed, strlen(typed))) {
                report_malformed(typed, row, context);
                return false;
        }
        is_named = identity_name_account(auth, login);
        if (is_named)
                reason = identity_find(auth, login, identity);
        if (is_named && login->is_qualified && reason == REASON_NO_SYSTEM_ACCOUNT)
                reason = REASON_FOREIGN_DOMAIN;
        if (strcmp(name->user, name->mailbox) != 0)
                whose = "another's: its files must be open to the user";
        else if (strchr(typed, '\\') == strrchr(typed, '\\'))
                whose = "left out, so the user's own";
        /* whether the files of another's mailbox are open to the user is not known here */
        if (reason == REASON_NONE)
                state = strcmp(name->user, name->mailbox) != 0 ? "warn" : "ok";
        else if (reason == REASON_STARTED_WITHOUT_ROOT)
                state = "skip";
        row(context, state, "login", "user %s, domain %s, mailbox %s, %s%s%s", name->user,
            name->domain[0] == '\0' ? "none (left out)" : name->domain, name->mailbox, whose,
            reason == REASON_NONE ? "" : "\ncause: ", help_for(auth, login, reason, text));
        if (is_named && auth->virtual_account == NULL && geteuid() == 0)
                lines_check(login->account, row, context);
        /* what PAM says to it is worth knowing all the same */
        return reason == REASON_NONE || reason == REASON_SYSTEM_ACCOUNT ||
            reason == REASON_ROOT_IS_REFUSED;
}

bool
auth_check_owner(const struct auth *auth, struct identity *identity)
{
        const struct login nobody = { .kind = LOGIN_QUESTION };

        return auth->virtual_account != NULL &&
            identity_find(auth, &nobody, identity) == REASON_NONE;
}
