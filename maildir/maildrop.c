/*
 * maildrop.c - the numbered snapshot of one Maildir: opened, marked, updated.
 * Runs in:   the TRANSACTION process, as the mail user.
 * May touch: the Maildir given to maildrop_open(), and nothing else.
 */
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "internal.h"

enum { LOCK_PAUSE = 50 };       /* milliseconds between attempts to lock */

const char *const folder_parts[FOLDERS] = { "/new", "/cur" };

/* Not malloc(), which keeps what is freed: a session lasts longer than its largest array. */
int
area_reserve(struct area *area, size_t more)
{
        size_t size = area->size > 0 ? area->size : 4096;
        void *data;

        while (size - area->used < more && size <= SIZE_MAX / 4)
                size *= 2;
        if (size == area->size)
                return 0;
        data = area->data != NULL ? mremap(area->data, area->size, size, MREMAP_MAYMOVE) :
            mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (data == MAP_FAILED)
                return -1;
        area->data = data;
        area->size = size;
        return 0;
}

void
area_free(struct area *area)
{
        if (area->data != NULL)
                munmap(area->data, area->size);
        *area = (struct area){ 0 };
}

int
text_append(struct area *text, const char *octets, size_t length, uint32_t *place)
{
        if (text->used > UINT32_MAX - length) {
                errno = EOVERFLOW;
                return -1;
        }
        if (area_reserve(text, length + 1) != 0)
                return -1;
        *place = (uint32_t)text->used;
        memcpy(text->data + text->used, octets, length);
        text->used += length;
        text->data[text->used++] = '\0';
        return 0;
}

static int
open_below(int directory, const char *path, int flags)
{
        return (int)RETRY(openat(directory, path, O_RDONLY | O_CLOEXEC | flags));
}

int
open_file(int directory, const char *name)
{
        return open_below(directory, name, O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
}

int
open_list(const struct maildrop *drop, const char *name, struct stat *status)
{
        int fd = open_file(drop->directory, name), error = ENOENT;

        if (fd < 0) {
                errno = errno == EACCES || errno == ELOOP || errno == ENXIO ? ENOENT : errno;
                return -1;
        }
        if (fstat(fd, status) != 0)
                error = EIO;
        else if (S_ISREG(status->st_mode) && (status->st_mode & S_IWOTH) == 0 &&
            (status->st_uid == geteuid() || status->st_uid == drop->owner || status->st_uid == 0))
                return fd;
        close(fd);
        errno = error;
        return -1;
}

int
maildir_open(const char *path)
{
        int directory = open_below(AT_FDCWD, path, O_DIRECTORY);

        if (directory < 0 && errno == EWOULDBLOCK)
                errno = EIO;    /* the lock alone means another session */
        return directory;
}

RARE bool
maildir_is_not_yet_there(const char *path, uid_t uid)
{
        char own[PATH_MAX];
        size_t length = strlen(path);
        struct stat status;

        /* With a slash behind its name, lstat() would follow a link. */
        while (length > 1 && path[length - 1] == '/')
                length--;
        return snprintf(own, sizeof(own), "%.*s", (int)length, path) < (int)sizeof(own) &&
            lstat(own, &status) != 0 && errno == ENOENT && stat(dirname(own), &status) == 0 &&
            S_ISDIR(status.st_mode) && status.st_uid == uid;
}

/*
 * A lock on the directory needs no file, and dies with its holder. Some file
 * systems lock no read-only descriptor, and a directory has no other: there a
 * file of ours is locked, and stays.
 */
RARE static int
lock_wait(struct maildrop *drop, unsigned milliseconds)
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
drop_begin(int directory)
{
        struct maildrop *drop = calloc(1, sizeof(*drop));

        if (drop == NULL)
                return NULL;
        drop->directory = directory;
        drop->lock = drop->index = drop->next_index = -1;
        drop->folders[FOLDER_NEW] = drop->folders[FOLDER_CUR] = -1;
        drop->part = "";
        return drop;
}

int
drop_open_folders(struct maildrop *drop)
{
        struct stat status;

        if (fstat(drop->directory, &status) != 0)
                return -1;
        drop->owner = status.st_uid;
        for (int folder = 0; folder < FOLDERS; folder++) {
                drop->part = folder_parts[folder];
                drop->folders[folder] = open_below(drop->directory, drop->part + 1,
                    O_DIRECTORY | O_NOFOLLOW);
                if (drop->folders[folder] < 0)
                        return -1;
        }
        return 0;
}

/* Fixes what the session will see. While the folders are as the index says, nothing is read. */
static int
fix(struct maildrop *drop)
{
        struct stamp now[FOLDERS];

        if (drop_open_folders(drop) != 0 || index_open(drop) != 0)
                return -1;
        if (drop->index >= 0 && drop_stamps(drop, now) == 0 &&
            memcmp(now, drop->header.folders, sizeof(now)) == 0) {
                drop->count = drop->header.count;
                drop->octets = drop->header.octets;
                return 0;
        }
        if (drop->index >= 0 && index_load(drop) != 0 && errno != ESTALE)
                return -1;
        drop->part = "";
        return drop_scan(drop);
}

struct maildrop *
maildrop_open(int directory, unsigned lock_milliseconds, const char **part)
{
        struct maildrop *drop = drop_begin(directory);
        bool is_locked;
        int error;

        *part = "";
        if (drop == NULL) {
                close(directory);
                errno = ENOMEM;
                return NULL;
        }
        is_locked = directory < 0 || lock_wait(drop, lock_milliseconds) == 0;
        if (is_locked && (directory < 0 || fix(drop) == 0)) {
                drop->last = drop->count;
                return drop;
        }
        /* of all that can fail, the lock alone means another session */
        error = is_locked && errno == EWOULDBLOCK ? EIO : errno;
        *part = drop->part;
        maildrop_close(drop);
        errno = error;
        return NULL;
}

int
maildrop_load(struct maildrop *drop)
{
        uint64_t octets = drop->octets;

        if (drop->index < 0 || index_load(drop) == 0)
                return 0;
        if (errno != ESTALE)
                return -1;
        /* It must not mislead the next session too, should there be no room for another. */
        unlinkat(drop->directory, INDEX_NAME, 0);
        if (drop_scan(drop) != 0)
                return -1;
        if (drop->count == drop->last && drop->octets == octets)
                return 0;
        drop->last = drop->count;
        errno = ESTALE;
        return -1;
}

size_t
maildrop_count(const struct maildrop *drop)
{
        return drop->count;
}

uint64_t
maildrop_octets(const struct maildrop *drop)
{
        return drop->octets;
}

size_t
maildrop_last(const struct maildrop *drop)
{
        return drop->last;
}

size_t
maildrop_taken_over(const struct maildrop *drop)
{
        return drop->taken_over;
}

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
        const struct record *record = drop_records(drop) + number - 1;
        size_t length = record->id_length != 0 ? record->id_length : record->base_length;

        memcpy(id, drop->text.data + (record->id_length != 0 ? record->id : record->name), length);
        return length;
}

