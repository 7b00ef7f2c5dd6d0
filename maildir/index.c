/*
 * index.c - what is known of a maildrop, kept from one session to the next.
 * Runs in:   the TRANSACTION process, as the mail user.
 * May touch: pop3d.index and pop3d.index.new in the Maildir.
 *
 * The index saves time and is believed in nothing else: it may be lost, cut,
 * old, forged or another machine's, and costs no more than a new reading. It
 * is never written where it lies, but replaced whole.
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

/* Read on a machine of the other byte order it is another number, thus no index. */
#define INDEX_MAGIC UINT64_C(0x32784449446f7050)

/* Finds damage, not malice. The same on every machine, for unique-ids are made of it too. */
uint64_t
checksum(uint64_t sum, const void *data, size_t length)
{
        const char *octets = data;
        uint64_t word;

        sum ^= length;
        for (; length >= 8; length -= 8, octets += 8) {
                memcpy(&word, octets, 8);
                sum = (sum ^ le64toh(word)) * UINT64_C(0x9e3779b97f4a7c15);
                sum ^= sum >> 32;
        }
        for (word = 0; length > 0; length--)
                word = word << 8 | (unsigned char)octets[length - 1];
        sum = (sum ^ word) * UINT64_C(0x9e3779b97f4a7c15);
        return sum ^ sum >> 32;
}

static uint64_t
header_checksum(const struct index_header *header)
{
        return checksum(0, header, offsetof(struct index_header, header_checksum));
}

static uint64_t
body_checksum(const struct index_header *header, const void *records,
    const char *text)
{
        return checksum(checksum(0, records, header->count * sizeof(struct record)), text,
            header->text_length);
}

bool
index_header_is_sound(const struct index_header *header, uint64_t file_size)
{
        return header->magic == INDEX_MAGIC && header->header_checksum == header_checksum(header) &&
            header->text_length <= UINT32_MAX &&
            header->count <= file_size / sizeof(struct record) && file_size ==
            sizeof(*header) + header->count * sizeof(struct record) + header->text_length;
}

bool
octets_are_id(const char *octets, size_t length)
{
        bool is_good = length > 0 && length <= UNIQUE_ID_MAX;

        for (size_t i = 0; i < length; i++)
                is_good &= octets[i] >= 0x21 && octets[i] <= 0x7e;
        return is_good;
}

/* Whether length octets and a NUL follow in the text, at *at, which then moves on. */
static bool
take_string(const char *text, uint64_t text_length, uint64_t *at, uint32_t place,
    uint8_t length)
{
        if (place != *at || length >= text_length - *at ||
            memchr(text + place, '\0', length + (size_t)1) != text + place + length)
                return false;
        *at += length + (uint64_t)1;
        return true;
}

/*
 * Names and ids follow each other in the text as the records do, so that no
 * two share octets and none is left over. Of neighbours with the same base
 * name at most one has it for its id.
 */
static bool
record_is_sound(const struct index_header *header, struct record *record, bool is_first,
    const char *text, uint64_t *at)
{
        const struct record *before = record - !is_first;
        const char *name = text + record->name;
        int order;

        if ((record->flags & ~(IN_CUR | UNCOUNTED)) != 0 || record->name_length == 0 ||
            !take_string(text, header->text_length, at, record->name, record->name_length) ||
            name[0] == '.' || strchr(name, '/') != NULL)
                return false;
        record_describe(record, name);
        if (record->id_length == 0 ? !octets_are_id(name, record->base_length) :
            !take_string(text, header->text_length, at, record->id, record->id_length) ||
            !octets_are_id(text + record->id, record->id_length))
                return false;
        order = record_compare(before, text, record, text);
        return is_first || order < 0 || (order == 0 && before->inode < record->inode &&
            (before->id_length != 0 || record->id_length != 0));
}

bool
index_body_is_sound(const struct index_header *header, struct record *records,
    const char *text)
{
        uint64_t octets = 0, at = 0;

        if (header->body_checksum != body_checksum(header, records, text))
                return false;
        for (uint64_t i = 0; i < header->count; i++)
                if (!record_is_sound(header, &records[i], i == 0, text, &at) ||
                    __builtin_add_overflow(octets, records[i].octets, &octets))
                        return false;
        return at == header->text_length && octets == header->octets;
}

/*
 * A file that is read in parts only is one that was cut, or is about to be. errno is set in any
 * case: ESTALE, for whatever is found wrong with what was read, unless the reading failed.
 */
static bool
read_at(int fd, void *data, size_t length, size_t offset)
{
        ssize_t count = RETRY(pread(fd, data, length, (off_t)offset));

        /* a server has a failure of that name, too */
        errno = count >= 0 ? ESTALE : errno == ESTALE ? EIO : errno;
        return count == (ssize_t)length;
}

/* It was read, or never will be. errno stays. */
static void
close_index(struct maildrop *drop)
{
        int error = errno;

        close(drop->index);
        drop->index = -1;
        errno = error;
}

