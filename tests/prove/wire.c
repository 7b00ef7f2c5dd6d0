/*
 * wire.c - what is sent is the message with its line ends, and as long as was counted.
 *
 * Runs in:   make prove, with the object that is shipped and under the sanitizers.
 * May touch: memory.
 *
 * Frama-C does not know vectors, so all inputs are tried, one by one. All are compared
 * with the reference below. It and the code ask of an octet only whether it is LF, CR
 * or a dot, and of each only together with the octet before; that this is so for all
 * values is what prove_pairs shows. Beyond the message lies memory that nobody may touch,
 * the second time, the blocks apart, before it; beyond the output always.
 */
#include "../../maildir/internal.h"
#include "every.h"

void prove_short(void);
void prove_cuts(void);
void prove_blocks(void);
void prove_other_blocks(void);
void prove_pairs(void);
void prove_rooms(void);
void prove_long(void);
void prove_top(void);

enum {
        OUTPUT_LEAST = 256,     /* less room than that the encoder does not get */
        BLOCK = 16,
        TAIL = 66,              /* octets after a block that make it go as a block */
};

static const char letters[] = "\n\r.x";         /* and the NUL that ends it */
enum { LETTERS = sizeof(letters) };

static unsigned char *message_end, *output_end;

struct sink {
        struct output output;
        char sent[16384];
        size_t length;
};

static int
sink_flush(struct output *output)
{
        struct sink *sink = (struct sink *)(void *)output;

        memcpy(sink->sent + sink->length, output->data, output->used);
        sink->length += output->used;
        output->used = 0;
        return 0;
}

/* RFC 1939 section 3, octet by octet. Returns what was written, and how much of it is dots more. */
static size_t
reference(const char *message, size_t length, char *out, size_t *dots)
{
        char *to = out, last = '\n';

        *dots = 0;
        for (size_t i = 0; i < length; last = message[i++]) {
                if (message[i] == '\n' && last != '\r')
                        *to++ = '\r';
                if (message[i] == '.' && last == '\n' && ++*dots)
                        *to++ = '.';
                *to++ = message[i];
        }
        to = stpcpy(to, length > 0 && last == '\n' ? "" : "\r\n");
        return (size_t)(stpcpy(to, ".\r\n") - out);
}

static _Noreturn void
fail_at(const char *what, const char *message, size_t length, size_t cut)
{
        printf("%s, %zu octets cut at %zu:", what, length, cut);
        for (size_t i = 0; i < length; i++)
                printf(" %02x", (unsigned char)message[i]);
        printf("\n");
        exit(1);
}

/* Where a piece goes in memory: to its end, or to its beginning. */
static char *
place_of(size_t length)
{
        return (char *)message_end - (is_second_time ? PAGE : length);
}

/* Sends and counts a message in two pieces. */
static void
check_cut(const char *message, size_t length, size_t cut, size_t size, size_t used,
    const char *expected, size_t expected_length, size_t dots)
{
        static struct sink sink;
        struct wire sent, counted;
        const char *pieces[2] = { message, message + cut };
        size_t lengths[2] = { cut, length - cut };

        sink.output = (struct output){ .data = (char *)output_end - size, .used = used,
            .size = size, .flush = sink_flush };
        sink.length = 0;
        wire_begin(&sent, UINT64_MAX);
        wire_begin(&counted, UINT64_MAX);
        for (int piece = 0; piece < 2; piece++) {
                char *place = place_of(lengths[piece]);

                memcpy(place, pieces[piece], lengths[piece]);
                if (wire_encode(&sent, place, lengths[piece], &sink.output) != 0)
                        fail_at("not sent", message, length, cut);
                wire_count(&counted, place, lengths[piece]);
        }
        if (wire_end(&sent, &sink.output) != 0)
                fail_at("not ended", message, length, cut);
        sink_flush(&sink.output);
        tried++;
        if (sink.length - used != expected_length ||
            memcmp(sink.sent + used, expected, expected_length) != 0)
                fail_at("sent wrongly", message, length, cut);
        if (sent.octets != expected_length - dots - 3 || wire_total(&counted) != sent.octets)
                fail_at("counted wrongly", message, length, cut);
}

