/*
 * stuck.c - finds sessions that were killed and do not end, because the kernel waits for a file system.
 * Runs in:   pop3d-check, as root where it can.
 * May touch: /proc, for reading.
 *
 * A session that does not come back to its deadline is killed. Of all that it may wait for just one
 * thing does not let it die: a request that the server of a FUSE file system has read and does not
 * answer. Such a process keeps one of the launcher's places, and cannot say so itself.
 */
#include <dirent.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "check.h"

enum {
        LOOK_NANOSECONDS = 100000000,
        LOOKS_EACH = 15,                /* at a process that was killed, until it counts as one that stays */
        LOOKS_MOST = 60,                /* at all of them */
};

/* Reads the number behind a word at a line's begin in a file of /proc, to this base; 0: it is not there. */
static uint64_t
read_word(const char *process, const char *word, int base)
{
        char path[PATH_MAX], line[512];
        uint64_t number = 0;
        FILE *file;

        (void)snprintf(path, sizeof(path), "/proc/%s/status", process);
        file = fopen(path, "re");
        if (file == NULL)
                return 0;
        while (fgets(line, sizeof(line), file) != NULL)
                if (strncmp(line, word, strlen(word)) == 0)
                        number = strtoull(line + strlen(word), NULL, base);
        (void)fclose(file);
        return number;
}

static bool
is_session(const char *process)
{
        char path[PATH_MAX], name[32] = "";
        FILE *file;

        (void)snprintf(path, sizeof(path), "/proc/%s/comm", process);
        file = fopen(path, "re");
        if (file == NULL)
                return false;
        (void)!fgets(name, sizeof(name), file);
        (void)fclose(file);
        return strcmp(name, "pop3d\n") == 0;
}

/* Whether the process has ended, and its parent has not asked how: that signal waits for ever. */
static bool
is_ended(const char *process)
{
        char path[PATH_MAX], line[512], state = 'Z';
        const char *behind;
        FILE *file;

        (void)snprintf(path, sizeof(path), "/proc/%s/stat", process);
        file = fopen(path, "re");
        if (file == NULL)
                return true;
        if (fgets(line, sizeof(line), file) != NULL && (behind = strrchr(line, ')')) != NULL)
                (void)sscanf(behind, ") %c", &state);
        (void)fclose(file);
        return state == 'Z' || state == 'X';
}

/* Whether SIGKILL waits to be delivered, which it never does in a process that can be ended. */
static bool
is_killed(const char *process)
{
        return ((read_word(process, "SigPnd:", 16) | read_word(process, "ShdPnd:", 16)) &
            UINT64_C(1) << (SIGKILL - 1)) != 0;
}

/*
 * Finds a FUSE file system that a user has mounted: where, and the number of its connection, by
 * which root can end it.
 */
static bool
find_fuse(uint64_t uid, char place[PATH_MAX], unsigned *connection)
{
        FILE *mounts = fopen("/proc/self/mountinfo", "re");
        char line[8192], wanted[48];
        bool is_found = false;

        (void)snprintf(wanted, sizeof(wanted), "user_id=%" PRIu64 ",", uid);
        while (mounts != NULL && !is_found && fgets(line, sizeof(line), mounts) != NULL)
                is_found = strstr(line, " - fuse") != NULL && strstr(line, wanted) != NULL &&
                    sscanf(line, "%*u %*u %*u:%u %*s %4095s", connection, place) == 2;
        if (mounts != NULL)
                (void)fclose(mounts);
        return is_found;
}

/* place was named by the user, and root reads this: it stands in a command only if it is a plain word. */
static void
tell_stuck(struct report *report, const char *process)
{
        static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-";
        const uint64_t uid = read_word(process, "Uid:", 10);
        char place[PATH_MAX];
        unsigned connection;

        if (find_fuse(uid, place, &connection)) {
                bool is_plain = place[strspn(place, plain)] == '\0';

                print_row(report, "fail", "process", "session %s of uid %" PRIu64 " was killed and does not "
                    "end\ncause: the FUSE file system on %s has read its request and does not answer\n"
                    "remedy: echo 1 >/sys/fs/fuse/connections/%u/abort%s%s", process, uid,
                    place, connection, is_plain ? ", or umount -fl " : "", is_plain ? place : "");
        } else
                print_row(report, "fail", "process", "session %s of uid %" PRIu64 " was killed and does not "
                    "end\ncause: it waits for a file system, as /proc/%s/wchan says\n"
                    "remedy: have that one answer, or unmount it (umount -fl)", process, uid, process);
}

/*
 * Whether a killed process is still there in a while. On a busy machine one that has just been killed, as
 * AUTHORIZATION is at each login, needs a moment to end. looks are what is left for all of them.
 */
static bool
stays(const char *process, unsigned *looks)
{
        const struct timespec moment = { 0, LOOK_NANOSECONDS };

        for (unsigned i = 0; i < LOOKS_EACH; i++) {
                if (*looks == 0 || !is_killed(process) || is_ended(process))
                        return false;
                --*looks;
                (void)nanosleep(&moment, NULL);
        }
        return is_killed(process) && !is_ended(process);
}

void
stuck_check(struct report *report)
{
        DIR *processes = opendir("/proc");
        const struct dirent *entry;
        unsigned looks = LOOKS_MOST;

        while (processes != NULL && (entry = readdir(processes)) != NULL)
                if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9' && is_session(entry->d_name) &&
                    stays(entry->d_name, &looks))
                        tell_stuck(report, entry->d_name);
        if (processes != NULL)
                (void)closedir(processes);
}
