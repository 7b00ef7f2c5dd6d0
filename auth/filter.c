/*
 * filter.c - the filters of system calls: what each process may call, made into the kernel's form.
 * Runs in:   AUTHORIZATION, TRANSACTION, and pop3d between the two.
 * May touch: this process's own rights; the log, and AUTHORIZATION's channel to PAM.
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
#include <sys/socket.h>
#include <unistd.h>

/*
 * The machines for which there is a filter of system calls; on others the other layers hold. Under
 * sanitizers there is none, because their runtime makes system calls of its own.
 */
#if IS_SANITIZED
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
#define DENY(call) UNLESS(BPF_JEQ, __NR_##call, 1), ANSWER(SECCOMP_RET_ERRNO | EACCES)

/* A call that is allowed where this argument is NULL. A pointer has two halves, of which one may be empty. */
#define IF_NULL(call, number) UNLESS(BPF_JEQ, call, 7), LOAD(args[number], LOWER), \
        UNLESS(BPF_JSET, UINT32_MAX, 1), ANSWER(SECCOMP_RET_TRAP), LOAD(args[number], UPPER), \
        UNLESS(BPF_JSET, UINT32_MAX, 1), ANSWER(SECCOMP_RET_TRAP), ANSWER(SECCOMP_RET_ALLOW)

/*
 * On some machines socketcall is the one call for all that concerns sockets, and its first argument
 * says which function is meant. Whatever that is, the next rule finds the call's number again.
 */
#define SOCKETCALL(function, answer) UNLESS(BPF_JEQ, __NR_socketcall, 4), LOAD(args[0], LOWER), \
        UNLESS(BPF_JEQ, function, 1), ANSWER(answer), LOAD(nr, 0)

/* How a filter begins. */
static const struct sock_filter first_words[] = {
        LOAD(arch, 0), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, FILTERED_MACHINE, 1, 0),
        ANSWER(SECCOMP_RET_KILL_PROCESS), LOAD(nr, 0),
};

/*
 * What AUTHORIZATION may call, whatever the arguments. Calls that are made often are in such lists:
 * the kernel finds out once that they are always allowed, and runs no filter for them from then on.
 */
static const uint16_t authorization_calls[] = {
        __NR_read, __NR_write, __NR_shutdown, __NR_rt_sigreturn, __NR_restart_syscall,
        __NR_clock_gettime, __NR_exit, __NR_exit_group, __NR_ppoll,
#ifdef __NR_poll
        __NR_poll,
#endif
#ifdef __NR_sigreturn
        __NR_sigreturn,
#endif
#if __SIZEOF_LONG__ == 4
        /* with times of 64 bits; the calls above are made where the kernel does not have these */
        __NR_clock_gettime64, __NR_ppoll_time64,
#endif
};

