/*
 * uniqueid.c - names for messages that last (RFC 1939 section 7, UIDL).
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
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "internal.h"

enum { LIST_LIMIT = 1 << 28 };  /* octets of a list; it would be one of millions of messages */

static bool
take_number(char **at, uint64_t *number)
{
        bool is_number = **at >= '0' && **at <= '9';

        *number = strtoull(*at, at, 10);
        return is_number && *number <= UINT32_MAX;
}

/* The next line. What has no end was cut off, and is none. */
static char *
take_line(struct former *former)
{
        char *line = former->at, *end = memchr(line, '\n', (size_t)(former->end - line));

        if (end == NULL)
                return NULL;
        *end = '\0';
        former->at = end + 1;
        return line;
}

/* "3 V1795472669 N25 ...", or "/3 4 1795472344" */
bool
former_begin(struct former *former, char *text, size_t length)
{
        uint64_t version;
        char *at;

        *former = (struct former){ .at = text, .end = text + length };
        at = take_line(former);
        if (at == NULL)
                return false;
        former->is_courier = *at == '/';
        at += former->is_courier;
        if (!take_number(&at, &version) || *at++ != ' ')
                return false;
        if (former->is_courier)
                return version == 2 || version == 3;
        return version == 3 && *at++ == 'V' && take_number(&at, &former->validity);
}

/* "25006 W1394 Pid :name": number, fields that begin with a letter, name */
static char *
parse_dovecot(const struct former *former, char *at, char id[UNIQUE_ID_MAX + 1])
{
        char *name = strstr(at, " :"), *field;
        uint64_t number;

        if (name == NULL || !take_number(&at, &number) || *at != ' ')
                return NULL;
        *name = '\0';
        (void)sprintf(id, "%08" PRIx64 "%08" PRIx64, number, former->validity);   /* %08Xu%08Xv */
        while ((field = strsep(&at, " ")) != NULL)
                if (field[0] == 'P' && octets_are_id(field + 1, strlen(field + 1)))
                        (void)sprintf(id, "%s", field + 1);
                else if (field[0] == 'P' && field[1] != '\0')
                        return NULL;
        return name + 2;
}

/* "name 1355 17:1795472344:0": name, octets, number, validity, since version 3 a flag */
static char *
parse_courier(char *line, char id[UNIQUE_ID_MAX + 1])
{
        char *numbers = strrchr(line, ' '), *octets;
        uint64_t number, validity;

        if (numbers == NULL)
                return NULL;
        *numbers++ = '\0';
        octets = strrchr(line, ' ');
        if (octets == NULL || !take_number(&numbers, &number) || *numbers++ != ':' ||
            !take_number(&numbers, &validity) || (*numbers != '\0' && *numbers != ':'))
                return NULL;
        *octets = '\0';
        if (validity != 0)
                (void)sprintf(id, "UID%" PRIu64 "-%" PRIu64, number, validity);
        else
                (void)sprintf(id, "UID%" PRIu64, number);
        /* Number 0 stands for the name, as with us. */
        return number != 0 ? line : NULL;
}

char *
former_next(struct former *former, char id[UNIQUE_ID_MAX + 1])
{
        char *line;

        while ((line = take_line(former)) != NULL) {
                char *base = former->is_courier ? parse_courier(line, id) :
                    parse_dovecot(former, line, id);

                if (base == NULL)
                        continue;
                base[strcspn(base, ":")] = '\0';
                if (base[0] != '\0' && strlen(base) <= NAME_LIMIT)
                        return base;
        }
        return NULL;
}

/*
 * Reads the list of a former server, if there is one; of two, the one that was
 * written last is the one that clients know. Anything but a list is none; one
 * that is there and cannot be read now fails the session, for ids given
 * without it would stay for ever.
 */
