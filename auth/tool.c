/*
 * tool.c - asks a program of this machine, as openssl or nft, something and reads what it says.
 * Runs in:   the check (-c) alone.
 * May touch: the program, which it starts; that as an account without power where it needs no more.
 */
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
        TOOL_SECONDS = 30,      /* no program lives longer, whatever its reader does */
        NOBODY = 65534,
        NOT_STARTED = 127,      /* an exit status, as a shell has it */
};

/* Gives up all power. What a program without it reads may come from whoever has a port. */
static bool
become_nobody(void)
{
        if (geteuid() == 0 && (setgroups(0, NULL) != 0 || setresgid(NOBODY, NOBODY, NOBODY) != 0 ||
            setresuid(NOBODY, NOBODY, NOBODY) != 0 || setuid(0) == 0))
                return false;
        return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0;
}

/* In the child: becomes the program, whose folders and environment are the system's alone. */
static void
become_tool(const char *const *words, enum tool_power power, const int input[2], const int said[2])
{
        process_die_after(TOOL_SECONDS);
        (void)signal(SIGPIPE, SIG_DFL);
        if (dup2(input[0], 0) < 0 || dup2(said[1], 1) < 0 || dup2(said[1], 2) < 0)
                _exit(NOT_STARTED);
        log_close_others(-1);
        if (power == TOOL_POWERLESS && !become_nobody())
                _exit(NOT_STARTED);
        if (clearenv() != 0 || setenv("LC_ALL", "C", 1) != 0 ||
            setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin", 1) != 0)
                _exit(NOT_STARTED);
        (void)execvp(words[0], (char **)(uintptr_t)words);
        _exit(NOT_STARTED);
}

void
tool_start(struct tool *tool, const char *const *words, enum tool_power power, const char *input)
{
        int in[2] = { -1, -1 }, said[2] = { -1, -1 };

        tool->pid = -1;
        tool->said = -1;
        if (pipe2(in, O_CLOEXEC) == 0 && pipe2(said, O_CLOEXEC) == 0) {
                /* a pipe takes so much at once; where it takes less, the program sees less */
                (void)fcntl(in[1], F_SETFL, O_NONBLOCK);
                (void)!write(in[1], input, strnlen(input, TOOL_INPUT_MAX));
                tool->pid = fork();
                if (tool->pid == 0)
                        become_tool(words, power, in, said);
        }
        (void)close(in[0]);
        (void)close(in[1]);
        (void)close(said[1]);
        if (tool->pid < 0)
                (void)close(said[0]);
        else
                tool->said = said[0];
}

static int64_t
now_milliseconds(void)
{
        struct timespec now = { 0 };

        (void)clock_gettime(CLOCK_MONOTONIC, &now);
        return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Reads to the end; false if the time is over before. What does not fit is read and forgotten. */
static bool
read_all(int fd, int64_t end, char *said, size_t size)
{
        char spare[4096];
        size_t used = 0;

        for (;;) {
                int64_t left = end - now_milliseconds();
                struct pollfd wanted = { .fd = fd, .events = POLLIN };
                bool has_room = used + 1 < size;
                ssize_t count;

                said[used] = '\0';
                if (left <= 0 || (poll(&wanted, 1, (int)left) < 0 && errno != EINTR))
                        return false;
                if (wanted.revents == 0)
                        continue;
                count = read(fd, has_room ? said + used : spare,
                    has_room ? size - 1 - used : sizeof(spare));
                if (count <= 0)
                        return count == 0;
                used += has_room ? (size_t)count : 0;
        }
}

int
tool_end(struct tool *tool, unsigned milliseconds, char *said, size_t size)
{
        int status = 0;
        bool is_whole;

        *said = '\0';
        if (tool->pid < 0)
                return TOOL_MISSING;
        is_whole = read_all(tool->said, now_milliseconds() + milliseconds, said, size);
        if (!is_whole)
                (void)kill(tool->pid, SIGKILL);
        (void)close(tool->said);
        while (waitpid(tool->pid, &status, 0) < 0 && errno == EINTR)
                ;
        tool->pid = -1;
        if (!is_whole)
                return TOOL_LATE;
        if (WIFEXITED(status) && WEXITSTATUS(status) != NOT_STARTED)
                return WEXITSTATUS(status);
        return TOOL_MISSING;
}
