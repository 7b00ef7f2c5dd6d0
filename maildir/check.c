/*
 * check.c - says what is wrong with a Maildir (-c), and changes nothing in it.
 * Runs in:   two children of pop3d-check, as the mail user: maildir_check_place() in one, which asks
 *            for names, rights and locks; maildir_check_mail() in one behind the fences of a session.
 * May touch: the first the Maildir, the folders above it, and what /proc tells of locks and mounts;
 *            the second the Maildir alone, which it reads as a session does.
 *
 * Nothing is freed or closed here, because the process ends with its rows.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "command.h"
#include "internal.h"

enum { PACKED_SAMPLE = 100 };   /* messages at either end that are looked into */

/* Warns of an option by which what other machines did stays unseen for more than a second. */
static void
check_caches(const struct mount *mount, check_row row, void *context)
{
        static const char *const names[] = { "acregmin", "acregmax", "acdirmin", "acdirmax",
                "actimeo", "attr_timeout", "entry_timeout", "attribute-timeout", "entry-timeout" };

        for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
                char option[32];
                const char *found;
                double seconds;

                (void)snprintf(option, sizeof(option), ",%s=", names[i]);
                found = strstr(mount->options, option);
                if (found == NULL || sscanf(found + strlen(option), "%lf", &seconds) != 1 ||
                    seconds <= 1)
                        continue;
                row(context, "warn", "maildrop", "mounted with %s=%g: mail that another machine "
                    "delivers may stay unseen for so many seconds\n"
                    "remedy: if several machines use it, mount it with %s=1 or less", names[i],
                    seconds, names[i]);
        }
        /* options that are NFS's own are not told */
        if (strncmp(mount->kind, "nfs", 3) == 0 && strstr(mount->options, ",acdirmax=") == NULL &&
            strstr(mount->options, ",noac,") == NULL)
                row(context, "skip", "maildrop", "NFS with its own caches: mail that another machine "
                    "delivers may stay unseen for 30 to 60 seconds\n"
                    "remedy: if several machines use it, mount it with acdirmin=0,acdirmax=1");
}

/* Says what is locked, and whom that keeps out. */
static void
check_reach(const struct file_system *kind, bool is_private, const struct mount *mount,
    check_row row, void *context)
{
        static const char *const local[] = { ",nolock,", ",local_lock=all,", ",local_lock=posix," };
        const char *option = NULL;

        for (size_t i = 0; i < sizeof(local) / sizeof(*local); i++)
                if (strstr(mount->options, local[i]) != NULL)
                        option = local[i];
        if (kind->is_local)
                row(context, "ok", "maildrop", "one session at a time: %s is locked",
                    is_private ? "the folder" : LOCK_NAME);
        else if (option != NULL)
                row(context, "warn", "maildrop", "mounted with %.*s: a session on another machine "
                    "is not kept out; mail is not lost by that\nremedy: mount it without that",
                    (int)strlen(option) - 2, option + 1);
        else
                row(context, "skip", "maildrop", LOCK_NAME " is locked; whether that keeps "
                    "sessions on other machines out cannot be seen from here\n"
                    "remedy: if several machines use it, log in on two of them at once: the second "
                    "login must be told [IN-USE]");
}

/* A warning, no failure: without the index a session is slow, but it serves all mail. */
static void
check_space(int directory, const struct mount *mount, const char *kind, check_row row, void *context)
{
        struct statvfs space;

        if (fstatvfs(directory, &space) != 0)
                return;
        if (space.f_flag & ST_RDONLY)
                row(context, "warn", "maildrop", "the file system is read-only\n"
                    "cause: often an error on the disk; the kernel's log says so (dmesg)\n"
                    "remedy: mount -o remount,rw %s, after fsck if the log says so", mount->point);
        else if (space.f_bavail == 0 || (space.f_files > 0 && space.f_favail == 0))
                row(context, "warn", "maildrop", "no %s left: mail can be fetched, but not delivered, and "
                    "the index cannot be kept\nremedy: make room in %s (df %s%s shows it)",
                    space.f_bavail == 0 ? "space" : "inodes", mount->point, space.f_bavail == 0 ? ""
                    : "-i ", mount->point);
        else
                row(context, "ok", "maildrop", "%s, %" PRIu64 " MiB free", kind,
                    (uint64_t)space.f_bavail * space.f_frsize >> 20);
}

