/*
 * forge_index.c - damages or forges an index at random, as its owner could.
 * Runs in:   the test runner.
 * May touch: the one file that it is given.
 *
 * usage: forge_index FILE seal           only computes the checksums anew
 *        forge_index FILE damage SEED    octets are changed, cut off or added
 *        forge_index FILE forge SEED     fields are changed, and the checksums made to fit
 */
#include "../../maildir/internal.h"

#include <err.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char content[1 << 20];
static size_t length;
static uint64_t state;

static uint64_t
random_number(uint64_t limit)
{
        state = state * 6364136223846793005U + 1442695040888963407U;
        return (state >> 33) % limit;
}

static struct index_header *
the_header(void)
{
        return (struct index_header *)(void *)content;
}

static void
seal(void)
{
        struct index_header *header = the_header();
        const char *records = content + sizeof(*header);
        size_t room = length - sizeof(*header);
        size_t count = header->count < room / sizeof(struct record)
            ? (size_t)header->count : room / sizeof(struct record);
        size_t records_length = count * sizeof(struct record);
        size_t text_length = room - records_length;

        if (header->text_length < text_length)
                text_length = (size_t)header->text_length;
        header->body_checksum = checksum(checksum(0, records, records_length),
            records + records_length, text_length);
        header->header_checksum = checksum(0, header, offsetof(struct index_header, header_checksum));
}

static void
damage(void)
{
        switch (random_number(4)) {
        case 0:
                length = random_number(length + 1);
                break;
        case 1:
                for (uint64_t more = 1 + random_number(5000); more > 0; more--)
                        content[length++] = (char)random_number(256);
                break;
        default:
                for (uint64_t times = 1 + random_number(8); times > 0; times--)
                        content[random_number(length)] ^= (char)(1 << random_number(8));
        }
}

/* A number near the border of something, or any. */
static uint64_t
odd_number(void)
{
        static const uint64_t odd[] = { 0, 1, 2, 3, 63, 64, 70, 71, 127, 128, 254, 255, 256, 65535,
                INT32_MAX, UINT32_MAX, (uint64_t)UINT32_MAX + 1, INT64_MAX, UINT64_MAX - 1, UINT64_MAX };
        uint64_t which = random_number(sizeof(odd) / sizeof(odd[0]) + 4);

        return which < sizeof(odd) / sizeof(odd[0]) ? odd[which] : random_number(100000);
}

static void
forge_record(void)
{
        struct index_header *header = the_header();
        struct record *record = (struct record *)(void *)(content + sizeof(*header)) +
            random_number(header->count);   /* which may be forged itself by now */

        switch (random_number(8)) {
        case 0: record->file_hash = (uint32_t)odd_number(); break;
        case 1: record->octets = odd_number(); break;
        case 2: record->name = (uint32_t)odd_number(); break;
        case 3: record->id = (uint32_t)odd_number(); break;
        case 4: record->name_length = (uint8_t)odd_number(); break;
        case 5: record->base_length = (uint8_t)odd_number(); break;
        case 6: record->id_length = (uint8_t)odd_number(); break;
        default: record->flags = (uint8_t)odd_number(); break;
        }
}

static void
forge_text(void)
{
        static const char odd[] = "\0\n\r/:.,.. \x7f\xff%";
        content[length - 1 - random_number(length - sizeof(struct index_header))] =
            odd[random_number(sizeof(odd))];
}

static void
forge(void)
{
        struct index_header *header = the_header();
        uint64_t octets = 0;

        for (uint64_t times = 1 + random_number(3); times > 0; times--)
                switch (random_number(8)) {
                case 0: header->octets = odd_number(); break;
                case 1: header->count = odd_number(); break;
                case 2: header->text_length = odd_number(); break;
                case 3: forge_text(); break;
                default:
                        if (header->count > 0 && header->count < 100)
                                forge_record();
                }
        /* mostly the sum is made to fit as well */
        if (random_number(4) != 0 && header->count < 100) {
                const struct record *records = (const struct record *)(void *)(content + sizeof(*header));

                for (uint64_t i = 0; i < header->count; i++)
                        octets += records[i].octets;
                header->octets = octets;
        }
        seal();
}

int
main(int argc, char **argv)
{
        int fd = argc < 3 ? -1 : open(argv[1], O_RDWR);
        ssize_t got = fd < 0 ? -1 : read(fd, content, sizeof(content) / 2);

        if (got < (ssize_t)sizeof(struct index_header))
                errx(1, "usage: forge_index FILE seal|damage|forge [SEED]");
        length = (size_t)got;
        state = argc > 3 ? strtoull(argv[3], NULL, 10) * 7919 + 1 : 0;
        if (strcmp(argv[2], "damage") == 0)
                damage();
        else if (strcmp(argv[2], "forge") == 0)
                forge();
        else
                seal();
        if (ftruncate(fd, 0) != 0 || pwrite(fd, content, length, 0) != (ssize_t)length)
                err(1, "%s", argv[1]);
        return 0;
}
