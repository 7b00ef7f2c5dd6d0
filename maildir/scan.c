/*
 * scan.c - reads the folders, and finds each message's place in them again.
 * Runs in:   the TRANSACTION process, as the mail user.
 * May touch: the directories new/ and cur/ of the Maildir.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "internal.h"

enum { TICK_MAX = 2 };          /* seconds in which a change may leave a stamp as it is */

struct scan {
        struct maildrop *drop;
        struct area slots;      /* by inode, at most half full: inode and number of record, or 0 */
        bool is_search;         /* for known messages only */
};

void
record_describe(struct record *record, const char *name)
{
        const char *colon = memchr(name, ':', record->name_length);
        uint64_t number = 0;

        record->base_length = colon != NULL ? (uint8_t)(colon - name) : record->name_length;
        for (; *name >= '0' && *name <= '9' && number < UINT32_MAX; name++)
                number = number * 10 + (uint64_t)(*name - '0');
        record->delivered = number < UINT32_MAX ? (uint32_t)number : UINT32_MAX;
}

int
record_compare(const struct record *a, const char *a_text, const struct record *b,
    const char *b_text)
{
        size_t shorter = a->base_length < b->base_length ? a->base_length : b->base_length;
        int order;

        if (a->delivered != b->delivered)
                return a->delivered < b->delivered ? -1 : 1;
        order = memcmp(a_text + a->name, b_text + b->name, shorter);
        return order != 0 ? order : a->base_length - b->base_length;
}

static bool
is_before(const struct record *a, const struct record *b, const char *text)
{
        int order = record_compare(a, text, b, text);

        return order < 0 || (order == 0 && a->inode < b->inode);
}

static uint64_t *
slot_at(const struct scan *scan, uint64_t position)
{
        uint64_t *slots = (uint64_t *)(void *)scan->slots.data;

        return slots + (position & (scan->slots.size / sizeof(*slots) - 1));
}

/* What a record keeps of an inode, and where its search of the table begins. */
static uint32_t
fold(const struct dirent64 *entry)
{
        uint64_t inode = entry->d_ino;

        /* FUSE may not tell; there the base name has to do */
        if (inode == 0 || inode == UINT32_MAX)
                inode = checksum(0, entry->d_name, strcspn(entry->d_name, ":"));
        return (uint32_t)(inode * UINT64_C(0x9e3779b97f4a7c15) >> 32);
}

static void
remember(const struct scan *scan, size_t number)
{
        const uint64_t inode = drop_records(scan->drop)[number - 1].inode;
        uint64_t at = inode;

        while (*slot_at(scan, at) != 0)
                at++;
        *slot_at(scan, at) = inode << 32 | number;
}

/* Makes room for more records, and a table large enough for all. */
static int
make_room(struct scan *scan, size_t more)
{
        size_t known = drop_length(scan->drop), needed = (known + more) * 2 * sizeof(uint64_t);

        /* a search adds none, and whoever asked for it points to one */
        if (!scan->is_search &&
            area_reserve(&scan->drop->records, more * sizeof(struct record)) != 0)
                return -1;
        if (needed <= scan->slots.size)
                return 0;
        area_free(&scan->slots);
        if (area_reserve(&scan->slots, needed) != 0)
                return -1;
        /* It is used all over, and not for long. */
        madvise(scan->slots.data, scan->slots.size, MADV_HUGEPAGE);
        for (size_t number = 1; number <= known; number++)
                remember(scan, number);
        return 0;
}

/* The next message of this inode, from a place in the table on, or NULL. */
static struct record *
next_of(const struct scan *scan, uint32_t inode, uint64_t *at)
{
        uint64_t slot;

        while ((slot = *slot_at(scan, (*at)++)) != 0)
                if (slot >> 32 == inode)
                        return drop_records(scan->drop) + ((uint32_t)slot - 1);
        return NULL;
}

/* The message that this file is: the same inode, and the same base name. */
static struct record *
recognise(const struct scan *scan, const char *name, size_t length,
    uint32_t inode)
{
        struct record *record;
        uint64_t at = inode;

        while ((record = next_of(scan, inode, &at)) != NULL)
                if (record->base_length <= length &&
                    memcmp(record_name(scan->drop, record), name, record->base_length) == 0 &&
                    (name[record->base_length] == '\0' || name[record->base_length] == ':'))
                        return record;
        return NULL;
}

