/*
 * elsewhere.c - finds mail that no session shows, because it lies somewhere else (-c).
 * Runs in:   a child of pop3d-check, as the mail user; not in a session.
 * May touch: names and sizes in the Maildir, in the home and where mail commonly lies, and
 *            /etc/fstab and /proc/self/mountinfo. No message is opened.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <mntent.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "command.h"
#include "internal.h"

enum {
        SHOWN_MAX = 3,          /* places that a row names; the rest are counted */
        ENTRIES_MAX = 2000000,  /* of a folder; whoever filled it must not keep the check for ever */
};

/* What the entries of one folder or more are. */
struct entries {
        size_t files, links, folders;
        bool is_closed;         /* not all of it could be listed */
};

/* The kind of an entry by readdir(3), or where that does not tell by stat(2); a link is not followed. */
static unsigned char
kind_of(int directory, const struct dirent *entry)
{
        struct stat status;

        if (entry->d_type != DT_UNKNOWN)
                return entry->d_type;
        if (fstatat(directory, entry->d_name, &status, AT_SYMLINK_NOFOLLOW) != 0)
                return DT_UNKNOWN;
        if (S_ISLNK(status.st_mode))
                return DT_LNK;
        return S_ISREG(status.st_mode) ? DT_REG : S_ISDIR(status.st_mode) ? DT_DIR : DT_UNKNOWN;
}

/*
 * Adds what is in a folder, but for names that begin with a dot. A link is not followed, because what
 * it leads to is no mail for it.
 */
static void
count(const char *path, const char *folder, struct entries *entries)
{
        char whole[PATH_MAX + 8];
        const struct dirent *entry;
        DIR *list;
        int fd;

        (void)snprintf(whole, sizeof(whole), "%s%s", path, folder);
        fd = open(whole, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        list = fd < 0 ? NULL : fdopendir(fd);
        if (list == NULL && errno != ENOENT)
                entries->is_closed = true;
        for (size_t i = 0; list != NULL && i < ENTRIES_MAX && (entry = readdir(list)) != NULL; i++) {
                unsigned char kind = entry->d_name[0] == '.' ? DT_UNKNOWN
                    : kind_of(dirfd(list), entry);

                entries->files += kind == DT_REG;
                entries->links += kind == DT_LNK;
                entries->folders += kind == DT_DIR;
        }
        if (list != NULL)
                (void)closedir(list);
}

static struct entries
count_both(const char *path)
{
        struct entries entries = { 0 };

        count(path, "/new", &entries);
        count(path, "/cur", &entries);
        return entries;
}

/* ---- Other Maildirs -------------------------------------------------------------------- */

/* Maildirs that have mail, as a row tells them. */
struct places {
        size_t count, files, fresh;     /* places; messages in them; of these in new/ */
        char text[SHOWN_MAX * 300], first[PATH_MAX];
};

/* Adds a place if it has mail. */
static void
add_place(struct places *places, const char *path)
{
        struct entries fresh = { 0 }, seen = { 0 };
        size_t used = strlen(places->text);
        char shown[PATH_MAX];

        path_show(shown, path);
        count(path, "/new", &fresh);
        count(path, "/cur", &seen);
        if (fresh.files + seen.files == 0)
                return;
        if (places->count == 0)
                (void)snprintf(places->first, sizeof(places->first), "%s", path);
        if (places->count < SHOWN_MAX)
                (void)snprintf(places->text + used, sizeof(places->text) - used, "%s%.250s (%zu)",
                    used == 0 ? "" : ", ", shown, fresh.files + seen.files);
        else if (places->count == SHOWN_MAX)
                (void)snprintf(places->text + used, sizeof(places->text) - used, ", and others");
        places->count++;
        places->files += fresh.files + seen.files;
        places->fresh += fresh.files;
}

/* Adds each folder below path that has mail, except the one that is the maildrop itself. */
static void
add_places_below(struct places *places, const char *path, const struct stat *own)
{
        char whole[PATH_MAX + NAME_MAX];
        const struct dirent *entry;
        struct stat status;
        DIR *list = opendir(path);

        while (list != NULL && (entry = readdir(list)) != NULL) {
                const char *name = entry->d_name;

                if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 ||
                    snprintf(whole, sizeof(whole), "%s/%s", path, name) >= PATH_MAX)
                        continue;
                if (stat(whole, &status) == 0 && S_ISDIR(status.st_mode) &&
                    (status.st_dev != own->st_dev || status.st_ino != own->st_ino))
                        add_place(places, whole);
        }
        if (list != NULL)
                (void)closedir(list);
}

/* Folders as IMAP servers have them: .Junk (Maildir++), or a Maildir in the Maildir. */
static void
check_folders(const char *path, const struct stat *own, bool by_root, check_row row, void *context)
{
        struct places places = { 0 };
        char command[COMMAND_SIZE], remedy[COMMAND_SIZE] = "";

        add_places_below(&places, path, own);
        if (places.count == 0)
                return;
        if (path_is_plain(path) && path_is_plain(places.first)) {
                (void)snprintf(command, sizeof(command), "for d in new cur; do mv %s/$d/* %s/$d/; done",
                    places.first, path);
                command_as_owner(remedy, by_root, command);
        }
        row(context, places.fresh > 0 ? "warn" : "skip", "maildrop", "the inbox is empty, and "
            "%zu messages lie in folders of it: %s\n"
            "cause: POP3 serves the inbox alone, and a filter or an IMAP client put them there\n"
            "remedy: if they belong to the inbox, mend the filter and move them%s%s", places.files,
            places.text, remedy[0] != '\0' ? ": " : "", remedy);
}

