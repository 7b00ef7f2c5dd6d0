/*
 * index.c - what is known of a maildrop, kept from one session to the next.
 * Runs in:   the TRANSACTION process, as the mail user.
 * May touch: pop3d.index and pop3d.index.new in the Maildir.
 *
 * The index saves time. It may be lost, cut, old or forged, and that costs no more than a
 * new reading of the Maildir. It is never written in place: a new file is written and
 * takes its name. It begins with a struct index_header; as many records as that counts
 * follow, then the text with their names and unique-ids. It is the same octets on every
 * machine, because hosts of several kinds can share one Maildir.
 */
#include <endian.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "internal.h"

#define NEXT_NAME "pop3d.index.new"

#define INDEX_MAGIC UINT64_C(0x32784449446f7050)

_Static_assert(sizeof(struct index_header) == 96 && sizeof(struct record) == 28,
    "in the index nothing has another size or place on another machine");

/* The order of octets */

/*
 * In the file each number is little-endian. These two make numbers of this machine from
 * those of the file, and those of the file from its own, because both are one and the same
 * exchange of octets. On a little-endian machine they do nothing, and cost nothing.
 */
static void
turn_header(struct index_header *header)
{
        uint64_t *numbers = (uint64_t *)(void *)header;

        for (size_t i = 0; i < sizeof(*header) / sizeof(*numbers); i++)
                numbers[i] = le64toh(numbers[i]);
}

static void
turn_records(struct record *records, uint64_t count)
{
        for (struct record *record = records; record < records + count; record++) {
                record->octets = le64toh(record->octets);
                record->file_hash = le32toh(record->file_hash);
                record->name = le32toh(record->name);
                record->id = le32toh(record->id);
                record->delivered = le32toh(record->delivered);
        }
}

/* Whether an index is sound */

/* Both checksums are those of the octets in the file. */

static uint64_t
header_checksum(const struct index_header *header)
{
        return checksum(0, header, offsetof(struct index_header, header_checksum));
}

static uint64_t
body_checksum(const struct index_header *header, const void *records,
    const char *text)
{
        return checksum(checksum(0, records, (size_t)header->count * sizeof(struct record)), text,
            (size_t)header->text_length);
}

bool
index_header_is_sound(struct index_header *header, uint64_t file_size)
{
        uint64_t sum = header_checksum(header);

        turn_header(header);
        /* a file that is larger than PTRDIFF_MAX has no room in memory */
        return header->magic == INDEX_MAGIC && header->header_checksum == sum &&
            header->text_length <= UINT32_MAX && file_size <= PTRDIFF_MAX &&
            header->count <= file_size / sizeof(struct record) && file_size ==
            sizeof(*header) + header->count * sizeof(struct record) + header->text_length;
}

/*
 * Whether a string is where the next one must begin: at is what the record says, *next where
 * the string before ended, which then moves on. length octets and a NUL must lie there.
 */
static bool
take_string(const char *text, uint64_t text_length, uint64_t *next, uint32_t at,
    uint8_t length)
{
        if (at != *next || length >= text_length - *next ||
            memchr(text + at, '\0', length + (size_t)1) != text + at + length)
                return false;
        *next += length + (uint64_t)1;
        return true;
}

/*
 * Takes name and unique-id of a record. They must follow each other in the text as the
 * records do, so that no two records share octets, and no octets are left over.
 */
static bool
take_record(const struct index_header *header, struct record *record, const char *text,
    uint64_t *next)
{
        const char *name = text + record->name;

        if ((record->flags & ~(IN_CUR | UNCOUNTED)) != 0 || record->name_length == 0 ||
            !take_string(text, header->text_length, next, record->name, record->name_length) ||
            name[0] == '.' || strchr(name, '/') != NULL)
                return false;
        record_describe(record, name);
        if (record->id_length == 0)
                return octets_are_id(name, record->base_length);
        return take_string(text, header->text_length, next, record->id, record->id_length) &&
            octets_are_id(text + record->id, record->id_length);
}

/*
 * Whether two neighbours are in order, by their base names, then by file_hash. At most one
 * of two with the same base name may have it for its unique-id.
 */
static bool
is_in_order(const struct record *before, const struct record *record, const char *text)
{
        int order = record_compare(before, text, record, text);

        return order < 0 || (order == 0 && before->file_hash < record->file_hash &&
            (before->id_length != 0 || record->id_length != 0));
}

bool
index_body_is_sound(const struct index_header *header, struct record *records,
    const char *text)
{
        uint64_t octets = 0, next = 0, sum = body_checksum(header, records, text);

        turn_records(records, header->count);
        if (header->body_checksum != sum)
                return false;
        for (uint64_t i = 0; i < header->count; i++)
                if (!take_record(header, &records[i], text, &next) ||
                    (i > 0 && !is_in_order(&records[i - 1], &records[i], text)) ||
                    __builtin_add_overflow(octets, records[i].octets, &octets))
                        return false;
        return next == header->text_length && octets == header->octets;
}