/* There is room for it. */
static struct record *
add(struct scan *scan, const char *name, size_t length, uint32_t inode)
{
        struct record *record = drop_records(scan->drop) + drop_length(scan->drop);

        *record = (struct record){ .inode = inode, .flags = FRESH | UNCOUNTED };
        record->name_length = (uint8_t)length;
        record_describe(record, name);
        record->id_length = octets_are_id(name, record->base_length) ? 0 : NO_ID;
        scan->drop->records.used += sizeof(*record);
        remember(scan, drop_length(scan->drop));
        return record;
}

/* Notes that a file is there, as a new message or as the place of one that is known. */
static int
place(struct scan *scan, int folder, const char *name, size_t length, uint32_t inode)
{
        struct record *record = recognise(scan, name, length, inode);

        if (record == NULL && scan->is_search)
                return 0;
        if (record == NULL)
                record = add(scan, name, length, inode);
        /* from its beginning: of the last octets alone memcmp reads beyond what was fetched ahead */
        else if ((record->flags & IN_CUR) == folder && record->name_length == length &&
            memcmp(record_name(scan->drop, record), name, length) == 0) {
                record->flags |= SEEN;
                return 0;
        }
        record->flags = (uint8_t)((record->flags & ~IN_CUR) | folder | SEEN);
        record->name_length = (uint8_t)length;
        return text_append(&scan->drop->text, name, length, &record->name);
}

/*
 * Table, records and text are larger than a cache, and met in no order: they are fetched
 * ahead. A name lies in two lines of the cache as often as in one.
 */
static void
fetch_ahead(const struct scan *scan, long length)
{
        for (int step = 0; step < 3; step++)
                for (long at = 0; at < length;) {
                        const struct dirent64 *entry = (const void *)(scan->drop->piece + at);
                        const uint32_t inode = fold(entry);
                        uint64_t place = inode;
                        const struct record *record =
                            step == 0 ? NULL : next_of(scan, inode, &place);

                        at += entry->d_reclen;
                        if (step == 0) {
                                __builtin_prefetch(slot_at(scan, place));
                        } else if (record != NULL && step == 1) {
                                __builtin_prefetch(record);
                        } else if (record != NULL) {
                                __builtin_prefetch(record_name(scan->drop, record));
                                __builtin_prefetch(record_name(scan->drop, record) +
                                    record->base_length);
                        }
                }
}

static bool
is_message(int folder, const struct dirent64 *entry, size_t length)
{
        struct stat status;

        if (entry->d_name[0] == '.' || length > NAME_LIMIT)
                return false;
        if (entry->d_type != DT_UNKNOWN)
                return entry->d_type == DT_REG;
        /* what cannot be told now is rather a message that cannot be read now */
        return fstatat(folder, entry->d_name, &status, AT_SYMLINK_NOFOLLOW) == 0
            ? S_ISREG(status.st_mode) : errno != ENOENT;
}

static int
read_folder(struct scan *scan, int folder)
{
        int fd = scan->drop->folders[folder];
        char *piece = scan->drop->piece;
        long length;

        if (lseek(fd, 0, SEEK_SET) != 0)
                return -1;
        while ((length = syscall(SYS_getdents64, fd, piece, PIECE_SIZE)) > 0) {
                if (make_room(scan, (size_t)length / offsetof(struct dirent64, d_name)) != 0)
                        return -1;
                fetch_ahead(scan, length);
                for (long at = 0; at < length;) {
                        const struct dirent64 *entry = (const void *)(piece + at);
                        size_t name_length = strlen(entry->d_name);

                        at += entry->d_reclen;
                        if (is_message(fd, entry, name_length) && place(scan, folder,
                            entry->d_name, name_length, fold(entry)) != 0)
                                return -1;
                }
        }
        return (int)length;
}

