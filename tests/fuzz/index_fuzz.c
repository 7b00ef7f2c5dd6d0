/*
 * index_fuzz.c - any octets as an index.
 *
 * What is taken must be safe to use. The first octet says whether checksums
 * are put right, so that what lies behind them is reached too.
 */
#include <endian.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Reads all that the session would read. */
static void
use(const struct index_header *header, const struct record *records, const char *text)
{
        uint64_t octets = 0;

        for (uint64_t i = 0; i < header->count; i++) {
                const struct record *record = &records[i];
                size_t length = strlen(text + record->name);
                bool is_id = record->id_length != 0 ?
                    octets_are_id(text + record->id, record->id_length) :
                    octets_are_id(text + record->name, record->base_length);

                if (length != record->name_length || record->base_length > length || !is_id ||
                    strchr(text + record->name, '/') != NULL || text[record->name] == '.' ||
                    (i > 0 && record_compare(record - 1, text, record, text) > 0))
                        abort();
                octets += record->octets;
        }
        if (octets != header->octets)
                abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct index_header header;
        size_t records_length, text_length;
        struct record *records;
        char *text;

        if (size < 1 + sizeof(header))
                return 0;
        memcpy(&header, data + 1, sizeof(header));
        size -= 1;
        if (data[0] & 1) {
                uint64_t count = le64toh(header.count) % 64, rest = size - sizeof(header);
                uint64_t length = count * sizeof(*records);

                header.magic = htole64(UINT64_C(0x32784449446f7050));
                header.count = htole64(count);
                header.text_length = htole64(rest < length ? 0 : rest - length);
                header.header_checksum = htole64(checksum(0, &header,
                    offsetof(struct index_header, header_checksum)));
        }
        if (!index_header_is_sound(&header, size))
                return 0;
        records_length = (size_t)header.count * sizeof(*records);
        text_length = (size_t)header.text_length;
        records = malloc(records_length + 1);
        text = malloc(text_length + 1);
        memcpy(records, data + 1 + sizeof(header), records_length);
        memcpy(text, data + 1 + sizeof(header) + records_length, text_length);
        if (data[0] & 1)
                header.body_checksum = checksum(checksum(0, records, records_length), text,
                    text_length);
        if (data[0] & 2)
                for (uint64_t i = header.octets = 0; i < header.count; i++)
                        header.octets += le64toh(records[i].octets);
        if (index_body_is_sound(&header, records, text))
                use(&header, records, text);
        free(records);
        free(text);
        return 0;
}
