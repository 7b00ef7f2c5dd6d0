/*
 * confine.c - the fences: the files and system calls that a process keeps.
 * Runs in:   AUTHORIZATION, TRANSACTION, and pop3d between the two.
 * May touch: this process's own rights; the log.
 */
#include "internal.h"

/* not <sys/syscall.h>, in which musl gives calls of 32 bits names of its own */
#include <asm/unistd.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/net.h>
#include <linux/seccomp.h>
#include <linux/sockios.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <syslog.h>
#include <unistd.h>

/* Logs which layer this kernel or this build lacks. The other layers hold. */
static void
log_missing(const char *layer)
{
        log_event(LOG_INFO, "UNCONFINED", NULL, NULL, "layer", layer, "error", error_name(errno),
            NULL);
}

/*
 * The machines for which there is a filter of system calls; on others the other layers hold. Under
 * sanitizers there is none, because their runtime makes system calls of its own.
 */
#ifndef __has_feature
#define __has_feature(name) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
/* no filter, and no limit of memory: they map all of the address space */
#define IS_SANITIZED
#elif defined(__x86_64__) && defined(__LP64__)
#define FILTERED_MACHINE AUDIT_ARCH_X86_64
#elif defined(__aarch64__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define FILTERED_MACHINE AUDIT_ARCH_AARCH64
#elif defined(__riscv) && __riscv_xlen == 64
#define FILTERED_MACHINE AUDIT_ARCH_RISCV64
#elif defined(__ARM_EABI__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define FILTERED_MACHINE AUDIT_ARCH_ARM
#elif defined(__i386__)
#define FILTERED_MACHINE AUDIT_ARCH_I386
#elif defined(__s390x__)
#define FILTERED_MACHINE AUDIT_ARCH_S390X
#elif defined(__powerpc64__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define FILTERED_MACHINE AUDIT_ARCH_PPC64LE
#endif

#ifdef FILTERED_MACHINE
/*
 * The words of which a filter consists. It runs at each system call, loads the call's number, and
 * gives the answer of the first rule that fits. skipped is how many words a rule that does not fit
 * leaves out.
 */
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define LOAD(field, offset) \
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field) + (offset))
/* Where the two halves of an argument lie. */
#define LOWER (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? 0 : 4)
#define UPPER (4 - LOWER)
/* What mmap(2) calls. */
#ifdef __NR_mmap2
#define MEMORY_CALL __NR_mmap2
#else
#define MEMORY_CALL __NR_mmap
#endif
/* What fcntl(2) and fchown(2) call. */
#ifdef __NR_fcntl64
#define LOCK_CALL __NR_fcntl64
#else
#define LOCK_CALL __NR_fcntl
#endif
#ifdef __NR_fchown32
#define OWNER_CALL __NR_fchown32
#else
#define OWNER_CALL __NR_fchown
#endif
#define UNLESS(test, value, skipped) BPF_JUMP(BPF_JMP | (test) | BPF_K, value, 0, skipped)
#define ANSWER(answer) BPF_STMT(BPF_RET | BPF_K, answer)
#define ALLOW(call) UNLESS(BPF_JEQ, __NR_##call, 1), ANSWER(SECCOMP_RET_ALLOW)
#define ALLOW_NUMBER(number) UNLESS(BPF_JEQ, number, 1), ANSWER(SECCOMP_RET_ALLOW)
#define DENY(call) UNLESS(BPF_JEQ, __NR_##call, 1), ANSWER(SECCOMP_RET_ERRNO | EACCES)

/*
 * On some machines socketcall is the one call for all that concerns sockets, and its first argument
 * says which function is meant. Whatever that is, the next rule finds the call's number again.
 */
#define SOCKETCALL(function, answer) UNLESS(BPF_JEQ, __NR_socketcall, 4), LOAD(args[0], LOWER), \
        UNLESS(BPF_JEQ, function, 1), ANSWER(answer), LOAD(nr, 0)