static int
read_list(const struct maildrop *drop, struct area *list)
{
        static const char *const names[] = { "dovecot-uidlist", "courierpop3dsizelist" };
        struct stat status[2];
        int fds[2], newest, error = 0;
        size_t size;

        for (int i = 0; i < 2; i++) {
                fds[i] = open_list(drop, names[i], &status[i]);
                if (fds[i] >= 0)
                        continue;
                status[i].st_size = 0;
                if (errno != ENOENT)
                        error = errno;
        }
        newest = status[0].st_size == 0 ||
            (status[1].st_size > 0 && status[1].st_mtime > status[0].st_mtime);
        size = (size_t)(status[newest].st_size < LIST_LIMIT ? status[newest].st_size : LIST_LIMIT);
        if (size > 0 && area_reserve(list, size) != 0)
                error = ENOMEM;
        else if (size > 0 && RETRY(read(fds[newest], list->data, size)) != (ssize_t)size)
                error = EIO;
        list->used = size;
        for (int i = 0; i < 2; i++)
                if (fds[i] >= 0)
                        close(fds[i]);
        errno = error;
        return error != 0 ? -1 : 0;
}

/* The message of this base name, or NULL. */
static struct record *
find_record(const struct maildrop *drop, const char *base)
{
        struct record wanted = { .name_length = (uint8_t)strlen(base) };
        size_t low = 0, high = drop_length(drop);

        record_describe(&wanted, base);
        while (low < high) {
                size_t middle = low + (high - low) / 2;
                struct record *record = drop_records(drop) + middle;
                int order = record_compare(&wanted, base, record, drop->text.data);

                if (order == 0)
                        return record;
                if (order < 0)
                        high = middle;
                else
                        low = middle + 1;
        }
        return NULL;
}

int
ids_take_over(struct maildrop *drop)
{
        char id[UNIQUE_ID_MAX + 1], *base;
        struct area list = { 0 };
        struct former former;
        int result = read_list(drop, &list);

        drop->has_list = result == 0 && list.used > 0 &&
            former_begin(&former, list.data, list.used);

        while (drop->has_list && result == 0 && (base = former_next(&former, id)) != NULL) {
                struct record *record = find_record(drop, base);

                /* the last line counts; and a fresh one that is not shared is alone under its name */
                if (record == NULL || (record->flags & (FRESH | SHARED)) != FRESH)
                        continue;
                drop->taken_over += record->id_length == 0 || record->id_length == NO_ID;
                record->id_length = (uint8_t)strlen(id);
                result = text_append(&drop->text, id, record->id_length, &record->id);
        }
        area_free(&list);
        return result;
}

/* Adds an id to a set of hashes, which is large enough; whether it was not in it. */
static bool
add_id(const struct maildrop *drop, size_t number, const struct area *set)
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
 * the content too, then of how often it was tried. The content's length and
 * beginning will do: a file may be larger than anyone can read.
 */
static int
store_digest(struct maildrop *drop, struct record *record, int attempt)
{
        int fd = attempt > 0 ? record_open(drop, record) : -1;
        ssize_t length = fd >= 0 ? RETRY(read(fd, drop->piece, PIECE_SIZE)) : 0;
        uint64_t halves[2];
        char id[33];

        for (int half = 0; half < 2; half++) {
                halves[half] = checksum(1 + (uint64_t)half, record_name(drop, record),
                    record->base_length);
                if (length > 0)
                        halves[half] = checksum(halves[half] ^ record->octets, drop->piece,
                            (size_t)length);
        }
        if (fd >= 0)
                close(fd);
        halves[0] += (uint64_t)(attempt > 1 ? attempt : 0);
        (void)sprintf(id, "%016" PRIx64 "%016" PRIx64, halves[0], halves[1]);
        record->id_length = 32;
        return text_append(&drop->text, id, 32, &record->id);
}

/* An id that is all right stays, if no message before has it. */
static int
settle(struct maildrop *drop, size_t number, const struct area *set)
{
        struct record *record = drop_records(drop) + number - 1;
        bool is_fit = (record->flags & SHARED) == 0 && record->id_length != NO_ID;
        int attempt = record->flags & SHARED ? 1 : 0;

        for (; !is_fit || !add_id(drop, number, set); is_fit = true)
                if (store_digest(drop, record, attempt++) != 0)
                        return -1;
        return 0;
}

int
ids_settle(struct maildrop *drop)
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
