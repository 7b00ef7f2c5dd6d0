/*
 * session.c - a session until its login: three processes, and one after it.
 * Runs in:   pop3d, which forks and waits; auth_ask() in AUTHORIZATION.
 * May touch: its two children, the channels between them; the log.
 *
 *     AUTHORIZATION -- login --> PAM -- identity --> pop3d
 *                   <- verdict -
 *
 * pop3d shares the channel of the logins to see that a first one waits, but never takes it.
 */
#include "internal.h"

#include <errno.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <syslog.h>
#include <unistd.h>

const char *
session_end_name(enum session_end end)
{
        switch (end) {
        case END_QUIT: return "quit";
        case END_TIMEOUT: return "timeout";
        case END_ABUSE: return "abuse";
        case END_CUT: return "cut";
        case END_IN_USE: return "in-use";
        case END_TOO_MANY: return "too-many";
        case END_REFUSED: return "refused";
        case END_DISCONNECT: case END_SILENT: return "disconnect";
        default: return "fault";
        }
}

/*
 * When no login was granted: waits for both processes (pam 0: it was not forked), logs how the
 * session ended and returns it.
 */
static enum session_end
end_session(const struct auth *auth, pid_t authorization, pid_t pam)
{
        enum session_end end;
        int status;

        /* closes the channels, so that a process that waits for us at one ends */
        log_close_others(-1);
        if (pam != 0)
                (void)process_await(pam, "PAM");
        status = process_await(authorization, "AUTHORIZATION");
        if (!WIFEXITED(status))
                return END_FAULT;
        /* END_GRANTED from AUTHORIZATION alone grants nothing: PAM has sent no identity */
        errno = 0;
        must(WEXITSTATUS(status) != END_GRANTED, "AUTHORIZATION granted itself a login");
        end = (enum session_end)WEXITSTATUS(status);
        /*
         * A connection without a word is a health check or a port scan, so it is only LOG_DEBUG.
         * With -x the socket's address is the proxy's, so none is logged.
         */
        log_event(end == END_SILENT ? LOG_DEBUG : LOG_INFO, "DISCONNECTED", NULL,
            auth->expects_proxy ? NULL : auth->peer.address, "end", session_end_name(end), NULL);
        return end;
}

/*
 * Finds the powerless account. Where /etc/passwd alone does not tell it, another process asks the
 * name service: AUTHORIZATION is forked from this one, and must have no list of accounts in memory.
 */
static void
find_powerless(const struct auth *auth, unsigned seconds, uid_t *uid, gid_t *gid)
{
        const char *name = account_powerless(auth, uid, gid);
        uint32_t found[3] = { false, 0, 0 };    /* whether there is one; its numbers */
        int channel;
        pid_t child;

        if (*uid == 0) {
                child = process_fork(&channel, seconds);
                if (child == 0) {
                        found[0] = account_find(name, uid, gid);
                        found[1] = (uint32_t)*uid;
                        found[2] = (uint32_t)*gid;
                        _exit(channel_send(channel, found, sizeof(found)) ? 0 : END_FAULT);
                }
                (void)channel_receive(channel, found, sizeof(found), MSG_TRUNC);
                (void)close(channel);
                (void)process_await(child, "name-service");
                must(found[0] == true, "the account of -n is unknown");
                *uid = (uid_t)found[1];
                *gid = (gid_t)found[2];
        }
        must(*uid != 0 && *gid != 0, "the account of -n has root's numbers");
}

/* Forks AUTHORIZATION, which runs authorization() under the powerless account and ends. */
static pid_t
start_authorization(const struct auth *auth,
    enum session_end (*authorization)(void *context, int pam), void *context, int *logins,
    unsigned seconds)
{
        uid_t uid = 0;
        gid_t gid = 0;
        pid_t child;

        find_powerless(auth, seconds, &uid, &gid);
        child = process_fork(logins, seconds);
        if (child == 0) {
                become_powerless(uid, gid, *logins);
                _exit((int)authorization(context, *logins));
        }
        return child;
}

