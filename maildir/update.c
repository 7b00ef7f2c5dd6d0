/*
 * update.c - what QUIT does to the Maildir (RFC 1939 section 6, UPDATE).
 * Runs in:   the TRANSACTION process, as the mail user.
 * May touch: new/, cur/ and tmp/ of the Maildir, and maildirsize in it.
 *
 * Which file is removed for a marked message
 * ------------------------------------------
 * 1. What RETR sent is removed only if the file still has that content (record_fits()):
 *    another program may have written something else there that nobody has seen yet.
 * 2. A message that was not sent goes by its name; one that has namesakes, or whose content
 *    does not fit, by its inode number as well, for files may have exchanged their names.
 * 3. A message that is not where it was is looked for (search.c). It counts as removed only
 *    if no file in either folder can be it.
 * 4. A file may have several names: hard links, or a move that another program, or an older
 *    pop3d, made by link() and unlink() and did not finish. So if the file that lost a name
 *    has more of them, the folders are searched for those.
 * 5. On a file system that other machines use, too, this one may remember for a moment what a name
 *    was, and a removal can succeed though the file got another name elsewhere (seen with GlusterFS,
 *    distributed). There a message counts as removed when a search does not meet it any more.
 */
#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "internal.h"

struct update {
        struct maildrop *drop;
        bool is_changed[FOLDERS];       /* a file was removed there */
        size_t open;            /* what only a search of the folders can tell */
        int error;              /* of the last failure to remove a message */
        bool lacks_flag;        /* the file system does not know RENAME_NOREPLACE */
};

/* Removing */

/*
 * Whether a file is the one that a marked message has. is_met: a search has just met it, and
 * found that it is.
 */
static bool
is_right_file(struct maildrop *drop, const struct record *record, const char *name,
    const struct stat *status, bool is_met, bool fits)
{
        return is_met || is_file_of(record, status, name) ||
            (fits && !record_has_namesake(drop, record));
}

/* Removes one name of a marked message. The message is REMOVED if that is known to be the last one. */
static void
remove_name(struct update *update, struct record *record, int folder, const char *name,
    bool is_met)
{
        struct maildrop *drop = update->drop;
        struct stat status;
        bool is_there = fstatat(drop->folders[folder], name, &status, AT_SYMLINK_NOFOLLOW) == 0;
        bool fits = is_there && record_fits(drop, record, folder, name, &status);

        if (is_there && !is_right_file(drop, record, name, &status, is_met, fits)) {
                update->open++;
        } else if (is_there && !fits) {
                update->error = ESTALE;
        } else if (!is_there || unlinkat(drop->folders[folder], name, 0) != 0) {
                if (errno == ENOENT)
                        update->open++;
                else
                        update->error = errno;
        } else {
                update->is_changed[folder] = true;
                if (status.st_nlink > 1 || !drop->kind->is_local)
                        update->open++;
                else
                        record->flags |= REMOVED;
        }
}

/*
 * Searches the folders, and removes what it meets of the marked messages. What was met
 * last is removed first: a file that was renamed during the search was met twice.
 */
static int
search_and_remove(struct update *update)
{
        struct maildrop *drop = update->drop;
        const struct record *met;

        if (search_anew(drop) != 0)
                return -1;
        for (size_t i = 0; i < drop_length(drop); i++) {
                struct record *record = drop_records(drop) + i;

                if ((record->flags & (DELETED | REMOVED | SEEN)) != DELETED)
                        continue;
                if (search_has_stray(drop, record))
                        update->error = ESTALE;
                else
                        record->flags |= REMOVED;
        }
        met = (const void *)drop->search.marked.data;
        for (size_t i = drop->search.marked.used / sizeof(*met); i-- > 0;) {
                struct record *record = drop_records(drop) + met[i].id;

                if ((record->flags & REMOVED) == 0)
                        remove_name(update, record, met[i].flags & IN_CUR,
                            drop->search.text.data + met[i].name, true);
        }
        return 0;
}

static void
remove_marked(struct update *update)
{
        struct maildrop *drop = update->drop;

        for (size_t i = 0; i < drop_length(drop); i++) {
                struct record *record = drop_records(drop) + i;

                if (record->flags & DELETED)
                        remove_name(update, record, record->flags & IN_CUR,
                            record_name(drop, record), false);
        }
        for (int tries = 0; update->open > 0; tries++) {
                update->open = 0;
                if (tries == ATTEMPTS)
                        update->error = EAGAIN;
                else if (search_and_remove(update) != 0)
                        update->error = errno;
        }
}

