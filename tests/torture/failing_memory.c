/*
 * failing_memory.c - a preloaded library in which the n-th allocation of a session fails.
 * Runs in:   every process of a session of the sweep, by LD_PRELOAD.
 * May touch: the page that it shares with the sweep.
 *
 * All processes of a session count on one page, so that n runs through the
 * allocations of them all: pop3d's own, libc's, PAM's and its modules'.
 */
#include "failing_memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* the allocator behind the names that are taken here */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *memory, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

static struct failing_memory *page;

__attribute__((constructor)) static void
begin(void)
{
        const char *path = getenv(FAILING_MEMORY_VARIABLE);
        int fd = path == NULL ? -1 : open(path, O_RDWR | O_CLOEXEC);
        void *memory;

        if (fd < 0)
                return;
        memory = (void *)syscall(SYS_mmap, NULL, sizeof(*page), PROT_READ | PROT_WRITE, MAP_SHARED,
            fd, 0);
        (void)close(fd);
        if (memory != MAP_FAILED)
                page = memory;
}

static bool
fails(void)
{
        uint32_t number;

        if (page == NULL)
                return false;
        number = __atomic_add_fetch(&page->count, 1, __ATOMIC_SEQ_CST);
        if (page->fail_at == 0 || (page->persists ? number < page->fail_at : number != page->fail_at))
                return false;
        page->has_failed = 1;
        errno = ENOMEM;
        return true;
}

void *
malloc(size_t size)
{
        return fails() ? NULL : __libc_malloc(size);
}

void *
calloc(size_t count, size_t size)
{
        return fails() ? NULL : __libc_calloc(count, size);
}

void *
realloc(void *memory, size_t size)
{
        return fails() ? NULL : __libc_realloc(memory, size);
}

void *
aligned_alloc(size_t alignment, size_t size)
{
        return fails() ? NULL : __libc_memalign(alignment, size);
}

int
posix_memalign(void **memory, size_t alignment, size_t size)
{
        if (fails())
                return ENOMEM;
        *memory = __libc_memalign(alignment, size);
        return *memory == NULL ? ENOMEM : 0;
}

void *
mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset)
{
        return fails() ? MAP_FAILED
                       : (void *)syscall(SYS_mmap, address, length, protection, flags, fd, offset);
}

/* The name by which programs call it that are built for files of 64 bits. */
void *mmap64(void *address, size_t length, int protection, int flags, int fd, off_t offset)
    __attribute__((alias("mmap")));

void *
mremap(void *old, size_t old_size, size_t new_size, int flags, ...)
{
        va_list rest;
        void *place;

        va_start(rest, flags);
        place = (flags & MREMAP_FIXED) != 0 ? va_arg(rest, void *) : NULL;
        va_end(rest);
        return fails() ? MAP_FAILED
                       : (void *)syscall(SYS_mremap, old, old_size, new_size, flags, place);
}

/* A refused login is answered two seconds later: not worth waiting for thousands of times. */
int
clock_nanosleep(clockid_t clock, int flags, const struct timespec *until, struct timespec *left)
{
        if ((flags & TIMER_ABSTIME) != 0)
                return 0;
        return syscall(SYS_clock_nanosleep, clock, flags, until, left) == 0 ? 0 : errno;
}