/* A message that moves on meanwhile is met in cur/ at the latest: hence the order. */
static int
read_folders(struct scan *scan)
{
        for (int folder = 0; folder < FOLDERS; folder++) {
                scan->drop->part = folder_parts[folder];
                if (read_folder(scan, folder) != 0)
                        return -1;
        }
        scan->drop->part = "";
        return 0;
}

int
drop_stamps(const struct maildrop *drop, struct stamp stamps[FOLDERS])
{
        struct stat status;

        for (int folder = 0; folder < FOLDERS; folder++) {
                if (fstat(drop->folders[folder], &status) != 0)
                        return -1;
                stamps[folder] = (struct stamp){ .inode = status.st_ino,
                    .modified = (uint64_t)status.st_mtim.tv_sec * 1000000000 +
                    (uint64_t)status.st_mtim.tv_nsec,
                    .changed = (uint64_t)status.st_ctim.tv_sec * 1000000000 +
                    (uint64_t)status.st_ctim.tv_nsec };
        }
        return 0;
}

/* Whether every change to come will give the folder another stamp than this. */
static bool
is_settled(const struct stamp *stamp, uint64_t now)
{
        return stamp->modified < now && stamp->changed < now;
}

/*
 * Reads the folders until nothing changes meanwhile; what was met in any
 * reading counts, so that a message which is renamed while its folder is read
 * is not missed. A change in the same tick of the clock goes unnoticed, hence
 * a cur/ as young as that, or if now is 0, is read twice. stamps: those that the
 * last reading began under, zero where a folder changed even then.
 */
static int
read_settled(struct scan *scan, struct stamp stamps[FOLDERS], uint64_t now)
{
        struct stamp after[FOLDERS];

        for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
                if (drop_stamps(scan->drop, stamps) != 0 || read_folders(scan) != 0 ||
                    drop_stamps(scan->drop, after) != 0)
                        return -1;
                if (memcmp(stamps, after, sizeof(after)) == 0 &&
                    (attempt > 0 || is_settled(&after[FOLDER_CUR], now)))
                        break;
        }
        for (int folder = 0; folder < FOLDERS; folder++)
                if (memcmp(&stamps[folder], &after[folder], sizeof(*after)) != 0)
                        stamps[folder] = (struct stamp){ 0 };
        return 0;
}

RARE int
drop_search(struct maildrop *drop)
{
        struct scan scan = { .drop = drop, .is_search = true };
        struct stamp stamps[FOLDERS];
        struct timespec now;
        int result;

        clock_gettime(CLOCK_MONOTONIC, &now);
        if (drop_stamps(drop, stamps) != 0)
                return -1;
        if (memcmp(stamps, drop->searched, sizeof(stamps)) == 0 &&
            drop->found > drop->stamped + TICK_MAX)
                return 0;
        for (size_t i = 0; i < drop_length(drop); i++)
                drop_records(drop)[i].flags &= (uint8_t)~SEEN;
        result = read_settled(&scan, stamps, 0);
        area_free(&scan.slots);
        if (memcmp(stamps, drop->searched, sizeof(stamps)) != 0)
                drop->stamped = now.tv_sec;
        memcpy(drop->searched, stamps, sizeof(stamps));
        drop->found = result == 0 ? now.tv_sec : 0;
        return result;
}

/* Merges, with spare for half of them. What is in order, as all but new mail is, stays in place. */
static void
sort(struct record *records, size_t count, struct record *spare, const char *text)
{
        size_t first = count / 2, second = count - first;

        if (count < 2)
                return;
        sort(records, first, spare, text);
        sort(records + first, second, spare, text);
        if (is_before(&records[first - 1], &records[first], text))
                return;
        memcpy(spare, records + first, second * sizeof(*records));
        while (first > 0 && second > 0)
                records[--count] = is_before(&spare[second - 1], &records[first - 1], text) ?
                    records[--first] : spare[--second];
        memcpy(records, spare, second * sizeof(*records));
}

/* Of two in one place the later one is there: it replaced the other while the folders were read. */
RARE static void
forget_replaced(struct record *group, struct record *end, const char *text)
{
        for (struct record *a = group; a < end; a++)
                for (struct record *b = group; b < end; b++)
                        if (a->name < b->name && a->name_length == b->name_length &&
                            ((a->flags ^ b->flags) & IN_CUR) == 0 && (b->flags & SEEN) != 0 &&
                            memcmp(text + a->name, text + b->name, a->name_length) == 0)
                                a->flags &= (uint8_t)~SEEN;
}

