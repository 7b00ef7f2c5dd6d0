/*
 * become.c - gives up root for good, and proves it.
 * Runs in:   AUTHORIZATION, as it begins; pop3d, as it becomes TRANSACTION; the check (-c).
 * May touch: this process's own identity, root directory and descriptors; the log.
 */
#include "internal.h"

#include <errno.h>
#include <grp.h>
#include <signal.h>
#include <sys/prctl.h>
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
        /* process_begin() has turned it off, but the kernel may turn it on with a new identity */
        must(prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0, "cannot forbid core dumps");
}

void
become_user(const struct identity *identity)
{
        /* makes libc read its file of the time zone now, because the fences will hide the file */
        (void)localtime_r(&(time_t){ 0 }, &(struct tm){ 0 });
        log_close_others(-1);
        if (geteuid() == 0) {
                must(setgroups(identity->group_count, identity->groups) == 0,
                    "cannot take on the user's groups");
                become(identity->uid, identity->gid);
        }
        must(getuid() == identity->uid && geteuid() == identity->uid, "not the user meant");
}

/*
 * Makes an empty folder the root, where nobody can write. Most kernels have the first, and all the
 * second; without /proc there may be the third. Says why not: EPERM if one of them was forbidden,
 * else what the first one met.
 */
static void
enter_jail(void)
{
        static const char *const empty[] = { "/proc/tty/ldisc", "/proc/self/fdinfo", "/var/empty" };
        int error = 0;

        for (size_t i = 0; i < 3; i++) {
                if (chroot(empty[i]) == 0 && chdir("/") == 0)
                        return;
                if (error == 0 || errno == EPERM)
                        error = errno;
        }
        errno = error;
        must(false, error == EPERM ? "cannot enter the jail; grant CAP_SYS_CHROOT"
                                   : "cannot enter the jail");
}

void
become_powerless(uid_t uid, gid_t gid, int pam)
{
        must(log_leave_standard(2), "cannot leave descriptors to /dev/null");
        if (geteuid() == 0) {
                enter_jail();
                must(setgroups(0, NULL) == 0, "cannot leave root's groups");
                become(uid, gid);
        }
        /* process_fork() has set it, but the kernel clears it when the identity changes */
        must(prctl(PR_SET_PDEATHSIG, SIGKILL) == 0, "cannot tie the process to its parent");
        log_leave();
        log_close_others(pam);
}
