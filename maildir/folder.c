/*
 * folder.c - reads new/ and cur/, and tells which file is which message.
 * Runs in:   the TRANSACTION process, as the mail user.
 * May touch: the folders of the Maildir, for reading.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "internal.h"

/* Which record a file belongs to */

/*
 * A hash table of the records. A slot is 0, or a record's file_hash in its upper half and
 * the record's number, counted from 1, in its lower half. At most half of the slots are taken.
 */
struct table {
        struct maildrop *drop;
        struct area slots;
        bool is_search;         /* see folders_read_again(): no record is added */
        struct stamp known[FOLDERS];    /* a folder that bears this one is not read; zero: none */
        bool is_known[FOLDERS];         /* it does */
};

static uint64_t *
slot_at(const struct table *table, uint64_t position)
{
        uint64_t *slots = (uint64_t *)(void *)table->slots.data;

        return slots + (position & (table->slots.size / sizeof(*slots) - 1));
}

/* A FUSE file system may tell no inode numbers. */
static bool
is_told(uint64_t inode)
{
        return inode != 0 && inode != UINT32_MAX;
}

uint32_t
hash_file(uint64_t inode, const char *name)
{
        /* the base name has to do; see find_untold() */
        if (!is_told(inode))
                inode = checksum(0, name, strcspn(name, ":"));
        return (uint32_t)(inode * UINT64_C(0x9e3779b97f4a7c15) >> 32);
}

static void
add_to_table(const struct table *table, size_t number)
{
        const uint64_t hash = drop_records(table->drop)[number - 1].file_hash;
        uint64_t at = hash;

        while (*slot_at(table, at) != 0)
                at++;
        *slot_at(table, at) = hash << 32 | number;
}

/* Makes room for more records, and makes the table large enough for all. */
static int
reserve_records(struct table *table, size_t more)
{
        size_t known = drop_length(table->drop), needed = (known + more) * 2 * sizeof(uint64_t);

        /* while a search runs, its caller has a pointer to a record: they must not move */
        if (!table->is_search &&
            area_reserve(&table->drop->records, more * sizeof(struct record)) != 0)
                return -1;
        if (needed <= table->slots.size)
                return 0;
        area_free(&table->slots);
        if (area_reserve(&table->slots, needed) != 0)
                return -1;
        /* huge pages, because the slots are met in no order */
        madvise(table->slots.data, table->slots.size, MADV_HUGEPAGE);
        for (size_t number = 1; number <= known; number++)
                add_to_table(table, number);
        return 0;
}

/* The next record with this hash, or NULL. *at is the slot to look at first, and moves on. */
static struct record *
next_with_hash(const struct table *table, uint32_t hash, uint64_t *at)
{
        uint64_t slot;

        while ((slot = *slot_at(table, (*at)++)) != 0)
                if (slot >> 32 == hash)
                        return drop_records(table->drop) + ((uint32_t)slot - 1);
        return NULL;
}

/* The record of a file, or NULL: that with the same inode and the same base name. */
static struct record *
find_record(const struct table *table, const char *name, size_t length, uint32_t hash)
{
        struct record *record;
        uint64_t at = hash;

        while ((record = next_with_hash(table, hash, &at)) != NULL)
                if (record->base_length <= length &&
                    memcmp(record_name(table->drop, record), name, record->base_length) == 0 &&
                    (name[record->base_length] == '\0' || name[record->base_length] == ':'))
                        return record;
        return NULL;
}

/*
 * The record of a file that was given another base name, or NULL: one with the same inode,
 * whose base name is the same up to the first comma. mbsync and OfflineIMAP append ",U=7" to
 * the base names of messages that they have met. Where the name that was met before is still
 * there, the other one is a hard link, which is a message of its own.
 */
