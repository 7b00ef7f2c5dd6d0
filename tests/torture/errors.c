/*
 * errors.c - which errors a system call may end in, by section 2 of the manual.
 * Runs in:   the sweep.
 * May touch: nothing.
 */
#include "sweep.h"

#include <errno.h>
#include <sys/syscall.h>

#define ERRORS(...) ((const int[]){ __VA_ARGS__, 0 })

/* Errors of path lookup, common to many. */
#define LOOKUP EACCES, EFAULT, ELOOP, ENAMETOOLONG, ENOENT, ENOMEM, ENOTDIR
#define CHANGE EDQUOT, EINVAL, EIO, ENOSPC, EPERM, EROFS, EBUSY

static const struct entry {
        long call;
        const char *name;
        const int *errors;
} entries[] = {
#define CALL(name, ...) { SYS_##name, #name, ERRORS(__VA_ARGS__) }
        CALL(read, EAGAIN, EBADF, EFAULT, EINTR, EINVAL, EIO, EISDIR, ECONNRESET, ETIMEDOUT, ESTALE),
        CALL(pread64, EAGAIN, EBADF, EFAULT, EINTR, EINVAL, EIO, EISDIR, ENXIO, EOVERFLOW,
            ESTALE),
        CALL(write, EAGAIN, EBADF, EDESTADDRREQ, EDQUOT, EFAULT, EFBIG, EINTR, EINVAL, EIO, ENOSPC,
            EPERM, EPIPE, ECONNRESET, ENOBUFS),
        CALL(writev, EAGAIN, EBADF, EDESTADDRREQ, EDQUOT, EFAULT, EFBIG, EINTR, EINVAL, EIO, ENOSPC,
            EPERM, EPIPE, ECONNRESET, ENOBUFS),
        CALL(openat, LOOKUP, CHANGE, EBADF, EEXIST, EFBIG, EINTR, EISDIR, EMFILE, ENFILE, ENODEV,
            ENXIO, EOPNOTSUPP, EOVERFLOW, ETXTBSY, EWOULDBLOCK, ESTALE),
        CALL(close, EBADF, EINTR, EIO, ENOSPC, EDQUOT),
        CALL(fstat, EBADF, EFAULT, ENOMEM, EOVERFLOW, EIO, ESTALE),
        CALL(stat, LOOKUP, EOVERFLOW, EIO),
        CALL(lstat, LOOKUP, EOVERFLOW, EIO),
        CALL(newfstatat, LOOKUP, EBADF, EINVAL, EOVERFLOW, EIO, ESTALE),
        CALL(statx, LOOKUP, EBADF, EINVAL, EIO),
        CALL(access, LOOKUP, EINVAL, EIO, EPERM, EROFS, ETXTBSY),
        CALL(faccessat, LOOKUP, EBADF, EINVAL, EIO),
        CALL(faccessat2, LOOKUP, EBADF, EINVAL, EIO),
        CALL(readlink, LOOKUP, EINVAL, EIO),
        CALL(lseek, EBADF, EINVAL, ENXIO, EOVERFLOW, ESPIPE, EIO, ESTALE),
        CALL(getdents64, EBADF, EFAULT, EINTR, EINVAL, EIO, ENOENT, ENOTDIR, ENOMEM, ESTALE),
        CALL(unlinkat, LOOKUP, CHANGE, EBADF, EISDIR, ESTALE),
        CALL(unlink, LOOKUP, CHANGE, EISDIR),
        CALL(mkdir, LOOKUP, CHANGE, EEXIST, EMLINK),
        CALL(fchdir, EACCES, EBADF, ENOTDIR),
        CALL(capget, EFAULT, EINVAL, EPERM, ESRCH),
        CALL(capset, EFAULT, EINVAL, EPERM, ESRCH),
        CALL(rename, LOOKUP, CHANGE, EEXIST, EISDIR, EMLINK, EXDEV),
        CALL(renameat, LOOKUP, CHANGE, EBADF, EEXIST, EISDIR, EMLINK, EXDEV, ESTALE),
        CALL(renameat2, LOOKUP, CHANGE, EBADF, EEXIST, EISDIR, EMLINK, EXDEV, ENOSYS,
            ESTALE),
        CALL(linkat, LOOKUP, CHANGE, EBADF, EEXIST, EMLINK, EXDEV, ESTALE),
        CALL(fsync, EBADF, EDQUOT, EINTR, EINVAL, EIO, ENOSPC, EROFS, ESTALE),
        CALL(fdatasync, EBADF, EDQUOT, EINTR, EINVAL, EIO, ENOSPC, EROFS),
        CALL(flock, EBADF, EINTR, EINVAL, ENOLCK, EWOULDBLOCK, EIO, EOPNOTSUPP, ESTALE),
        CALL(fcntl, EACCES, EAGAIN, EBADF, EINTR, EINVAL, EMFILE, EPERM, EFAULT, ENOLCK, ENOSYS,
            EOPNOTSUPP, EIO, ESTALE),
        CALL(dup, EBADF, EMFILE),
        CALL(dup2, EBADF, EBUSY, EINTR, EMFILE),
        CALL(dup3, EBADF, EBUSY, EINTR, EMFILE, EINVAL),
        CALL(pipe2, EFAULT, EINVAL, EMFILE, ENFILE, ENOPKG),
        CALL(ioctl, EBADF, EFAULT, EINVAL, ENOTTY),
        CALL(socket, EACCES, EAFNOSUPPORT, EINVAL, EMFILE, ENFILE, ENOBUFS, ENOMEM, EPROTONOSUPPORT),
        CALL(socketpair, EAFNOSUPPORT, EFAULT, EMFILE, ENFILE, EOPNOTSUPP, EPROTONOSUPPORT),
        CALL(connect, EACCES, EPERM, EAGAIN, EALREADY, EBADF, ECONNREFUSED, EFAULT, EINPROGRESS,
            EINTR, EISCONN, ENETUNREACH, ENOTSOCK, EPROTOTYPE, ETIMEDOUT, ENOENT),
        CALL(bind, EACCES, EADDRINUSE, EBADF, EINVAL, ENOTSOCK),
        CALL(sendto, EACCES, EAGAIN, EBADF, ECONNREFUSED, ECONNRESET, EDESTADDRREQ, EFAULT, EINTR,
            EINVAL, EISCONN, EMSGSIZE, ENOBUFS, ENOMEM, ENOTCONN, ENOTSOCK, EOPNOTSUPP, EPIPE),
        CALL(sendmsg, EACCES, EAGAIN, EBADF, EINTR, ENOBUFS, ENOMEM, ENOTCONN, EPIPE),
        CALL(recvfrom, EAGAIN, EBADF, ECONNREFUSED, EFAULT, EINTR, EINVAL, ENOMEM, ENOTCONN, ENOTSOCK),
        CALL(recvmsg, EAGAIN, EBADF, ECONNREFUSED, EFAULT, EINTR, EINVAL, ENOMEM, ENOTCONN, ENOTSOCK),
        CALL(shutdown, EBADF, EINVAL, ENOTCONN, ENOTSOCK),
        CALL(getsockname, EBADF, EFAULT, EINVAL, ENOBUFS, ENOTSOCK),
        CALL(getpeername, EBADF, EFAULT, EINVAL, ENOBUFS, ENOTCONN, ENOTSOCK),
        CALL(setsockopt, EBADF, EFAULT, EINVAL, ENOPROTOOPT, ENOTSOCK),
        CALL(getsockopt, EBADF, EFAULT, EINVAL, ENOPROTOOPT, ENOTSOCK),
        CALL(poll, EFAULT, EINTR, EINVAL, ENOMEM),
        CALL(ppoll, EFAULT, EINTR, EINVAL, ENOMEM),
        CALL(clone, EAGAIN, EINVAL, ENOMEM, ENOSPC, EPERM, EUSERS),
        CALL(clone3, EAGAIN, EINVAL, ENOMEM, ENOSPC, EPERM, ENOSYS),
        CALL(fork, EAGAIN, ENOMEM, ENOSYS),
        CALL(wait4, EAGAIN, ECHILD, EINTR, EINVAL),
        CALL(kill, EINVAL, EPERM, ESRCH),
        CALL(mmap, EACCES, EAGAIN, EBADF, EEXIST, EINVAL, ENFILE, ENODEV, ENOMEM, EOVERFLOW, EPERM,
            ETXTBSY),
        CALL(munmap, EINVAL, ENOMEM),
        CALL(mremap, EAGAIN, EFAULT, EINVAL, ENOMEM),
        CALL(mprotect, EACCES, EINVAL, ENOMEM),
        CALL(madvise, EACCES, EAGAIN, EBADF, EINVAL, EIO, ENOMEM, EPERM),
        CALL(brk, ENOMEM),
        CALL(rt_sigaction, EFAULT, EINVAL),
        CALL(rt_sigprocmask, EFAULT, EINVAL),
        CALL(prctl, EACCES, EBADF, EBUSY, EFAULT, EINVAL, ENXIO, EOPNOTSUPP, EPERM, ENOSYS),
        CALL(seccomp, EACCES, ECANCELED, EFAULT, EINVAL, ENOMEM, EOPNOTSUPP, ESRCH, ENOSYS),
        CALL(landlock_create_ruleset, EOPNOTSUPP, EINVAL, E2BIG, EFAULT, ENOMSG, ENOSYS, EMFILE, ENOMEM),
        CALL(landlock_add_rule, EOPNOTSUPP, EINVAL, ENOMSG, EBADF, EBADFD, EPERM, EFAULT, ENOSYS),
        CALL(landlock_restrict_self, EOPNOTSUPP, EINVAL, EBADF, EBADFD, EPERM, E2BIG, ENOSYS),
        CALL(prlimit64, EFAULT, EINVAL, EPERM, ESRCH),
        CALL(setrlimit, EFAULT, EINVAL, EPERM),
        CALL(getrlimit, EFAULT, EINVAL, EPERM),
        CALL(chroot, LOOKUP, EIO, EPERM),
        CALL(chdir, LOOKUP, EIO),
        CALL(setgroups, EFAULT, EINVAL, ENOMEM, EPERM),
        CALL(getgroups, EFAULT, EINVAL),
        CALL(setresuid, EAGAIN, EINVAL, EPERM),
        CALL(setresgid, EAGAIN, EINVAL, EPERM),
        CALL(getresuid, EFAULT),
        CALL(getresgid, EFAULT),
        CALL(setuid, EAGAIN, EINVAL, EPERM),
        CALL(setgid, EINVAL, EPERM),
        CALL(timer_create, EAGAIN, EINVAL, ENOMEM, EPERM),
        CALL(timer_settime, EFAULT, EINVAL),
        CALL(setitimer, EFAULT, EINVAL),
        CALL(clock_gettime, EFAULT, EINVAL),
        CALL(clock_nanosleep, EFAULT, EINTR, EINVAL),
        CALL(nanosleep, EFAULT, EINTR, EINVAL),
        CALL(close_range, EINVAL, EMFILE, ENOMEM, ENOSYS),
        CALL(getrandom, EAGAIN, EFAULT, EINTR, EINVAL, ENOSYS),
        CALL(futex, EAGAIN, EFAULT, EINTR, EINVAL),
        CALL(uname, EFAULT),
        CALL(sysinfo, EFAULT),
        CALL(statfs, LOOKUP, EINTR, EIO, ENOSYS),
        CALL(fstatfs, EBADF, EINTR, EIO, ENOSYS),
        CALL(fadvise64, EBADF, EINVAL, ESPIPE),
        CALL(fchmod, EBADF, EIO, EPERM, EROFS),
        CALL(fchown, EBADF, EIO, EPERM, EROFS),
        CALL(umask, 0),
        /* the libc's start; it has no way on but to end */
        CALL(set_tid_address, 0), CALL(set_robust_list, EINVAL), CALL(rseq, EINVAL, ENOSYS),
        CALL(arch_prctl, EFAULT, EINVAL, EPERM), CALL(execve, 0), CALL(exit_group, 0),
        CALL(exit, 0), CALL(rt_sigreturn, 0), CALL(restart_syscall, 0),
        /* these cannot fail */
        CALL(getuid, 0), CALL(geteuid, 0), CALL(getgid, 0), CALL(getegid, 0), CALL(getpid, 0),
        CALL(getppid, 0), CALL(alarm, 0), CALL(gettid, 0), CALL(time, 0), CALL(gettimeofday, 0),
        CALL(setfsuid, 0), CALL(setfsgid, 0),
#undef CALL
};