/* Reading */

/*
 * False if not all of it could be read. errno is then the reason: DAMAGED for a file that is
 * shorter. When all was read errno is DAMAGED as well, for a caller that finds what was read
 * wrong.
 */
static bool
read_at(int fd, void *data, size_t length, size_t offset)
{
        ssize_t count = RETRY(pread(fd, data, length, (off_t)offset));

        if (count >= 0)
                errno = DAMAGED;
        return count == (ssize_t)length;
}

/* Nothing more will be read of the index. errno stays as it is. */
static void
close_file(struct maildrop *drop)
{
        int error = errno;

        close(drop->index.file);
        drop->index.file = -1;
        errno = error;
}

/* Opens the index once. Fails with ESTALE if its name means another file by now. */
static int
open_once(struct maildrop *drop)
{
        struct index *index = &drop->index;
        struct stat status;
        ssize_t length;

        index->file = open_list(drop, INDEX_NAME, &status);
        if (index->file < 0 && (errno == EACCES || errno == EPERM))
                drop->totals.lost_index = "foreign";
        else if (index->file < 0 && errno != ENOENT)
                return -1;
        if (index->file < 0)
                return 0;
        index->written = time_nanoseconds(&status.st_mtim);
        length = RETRY(pread(index->file, &index->header, sizeof(index->header), 0));
        if (length == sizeof(index->header) &&
            index_header_is_sound(&index->header, (uint64_t)status.st_size))
                return 0;
        close_file(drop);
        if (length < 0)
                return -1;
        drop->totals.lost_index = "unsound";
        return 0;
}

/*
 * On a file system that another machine uses, too, this machine remembers for a moment
 * which file a name was. If the index has been replaced there, opening or reading it fails with
 * ESTALE, until the name is looked up again. False, with EIO, if that was done often enough; or
 * if something else failed.
 */
static bool
is_looked_up_again(const struct maildrop *drop, int tries)
{
        if (errno != ESTALE)
                return false;
        if (tries == ATTEMPTS) {
                errno = EIO;
                return false;
        }
        look_up_again(drop->directory, INDEX_NAME);
        return true;
}

int
index_open(struct maildrop *drop)
{
        drop->part = "/" INDEX_NAME;
        for (int tries = 0; open_once(drop) != 0; tries++)
                if (!is_looked_up_again(drop, tries))
                        return -1;
        return 0;
}

/* Fails with ESTALE if the file that is open is not there any more. */
static int
load_once(struct maildrop *drop)
{
        const struct index_header *header = &drop->index.header;
        size_t records_length = (size_t)header->count * sizeof(struct record);
        size_t text_length = (size_t)header->text_length;
        struct stat status;
        bool is_sound;

        /* a file with a hole would cost more memory than disk */
        if (fstat(drop->index.file, &status) == 0 && file_has_hole(drop->index.file, &status)) {
                drop->totals.lost_index = "unsound";
                errno = DAMAGED;
                close_file(drop);
                return -1;
        }
        if (area_reserve(&drop->records, records_length) != 0 ||
            area_reserve(&drop->text, text_length) != 0)
                return -1;
        is_sound = read_at(drop->index.file, drop->records.data, records_length,
            sizeof(*header)) && read_at(drop->index.file, drop->text.data, text_length,
            sizeof(*header) + records_length) &&
            index_body_is_sound(header, drop_records(drop), drop->text.data);
        close_file(drop);
        if (!is_sound) {
                if (errno == DAMAGED)
                        drop->totals.lost_index = "unsound";
                return -1;
        }
        drop->records.used = records_length;
        drop->text.used = text_length;
        return 0;
}

int
index_load(struct maildrop *drop)
{
        for (int tries = 0; load_once(drop) != 0; tries++) {
                if (!is_looked_up_again(drop, tries) || index_open(drop) != 0)
                        return -1;
                /* removed, or not sound any more */
                if (!index_is_unread(drop)) {
                        errno = DAMAGED;
                        return -1;
                }
        }
        return 0;
}

/* Writing */

/*
 * Whether there is an index that is not ours. In the Maildir of another user it is his, and
 * has unique-ids that he will want again: it is not replaced.
 */
static bool
is_owners_own(const struct maildrop *drop)
{
        struct stat status;

        return drop->owner != geteuid() && fstatat(drop->directory, INDEX_NAME, &status,
            AT_SYMLINK_NOFOLLOW) == 0 && status.st_uid != geteuid();
}