/*
 * Calls that are made often have rules that look at the number alone: the kernel finds out once that
 * these are always allowed, and runs no filter for them from then on.
 */
static const struct sock_filter first_rules[] = {
        LOAD(arch, 0), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, FILTERED_MACHINE, 1, 0),
        ANSWER(SECCOMP_RET_KILL_PROCESS), LOAD(nr, 0),
};

/*
 * What the waiting process, which is root, may do until it has become TRANSACTION, beside what
 * follows: to take the identity, to end its helpers, to become the user, to go to the Maildir.
 */
static const struct sock_filter waiting_rules[] = {
        ALLOW(recvfrom), ALLOW(kill), ALLOW(wait4), ALLOW(setgroups), ALLOW(setresgid),
        ALLOW(setresuid), ALLOW(setuid), ALLOW(setgid), ALLOW(getresuid), ALLOW(getresgid),
        ALLOW(getuid), ALLOW(prctl), ALLOW(capget), ALLOW(capset), ALLOW(chroot), ALLOW(chdir),
        ALLOW(fchdir), ALLOW(prlimit64), ALLOW(setitimer), ALLOW(rt_sigaction),
        ALLOW(rt_sigprocmask), ALLOW_NUMBER(LOCK_CALL), ALLOW(landlock_create_ruleset),
        ALLOW(landlock_add_rule), ALLOW(landlock_restrict_self),
#ifdef __NR_close_range
        ALLOW(close_range),
#endif
#ifdef __NR_faccessat2
        ALLOW(faccessat2),
#endif
#if __SIZEOF_LONG__ == 4
        ALLOW(setgroups32), ALLOW(setresgid32), ALLOW(setresuid32), ALLOW(setuid32),
        ALLOW(setgid32), ALLOW(getresuid32), ALLOW(getresgid32), ALLOW(getuid32),
#endif
#ifdef __NR_access
        ALLOW(access),
#endif
#ifdef __NR_open
        ALLOW(open),
#endif
#ifdef __NR_stat
        ALLOW(stat), ALLOW(lstat),
#endif
};

/* What AUTHORIZATION may do. */
static const struct sock_filter authorization_rules[] = {
        ALLOW(read), ALLOW(write), ALLOW(shutdown), ALLOW(rt_sigreturn), ALLOW(restart_syscall),
        ALLOW(clock_gettime), ALLOW(exit), ALLOW(exit_group), ALLOW(ppoll),
#ifdef __NR_poll
        ALLOW(poll),
#endif
#ifdef __NR_sigreturn
        ALLOW(sigreturn),
#endif
#if __SIZEOF_LONG__ == 4
        /* with times of 64 bits; the calls above are made where the kernel does not have these */
        ALLOW(clock_gettime64), ALLOW(ppoll_time64),
#endif
#ifdef __NR_socketcall
        SOCKETCALL(SYS_SHUTDOWN, SECCOMP_RET_ALLOW),
        /* the functions' own arguments lie in memory, where a filter cannot look */
        SOCKETCALL(SYS_RECV, SECCOMP_RET_ALLOW),
        SOCKETCALL(SYS_RECVFROM, SECCOMP_RET_ALLOW),
#endif
        /* to look at what the client has sent without taking it, no more */
        UNLESS(BPF_JEQ, __NR_recvfrom, 4), LOAD(args[3], LOWER),
        UNLESS(BPF_JEQ, MSG_PEEK, 1), ANSWER(SECCOMP_RET_ALLOW), ANSWER(SECCOMP_RET_TRAP),
#ifdef __NR_recv
        UNLESS(BPF_JEQ, __NR_recv, 4), LOAD(args[3], LOWER),
        UNLESS(BPF_JEQ, MSG_PEEK, 1), ANSWER(SECCOMP_RET_ALLOW), ANSWER(SECCOMP_RET_TRAP),
#endif
};

