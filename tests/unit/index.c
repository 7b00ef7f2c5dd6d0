/*
 * index.c - what the index's reader takes, and all it must not take.
 *
 * A sound index is made, and then each of its octets changed, its end cut,
 * and each field forged with the checksums put right.
 */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"
#include "test.h"

struct image {
        struct index_header header;
        struct record records[4];
        char text[400];
};

static const uint64_t magic = UINT64_C(0x32784449446f7050);

static void
add(struct image *image, const char *name, const char *id, uint32_t file_hash, uint64_t octets)
{
        struct record *record = &image->records[image->header.count++];
        struct index_header *header = &image->header;

        record->file_hash = file_hash;
        record->octets = octets;
        record->name = (uint32_t)header->text_length;
        record->name_length = (uint8_t)strlen(name);
        strcpy(image->text + header->text_length, name);
        header->text_length += strlen(name) + 1;
        if (id != NULL) {
                record->id = (uint32_t)header->text_length;
                record->id_length = (uint8_t)strlen(id);
                strcpy(image->text + header->text_length, id);
                header->text_length += strlen(id) + 1;
        }
        record_describe(record, name);
        header->octets += octets;
}

static struct image
sample(void)
{
        struct image image;

        memset(&image, 0, sizeof(image));
        image.header.magic = magic;
        image.header.folders[1].changed = UINT64_C(0x0102030405060708);
        add(&image, "1700000000.a.host:2,S", NULL, 11, 100);
        add(&image, "1700000001.b.host", "0000000a6b04bd1d", 12, 200);
        add(&image, "1700000001.b.host:2,", NULL, 13, 5);
        add(&image, "1700000002.with blank", "digest", 14, 0);
        return image;
}

static uint64_t
size_of(const struct image *image)
{
        return sizeof(image->header) + image->header.count * sizeof(struct record) +
            image->header.text_length;
}

/* Puts the checksums right, as one would who forges; the image is what is in the file then. */
static void
seal(struct image *image)
{
        index_seal(&image->header, image->records, image->text);
}

/* As index.c does, on copies that are no larger than they must be. */
static bool
is_taken(const struct image *image, uint64_t size)
{
        struct index_header header = image->header;
        bool is_sound = index_header_is_sound(&header, size);

        if (is_sound) {
                size_t records_length = (size_t)header.count * sizeof(struct record);
                struct record *records = malloc(records_length + 1);
                char *text = malloc((size_t)header.text_length + 1);

                memcpy(records, image->records, records_length);
                memcpy(text, image->text, (size_t)header.text_length);
                is_sound = index_body_is_sound(&header, records, text);
                free(records);
                free(text);
        }
        return is_sound;
}

static void
test_damage(void)
{
        struct image image = sample();
        size_t size = (size_t)size_of(&image), accepted = 0;
        char *octets = (char *)&image;

        seal(&image);
        for (size_t at = 0; at < size; at++)
                for (int bit = 0; bit < 8; bit++) {
                        octets[at] = (char)(octets[at] ^ 1 << bit);
                        accepted += is_taken(&image, size);
                        octets[at] = (char)(octets[at] ^ 1 << bit);
                }
        test(accepted == 0, "no flipped bit goes unnoticed");
        for (size_t length = 0; length < 2 * size; length++) {
                struct index_header header = image.header;

                accepted += length != size && index_header_is_sound(&header, length);
        }
        test(accepted == 0, "nor does another length of the file");
        test(is_taken(&image, size), "the sound index is taken");
}

/* Whether a number of 8 octets is little-endian there. */
static bool
lies_at(const void *octets, uint64_t number)
{
        for (int i = 0; i < 8; i++)
                if (((const unsigned char *)octets)[i] != (unsigned char)(number >> 8 * i))
                        return false;
        return true;
}

static void
test_order_of_octets(void)
{
        struct image image = sample(), plain = image;
        const struct index_header *header = &image.header;
        const struct record *record = &image.records[1];

        seal(&image);
        test(lies_at(header, magic) && lies_at(&header->count, 4) && lies_at(&header->octets, 305) &&
            lies_at(&header->folders[1].changed, plain.header.folders[1].changed),
            "the header is little-endian in the file");
        test(lies_at(record, 200) && lies_at(&record->file_hash, 12 |
            (uint64_t)plain.records[1].name << 32) && lies_at(&record->id, plain.records[1].id |
            (uint64_t)1700000001 << 32), "and so are the records");
}

