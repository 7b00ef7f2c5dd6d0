/*
 * uniqueid.c - names for messages that last (RFC 1939 section 7, UIDL).
 * Runs in:   the TRANSACTION process, as the mail user.
 * May touch: dovecot-uidlist and courierpop3dsizelist in the Maildir, for
 *            reading, and messages that share a base name.
 *
 * Where a unique-id comes from
 * ----------------------------
 * record.id_length says where it is. 0: it is the base name. NO_ID: there is none yet, and
 * the base name cannot be one. Else: it is that many octets at record.id of the text. For
 * a message that the index knows, the index says it. For a new file these decide, in turn:
 *
 * 1. add_record() in folder.c: 0 if the base name can be a unique-id, else NO_ID.
 * 2. compare_namesakes() in snapshot.c, if other files have or had the same base name: a
 *    file that took the place of a known message, as after a restore, gets that message's
 *    unique-id, and is not FRESH any more. A file beside another becomes SHARED.
 * 3. ids_take_over(): if Dovecot or Courier served the Maildir before, and has a line for
 *    the base name in its list, clients know the message by what that server called it. Only
 *    what is FRESH and not SHARED is taken over. So this happens once: the next
 *    session knows the message from the index.
 * 4. ids_assign(): a digest for each message that is SHARED or has NO_ID, or has a unique-id
 *    that a message before it has too. Known messages come before FRESH ones, so that a
 *    unique-id that a client was told stays with its message.
 *
 * Afterwards each message has one. It lasts because index.c keeps it. If the index is lost
 * all this is done again, and gives the same, but for this: what was taken over needs the list
 * still, and of several files with one base name all are SHARED then, also the one
 * that was there first and had the base name for its unique-id.
 *
 * index.c takes an index only if each unique-id in it obeys the RFC, and if of messages with
 * one base name at most one has that for its unique-id. That all of them differ is seen to by
 * ids_assign(), after an index was loaded.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "internal.h"

enum { LIST_LIMIT = 1 << 28 };  /* octets of a list, which are lines of millions of messages */

/*
 * Reads the list of another server, if there is one; of two lists the one that was written
 * last, because clients used that server last. A list that is there but cannot be read now
 * fails the session: without it messages would get unique-ids that they then keep for ever.
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

/* A message of this base name, or NULL, by halving the records, which are in order. */
static struct record *
find_by_base_name(const struct maildrop *drop, const char *base)
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
                struct record *record = find_by_base_name(drop, base);

                /* a message that is FRESH and not SHARED is the only one of its base name */
                if (record == NULL || (record->flags & (FRESH | SHARED)) != FRESH)
                        continue;
                /* of several lines for one message the last is kept, and one is counted */
                if (record->id_length == 0 || record->id_length == NO_ID)
                        drop->totals.taken_over++;
                record->id_length = (uint8_t)strlen(id);
                result = text_append(&drop->text, id, record->id_length, &record->id);
        }
        area_free(&list);
        return result;
}

/*
 * The slot of a record's unique-id in a set of hashes, which is 0 if the set has not got it.
 * At most half of the slots are taken. 0 is a slot that is free, so the lowest bit of each
 * hash is set.
 */
static uint64_t *
find_in_set(const struct maildrop *drop, const struct record *record, const struct area *set,
    uint64_t *hash)
{
        char id[UNIQUE_ID_MAX];
        uint64_t *slots = (uint64_t *)(void *)set->data, mask = set->size / sizeof(*slots) - 1;
        size_t length = record_unique_id(record, drop->text.data, id);
        uint64_t at;

        *hash = checksum(0, id, length) | 1;
        at = *hash >> 20;
        while (slots[at & mask] != 0 && slots[at & mask] != *hash)
                at++;
        return &slots[at & mask];
}

/* Adds a record's unique-id to a set; false if the set had it. */
static bool
add_to_set(const struct maildrop *drop, const struct record *record, const struct area *set)
{
        uint64_t hash, *slot = find_in_set(drop, record, set, &hash);

        if (*slot != 0)
                return false;
        *slot = hash;
        return true;
}

/*
 * Begins a digest: of the base name, and with_content of the content as well, that is of
 * its octet count and its first PIECE_SIZE octets, because a file may be larger than anyone
 * can read.
 */