/* Answers AUTHORIZATION's announcement. False if the peer is not admitted. */
static bool
answer_announcement(int channel)
{
        struct announcement announcement;
        struct peer peer = { 0 };
        uint32_t verdict;

        errno = 0;
        must(channel_receive(channel, &announcement, sizeof(announcement), MSG_TRUNC) ==
            (ssize_t)sizeof(announcement) && IS_STRING(announcement.peer.address) &&
            (announcement.peer.address[0] == '\0' ||
            peer_set_address(&peer, announcement.peer.address)), "AUTHORIZATION announced no peer");
        verdict = auth_admits(&peer) ? VERDICT_GRANTED : VERDICT_UNAVAILABLE;
        (void)channel_send(channel, &verdict, sizeof(verdict));
        return verdict == VERDICT_GRANTED;
}

/* Waits for a first login, which stays in the channel. False: AUTHORIZATION has ended without one. */
static bool
await_login(const struct auth *auth, pid_t authorization, int logins)
{
        bool is_admitted = !auth->expects_proxy;
        uint32_t kind;

        for (;;) {
                places_wait(logins, authorization);
                if (channel_receive(logins, &kind, sizeof(kind), MSG_PEEK) != (ssize_t)sizeof(kind))
                        return false;
                if (kind != LOGIN_ANNOUNCEMENT || is_admitted)
                        break;
                is_admitted = answer_announcement(logins);
        }
        errno = 0;
        must(is_admitted || kind == LOGIN_VIOLATION, "AUTHORIZATION did not announce its peer");
        return true;
}

enum session_end
auth_session(const struct auth *auth,
    enum session_end (*authorization)(void *context, int pam), void *context,
    struct identity *identity)
{
        /*
         * The longest that the processes' own clocks can let them run. PAM is killed first, so that
         * AUTHORIZATION can still tell the client; then AUTHORIZATION; then this process, because a
         * module's child may hold a channel open, the log may hang, or the user, once this process is
         * his, may stop it. After the login process_die_at() goes on with the same timer.
         */
        const unsigned patience = 2 * auth->login_seconds + FAILED_LOGIN_SECONDS;
        pid_t child, pam;
        int logins, identities;
        bool is_admitted;

        process_die_after(patience + 15);
        child = start_authorization(auth, authorization, context, &logins, patience + 10);
        if (!await_login(auth, child, logins))
                return end_session(auth, child, 0);
        pam = process_fork(&identities, patience + 1);
        if (pam == 0)
                pam_helper(auth, logins, identities);
        (void)close(logins);
        /* while PAM is at work */
        log_learn_zone();
        confine_waiting();
        places_wait(identities, child);
        if (channel_receive(identities, identity, sizeof(*identity), MSG_TRUNC) !=
            (ssize_t)sizeof(*identity))
                return end_session(auth, child, pam);
        /* AUTHORIZATION has nothing left to do; killed, it cannot hold the session up */
        (void)kill(child, SIGKILL);
        must(identity_is_sound(identity), "PAM sent what is no identity");
        is_admitted = sessions_admit(auth, identity);
        become_session_user(identity);
        (void)process_await(pam, NULL);
        (void)process_await(child, NULL);
        return is_admitted ? END_GRANTED : END_CROWDED;
}

bool
auth_announce(int pam, const struct peer *peer)
{
        struct announcement announcement = { LOGIN_ANNOUNCEMENT, *peer };
        uint32_t verdict;

        return channel_send(pam, &announcement, sizeof(announcement)) &&
            channel_receive(pam, &verdict, sizeof(verdict), 0) == (ssize_t)sizeof(verdict) &&
            verdict == VERDICT_GRANTED;
}

enum verdict
auth_ask(int pam, struct login *login)
{
        bool is_sent = channel_send(pam, login, sizeof(*login));
        uint32_t verdict;

        explicit_bzero(login->password, sizeof(login->password));
        if (!is_sent ||
            channel_receive(pam, &verdict, sizeof(verdict), 0) != (ssize_t)sizeof(verdict) ||
            verdict < VERDICT_GRANTED || verdict > VERDICT_MISCONFIGURED)
                return VERDICT_UNAVAILABLE;
        return (enum verdict)verdict;
}
