/*
 * older.c - the unique-ids in an index of a format that is not written any more.
 * Runs in:   the TRANSACTION process, as the mail user.
 * May touch: pop3d.index in the Maildir, for reading.
 *
 * An index of another format costs a new reading of the Maildir, but what it says of unique-ids
 * is true still. There has been one other format, the first: its header was the present one,
 * and its records had the inode number itself in place of its hash.
 */
#include <endian.h>
#include <stddef.h>
#include <unistd.h>

#include "internal.h"

#define FIRST_MAGIC UINT64_C(0x31784449446f7050)

/* A record of the first format. Its numbers are little-endian. */
struct first_record {
        uint64_t inode, octets;
        uint32_t name, id, delivered;
        uint8_t name_length, base_length, id_length, flags;
};

/* The text of a file if it is a sound index of the first format, else NULL. */
static const char *
find_text(const struct area *file)
{
        const struct index_header *header = (const void *)file->data;
        size_t length = file->used - sizeof(*header), records_length;
        const char *records = file->data + sizeof(*header);

        if (file->used <= sizeof(*header) || le64toh(header->magic) != FIRST_MAGIC ||
            le64toh(header->header_checksum) !=
            checksum(0, header, offsetof(struct index_header, header_checksum)) ||
            le64toh(header->count) > length / sizeof(struct first_record))
                return NULL;
        records_length = (size_t)le64toh(header->count) * sizeof(struct first_record);
        length -= records_length;
        return length == le64toh(header->text_length) && file->data[file->used - 1] == '\0' &&
            le64toh(header->body_checksum) == checksum(checksum(0, records, records_length),
            records + records_length, length) ? records + records_length : NULL;
}

int
older_open(const struct maildrop *drop, struct older *older)
{
        struct stat status;
        int fd = open_list(drop, INDEX_NAME, &status), result;

        *older = (struct older){ 0 };
        if (fd < 0)
                return 0;
        result = list_read(fd, &status, SIZE_MAX, &older->file);
        close(fd);
        if (result != 0)
                return errno == ENOMEM ? -1 : 0;
        older->text = find_text(&older->file);
        older->at = older->file.data + sizeof(struct index_header);
        return 0;
}

bool
older_next(struct older *older, struct record *record, const char **name, const char **id)
{
        const char *text = older->text;
        const size_t before = text != NULL ? (size_t)(text - older->file.data) : 0;
        const size_t length = older->file.used - before;

        while (text != NULL && older->at < text) {
                const struct first_record *first = (const void *)older->at;
                size_t name_at = le32toh(first->name);
                size_t id_at = first->id_length > 0 ? le32toh(first->id) : 0;

                older->at += sizeof(*first);
                *record = (struct record){ .name_length = first->name_length,
                    .id_length = first->id_length };
                record->file_hash =
                    (uint32_t)(le64toh(first->inode) * UINT64_C(0x9e3779b97f4a7c15) >> 32);
                if (name_at + first->name_length >= length || id_at + first->id_length >= length)
                        continue;
                *name = text + name_at;
                *id = text + id_at;
                record_describe(record, *name);
                if (record->id_length == 0 ? octets_are_id(*name, record->base_length) :
                    octets_are_id(*id, record->id_length))
                        return true;
        }
        return false;
}
