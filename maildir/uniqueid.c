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
 * 3. give_kept(): what pop3d.ids says of it (kept.c). The file is not FRESH any more then.
 * 4. give_older(): the same for an index whose format is an older one (older.c).
 * 5. take_over(): if Dovecot or Courier served the Maildir before, and has a line for
 *    the base name in its list, clients know the message by what that server called it. Only
 *    what is FRESH and not SHARED is taken over. So this happens once: the next
 *    session knows the message from the index.
 * 6. ids_assign(): a digest for each message that is SHARED or has NO_ID, or has a unique-id
 *    that a message before it has too. Known messages come before FRESH ones, so that a
 *    unique-id that a client was told stays with its message.
 *
 * Afterwards each message has one. It lasts because index.c keeps it; and if the index is lost
 * all this is done again. Then the base name alone would not give the same for
 *
 *   - a unique-id that is not the base name: the list it came from may be gone, and a digest
 *     depends on which files of one base name were there, and in what order they came;
 *   - the one message among several of one base name that has this for its unique-id;
 *   - any message, where another server has a list: it may have a line for the message by now.
 *
 * Therefore keep() writes these into pop3d.ids, before a client is told any of them.
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

enum { LIST_BEGINNING = 4096 }; /* octets that tell whether it is a list of another server */

/*
 * Reads the list of another server, up to limit, if there is one; of two lists the one that
 * was written last, because clients used that server last. A list that is there but cannot be
 * read fails the session, and part tells which it is: without it messages would get unique-ids
 * that they then keep for ever.
 */
static int
read_list(struct maildrop *drop, size_t limit, struct area *list)
{
        static const char *const parts[] = { "/dovecot-uidlist", "/courierpop3dsizelist" };
        struct stat status[2];
        int fds[2], newest, error = 0;

        for (int i = 0; i < 2; i++) {
                fds[i] = open_list(drop, parts[i] + 1, &status[i]);
                if (fds[i] >= 0)
                        continue;
                status[i].st_size = 0;
                if (errno == ENOENT)
                        continue;
                error = errno;
                drop->part = parts[i];
        }
        newest = status[0].st_size == 0 ||
            (status[1].st_size > 0 && status[1].st_mtime > status[0].st_mtime);
        if (error == 0 && fds[newest] >= 0 &&
            list_read(fds[newest], &status[newest], limit, list) != 0) {
                error = errno;
                drop->part = parts[newest];
        }
        for (int i = 0; i < 2; i++)
                if (fds[i] >= 0)
                        close(fds[i]);
        errno = error;
        return error != 0 ? -1 : 0;
}

/*
 * A message of this base name, or NULL, by halving the records, which are in order. With
 * by_hash it has the file_hash of wanted as well.
 */
static struct record *
find_message(const struct maildrop *drop, const struct record *wanted, const char *base,
    bool by_hash)
{
        size_t low = 0, high = drop_length(drop);

        while (low < high) {
                size_t middle = low + (high - low) / 2;
                struct record *record = drop_records(drop) + middle;
                int order = record_compare(wanted, base, record, drop->text.data);

                if (order == 0 && by_hash && wanted->file_hash != record->file_hash)
                        order = wanted->file_hash < record->file_hash ? -1 : 1;
                if (order == 0)
                        return record;
                if (order < 0)
                        high = middle;
                else
                        low = middle + 1;
        }
        return NULL;
}

/* Gives a file, which is not FRESH from now on, the unique-id that its message is known by. */
static int
give_known(struct maildrop *drop, struct record *record, const char *id, size_t length)
{
        bool is_base_name = length == record->base_length &&
            memcmp(id, record_name(drop, record), length) == 0;

        record->flags &= (uint8_t)~(FRESH | SHARED);
        record->id_length = is_base_name ? 0 : (uint8_t)length;
        return is_base_name ? 0 : text_append(&drop->text, id, length, &record->id);
}

static int
give_kept(struct maildrop *drop, const struct kept *kept)
{
        for (size_t i = 0; i < drop_length(drop); i++) {
                const struct record *record = drop_records(drop) + i;

                if ((record->flags & FRESH) == 0 && record_has_namesake(drop, record))
                        kept_give(drop, kept, record);
        }
        for (size_t i = 0; i < drop_length(drop); i++) {
                struct record *record = drop_records(drop) + i;
                const char *id = NULL;

                if (record->flags & FRESH)
                        id = kept_find(drop, kept, record, record_has_namesake(drop, record));
                if (id != NULL && give_known(drop, record, id, strlen(id)) != 0)
                        return -1;
        }
        return 0;
}