/* Moving */

/*
 * Moves a message from new/ to cur/, with the S flag. It does no harm if that fails. Some file
 * systems lack RENAME_NOREPLACE. There a look has to do, because link() and unlink() would
 * leave two names if the session were killed between them.
 */
static void
move_to_cur(struct update *update, const struct record *record)
{
        const struct maildrop *drop = update->drop;
        char name[NAME_LIMIT + sizeof(":2,S")], *info = name + record->base_length;
        const char *old = record_name(drop, record);
        int from = drop->folders[FOLDER_NEW], to = drop->folders[FOLDER_CUR];
        struct stat status;

        memcpy(name, old, record->name_length + (size_t)1);
        if (strncmp(info, ":2,", 3) != 0)
                memcpy(info, ":2,S", sizeof(":2,S"));
        else if (strchr(info, 'S') == NULL)
                memcpy(name + record->name_length, "S", sizeof("S"));
        if (!update->lacks_flag &&
            (syscall(SYS_renameat2, from, old, to, name, RENAME_NOREPLACE) == 0 ||
            (errno != ENOSYS && errno != EINVAL)))
                return;
        update->lacks_flag = true;
        if (fstatat(to, name, &status, AT_SYMLINK_NOFOLLOW) != 0 && errno == ENOENT)
                renameat(from, old, to, name);
}

/* Tidying up */

/* Whether a file has not been read, written or changed for as long as Maildir allows. */
static bool
is_left_over(const struct stat *status, uint64_t now)
{
        const uint64_t patience = UINT64_C(36) * 3600 * 1000000000;

        return S_ISREG(status->st_mode) && now > patience &&
            time_nanoseconds(&status->st_atim) < now - patience &&
            time_nanoseconds(&status->st_mtim) < now - patience &&
            time_nanoseconds(&status->st_ctim) < now - patience;
}

/*
 * Removes what deliveries that failed left in tmp/, as Maildir asks of readers: only where
 * the folders were read anyway, and with them the file system's clock.
 */
static void
tidy_tmp(struct maildrop *drop)
{
        int fd = drop->clock != 0 ? open_file(drop->directory, "tmp") : -1;
        struct stat status;
        long length;

        if (fd < 0)
                return;
        while ((length = syscall(SYS_getdents64, fd, drop->piece, PIECE_SIZE)) > 0)
                for (long at = 0; at < length;) {
                        const struct dirent64 *entry = (const void *)(drop->piece + at);

                        at += entry->d_reclen;
                        if (entry->d_name[0] != '.' && fstatat(fd, entry->d_name, &status,
                            AT_SYMLINK_NOFOLLOW) == 0 && is_left_over(&status, drop->clock))
                                unlinkat(fd, entry->d_name, 0);
                }
        close(fd);
}

/* The whole */

void
maildrop_update(struct maildrop *drop, struct maildrop_update *result)
{
        struct update update = { .drop = drop };

        *result = (struct maildrop_update){ 0 };
        if (drop->is_guest)
                update.error = EACCES;
        else
                remove_marked(&update);
        for (size_t i = 0; i < drop_length(drop); i++) {
                const struct record *record = drop_records(drop) + i;

                if (!drop->is_guest &&
                    (record->flags & (DELETED | RETRIEVED | IN_CUR)) == RETRIEVED)
                        move_to_cur(&update, record);
                result->marked += (record->flags & DELETED) != 0;
                result->remaining += (record->flags & (DELETED | REMOVED)) == DELETED;
        }
        if (result->remaining > 0)
                result->error = update.error;
        for (int folder = 0; folder < FOLDERS; folder++)
                if (update.is_changed[folder] && sync_to_disk(drop->folders[folder]) != 0)
                        result->error = errno;
        /* Maildir++ keeps its sum of all sizes here, and makes it anew where it is missing */
        if (update.is_changed[FOLDER_NEW] || update.is_changed[FOLDER_CUR])
                unlinkat(drop->directory, "maildirsize", 0);
        tidy_tmp(drop);
}
