/*
 * former.c - no list of another server's makes its parser leave the memory that was read.
 *
 * Runs in:   make prove, with the object that is shipped and under the sanitizers.
 * May touch: memory.
 *
 * All lists are tried, one by one: where a number, a field or a name ends depends on
 * where the one before did, in too many ways for Frama-C to keep apart. Beyond the list
 * and the id lies memory that nobody may touch, the second time before them.
 */
#include "../../maildir/internal.h"
#include "every.h"

void prove_header(void);
void prove_dovecot(void);
void prove_courier(void);
void prove_long(void);

enum { LENGTH = 8 };

static char *memory_end, *id_end;

/* What is wrong with an entry: its name lies inside and is a message's, its id is one. */
static const char *
entry_problem(const char *list, size_t length, const char *base, const char *id)
{
        size_t base_length, id_length = strnlen(id, UNIQUE_ID_MAX + 1);

        if (base < list || base >= list + length)
                return "a name elsewhere";
        base_length = strnlen(base, (size_t)(list + length - base));
        if (base_length == 0 || base_length > NAME_LIMIT || base + base_length >= list + length ||
            memchr(base, ':', base_length) != NULL || memchr(base, '\n', base_length) != NULL)
                return "no name of a message";
        return id_length > UNIQUE_ID_MAX || !octets_are_id(id, id_length) ? "no id" : NULL;
}

/* Reads a list to its end, which is behind its last whole line. */
static void
check(const char *words, size_t length)
{
        char *list = memory_end - (is_second_time ? PAGE : length), *base;
        char *id = id_end - (is_second_time ? PAGE : UNIQUE_ID_MAX + 1);
        const char *problem;
        struct former former;

        memcpy(list, words, length);
        tried++;
        if (!former_begin(&former, NULL, list, length))
                return;
        for (;;) {
                memset(id, 'x', UNIQUE_ID_MAX + 1);
                base = former_next(&former, id);
                if (base == NULL)
                        break;
                taken++;
                problem = entry_problem(list, length, base, id);
                if (problem != NULL)
                        fail(problem, words, length);
        }
        if (former.at < list || former.at > list + length || former.end != list + length ||
            memchr(former.at, '\n', (size_t)(former.end - former.at)) != NULL)
                fail("not read to its end", words, length);
}

/* All words of up to length octets of an alphabet, behind what goes before. */
static void
check_all(const char *before, size_t length, const char *alphabet)
{
        size_t fixed = strlen(before), count = strlen(alphabet) + 1;    /* with NUL */
        char list[64];

        for (size_t words = 0; words <= length - LESS; words++) {
                size_t digits[LENGTH + 2] = { 0 }, at;

                memcpy(list, before, fixed);
                do {
                        for (size_t i = 0; i < words; i++)
                                list[fixed + i] = alphabet[digits[i]];
                        check(list, fixed + words);
                        for (at = 0; at < words && ++digits[at] == count; at++)
                                digits[at] = 0;
                } while (at < words);
        }
}

/* All first lines of up to 8 octets of /, V, blank, 3, 9, LF and NUL. */
void
prove_header(void)
{
        check_all("", LENGTH, "/V 39\n");
}

/* All entries of up to 8 octets of blank, P, x, colon, 7, LF and NUL in a list of Dovecot's. */
void
prove_dovecot(void)
{
        check_all("3 V1\n", LENGTH, " Px:7\n");
        check_all("3 V1\n7 ", LENGTH, " Px:7\n");
}

/* All entries of up to 8 octets of blank, x, colon, 0, 7, LF and NUL in a list of Courier's. */
void
prove_courier(void)
{
        check_all("/3 1\n", LENGTH, " x:07\n");
        check_all("/3 1\nx 7 ", LENGTH, " x:07\n");
}

/*
 * Entries of both servers with numbers of up to 24 digits, with ids of up to 80 octets of
 * the server's own, and with names of up to 300 octets, two in a list.
 */
void
prove_long(void)
{
        static const char nines[] = "999999999999999999999999";
        char list[1024], given[81] = "", name[301] = "";

        for (size_t length = 0; length <= 300; length++) {
                memset(name, 'n', length);
                name[length] = '\0';
                memset(given, 'p', length % sizeof(given));
                given[length % sizeof(given)] = '\0';
                for (size_t number = 0; number < sizeof(nines); number++)
                        for (size_t validity = 0; validity < sizeof(nines); validity++) {
                                const char *digits = nines + number, *more = nines + validity;

                                check(list, (size_t)sprintf(list,
                                    "3 V%s N1\n1 P%s :%s:2,S\n%s W1 :%s\n", more, given, name,
                                    digits, name));
                                check(list, (size_t)sprintf(list,
                                    "/3 1 %s\n%s 1 %s:%s:0\n%s:2,S 1 1:0\n", digits, name, digits,
                                    more, name));
                        }
        }
}

static const struct proof proofs[] = {
        { "prove_header", prove_header, 2, true },
        { "prove_dovecot", prove_dovecot, 2, false },
        { "prove_courier", prove_courier, 2, false },
        { "prove_long", prove_long, 2, false },
};

int
main(int argc, char **argv)
{
        memory_end = guarded();
        id_end = guarded();
        return run_proof(argc, argv, proofs, sizeof(proofs) / sizeof(proofs[0]));
}