static struct record *
find_renamed(const struct table *table, const char *name, uint32_t hash)
{
        struct maildrop *drop = table->drop;
        size_t length = strcspn(name, ",:");
        struct record *record;
        struct stat status;
        uint64_t at = hash;

        while (length > 0 && (record = next_with_hash(table, hash, &at)) != NULL) {
                const char *known = record_name(drop, record);

                if (strcspn(known, ",:") == length && memcmp(known, name, length) == 0 &&
                    ((record->flags & SEEN) == 0 || fstatat(record_folder(drop, record), known,
                    &status, AT_SYMLINK_NOFOLLOW) != 0))
                        return record;
        }
        return NULL;
}

/* Gives a record its new base name. The unique-id stays, so it is not the base name any more. */
static int
take_base_name(struct maildrop *drop, struct record *record, const char *name, size_t length)
{
        const uint32_t old = record->name;

        if (text_append(&drop->text, name, length, &record->name) != 0)
                return -1;
        if (record->id_length == 0) {
                record->id = old;
                record->id_length = record->base_length;
        }
        record->name_length = (uint8_t)length;
        record_describe(record, name);
        drop->is_disordered = true;
        return 0;
}

/* Adds a record, for which reserve_records() made room. */
static struct record *
add_record(struct table *table, const char *name, size_t length, uint32_t hash)
{
        struct record *record = drop_records(table->drop) + drop_length(table->drop);

        *record = (struct record){ .file_hash = hash, .flags = FRESH | UNCOUNTED };
        record->name_length = (uint8_t)length;
        record_describe(record, name);
        record->id_length = octets_are_id(name, record->base_length) ? 0 : NO_ID;
        table->drop->records.used += sizeof(*record);
        add_to_table(table, drop_length(table->drop));
        return record;
}

/*
 * Whether a record has this folder and this file name. find_record() compared the base name
 * already; the whole name is compared again, because fetch_ahead() fetched its beginning,
 * so that this is faster than comparing its end alone.
 */
static bool
has_place(const struct table *table, const struct record *record, int folder, const char *name,
    size_t length)
{
        return (record->flags & IN_CUR) == folder && record->name_length == length &&
            memcmp(record_name(table->drop, record), name, length) == 0;
}

/*
 * Writes down a file that a search met: a stray, which is no message's (record is NULL), or
 * a file of a message that is marked deleted.
 */
static int
note_met(struct table *table, const struct record *record, int folder, const char *name,
    size_t length, uint32_t hash)
{
        struct maildrop *drop = table->drop;
        struct record met = { .file_hash = hash, .flags = (uint8_t)folder };

        met.name_length = (uint8_t)length;
        record_describe(&met, name);
        if (record != NULL)
                met.id = (uint32_t)(record - drop_records(drop));
        return text_append(&drop->search.text, name, length, &met.name) != 0 ? -1 : area_append(
            record == NULL ? &drop->search.strays : &drop->search.marked, &met, sizeof(met));
}

/*
 * The record of a file whose inode number is not told, or NULL. One record of a base name,
 * which is given, has the hash of that name. Further files of the base name, which are there
 * at the same time, have the hash of their folder and name, and get that in *hash.
 */
static struct record *
find_untold(const struct table *table, struct record *record, int folder, const char *name,
    size_t length, uint32_t *hash)
{
        const uint32_t own = (uint32_t)(checksum((uint64_t)folder + 1, name, length) >> 32);
        struct record *other = find_record(table, name, length, own);
        struct stat status;

        if (other != NULL)
                return other;
        if (record == NULL || (record->flags & SEEN) == 0 ||
            fstatat(record_folder(table->drop, record), record_name(table->drop, record), &status,
                AT_SYMLINK_NOFOLLOW) != 0)
                return record;
        *hash = own;
        return NULL;
}

/*
 * Notes that a file is there: marks its record SEEN, and writes down its folder and its
 * name if the record is new or has others. drop_read() relies on it that the text grows
 * by that, and does not grow otherwise.
 */
