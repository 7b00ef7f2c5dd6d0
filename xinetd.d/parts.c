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
run(struct report *report, int channel, const struct part *part, void *context)
{
        static const struct row end = { .state = "" };

        (void)signal(SIGINT, SIG_DFL);
        (void)signal(SIGTERM, SIG_DFL);
        (void)alarm(part->seconds);
        if (report->channel >= 0)
                (void)close(report->channel);
        for (int fd = 0; fd <= 2; fd++)
                if (dup2(channel, fd) < 0)
                        _exit(END_FAULT);
        *report = (struct report){ .channel = 1 };
        part->look(report, context);
        if (part->result != NULL)
                (void)!write(1, part->result, part->result_size);
        report_add(report, &end);
        _exit(END_QUIT);
}

/* Set by a signal: whoever waits at a terminal does not want to wait any longer. */
static volatile sig_atomic_t is_interrupted;

static void
interrupt(int number)
{
        (void)number;
        is_interrupted = 1;
}

bool
parts_are_interrupted(void)
{
        return is_interrupted != 0;
}

void
parts_begin(void)
{
        const struct sigaction action = { .sa_handler = interrupt };

        (void)signal(SIGPIPE, SIG_IGN);
        (void)sigaction(SIGINT, &action, NULL);
        (void)sigaction(SIGTERM, &action, NULL);
}

/*
 * Waits for a message until the clock says so, or a signal. Returns its length, 0 at the end of
 * all; -1: none has come.
 */
static ssize_t
await_message(int channel, char message[PART_MESSAGE_MAX], time_t until)
{
        struct pollfd waiting = { .fd = channel, .events = POLLIN };
        int count = poll(&waiting, 1, isatty(1) ? SILENT_SECONDS * 1000 : 0);
        struct timespec now;

        (void)clock_gettime(CLOCK_MONOTONIC, &now);
        if (count == 0 && isatty(1))
                (void)fprintf(stderr, "Something is slow to answer; ^C shows what is known.\n");
        if (count == 0 && now.tv_sec < until && !is_interrupted)
                count = poll(&waiting, 1, (int)(until - now.tv_sec) * 1000);
        if (count != 1)
                return -1;
        memset(message, 0, PART_MESSAGE_MAX);
        return recv(channel, message, PART_MESSAGE_MAX, 0);
}

/* What a message that is no row is: the result of the part, or words, such as a line of the log. */
static void
take_other(const struct part *part, const void *message, ssize_t length, char words[WORDS_SIZE])
{
        if (part->result != NULL && (size_t)length == part->result_size)
                memcpy(part->result, message, part->result_size);
        else
                (void)snprintf(words, WORDS_SIZE, "%.*s", (int)length, (const char *)message);
}

/*
 * Takes over what a part says. words: what it said last that is neither row nor result, or what is
 * wrong with it. True if it came to its end.
 */
static bool
take_rows(struct report *report, int channel, const struct part *part, time_t until,
    char words[WORDS_SIZE])
{
        union {
                struct row row;
                char octets[PART_MESSAGE_MAX];
        } message;
        struct row *row = &message.row;
        ssize_t length;

        (void)snprintf(words, WORDS_SIZE, "it died; the log may say why");
        while ((length = await_message(channel, message.octets, until)) > 0) {
                if (length != (ssize_t)sizeof(*row)) {
                        take_other(part, &message, length, words);
                        continue;
                }
                row->state[sizeof(row->state) - 1] = row->what[sizeof(row->what) - 1] = '\0';
                row->text[sizeof(row->text) - 1] = '\0';
                if (is_end(row))
                        return true;
                if (part->is_of_one_name)
                        (void)snprintf(row->what, sizeof(row->what), "%s", part->name);
                report_add(report, row);
        }
        if (is_interrupted)
                (void)snprintf(words, WORDS_SIZE, "it was interrupted");
        else if (length < 0)
                (void)snprintf(words, WORDS_SIZE, "%s did not answer within %u seconds",
                    part->asks, part->seconds);
        return false;
}

/*
 * Kills the process and waits for it. False if the kernel does not end it: it does not while a
 * request to a file system is in the hands of whoever serves that (FUSE, NFS).
 */
static bool
end_process(pid_t process)
{
        const struct timespec pause = { .tv_nsec = 10000000 };

        (void)kill(process, SIGKILL);
        for (int tries = 0; tries < 200; tries++) {
                if (waitpid(process, NULL, WNOHANG) != 0)
                        return true;
                (void)nanosleep(&pause, NULL);
        }
        return false;
}

int
part_run(struct report *report, const struct part *part, void *context)
{
        int worst_before = report->worst, channel[2], worst;
        char words[WORDS_SIZE];
        struct timespec now;
        pid_t child;

        if (is_interrupted)
                return CHECK_FAULTS;
        report->worst = CHECK_OK;
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, channel) != 0 ||
            (child = fork()) < 0) {
                print_row(report, "fail", part->name, "not looked at: %s", strerror(errno));
                return CHECK_FAULTS;
        }
        if (child == 0)
                run(report, channel[1], part, context);
        (void)close(channel[1]);
        (void)clock_gettime(CLOCK_MONOTONIC, &now);
        if (!take_rows(report, channel[0], part, now.tv_sec + (time_t)part->seconds, words))
                print_row(report, "fail", part->name, "the check did not come to its end\n"
                    "cause: %s", words);
        if (!end_process(child))
                print_row(report, "fail", part->name, "process %d of the check cannot be ended\n"
                    "cause: a file system does not answer, and its server holds the request\n"
                    "remedy: look for it in `mount`; umount -f, or end its server", (int)child);
        (void)close(channel[0]);
        worst = report->worst;
        if (worst_before > worst)
                report->worst = worst_before;
        return worst;
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
