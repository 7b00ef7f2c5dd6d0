/*
 * uniqueid.c - names for messages that last (RFC 1939 section 7, UIDL).
 *
 * Runs in:   the TRANSACTION process, as the mail user.
 * May touch: dovecot-uidlist and courierpop3dsizelist in the Maildir, for
 *            reading, and messages that share a base name.
 *
 * The unique-id is the base name. It is another one where the base name does
 * not fit the rules, where two files have the same, and where the clients of
 * a former server know the message by what that server called it.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "internal.h"

enum { LIST_LIMIT = 1 << 28 };  /* octets of a list; it would be one of millions of messages */

bool octets_are_id(const char *octets, size_t length)
{
        const uint64_t ones = UINT64_C(0x0101010101010101);
        uint64_t word, bad = length == 0 || length > UNIQUE_ID_MAX ? 0x80 : 0;

        /* An octet's highest bit is set by 0x80-0xFF, by 0x00-0x20 less 0x21, by 0x7F plus 1. */
        for (; length >= sizeof(word); length -= sizeof(word), octets += sizeof(word)) {
                memcpy(&word, octets, sizeof(word));
                bad |= word | (word - 0x21 * ones) | (word + ones);
        }
        for (; length > 0; length--, octets++)
                bad |= *octets < 0x21 || *octets > 0x7e ? 0x80 : 0;
        return (bad & 0x80 * ones) == 0;
}

/* What another server called its messages: pure */

static bool take_number(const char **at, const char *end, uint64_t *number)
{
        const char *start = *at;

        for (*number = 0; *at < end && **at >= '0' && **at <= '9' && *number <= UINT32_MAX; ++*at)
                *number = *number * 10 + (uint64_t)(**at - '0');
        return *at > start && *number <= UINT32_MAX;
}

static bool take_octet(const char **at, const char *end, char octet)
{
        bool is_there = *at < end && **at == octet;

        *at += is_there;
        return is_there;
}

/* The next line, without its end. What has no end was cut off, and is none. */
static bool take_line(struct former *former, const char **line, const char **line_end)
{
        *line = former->at;
        *line_end = memchr(former->at, '\n', (size_t)(former->end - former->at));
        former->at = *line_end != NULL ? *line_end + 1 : former->end;
        return *line_end != NULL;
}

/* "3 V1795472669 N25 ...", or "/3 4 1795472344" */
bool former_begin(struct former *former, const char *text, size_t length)
{
        const char *at, *end;
        uint64_t version;

        *former = (struct former){ .at = text, .end = text + length };
        if (!take_line(former, &at, &end))
                return false;
        former->is_courier = take_octet(&at, end, '/');
        if (!take_number(&at, end, &version) || !take_octet(&at, end, ' '))
                return false;
        if (former->is_courier)
                return version == 2 || version == 3;
        return version == 3 && take_octet(&at, end, 'V') &&
            take_number(&at, end, &former->validity);
}

/* "25006 W1394 Pid :name": number, fields that begin with a letter, name */
static bool parse_dovecot(const char *at, const char *end, struct former_id *entry)
{
        const char *blank;

        if (!take_number(&at, end, &entry->number) || !take_octet(&at, end, ' '))
                return false;
        for (; !take_octet(&at, end, ':'); at = blank + 1) {
                blank = memchr(at, ' ', (size_t)(end - at));
                if (blank == NULL)
                        return false;
                if (*at == 'P') {
                        entry->given = at + 1;
                        entry->given_length = (size_t)(blank - at) - 1;
                }
        }
        entry->base = at;
        entry->base_length = (size_t)(end - at);
        return true;
}

/* "name 1355 17:1795472344:0": name, octets, number, validity, since version 3 a flag */
static bool parse_courier(const char *at, const char *end, struct former_id *entry)
{
        const char *numbers = memrchr(at, ' ', (size_t)(end - at)), *octets;

        octets = numbers != NULL ? memrchr(at, ' ', (size_t)(numbers++ - at)) : NULL;
        if (octets == NULL || !take_number(&numbers, end, &entry->number) ||
            !take_octet(&numbers, end, ':') || !take_number(&numbers, end, &entry->validity) ||
            (numbers != end && *numbers != ':'))
                return false;
        entry->base = at;
        entry->base_length = (size_t)(octets - at);
        /* Number 0 stands for the name, as with us. */
        return entry->number != 0;
}

