/*
 * confine.c - what a process gives up for good: root, then files and system calls.
 * Runs in:   AUTHORIZATION (an account without power), pop3d as it becomes TRANSACTION.
 * May touch: this process's own identity and rights; the log.
 */
#include "auth.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <syslog.h>
#include <unistd.h>

static void become(uid_t uid, gid_t gid)
{
        uid_t real, effective, saved;

        must(uid != 0 && gid != 0, "identity with root's numbers refused");
        must(setresgid(gid, gid, gid) == 0 && setresuid(uid, uid, uid) == 0,
            "cannot become the user");
        must(setuid(0) != 0 && seteuid(0) != 0 && setgid(0) != 0 && setegid(0) != 0,
            "root came back");
        must(getresuid(&real, &effective, &saved) == 0 && real == uid && effective == uid &&
            saved == uid, "not the user meant");
        /* a change of identity may turn it on again */
        must(prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0, "cannot forbid core dumps");
}

void become_user(const struct identity *identity)
{
        log_close_others(-1);
        if (geteuid() == 0) {
                must(setgroups(identity->group_count, identity->groups) == 0,
                    "cannot take on the user's groups");
                become(identity->uid, identity->gid);
        }
        must(getuid() == identity->uid, "not the user meant");
}

void leave_standard_descriptors(int first)
{
        int null = open("/dev/null", O_RDWR | O_CLOEXEC);

        for (int fd = first; fd <= 2; fd++)
                must(null >= 0 && dup2(null, fd) >= 0, "cannot leave descriptors to /dev/null");
        (void)close(null);
}

void become_powerless(const struct passwd *powerless, int pam)
{
        leave_standard_descriptors(2);
        if (geteuid() == 0) {
                /* an empty, read-only directory of every Linux; the other where /proc is missing */
                must((chroot("/proc/self/fdinfo") == 0 || chroot("/var/empty") == 0) &&
                    chdir("/") == 0, "cannot enter the jail");
                must(setgroups(0, NULL) == 0, "cannot leave root's groups");
                become(powerless->pw_uid, powerless->pw_gid);
        }
        /* a change of identity has undone the first one */
        must(prctl(PR_SET_PDEATHSIG, SIGKILL) == 0, "cannot tie the process to its parent");
        log_leave();
        log_close_others(pam);
}

/* Says which layer this kernel, or this build, cannot give; what is left holds. */
static void log_missing(const char *layer)
{
        log_event(LOG_INFO, "UNCONFINED", NULL, NULL, "layer", layer, "error", error_name(errno),
            NULL);
}

void log_violation(const char *process, int call)
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
static const int authorization_calls[] = {
        __NR_read, __NR_write, __NR_shutdown, __NR_rt_sigreturn, __NR_restart_syscall,
        __NR_clock_gettime, __NR_exit, __NR_exit_group, __NR_ppoll,
#ifdef __NR_poll
        __NR_poll,
#endif
};

static const int transaction_calls[] = {
        __NR_pread64, __NR_writev, __NR_openat, __NR_close, __NR_fstat, __NR_newfstatat,
        __NR_getdents64, __NR_lseek, __NR_unlinkat, __NR_renameat2, __NR_linkat, __NR_fsync,
        __NR_flock, __NR_brk, __NR_munmap, __NR_mremap, __NR_madvise, __NR_clock_nanosleep,
        __NR_gettimeofday, __NR_geteuid, __NR_getpid, __NR_futex, __NR_getrandom, __NR_statx,
#ifdef __NR_renameat
        __NR_renameat,
#endif
#ifdef __NR_time
        __NR_time,
#endif
};

/* syslog(3) tries these when the log is away; it takes no for an answer. */
static const int denied_calls[] = { __NR_socket, __NR_connect };

/* Where AUTHORIZATION reports what it was made to try; TRANSACTION (-1) has the log. */
static volatile int reporting_channel = -1;

static void report_violation(int number, siginfo_t *info, void *context)
{
        struct login report = { .kind = LOGIN_VIOLATION, .mechanism = (uint32_t)info->si_syscall };

        if (reporting_channel < 0)
                log_violation("TRANSACTION", info->si_syscall);
        else
                (void)!write(reporting_channel, &report, sizeof(report));
        _exit(END_FAULT);
}

