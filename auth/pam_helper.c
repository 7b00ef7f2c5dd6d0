/*
 * pam_helper.c - the PAM process: takes logins, answers each with a verdict.
 * Runs in:   the PAM helper, as root where pop3d is started by root.
 * May touch: its two channels, the log; what pam.c and identity.c touch; not the client.
 */
#include "internal.h"

#include <errno.h>
#include <sys/socket.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

/*
 * A refusal may be no fault of the client's: the server may be closed, or the name service be down.
 * Then all names are answered alike, those that are known as those that are not.
 */
static enum reason
excuse(const struct auth *auth, enum reason reason)
{
        if (reason_verdict(reason) != VERDICT_DENIED)
                return reason;
        if (libpam_met_nologin())
                return REASON_MAINTENANCE;
        if (auth->virtual_account == NULL && account_service_is_down())
                return REASON_NAME_SERVICE_DOWN;
        return reason;
}

static enum reason
examine(const struct auth *auth, struct login *login, struct identity *identity)
{
        bool is_foreign = !identity_domain_is_ours(auth, login->name.domain);
        enum reason reason;

        if (!login->is_acceptable || !login_name_is_valid(&login->name))
                return REASON_MALFORMED_LOGIN;
        if (login->password[0] == '\0')
                return REASON_EMPTY_PASSWORD;
        if (!identity_name_account(auth, login))
                return REASON_FOREIGN_DOMAIN;
        reason = pam_ask(auth, login);
        if (reason != REASON_NONE)
                equal_work(auth, login);
        if (reason == REASON_NONE)
                reason = identity_find(auth, login, identity);
        /* without root PAM can seldom check another's password, so its own reason would mislead */
        else if (identity_is_out_of_reach(auth, login))
                reason = REASON_STARTED_WITHOUT_ROOT;
        /* what has no account of just that name is a domain that nobody has named */
        if (is_foreign && (reason == REASON_UNKNOWN_USER || reason == REASON_NO_SYSTEM_ACCOUNT))
                reason = REASON_FOREIGN_DOMAIN;
        return excuse(auth, reason);
}

static void
log_refusal(const struct login *login, enum reason reason)
{
        bool is_configuration = reason_is_configuration(reason);

        log_event(is_configuration ? LOG_ERR : LOG_NOTICE, "LOGIN FAILED", login->typed,
            login->peer.address, "category", is_configuration ? "Configuration" : "Authentication",
            "reason", reason == REASON_NO_LIBPAM ? libpam_problem() : reason_name(reason), "method",
            mechanism_name((enum mechanism)login->mechanism), NULL);
}

/* Receives and checks the next login, which may be anything. The process ends when none comes. */
static void
next_login(const struct auth *auth, int logins, struct login *login)
{
        ssize_t count = channel_receive(logins, login, sizeof(*login), MSG_TRUNC);
        bool is_whole = count == (ssize_t)sizeof(*login);
        struct peer peer;

        if (count <= 0)
                _exit(0);
        if (is_whole && login->kind == LOGIN_VIOLATION) {
                log_violation("AUTHORIZATION", (int)login->forbidden_call);
                _exit(0);
        }
        must(is_whole && login->kind == LOGIN_QUESTION && login->mechanism < MECHANISMS &&
            IS_STRING(login->typed) && IS_STRING(login->password) &&
            IS_STRING(login->peer.address) && (login->peer.address[0] == '\0' ||
            peer_set_address(&peer, login->peer.address)), "AUTHORIZATION sent what is no login");
        /* without -x the socket alone says who the client is */
        if (!auth->expects_proxy)
                login->peer = auth->peer;
}

/*
 * Waits until FAILED_LOGIN_SECONDS after start, so that the time of a refusal does not tell what
 * was wrong. If PAM has taken longer than that, it waits for the next multiple of it.
 */
static void
wait_to_refuse(struct timespec start)
{
        struct timespec now, due = start;

        (void)clock_gettime(CLOCK_MONOTONIC, &now);
        do
                due.tv_sec += FAILED_LOGIN_SECONDS;
        while (due.tv_sec < now.tv_sec ||
            (due.tv_sec == now.tv_sec && due.tv_nsec <= now.tv_nsec));
        while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL) == EINTR)
                continue;
}

void
pam_helper(const struct auth *auth, int logins, int identities)
{
        static struct login login;
        static struct identity identity;
        const pid_t self = getpid();
        uint32_t verdict = 0;

        become_bounded();
        must(log_leave_standard(0), "cannot leave descriptors to /dev/null");
        for (int tries = 0; tries < LOGIN_TRIES && verdict != VERDICT_GRANTED; tries++) {
                struct timespec start;
                enum reason reason;

                /* SIGALRM's default action ends this process, even while a module hangs */
                (void)alarm(auth->login_seconds + FAILED_LOGIN_SECONDS);
                next_login(auth, logins, &login);
                (void)alarm(auth->login_seconds + FAILED_LOGIN_SECONDS);
                (void)clock_gettime(CLOCK_MONOTONIC, &start);
                places_begin_examination();
                reason = examine(auth, &login, &identity);
                places_end_examination();
                explicit_bzero(login.password, sizeof(login.password));
                /* a module forked, and its child returned to us as well: the child ends here */
                if (getpid() != self)
                        _exit(END_FAULT);
                verdict = (uint32_t)reason_verdict(reason);
                if (verdict == VERDICT_GRANTED) {
                        (void)channel_send(identities, &identity, sizeof(identity));
                } else {
                        log_own_again();
                        log_refusal(&login, reason);
                        wait_to_refuse(start);
                }
                (void)channel_send(logins, &verdict, sizeof(verdict));
        }
        _exit(0);
}