/* What TRANSACTION may do as well. */
static const struct sock_filter transaction_rules[] = {
        ALLOW(pread64), ALLOW(writev), ALLOW(openat), ALLOW(close), ALLOW(fstat),
        ALLOW(getdents64), ALLOW(lseek), ALLOW(renameat2),
        ALLOW(fsync), ALLOW(flock), ALLOW(brk), ALLOW(munmap), ALLOW(mremap), ALLOW(madvise),
        ALLOW(clock_nanosleep), ALLOW(gettimeofday), ALLOW(geteuid), ALLOW(getpid), ALLOW(futex),
        ALLOW(getrandom), ALLOW(statx), ALLOW(timer_settime), ALLOW(faccessat),
#if __SIZEOF_LONG__ == 4
        /* these take sizes, times and identities of more bits than those above */
        ALLOW(fstat64), ALLOW(fstatat64), ALLOW(_llseek), ALLOW(geteuid32),
        ALLOW(clock_nanosleep_time64), ALLOW(futex_time64), ALLOW(timer_settime64),
#else
        ALLOW(newfstatat), ALLOW(fstatfs),
#endif
#ifdef __NR_fstatfs64
        ALLOW(fstatfs64),
#endif
#ifdef __NR_renameat
        ALLOW(renameat),
#endif
#ifdef __NR_time
        ALLOW(time),
#endif
        /* syslog(3) tries these when the log's socket is closed, and copes with an error */
        DENY(socket), DENY(connect),
        /* pop3d.lock is locked by fcntl(), which may do nothing else */
        UNLESS(BPF_JEQ, LOCK_CALL, 4), LOAD(args[1], LOWER),
        UNLESS(BPF_JEQ, F_OFD_SETLK, 1), ANSWER(SECCOMP_RET_ALLOW), ANSWER(SECCOMP_RET_TRAP),
        /* it gets a group, but no owner, and rights to read and write alone */
        UNLESS(BPF_JEQ, OWNER_CALL, 4), LOAD(args[1], LOWER),
        UNLESS(BPF_JEQ, UINT32_MAX, 1), ANSWER(SECCOMP_RET_ALLOW), ANSWER(SECCOMP_RET_TRAP),
        UNLESS(BPF_JEQ, __NR_fchmod, 4), LOAD(args[1], LOWER),
        UNLESS(BPF_JSET, ~0666U, 1), ANSWER(SECCOMP_RET_TRAP), ANSWER(SECCOMP_RET_ALLOW),
        /* messages are removed, but no folders */
        UNLESS(BPF_JEQ, __NR_unlinkat, 4), LOAD(args[2], LOWER),
        UNLESS(BPF_JEQ, 0, 1), ANSWER(SECCOMP_RET_ALLOW), ANSWER(SECCOMP_RET_TRAP),
        /* mmap() without PROT_EXEC: memory, but none to execute */
#ifdef __s390x__
        /* there its arguments lie in memory, where a filter cannot look: it may make any */
        ALLOW(mmap),
#else
        UNLESS(BPF_JEQ, MEMORY_CALL, 4), LOAD(args[2], LOWER),
        UNLESS(BPF_JSET, PROT_EXEC, 1), ANSWER(SECCOMP_RET_TRAP), ANSWER(SECCOMP_RET_ALLOW),
#endif
        /* ioctl() to learn how much of what was written the client has not taken yet, no other */
        UNLESS(BPF_JEQ, __NR_ioctl, 4), LOAD(args[1], LOWER),
        UNLESS(BPF_JEQ, SIOCOUTQ, 1), ANSWER(SECCOMP_RET_ALLOW), ANSWER(SECCOMP_RET_TRAP),
        /* to the log, whose socket is connected: without an address */
#ifdef __NR_send
        ALLOW(send),
#endif
#ifdef __NR_socketcall
        SOCKETCALL(SYS_SOCKET, SECCOMP_RET_ERRNO | EACCES),
        SOCKETCALL(SYS_CONNECT, SECCOMP_RET_ERRNO | EACCES),
        SOCKETCALL(SYS_SEND, SECCOMP_RET_ALLOW),
#endif
        /* this one can take an address. The pointer has two halves, of which one may be empty */
        UNLESS(BPF_JEQ, __NR_sendto, 7), LOAD(args[4], LOWER),
        UNLESS(BPF_JSET, UINT32_MAX, 1), ANSWER(SECCOMP_RET_TRAP), LOAD(args[4], UPPER),
        UNLESS(BPF_JSET, UINT32_MAX, 1), ANSWER(SECCOMP_RET_TRAP), ANSWER(SECCOMP_RET_ALLOW),
};

