/*
 * pam.c - asks PAM whether a login is good, and finds out as whom.
 * Runs in:   the PAM helper, as root where pop3d is started by root.
 * May touch: PAM and what its modules touch, the account databases, the log; not the client.
 */
#include "auth.h"

#include <dlfcn.h>
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <security/pam_appl.h>
#include <shadow.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

/* What became of a login: for the client a verdict, for the log a reason. */
struct outcome {
        enum verdict verdict;
        const char *reason;
};

static const struct outcome granted = { VERDICT_GRANTED, "" },
    without_root = { VERDICT_MISCONFIGURED, "started-without-root" };
static const char no_service_file[] = "no-PAM-service-file";

/*
 * libpam and what it needs are in no other process's memory: not the one that a stranger speaks
 * with, not the one that serves mail. And no connection without a login waits for them.
 */
static struct {
        __typeof__(pam_start_confdir) *start_confdir;
        __typeof__(pam_set_item) *set_item;
        __typeof__(pam_get_item) *get_item;
        __typeof__(pam_authenticate) *authenticate;
        __typeof__(pam_acct_mgmt) *acct_mgmt;
        __typeof__(pam_strerror) *strerror;
        __typeof__(pam_end) *end;
} libpam;

const char *
auth_load_pam(void)
{
        static const struct {
                const char *name;
                void *function;
        } wanted[] = {
                { "pam_start_confdir", &libpam.start_confdir }, { "pam_end", &libpam.end },
                { "pam_set_item", &libpam.set_item }, { "pam_get_item", &libpam.get_item },
                { "pam_authenticate", &libpam.authenticate },
                { "pam_acct_mgmt", &libpam.acct_mgmt }, { "pam_strerror", &libpam.strerror },
        };
        /* its modules may look for its names among all that is loaded */
        void *library = dlopen("libpam.so.0", RTLD_NOW | RTLD_GLOBAL);

        for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
                void *found = library == NULL ? NULL : dlsym(library, wanted[i].name);

                if (found == NULL)
                        return dlerror();
                memcpy(wanted[i].function, &found, sizeof(found));
        }
        return NULL;
}

/* PAM frees the answers. It is told what it asks for, and nothing else. */
static int
converse(int count, const struct pam_message **messages,
    struct pam_response **responses, void *context)
{
        const struct login *login = context;
        struct pam_response *answers;
        bool is_answered = true;

        if (count < 1 || count > PAM_MAX_NUM_MSG)
                return PAM_CONV_ERR;
        answers = calloc((size_t)count, sizeof(*answers));
        if (answers == NULL)
                return PAM_BUF_ERR;
        for (int i = 0; i < count && is_answered; i++) {
                int style = messages[i]->msg_style;

                if (style == PAM_PROMPT_ECHO_OFF)
                        answers[i].resp = strdup(login->password);
                else if (style == PAM_PROMPT_ECHO_ON)
                        answers[i].resp = strdup(login->name.user);
                is_answered = answers[i].resp != NULL || style == PAM_ERROR_MSG ||
                    style == PAM_TEXT_INFO;
        }
        if (is_answered) {
                *responses = answers;
                return PAM_SUCCESS;
        }
        for (int i = 0; i < count; i++)
                if (answers[i].resp != NULL) {
                        explicit_bzero(answers[i].resp, strlen(answers[i].resp));
                        free(answers[i].resp);
                }
        free(answers);
        return PAM_CONV_ERR;
}

/* The time of a refusal is ours to choose, and always the same. */
static void
no_delay(int status, unsigned microseconds, void *context)
{
}

const char *
auth_hash(const struct auth *auth, const char *user)
{
        const struct spwd *shadow =
            auth->virtual_account == NULL && geteuid() == 0 ? getspnam(user) : NULL;

        return shadow == NULL ? NULL : shadow->sp_pwdp;
}

/* Without a service file libpam asks "other", which as a rule says no. */
static bool
lacks_service_file(const struct auth *auth)
{
        char path[PATH_MAX];

        (void)snprintf(path, sizeof(path), "%s/%s",
            auth->configuration == NULL ? "/etc/pam.d" : auth->configuration, auth->service);
        return access(path, F_OK) != 0;
}

