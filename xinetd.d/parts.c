/*
 * parts.c - the processes of the check: a part of its own, whose rows are taken over; a program.
 * Runs in:   pop3d-check.
 * May touch: nothing but that process and the socket to it.
 *
 * A part has no terminal: its descriptors 0, 1 and 2 are one end of a socket, on which its rows come
 * as messages of one size. The reader believes none of them. A part that hangs or dies takes
 * nothing with it, because what it has said until then is here already.
 */
#include "check.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
        WORDS_SIZE = 200,       /* of what a part says that is no row, such as a line of the log */
        SILENT_SECONDS = 3,     /* until whoever waits at a terminal is told so */
        PROGRAM_SECONDS = 60,   /* in which a program must end */
        NO_PROGRAM = 127,       /* as a shell says it */
};

/* A row without a state is the last message of a part that came to its end. */
static bool
is_end(const struct row *row)
{
        return row->state[0] == '\0';
}

/* In the new process. The clock is for one that outlives whoever waits for it. */
static _Noreturn void
run(struct report *report, int channel, unsigned seconds, part_function part, void *context)
{
        static const struct row end = { .state = "" };

        (void)signal(SIGINT, SIG_DFL);
        (void)signal(SIGTERM, SIG_DFL);
        (void)alarm(seconds);
        if (report->channel >= 0)
                (void)close(report->channel);
        for (int fd = 0; fd <= 2; fd++)
                if (dup2(channel, fd) < 0)
                        _exit(END_FAULT);
        *report = (struct report){ .channel = 1 };
        part(report, context);
        report_add(report, &end);
        _exit(END_QUIT);
}

/*
 * Waits for a message until the clock says so, or a signal. Returns its length, 0 at the end of
 * all; -1: none has come.
 */
static ssize_t
await_message(int channel, struct row *row, time_t until, bool is_first)
{
        struct pollfd waiting = { .fd = channel, .events = POLLIN };
        struct timespec now;
        int count = 0;

        (void)clock_gettime(CLOCK_MONOTONIC, &now);
        if (is_first && isatty(1) && (count = poll(&waiting, 1, SILENT_SECONDS * 1000)) == 0)
                (void)fprintf(stderr, "Something is slow to answer; ^C shows what is known.\n");
        if (count == 0 && now.tv_sec < until)
                count = poll(&waiting, 1, (int)(until - now.tv_sec) * 1000);
        if (count != 1)
                return -1;
        *row = (struct row){ .state = "" };
        return recv(channel, row, sizeof(*row), 0);
}

/*
 * Takes over what a part says. what: the only thing that its rows are about, or NULL. words: what
 * it said last that is no row. True if it came to its end.
 */
static bool
take_rows(struct report *report, int channel, const char *what, time_t until,
    char words[WORDS_SIZE])
{
        struct row row;
        ssize_t length;

        words[0] = '\0';
        while ((length = await_message(channel, &row, until, report->channel < 0)) > 0) {
                if (length != (ssize_t)sizeof(row)) {
                        (void)snprintf(words, WORDS_SIZE, "%.*s", (int)length, (const char *)&row);
                        continue;
                }
                row.state[sizeof(row.state) - 1] = row.what[sizeof(row.what) - 1] = '\0';
                row.text[sizeof(row.text) - 1] = '\0';
                if (is_end(&row))
                        return true;
                if (what != NULL)
                        (void)snprintf(row.what, sizeof(row.what), "%s", what);
                report_add(report, &row);
        }
        if (length < 0)
                (void)snprintf(words, WORDS_SIZE, "something did not answer until then");
        return false;
}

void
part_run(struct report *report, const char *name, const char *what, unsigned seconds,
    part_function part, void *context)
{
        char words[WORDS_SIZE];
        struct timespec now;
        int channel[2];
        pid_t child;

        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, channel) != 0 ||
            (child = fork()) < 0) {
                print_row(report, "fail", name, "not looked at: %s", strerror(errno));
                return;
        }
        if (child == 0)
                run(report, channel[1], seconds, part, context);
        (void)close(channel[1]);
        (void)clock_gettime(CLOCK_MONOTONIC, &now);
        if (!take_rows(report, channel[0], what, now.tv_sec + (time_t)seconds, words))
                print_row(report, "fail", name, "the check did not come to its end\n"
                    "cause: %s", words[0] != '\0' ? words : "it died; the log may say why");
        (void)kill(child, SIGKILL);
        (void)waitpid(child, NULL, 0);
        (void)close(channel[0]);
}

pid_t
program_start(const char *path, char *const arguments[], int *socket)
{
        int channel[2];
        pid_t child;

        *socket = -1;
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, channel) != 0)
                return -1;
        child = fork();
        if (child == 0) {
                (void)alarm(PROGRAM_SECONDS);
                if (dup2(channel[1], 0) == 0 && dup2(channel[1], 1) == 1)
                        (void)execv(path, arguments);
                _exit(NO_PROGRAM);
        }
        (void)close(channel[1]);
        if (child < 0)
                (void)close(channel[0]);
        else
                *socket = channel[0];
        return child;
}

int
program_end(pid_t program, bool is_waited_for)
{
        int status;

        if (program < 0)
                return -1;
        if (!is_waited_for)
                (void)kill(program, SIGKILL);
        if (waitpid(program, &status, 0) != program || !WIFEXITED(status))
                return -1;
        return WEXITSTATUS(status);
}