/* AUTHORIZATION's channel to PAM, for report_violation(); -1 in TRANSACTION, which can log. */
static volatile int reporting_channel = -1;

/* The handler of SIGSYS, which the kernel sends at a forbidden system call. */
static void
report_violation(int number, siginfo_t *info, void *context)
{
        struct login report = { .kind = LOGIN_VIOLATION,
                .forbidden_call = (uint32_t)info->si_syscall };

        if (reporting_channel < 0)
                log_violation("TRANSACTION", info->si_syscall);
        else
                /* the !, because (void) alone does not silence the compiler */
                (void)!write(reporting_channel, &report, sizeof(report));
        _exit(END_FAULT);
}

/* Whether this kernel filters system calls: then it would have looked for a program at NULL. */
static bool
can_filter_calls(void)
{
        return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, NULL) != 0 && errno == EFAULT;
}

/* A part of a filter. */
struct rules {
        const struct sock_filter *code;
        size_t count;
};
#define RULES(array) (struct rules){ array, COUNT(array) }

/*
 * Sets a filter that consists of these parts, and gives the last answer where no rule fits. False,
 * with errno, if this kernel has none.
 */
static bool
set_filter(const struct rules *parts, size_t count, uint32_t last)
{
        struct sock_filter code[COUNT(first_rules) + COUNT(waiting_rules) +
            COUNT(authorization_rules) + COUNT(transaction_rules) + 1];
        struct sock_fprog program = { .filter = code };
        int error;

        for (size_t i = 0; i < count; i++) {
                memcpy(code + program.len, parts[i].code, parts[i].count * sizeof(*code));
                program.len = (unsigned short)(program.len + parts[i].count);
        }
        code[program.len++] = (struct sock_filter)ANSWER(last);
        if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0)
                return true;
        error = errno;
        must(!can_filter_calls(), "cannot filter system calls");
        errno = error;
        return false;
}

/* Sets the filter of AUTHORIZATION, whose channel to PAM this is, or of TRANSACTION if it is -1. */
static void
filter_calls(int channel)
{
        struct sigaction action = { .sa_sigaction = report_violation, .sa_flags = SA_SIGINFO };
        const struct rules parts[] = { RULES(first_rules), RULES(authorization_rules),
                RULES(transaction_rules) };

        reporting_channel = channel;
        must(sigaction(SIGSYS, &action, NULL) == 0, "cannot watch over system calls");
        if (!set_filter(parts, channel < 0 ? 3 : 2, SECCOMP_RET_TRAP))
                log_missing("seccomp");
}

/* What has no rule fails, as if it were forbidden to that user: no module and no parser runs here. */
static void
filter_waiting(void)
{
        const struct rules parts[] = { RULES(first_rules), RULES(waiting_rules),
                RULES(authorization_rules), RULES(transaction_rules) };

        (void)set_filter(parts, 4, SECCOMP_RET_ERRNO | EPERM);
}
#else
static bool
can_filter_calls(void)
{
        return false;
}

static void
filter_calls(int channel)
{
        errno = ENOSYS;
        log_missing("seccomp");
}

static void
filter_waiting(void)
{
}
#endif

/* Landlock's interface. Its header is not used, because it may be older than the kernel. */
enum {
        LANDLOCK_VERSION = 1 << 0, LANDLOCK_RULE_BENEATH = 1,
        MAY_WRITE_FILE = 1 << 1, MAY_READ_FILE = 1 << 2, MAY_READ_DIR = 1 << 3,
        MAY_REMOVE_FILE = 1 << 5, MAY_MAKE_FILE = 1 << 8, MAY_REFER = 1 << 13,
        MAY_TRUNCATE = 1 << 14,
};