static int
note_file(struct table *table, int folder, const struct dirent64 *entry, size_t length)
{
        const char *name = entry->d_name;
        uint32_t hash = hash_file(entry->d_ino, name);
        struct record *record = find_record(table, name, length, hash);
        bool is_known = record != NULL && has_place(table, record, folder, name, length);

        if (record == NULL && is_told(entry->d_ino) &&
            (record = find_renamed(table, name, hash)) != NULL) {
                if (take_base_name(table->drop, record, name, length) != 0)
                        return -1;
                is_known = has_place(table, record, folder, name, length);
        }
        if (!is_known && !is_told(entry->d_ino)) {
                record = find_untold(table, record, folder, name, length, &hash);
                is_known = record != NULL && has_place(table, record, folder, name, length);
        }
        if (table->is_search && (record == NULL || (record->flags & DELETED) != 0) &&
            note_met(table, record, folder, name, length, hash) != 0)
                return -1;
        if (record == NULL && table->is_search)
                return 0;
        if (is_known) {
                record->flags |= SEEN;
                return 0;
        }
        if (record == NULL)
                record = add_record(table, name, length, hash);
        record->flags = (uint8_t)((record->flags & ~IN_CUR) | folder | SEEN);
        record->name_length = (uint8_t)length;
        return text_append(&table->drop->text, name, length, &record->name);
}

/* Reading */

/*
 * Asks the processor to fetch what note_file() will need of a piece of a folder: the slot
 * of each entry, then the record that the slot names, then the name that the record names.
 * Each of these lies somewhere in an area that is larger than the cache, and is found only
 * through the one before: hence three passes over the piece. It saves a sixth of the time of
 * a login to 100,000 messages. A name lies in two lines of the cache as often as in one, so
 * both are fetched.
 */
static void
fetch_ahead(const struct table *table, long length)
{
        for (int pass = 0; pass < 3; pass++)
                for (long at = 0; at < length;) {
                        const struct dirent64 *entry = (const void *)(table->drop->piece + at);
                        const uint32_t hash = hash_file(entry->d_ino, entry->d_name);
                        uint64_t slot = hash;
                        const struct record *record =
                            pass == 0 ? NULL : next_with_hash(table, hash, &slot);

                        at += entry->d_reclen;
                        if (pass == 0) {
                                __builtin_prefetch(slot_at(table, slot));
                        } else if (record != NULL && pass == 1) {
                                __builtin_prefetch(record);
                        } else if (record != NULL) {
                                __builtin_prefetch(record_name(table->drop, record));
                                __builtin_prefetch(record_name(table->drop, record) +
                                    record->base_length);
                        }
                }
}

/* Whether an entry of a folder is a message: a regular file whose name begins with no dot. */
static bool
is_message(int folder, const struct dirent64 *entry, size_t length)
{
        struct stat status;

        if (entry->d_name[0] == '.' || length > NAME_LIMIT)
                return false;
        if (entry->d_type != DT_UNKNOWN)
                return entry->d_type == DT_REG;
        if (fstatat(folder, entry->d_name, &status, AT_SYMLINK_NOFOLLOW) == 0)
                return S_ISREG(status.st_mode);
        /* where nothing is known of it: a message that fails to open, rather than one unseen */
        return errno != ENOENT;
}

static int
read_folder(struct table *table, int folder)
{
        int fd = table->drop->folders[folder];
        char *piece = table->drop->piece;
        long length;

        if (lseek(fd, 0, SEEK_SET) != 0)
                return -1;
        while ((length = syscall(SYS_getdents64, fd, piece, PIECE_SIZE)) > 0) {
                /* more records than that the piece cannot have */
                if (reserve_records(table, (size_t)length / offsetof(struct dirent64, d_name)) != 0)
                        return -1;
                fetch_ahead(table, length);
                for (long at = 0; at < length;) {
                        const struct dirent64 *entry = (const void *)(piece + at);
                        size_t name_length = strlen(entry->d_name);

                        at += entry->d_reclen;
                        if (is_message(fd, entry, name_length) &&
                            note_file(table, folder, entry, name_length) != 0)
                                return -1;
                }
        }
        return (int)length;
}

/* new/ before cur/, so that a message which is moved meanwhile is met in cur/ at the latest. */
static int
read_both(struct table *table)
{
        for (int folder = 0; folder < FOLDERS; folder++) {
                table->drop->part = folder_parts[folder];
                if (!table->is_known[folder] && read_folder(table, folder) != 0)
                        return -1;
        }
        table->drop->part = "";
        return 0;
}