bool former_next(struct former *former, struct former_id *entry)
{
        const char *at, *end, *colon;

        while (take_line(former, &at, &end)) {
                *entry = (struct former_id){ .validity = former->validity };
                if (!(former->is_courier ? parse_courier : parse_dovecot)(at, end, entry))
                        continue;
                colon = memchr(entry->base, ':', entry->base_length);
                if (colon != NULL)
                        entry->base_length = (size_t)(colon - entry->base);
                if (entry->base_length > 0 && entry->base_length <= NAME_LIMIT)
                        return true;
        }
        return false;
}

size_t former_write(const struct former *former, const struct former_id *entry,
    char id[UNIQUE_ID_MAX + 1])
{
        uint64_t number = entry->number, validity = entry->validity;

        if (entry->given_length > 0) {
                if (!octets_are_id(entry->given, entry->given_length))
                        return 0;
                memcpy(id, entry->given, entry->given_length);
                return entry->given_length;
        }
        if (!former->is_courier)        /* pop3_uidl_format = %08Xu%08Xv */
                return (size_t)sprintf(id, "%08" PRIx64 "%08" PRIx64, number, validity);
        return (size_t)(validity != 0 ? sprintf(id, "UID%" PRIu64 "-%" PRIu64, number, validity) :
            sprintf(id, "UID%" PRIu64, number));
}

/* Taking them over */

/*
 * Reads a list. One that is there and cannot be read now fails the session:
 * ids given without it would stay for ever. Anything but a list is none.
 */
static int read_list(const struct maildrop *drop, const char *name, struct area *list,
    struct stat *status)
{
        int fd = open_list(drop, name, status);
        ssize_t length = 1;

        if (fd < 0)
                return errno == ENOENT || errno == EACCES || errno == ELOOP || errno == ENXIO ?
                    0 : -1;
        while (length > 0 && list->used < LIST_LIMIT) {
                length = area_reserve(list, PIECE_SIZE) != 0 ? -1 :
                    RETRY(read(fd, list->data + list->used, PIECE_SIZE));
                list->used += length > 0 ? (size_t)length : 0;
        }
        close(fd);
        return length < 0 ? -1 : 0;
}

/* The fresh message of this base name, or NULL; they are in the order of delivery. */
static struct record *find_fresh(const struct maildrop *drop, const uint32_t *fresh, size_t count,
    const struct former_id *entry)
{
        struct record wanted = { .name_length = (uint8_t)entry->base_length };
        size_t low = 0;

        record_describe(&wanted, entry->base);
        while (low < count) {
                size_t middle = low + (count - low) / 2;
                struct record *record = drop_records(drop) + fresh[middle];
                int order = record_compare(&wanted, entry->base, record, record_name(drop, record));

                if (order == 0)
                        return record;
                if (order < 0)
                        count = middle;
                else
                        low = middle + 1;
        }
        return NULL;
}

static int adopt(struct maildrop *drop, const uint32_t *fresh, size_t count,
    const struct area *list)
{
        char id[UNIQUE_ID_MAX + 1];
        struct former_id entry;
        struct former former;

        if (list->used == 0 || !former_begin(&former, list->data, list->used))
                return 0;
        while (former_next(&former, &entry)) {
                struct record *record = find_fresh(drop, fresh, count, &entry);
                size_t length = record != NULL && (record->id_length == 0 ||
                    record->id_length == NO_ID) ? former_write(&former, &entry, id) : 0;

                if (length == 0)
                        continue;
                record->id_length = (uint8_t)length;
                if (text_append(&drop->text, id, length, &record->id) != 0)
                        return -1;
                drop->taken_over++;
        }
        return 0;
}