#define PAIR(first, second, ...) { SYS_##first, ERRORS(__VA_ARGS__), SYS_##second }
static const struct pair pairs[] = {
        /* a message is moved: without the flag by a plain rename, after a look */
        PAIR(renameat2, renameat, EINVAL, ENOSYS), PAIR(renameat2, newfstatat, EINVAL, ENOSYS),
        /* a message is not where it was: it is looked for */
        PAIR(openat, getdents64, ENOENT), PAIR(openat, fstat, ENOENT), PAIR(openat, lseek, ENOENT),
        PAIR(openat, mmap, ENOENT),
        PAIR(unlinkat, getdents64, ENOENT), PAIR(unlinkat, fstat, ENOENT),
        PAIR(unlinkat, fsync, EIO, EACCES),
        /* an index is written, synced, put in place, or else removed */
        PAIR(writev, unlinkat, EIO, ENOSPC), PAIR(writev, renameat, EINTR), PAIR(fsync, unlinkat, EIO),
        PAIR(renameat, unlinkat, EIO, EACCES), PAIR(fsync, renameat, EINTR),
        /* an index is read; and if that fails the folders are, and it is removed */
        PAIR(pread64, getdents64, EIO, EINTR), PAIR(pread64, unlinkat, EIO), PAIR(pread64, openat, EIO),
        /* a folder is read, and once more */
        PAIR(getdents64, getdents64, EINTR, EIO), PAIR(getdents64, openat, EIO),
        /* the client cannot be written to, and mail is on its way */
        PAIR(write, write, EINTR, EAGAIN), PAIR(write, unlinkat, EPIPE, EINTR),
        PAIR(read, fstat, EIO), PAIR(read, close, EIO),
        /* a file system that is not known, or not local: pop3d.lock, and what stands in for it */
        PAIR(fstatfs, fcntl, ENOSYS), PAIR(fstatfs, flock, ENOSYS), PAIR(fstatfs, openat, ENOSYS),
        PAIR(flock, fcntl, ENOLCK),
        PAIR(flock, openat, ENOLCK, EBADF), PAIR(flock, flock, ENOLCK, EBADF),
};

const struct pair *
pair_number(size_t number)
{
        return number < sizeof(pairs) / sizeof(pairs[0]) ? &pairs[number] : NULL;
}

static const struct entry *
find(long call)
{
        for (size_t i = 0; i < sizeof(entries) / sizeof(entries[0]); i++)
                if (entries[i].call == call)
                        return &entries[i];
        return NULL;
}

const int *
errors_of(long call)
{
        const struct entry *entry = find(call);

        return entry == NULL ? NULL : entry->errors;
}

const char *
call_name(long call)
{
        const struct entry *entry = find(call);

        return entry == NULL ? "unknown" : entry->name;
}

bool
is_read_call(long call)
{
        return call == SYS_read || call == SYS_pread64 || call == SYS_recvfrom;
}

bool
is_write_call(long call)
{
        return call == SYS_write || call == SYS_writev || call == SYS_sendto;
}
