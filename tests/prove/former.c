/*
 * former.c - no list of another server's makes its parser leave the memory that was read.
 *
 * Runs in:   make prove, with the object that is shipped and under the sanitizers.
 * May touch: memory.
 *
 * All lists are tried, one by one: where a number, a field or a name ends depends on
 * where the one before did, in too many ways for Frama-C to keep apart. Beyond the list
 * lies memory that nobody may touch, the second time before it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "../../maildir/internal.h"

void prove_header(void);
void prove_dovecot(void);
void prove_courier(void);

enum { PAGE = 65536, LENGTH = 8 };

#ifdef __SANITIZE_ADDRESS__
enum { LESS = 1 };
#else
enum { LESS = 0 };
#endif

static char *memory_end;
static bool is_second_time;
static unsigned long tried, taken;

static _Noreturn void
fail(const char *what, const char *list, size_t length)
{
        printf("%s: %.*s\n", what, (int)length, list);
        exit(1);
}

/* Each entry lies inside, its name is that of a message, its id may be one or is none. */
static void
check(const char *words, size_t length)
{
        char *list = memory_end - (is_second_time ? PAGE : length), id[UNIQUE_ID_MAX + 1];
        struct former former;
        struct former_id entry;

        memcpy(list, words, length);
        tried++;
        if (!former_begin(&former, list, length))
                return;
        while (former_next(&former, &entry)) {
                size_t written = former_write(&former, &entry, id);

                taken++;
                if (entry.base < list || entry.base_length == 0 || entry.base_length > NAME_LIMIT ||
                    entry.base + entry.base_length >= list + length ||
                    memchr(entry.base, ':', entry.base_length) != NULL ||
                    memchr(entry.base, '\n', entry.base_length) != NULL)
                        fail("no name of a message", list, length);
                if (written > UNIQUE_ID_MAX || (written != 0 && !octets_are_id(id, written)))
                        fail("no id", list, length);
        }
        if (former.at != former.end)
                fail("not read to its end", list, length);
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

static const struct {
        const char *name;
        void (*run)(void);
} proofs[] = {
        { "prove_header", prove_header },
        { "prove_dovecot", prove_dovecot },
        { "prove_courier", prove_courier },
};

int
main(int argc, char **argv)
{
        char *memory = mmap(NULL, 3 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        if (memory == MAP_FAILED || mprotect(memory + PAGE, PAGE, PROT_READ | PROT_WRITE) != 0)
                return 2;
        memory_end = memory + 2 * PAGE;
        for (size_t i = 0; i < sizeof(proofs) / sizeof(proofs[0]); i++)
                if (argc == 2 && strcmp(argv[1], proofs[i].name) == 0) {
                        for (int time = 0; time < 2; time++) {
                                is_second_time = time > 0;
                                proofs[i].run();
                        }
                        printf("%lu tried\n", tried);
                        return tried > 0 && (taken > 0 || i == 0) ? 0 : 1;
                }
        return 2;
}
