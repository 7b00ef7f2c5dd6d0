/*
 * more.h - what Frama-C's own headers and its parser lack of Linux, gcc and glibc.
 *
 * Runs in:   never; included before each file that Frama-C's Eva reads.
 * May touch: nothing.
 */
#ifndef POP3D_PROVE_MORE_H
#define POP3D_PROVE_MORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>

/* Times of files in nanoseconds */
struct prove_stat {
        dev_t st_dev;
        ino_t st_ino;
        mode_t st_mode;
        nlink_t st_nlink;
        uid_t st_uid;
        gid_t st_gid;
        off_t st_size;
        struct timespec st_mtim, st_ctim;
};
#define st_mtime st_mtim.tv_sec
#define stat prove_stat
#define fstat(fd, status) ((void)(fd), (void)(status), -1)
#define fstatat(fd, name, status, flags) ((void)(fd), (void)(status), -1)

#define _Alignas(type)

#define MREMAP_MAYMOVE 1
void *mremap(void *memory, size_t old_size, size_t new_size, int flags, ...);
int unlinkat(int directory, const char *name, int flags);
int renameat(int from, const char *old, int to, const char *new);
void explicit_bzero(void *memory, size_t size);

#define le64toh(number) (number)
#define htole64(number) (number)
#define le32toh(number) (number)
#define __builtin_add_overflow(a, b, sum) (*(sum) = (a) + (b), *(sum) < (b))

#endif
