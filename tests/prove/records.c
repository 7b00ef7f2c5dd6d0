/*
 * records.c - no two records of an index make its parser leave the memory that was read.
 *
 * Runs in:   make prove, with the object that is shipped and under the sanitizers.
 * May touch: memory.
 *
 * What index.c shows of one record, for any octets, is tried here of two, which are
 * compared with each other, for all words of the octets that matter. Beyond the text and
 * the records lies memory that nobody may touch.
 */
#include "../../maildir/internal.h"
#include "every.h"

void prove_two(void);

enum { TEXT_MAX = 8 - 2 * LESS };

static const char letters[] = "/.:a";           /* and the NUL that ends it */

/* What the rest of maildir/ relies on, once an index was taken. */
static void
check_taken(const struct record *records, const char *text, size_t length)
{
        uint64_t used = 0;

        taken++;
        for (size_t i = 0; i < 2; i++) {
                const char *name = text + records[i].name, *id = text + records[i].id;
                size_t base = strcspn(name, ":");

                if (strlen(name) != records[i].name_length || records[i].base_length != base ||
                    name[0] == '.' || strchr(name, '/') != NULL)
                        fail("no name", text, length);
                if (records[i].id_length == 0 ? !octets_are_id(name, base) :
                    strlen(id) != records[i].id_length || !octets_are_id(id, records[i].id_length))
                        fail("no unique-id", text, length);
                used += records[i].name_length + 1U;
                used += records[i].id_length != 0 ? records[i].id_length + 1U : 0;
        }
        if (used != length)
                fail("octets of nobody's", text, length);
        if (record_compare(&records[0], text, &records[1], text) > 0)
                fail("out of order", text, length);
        if (record_compare(&records[0], text, &records[1], text) == 0 &&
            records[0].id_length == 0 && records[1].id_length == 0)
                fail("one unique-id for two", text, length);
}

/* Two records whose names and ids have these lengths, each behind the one before. */
static void
check(struct record records[2], const char *text, size_t length, const uint8_t lengths[4])
{
        struct index_header header = { .count = 2, .text_length = length, .octets = 3 };
        uint32_t at = 0;

        for (size_t i = 0; i < 2; i++) {
                records[i] = (struct record){ .file_hash = (uint32_t)i, .octets = i + 1, .name = at,
                    .name_length = lengths[i], .id_length = lengths[2 + i] };
                at += records[i].name_length + 1U;
                records[i].id = at;
                at += records[i].id_length != 0 ? records[i].id_length + 1U : 0;
        }
        header.body_checksum = checksum(checksum(0, records, 2 * sizeof(*records)), text, length);
        tried++;
        if (index_body_is_sound(&header, records, text))
                check_taken(records, text, length);
}

/* The next word of letters; false after the last one. */
static bool
next_word(char *word, size_t length)
{
        for (size_t i = 0; i < length; i++) {
                const char *letter = memchr(letters, word[i], sizeof(letters));

                if (letter + 1 < letters + sizeof(letters)) {
                        word[i] = letter[1];
                        return true;
                }
                word[i] = letters[0];
        }
        return false;
}

/*
 * Two records and all texts of up to 8 octets of slash, dot, colon, a and NUL, cut
 * into names of each length and ids of up to 2 octets: what is taken is sound.
 */
void
prove_two(void)
{
        char *end = guarded();
        struct record *records = (struct record *)(void *)(guarded() - 2 * sizeof(*records));

        for (size_t length = 0; length <= TEXT_MAX; length++) {
                char *text = end - length;

                memset(text, letters[0], length);
                do
                        for (unsigned code = 0; code < (TEXT_MAX + 1) * (TEXT_MAX + 1) * 9; code++)
                                check(records, text, length, (const uint8_t[4]){
                                    (uint8_t)(code / 9 % (TEXT_MAX + 1)),
                                    (uint8_t)(code / 9 / (TEXT_MAX + 1)),
                                    (uint8_t)(code % 3), (uint8_t)(code / 3 % 3) });
                while (next_word(text, length));
        }
}

static const struct proof proofs[] = { { "prove_two", prove_two, 1, false } };

int
main(int argc, char **argv)
{
        return run_proof(argc, argv, proofs, 1);
}
