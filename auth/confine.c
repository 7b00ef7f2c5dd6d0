/*
 * confine.c - what a process gives up for good: root, then files and system calls.
 * Runs in:   AUTHORIZATION (an account without power), pop3d as it becomes TRANSACTION.
 * May touch: this process's own identity and rights; the log.
 */
#include "auth.h"

#include <errno.h>
#include <grp.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

static void
become(uid_t uid, gid_t gid)
{
        uid_t real, effective, saved;
        gid_t real_group, effective_group, saved_group;

        must(uid != 0 && gid != 0, "identity with root's numbers refused");
        must(setresgid(gid, gid, gid) == 0 && setresuid(uid, uid, uid) == 0,
            "cannot become the user");
        must(setuid(0) != 0 && seteuid(0) != 0 && setgid(0) != 0 && setegid(0) != 0,
            "root came back");
        must(getresuid(&real, &effective, &saved) == 0 && real == uid && effective == uid &&
            saved == uid && getresgid(&real_group, &effective_group, &saved_group) == 0 &&
            real_group == gid && effective_group == gid && saved_group == gid,
            "not the user meant");
        /* a change of identity may turn it on again */
        must(prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0, "cannot forbid core dumps");
}

void
become_user(const struct identity *identity)
{
        /* reads the zone, if none is known yet: behind the fences there is no file of it */
        (void)localtime_r(&(time_t){ 0 }, &(struct tm){ 0 });
        log_close_others(-1);
        if (geteuid() == 0) {
                must(setgroups(identity->group_count, identity->groups) == 0,
                    "cannot take on the user's groups");
                become(identity->uid, identity->gid);
        }
        must(getuid() == identity->uid && geteuid() == identity->uid, "not the user meant");
}

void
become_powerless(uid_t uid, gid_t gid, int pam)
{
        log_leave_standard(2);
        if (geteuid() == 0) {
                /* empty and read-only: on most kernels; on all; where there is no /proc */
                must((chroot("/proc/tty/ldisc") == 0 || chroot("/proc/self/fdinfo") == 0 ||
                    chroot("/var/empty") == 0) && chdir("/") == 0, "cannot enter the jail");
                must(setgroups(0, NULL) == 0, "cannot leave root's groups");
                become(uid, gid);
        }
        /* a change of identity has undone the first one */
        must(prctl(PR_SET_PDEATHSIG, SIGKILL) == 0, "cannot tie the process to its parent");
        log_leave();
        log_close_others(pam);
}

/* Says which layer this kernel, or this build, cannot give; what is left holds. */
static void
log_missing(const char *layer)
{
        log_event(LOG_INFO, "UNCONFINED", NULL, NULL, "layer", layer, "error", error_name(errno),
            NULL);
}

void
log_violation(const char *process, int call)
{
        char number[16];

        (void)snprintf(number, sizeof(number), "%d", call);
        log_event(LOG_CRIT, "FAULT", NULL, NULL, "category", "General", "process", process,
            "forbidden-system-call", number, NULL);
}

/*
 * Machines whose filter is known; elsewhere the rest holds. Under sanitizers, whose runtime
 * needs calls of its own, there is none: that build is for finding faults.
 */
#ifndef __has_feature
#define __has_feature(name) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
/* none */
#elif defined(__x86_64__) && defined(__LP64__)
#define FILTERED_MACHINE AUDIT_ARCH_X86_64
#elif defined(__aarch64__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define FILTERED_MACHINE AUDIT_ARCH_AARCH64
#elif defined(__riscv) && __riscv_xlen == 64
#define FILTERED_MACHINE AUDIT_ARCH_RISCV64
#endif

#ifdef FILTERED_MACHINE
/* Rules in the words of a filter: the number of the call is loaded, and each has its answer. */
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define LOAD(field, offset) \
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field) + (offset))
#define UNLESS(test, value, skipped) BPF_JUMP(BPF_JMP | (test) | BPF_K, value, 0, skipped)
#define ANSWER(answer) BPF_STMT(BPF_RET | BPF_K, answer)
#define ALLOW(call) UNLESS(BPF_JEQ, __NR_##call, 1), ANSWER(SECCOMP_RET_ALLOW)
#define DENY(call) UNLESS(BPF_JEQ, __NR_##call, 1), ANSWER(SECCOMP_RET_ERRNO | EACCES)

static const struct sock_filter authorization_rules[] = {
        LOAD(arch, 0), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, FILTERED_MACHINE, 1, 0),
        ANSWER(SECCOMP_RET_KILL_PROCESS), LOAD(nr, 0),
        ALLOW(read), ALLOW(write), ALLOW(shutdown), ALLOW(rt_sigreturn), ALLOW(restart_syscall),
        ALLOW(clock_gettime), ALLOW(exit), ALLOW(exit_group), ALLOW(ppoll),
#ifdef __NR_poll
        ALLOW(poll),
#endif
};