static void
begin_digest(struct maildrop *drop, struct record *record, bool with_content, uint64_t halves[2])
{
        int fd = with_content ? record_open(drop, record) : -1;
        ssize_t length = fd >= 0 ? RETRY(read(fd, drop->piece, PIECE_SIZE)) : 0;

        for (int half = 0; half < 2; half++) {
                halves[half] = checksum(1 + (uint64_t)half, record_name(drop, record),
                    record->base_length);
                if (length > 0)
                        halves[half] = checksum(halves[half] ^ record->octets, drop->piece,
                            (size_t)length);
        }
        if (fd >= 0)
                close(fd);
}

/* Makes a digest the unique-id of a record; the number of attempt 2 and later is added. */
static int
store_digest(struct maildrop *drop, struct record *record, const uint64_t halves[2],
    uint64_t attempt)
{
        char id[33];

        (void)snprintf(id, sizeof(id), "%016" PRIx64 "%016" PRIx64,
            halves[0] + (attempt >= 2 ? attempt : 0), halves[1]);
        record->id_length = 32;
        return text_append(&drop->text, id, 32, &record->id);
}

/* Whether the digest of this attempt is taken: 1, 0, or -1 for an error. */
static int
is_taken(struct maildrop *drop, struct record *record, const struct area *set,
    const uint64_t halves[2], uint64_t attempt)
{
        size_t used = drop->text.used;
        uint64_t hash;

        if (store_digest(drop, record, halves, attempt) != 0)
                return -1;
        drop->text.used = used;
        return *find_in_set(drop, record, set, &hash) != 0;
}

/*
 * Finds an attempt whose digest is free. The attempts that are taken are mostly 1 to n, so n is
 * found by doubling, then by halving what lies between; any attempt that is free will do.
 */
static int
find_attempt(struct maildrop *drop, struct record *record, const struct area *set,
    const uint64_t halves[2], uint64_t *attempt)
{
        uint64_t taken = 0, step = 1;
        int result;

        *attempt = 1;
        while ((result = is_taken(drop, record, set, halves, *attempt)) == 1) {
                taken = *attempt;
                *attempt += step;
                step *= 2;
        }
        while (result >= 0 && *attempt - taken > 1) {
                uint64_t middle = taken + (*attempt - taken) / 2;

                result = is_taken(drop, record, set, halves, middle);
                if (result == 1)
                        taken = middle;
                else
                        *attempt = middle;
        }
        return result < 0 ? -1 : 0;
}

/* Sees that a record has a unique-id which is not in the set yet, and adds it. */
static int
assign(struct maildrop *drop, struct record *record, const struct area *set)
{
        bool is_shared = (record->flags & SHARED) != 0;
        uint64_t halves[2], attempt = 0;

        if (!is_shared && record->id_length != NO_ID && add_to_set(drop, record, set))
                return 0;
        /* the base name alone is the same for all that share it */
        if (!is_shared) {
                begin_digest(drop, record, false, halves);
                if (store_digest(drop, record, halves, 0) != 0)
                        return -1;
                if (add_to_set(drop, record, set))
                        return 0;
        }
        begin_digest(drop, record, true, halves);
        if (find_attempt(drop, record, set, halves, &attempt) != 0 ||
            store_digest(drop, record, halves, attempt) != 0)
                return -1;
        (void)add_to_set(drop, record, set);
        return 0;
}

/* Whether each unique-id is a base name that no other message has; they differ then. */
static bool
all_have_base_names(const struct maildrop *drop)
{
        for (size_t i = 0; i < drop_length(drop); i++) {
                const struct record *record = drop_records(drop) + i;

                if (record->id_length != 0 || (record->flags & SHARED) != 0)
                        return false;
        }
        return true;
}

int
ids_assign(struct maildrop *drop)
{
        struct record *records = drop_records(drop);
        struct area set = { 0 };
        int result;

        if (all_have_base_names(drop))
                return 0;
        result = area_reserve(&set, 2 * drop_length(drop) * sizeof(uint64_t));
        for (size_t i = 0; i < drop_length(drop) && result == 0; i++)
                if ((records[i].flags & FRESH) == 0)
                        result = assign(drop, &records[i], &set);
        for (size_t i = 0; i < drop_length(drop) && result == 0; i++)
                if (records[i].flags & FRESH)
                        result = assign(drop, &records[i], &set);
        area_free(&set);
        return result;
}