int
index_open(struct maildrop *drop)
{
        struct stat status;

        drop->part = "/" INDEX_NAME;
        drop->index = open_list(drop, INDEX_NAME, &status);
        if (drop->index < 0 && errno != ENOENT)
                return -1;
        if (drop->index >= 0 &&
            !(read_at(drop->index, &drop->header, sizeof(drop->header), 0) &&
            index_header_is_sound(&drop->header, (uint64_t)status.st_size))) {
                close_index(drop);
                if (errno != ESTALE)
                        return -1;
        }
        return 0;
}

int
index_load(struct maildrop *drop)
{
        const struct index_header *header = &drop->header;
        size_t records_length = header->count * sizeof(struct record);
        bool is_sound;

        if (area_reserve(&drop->records, records_length) != 0 ||
            area_reserve(&drop->text, header->text_length) != 0)
                return -1;
        is_sound = read_at(drop->index, drop->records.data, records_length, sizeof(*header)) &&
            read_at(drop->index, drop->text.data, header->text_length,
            sizeof(*header) + records_length) &&
            index_body_is_sound(header, drop_records(drop), drop->text.data);
        close_index(drop);
        if (!is_sound)
                return -1;
        drop->records.used = records_length;
        drop->text.used = header->text_length;
        return ids_settle(drop);
}

uint64_t
index_begin(struct maildrop *drop)
{
        struct stat status;

        /* another's, in whose Maildir we are a guest, has unique-ids that he will want again */
        if (drop->owner != geteuid() && fstatat(drop->directory, INDEX_NAME, &status,
            AT_SYMLINK_NOFOLLOW) == 0 && status.st_uid != geteuid())
                return 0;
        for (int tries = 0; drop->next_index < 0 && tries < 2; tries++) {
                drop->next_index = openat(drop->directory, NEXT_NAME,
                    O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
                /* Left over by a session that was killed. */
                if (drop->next_index < 0 && errno == EEXIST)
                        unlinkat(drop->directory, NEXT_NAME, 0);
        }
        if (drop->next_index < 0 || fstat(drop->next_index, &status) != 0)
                return 0;
        return (uint64_t)status.st_mtim.tv_sec * 1000000000 + (uint64_t)status.st_mtim.tv_nsec;
}

/*
 * Brings what stays together, in the order of the records, and in a text of its
 * own. A message that could not be counted is to be tried again by the next session.
 */
static bool
gather(struct maildrop *drop, bool *has_ids)
{
        struct index_header *header = &drop->header;
        struct record *records = drop_records(drop), *to = records;
        struct area text = { 0 };

        /* all that is to come fits, so that it is done or not begun */
        if (area_reserve(&text, drop->text.used) != 0)
                return false;
        header->octets = 0;
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
                *has_ids |= to->id_length != 0;
                to->flags &= IN_CUR | UNCOUNTED;
                header->octets += to->octets;
                to++;
        }
        area_free(&drop->text);
        drop->text = text;
        drop->records.used = (size_t)(to - records) * sizeof(*to);
        header->magic = INDEX_MAGIC;
        header->count = drop_length(drop);
        header->text_length = text.used;
        header->body_checksum = body_checksum(header, records, text.data);
        header->header_checksum = header_checksum(header);
        return true;
}

/* Whether the file begun has its name still, which another host's session might have taken. */
RARE static bool
is_next(const struct maildrop *drop)
{
        struct stat ours, named;

        return fstat(drop->next_index, &ours) == 0 && fstatat(drop->directory, NEXT_NAME, &named,
            AT_SYMLINK_NOFOLLOW) == 0 && ours.st_ino == named.st_ino && ours.st_dev == named.st_dev;
}

RARE static bool
write_next(struct maildrop *drop)
{
        struct index_header *header = &drop->header;
        bool has_ids = drop->has_list, is_gathered = gather(drop, &has_ids);
        size_t records_length = header->count * sizeof(struct record);
        const struct iovec parts[] = { { header, sizeof(*header) },
            { drop->records.data, records_length }, { drop->text.data, drop->text.used } };
        size_t length = sizeof(*header) + records_length + drop->text.used;

        return is_gathered && RETRY(writev(drop->next_index, parts, 3)) == (ssize_t)length &&
            /* Counts can be had again, unique-ids that were given perhaps not. */
            (!has_ids || RETRY(fsync(drop->next_index)) == 0) && is_next(drop) &&
            renameat(drop->directory, NEXT_NAME, drop->directory, INDEX_NAME) == 0;
}

void
index_write(struct maildrop *drop)
{
        if (drop->is_better)
                index_begin(drop);
        if (drop->next_index < 0)
                return;
        if (drop->is_better && write_next(drop))
                drop->is_better = false;
        else if (is_next(drop))
                unlinkat(drop->directory, NEXT_NAME, 0);
        close(drop->next_index);
        drop->next_index = -1;
}