/* What kind of file system it is, and what follows from that. */
static void
check_file_system(int directory, int index_seconds, bool is_private, check_row row, void *context)
{
        const struct file_system *kind = file_system_of(directory);
        char text[96];
        struct mount mount;

        mount_find(directory, &mount);
        (void)snprintf(text, sizeof(text), "a %sfile system%s (%s)", kind->is_local ? "local " : "",
            kind->is_local ? "" : " that other machines may use", mount.kind[0] != '\0' ? mount.kind
            : kind->name);
        check_space(directory, &mount, text, row, context);
        check_reach(kind, is_private, &mount, row, context);
        if (!kind->is_local)
                check_caches(&mount, row, context);
        if (index_seconds == INDEX_SECONDS_BY_KIND)
                index_seconds = kind->tells_changes ? INDEX_SECONDS : 0;
        if (index_seconds == 0)
                row(context, "ok", "maildrop", "each session reads the folders (see -i)");
        else
                row(context, kind->tells_changes ? "ok" : "warn", "maildrop", "folders whose times "
                    "have not changed are read every %d seconds (see -i)%s", index_seconds,
                    kind->tells_changes ? "" : "\ncause: this kind of file system is not known to "
                    "change them with each message, so that mail may stay unseen so long\n"
                    "remedy: leave out -i, unless you know better");
}

/* Whether a session, here or on another machine, holds pop3d.lock. */
static bool
is_file_locked(int directory)
{
        struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
        int fd = open_file(directory, LOCK_NAME);
        bool is_locked = fd >= 0 && fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;

        if (fd >= 0)
                (void)close(fd);
        return is_locked;
}

/* The process that holds the folder's own lock, 0 if it is not known. */
static int
find_holder(int directory)
{
        FILE *locks = fopen("/proc/locks", "re");
        struct stat status = { 0 };
        char line[256], wanted[32];
        int holder = 0;

        (void)fstat(directory, &status);
        (void)snprintf(wanted, sizeof(wanted), ":%ju ", (uintmax_t)status.st_ino);
        while (locks != NULL && fgets(line, sizeof(line), locks) != NULL)
                if (strstr(line, wanted) != NULL)
                        (void)sscanf(line, "%*s FLOCK %*s %*s %d", &holder);
        if (locks != NULL)
                (void)fclose(locks);
        return holder;
}

/* If a session holds the lock, a row says so, and which process it is. */
static void
check_lock(int directory, bool is_private, check_row row, void *context)
{
        int error = is_private && flock(directory, LOCK_SH | LOCK_NB) != 0 ? errno : 0;

        (void)flock(directory, LOCK_UN);
        if (is_file_locked(directory))
                row(context, "warn", "maildrop", "a session is open, here or on another machine: "
                    "others get [IN-USE]");
        else if (error == EWOULDBLOCK)
                row(context, "warn", "maildrop", "process %d has a session open: others get "
                    "[IN-USE]", find_holder(directory));
        else if (error != 0)
                row(context, "warn", "maildrop", "the folder cannot be locked: %s\n"
                    "cause: this file system, or how it is mounted, has no locks: of two sessions "
                    "at once each sees the other's removals\n"
                    "remedy: mount it with locks (NFS: without nolock), or move the Maildir",
                    strerror(error));
}

/* By the system call itself, because the fences have no rule for the newer one that libc prefers. */
static bool
may(int directory, const char *name, int rights)
{
        return syscall(SYS_faccessat, directory, name, rights) == 0;
}