/* What it may call with some arguments. A rule begins with the call's number. */
static const struct sock_filter authorization_rules[] = {
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

/* What TRANSACTION may call as well. */
static const uint16_t transaction_calls[] = {
        __NR_pread64, __NR_writev, __NR_openat, __NR_close, __NR_fstat, __NR_getdents64, __NR_lseek,
        __NR_renameat2, __NR_fsync, __NR_flock, __NR_brk, __NR_munmap, __NR_mremap, __NR_madvise,
        __NR_clock_nanosleep, __NR_gettimeofday, __NR_geteuid, __NR_getpid, __NR_futex,
        __NR_getrandom, __NR_statx, __NR_timer_settime, __NR_faccessat,
#if __SIZEOF_LONG__ == 4
        /* these take sizes, times and identities of more bits than those above */
        __NR_fstat64, __NR_fstatat64, __NR_geteuid32, __NR_clock_nanosleep_time64,
        __NR_futex_time64, __NR_timer_settime64,
#else
        __NR_newfstatat, __NR_fstatfs,
#endif
#ifdef __NR__llseek
        /* what lseek() calls where there is this one: not on machines of 32 bits alone */
        __NR__llseek,
#endif
#ifdef __NR_fstatfs64
        __NR_fstatfs64,
#endif
#ifdef __NR_renameat
        __NR_renameat,
#endif
#ifdef __NR_time
        __NR_time,
#endif
        /* to the log, whose socket is connected: without an address */
#ifdef __NR_send
        __NR_send,
#endif
#ifdef __s390x__
        /* there its arguments lie in memory, where a filter cannot look: it may make any memory */
        __NR_mmap,
#endif
};

static const struct sock_filter transaction_rules[] = {
        /* syslog(3) tries these when the log's socket is closed, and copes with an error */
        DENY(socket), DENY(connect),
        /* fcntl() locks pop3d.lock, and asks by a lease who writes a file; it may do nothing else */
        UNLESS(BPF_JEQ, LOCK_CALL, 6), LOAD(args[1], LOWER),
        UNLESS(BPF_JEQ, F_OFD_SETLK, 1), ANSWER(SECCOMP_RET_ALLOW),
        UNLESS(BPF_JEQ, F_SETLEASE, 1), ANSWER(SECCOMP_RET_ALLOW), ANSWER(SECCOMP_RET_TRAP),
        /* it gets a group, but no owner, and rights to read and write alone */
        UNLESS(BPF_JEQ, OWNER_CALL, 4), LOAD(args[1], LOWER),
        UNLESS(BPF_JEQ, UINT32_MAX, 1), ANSWER(SECCOMP_RET_ALLOW), ANSWER(SECCOMP_RET_TRAP),
        UNLESS(BPF_JEQ, __NR_fchmod, 4), LOAD(args[1], LOWER),
        UNLESS(BPF_JSET, ~0666U, 1), ANSWER(SECCOMP_RET_TRAP), ANSWER(SECCOMP_RET_ALLOW),
        /* times are set of an open file, none by its name */
        IF_NULL(__NR_utimensat, 1),
#ifdef __NR_utimensat_time64
        IF_NULL(__NR_utimensat_time64, 1),
#endif
        /* messages are removed, but no folders */
        UNLESS(BPF_JEQ, __NR_unlinkat, 4), LOAD(args[2], LOWER),
        UNLESS(BPF_JEQ, 0, 1), ANSWER(SECCOMP_RET_ALLOW), ANSWER(SECCOMP_RET_TRAP),
        /* mmap() without PROT_EXEC: memory, but none to execute */
#ifndef __s390x__
        UNLESS(BPF_JEQ, MEMORY_CALL, 4), LOAD(args[2], LOWER),
        UNLESS(BPF_JSET, PROT_EXEC, 1), ANSWER(SECCOMP_RET_TRAP), ANSWER(SECCOMP_RET_ALLOW),
#endif
        /* ioctl() to learn how much of what was written the client has not taken yet, no other */
        UNLESS(BPF_JEQ, __NR_ioctl, 4), LOAD(args[1], LOWER),
        UNLESS(BPF_JEQ, SIOCOUTQ, 1), ANSWER(SECCOMP_RET_ALLOW), ANSWER(SECCOMP_RET_TRAP),
#ifdef __NR_socketcall
        SOCKETCALL(SYS_SOCKET, SECCOMP_RET_ERRNO | EACCES),
        SOCKETCALL(SYS_CONNECT, SECCOMP_RET_ERRNO | EACCES),
        SOCKETCALL(SYS_SEND, SECCOMP_RET_ALLOW),
#endif
        /* this one can take an address */
        IF_NULL(__NR_sendto, 4),
};

/*
 * What the waiting process, which is root, may call as well until it has become TRANSACTION: to take
 * the identity, to end its helpers, to become the user, to go to the Maildir.
 */
static const uint16_t waiting_calls[] = {
        __NR_recvfrom, __NR_kill, __NR_wait4, __NR_setgroups, __NR_setresgid, __NR_setresuid,
        __NR_setuid, __NR_setgid, __NR_getresuid, __NR_getresgid, __NR_getuid, __NR_prctl,
        __NR_capget, __NR_capset, __NR_chroot, __NR_chdir, __NR_fchdir, __NR_prlimit64,
        __NR_setitimer, __NR_rt_sigaction, __NR_rt_sigprocmask, LOCK_CALL,
        __NR_landlock_create_ruleset, __NR_landlock_add_rule, __NR_landlock_restrict_self,
#ifdef __NR_recv
        /* what recv() calls where there is this one */
        __NR_recv,
#endif
#ifdef __NR_close_range
        __NR_close_range,
#endif
#ifdef __NR_faccessat2
        __NR_faccessat2,
#endif
#if __SIZEOF_LONG__ == 4
        __NR_setgroups32, __NR_setresgid32, __NR_setresuid32, __NR_setuid32, __NR_setgid32,
        __NR_getresuid32, __NR_getresgid32, __NR_getuid32,
#endif
#ifdef __NR_access
        __NR_access,
#endif
#ifdef __NR_open
        __NR_open,
#endif
#ifdef __NR_stat
        __NR_stat, __NR_lstat,
#endif
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

/* A kernel that filters system calls would have looked for a program at NULL. */
bool
filter_is_possible(void)
{
        return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, NULL) != 0 && errno == EFAULT;
}

/* The processes that have a filter; each may call what those before it may. */
enum process { AUTHORIZATION, TRANSACTION, WAITING };

/* What a filter says of one call. */
struct rule {
        uint32_t call;
        const struct sock_filter *words;        /* NULL: it is allowed */
};

enum {
        RULES_MAX = COUNT(authorization_calls) + COUNT(transaction_calls) + COUNT(waiting_calls) +
            COUNT(authorization_rules) / 2 + COUNT(transaction_rules) / 2,
        BLOCK = 8,              /* rules that are left out by one comparison */
};

/* Puts a rule among the others, which are in the order of the calls' numbers. */
static size_t
insert_rule(struct rule *rules, size_t count, uint32_t call, const struct sock_filter *words)
{
        size_t at = count;

        for (; at > 0 && rules[at - 1].call > call; at--)
                rules[at] = rules[at - 1];
        rules[at] = (struct rule){ call, words };
        return count + 1;
}

/* Collects the rules of a process. Of one call those that look at no argument come first. */
static size_t
collect_rules(enum process process, struct rule rules[RULES_MAX])
{
        static const struct {
                const uint16_t *calls;
                size_t call_count;
                const struct sock_filter *words;
                size_t word_count;
        } parts[] = {
                [AUTHORIZATION] = { authorization_calls, COUNT(authorization_calls),
                        authorization_rules, COUNT(authorization_rules) },
                [TRANSACTION] = { transaction_calls, COUNT(transaction_calls), transaction_rules,
                        COUNT(transaction_rules) },
                [WAITING] = { waiting_calls, COUNT(waiting_calls), NULL, 0 },
        };
        size_t count = 0;

        for (size_t part = 0; part <= process; part++)
                for (size_t i = 0; i < parts[part].call_count; i++)
                        count = insert_rule(rules, count, parts[part].calls[i], NULL);
        for (size_t part = 0; part <= process; part++) {
                const struct sock_filter *words = parts[part].words;

                for (size_t i = 0; i < parts[part].word_count; i += words[i].jf + 1U)
                        count = insert_rule(rules, count, words[i].k, words + i);
        }
        return count;
}

/* How many words a rule takes. */
static size_t
rule_size(const struct rule *rule)
{
        return rule->words == NULL ? 1 : rule->words[0].jf + 1U;
}

/*
 * Writes a block of rules: it is left out for calls from the number next on. Behind the rules are the
 * last answer, for a call that is none of these, and the one for those that are allowed.
 */
static struct sock_filter *
write_block(struct sock_filter *to, const struct rule *rules, size_t count, uint32_t next,
    uint32_t last)
{
        size_t left = 1;

        for (size_t i = 0; i < count; i++)
                left += rule_size(&rules[i]);
        *to++ = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, next,
            (uint8_t)(left + 1), 0);
        for (size_t i = 0; i < count; i++) {
                left -= rule_size(&rules[i]);
                if (rules[i].words != NULL)
                        to = mempcpy(to, rules[i].words, rule_size(&rules[i]) * sizeof(*to));
                else
                        *to++ = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K,
                            rules[i].call, (uint8_t)left, 0);
        }
        *to++ = (struct sock_filter)ANSWER(last);
        *to++ = (struct sock_filter)ANSWER(SECCOMP_RET_ALLOW);
        return to;
}

