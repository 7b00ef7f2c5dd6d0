/*
 * maildrop.c - one session with one Maildir: opened, marked.
 * Runs in:   the TRANSACTION process, as the mail user.
 * May touch: the Maildir given to maildrop_open(), and nothing else.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "internal.h"

/* Opening and closing */

/*
 * Whether a user may be served another's Maildir: only if he may write in cur/, or read a message,
 * or if there is none. The right to list the folders, which a Maildir of mode 0755 gives
 * everybody, is not a right to learn unique-ids and sizes, or to keep the owner out.
 */
static bool
may_be_served(struct maildrop *drop)
{
        int fd = -1;

        /* not faccessat(3), for which a C library may make a newer system call, which has no rule */
        if (drop->directory < 0 || drop->owner == geteuid() ||
            syscall(SYS_faccessat, drop->folders[FOLDER_CUR], ".", W_OK | X_OK) == 0)
                return true;
        if (maildrop_load(drop, &drop->part) != 0)
                return false;
        for (size_t i = 0; i < drop_length(drop) && fd < 0; i++)
                fd = open_file(record_folder(drop, drop_records(drop) + i),
                    record_name(drop, drop_records(drop) + i));
        if (fd >= 0)
                close(fd);
        drop->part = folder_parts[FOLDER_CUR];
        errno = EACCES;
        return fd >= 0 || drop_length(drop) == 0;
}

struct maildrop *
maildrop_open(int directory, const char *id_format, unsigned lock_milliseconds,
    int index_seconds, const char **part)
{
        struct maildrop *drop = drop_create(directory, index_seconds);
        bool is_locked;
        int error;

        *part = "";
        if (drop == NULL) {
                close(directory);
                errno = ENOMEM;
                return NULL;
        }
        drop->id_format = id_format;
        is_locked = directory < 0 || drop_lock(drop, lock_milliseconds) == 0;
        if (is_locked && (directory < 0 || drop_fix(drop) == 0)) {
                drop->totals.total = drop->totals.count;
                if (may_be_served(drop))
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
maildrop_load(struct maildrop *drop, const char **part)
{
        struct maildrop_totals *totals = &drop->totals;
        const uint64_t octets = totals->octets;
        int result;

        if (!index_is_unread(drop))
                return 0;
        result = drop_load(drop) == 0 ? ids_keep(drop) : -1;
        if (result != 0 && errno == DAMAGED) {
                /*
                 * Its header was believed, its records are damaged. It goes now: it would mislead
                 * the next session as well, if this one has no room on the disk for another.
                 */
                unlinkat(drop->directory, INDEX_NAME, 0);
                result = drop_read(drop);
        }
        *part = drop->part;
        if (result != 0 || (totals->count == totals->total && totals->octets == octets))
                return result;
        totals->total = totals->count;
        *part = "/" INDEX_NAME;
        errno = ESTALE;
        return -1;
}

bool
maildrop_ids_are_kept(const struct maildrop *drop)
{
        errno = drop->keep_error;
        return !drop->has_list || drop->keep_error == 0;
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
        uint32_t at = (uint32_t)number - 1;

        record->flags |= DELETED;
        drop->totals.count--;
        totals_take(drop, record->octets);
        /* if this fails maildrop_reset() does without */
        (void)area_append(&drop->marks, &at, sizeof(at));
}

static void
take_mark_back(struct maildrop *drop, size_t at)
{
        struct record *record = drop_records(drop) + at;

        if (record->flags & DELETED)
                totals_add(drop, record->octets);
        record->flags &= (uint8_t)~DELETED;
}

void
maildrop_reset(struct maildrop *drop)
{
        size_t marked = drop->totals.total - drop->totals.count;
        const uint32_t *marks = (const void *)drop->marks.data;

        /* where memory did not suffice to remember each mark, all messages are looked at */
        if (drop->marks.used == marked * sizeof(*marks))
                for (size_t i = 0; i < marked; i++)
                        take_mark_back(drop, marks[i]);
        else
                for (size_t i = 0; i < drop_length(drop); i++)
                        take_mark_back(drop, i);
        drop->totals.count = drop->totals.total;
        drop->marks.used = 0;
}

void
maildrop_close(struct maildrop *drop)
{
        const int descriptors[] = { drop->index.file, drop->folders[FOLDER_NEW],
            drop->folders[FOLDER_CUR], drop->directory, drop->lock };
        struct area *const areas[] = { &drop->records, &drop->text, &drop->marks, &drop->sent,
            &drop->search.strays, &drop->search.marked, &drop->search.text,
            &drop->search.copies };

        /* base names that changed in the session have their places in the order now */
        if (drop->is_disordered && drop_sort(drop) != 0)
                drop->index_is_due = drop->search.is_other_list = false;
        index_write(drop);
        for (size_t i = 0; i < sizeof(descriptors) / sizeof(*descriptors); i++)
                if (descriptors[i] >= 0)
                        close(descriptors[i]);
        for (size_t i = 0; i < sizeof(areas) / sizeof(*areas); i++)
                area_free(areas[i]);
        free(drop);
}
