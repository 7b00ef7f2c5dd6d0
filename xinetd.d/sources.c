/*
 * sources.c - where the launchers' words come from: files that root believes, processes of root's.
 * Runs in:   pop3d-check, as root where it can.
 * May touch: files of configuration, /proc, for reading; not even a file's time of reading changes.
 */
#include "entries.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Root believes no file that somebody else may have written. */
static bool
is_trusted(const struct stat *status)
{
        mode_t others = status->st_gid != 0 ? S_IWGRP | S_IWOTH : S_IWOTH;

        return (status->st_uid == 0 || status->st_uid == geteuid()) &&
            (status->st_mode & others) == 0;
}

/* O_NOATIME is for a file's owner and for root; without it the time of reading would be changed. */
static int
open_quietly(const char *path)
{
        const int flags = O_RDONLY | O_NONBLOCK | O_CLOEXEC;
        int fd = open(path, flags | O_NOATIME);

        return fd < 0 && errno == EPERM ? open(path, flags) : fd;
}

/* The byte order mark that editors of Windows write before the first line: how many octets. */
static size_t
mark_length(const char *line)
{
        return strncmp(line, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
}

bool
file_read(const struct entries *entries, const char *path, take_line *take, void *context)
{
        int fd = open_quietly(path);
        FILE *file = fd < 0 ? NULL : fdopen(fd, "r");
        char line[2 * VALUE_SIZE];
        struct stat status;

        if (file == NULL)
                return false;
        if (fstat(fd, &status) != 0 || !is_trusted(&status))
                print_row(entries->report, "warn", "launcher",
                    "%s is not read: others than root may write it\n"
                    "remedy: chown root:root %s; chmod go-w %s", path, path, path);
        else
                for (unsigned number = 1; S_ISREG(status.st_mode) &&
                    fgets(line, sizeof(line), file) != NULL; number++) {
                        size_t end = strlen(line);

                        while (end > 0 && strchr(" \t\r\n", line[end - 1]) != NULL)
                                line[--end] = '\0';
                        take(context, line + (number == 1 ? mark_length(line) : 0), number);
                }
        (void)fclose(file);
        return true;
}

bool
file_has_returns(const char *path)
{
        int fd = open_quietly(path);
        FILE *file = fd < 0 ? NULL : fdopen(fd, "r");
        char line[2 * VALUE_SIZE];
        bool has = false;

        while (file != NULL && !has && fgets(line, sizeof(line), file) != NULL)
                has = strstr(line, "\r\n") != NULL;
        if (file != NULL)
                (void)fclose(file);
        return has;
}

bool
file_has_mark(const char *path)
{
        char line[4] = "";
        int fd = open_quietly(path);
        bool has = fd >= 0 && read(fd, line, 3) == 3 && mark_length(line) > 0;

        if (fd >= 0)
                (void)close(fd);
        return has;
}

/* Reads a small file of /proc. Returns how many octets, without the NUL that is put behind them. */
static size_t
read_small(const char *path, char *text, size_t size)
{
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t count = fd < 0 ? 0 : read(fd, text, size - 1);

        if (fd >= 0)
                (void)close(fd);
        text[count < 0 ? 0 : count] = '\0';
        return count < 0 ? 0 : (size_t)count;
}

/* Whether a process is on our network: one in a container of its own does not listen here. */
static bool
is_here(const char *folder)
{
        struct stat own, other;
        char path[NAME_SIZE];

        (void)snprintf(path, sizeof(path), "%s/ns/net", folder);
        return stat("/proc/self/ns/net", &own) == 0 && stat(path, &other) == 0 &&
            own.st_ino == other.st_ino && own.st_dev == other.st_dev;
}

static void
read_process(const char *folder, void (*found)(void *, const struct process *), void *context)
{
        struct process process = { .pid = atoi(folder + strlen("/proc/")) };
        char path[NAME_SIZE], words[8 * VALUE_SIZE];
        struct stat status;
        size_t length;

        /* names and command lines of ordinary users' processes could be made up */
        if (stat(folder, &status) != 0 || (status.st_uid >= ORDINARY_UID && status.st_uid != NOBODY_UID &&
            status.st_uid != geteuid()) || !is_here(folder))
                return;
        (void)snprintf(path, sizeof(path), "%s/comm", folder);
        (void)read_small(path, process.name, sizeof(process.name));
        process.name[strcspn(process.name, "\n")] = '\0';
        (void)snprintf(path, sizeof(path), "%s/cmdline", folder);
        length = read_small(path, words, sizeof(words));
        for (char *word = words; word < words + length && process.count < WORDS_MAX;
            word += strlen(word) + 1)
                process.words[process.count++] = word;
        if (process.count > 0)
                found(context, &process);
}

void
processes_read(void (*found)(void *context, const struct process *process), void *context)
{
        glob_t folders;

        if (glob("/proc/[1-9]*", GLOB_NOSORT, NULL, &folders) != 0)
                return;
        for (size_t i = 0; i < folders.gl_pathc; i++)
                read_process(folders.gl_pathv[i], found, context);
        globfree(&folders);
}
