/*
 * processes.c - begins a process, forks others, speaks with them, waits for them.
 * Runs in:   every process of a session.
 * May touch: the state that the launcher left, its own children, the channels to them; the log.
 */
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

bool
process_begin(bool keeps_stderr)
{
        const struct rlimit no_core = { 0, 0 };
        sigset_t none = { 0 };
        int null;

        /*
         * From 32 on they are real-time signals, which nobody sends. signal() fails for SIGKILL and
         * SIGSTOP, which cannot have been changed.
         */
        for (int number = 1; number < 32; number++)
                (void)signal(number, SIG_DFL);
        (void)signal(SIGPIPE, SIG_IGN);
        /* so that where file sizes are limited the index is not written, but mail is served */
        (void)signal(SIGXFSZ, SIG_IGN);
        /* the kernel sends it to whoever holds a lease on a file that another program wants to write */
        (void)signal(SIGIO, SIG_IGN);
        sigprocmask(SIG_SETMASK, &none, NULL);
        umask(077);
        /* fills 0, 1 and 2 where they are closed, so that no later open() gets one of them */
        do
                null = open("/dev/null", O_RDWR);
        while (null >= 0 && null < 3);
        if (null < 0)
                return false;
        if (!keeps_stderr && dup2(null, 2) < 0)
                _exit(END_FAULT);
        log_close_others(-1);
        for (int fd = 0; fd < 2; fd++)
                (void)fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
        if (setrlimit(RLIMIT_CORE, &no_core) != 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)
                _exit(END_FAULT);
        return true;
}

/* The timer that ends this process. fork(2) leaves it to the parent, so each process makes its own. */
static struct {
        timer_t timer;
} last_deadline;

void
process_die_after(unsigned seconds)
{
        struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGKILL };
        const struct itimerspec when = { .it_value.tv_sec = (time_t)seconds };

        must(timer_create(CLOCK_MONOTONIC, &event, &last_deadline.timer) == 0 &&
            timer_settime(last_deadline.timer, 0, &when, NULL) == 0, "cannot set the last deadline");
}

void
process_die_at(int64_t milliseconds)
{
        const struct itimerspec when = { .it_value = { (time_t)(milliseconds / 1000),
            (long)(milliseconds % 1000) * 1000000 } };

        must(timer_settime(last_deadline.timer, TIMER_ABSTIME, &when, NULL) == 0,
            "cannot move the last deadline");
}

void
process_end_with(pid_t parent)
{
        /* if it died before prctl(), this process has another parent by now */
        if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent)
                _exit(END_FAULT);
}

pid_t
process_fork(int *channel, unsigned seconds)
{
        pid_t parent = getpid(), child;
        int ends[2];

        must(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0,
            "cannot make a channel");
        child = fork();
        must(child >= 0, "cannot fork");
        if (child == 0) {
                process_end_with(parent);
                process_die_after(seconds);
                *channel = ends[1];
                (void)close(ends[0]);
                return 0;
        }
        *channel = ends[0];
        (void)close(ends[1]);
        return child;
}

int
process_await(pid_t child, const char *name)
{
        char number[16];
        int status;

        while (waitpid(child, &status, 0) < 0)
                must(errno == EINTR, "lost a child");
        if (name == NULL || !WIFSIGNALED(status))
                return status;
        (void)snprintf(number, sizeof(number), "%d", WTERMSIG(status));
        /* SIGALRM ends the PAM helper when a module hangs */
        log_event(LOG_ERR, "FAULT", NULL, NULL, "category", "General", "process", name, "signal",
            number, "reason", WTERMSIG(status) == SIGALRM ? "took-too-long" : "died", NULL);
        return status;
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

        do      /* without flags by read(2), because AUTHORIZATION's fence forbids recv(2) */
                count = flags == 0 ? read(channel, message, size)
                                   : recv(channel, message, size, flags);
        while (count < 0 && errno == EINTR);
        return count;
}