void
maildrop_delete(struct maildrop *drop, size_t number)
{
        struct record *record = drop_records(drop) + number - 1;

        record->flags |= DELETED;
        drop->count--;
        drop->octets -= record->octets;
}

void
maildrop_reset(struct maildrop *drop)
{
        drop->count = drop->last;
        for (size_t i = 0; i < drop_length(drop); i++) {
                struct record *record = drop_records(drop) + i;

                drop->octets += record->flags & DELETED ? record->octets : 0;
                record->flags &= (uint8_t)~DELETED;
        }
}

/* Removes what is marked, where it was last seen; what was not found there is counted. */
RARE static size_t
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

/* The same wherever they are by now, and who is nowhere any more is removed as well. */
RARE static void
remove_all(struct maildrop *drop, int *error)
{
        for (int tries = 0; remove_marked(drop, error) > 0; tries++) {
                if (tries == ATTEMPTS || drop_search(drop) != 0) {
                        *error = tries == ATTEMPTS ? EAGAIN : errno;
                        return;
                }
                for (size_t i = 0; i < drop_length(drop); i++)
                        if ((drop_records(drop)[i].flags & (DELETED | SEEN)) == DELETED)
                                drop_records(drop)[i].flags |= REMOVED;
        }
}

/* Moves a message that was read to cur/, with the S flag. What fails here harms nothing. */
static void
record_move(struct maildrop *drop, const struct record *record)
{
        char name[NAME_LIMIT + sizeof(":2,S")], *info = name + record->base_length;
        const char *old = record_name(drop, record);
        int from = drop->folders[FOLDER_NEW], to = drop->folders[FOLDER_CUR];

        memcpy(name, old, record->name_length + (size_t)1);
        if (strncmp(info, ":2,", 3) != 0)
                strcpy(info, ":2,S");
        else if (strchr(info, 'S') == NULL)
                strcat(info, "S");
        /* Where the file system knows no such flag, a second link replaces nothing either. */
        if (syscall(SYS_renameat2, from, old, to, name, RENAME_NOREPLACE) != 0 &&
            (errno == ENOSYS || errno == EINVAL) && linkat(from, old, to, name, 0) == 0)
                unlinkat(from, old, 0);
}

RARE void
maildrop_update(struct maildrop *drop, struct maildrop_update *result)
{
        bool is_changed[FOLDERS] = { false, false };

        *result = (struct maildrop_update){ 0 };
        remove_all(drop, &result->error);
        for (size_t i = 0; i < drop_length(drop); i++) {
                const struct record *record = drop_records(drop) + i;

                if ((record->flags & (DELETED | RETRIEVED | IN_CUR)) == RETRIEVED)
                        record_move(drop, record);
                result->marked += (record->flags & DELETED) != 0;
                result->remaining += (record->flags & (DELETED | REMOVED)) == DELETED;
                is_changed[record->flags & IN_CUR] |= (record->flags & REMOVED) != 0;
        }
        /* A file system that cannot sync a directory is not one that failed to. */
        for (int folder = 0; folder < FOLDERS; folder++)
                if (is_changed[folder] && RETRY(fsync(drop->folders[folder])) != 0 &&
                    errno != EINVAL && errno != EROFS && errno != ENOTSUP)
                        result->error = errno;
}

void
maildrop_close(struct maildrop *drop)
{
        const int descriptors[] = { drop->index, drop->folders[FOLDER_NEW],
            drop->folders[FOLDER_CUR], drop->directory, drop->lock };

        index_write(drop);
        for (size_t i = 0; i < sizeof(descriptors) / sizeof(*descriptors); i++)
                if (descriptors[i] >= 0)
                        close(descriptors[i]);
        area_free(&drop->records);
        area_free(&drop->text);
        free(drop);
}