/* Cut at each place from first to last. */
static void
check_cuts(const char *message, size_t length, size_t first, size_t last)
{
        static char expected[16384];
        size_t dots, expected_length = reference(message, length, expected, &dots);

        for (size_t cut = first; cut <= last; cut++)
                check_cut(message, length, cut, 4096, 0, expected, expected_length, dots);
}

/* The next word of letters; false after the last one. */
static bool
next_word(char *word, size_t length, const char *alphabet, size_t count)
{
        for (size_t i = 0; i < length; i++) {
                const char *letter = memchr(alphabet, word[i], count);

                if (letter + 1 < alphabet + count) {
                        word[i] = letter[1];
                        return true;
                }
                word[i] = alphabet[0];
        }
        return false;
}

/* All messages of up to 8 octets of LF, CR, dot, x and NUL, cut at each place. */
void
prove_short(void)
{
        char word[8];

        for (size_t length = 0; length <= 8 - LESS; length++) {
                memset(word, letters[0], sizeof(word));
                do
                        check_cuts(word, length, 0, length);
                while (next_word(word, length, letters, LETTERS));
        }
}

/*
 * All words of 4 such octets at each place of a message of 120 that is otherwise one of
 * them over and over, cut at each place: before, in, between and after blocks.
 */
void
prove_cuts(void)
{
        char message[120], word[4] = { '\n', '\n', '\n', '\n' };
        size_t length = sizeof(word) - LESS;

        do
                for (size_t filler = 0; filler < LETTERS; filler++)
                        for (size_t at = 0; at <= 2 * BLOCK + 2; at++) {
                                memset(message, letters[filler], sizeof(message));
                                memcpy(message + at, word, length);
                                check_cuts(message, sizeof(message), 0, sizeof(message));
                        }
        while (next_word(word, length, letters, LETTERS));
}

/* A block of each content, its octets of three letters, after LF, CR and x. */
static void
check_blocks(const char *alphabet)
{
        char message[2 + BLOCK + TAIL];
        size_t length = BLOCK - 6 * LESS;

        for (size_t before = 0; before < 3; before++) {
                memset(message, 'x', sizeof(message));
                message[1] = "\n\rx"[before];
                memset(message + 2, alphabet[0], length);
                do
                        /* the block begins at the second octet, the first having gone alone */
                        check_cuts(message + 1, sizeof(message) - 1, 0, 0);
                while (next_word(message + 2, length, alphabet, 3));
        }
}

/* A whole block of each content of LF, dot and x, after each of LF, CR and x. */
void
prove_blocks(void)
{
        check_blocks("\n.x");
}

/* A whole block of each content of LF, CR and dot, after each of LF, CR and x. */
void
prove_other_blocks(void)
{
        check_blocks("\n\r.");
}

/*
 * All pairs of octets, at each place in a block and across its borders, in a message
 * without line ends and in one with short lines, which the encoder treats differently.
 */
void
prove_pairs(void)
{
        char message[120];

        for (size_t line = 9; line <= 2 * sizeof(message); line += 2 * sizeof(message) - 9)
                for (unsigned code = 0; code < 65536; code++)
                        for (size_t at = 0; at <= 2 * BLOCK + 2; at++) {
                                for (size_t i = 0; i < sizeof(message); i++)
                                        message[i] = i % line == line - 1 ? '\n' : 'x';
                                message[at] = (char)(code >> 8);
                                message[at + 1] = (char)code;
                                check_cuts(message, sizeof(message), 0, 0);
                        }
}

/*
 * Output of each size from the least to 100 octets more, so that it is full at each
 * place of a message: of one letter over and over, and of two in turn.
 */
