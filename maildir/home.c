/*
 * home.c - says why the home of a system account is not there, or another's (-c).
 * Runs in:   a child of pop3d-check, as the mail user; not in a session.
 * May touch: names where homes commonly lie; /etc/fstab and the list of what is mounted.
 */
#include <errno.h>
#include <limits.h>
#include <mntent.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "internal.h"

/* Whether a file system is mounted on exactly this folder. */
static bool
is_mounted(const char *folder)
{
        FILE *mounts = setmntent("/proc/self/mounts", "re");
        const struct mntent *mount;
        bool is_found = false;

        while (mounts != NULL && !is_found && (mount = getmntent(mounts)) != NULL)
                is_found = strcmp(mount->mnt_dir, folder) == 0;
        if (mounts != NULL)
                (void)endmntent(mounts);
        return is_found;
}

/* The folder on the way to the home on which /etc/fstab mounts something that is not mounted. */
static bool
find_unmounted(const char *home, char folder[PATH_MAX])
{
        FILE *table = setmntent("/etc/fstab", "re");
        char candidate[PATH_MAX];
        const struct mntent *mount;

        folder[0] = '\0';
        while (table != NULL && (mount = getmntent(table)) != NULL) {
                size_t length = strlen(mount->mnt_dir);

                /* is_mounted() uses the memory of getmntent(3) anew */
                (void)snprintf(candidate, sizeof(candidate), "%s", mount->mnt_dir);
                if (length > 1 && length > strlen(folder) && strncmp(home, candidate, length) == 0 &&
                    (home[length] == '/' || home[length] == '\0') && !is_mounted(candidate))
                        memcpy(folder, candidate, sizeof(candidate));
        }
        if (table != NULL)
                (void)endmntent(table);
        return folder[0] != '\0';
}

/* A folder that belongs to this process's user, where homes commonly lie. */
static bool
find_home(const char *user, char found[PATH_MAX])
{
        static const char *const parents[] = { "/home", "/export/home", "/srv/home", "/var/home",
                "/data/home", "/users", "/usr/home" };
        struct stat status;

        for (size_t i = 0; i < sizeof(parents) / sizeof(parents[0]); i++) {
                (void)snprintf(found, PATH_MAX, "%s/%s", parents[i], user);
                if (stat(found, &status) == 0 && S_ISDIR(status.st_mode) &&
                    status.st_uid == geteuid())
                        return true;
        }
        return false;
}

/*
 * Whether a home that is there may be the user's. It is not if it belongs to another, has no Maildir, and the user has
 * a folder where homes lie; or if it is root's, empty, and something is to be mounted there.
 */
static bool
check_whose(const char *path, const struct maildir_names *names, const struct stat *status, check_row row,
    void *context)
{
        char found[PATH_MAX];
        struct stat of_maildir;
        bool is_another = status->st_uid != geteuid() && strcmp(names->user, names->mailbox) == 0;

        if (!is_another || stat(path, &of_maildir) == 0)
                return true;
        if (find_home(names->mailbox, found) && strcmp(found, names->home) != 0)
                row(context, "fail", "maildrop", "%s belongs to uid %u\n"
                    "cause: passwd says that this is the home of %s, whose folder seems to be %s\n"
                    "remedy: usermod -d %s %s", names->home, (unsigned)status->st_uid, names->mailbox,
                    found, found, names->mailbox);
        else if (status->st_uid == 0 && find_unmounted(names->home, found))
                row(context, "fail", "maildrop", "%s belongs to root\n"
                    "cause: /etc/fstab has a file system for %s, and none is mounted there\n"
                    "remedy: mount %s", names->home, found, found);
        else
                return true;
        return false;
}

bool
maildir_check_home(const char *path, const struct maildir_names *names, check_row row, void *context)
{
        const char *home = names->home, *error;
        char found[PATH_MAX];
        struct stat status;

        if (stat(home, &status) == 0 || (errno != ENOENT && errno != ENOTDIR))
                return check_whose(path, names, &status, row, context);
        error = strerror(errno);
        if (find_unmounted(home, found))
                row(context, "fail", "maildrop", "%s: %s\n"
                    "cause: /etc/fstab has a file system for %s, and none is mounted there\n"
                    "remedy: mount %s", home, error, found, found);
        else if (find_home(names->mailbox, found))
                row(context, "fail", "maildrop", "%s: %s\n"
                    "cause: passwd says that this is the home of %s, whose folder seems to be %s\n"
                    "remedy: usermod -d %s %s", home, error, names->mailbox, found, found,
                    names->mailbox);
        else
                row(context, "fail", "maildrop", "%s: %s\n"
                    "cause: passwd says that this is the home of %s; it is not mounted, has another "
                    "place, or was never made\n"
                    "remedy: mount what holds it; or tell passwd the right one (usermod -d HOME %s); "
                    "or for a new account, as root: install -d -o %u -g %u -m 700 %s", home,
                    error, names->mailbox, names->mailbox, (unsigned)geteuid(),
                    (unsigned)getegid(), home);
        return false;
}