/*
 * Says of the fresh among messages with one base name what the others mean for
 * their unique-ids. A file that took the place of another, as after a restore,
 * is the same message; one beside another is not.
 */
RARE static void
compare_namesakes(struct record *group, struct record *end, const char *text)
{
        struct record *gone = NULL, *fresh = NULL;
        size_t gone_count = 0, fresh_count = 0, here = 0;

        forget_replaced(group, end, text);
        for (struct record *record = group; record < end; record++) {
                here += (record->flags & SEEN) != 0;
                if ((record->flags & (SEEN | FRESH)) == 0)
                        gone_count++, gone = record;
                else if ((record->flags & (SEEN | FRESH)) == (SEEN | FRESH))
                        fresh_count++, fresh = record;
        }
        if (gone_count == 1 && fresh_count == 1) {
                fresh->id = gone->id;
                fresh->id_length = gone->id_length;
                fresh->flags &= (uint8_t)~FRESH;
        } else if (here > 1) {
                for (struct record *record = group; record < end; record++)
                        record->flags |= record->flags & FRESH ? SHARED : 0;
        }
}

/* Drops what is no longer there; whether any of the rest is fresh. */
static bool
forget_unseen(struct maildrop *drop)
{
        struct record *record = drop_records(drop), *to = record, *end = record + drop_length(drop);
        const char *text = drop->text.data;
        bool has_fresh = false;

        for (struct record *group = record; record < end; group = record) {
                do
                        record++;
                while (record < end && record_compare(group, text, record, text) == 0);
                if (record - group > 1)
                        compare_namesakes(group, record, text);
                for (; group < record; group++)
                        if (group->flags & SEEN) {
                                has_fresh |= (group->flags & FRESH) != 0;
                                *to++ = *group;
                        }
        }
        drop->records.used = (size_t)(to - drop_records(drop)) * sizeof(*to);
        return has_fresh;
}

static int
arrange(struct maildrop *drop)
{
        size_t count = drop_length(drop);
        struct area spare = { 0 };

        if (area_reserve(&spare, (count + 1) / 2 * sizeof(struct record)) != 0)
                return -1;
        sort(drop_records(drop), count, (void *)spare.data, drop->text.data);
        area_free(&spare);
        return forget_unseen(drop) ? ids_take_over(drop) : 0;
}

int
drop_scan(struct maildrop *drop)
{
        struct scan scan = { .drop = drop };
        struct stamp *stamps = drop->header.folders;
        size_t known = drop_length(drop), known_text = drop->text.used;
        uint64_t now = index_begin(drop);
        int result = -1;

        /* they exist then, even for no message at all */
        if (area_reserve(&drop->records, 0) == 0 && area_reserve(&drop->text, 0) == 0)
                result = read_settled(&scan, stamps, now);
        area_free(&scan.slots);
        for (int folder = 0; folder < FOLDERS; folder++)
                if (!is_settled(&stamps[folder], now))
                        stamps[folder] = (struct stamp){ 0 };
        /* in the order of the folders, which is that of the names in memory */
        for (size_t i = 0; i < drop_length(drop) && result == 0; i++)
                if ((drop_records(drop)[i].flags & (UNCOUNTED | SEEN)) == (UNCOUNTED | SEEN))
                        result = record_count(drop, drop_records(drop) + i);
        if (result != 0 || arrange(drop) != 0 || ids_settle(drop) != 0)
                return -1;
        drop->count = drop_length(drop);
        drop->octets = 0;
        for (size_t i = 0; i < drop->count; i++)
                drop->octets += drop_records(drop)[i].octets;
        /* what is new, or elsewhere, has had its name written down */
        drop->is_better = drop->text.used != known_text || drop->count != known ||
            stamps[FOLDER_NEW].inode != 0 || stamps[FOLDER_CUR].inode != 0;
        /* ids that a former server still at work may give others must last before they are told */
        if (drop->has_list)
                index_write(drop);
        return 0;
}
