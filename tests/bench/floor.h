/*
 * floor.h - what the floors over a Maildir share: its entries, read in the
 * fewest system calls.
 *
 * Runs in:   the benchmark's floors.
 * May touch: new/ and cur/ of the Maildir they are given. With auth/ it shares the fences alone.
 */
#ifndef POP3D_BENCH_FLOOR_H
#define POP3D_BENCH_FLOOR_H

#include <dirent.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { FLOOR_PIECE = 256 * 1024 };

/* of auth/, whose names the floors use as well */
void confine_transaction(int directory, uint64_t memory);

static const char *const floor_folders[2] = { "new", "cur" };

struct floor_folder {
        int fd;
        char *entries;          /* linux_dirent64, one after the other */
        size_t length;
};

static inline void
floor_die(const char *what)
{
        perror(what);
        _exit(1);
}

/* With -f as the first argument: goes inside pop3d's own fences, down to this directory. */
static inline void
floor_fence(int argc, char **argv)
{
        if (argc > 1 && strcmp(argv[1], "-f") == 0)
                confine_transaction(open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), UINT64_MAX);
}

static inline void
floor_say(const char *text)
{
        size_t length = strlen(text);

        if (write(1, text, length) != (ssize_t)length)
                _exit(1);
}

/* Waits for a line from the client; false when it has left. */
static inline int
floor_wait(void)
{
        char line[512];

        return read(0, line, sizeof(line)) > 0;
}

/* Reads all entries of a folder; keeps them if it is asked to, else one piece over the other. */
static inline void
floor_read(struct floor_folder *folder, const char *name, int keeps)
{
        size_t size = FLOOR_PIECE;
        long count;

        folder->fd = open(name, O_RDONLY | O_DIRECTORY);
        folder->entries = malloc(size);
        folder->length = 0;
        if (folder->fd < 0 || folder->entries == NULL)
                floor_die(name);
        while ((count = syscall(SYS_getdents64, folder->fd, folder->entries + folder->length,
            size - folder->length)) > 0) {
                if (!keeps)
                        continue;
                folder->length += (size_t)count;
                if (size - folder->length < FLOOR_PIECE / 2) {
                        size *= 2;
                        folder->entries = realloc(folder->entries, size);
                        if (folder->entries == NULL)
                                floor_die(name);
                }
        }
        if (count < 0)
                floor_die(name);
}

/* The next message behind *at, or NULL. */
static inline const char *
floor_next(const struct floor_folder *folder, size_t *at)
{
        while (*at < folder->length) {
                const struct dirent64 *entry = (const void *)(folder->entries + *at);

                *at += entry->d_reclen;
                if (entry->d_name[0] != '.')
                        return entry->d_name;
        }
        return NULL;
}

#endif
