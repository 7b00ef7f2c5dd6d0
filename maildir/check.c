/*
 * check.c - says what is wrong with a Maildir (-c), and changes nothing in it.
 * Runs in:   a child of pop3d -c, as the mail user.
 * May touch: the Maildir, the folders above it and /proc/locks, for reading.
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

/* Whether a part of the path will do for a session; a row says what else is wrong with it. */
static bool
check_part(const char *part, int needed, int wanted, check_row row, void *context)
{
        struct stat status = { 0 };
        int error = stat(part, &status) != 0 ? errno : !S_ISDIR(status.st_mode) ? ENOTDIR
            : access(part, wanted) != 0 ? errno : 0;
        bool will_do = needed == 0 || (error != ENOTDIR && access(part, needed) == 0);
        const char *state = will_do ? "warn" : "fail", *but = will_do
            ? "; logins work, but delivery, removal or the index does not" : "";

        if (error == ENOTDIR)
                row(context, state, "maildrop", "%s is no folder%s\ncause: an mbox file is not read\n"
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
        /* tmp, the last, no session needs */
        for (size_t i = 0; i < 4 && is_good; i++) {
                (void)snprintf(part, sizeof(part), "%s%s", path, folders[i]);
                is_good = check_part(part, i < 3 ? R_OK | X_OK : 0, R_OK | W_OK | X_OK, row,
                    context);
        }
        return is_good;
}

/* Nothing is lost on a full disk but speed; on one that cannot be written to, deletions are. */
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

/* Another session's lock, and whose it is. */
static bool
check_lock(int directory, check_row row, void *context)
{
        struct stat status = { 0 };
        char line[256], wanted[32];
        FILE *locks;
        int holder = 0;

        if (flock(directory, LOCK_SH | LOCK_NB) == 0 || errno != EWOULDBLOCK)
                return flock(directory, LOCK_UN), true;
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

/* The maildrop as a session would see it; the index that it would write goes nowhere. */
static struct maildrop *
scan(int directory, const char **index)
{
        struct maildrop *drop = drop_begin(directory);
        struct stamp stamps[FOLDERS];

        if (drop == NULL || drop_open_folders(drop) != 0 || drop_stamps(drop, stamps) != 0)
                return NULL;
        drop->next_index = open("/dev/null", O_WRONLY | O_CLOEXEC);
        if (index != NULL) {
                index_open(drop);
                *index = drop->index < 0 ? faccessat(directory, INDEX_NAME, F_OK, 0) != 0 ?
                    "not there yet" : "not usable, and will be made anew" :
                    memcmp(stamps, drop->header.folders, sizeof(stamps)) != 0 ? "outdated" :
                    "current";
                if (drop->index >= 0 && index_load(drop) != 0)
                        *index = "damaged, and will be made anew";
        }
        return drop_scan(drop) == 0 ? drop : NULL;
}

/* Whether clients that knew a former server will take all mail for new. */
static void
check_unique_ids(const struct maildrop *drop, check_row row, void *context)
{
        char now[UNIQUE_ID_MAX], then[UNIQUE_ID_MAX];
        const struct maildrop *fresh;
        size_t differing = 0;

        if (faccessat(drop->directory, "dovecot-uidlist", R_OK, 0) != 0 &&
            faccessat(drop->directory, "courierpop3dsizelist", R_OK, 0) != 0)
                return;
        /* what would be, if this were the first session after the former server's last */
        fresh = scan(drop->directory, NULL);
        if (fresh == NULL || fresh->count != drop->count)
                return;
        for (size_t i = 1; i <= drop->count; i++) {
                size_t length = maildrop_unique_id(drop, i, now);

                differing += maildrop_unique_id(fresh, i, then) != length ||
                    memcmp(now, then, length) != 0;
        }
        row(context, differing == 0 ? "ok" : "warn", "maildrop",
            "the former server's list has %zu of these; %zu unique-ids are others now%s",
            fresh->taken_over, differing, differing == 0 ? "" :
            "\ncause: pop3d had given its own before\n"
            "remedy: none, if clients have used it since; else remove pop3d.index once");
}

void
maildir_check(const char *path, check_row row, void *context)
{
        const struct maildrop *drop;
        const char *index;
        int directory;
        size_t unreadable = 0;

        if (!check_path(path, row, context))
                return;
        check_file_system(path, row, context);
        directory = maildir_open(path);
        if (!check_lock(directory, row, context))
                return;
        drop = scan(directory, &index);
        if (drop == NULL) {
                row(context, "fail", "maildrop", "%s: %s while reading", path, strerror(errno));
                return;
        }
        row(context, "ok", "maildrop", "%s: %zu messages, %" PRIu64 " octets; the index is %s",
            path, drop->count, drop->octets, index);
        for (size_t i = 0; i < drop->count; i++)
                unreadable += faccessat(record_folder(drop, &drop_records(drop)[i]),
                    record_name(drop, &drop_records(drop)[i]), R_OK, 0) != 0;
        if (unreadable > 0)
                row(context, "warn", "maildrop", "%zu messages cannot be read\n"
                    "remedy: give them to uid %u (chown), and open them to it (chmod u+r)", unreadable,
                    (unsigned)geteuid());
        check_unique_ids(drop, row, context);
}
