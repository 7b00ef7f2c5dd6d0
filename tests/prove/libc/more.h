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

struct dirent64 {
        ino_t d_ino;
        off_t d_off;
        unsigned short d_reclen;
        unsigned char d_type;
        char d_name[256];
};

#define _Alignas(type)

#define MADV_HUGEPAGE 14
int madvise(void *memory, size_t size, int advice);
int unlinkat(int directory, const char *name, int flags);
int renameat(int from, const char *old, int to, const char *new);
void explicit_bzero(void *memory, size_t size);

#define le64toh(number) (number)
#define __builtin_add_overflow(a, b, sum) (*(sum) = (a) + (b), *(sum) < (b))
#define __builtin_prefetch(...) ((void)0)

#endif
