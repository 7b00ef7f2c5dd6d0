/*
 * processes.c - three processes until login, one after.
 * Runs in:   pop3d, which forks and waits; auth_ask() in AUTHORIZATION.
 * May touch: its two children, the channels between them; the account database.
 *
 *     AUTHORIZATION -- login --> PAM -- identity --> pop3d
 *                   <- verdict -
 *
 * pop3d looks whether a login is waiting, but never takes one.
 */
#include "auth.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

const char *
mechanism_name(enum mechanism mechanism)
{
        static const char *const names[MECHANISMS] = { "PASS", "PLAIN", "LOGIN" };

        return names[mechanism];
}

bool
channel_send(int channel, const void *message, size_t size)
{
        ssize_t count;

        do
                count = write(channel, message, size);
        while (count < 0 && errno == EINTR);
        return count == (ssize_t)size;
}

ssize_t
channel_receive(int channel, void *message, size_t size, int flags)
{
        ssize_t count;

        do      /* AUTHORIZATION's fence knows read(2), not recv(2) */
                count = flags == 0 ? read(channel, message, size) : recv(channel, message, size, flags);
        while (count < 0 && errno == EINTR);
        return count;
}

void
die_after(unsigned seconds)
{
        struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGKILL };
        const struct itimerspec when = { .it_value.tv_sec = (time_t)seconds };
        timer_t timer;

        must(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0 &&
            timer_settime(timer, 0, &when, NULL) == 0, "cannot set the last deadline");
}

/* With its own end of a channel. It must not outlive pop3d, which may be killed, nor the seconds. */
static pid_t
fork_helper(int *channel, unsigned seconds)
{
        pid_t parent = getpid(), child;
        int ends[2];

        must(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0,
            "cannot make a channel");
        child = fork();
        must(child >= 0, "cannot fork");
        if (child == 0) {
                if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent)
                        _exit(END_FAULT);
                die_after(seconds);
        }
        *channel = ends[child == 0];
        (void)close(ends[child != 0]);
        return child;
}

/* Logs under this name (NULL: not) if it was a signal that ended the child. */
static int
await_end(pid_t child, const char *name)
{
        char number[16];
        int status;

        while (waitpid(child, &status, 0) < 0)
                must(errno == EINTR, "lost a child");
        if (name == NULL || !WIFSIGNALED(status))
                return status;
        (void)snprintf(number, sizeof(number), "%d", WTERMSIG(status));
        /* SIGALRM is the end of a PAM module that hangs */
        log_event(LOG_ERR, "FAULT", NULL, NULL, "category", "General", "process", name, "signal",
            number, "reason", WTERMSIG(status) == SIGALRM ? "took-too-long" : "died", NULL);
        return status;
}

/* PAM is trusted, but not to keep a promise about memory. */
static bool
identity_is_sound(const struct identity *identity)
{
        return identity->group_count <= GROUPS_MAX && IS_STRING(identity->home) &&
            IS_STRING(identity->peer.address) && login_name_is_valid(&identity->name) &&
            identity->mechanism < MECHANISMS && identity->uid != 0 && identity->gid != 0;
}

/* When no login was granted: waits for the helpers (pam 0: not forked), and says how it ended. */
static enum session_end
end_session(const struct auth *auth, pid_t authorization, pid_t pam)
{
        enum session_end end;
        int status;

        log_close_others(-1);
        if (pam != 0)
                (void)await_end(pam, "PAM");
        status = await_end(authorization, "AUTHORIZATION");
        /* its word alone grants nothing */
        if (!WIFEXITED(status) || WEXITSTATUS(status) == END_GRANTED)
                return END_FAULT;
        end = (enum session_end)WEXITSTATUS(status);
        /* a connection without a word is a health check or a port scan; whose, a proxy alone knows */
        log_event(end == END_SILENT ? LOG_DEBUG : LOG_INFO, "DISCONNECTED", NULL,
            auth->expects_proxy ? NULL : auth->peer.address, "end", session_end_name(end), NULL);
        return end;
}

/* In the first lines of /etc/passwd, as a rule: the name service takes as long as the greeting. */
bool
find_account(const char *name, uid_t *uid, gid_t *gid)
{
        const size_t length = strlen(name);
        unsigned long user = 0, group = 0;
        char text[4096] = "", *rest = text, *line, *end = NULL;
        int fd = open("/etc/passwd", O_RDONLY | O_CLOEXEC);
        const struct passwd *entry = NULL;

        (void)!read(fd, text, sizeof(text) - 1);
        (void)close(fd);
        do
                line = strsep(&rest, "\n");
        while (line != NULL && (strncmp(line, name, length) != 0 || line[length] != ':'));
        if (line != NULL && (end = strchr(line + length + 1, ':')) != NULL) {
                user = strtoul(end + 1, &end, 10);
                group = *end == ':' ? strtoul(end + 1, &end, 10) : 0;
        }
        /* a name or a line that libc would read in another way is left to it */
        if (end == NULL || *end != ':' || strpbrk(name, "+#:") != NULL || user == 0 ||
            user >= UINT_MAX || group == 0 || group >= UINT_MAX) {
                errno = 0;
                entry = getpwnam(name);
                user = entry != NULL ? entry->pw_uid : 0;
                group = entry != NULL ? entry->pw_gid : 0;
        }
        /* whoever parses a stranger's octets is to have no list of accounts in memory */
        explicit_bzero(text, sizeof(text));
        *uid = (uid_t)user;
        *gid = (gid_t)group;
        return entry != NULL || user != 0;
}

enum session_end
auth_session(const struct auth *auth,
    enum session_end (*authorization)(void *context, int pam), void *context,
    struct identity *identity)
{
        /* what their own deadlines and alarms can take; PAM ends in time for the client to be told */
        const unsigned patience = 2 * auth->login_seconds + FAILED_LOGIN_SECONDS;
        uid_t uid = 0;
        gid_t gid = 0;
        pid_t child, pam;
        int logins, identities;
        char octet;

        /* whoever holds a channel open, or the log up: a module's child, or a syslog that is stuck */
        (void)alarm(patience + 15);
        must(find_account(auth->powerless_account, &uid, &gid),
            "the account of the authorization process (-n) is unknown");
        must(uid != 0 && gid != 0, "the account of the authorization process (-n) has root's numbers");
        child = fork_helper(&logins, patience + 10);
        if (child == 0) {
                become_powerless(uid, gid, logins);
                _exit((int)authorization(context, logins));
        }
        /* waits for a first login; an end of file needs no PAM */
        if (channel_receive(logins, &octet, 1, MSG_PEEK) != 1)
                return end_session(auth, child, 0);
        pam = fork_helper(&identities, patience + 1);
        if (pam == 0)
                pam_helper(auth, logins, identities);
        (void)close(logins);
        if (channel_receive(identities, identity, sizeof(*identity), MSG_TRUNC) !=
            (ssize_t)sizeof(*identity))
                return end_session(auth, child, pam);
        /* it has nothing left to do, and is not asked whether it agrees */
        (void)kill(child, SIGKILL);
        must(identity_is_sound(identity), "PAM sent what is no identity");
        become_user(identity);
        (void)await_end(pam, NULL);
        (void)await_end(child, NULL);
        return END_GRANTED;
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