int
folders_stamp(const struct maildrop *drop, struct stamp stamps[FOLDERS])
{
        struct stat status;

        for (int folder = 0; folder < FOLDERS; folder++) {
                if (fstat(drop->folders[folder], &status) != 0)
                        return -1;
                stamps[folder] = (struct stamp){ .inode = status.st_ino,
                    .modified = time_nanoseconds(&status.st_mtim),
                    .changed = time_nanoseconds(&status.st_ctim) };
        }
        return 0;
}

/* True: a change from now on gives the folder another stamp, because the clock has moved on. */
static bool
is_older_than(const struct stamp *stamp, uint64_t now)
{
        return stamp->modified < now && stamp->changed < now;
}

/*
 * Finds the folders that need not be read. The messages that were last met there count as met, until
 * the folder has another stamp.
 */
static void
find_known(struct table *table, const struct stamp stamps[FOLDERS])
{
        for (int folder = 0; folder < FOLDERS; folder++) {
                bool is_known = table->known[folder].inode != 0 &&
                    memcmp(&stamps[folder], &table->known[folder], sizeof(*stamps)) == 0;

                for (size_t i = 0; is_known != table->is_known[folder] && i < drop_length(table->drop); i++) {
                        struct record *record = drop_records(table->drop) + i;

                        if ((record->flags & IN_CUR) == folder)
                                record->flags = (uint8_t)((record->flags & ~SEEN) | (is_known ? SEEN : 0));
                }
                table->is_known[folder] = is_known;
        }
}

/*
 * Reads the folders until they do not change during a reading, ATTEMPTS times at most. What
 * any of these readings met counts, because a file that is renamed during one can be missed
 * by it. If cur/ is not older than now they are read twice in any case: it may change
 * during the first reading without another stamp. stamps: those before the last reading,
 * all zero for a folder that changed even during that one.
 */
static int
read_until_quiet(struct table *table, struct stamp stamps[FOLDERS], uint64_t now)
{
        struct stamp after[FOLDERS];

        for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
                if (folders_stamp(table->drop, stamps) != 0)
                        return -1;
                find_known(table, stamps);
                if (read_both(table) != 0 || folders_stamp(table->drop, after) != 0)
                        return -1;
                if (memcmp(stamps, after, sizeof(after)) == 0 &&
                    (attempt > 0 || is_older_than(&after[FOLDER_CUR], now)))
                        break;
        }
        for (int folder = 0; folder < FOLDERS; folder++)
                if (memcmp(&stamps[folder], &after[folder], sizeof(*after)) != 0)
                        stamps[folder] = (struct stamp){ 0 };
        return 0;
}

int
folders_read(struct maildrop *drop, uint64_t now, struct stamp stamps[FOLDERS])
{
        struct table table = { .drop = drop };
        int result = -1;

        memcpy(table.known, stamps, sizeof(table.known));
        /* from here on no data is NULL, even if there is no message at all */
        if (area_reserve(&drop->records, 0) == 0 && area_reserve(&drop->text, 0) == 0)
                result = read_until_quiet(&table, stamps, now);
        drop->is_partly_read = table.is_known[FOLDER_NEW] || table.is_known[FOLDER_CUR];
        area_free(&table.slots);
        for (int folder = 0; folder < FOLDERS; folder++)
                if (!is_older_than(&stamps[folder], now))
                        stamps[folder] = (struct stamp){ 0 };
        return result;
}

int
folders_read_again(struct maildrop *drop, struct stamp stamps[FOLDERS])
{
        struct table table = { .drop = drop, .is_search = true };
        int result;

        for (size_t i = 0; i < drop_length(drop); i++)
                drop_records(drop)[i].flags &= (uint8_t)~SEEN;
        drop->search.strays.used = drop->search.marked.used = drop->search.text.used = 0;
        result = read_until_quiet(&table, stamps, 0);
        area_free(&table.slots);
        return result;
}