void
prove_rooms(void)
{
        static char message[1000], expected[4096];

        for (size_t first = 0; first < LETTERS; first++)
                for (size_t second = 0; second < LETTERS; second++)
                        for (size_t size = OUTPUT_LEAST; size <= OUTPUT_LEAST + 100; size++) {
                                size_t dots, length;

                                for (size_t i = 0; i < sizeof(message); i++)
                                        message[i] = letters[i % 2 == 0 ? first : second];
                                length = reference(message, sizeof(message), expected, &dots);
                                for (size_t used = 0; used <= size; used += 1 + LESS)
                                        check_cut(message, sizeof(message), 0, size, used,
                                            expected, length, dots);
                        }
}

/*
 * Messages of one letter over and over and of two in turn, of each length from 4000 to
 * 4200 octets: beyond what the counter adds up at once.
 */
void
prove_long(void)
{
        static char message[4200];

        for (size_t first = 0; first < LETTERS; first++)
                for (size_t second = 0; second < LETTERS; second++) {
                        for (size_t i = 0; i < sizeof(message); i++)
                                message[i] = letters[i % 2 == 0 ? first : second];
                        for (size_t length = 4000; length <= sizeof(message); length++)
                                check_cuts(message, length, 0, 3);
                }
}

/* How much of a message is its header, the empty line, and lines of the body. */
static size_t
reference_extent(const char *message, size_t length, uint64_t lines)
{
        size_t at = 0;
        bool in_body = false;

        while (at < length && (!in_body || lines > 0)) {
                const char *end = memchr(message + at, '\n', length - at);
                size_t next = end == NULL ? length : (size_t)(end - message) + 1;
                bool is_empty = end == message + at ||
                    (end == message + at + 1 && message[at] == '\r') ||
                    (end == message + at + 2 && message[at] == '\r' && message[at + 1] == '\r');

                lines -= in_body;
                in_body |= is_empty;
                at = next;
        }
        return at;
}

/*
 * TOP: all messages of up to 8 octets of LF, CR, dot, x and NUL, cut at each place, for
 * 0, 1, 2 and 3 lines of the body: it ends where the reference does.
 */
void
prove_top(void)
{
        char word[8];

        for (size_t length = 0; length <= 8 - LESS; length++) {
                memset(word, letters[0], sizeof(word));
                do
                        for (uint64_t lines = 0; lines <= 3; lines++)
                                for (size_t cut = 0; cut <= length; cut++) {
                                        char *place = place_of(length);
                                        struct wire wire;
                                        size_t extent;

                                        memcpy(place, word, length);
                                        wire_begin(&wire, lines);
                                        extent = wire_extent(&wire, place, cut);
                                        wire.last = cut > 0 ? (unsigned char)word[cut - 1] : '\n';
                                        if (extent == cut)
                                                extent += wire_extent(&wire, place + cut,
                                                    length - cut);
                                        tried++;
                                        if (extent != reference_extent(word, length, lines))
                                                fail_at("TOP ends elsewhere", word, length, cut);
                                }
                while (next_word(word, length, letters, LETTERS));
        }
}

static const struct proof proofs[] = {
        { "prove_short", prove_short, 2, true },
        { "prove_cuts", prove_cuts, 2, true },
        { "prove_blocks", prove_blocks, 1, true },
        { "prove_other_blocks", prove_other_blocks, 1, true },
        { "prove_pairs", prove_pairs, 2, true },
        { "prove_rooms", prove_rooms, 2, true },
        { "prove_long", prove_long, 2, true },
        { "prove_top", prove_top, 2, true },
};

int
main(int argc, char **argv)
{
        message_end = (unsigned char *)guarded();
        output_end = (unsigned char *)guarded();
        return run_proof(argc, argv, proofs, sizeof(proofs) / sizeof(proofs[0]));
}