/* What TRANSACTION may do beside that. */
static const struct sock_filter transaction_rules[] = {
        ALLOW(pread64), ALLOW(writev), ALLOW(openat), ALLOW(close), ALLOW(fstat), ALLOW(newfstatat),
        ALLOW(getdents64), ALLOW(lseek), ALLOW(unlinkat), ALLOW(renameat2), ALLOW(linkat),
        ALLOW(fsync), ALLOW(flock), ALLOW(brk), ALLOW(munmap), ALLOW(mremap), ALLOW(madvise),
        ALLOW(clock_nanosleep), ALLOW(gettimeofday), ALLOW(geteuid), ALLOW(getpid), ALLOW(futex),
        ALLOW(getrandom), ALLOW(statx),
#ifdef __NR_renameat
        ALLOW(renameat),
#endif
#ifdef __NR_time
        ALLOW(time),
#endif
        /* syslog(3) tries these when the log is away; it takes no for an answer */
        DENY(socket), DENY(connect),
        /* memory, but none to execute */
        UNLESS(BPF_JEQ, __NR_mmap, 4), LOAD(args[2], 0),
        UNLESS(BPF_JSET, PROT_EXEC, 1), ANSWER(SECCOMP_RET_TRAP), ANSWER(SECCOMP_RET_ALLOW),
        /* the log's socket is connected; no other address, whose pointer has two halves */
        UNLESS(BPF_JEQ, __NR_sendto, 7), LOAD(args[4], 0),
        UNLESS(BPF_JSET, UINT32_MAX, 1), ANSWER(SECCOMP_RET_TRAP), LOAD(args[4], 4),
        UNLESS(BPF_JSET, UINT32_MAX, 1), ANSWER(SECCOMP_RET_TRAP), ANSWER(SECCOMP_RET_ALLOW),
};

/* Where AUTHORIZATION reports what it was made to try; TRANSACTION (-1) has the log. */
static volatile int reporting_channel = -1;

static void
report_violation(int number, siginfo_t *info, void *context)
{
        struct login report = { .kind = LOGIN_VIOLATION, .mechanism = (uint32_t)info->si_syscall };

        if (reporting_channel < 0)
                log_violation("TRANSACTION", info->si_syscall);
        else
                (void)!write(reporting_channel, &report, sizeof(report));
        _exit(END_FAULT);
}

/* channel is AUTHORIZATION's, to PAM; -1: TRANSACTION. */
static void
filter_calls(int channel)
{
        struct sigaction action = { .sa_sigaction = report_violation, .sa_flags = SA_SIGINFO };
        struct sock_filter code[COUNT(authorization_rules) + COUNT(transaction_rules) + 1];
        struct sock_fprog program = { .filter = code };
        size_t count = COUNT(authorization_rules);

        memcpy(code, authorization_rules, sizeof(authorization_rules));
        if (channel < 0) {
                memcpy(code + count, transaction_rules, sizeof(transaction_rules));
                count += COUNT(transaction_rules);
        }
        code[count] = (struct sock_filter)ANSWER(SECCOMP_RET_TRAP);
        program.len = (unsigned short)(count + 1);
        reporting_channel = channel;
        must(sigaction(SIGSYS, &action, NULL) == 0, "cannot watch over system calls");
        if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0)
                return;
        must(errno == EINVAL || errno == ENOSYS, "cannot filter system calls");
        log_missing("seccomp");
}
#else
static void
filter_calls(int channel)
{
        errno = ENOSYS;
        log_missing("seccomp");
}
#endif

/* Landlock's own header may be older than the kernel; these numbers are its interface. */
enum {
        LANDLOCK_VERSION = 1 << 0, LANDLOCK_RULE_BENEATH = 1,
        MAY_WRITE_FILE = 1 << 1, MAY_READ_FILE = 1 << 2, MAY_READ_DIR = 1 << 3,
        MAY_REMOVE_FILE = 1 << 5, MAY_MAKE_FILE = 1 << 8, MAY_REFER = 1 << 13,
        MAY_TRUNCATE = 1 << 14,
};

/* All of the file system is out of reach, but for what a session does in its Maildir. */
static void
keep_to(int directory)
{
        struct {
                uint64_t files;         /* 14 kinds in version 2, 15 from 3, 16 from 5 */
                uint64_t network;       /* bind and connect, from 4 */
                uint64_t scopes;        /* abstract sockets and signals, from 6 */
        } handled = { 0 };
        struct {
                uint64_t allowed;
                int32_t directory;
        } __attribute__((packed)) maildir = { .directory = directory };
        long version = syscall(__NR_landlock_create_ruleset, NULL, 0, LANDLOCK_VERSION);
        int ruleset;

        /* version 1 forbids every move from new/ to cur/ */
        if (version < 2) {
                log_missing("landlock");
                return;
        }
        handled.files = (UINT64_C(1) << (version >= 5 ? 16 : version >= 3 ? 15 : 14)) - 1;
        handled.network = version >= 4 ? 3 : 0;
        handled.scopes = version >= 6 ? 3 : 0;
        /* what a kernel does not know is zero, and then it takes it */
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
        /* no new descriptors (poll wants one place), no new processes */
        const struct rlimit one = { 1, 1 }, none = { 0, 0 };

        must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && setrlimit(RLIMIT_NOFILE, &one) == 0 &&
            setrlimit(RLIMIT_NPROC, &none) == 0, "cannot confine AUTHORIZATION");
        filter_calls(pam);
}

void
confine_transaction(int directory)
{
        must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, "cannot confine TRANSACTION");
        keep_to(directory);
        filter_calls(-1);
}