static struct outcome
outcome_of_pam(const struct auth *auth, const char *user, int status)
{
        static const struct {
                int status;
                struct outcome outcome;
        } table[] = {
                { PAM_AUTH_ERR, { VERDICT_DENIED, "wrong-password" } },
                { PAM_PERM_DENIED, { VERDICT_DENIED, "not-permitted" } },
                { PAM_USER_UNKNOWN, { VERDICT_DENIED, "unknown-user" } },
                { PAM_MAXTRIES, { VERDICT_DENIED, "too-many-tries" } },
                { PAM_ACCT_EXPIRED, { VERDICT_DENIED, "account-expired" } },
                { PAM_NEW_AUTHTOK_REQD, { VERDICT_DENIED, "password-expired" } },
                { PAM_AUTHTOK_EXPIRED, { VERDICT_DENIED, "password-expired" } },
                { PAM_AUTHINFO_UNAVAIL, { VERDICT_UNAVAILABLE, "account-database-unavailable" } },
        };

        if (status == PAM_AUTH_ERR || status == PAM_PERM_DENIED) {
                const char *hash = auth_hash(auth, user);

                if (lacks_service_file(auth))
                        return (struct outcome){ VERDICT_DENIED, no_service_file };
                /* pam_unix says so to nobody */
                if (hash != NULL && hash[0] == '!')
                        return (struct outcome){ VERDICT_DENIED, "account-locked" };
                /* a stack that ends in pam_deny forgets what pam_unix knew */
                if (status == PAM_AUTH_ERR && auth->virtual_account == NULL && getpwnam(user) == NULL)
                        return (struct outcome){ VERDICT_DENIED, "unknown-user" };
        }
        for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
                if (table[i].status == status)
                        return table[i].outcome;
        return (struct outcome){ VERDICT_UNAVAILABLE, "PAM-failed" };
}

static bool
domain_is_ours(const struct auth *auth, const char *domain)
{
        for (size_t i = 0; i < auth->our_domain_count; i++)
                if (strcasecmp(auth->our_domains[i], domain) == 0)
                        return true;
        return domain[0] == '\0' || (auth->virtual_account != NULL && auth->our_domain_count == 0);
}

/* The name that PAM hands back is the one that counts. */
static bool
take_pam_user(pam_handle_t *pam, const struct auth *auth, struct login_name *name)
{
        const void *item = NULL;
        struct login_name found;

        if (libpam.get_item(pam, PAM_USER, &item) != PAM_SUCCESS || item == NULL ||
            !login_name_parse(&found, item, strlen(item)) || !domain_is_ours(auth, found.domain))
                return false;
        if (auth->virtual_account == NULL) {
                /* a system account's name may look like user@domain, too */
                if (found.domain[0] != '\0')
                        return false;
                memcpy(found.domain, name->domain, sizeof(found.domain));
        }
        if (strcmp(name->mailbox, name->user) != 0)
                memcpy(found.mailbox, name->mailbox, sizeof(found.mailbox));
        *name = found;
        return true;
}

/* A transaction as every login has it; pam_end() is due unless *pam stays NULL. */
static int
begin(const struct auth *auth, struct login *login, pam_handle_t **pam)
{
        const struct pam_conv conversation = { converse, login };
        char user[2 * LOGIN_PART_MAX + 2];
        int status;

        (void)snprintf(user, sizeof(user), "%s%s%s", login->name.user,
            auth->virtual_account != NULL && login->name.domain[0] != '\0' ? "@" : "",
            auth->virtual_account != NULL ? login->name.domain : "");
        status = libpam.start_confdir(auth->service, user, &conversation, auth->configuration, pam);
        if (status == PAM_SUCCESS)
                /* ISO C has no cast from a function to the object pointer that PAM wants */
                status = libpam.set_item(*pam, PAM_FAIL_DELAY, __extension__ (const void *)no_delay);
        if (status == PAM_SUCCESS)
                status = libpam.set_item(*pam, PAM_TTY, "pop3d");
        if (status == PAM_SUCCESS && login->peer.address[0] != '\0')
                status = libpam.set_item(*pam, PAM_RHOST, login->peer.address);
        return status;
}