/* Gives what an older index says. Of several files with one base name the inode tells which. */
static int
give_older(struct maildrop *drop)
{
        struct record known, *record;
        const char *name, *id;
        struct older older;
        int result;

        if (drop->totals.lost_index == NULL)
                return 0;
        result = older_open(drop, &older);
        if (older.text != NULL)
                drop->totals.lost_index = "older";
        while (result == 0 && older_next(&older, &known, &name, &id)) {
                record = find_message(drop, &known, name, false);
                if (record != NULL && record_has_namesake(drop, record))
                        record = find_message(drop, &known, name, true);
                if (record != NULL && (record->flags & FRESH) != 0)
                        result = give_known(drop, record, known.id_length == 0 ? name : id,
                            known.id_length == 0 ? known.base_length : known.id_length);
        }
        area_free(&older.file);
        return result;
}

/* Gives FRESH messages the unique-ids that a list of another server has for them. */
static int
take_over(struct maildrop *drop, struct former *former)
{
        char id[UNIQUE_ID_MAX + 1], *base;

        while ((base = former_next(former, id)) != NULL) {
                struct record wanted = { .name_length = (uint8_t)strlen(base) }, *record;
                size_t length = strlen(id);

                record_describe(&wanted, base);
                record = find_message(drop, &wanted, base, false);
                /* a message that is FRESH and not SHARED is the only one of its base name */
                if (record == NULL || (record->flags & (FRESH | SHARED)) != FRESH)
                        continue;
                /* of several lines for one message the last is kept, and one is counted */
                if (record->id_length == 0 || record->id_length == NO_ID)
                        drop->totals.taken_over++;
                record->id_length = (uint8_t)length;
                if (strcmp(id, base) == 0)
                        record->id_length = 0;
                else if (text_append(&drop->text, id, length, &record->id) != 0)
                        return -1;
        }
        return 0;
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
        if (!is_shared && !record_has_namesake(drop, record)) {
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
        const struct record *record = drop_records(drop), *end = record + drop_length(drop);

        for (; record < end; record++)
                if (record->id_length != 0 || (record + 1 < end && record->delivered ==
                    record[1].delivered && record_has_namesake(drop, record)))
                        return false;
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

/*
 * Writes into pop3d.ids what it lacks. A guest in the Maildir of another user writes nothing
 * there: the file would be his, and its owner could not use it.
 */
static int
keep(struct maildrop *drop, struct kept *kept)
{
        if (drop->owner != geteuid() || drop->is_only_looked_at ||
            (!drop->has_list && all_have_base_names(drop)))
                return 0;
        for (size_t i = 0; i < drop_length(drop); i++) {
                struct record *record = drop_records(drop) + i;
                bool is_shared = record_has_namesake(drop, record);

                if ((drop->has_list || record->id_length != 0 || is_shared) &&
                    kept_add(drop, kept, record, is_shared) != 0) {
                        drop->part = "/" IDS_NAME;
                        return -1;
                }
        }
        drop->keep_error = kept_save(drop, kept) == 0 ? 0 : errno;
        return 0;
}

/* Whether another server has a list, which is read up to limit; see read_list(). */
static int
find_list(struct maildrop *drop, size_t limit, struct area *list, struct former *former)
{
        bool takes_over = drop->id_format == NULL || strcmp(drop->id_format, ID_FORMAT_NONE) != 0;

        if (takes_over && read_list(drop, limit, list) != 0)
                return -1;
        drop->has_list = list->used > 0 &&
            former_begin(former, drop->id_format, list->data, list->used);
        return 0;
}

int
ids_keep(struct maildrop *drop)
{
        struct kept kept = { 0 };
        struct area list = { 0 };
        struct former former;
        int result = 0;

        if (!kept_is_doubtful(drop))
                return 0;
        result = find_list(drop, LIST_BEGINNING, &list, &former);
        if (result == 0 && (drop->has_list || !all_have_base_names(drop))) {
                /* so that the index is the later one again */
                drop->index_is_due = true;
                if (kept_load(drop, &kept) == 0)
                        result = keep(drop, &kept);
                else if (errno == EPERM || errno == EACCES)
                        drop->keep_error = errno;       /* the index has all that is needed now */
                else
                        result = -1;
        }
        area_free(&list);
        kept_free(&kept);
        return result;
}

int
ids_settle(struct maildrop *drop, bool has_fresh)
{
        struct area list = { 0 };
        struct kept kept = { 0 };
        struct former former;
        int result = find_list(drop, has_fresh ? LIST_LIMIT : LIST_BEGINNING, &list, &former);

        if (result == 0 && !drop->is_as_if_new &&
            (has_fresh || drop->has_list || !all_have_base_names(drop)))
                result = kept_load(drop, &kept);
        if (result == 0 && !drop->is_as_if_new && has_fresh)
                result = give_kept(drop, &kept) != 0 || give_older(drop) != 0 ? -1 : 0;
        if (result == 0 && has_fresh && drop->has_list)
                result = take_over(drop, &former);
        if (result == 0)
                result = ids_assign(drop);
        if (result == 0)
                result = keep(drop, &kept);
        area_free(&list);
        kept_free(&kept);
        return result;
}
