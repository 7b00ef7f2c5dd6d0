/*
 * confine.c - the fences: the files and system calls that a process keeps.
 * Runs in:   AUTHORIZATION, TRANSACTION, and pop3d between the two.
 * May touch: this process's own rights; the log.
 */
#include "internal.h"

/* not <sys/syscall.h>, in which musl gives calls of 32 bits names of its own */
#include <asm/unistd.h>
#include <errno.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <syslog.h>
#include <unistd.h>

/* Logs which layer this kernel or this build lacks. The other layers hold. */
static void
log_missing(const char *layer)
{
        log_event(LOG_INFO, "UNCONFINED", NULL, NULL, "layer", layer, "error", error_name(errno),
            NULL);
}

/* Sets the filter of AUTHORIZATION, whose channel to PAM this is, or of TRANSACTION if it is -1. */
static void
forbid_calls(int channel)
{
        if (!filter_calls(channel))
                log_missing("seccomp");
}

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
        forbid_calls(pam);
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
#if !IS_SANITIZED
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
        if (!is_jailed || !filter_is_possible())
                keep_to(directory);
        forbid_calls(-1);
}