/*
 * Sets the filter of a process, which gives the last answer where no rule fits. False, with errno, if
 * this kernel has none. The kernel follows the filter once for each number that there is, when it is
 * set: that is most of what a filter costs, and why its rules are in order and in blocks.
 */
static bool
set_filter(enum process process, uint32_t last)
{
        struct rule rules[RULES_MAX];
        struct sock_filter code[COUNT(first_words) + 2 * RULES_MAX + COUNT(authorization_rules) +
            COUNT(transaction_rules)];
        size_t count = collect_rules(process, rules), end;
        struct sock_filter *to = mempcpy(code, first_words, sizeof(first_words));
        struct sock_fprog program = { .filter = code };
        int error;

        for (size_t begin = 0; begin < count; begin = end) {
                end = begin + BLOCK < count ? begin + BLOCK : count;
                /* all rules of one call are in one block */
                while (end < count && rules[end].call == rules[end - 1].call)
                        end++;
                to = write_block(to, rules + begin, end - begin,
                    end < count ? rules[end].call : UINT32_MAX, last);
        }
        *to++ = (struct sock_filter)ANSWER(last);
        program.len = (unsigned short)(to - code);
        if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0)
                return true;
        error = errno;
        must(!filter_is_possible(), "cannot filter system calls");
        errno = error;
        return false;
}

bool
filter_calls(int channel)
{
        struct sigaction action = { .sa_sigaction = report_violation, .sa_flags = SA_SIGINFO };

        reporting_channel = channel;
        must(sigaction(SIGSYS, &action, NULL) == 0, "cannot watch over system calls");
        return set_filter(channel < 0 ? TRANSACTION : AUTHORIZATION, SECCOMP_RET_TRAP);
}

/* What has no rule fails, as if it were forbidden to that user: no module and no parser runs here. */
void
filter_waiting(void)
{
        (void)set_filter(WAITING, SECCOMP_RET_ERRNO | EPERM);
}
#else
bool
filter_is_possible(void)
{
        return false;
}

bool
filter_calls(int channel)
{
        errno = ENOSYS;
        return false;
}

void
filter_waiting(void)
{
}
#endif
