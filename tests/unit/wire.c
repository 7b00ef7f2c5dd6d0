/*
 * wire.c - the encoder, the counter and the limits of TOP against a plain model.
 *
 * The model works octet by octet as RFC 1939 says. All strings up to a length
 * over the octets that matter are tried, cut at every point, and random ones
 * that are long enough for the code that works on blocks.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"
#include "test.h"

enum { SHORT = 8, LONG = 12000, OUTPUT = 4096 };

static bool is_overrun;         /* more was written than an output has room for */

struct sink {
        struct output output;
        char room[OUTPUT];
        char *all;
        size_t length;
};

static int
sink_flush(struct output *output)
{
        struct sink *sink = (struct sink *)(void *)output;

        is_overrun |= output->used > output->size;
        memcpy(sink->all + sink->length, output->data, output->used);
        sink->length += output->used;
        output->used = 0;
        return 0;
}

/* The octets with line ends normalised: what a client has when it undid the stuffing. */
static size_t
model_plain(const char *in, size_t length, uint64_t body_lines, char *out)
{
        size_t used = 0, line = 0;
        bool in_body = false;

        for (size_t i = 0; i < length; i++) {
                if (in_body && body_lines == 0 && line == used)
                        break;
                if (in[i] == '\n' && (i == 0 || in[i - 1] != '\r'))
                        out[used++] = '\r';
                out[used++] = in[i];
                if (in[i] != '\n')
                        continue;
                if (in_body)
                        body_lines--;
                else if (used - line == 2 || (used - line == 3 && out[line] == '\r'))
                        in_body = true;
                line = used;
        }
        if (used == 0 || out[used - 1] != '\n') {
                out[used++] = '\r';
                out[used++] = '\n';
        }
        return used;
}

static size_t
model_wire(const char *plain, size_t length, char *out)
{
        size_t used = 0;

        for (size_t i = 0; i < length; i++) {
                if (plain[i] == '.' && (i == 0 || plain[i - 1] == '\n'))
                        out[used++] = '.';
                out[used++] = plain[i];
        }
        memcpy(out + used, ".\r\n", 3);
        return used + 3;
}

static size_t output_size = OUTPUT;     /* it is flushed when it is full */

/* Sends a message in two pieces; the uncut message lies behind a guard of one octet. */
static bool
sends_as_model(const char *in, size_t length, size_t cut, uint64_t body_lines)
{
        static char plain[2 * LONG + 8], expected[4 * LONG + 8], got[4 * LONG + 8];
        size_t plain_length = model_plain(in, length, body_lines, plain);
        size_t expected_length = model_wire(plain, plain_length, expected);
        struct sink sink = { .all = got };
        struct wire wire, count;

        sink.output = (struct output){ .data = sink.room, .size = output_size, .flush = sink_flush };
        wire_begin(&wire, body_lines);
        for (size_t at = 0, piece = cut; at < length; at += piece, piece = length - at) {
                size_t extent = body_lines == UINT64_MAX ? piece :
                    wire_extent(&wire, in + at, piece);

                if (wire_encode(&wire, in + at, extent, &sink.output) != 0)
                        return false;
                if (extent < piece || piece == length - at)
                        break;
        }
        wire_end(&wire, &sink.output);
        sink_flush(&sink.output);
        wire_begin(&count, UINT64_MAX);
        wire_count(&count, in, cut);
        wire_count(&count, in + cut, length - cut);
        return sink.length == expected_length && memcmp(got, expected, expected_length) == 0 &&
            wire.octets == plain_length &&
            (body_lines != UINT64_MAX || wire_total(&count) == plain_length);
}

static bool
all_short_ones_agree(uint64_t body_lines)
{
        char in[SHORT];

        for (size_t length = 0; length <= SHORT; length++)
                for (unsigned long code = 0; code < 1UL << 2 * length; code++) {
                        for (size_t i = 0; i < length; i++)
                                in[i] = "a.\r\n"[code >> 2 * i & 3];
                        for (size_t cut = 0; cut <= length; cut++)
                                if (!sends_as_model(in, length, cut, body_lines))
                                        return false;
                }
        return true;
}

/* Long enough for blocks; exactly as much memory as octets, so that sanitizers see the rest. */
static bool
random_ones_agree(unsigned seed, uint64_t body_lines)
{
        srandom(seed);
        for (int times = 0; times < 20000; times++) {
                size_t length = (size_t)random() % LONG, cut = length > 0 ? (size_t)random() % length : 0;
                unsigned plain = (unsigned)random() % 80;
                char *in = malloc(length + 1), *exact = malloc(length > 0 ? length : 1);
                bool agrees;

                for (size_t i = 0; i < length; i++)
                        in[i] = (unsigned)random() % 80 < plain ? (char)random() :
                            "a.\r\n\r\n.\n"[random() % 8];
                memcpy(exact, in, length);
                agrees = sends_as_model(exact, length, cut, body_lines);
                free(in);
                free(exact);
                if (!agrees)
                        return false;
        }
        return true;
}