/* Another Maildir: in the home, or where mail commonly lies. */
static void
check_others(const char *path, const struct stat *own, const struct maildir_names *names,
    check_row row, void *context)
{
        static const char *const common[] = { "/var/mail", "/var/spool/mail", "/var/vmail" };
        struct places places = { 0 };
        char whole[PATH_MAX];
        struct stat known = { 0 };

        add_places_below(&places, names->home, own);
        for (size_t i = 0; i < sizeof(common) / sizeof(common[0]); i++) {
                struct stat status;

                (void)snprintf(whole, sizeof(whole), "%s/%s", common[i], names->mailbox);
                /* the second is often a link to the first */
                if (stat(whole, &status) != 0 || !S_ISDIR(status.st_mode) ||
                    (status.st_dev == own->st_dev && status.st_ino == own->st_ino) ||
                    (status.st_dev == known.st_dev && status.st_ino == known.st_ino))
                        continue;
                known = status;
                add_place(&places, whole);
                add_places_below(&places, whole, own);
        }
        if (places.count > 0)
                row(context, "warn", "maildrop", "%s has no mail, and %zu messages lie in %s\n"
                    "cause: mail is delivered there, or was before\n"
                    "remedy: have it delivered to %s and move what is there, or name that place by "
                    "-m in the launcher's entry", path, places.files, places.text, path);
}

/* ---- What is no Maildir ---------------------------------------------------------------- */

/* A file of mail, an mbox: where programs deliver that nobody told of a Maildir. */
static void
check_mbox(const char *path, const struct maildir_names *names, check_row row, void *context)
{
        const char *const from[][2] = { { "/var/mail", names->mailbox },
                { "/var/spool/mail", names->mailbox }, { names->home, "mbox" },
                { names->home, "Mailbox" }, { names->home, "mail" }, { names->home, "Mail" },
                { names->home, "mail/inbox" } };
        char whole[PATH_MAX];
        struct stat status;

        for (size_t i = 0; i < sizeof(from) / sizeof(from[0]); i++) {
                if (snprintf(whole, sizeof(whole), "%s/%s", from[i][0], from[i][1]) >= PATH_MAX ||
                    stat(whole, &status) != 0 || !S_ISREG(status.st_mode) || status.st_size == 0)
                        continue;
                row(context, "warn", "maildrop", "%s has no mail, and %s has %ju octets\n"
                    "cause: mail is delivered to that file, an mbox, which is not read\n"
                    "remedy: have it delivered to the Maildir (postfix: home_mailbox = Maildir/; "
                    "procmail: DEFAULT=$HOME/Maildir/), and convert the file once (mb2md -s %s)",
                    path, whole, (uintmax_t)status.st_size, whole);
                return;
        }
}

/* Other ways by which mail does not get here: it is sent on, or its delivery does not end. */
static void
check_ways(const char *path, const struct maildir_names *names, bool by_root, check_row row,
    void *context)
{
        struct entries unfinished = { 0 };
        char whole[PATH_MAX], command[COMMAND_SIZE], remedy[COMMAND_SIZE] = "move them to new/";
        struct stat status;

        count(path, "/tmp", &unfinished);
        (void)snprintf(command, sizeof(command), "mv %s/tmp/* %s/new/", path, path);
        if (path_is_plain(path))
                command_as_owner(remedy, by_root, command);
        if (unfinished.files > 0)
                row(context, "warn", "maildrop", "%s has no mail, and %zu files lie in its tmp/\n"
                    "cause: whoever delivers does not come to its end, or may not write in new/\n"
                    "remedy: see the log of that program; then %s", path, unfinished.files, remedy);
        if (snprintf(whole, sizeof(whole), "%s/.forward", names->home) < PATH_MAX &&
            stat(whole, &status) == 0 && status.st_size > 0)
                row(context, "skip", "maildrop", "%s sends mail on, perhaps all of it", whole);
}

void
maildir_check_elsewhere(const char *path, const struct maildir_names *names, bool by_root,
    check_row row, void *context)
{
        struct entries entries = count_both(path);
        struct stat own = { 0 };

        if (entries.links > 0)
                row(context, "warn", "maildrop", "%zu of the entries in %s/new and cur are links\n"
                    "cause: pop3d follows no link in a Maildir, whoever set it\n"
                    "remedy: put the files themselves there, as cp -L does", entries.links, path);
        if (entries.folders > 0)
                row(context, "skip", "maildrop", "%zu of the entries in %s/new and cur are folders, "
                    "which are no messages", entries.folders, path);
        /* a Maildir that may not be read is not empty for that */
        if (entries.files > 0 || entries.is_closed)
                return;
        (void)stat(path, &own);
        check_folders(path, &own, by_root, row, context);
        check_others(path, &own, names, row, context);
        check_mbox(path, names, row, context);
        check_ways(path, names, by_root, row, context);
}

/* ---- A home that is not there ---------------------------------------------------------- */

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

bool
maildir_check_home(const struct maildir_names *names, check_row row, void *context)
{
        const char *home = names->home, *error;
        char found[PATH_MAX];
        struct stat status;

        if (stat(home, &status) == 0 || (errno != ENOENT && errno != ENOTDIR))
                return true;
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
