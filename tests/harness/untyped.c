/*
 * untyped.c - a file system that tells no types of files with their names, put before the libc.
 * Runs in:   the pop3d under test, by LD_PRELOAD.
 * May touch: what system calls answer.
 *
 * UNTYPED_FAILS names a file that cannot be looked at: whoever asks for its type is told EIO.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

static char failing[256];

__attribute__((constructor)) static void
remember(void)
{
        const char *name = getenv("UNTYPED_FAILS");

        if (name != NULL)
                strncpy(failing, name, sizeof(failing) - 1);
}

long
syscall(long number, ...)
{
        static long (*real)(long number, ...);
        long a[6], result;
        va_list rest;

        if (real == NULL)
                *(void **)&real = dlsym(RTLD_NEXT, "syscall");
        va_start(rest, number);
        for (int i = 0; i < 6; i++)
                a[i] = va_arg(rest, long);
        va_end(rest);
        result = real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
        if (number == SYS_getdents64)
                for (long at = 0; at < result;) {
                        struct dirent64 *entry = (void *)((char *)a[1] + at);

                        entry->d_type = DT_UNKNOWN;
                        at += entry->d_reclen;
                }
        return result;
}

#define FSTATAT(name, type) \
int name(int directory, const char *path, type *status, int flags) \
{ \
        static int (*real)(int directory, const char *path, type *status, int flags); \
        if (failing[0] != '\0' && strcmp(path, failing) == 0) { \
                errno = EIO; \
                return -1; \
        } \
        if (real == NULL) \
                *(void **)&real = dlsym(RTLD_NEXT, #name); \
        return real(directory, path, status, flags); \
}
FSTATAT(fstatat, struct stat)
FSTATAT(fstatat64, struct stat64)