/* Authenticates; on success login->name is as PAM sees it. */
static struct outcome
authenticate(const struct auth *auth, struct login *login)
{
        struct outcome result = granted;
        pam_handle_t *pam = NULL;
        const char *problem = auth_load_pam();
        int status;

        if (problem != NULL)
                return (struct outcome){ VERDICT_UNAVAILABLE, problem };
        status = begin(auth, login, &pam);
        if (pam == NULL)
                return (struct outcome){ VERDICT_MISCONFIGURED, "PAM-does-not-start" };
        if (status == PAM_SUCCESS)
                status = libpam.authenticate(pam, PAM_SILENT | PAM_DISALLOW_NULL_AUTHTOK);
        if (status == PAM_SUCCESS) {
                status = libpam.acct_mgmt(pam, PAM_SILENT | PAM_DISALLOW_NULL_AUTHTOK);
                /* the password was right: this is a rule's no, by pam_listfile for one */
                status = status == PAM_AUTH_ERR ? PAM_PERM_DENIED : status;
        }
        if (status != PAM_SUCCESS)
                result = outcome_of_pam(auth, login->name.user, status);
        else if (!take_pam_user(pam, auth, &login->name))
                result = (struct outcome){ VERDICT_MISCONFIGURED, "PAM-changed-the-name" };
        (void)libpam.end(pam, status);
        return result;
}

/* The system account that is to serve the login, or NULL. */
static const struct passwd *
account_of(const struct auth *auth, const struct login *login)
{
        return getpwnam(auth->virtual_account != NULL ? auth->virtual_account : login->name.user);
}

/* Without root nobody else's account can be taken on, nor, as a rule, his password be looked at. */
static bool
is_out_of_reach(const struct passwd *entry)
{
        return geteuid() != 0 && (entry == NULL || entry->pw_uid != getuid());
}

static struct outcome
identify(const struct auth *auth, const struct login *login,
    struct identity *identity)
{
        const struct passwd *entry = account_of(auth, login);
        int groups = GROUPS_MAX;

        memset(identity, 0, sizeof(*identity));
        if (entry == NULL)
                return (struct outcome){ VERDICT_MISCONFIGURED, "no-such-system-account" };
        if (entry->pw_uid == 0 || entry->pw_gid == 0)
                return (struct outcome){ VERDICT_DENIED, "root-is-refused" };
        if (is_out_of_reach(entry))
                return without_root;
        identity->uid = entry->pw_uid;
        identity->gid = entry->pw_gid;
        identity->name = login->name;
        identity->mechanism = login->mechanism;
        identity->peer = login->peer;
        if (getgrouplist(entry->pw_name, entry->pw_gid, identity->groups, &groups) < 0)
                return (struct outcome){ VERDICT_MISCONFIGURED, "too-many-groups" };
        identity->group_count = (uint32_t)groups;
        /* another's mailbox lies in another's home, and the kernel decides, */
        /* which it cannot where one account owns all maildrops: there nobody but its user */
        if (strcmp(login->name.mailbox, login->name.user) != 0)
                entry = auth->virtual_account != NULL ? NULL : getpwnam(login->name.mailbox);
        identity->has_mailbox = entry != NULL && strlen(entry->pw_dir) < sizeof(identity->home);
        if (identity->has_mailbox)
                (void)snprintf(identity->home, sizeof(identity->home), "%s", entry->pw_dir);
        return granted;
}

const char *
auth_ask_rules(const struct auth *auth, struct login *login, bool are_account)
{
        pam_handle_t *pam = NULL;
        int status = begin(auth, login, &pam);

        if (status == PAM_SUCCESS)
                status = are_account ? libpam.acct_mgmt(pam, PAM_SILENT) : libpam.authenticate(pam, PAM_SILENT);
        if (pam != NULL)
                (void)libpam.end(pam, status);
        return status == PAM_SUCCESS ? NULL : libpam.strerror(NULL, status);
}

const char *
auth_foresee(const struct auth *auth, const struct login *login,
    struct identity *identity)
{
        return domain_is_ours(auth, login->name.domain) ? identify(auth, login, identity).reason
            : "foreign-domain";
}

