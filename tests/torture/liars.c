/*
 * liars.c - faults on purpose: what pop3d would be if it did not look at what a call returns.
 * Runs in:   variants of pop3d, each linked with --wrap of one of these functions.
 * May touch: what pop3d touches.
 *
 * The sweep has to find every one of them; else it could not find the real ones either.
 */
#include "../../maildir/maildir.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

int __real_fsync(int fd);
int __wrap_fsync(int fd);
int __real_unlinkat(int directory, const char *name, int flags);
int __wrap_unlinkat(int directory, const char *name, int flags);
ssize_t __real_read(int fd, void *data, size_t size);
ssize_t __wrap_read(int fd, void *data, size_t size);
ssize_t __real_write(int fd, const void *data, size_t size);
ssize_t __wrap_write(int fd, const void *data, size_t size);
void __real_maildrop_delete(struct maildrop *drop, size_t number);
void __wrap_maildrop_delete(struct maildrop *drop, size_t number);
const struct maildrop_totals *__real_maildrop_totals(const struct maildrop *drop);
const struct maildrop_totals *__wrap_maildrop_totals(const struct maildrop *drop);

/* The removals last, it says. */
int
__wrap_fsync(int fd)
{
        (void)__real_fsync(fd);
        return 0;
}

/* The message is removed, it says. */
int
__wrap_unlinkat(int directory, const char *name, int flags)
{
        (void)__real_unlinkat(directory, name, flags);
        return 0;
}

/* What cannot be read is made up. */
ssize_t
__wrap_read(int fd, void *data, size_t size)
{
        ssize_t got = __real_read(fd, data, size);

        if (got >= 0 || errno == EINTR || fd < 3)
                return got;
        memset(data, 'x', size);
        return (ssize_t)size;
}

/* All of it has reached the client, it says. */
ssize_t
__wrap_write(int fd, const void *data, size_t size)
{
        (void)__real_write(fd, data, size);
        return (ssize_t)size;
}

/* Deleted is deleted, and who waits for QUIT? */
void
__wrap_maildrop_delete(struct maildrop *drop, size_t number)
{
        struct maildrop_update result;

        __real_maildrop_delete(drop, number);
        maildrop_update(drop, &result);
}

/* An octet more or less. */
const struct maildrop_totals *
__wrap_maildrop_totals(const struct maildrop *drop)
{
        static struct maildrop_totals totals;

        totals = *__real_maildrop_totals(drop);
        totals.octets++;
        return &totals;
}