/* Lines of every length up to beyond a block, dotted, so that each offset in a block occurs. */
static bool
regular_ones_agree(void)
{
        static char in[LONG];

        for (size_t line = 1; line < 200; line++)
                for (int variant = 0; variant < 4; variant++) {
                        for (size_t i = 0; i < LONG; i++)
                                in[i] = i % line == line - 1 ? '\n' :
                                    i % line == 0 && (variant & 1) ? '.' :
                                    i % line == line - 2 && (variant & 2) ? '\r' : 'x';
                        for (size_t cut = 0; cut < 200; cut += 7)
                                if (!sends_as_model(in, LONG, cut, UINT64_MAX))
                                        return false;
                }
        return true;
}

/* Lines of one length but for a few octets, as base64 with something else in between; in little room, too. */
static bool
nearly_regular_ones_agree(void)
{
        bool agree = true;

        srandom(1);
        for (int times = 0; times < 20000 && agree; times++) {
                size_t length = (size_t)random() % LONG + 1, line = (size_t)random() % 200 + 3;
                bool has_returns = random() % 2 == 0;
                char *in = malloc(length);

                for (size_t i = 0; i < length; i++)
                        in[i] = i % line == line - 1 ? '\n' : i % line == line - 2 && has_returns ? '\r' : 'x';
                for (long changes = random() % 8; changes > 0; changes--)
                        in[(size_t)random() % length] = "\n\r.x"[random() % 4];
                output_size = (size_t)random() % (OUTPUT - 256) + 256;
                agree = sends_as_model(in, length, (size_t)random() % length, UINT64_MAX);
                free(in);
        }
        output_size = OUTPUT;
        return agree;
}

/* As many line ends as a piece can have: each octet of it counts. */
static bool
empty_lines_are_counted(void)
{
        static char in[PIECE_SIZE];
        struct wire wire;

        memset(in, '\n', sizeof(in));
        wire_begin(&wire, UINT64_MAX);
        wire_count(&wire, in, sizeof(in));
        return wire_total(&wire) == 2 * sizeof(in);
}

/* Whichever bit of a message changes, and where its last octet is missing. */
static bool
digest_tells_changes(void)
{
        char in[200];

        for (size_t i = 0; i < sizeof(in); i++)
                in[i] = (char)(3 * i);
        for (size_t length = 1; length <= sizeof(in); length++) {
                uint64_t whole = digest(in, length);

                if (whole == 0 || digest(in, length - 1) == whole)
                        return false;
                for (size_t at = 0; at < 8 * length; at++) {
                        in[at / 8] ^= (char)(1 << at % 8);
                        if (digest(in, length) == whole)
                                return false;
                        in[at / 8] ^= (char)(1 << at % 8);
                }
        }
        return true;
}

static int
refuse(struct output *output)
{
        (void)output;
        return -1;
}

static bool
lost_client_is_noticed(void)
{
        static char in[LONG], room[OUTPUT];
        struct output output = { .data = room, .used = OUTPUT - 100, .size = OUTPUT, .flush = refuse };
        struct wire wire;

        wire_begin(&wire, UINT64_MAX);
        return wire_encode(&wire, in, LONG, &output) == -1 && wire_end(&wire, &output) == -1 &&
            output.used == OUTPUT - 100;
}

int
main(void)
{
        test(all_short_ones_agree(UINT64_MAX), "every short message, cut at every point");
        test(all_short_ones_agree(0), "TOP 0 of every short message");
        test(all_short_ones_agree(1), "TOP 1 of every short message");
        test(all_short_ones_agree(2), "TOP 2 of every short message");
        test(random_ones_agree(1, UINT64_MAX), "random long messages");
        test(random_ones_agree(2, 3), "TOP 3 of random long messages");
        test(regular_ones_agree(), "lines of each length from 1 to 199");
        test(nearly_regular_ones_agree(), "lines of one length with others in between");
        test(!is_overrun, "nothing beyond the output");
        test(empty_lines_are_counted(), "as many line ends as can be");
        test(digest_tells_changes(), "the digest of a message that is not what was sent");
        test(lost_client_is_noticed(), "a client that is gone");
        return test_end();
}
