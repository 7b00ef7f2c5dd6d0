/*
 * names.c - login names are taken apart by the rules, within the memory they lie in.
 *
 * Runs in:   make prove, with the object that is shipped and under the sanitizers.
 * May touch: memory.
 *
 * The parser cuts a copy into strings, where Frama-C does not keep apart which part began
 * where: so all names are tried, one by one, and what is taken is compared with a plain
 * reference of the rules in auth.h. Beyond the name and beyond its parts lies memory that
 * nobody may touch, the second time before them.
 */
#include "../../auth/internal.h"
#include "every.h"

void prove_short(void);
void prove_octets(void);
void prove_long(void);

enum { LENGTH = 7, PARTS = 4 };

/* Each octet that the rules name, of the others one of each kind; and the NUL that ends it. */
static const char letters[] = "\\@/:.-aZ ";
static char *text_end, *name_end;

/* The rules, octet by octet: text[begin] to text[end - 1] is a part. */
static bool
reference_part(char *part, const char *text, size_t begin, size_t end, bool is_lower)
{
        if (begin >= end || end - begin > 64 || text[begin] == '.' || text[begin] == '-')
                return false;
        for (size_t i = begin; i < end; i++) {
                int octet = (unsigned char)text[i];

                if (octet <= ' ' || octet >= 127 || octet == '/' || octet == ':' ||
                    octet == '\\' || octet == '@')
                        return false;
                part[i - begin] = (char)(is_lower && octet >= 'A' && octet <= 'Z' ?
                    octet + 32 : octet);
        }
        return true;
}

static size_t
place_of(const char *text, size_t from, size_t length, char octet)
{
        while (from < length && text[from] != octet)
                from++;
        return from;
}

static bool
reference(struct login_name *name, const char *text, size_t length)
{
        size_t first = place_of(text, 0, length, '\\'), at = place_of(text, 0, length, '@');
        size_t second;

        memset(name, 0, sizeof(*name));
        if (first == length)
                return reference_part(name->user, text, 0, at, false) &&
                    reference_part(name->mailbox, text, 0, at, false) &&
                    (at == length || reference_part(name->domain, text, at + 1, length, true));
        second = place_of(text, first + 1, length, '\\');
        return reference_part(name->domain, text, 0, first, true) &&
            reference_part(name->user, text, first + 1, second, false) &&
            reference_part(name->mailbox, text, second == length ? first + 1 : second + 1, length,
            false);
}

static void
check(const char *octets, size_t length)
{
        char *text = text_end - (is_second_time ? PAGE : length);
        struct login_name *name = (struct login_name *)(void *)(name_end -
            (is_second_time ? PAGE : sizeof(*name))), expected;
        bool is_name = reference(&expected, octets, length);

        memcpy(text, octets, length);
        memset(name, 'x', sizeof(*name));
        tried++;
        if (login_name_parse(name, text, length) != is_name)
                fail(is_name ? "refused" : "taken", octets, length);
        if (memcmp(text, octets, length) != 0)
                fail("changed", octets, length);
        if (!IS_STRING(name->user) || !IS_STRING(name->domain) || !IS_STRING(name->mailbox))
                fail("no strings", octets, length);
        if (!is_name)
                return;
        taken++;
        if (memcmp(name, &expected, sizeof(expected)) != 0)
                fail("taken apart wrongly", octets, length);
        if (!login_name_is_valid(name))
                fail("not valid", octets, length);
}

/* All names of up to 7 octets of backslash, @, slash, colon, dot, minus, a, Z, blank and NUL. */
void
prove_short(void)
{
        for (size_t length = 0; length <= LENGTH - LESS; length++) {
                size_t digits[LENGTH] = { 0 }, at;
                char text[LENGTH] = "";

                do {
                        for (size_t i = 0; i < length; i++)
                                text[i] = letters[digits[i]];
                        check(text, length);
                        for (at = 0; at < length && ++digits[at] == sizeof(letters); at++)
                                digits[at] = 0;
                } while (at < length);
        }
}

/*
 * All names of up to 3 octets of any value; and all pairs of octets at each place of a
 * name in each spelling.
 */
void
prove_octets(void)
{
        static const char *const names[] = { "abcdef", "abc@def", "abc\\def", "abc\\def\\ghi" };
        char text[16];

        for (size_t length = 1; length <= 3 - LESS; length++)
                for (unsigned code = 0; code < 1U << 8 * length; code++) {
                        for (size_t i = 0; i < length; i++)
                                text[i] = (char)(code >> 8 * i);
                        check(text, length);
                }
        for (size_t i = 0; i < PARTS; i++)
                for (size_t length = strlen(names[i]), at = 0; at + 1 < length; at++)
                        for (unsigned code = 0; code < 65536; code++) {
                                memcpy(text, names[i], length);
                                text[at] = (char)(code >> 8);
                                text[at + 1] = (char)code;
                                check(text, length);
                        }
}

/* A name as it is, and with each of these octets at each place. */
static void
check_places(const char *name, size_t length, const char *octets, size_t count)
{
        char text[1024];

        memcpy(text, name, length);
        check(text, length);
        for (size_t at = 0; at < length; at++) {
                for (size_t i = 0; i < count; i++) {
                        text[at] = octets[i];
                        check(text, length);
                }
                text[at] = name[at];
        }
}

/*
 * Parts of 0, 1, 2, 63, 64, 65, 66 and 195 octets in each of the four spellings, with each
 * such octet at each place, and octets of any value where all parts have 64; and names
 * without an end of a part, of each length up to 1000 octets.
 */
void
prove_long(void)
{
        static const size_t lengths[] = { 0, 1, 2, 63, 64, 65, 66, 195 };
        enum { LENGTHS = sizeof(lengths) / sizeof(lengths[0]) };
        static const char between[PARTS][2] = { "", "@", "\\", "\\\\" };
        char text[1024], all[256];

        for (size_t i = 0; i < sizeof(all); i++)
                all[i] = (char)i;
        for (size_t code = 0; code < PARTS * LENGTHS * LENGTHS * LENGTHS; code++) {
                const char *ends = between[code % PARTS];
                size_t rest = code / PARTS, count = code % PARTS == 3 ? 2 : code % PARTS != 0;
                size_t used = 0, others = 0;

                for (size_t part = 0; part <= count; part++, rest /= LENGTHS) {
                        size_t length = lengths[rest % LENGTHS];

                        memset(text + used, "aBc"[part], length);
                        used += length;
                        others += length != 64;
                        if (part < count)
                                text[used++] = ends[part];
                }
                if (rest == 0)
                        check_places(text, used, others == 0 ? all : letters,
                            others == 0 ? sizeof(all) : sizeof(letters));
        }
        memset(text, 'a', sizeof(text));
        for (size_t length = 0; length <= 1000; length++)
                check(text, length);
}

static const struct proof proofs[] = {
        { "prove_short", prove_short, 2, false },
        { "prove_octets", prove_octets, 2, false },
        { "prove_long", prove_long, 2, false },
};

int
main(int argc, char **argv)
{
        text_end = guarded();
        name_end = guarded();
        return run_proof(argc, argv, proofs, sizeof(proofs) / sizeof(proofs[0]));
}