static struct outcome
examine(const struct auth *auth, struct login *login,
    struct identity *identity)
{
        struct outcome result;

        if (!login->is_acceptable || !login_name_is_valid(&login->name))
                return (struct outcome){ VERDICT_DENIED, "malformed-login" };
        if (login->password[0] == '\0')
                return (struct outcome){ VERDICT_DENIED, "empty-password" };
        if (!domain_is_ours(auth, login->name.domain))
                return (struct outcome){ VERDICT_DENIED, "foreign-domain" };
        result = authenticate(auth, login);
        if (result.verdict == VERDICT_GRANTED)
                return identify(auth, login, identity);
        /* root's PAM has said all there is to say: no database is asked once more */
        if (geteuid() != 0 && is_out_of_reach(account_of(auth, login)))
                return without_root;
        return result;
}

static void
log_refusal(const struct login *login, const struct outcome *result)
{
        bool is_ours = result->verdict != VERDICT_DENIED || result->reason == no_service_file;

        log_event(is_ours ? LOG_ERR : LOG_NOTICE, "LOGIN FAILED", login->typed,
            login->peer.address, "category", is_ours ? "Configuration" : "Authentication",
            "reason", result->reason, "method",
            mechanism_name((enum mechanism)login->mechanism), NULL);
}

/* Takes the next login, which may be anything; the process ends when AUTHORIZATION has. */
static void
next_login(const struct auth *auth, int logins, struct login *login)
{
        ssize_t count = channel_receive(logins, login, sizeof(*login), MSG_TRUNC);
        bool is_whole = count == (ssize_t)sizeof(*login);
        struct peer peer;

        if (is_whole && login->kind == LOGIN_VIOLATION)
                log_violation("AUTHORIZATION", (int)login->mechanism);
        if (count <= 0 || (is_whole && login->kind == LOGIN_VIOLATION))
                _exit(0);
        must(is_whole && login->kind == LOGIN_QUESTION && login->mechanism < MECHANISMS &&
            IS_STRING(login->typed) && IS_STRING(login->password) &&
            IS_STRING(login->peer.address) && (login->peer.address[0] == '\0' ||
            peer_set_address(&peer, login->peer.address)), "AUTHORIZATION sent what is no login");
        /* without -x the socket alone says who is there */
        if (!auth->expects_proxy)
                login->peer = auth->peer;
}

void
pam_helper(const struct auth *auth, int logins, int identities)
{
        static struct login login;
        static struct identity identity;
        const pid_t self = getpid();
        uint32_t verdict = 0;

        log_leave_standard(0);
        for (int tries = 0; tries < LOGIN_TRIES && verdict != VERDICT_GRANTED; tries++) {
                struct timespec due, now;
                struct outcome result;

                /* a module that hangs, by default's action on SIGALRM, ends with us */
                (void)alarm(auth->login_seconds + FAILED_LOGIN_SECONDS);
                next_login(auth, logins, &login);
                (void)alarm(auth->login_seconds + FAILED_LOGIN_SECONDS);
                (void)clock_gettime(CLOCK_MONOTONIC, &due);
                result = examine(auth, &login, &identity);
                explicit_bzero(login.password, sizeof(login.password));
                /* a child that a module forked, and let come back */
                if (getpid() != self)
                        _exit(END_FAULT);
                verdict = (uint32_t)result.verdict;
                if (verdict == VERDICT_GRANTED) {
                        (void)channel_send(identities, &identity, sizeof(identity));
                } else {
                        log_own_again();
                        log_refusal(&login, &result);
                        /* where PAM takes longer, a multiple: that tells less than its own time */
                        (void)clock_gettime(CLOCK_MONOTONIC, &now);
                        do
                                due.tv_sec += FAILED_LOGIN_SECONDS;
                        while (due.tv_sec < now.tv_sec ||
                            (due.tv_sec == now.tv_sec && due.tv_nsec <= now.tv_nsec));
                        while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL) == EINTR)
                                continue;
                }
                (void)channel_send(logins, &verdict, sizeof(verdict));
        }
        _exit(0);
}