/* Of two former servers, the one that wrote last is the one that clients know. */
int ids_take_over(struct maildrop *drop, const uint32_t *fresh, size_t count)
{
        struct area dovecot = { 0 }, courier = { 0 };
        struct stat dovecot_status = { 0 }, courier_status = { 0 };
        int result = -1;

        if (count == 0)
                return 0;
        if (read_list(drop, "dovecot-uidlist", &dovecot, &dovecot_status) == 0 &&
            read_list(drop, "courierpop3dsizelist", &courier, &courier_status) == 0)
                result = adopt(drop, fresh, count, courier.used > 0 && (dovecot.used == 0 ||
                    courier_status.st_mtime > dovecot_status.st_mtime) ? &courier : &dovecot);
        area_free(&dovecot);
        area_free(&courier);
        return result;
}

/* Settling them */

/* Adds an id to a set of hashes, which is large enough; whether it was not in it. */
static bool add_id(const struct maildrop *drop, size_t number, const struct area *set)
{
        char id[UNIQUE_ID_MAX];
        uint64_t *slots = (uint64_t *)(void *)set->data, mask = set->size / sizeof(*slots) - 1;
        uint64_t hash = checksum(0, id, maildrop_unique_id(drop, number, id)) | 1, at = hash >> 20;

        while (slots[at & mask] != 0 && slots[at & mask] != hash)
                at++;
        if (slots[at & mask] == hash)
                return false;
        slots[at & mask] = hash;
        return true;
}

/*
 * Stores a digest for an id: of the base name, from the first attempt on of
 * the content too, then of how often it was tried.
 */
static int store_digest(struct maildrop *drop, struct record *record, int attempt)
{
        const char *name = record_name(drop, record);
        uint64_t halves[2] = { checksum(1, name, record->base_length),
            checksum(2, name, record->base_length) };
        int fd = attempt > 0 && piece_reserve(drop) == 0 ? record_open(drop, record) : -1;
        ssize_t length;
        char id[33];

        while (fd >= 0 && (length = RETRY(read(fd, drop->piece, PIECE_SIZE))) > 0)
                for (int half = 0; half < 2; half++)
                        halves[half] = checksum(halves[half], drop->piece, (size_t)length);
        if (fd >= 0)
                close(fd);
        halves[0] += (uint64_t)(attempt > 1 ? attempt : 0);
        sprintf(id, "%016" PRIx64 "%016" PRIx64, halves[0], halves[1]);
        record->id_length = 32;
        return text_append(&drop->text, id, 32, &record->id);
}

/* An id that is all right stays, if no message before has it. */
static int settle(struct maildrop *drop, size_t number, const struct area *set)
{
        struct record *record = drop_records(drop) + number - 1;
        bool is_settled = (record->flags & SHARED) == 0 && record->id_length != NO_ID &&
            add_id(drop, number, set);

        for (int attempt = record->flags & SHARED ? 1 : 0; !is_settled; attempt++) {
                if (store_digest(drop, record, attempt) != 0)
                        return -1;
                is_settled = add_id(drop, number, set);
        }
        return 0;
}

int ids_settle(struct maildrop *drop)
{
        const struct record *records = drop_records(drop);
        struct area set = { 0 };
        bool is_plain = true;
        int result;

        /* Base names that are not SHARED are distinct. */
        for (size_t i = 0; i < drop_length(drop) && is_plain; i++)
                is_plain = records[i].id_length == 0 && (records[i].flags & SHARED) == 0;
        if (is_plain)
                return 0;
        result = area_reserve(&set, 2 * drop_length(drop) * sizeof(uint64_t));
        /* Known messages come first, lest a fresh one take their id. */
        for (int pass = 0; pass < 2; pass++)
                for (size_t i = 0; i < drop_length(drop) && result == 0; i++)
                        if (((records[i].flags & FRESH) != 0) == (pass != 0))
                                result = settle(drop, i + 1, &set);
        area_free(&set);
        return result;
}
