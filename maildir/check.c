/*
 * check.c - says what is wrong with a Maildir (-c), and changes nothing in it.
 * Runs in:   a child of pop3d -c, as the mail user; not in a session.
 * May touch: the Maildir, the folders above it and /proc/locks, for reading.
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
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "internal.h"

/*
 * Checks a part of the path. needed: the access(2) rights that a session must have there,
 * wanted: those that it should have. Returns whether it has those that are needed; a row says
 * what is wrong, and is a warning if only a wanted right is missing.
 */
static bool
check_part(const char *part, int needed, int wanted, check_row row, void *context)
{
        struct stat status = { 0 };
        const char *state, *but;
        int error = 0;
        bool will_do;

        if (stat(part, &status) != 0 || (S_ISDIR(status.st_mode) && access(part, wanted) != 0))
                error = errno;
        else if (!S_ISDIR(status.st_mode))
                error = ENOTDIR;
        will_do = needed == 0 || (error != ENOTDIR && access(part, needed) == 0);
        state = will_do ? "warn" : "fail";
        but = will_do ? "; logins work, but delivery, removal or the index does not" : "";
        if (error == ENOTDIR)
                row(context, state, "maildrop", "%s is no folder%s\n"
                    "cause: an mbox file is not read\n"
                    "remedy: convert it and deliver to a Maildir, or see -m", part, but);
        else if (error == ENOENT)
                row(context, state, "maildrop", "%s: %s%s\nremedy: create it as uid %u, or see -m",
                    part, strerror(error), but, (unsigned)geteuid());
        else if (error != 0 && error != EROFS)
                row(context, state, "maildrop", "%s: %s%s\n"
                    "cause: it belongs to uid %u, gid %u and has mode %04o; uid %u may not %s it\n"
                    "remedy: %s", part, strerror(error), but, (unsigned)status.st_uid,
                    (unsigned)status.st_gid, (unsigned)(status.st_mode & 07777),
                    (unsigned)geteuid(), will_do ? "change" : wanted == X_OK ? "pass" : "read",
                    wanted == X_OK ? "let that uid pass it (chmod, group)"
                    : "give it to that user (chown), or open it (chmod)");
        return will_do;
}

/* Checks the folders above the Maildir, then those in it; false if a session would fail. */
static bool
check_path(const char *path, check_row row, void *context)
{
        static const char *const folders[] = { "", "/new", "/cur", "/tmp" };
        char part[PATH_MAX + 8];
        bool is_good = true;

        for (size_t end = 1; end < strlen(path); end++)
                if (path[end] == '/') {
                        (void)snprintf(part, sizeof(part), "%.*s", (int)end, path);
                        if (!check_part(part, X_OK, X_OK, row, context))
                                return false;
                }
        /* a session does not need tmp/, the last one; delivery does */
        for (size_t i = 0; i < 4 && is_good; i++) {
                (void)snprintf(part, sizeof(part), "%s%s", path, folders[i]);
                is_good = check_part(part, i < 3 ? R_OK | X_OK : 0, R_OK | W_OK | X_OK, row,
                    context);
        }
        return is_good;
}

/* A warning, no failure: without the index a session is slow, but it serves all mail. */
static void
check_file_system(const char *path, check_row row, void *context)
{
        static const struct {
                uint32_t type;
                const char *name;
        } remote[] = { { 0x6969, "NFS" }, { 0xff534d42, "CIFS" }, { 0xfe534d42, "SMB" },
                { 0x65735546, "FUSE" }, { 0x00c36400, "Ceph" } };
        const char *kind = "local";
        struct statvfs space;
        struct statfs type;

        if (statvfs(path, &space) != 0 || statfs(path, &type) != 0)
                return;
        for (size_t i = 0; i < sizeof(remote) / sizeof(*remote); i++)
                if (remote[i].type == (uint32_t)type.f_type)
                        kind = remote[i].name;
        if (space.f_flag & ST_RDONLY)
                row(context, "warn", "maildrop", "the file system is read-only\n"
                    "cause: often an error on the disk; the kernel's log says so");
        else if (space.f_bavail == 0 || (space.f_files > 0 && space.f_favail == 0))
                row(context, "warn", "maildrop", "no %s left: the index cannot be kept",
                    space.f_bavail == 0 ? "space" : "inodes");
        else
                row(context, "ok", "maildrop", "a %s file system, %" PRIu64 " MiB free", kind,
                    (uint64_t)space.f_bavail * space.f_frsize >> 20);
}