void
index_create(struct maildrop *drop)
{
        struct index *index = &drop->index;

        if (is_owners_own(drop) || drop->is_only_looked_at)
                return;
        for (int tries = 0; index->next < 0 && tries < 2; tries++) {
                index->next = openat(drop->directory, NEXT_NAME,
                    O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
                /* one that is there was left by a session that was killed */
                if (index->next < 0 && errno == EEXIST)
                        unlinkat(drop->directory, NEXT_NAME, 0);
        }
}

uint64_t
index_clock(const struct maildrop *drop)
{
        struct stat status;

        if (drop->index.next < 0 || fstat(drop->index.next, &status) != 0)
                return 0;
        return time_nanoseconds(&status.st_mtim);
}

/*
 * Leaves out removed messages: moves the records that stay together, and makes a new text
 * of their names and unique-ids in their order. If one of them is UNCOUNTED, if a search
 * found another list, or if the folders were not read in this session, the stamps become zero, so
 * that the next session reads the folders. (The index would seem to be younger than they are.)
 */
static bool
compact(struct maildrop *drop)
{
        struct index_header *header = &drop->index.header;
        struct record *records = drop_records(drop), *to = records;
        struct area text = { 0 };

        /* all the room that is needed, so that nothing can fail when records have been moved */
        if (area_reserve(&text, drop->text.used) != 0)
                return false;
        header->octets = 0;
        if (drop->search.is_other_list || drop->clock == 0)
                memset(header->folders, 0, sizeof(header->folders));
        for (struct record *from = records; from < records + drop_length(drop); from++) {
                if (from->flags & UNCOUNTED)
                        memset(header->folders, 0, sizeof(header->folders));
                if (from->flags & REMOVED)
                        continue;
                *to = *from;
                if (text_append(&text, record_name(drop, from), from->name_length,
                    &to->name) != 0 || (to->id_length != 0 && text_append(&text,
                    drop->text.data + from->id, from->id_length, &to->id) != 0))
                        return false;
                to->flags &= IN_CUR | UNCOUNTED;
                /* a sum that does not fit would not be believed either */
                if (__builtin_add_overflow(header->octets, to->octets, &header->octets))
                        memset(header->folders, 0, sizeof(header->folders));
                to++;
        }
        area_free(&drop->text);
        drop->text = text;
        drop->records.used = (size_t)(to - records) * sizeof(*to);
        return true;
}

void
index_seal(struct index_header *header, struct record *records, const char *text)
{
        turn_records(records, header->count);
        header->body_checksum = body_checksum(header, records, text);
        turn_header(header);
        header->header_checksum = htole64(header_checksum(header));
}

/* Writes the whole into pop3d.index.new. */
static bool
write_parts(struct maildrop *drop)
{
        struct index_header *header = &drop->index.header;
        const struct iovec parts[] = { { header, sizeof(*header) },
            { drop->records.data, drop->records.used }, { drop->text.data, drop->text.used } };
        size_t length = parts[0].iov_len + parts[1].iov_len + parts[2].iov_len;
        bool is_written;

        header->magic = INDEX_MAGIC;
        header->count = drop_length(drop);
        header->text_length = drop->text.used;
        index_seal(header, drop_records(drop), drop->text.data);
        is_written = RETRY(writev(drop->index.next, parts, 3)) == (ssize_t)length;
        turn_header(header);
        turn_records(drop_records(drop), header->count);
        return is_written;
}

/*
 * Whether pop3d.index.new is still the file that we created. A session on another host,
 * which our lock may not keep out, can have removed it and created its own.
 */
static bool
has_its_name(const struct maildrop *drop)
{
        struct stat ours, named;

        return fstat(drop->index.next, &ours) == 0 && fstatat(drop->directory, NEXT_NAME, &named,
            AT_SYMLINK_NOFOLLOW) == 0 && ours.st_ino == named.st_ino && ours.st_dev == named.st_dev;
}

/* If a folder was not read for it, the index is not younger than the one before, which had it read. */
static bool
keep_age(const struct maildrop *drop)
{
        const time_t seconds = (time_t)(drop->index.written / 1000000000);
        const long rest = (long)(drop->index.written % 1000000000);
        const struct timespec times[] = { { .tv_nsec = UTIME_OMIT }, { seconds, rest } };

        return !drop->is_partly_read || futimens(drop->index.next, times) == 0;
}

static bool
write_next(struct maildrop *drop)
{
        /* not synced, because after a crash counts can be made again, and pop3d.ids has the ids */
        return compact(drop) && write_parts(drop) && keep_age(drop) && has_its_name(drop) &&
            renameat(drop->directory, NEXT_NAME, drop->directory, INDEX_NAME) == 0;
}

void
index_write(struct maildrop *drop)
{
        drop->index_is_due |= drop->search.is_other_list;
        if (drop->index_is_due)
                index_create(drop);
        if (drop->index.next < 0)
                return;
        if (drop->index_is_due && write_next(drop))
                drop->index_is_due = false;
        else if (has_its_name(drop))
                unlinkat(drop->directory, NEXT_NAME, 0);
        close(drop->index.next);
        drop->index.next = -1;
}