/* Opens the index, loads it if it is sound, and returns a word for its state. */
static const char *
load_index(struct maildrop *drop, const struct stamp stamps[FOLDERS])
{
        const char *state;

        index_open(drop);
        if (!index_is_unread(drop))
                return !may(drop->directory, INDEX_NAME, F_OK) ?
                    "not there yet" : "not usable, and will be made anew";
        state = drop_believes(drop, stamps) ? "current" :
            memcmp(stamps, drop->index.header.folders, FOLDERS * sizeof(*stamps)) == 0 ?
            "current, and the folders are read all the same" : "outdated";
        return drop_load(drop) == 0 ? state : "damaged, and will be made anew";
}

/*
 * The maildrop as a session would see it, or NULL. *index_state: see load_index(); if it is
 * NULL, as a session without an index and without pop3d.ids would.
 */
static struct maildrop *
read_as_session(int directory, const char *id_format, int index_seconds,
    const char **index_state)
{
        struct maildrop *drop = drop_create(directory, index_seconds);
        struct stamp stamps[FOLDERS];

        if (drop == NULL || folders_open(drop) != 0 || folders_stamp(drop, stamps) != 0)
                return NULL;
        drop->id_format = id_format;
        drop->is_only_looked_at = true;
        drop->is_as_if_new = index_state == NULL;
        if (index_state != NULL)
                *index_state = load_index(drop, stamps);
        return drop_read(drop) == 0 ? drop : NULL;
}

/* Says whether clients that knew another server before will take mail that they have for new. */
static void
check_unique_ids(const struct maildrop *drop, check_row row, void *context)
{
        char now[UNIQUE_ID_MAX], then[UNIQUE_ID_MAX];
        const struct maildrop *fresh;
        size_t differing = 0;

        if (!may(drop->directory, "dovecot-uidlist", R_OK) &&
            !may(drop->directory, "courierpop3dsizelist", R_OK))
                return;
        /* without our files: the unique-ids that the other server's list would give now */
        fresh = read_as_session(drop->directory, drop->id_format, 0, NULL);
        if (fresh == NULL || fresh->totals.count != drop->totals.count)
                return;
        for (size_t i = 0; i < drop->totals.count; i++) {
                size_t length = record_unique_id(&drop_records(drop)[i], drop->text.data, now);

                differing += record_unique_id(&drop_records(fresh)[i], fresh->text.data,
                    then) != length || memcmp(now, then, length) != 0;
        }
        row(context, differing == 0 ? "ok" : "warn", "maildrop",
            "the former server's list has %zu of these; %zu unique-ids are others now%s",
            fresh->totals.taken_over, differing, differing == 0 ? "" :
            "\ncause: pop3d had given its own before\n"
            "remedy: none, if clients have used it since; else remove pop3d.index and pop3d.ids "
            "once");
}

static void
check_readable(const struct maildrop *drop, const char *path, check_row row, void *context)
{
        size_t unreadable = 0;

        for (size_t i = 0; i < drop->totals.count; i++) {
                const struct record *record = &drop_records(drop)[i];

                unreadable += !may(record_folder(drop, record), record_name(drop, record), R_OK);
        }
        if (unreadable > 0)
                row(context, unreadable == drop->totals.count ? "fail" : "warn", "maildrop",
                    "%zu messages cannot be read\n"
                    "remedy: give them to uid %u (chown), and open them to it (chmod u+r): "
                    "chown -hR %u %s; setpriv --reuid=%u --clear-groups chmod -R u+rwX %s", unreadable, (unsigned)geteuid(),
                    (unsigned)geteuid(), path, (unsigned)geteuid(), path);
}

