/*
 * become.c - gives up root for good, and proves it.
 * Runs in:   AUTHORIZATION, as it begins; pop3d, as it becomes TRANSACTION; the check (-c).
 * May touch: this process's own identity, root directory and descriptors; the log.
 */
#include "internal.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BIT(number) (1U << (number))

/* Those of xinetd.d/pop3d@.service, for PAM's modules: shadow, homes, tallies, the kernel's audit. */
static const uint32_t pam_capabilities = BIT(CAP_SETUID) | BIT(CAP_SETGID) | BIT(CAP_SYS_CHROOT) |
    BIT(CAP_KILL) | BIT(CAP_DAC_OVERRIDE) | BIT(CAP_DAC_READ_SEARCH) | BIT(CAP_AUDIT_WRITE);

/* Takes away every capability that is not among these, which are all below 32; proves it. */
static void
limit_capabilities(uint32_t kept)
{
        struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
        struct __user_cap_data_struct has[2] = { 0 }, wanted[2] = { 0 }, left[2] = { 0 };

        must(syscall(SYS_capget, &header, has) == 0, "cannot tell the capabilities");
        wanted[0].permitted = wanted[0].effective = has[0].permitted & kept;
        must(syscall(SYS_capset, &header, wanted) == 0, "cannot give up capabilities");
        must(syscall(SYS_capget, &header, left) == 0 && memcmp(left, wanted, sizeof(left)) == 0,
            "capabilities are left");
}

static void
become(uid_t uid, gid_t gid, bool keeps_chroot)
{
        uid_t real, effective, saved;
        gid_t real_group, effective_group, saved_group;

        must(!is_never_served(uid) && !is_never_served(gid), "identity with root's numbers refused");
        /* where this is forbidden, the capability is lost with root, and Landlock has to do */
        if (keeps_chroot)
                (void)prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0);
        must(setresgid(gid, gid, gid) == 0 && setresuid(uid, uid, uid) == 0,
            "cannot become the user");
        if (keeps_chroot)
                (void)prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0);
        limit_capabilities(keeps_chroot ? BIT(CAP_SYS_CHROOT) : 0);
        must(setuid(0) != 0 && seteuid(0) != 0 && setgid(0) != 0 && setegid(0) != 0,
            "root came back");
        must(getresuid(&real, &effective, &saved) == 0 && real == uid && effective == uid &&
            saved == uid && getresgid(&real_group, &effective_group, &saved_group) == 0 &&
            real_group == gid && effective_group == gid && saved_group == gid,
            "not the user meant");
        /* process_begin() has turned it off, but the kernel may turn it on with a new identity */
        must(prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0, "cannot forbid core dumps");
}

/* keeps_chroot: for become_prisoner(), CAP_SYS_CHROOT stays. */
static void
take_identity(const struct identity *identity, bool keeps_chroot)
{
        log_close_others(-1);
        if (geteuid() == 0) {
                must(setgroups(identity->group_count, identity->groups) == 0,
                    "cannot take on the user's groups");
                become(identity->uid, identity->gid, keeps_chroot);
        }
        must(getuid() == identity->uid && geteuid() == identity->uid, "not the user meant");
}

void
become_user(const struct identity *identity)
{
        log_learn_zone();
        take_identity(identity, false);
}

void
become_session_user(const struct identity *identity)
{
        take_identity(identity, true);
}

/*
 * Makes an empty folder the root, where nobody can write. Most kernels have the first, and all the
 * second; without /proc there may be the third. If that fails, errno says why not: EPERM if one of
 * them was forbidden, else what the first one met.
 */
static bool
enter_empty_jail(void)
{
        static const char *const empty[] = { "/proc/tty/ldisc", "/proc/self/fdinfo", "/var/empty" };
        int error = 0;

        for (size_t i = 0; i < 3; i++) {
                if (chroot(empty[i]) == 0 && chdir("/") == 0)
                        return true;
                if (error == 0 || errno == EPERM)
                        error = errno;
        }
        errno = error;
        return false;
}

bool
become_prisoner(int directory)
{
        bool is_jailed = directory < 0 ? enter_empty_jail()
            : fchdir(directory) == 0 && chroot(".") == 0;

        limit_capabilities(0);
        must(chroot(".") != 0, "a root directory can be left");
        return is_jailed;
}

void
become_bounded(void)
{
        bool may_drop = prctl(PR_CAPBSET_DROP, CAP_SYS_BOOT, 0, 0, 0) == 0;

        /* a container that forbids it has a set of its own; without root there is nothing to bound */
        for (int number = 0; may_drop && prctl(PR_CAPBSET_READ, number, 0, 0, 0) >= 0; number++)
                must((number < 32 && (pam_capabilities & BIT(number)) != 0) ||
                    prctl(PR_CAPBSET_DROP, number, 0, 0, 0) == 0, "cannot bound capabilities");
        limit_capabilities(pam_capabilities);
}

void
become_powerless(uid_t uid, gid_t gid, int pam)
{
        must(log_leave_standard(2), "cannot leave descriptors to /dev/null");
        if (geteuid() == 0) {
                bool is_jailed = enter_empty_jail();

                must(is_jailed, errno == EPERM ? "cannot enter the jail; grant CAP_SYS_CHROOT"
                                                     : "cannot enter the jail");
                must(setgroups(0, NULL) == 0, "cannot leave root's groups");
                become(uid, gid, false);
        }
        /* process_fork() has set it, but the kernel clears it when the identity changes */
        must(prctl(PR_SET_PDEATHSIG, SIGKILL) == 0, "cannot tie the process to its parent");
        log_leave();
        log_close_others(pam);
}