enum { FILTER_MAX = 160 };

static void add(struct sock_fprog *program, unsigned short code, unsigned char if_true,
    unsigned char if_false, uint32_t value)
{
        must(program->len < FILTER_MAX, "the filter is too long");
        program->filter[program->len++] = (struct sock_filter){ code, if_true, if_false, value };
}

static void add_calls(struct sock_fprog *program, uint32_t answer, const int *calls, size_t size)
{
        for (size_t i = 0; i < size / sizeof(*calls); i++) {
                add(program, BPF_JMP | BPF_JEQ | BPF_K, 0, 1, (uint32_t)calls[i]);
                add(program, BPF_RET | BPF_K, 0, 0, answer);
        }
}

/* A call that is good as long as these bits of an argument are zero. */
static void add_restricted(struct sock_fprog *program, int call, uint32_t argument,
    uint32_t low_bits, uint32_t high_bits)
{
        argument = (uint32_t)offsetof(struct seccomp_data, args) + 8 * argument;
        add(program, BPF_JMP | BPF_JEQ | BPF_K, 0, 6, (uint32_t)call);
        add(program, BPF_LD | BPF_W | BPF_ABS, 0, 0, argument);
        add(program, BPF_JMP | BPF_JSET | BPF_K, 2, 0, low_bits);
        add(program, BPF_LD | BPF_W | BPF_ABS, 0, 0, argument + 4);
        add(program, BPF_JMP | BPF_JSET | BPF_K, 0, 1, high_bits);
        add(program, BPF_RET | BPF_K, 0, 0, SECCOMP_RET_TRAP);
        add(program, BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW);
}

/* channel is AUTHORIZATION's, to PAM; -1: TRANSACTION. */
static void filter_calls(int channel)
{
        struct sigaction action = { .sa_sigaction = report_violation, .sa_flags = SA_SIGINFO };
        struct sock_filter code[FILTER_MAX];
        struct sock_fprog program = { 0, code };

        add(&program, BPF_LD | BPF_W | BPF_ABS, 0, 0, offsetof(struct seccomp_data, arch));
        add(&program, BPF_JMP | BPF_JEQ | BPF_K, 1, 0, FILTERED_MACHINE);
        add(&program, BPF_RET | BPF_K, 0, 0, SECCOMP_RET_KILL_PROCESS);
        add(&program, BPF_LD | BPF_W | BPF_ABS, 0, 0, offsetof(struct seccomp_data, nr));
        add_calls(&program, SECCOMP_RET_ALLOW, authorization_calls, sizeof(authorization_calls));
        if (channel < 0) {
                add_calls(&program, SECCOMP_RET_ALLOW, transaction_calls, sizeof(transaction_calls));
                add_calls(&program, SECCOMP_RET_ERRNO | EACCES, denied_calls, sizeof(denied_calls));
                add_restricted(&program, __NR_mmap, 2, PROT_EXEC, 0);
                /* the log's socket is connected; no other address */
                add_restricted(&program, __NR_sendto, 4, UINT32_MAX, UINT32_MAX);
        }
        add(&program, BPF_RET | BPF_K, 0, 0, SECCOMP_RET_TRAP);
        reporting_channel = channel;
        must(sigaction(SIGSYS, &action, NULL) == 0, "cannot watch over system calls");
        if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0)
                return;
        must(errno == EINVAL || errno == ENOSYS, "cannot filter system calls");
        log_missing("seccomp");
}
#else
static void filter_calls(int channel)
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
static void keep_to(int directory)
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

void confine_authorization(int pam)
{
        /* no new descriptors (poll wants one place), no new processes */
        const struct rlimit one = { 1, 1 }, none = { 0, 0 };

        must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && setrlimit(RLIMIT_NOFILE, &one) == 0 &&
            setrlimit(RLIMIT_NPROC, &none) == 0, "cannot confine AUTHORIZATION");
        filter_calls(pam);
}

void confine_transaction(int directory)
{
        must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, "cannot confine TRANSACTION");
        keep_to(directory);
        filter_calls(-1);
}