/* Whether no session holds the lock; else a row says which process does. */
static bool
check_lock(int directory, check_row row, void *context)
{
        struct stat status = { 0 };
        char line[256], wanted[32];
        FILE *locks;
        int holder = 0;

        if (flock(directory, LOCK_SH | LOCK_NB) == 0 || errno != EWOULDBLOCK) {
                (void)flock(directory, LOCK_UN);
                return true;
        }
        locks = fopen("/proc/locks", "re");
        (void)fstat(directory, &status);
        (void)snprintf(wanted, sizeof(wanted), ":%ju ", (uintmax_t)status.st_ino);
        while (locks != NULL && fgets(line, sizeof(line), locks) != NULL)
                if (strstr(line, wanted) != NULL)
                        (void)sscanf(line, "%*s FLOCK %*s %*s %d", &holder);
        if (locks != NULL)
                (void)fclose(locks);
        row(context, "warn", "maildrop", "process %d has a session open: others get [IN-USE]",
            holder);
        return false;
}

/* Opens the index, loads it if it is sound, and returns a word for its state. */
static const char *
load_index(struct maildrop *drop, const struct stamp stamps[FOLDERS])
{
        const char *state;

        index_open(drop);
        if (!index_is_unread(drop))
                return faccessat(drop->directory, INDEX_NAME, F_OK, 0) != 0 ?
                    "not there yet" : "not usable, and will be made anew";
        state = memcmp(stamps, drop->index.header.folders, FOLDERS * sizeof(*stamps)) != 0 ?
            "outdated" : "current";
        return drop_load(drop) == 0 ? state : "damaged, and will be made anew";
}

/*
 * The maildrop as a session would see it, or NULL. *index_state: see load_index(); if it is
 * NULL, as a session without an index would. /dev/null stands for pop3d.index.new, so that
 * the index which would be written goes nowhere.
 */
static struct maildrop *
read_as_session(int directory, int index_seconds, const char **index_state)
{
        struct maildrop *drop = drop_create(directory, index_seconds);
        struct stamp stamps[FOLDERS];

        if (drop == NULL || folders_open(drop) != 0 || folders_stamp(drop, stamps) != 0)
                return NULL;
        drop->index.next = open("/dev/null", O_WRONLY | O_CLOEXEC);
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

        if (faccessat(drop->directory, "dovecot-uidlist", R_OK, 0) != 0 &&
            faccessat(drop->directory, "courierpop3dsizelist", R_OK, 0) != 0)
                return;
        /* without our index: the unique-ids that the other server's list would give now */
        fresh = read_as_session(drop->directory, 0, NULL);
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
            "remedy: none, if clients have used it since; else remove pop3d.index once");
}

static void
check_readable(const struct maildrop *drop, check_row row, void *context)
{
        size_t unreadable = 0;

        for (size_t i = 0; i < drop->totals.count; i++) {
                const struct record *record = &drop_records(drop)[i];

                unreadable += faccessat(record_folder(drop, record), record_name(drop, record),
                    R_OK, 0) != 0;
        }
        if (unreadable > 0)
                row(context, "warn", "maildrop", "%zu messages cannot be read\n"
                    "remedy: give them to uid %u (chown), and open them to it (chmod u+r)",
                    unreadable, (unsigned)geteuid());
}

void
maildir_check(const char *path, int index_seconds, check_row row, void *context)
{
        const struct maildrop *drop;
        const char *index_state;
        int directory;

        if (!check_path(path, row, context))
                return;
        check_file_system(path, row, context);
        directory = maildir_open(path);
        if (!check_lock(directory, row, context))
                return;
        drop = read_as_session(directory, index_seconds, &index_state);
        if (drop == NULL) {
                row(context, "fail", "maildrop", "%s: %s while reading", path, strerror(errno));
                return;
        }
        row(context, "ok", "maildrop", "%s: %zu messages, %" PRIu64 " octets; the index is %s",
            path, drop->totals.count, drop->totals.octets, index_state);
        check_readable(drop, row, context);
        check_unique_ids(drop, row, context);
}