#define FORGED(name, change) do { \
        struct image image = sample(); \
        uint64_t size; \
        change; \
        size = size_of(&image); \
        seal(&image); \
        test(!is_taken(&image, size), name); \
} while (0)

static void
test_forgery(void)
{
        FORGED("another version", image.header.magic++);
        FORGED("another sum of octets", image.header.octets++);
        FORGED("octets that run over", image.records[0].octets = UINT64_MAX;
            image.records[1].octets = 306);
        FORGED("a name outside the text", image.records[3].name = 300);
        FORGED("a name inside another", image.records[1].name = 2);
        FORGED("a name longer than it is", image.records[0].name_length++);
        FORGED("a name shorter than it is", image.records[0].name_length--);
        FORGED("no name", image.records[0].name_length = 0);
        FORGED("a name with a slash", image.text[3] = '/');
        FORGED("a name with a NUL", image.text[3] = '\0');
        FORGED("a hidden name", image.text[0] = '.');
        FORGED("names out of order", image.text[0] = '9');
        FORGED("a flag that is not kept", image.records[0].flags = DELETED);
        FORGED("an id with a blank", image.text[image.records[1].id] = ' ');
        FORGED("an id with an 8-bit octet", image.text[image.records[1].id] = '\x80');
        FORGED("an id outside the text", image.records[1].id = 4000000000);
        FORGED("an id longer than it is", image.records[1].id_length = 255);
        FORGED("an id that is none", image.records[1].id_length = 0);
        FORGED("a base name that cannot be an id", image.records[3].id_length = 0);
        FORGED("one message twice", image.records[2].file_hash = 12);
        FORGED("text left over", image.header.text_length++);
        FORGED("text that ends early", image.header.text_length--);
        FORGED("fewer records than text", image.header.count--);
}

static void
test_order(void)
{
        static const char *const names[] = { "apple", "0", "00", "9.z", "10.a", "10.b:2,S", "10.b.c",
            "4294967294.x", "18446744073709551617.b", "4294967295.a", "99999999999999999999.c" };
        size_t wrong = 0, count = sizeof(names) / sizeof(*names);

        for (size_t i = 0; i < count; i++)
                for (size_t j = 0; j < count; j++) {
                        struct record a = { .name_length = (uint8_t)strlen(names[i]) };
                        struct record b = { .name_length = (uint8_t)strlen(names[j]) };
                        int order;

                        record_describe(&a, names[i]);
                        record_describe(&b, names[j]);
                        order = record_compare(&a, names[i], &b, names[j]);
                        /* "apple", "0" and "00" all have time zero, and follow by octets. */
                        if (i > 2 || j > 2)
                                wrong += (order < 0) != (i < j) || (order == 0) != (i == j);
                }
        test(wrong == 0, "the order of delivery: number, then octets");
}

static void
test_ids(void)
{
        static const struct { const char *octets; size_t length; bool is_id; } samples[] = {
                { "", 0, false }, { "a", 1, true }, { "!~", 2, true }, { "a b", 3, false },
                { "\x7f", 1, false }, { "abcdefg\x80", 8, false }, { "abcdefgh\x1f", 9, false },
                { "abcdefg\xff" "abcdefg\x7e", 16, false }, { "abcdefg\x21" "abcdefg\x7e", 16, true },
                { "abc\x7f" "efgh", 8, false }, { "abc\x20" "efgh", 8, false }, { "\0", 1, false },
        };
        char longest[71];
        bool agrees = true;

        for (size_t i = 0; i < sizeof(samples) / sizeof(*samples); i++)
                agrees &= octets_are_id(samples[i].octets, samples[i].length) == samples[i].is_id;
        memset(longest, 'x', sizeof(longest));
        test(octets_are_id(longest, 70) && !octets_are_id(longest, 71), "70 octets, no more");
        for (size_t at = 0; at < 70; at++)
                for (int octet = 0; octet < 256; octet++) {
                        longest[at] = (char)octet;
                        agrees &= octets_are_id(longest, 70) == (octet >= 0x21 && octet <= 0x7e);
                        longest[at] = 'x';
                }
        test(agrees, "every octet at every place of an id");
}

int
main(void)
{
        test_order_of_octets();
        test_damage();
        test_forgery();
        test_order();
        test_ids();
        return test_end();
}