/* How many kinds of access to files this version of Landlock can forbid. */
static unsigned
kinds_of_access(long version)
{
        if (version >= 5)
                return 16;
        return version >= 3 ? 15 : 14;
}

/*
 * Takes the whole file system away, except what a session does below directory (-1: no exception);
 * and, where the kernel can, network connections, abstract sockets and signals to other processes.
 */
static void
keep_to(int directory)
{
        struct {
                uint64_t files;         /* a bit for each kind of access */
                uint64_t network;       /* bind and connect, from 4 */
                uint64_t scopes;        /* abstract sockets and signals, from 6 */
        } handled = { 0 };
        struct {
                uint64_t allowed;
                int32_t directory;
        } __attribute__((packed)) maildir = { .directory = directory };
        long version = syscall(__NR_landlock_create_ruleset, NULL, 0, LANDLOCK_VERSION);
        int ruleset;

        /* version 1 is not used, because it forbids to move a message from new/ to cur/ */
        if (version < 2) {
                log_missing("landlock");
                return;
        }
        handled.files = (UINT64_C(1) << kinds_of_access(version)) - 1;
        handled.network = version >= 4 ? 3 : 0;
        handled.scopes = version >= 6 ? 3 : 0;
        /* an older kernel accepts the longer struct if the members unknown to it are zero */
        ruleset = (int)syscall(__NR_landlock_create_ruleset, &handled, sizeof(handled), 0);
        must(ruleset >= 0, "cannot make a Landlock ruleset");
        maildir.allowed = handled.files & (MAY_WRITE_FILE | MAY_READ_FILE | MAY_READ_DIR |
            MAY_REMOVE_FILE | MAY_MAKE_FILE | MAY_REFER | MAY_TRUNCATE);
        must(directory < 0 || syscall(__NR_landlock_add_rule, ruleset, LANDLOCK_RULE_BENEATH,
            &maildir, 0) == 0, "cannot add the Maildir to the Landlock ruleset");
        must(syscall(__NR_landlock_restrict_self, ruleset, 0) == 0,
            "cannot enter the Landlock ruleset");
        (void)close(ruleset);
}

void
confine_authorization(int pam)
{
        /* no new descriptors, no new processes; not 0, because poll(2) needs room for one */
        const struct rlimit one = { 1, 1 }, none = { 0, 0 };

        must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && setrlimit(RLIMIT_NOFILE, &one) == 0 &&
            setrlimit(RLIMIT_NPROC, &none) == 0, "cannot confine AUTHORIZATION");
        filter_calls(pam);
}

void
confine_waiting(void)
{
        must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, "cannot confine the waiting process");
        filter_waiting();
}

/* Memory that is not shared: more than that a maildrop cannot need (see maildir_memory()). */
static void
limit_memory(uint64_t octets)
{
#ifndef IS_SANITIZED
        struct rlimit limit;

        must(getrlimit(RLIMIT_DATA, &limit) == 0, "cannot tell the limit of memory");
        if (octets < limit.rlim_max)
                limit.rlim_max = (rlim_t)octets;
        limit.rlim_cur = limit.rlim_max;
        must(setrlimit(RLIMIT_DATA, &limit) == 0, "cannot limit memory");
#endif
}

/*
 * Where the Maildir can be made the root directory, nothing outside it has a name any more. That
 * costs nothing when a message is opened, while Landlock looks at each folder on the way to the root. What
 * Landlock forbids besides (the network, signals, to make what is no file) the filter of system
 * calls forbids, too. So Landlock is needed only where one of these two is lacking.
 */
void
confine_transaction(int directory, uint64_t memory)
{
        bool is_jailed = become_prisoner(directory);

        limit_memory(memory);
        must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, "cannot confine TRANSACTION");
        if (!is_jailed || !can_filter_calls())
                keep_to(directory);
        filter_calls(-1);
}