/* Whether a message begins as what a program made of it that is not to be served so. */
static const char *
packing_of(int folder, const char *name)
{
        static const struct {
                const char *start, *name;
        } known[] = { { "\037\213", "gzip" }, { "BZh", "bzip2" }, { "\375" "7zXZ", "xz" },
                { "\050\265\057\375", "zstd" }, { "Dovecot-LZ4", "lz4" }, { "CRYPTED", "mail_crypt" } };
        char start[16] = "";
        int fd = open_file(folder, name);

        if (fd < 0 || read(fd, start, sizeof(start) - 1) < 0)
                start[0] = '\0';
        if (fd >= 0)
                (void)close(fd);
        for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
                if (strncmp(start, known[i].start, strlen(known[i].start)) == 0)
                        return known[i].name;
        return NULL;
}

/* Looks at some messages, the oldest and the youngest: a server that packs them packs most. */
static void
check_packed(const struct maildrop *drop, check_row row, void *context)
{
        size_t packed = 0, looked_at = 0;
        const char *how = NULL;

        for (size_t i = 0; i < drop->totals.count; i++) {
                const struct record *record = &drop_records(drop)[i];
                const char *found;

                if (i >= PACKED_SAMPLE && i + PACKED_SAMPLE < drop->totals.count)
                        continue;
                found = packing_of(record_folder(drop, record), record_name(drop, record));
                looked_at++;
                packed += found != NULL;
                how = found != NULL ? found : how;
        }
        if (how != NULL)
                row(context, "warn", "maildrop", "of %zu messages looked at %zu are packed (%s): "
                    "clients get them so\ncause: another server stored them so; pop3d sends what "
                    "is in the file\nremedy: switch that off there, and unpack them (%s)", looked_at,
                    packed, how, strcmp(how, "mail_crypt") == 0 || strcmp(how, "lz4") == 0
                    ? "doveadm sync to a new Maildir" : "each by that program, under its own name");
}

/* The row of a maildrop that cannot be read; mostly it is a list that somebody else has made. */
static void
report_reading(int directory, const char *path, int error, check_row row, void *context)
{
        static const char *const lists[] = { INDEX_NAME, "pop3d.ids", "dovecot-uidlist",
                "courierpop3dsizelist" };

        for (size_t i = 0; error == EACCES && i < sizeof(lists) / sizeof(lists[0]); i++)
                if (may(directory, lists[i], F_OK) && !may(directory, lists[i], R_OK)) {
                        row(context, "fail", "maildrop", "%s/%s: %s\n"
                            "cause: clients' unique-ids are in it, so nothing is served without it\n"
                            "remedy: chown %u %s/%s; chmod u+rw %s/%s", path, lists[i],
                            strerror(error), (unsigned)geteuid(), path, lists[i], path, lists[i]);
                        return;
                }
        row(context, "fail", "maildrop", "%s: %s while reading", path, strerror(error));
}

void
maildir_check_place(const char *path, const struct maildir_names *names, int index_seconds,
    bool by_root, check_row row, void *context)
{
        struct stat status = { .st_mode = 0 };
        bool is_private;
        int directory;

        if (!way_check(path, names, by_root, row, context))
                return;
        directory = maildir_open(path);
        (void)fstat(directory, &status);
        is_private = maildir_is_private(&status);
        check_file_system(directory, index_seconds, is_private, row, context);
        check_lock(directory, is_private, row, context);
}

void
maildir_check_mail(int directory, const char *path, const char *id_format, int index_seconds,
    check_row row, void *context)
{
        const char *index_state;
        const struct maildrop *drop = read_as_session(directory, id_format, index_seconds,
            &index_state);

        if (drop == NULL) {
                report_reading(directory, path, errno, row, context);
                return;
        }
        row(context, "ok", "maildrop", "%s: %zu messages, %" PRIu64 " octets; the index is %s",
            path, drop->totals.count, drop->totals.octets, index_state);
        check_readable(drop, path, row, context);
        check_packed(drop, row, context);
        check_unique_ids(drop, row, context);
}
