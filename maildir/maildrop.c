/*
 * maildrop.c - one session with one Maildir: locked, opened, marked, updated.
 * Runs in:   the TRANSACTION process, as the mail user.
 * May touch: the Maildir given to maildrop_open(), and nothing else.
 */
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "internal.h"

enum { LOCK_PAUSE = 50 };       /* milliseconds between attempts to lock */

/* Opening and closing */

/*
 * Locks the directory, which needs no file, and lasts as long as its holder. Some file
 * systems lock no descriptor that is open for reading only, and a directory has no other:
 * there pop3d.lock is locked, which is then created, and is never removed.
 */
static int
wait_for_lock(struct maildrop *drop, unsigned milliseconds)
{
        static const struct timespec pause = { .tv_nsec = LOCK_PAUSE * 1000000L };
        int fd = drop->directory;

        for (unsigned waited = 0; RETRY(flock(fd, LOCK_EX | LOCK_NB)) != 0;) {
                if (errno == EWOULDBLOCK && waited < milliseconds) {
                        clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
                        waited += LOCK_PAUSE;
                        continue;
                }
                if (errno == EWOULDBLOCK || drop->lock >= 0)
                        return -1;
                fd = drop->lock = openat(drop->directory, "pop3d.lock",
                    O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
                if (fd < 0)
                        return -1;
        }
        return 0;
}

struct maildrop *
maildrop_open(int directory, unsigned lock_milliseconds, const char **part)
{
        struct maildrop *drop = drop_create(directory);
        bool is_locked;
        int error;

        *part = "";
        if (drop == NULL) {
                close(directory);
                errno = ENOMEM;
                return NULL;
        }
        is_locked = directory < 0 || wait_for_lock(drop, lock_milliseconds) == 0;
        if (is_locked && (directory < 0 || drop_fix(drop) == 0)) {
                drop->totals.total = drop->totals.count;
                return drop;
        }
        /* EWOULDBLOCK means to our callers that another session holds the lock */
        error = is_locked && errno == EWOULDBLOCK ? EIO : errno;
        *part = drop->part;
        maildrop_close(drop);
        errno = error;
        return NULL;
}

int
maildrop_load(struct maildrop *drop)
{
        struct maildrop_totals *totals = &drop->totals;
        uint64_t octets = totals->octets;

        if (!index_is_unread(drop) || drop_load(drop) == 0)
                return 0;
        if (errno != ESTALE)
                return -1;
        /*
         * Its header was believed, its records are damaged. It goes now: it would mislead the
         * next session as well, if this one has no room on the disk for another.
         */
        unlinkat(drop->directory, INDEX_NAME, 0);
        if (drop_read(drop) != 0)
                return -1;
        if (totals->count == totals->total && totals->octets == octets)
                return 0;
        totals->total = totals->count;
        errno = ESTALE;
        return -1;
}

const struct maildrop_totals *
maildrop_totals(const struct maildrop *drop)
{
        return &drop->totals;
}

/* Marks */

bool
maildrop_has(const struct maildrop *drop, size_t number)
{
        return number >= 1 && number <= drop_length(drop) &&
            (drop_records(drop)[number - 1].flags & DELETED) == 0;
}

uint64_t
maildrop_message_octets(const struct maildrop *drop, size_t number)
{
        return drop_records(drop)[number - 1].octets;
}

size_t
maildrop_unique_id(const struct maildrop *drop, size_t number, char id[UNIQUE_ID_MAX])
{
        return record_unique_id(drop_records(drop) + number - 1, drop->text.data, id);
}

void
maildrop_delete(struct maildrop *drop, size_t number)
{
        struct record *record = drop_records(drop) + number - 1;

        record->flags |= DELETED;
        drop->totals.count--;
        drop->totals.octets -= record->octets;
}

void
maildrop_reset(struct maildrop *drop)
{
        drop->totals.count = drop->totals.total;
        for (size_t i = 0; i < drop_length(drop); i++) {
                struct record *record = drop_records(drop) + i;

                if (record->flags & DELETED)
                        drop->totals.octets += record->octets;
                record->flags &= (uint8_t)~DELETED;
        }
}

/* UPDATE */

/* Removes each marked message where it was last seen. Returns how many were not there. */
static size_t
remove_marked(struct maildrop *drop, int *error)
{
        size_t missing = 0;

        for (size_t i = 0; i < drop_length(drop); i++) {
                struct record *record = drop_records(drop) + i;

                if ((record->flags & (DELETED | REMOVED)) != DELETED)
                        continue;
                if (unlinkat(record_folder(drop, record), record_name(drop, record), 0) == 0)
                        record->flags |= REMOVED;
                else if (errno == ENOENT)
                        missing++;
                else
                        *error = errno;
        }
        return missing;
}

/*
 * Removes the marked messages. While some are not where they were last seen, because another
 * program renamed or removed them, the folders are searched: what is found there is
 * removed in the next round, and what is not counts as removed.
 */
static void
remove_all(struct maildrop *drop, int *error)
{
        for (int tries = 0; remove_marked(drop, error) > 0; tries++) {
                if (tries == ATTEMPTS) {
                        *error = EAGAIN;
                        return;
                }
                if (folders_search(drop) != 0) {
                        *error = errno;
                        return;
                }
                for (size_t i = 0; i < drop_length(drop); i++)
                        if ((drop_records(drop)[i].flags & (DELETED | SEEN)) == DELETED)
                                drop_records(drop)[i].flags |= REMOVED;
        }
}

/* Moves a message from new/ to cur/, with the S flag. It does no harm if that fails. */
static void
move_to_cur(struct maildrop *drop, const struct record *record)
{
        char name[NAME_LIMIT + sizeof(":2,S")], *info = name + record->base_length;
        const char *old = record_name(drop, record);
        int from = drop->folders[FOLDER_NEW], to = drop->folders[FOLDER_CUR];

        memcpy(name, old, record->name_length + (size_t)1);
        if (strncmp(info, ":2,", 3) != 0)
                memcpy(info, ":2,S", sizeof(":2,S"));
        else if (strchr(info, 'S') == NULL)
                memcpy(name + record->name_length, "S", sizeof("S"));
        /* some file systems lack RENAME_NOREPLACE; a second link replaces no file either */
        if (syscall(SYS_renameat2, from, old, to, name, RENAME_NOREPLACE) != 0 &&
            (errno == ENOSYS || errno == EINVAL) && linkat(from, old, to, name, 0) == 0)
                unlinkat(from, old, 0);
}

void
maildrop_update(struct maildrop *drop, struct maildrop_update *result)
{
        bool is_changed[FOLDERS] = { false, false };

        *result = (struct maildrop_update){ 0 };
        remove_all(drop, &result->error);
        for (size_t i = 0; i < drop_length(drop); i++) {
                const struct record *record = drop_records(drop) + i;

                if ((record->flags & (DELETED | RETRIEVED | IN_CUR)) == RETRIEVED)
                        move_to_cur(drop, record);
                result->marked += (record->flags & DELETED) != 0;
                result->remaining += (record->flags & (DELETED | REMOVED)) == DELETED;
                is_changed[record->flags & IN_CUR] |= (record->flags & REMOVED) != 0;
        }
        /* with these errors the file system says that it does not sync directories at all */
        for (int folder = 0; folder < FOLDERS; folder++)
                if (is_changed[folder] && RETRY(fsync(drop->folders[folder])) != 0 &&
                    errno != EINVAL && errno != EROFS && errno != ENOTSUP)
                        result->error = errno;
}

void
maildrop_close(struct maildrop *drop)
{
        const int descriptors[] = { drop->index.file, drop->folders[FOLDER_NEW],
            drop->folders[FOLDER_CUR], drop->directory, drop->lock };

        index_write(drop);
        for (size_t i = 0; i < sizeof(descriptors) / sizeof(*descriptors); i++)
                if (descriptors[i] >= 0)
                        close(descriptors[i]);
        area_free(&drop->records);
        area_free(&drop->text);
        free(drop);
}
