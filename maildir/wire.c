/*
 * wire.c - the wire form of a message: lines end in CRLF, dots are stuffed.
 * Runs in:   the TRANSACTION process, as the mail user.
 * May touch: memory it is given. Pure, but for the flush of the output.
 *
 * LF becomes CRLF, stored CRLF stays, a bare CR stays, a missing last line end is added. A
 * dot at the start of a line is preceded by another one ("stuffed", RFC 1939 section 3).
 * Whether an octet needs another before it depends on it and on the octet before it alone.
 *
 * Octets are handled in blocks of 16, with gcc's vector types: an operator works on 16
 * octets at once, and a comparison gives 0xff for each octet where it holds, else 0. A loop
 * over memchr(3) was ten times as slow at counting, and at lines of a few octets.
 *
 *   encode_block()   works everywhere. It copies the block, and repairs the copy at each
 *                    octet that needs another before it.
 *   shuffle_block()  does as much in the same time however many such octets there are. It
 *                    needs SSSE3 and POPCNT, which can_shuffle() asks the processor for.
 *                    arm64 has none: by counts of instructions one with NEON takes a tenth more
 *                    than encode_block() at lines of 76 octets, a quarter more where they end in
 *                    CRLF, and less only where nearly every block has several ends (lines of 3).
 *   encode_lines()   copies lines that are as long as those before, as those of base64 are. It takes
 *                    half the time, because the processor need not guess where a line ends.
 *   encode_octets()  goes octet by octet, near the end of what is there.
 */
#include <endian.h>
#include <string.h>
#ifdef __x86_64__
#include <cpuid.h>
#include <tmmintrin.h>
#endif

#include "internal.h"

typedef unsigned char vector __attribute__((vector_size(16), aligned(1), may_alias));
typedef uint64_t words __attribute__((vector_size(16)));
typedef uint16_t shorts __attribute__((vector_size(16)));
typedef unsigned char half __attribute__((vector_size(8)));

enum {
        BLOCK = sizeof(vector),
        BATCH = UINT8_MAX,      /* blocks of whose octets one in each can be counted in an octet */
        REACH = 64,             /* no more than that is read or written beyond what is encoded */
        ROOM = 256,             /* free octets of the output, else it is flushed */
        LINE_MOST = 1000,       /* octets of a line in RFC 5322; no longer ones are looked for */
        STRETCH = 8192,         /* octets after which lines of one length are looked for again */
};

void
wire_begin(struct wire *wire, uint64_t body_lines)
{
        *wire = (struct wire){ .lines_left = body_lines, .last = '\n' };
}

uint64_t
wire_total(const struct wire *wire)
{
        /* no octets at all are one empty line: some clients wait for ever where none comes */
        return wire->octets + (wire->octets == 0 || wire->last != '\n' ? 2 : 0);
}

/*
 * Counts the line feeds without a carriage return before them. data[-1] can be read. Where one is
 * a comparison gives 0xff, which is 1 when it is taken away, so each octet of sums counts for its place.
 */
static size_t
count_bare_line_feeds(const unsigned char *data, size_t length)
{
        size_t found = 0;

        while (length >= BLOCK) {
                size_t blocks = length / BLOCK < BATCH ? length / BLOCK : BATCH;
                vector sums = { 0 };
                shorts pairs;

                length -= blocks * BLOCK;
                for (; blocks > 0; blocks--, data += BLOCK)
                        sums -= (vector)((*(const vector *)data == '\n') & (*(const vector *)(data - 1) != '\r'));
                pairs = ((shorts)sums & 0xff) + ((shorts)sums >> 8);
                for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++)
                        found += pairs[i];
        }
        for (; length > 0; length--, data++)
                found += *data == '\n' && data[-1] != '\r';
        return found;
}

void
wire_count(struct wire *wire, const char *data, size_t length)
{
        const unsigned char *octets = (const unsigned char *)data;

        if (length == 0)
                return;
        wire->octets += length + (octets[0] == '\n' && wire->last != '\r');
        wire->octets += count_bare_line_feeds(octets + 1, length - 1);
        wire->last = octets[length - 1];
}

size_t
wire_extent(struct wire *wire, const char *data, size_t length)
{
        size_t at = 0;

        while (at < length && !(wire->in_body && wire->lines_left == 0)) {
                const char *end = memchr(data + at, '\n', length - at);
                size_t octets = end != NULL ? (size_t)(end - data) - at : length - at;

                for (size_t i = 0; i < octets && wire->line_octets + i < 2; i++)
                        wire->line_returns += data[at + i] == '\r';
                wire->line_octets += octets;
                at += octets;
                if (end == NULL)
                        break;
                /* the header ends with a line of nothing, of CR LF, or (converted twice) CR CR LF */
                if (wire->in_body)
                        wire->lines_left--;
                else if (wire->line_octets <= 2 && wire->line_returns == wire->line_octets)
                        wire->in_body = true;
                wire->line_octets = wire->line_returns = 0;
                at++;
        }
        return at;
}

/*
 * Which octets of a block need another before them: a line feed without a carriage return,
 * a dot at the start of a line. Of the comparison of octet n, bit 4 * n + 3 of the result
 * is left, so that __builtin_ctzll() / 4 finds the first such octet.
 */
static inline uint64_t
insertions(const unsigned char *block)
{
        vector here = *(const vector *)block, before = *(const vector *)(block - 1);
        vector found = (vector)(((here == '\n') & (before != '\r')) |
            ((here == '.') & (before == '\n')));
        shorts pairs = (shorts)found;
        half nibbles;
        uint64_t word;

        /* the first octet of a pair is to be the lower half of its number, on each machine */
        if (BYTE_ORDER == BIG_ENDIAN)
                pairs = pairs << 8 | pairs >> 8;
        nibbles = __builtin_convertvector(pairs >> 4, half);
        memcpy(&word, &nibbles, sizeof(word));
        return le64toh(word) & UINT64_C(0x8888888888888888);
}

/*
 * Whether two blocks can be copied as they are: there is no line feed in them or right before
 * them, thus also no dot at the start of a line. Looks at octets -1 to 31, three times 16.
 */
static inline bool
no_line_ends(const unsigned char *blocks)
{
        words found = (words)((*(const vector *)(blocks - 1) == '\n') |
            (*(const vector *)(blocks + BLOCK - 1) == '\n') |
            (*(const vector *)(blocks + BLOCK) == '\n'));

        return (found[0] | found[1]) == 0;
}

/* Encodes a block to an address, adds the stuffed dots to a count, and returns where to go on. */
typedef unsigned char *block_encoder(const unsigned char *data, unsigned char *to,
    uint64_t *stuffed);

/*
 * At each insertion the rest of the block is written once more, one octet further on. As
 * 16 octets are written each time, they reach beyond the block; what comes next overwrites them.
 */
static inline unsigned char *
encode_block(const unsigned char *data, unsigned char *to,
    uint64_t *stuffed)
{
        *(vector *)to = *(const vector *)data;
        for (uint64_t bits = insertions(data); bits != 0; bits &= bits - 1) {
                size_t at = (size_t)__builtin_ctzll(bits) / 4;

                if (data[at] == '\n') {
                        to[at] = '\r';
                } else {
                        to[at] = '.';
                        ++*stuffed;
                }
                to++;
                *(vector *)(to + at) = *(const vector *)(data + at);
        }
        return to + BLOCK;
}

/*
 * Encodes blocks as long as there are more than REACH octets before end, and as many free
 * in the output; returns how far it came. data[-1] can be read. It is inlined twice, so
 * that each way to encode a block is compiled into a loop of its own.
 */
__attribute__((always_inline))
static inline const unsigned char *
encode_blocks_by(block_encoder *encode, struct wire *wire,
    const unsigned char *data, const unsigned char *end, struct output *output)
{
        unsigned char *room = (unsigned char *)output->data, *begin = room + output->used;
        unsigned char *to = begin, *start = to, *limit = room + output->size;
        uint64_t stuffed = 0;

        while (end - data > REACH && limit - to > REACH) {
                /* after a block that grew by more than 2 lines are short: asking is in vain */
                if (to - start <= BLOCK + 2 && no_line_ends(data)) {
                        *(vector *)to = *(const vector *)data;
                        *(vector *)(to + BLOCK) = *(const vector *)(data + BLOCK);
                        data += 2 * BLOCK;
                        start = to += 2 * BLOCK;
                        continue;
                }
                start = to;
                to = encode(data, to, &stuffed);
                data += BLOCK;
        }
        wire->last = data[-1];
        wire->octets += (uint64_t)(to - begin) - stuffed;
        output->used += (size_t)(to - begin);
        return data;
}

#if defined(__x86_64__) && !defined(WITHOUT_SHUFFLE)
#define SHUFFLE __attribute__((target("ssse3,popcnt")))

/*
 * For half a block, 8 octets. Bit n of the index is set if octet n needs another before it.
 * The entry says for each octet of the result which one of 16 it is: 0 to 7 are the half
 * block itself, 8 to 15 are the octets to be put before each.
 */
static unsigned char turns[256][BLOCK];

static void
fill_turns(void)
{
        for (unsigned set = 0; set < 256; set++)
                for (unsigned octet = 0, turn = 0; octet < 8; octet++) {
                        if (set >> octet & 1)
                                turns[set][turn++] = (unsigned char)(8 + octet);
                        turns[set][turn++] = (unsigned char)octet;
                }
}

/*
 * Encodes half a block at once, however many insertions it needs. octets: the 8 octets, then
 * the 8 that are to be put before each. 16 octets are written, of which only the first count.
 */
SHUFFLE static inline unsigned char *
shuffle_half(__m128i octets, unsigned set, unsigned char *to)
{
        *(vector *)to = (vector)_mm_shuffle_epi8(octets, (__m128i)*(const vector *)turns[set]);
        return to + 8 + __builtin_popcount(set);
}

SHUFFLE static inline unsigned char *
shuffle_block(const unsigned char *data, unsigned char *to,
    uint64_t *stuffed)
{
        vector here = *(const vector *)data, before = *(const vector *)(data - 1);
        vector feeds = (vector)(here == '\n'), dots = (vector)((here == '.') & (before == '\n'));
        vector added = '.' ^ (feeds & ('.' ^ '\r'));
        unsigned dot_set = (unsigned)_mm_movemask_epi8((__m128i)dots);
        unsigned set = dot_set |
            (unsigned)_mm_movemask_epi8((__m128i)(feeds & (vector)(before != '\r')));

        *stuffed += (unsigned)__builtin_popcount(dot_set);
        to = shuffle_half(_mm_unpacklo_epi64((__m128i)here, (__m128i)added), set & 255, to);
        return shuffle_half(_mm_unpackhi_epi64((__m128i)here, (__m128i)added), set >> 8, to);
}

SHUFFLE static const unsigned char *
shuffle_blocks(struct wire *wire, const unsigned char *data,
    const unsigned char *end, struct output *output)
{
        return encode_blocks_by(shuffle_block, wire, data, end, output);
}

/* Asks the processor, once and when it is first needed: in a virtual machine CPUID is slow. */
static bool
can_shuffle(void)
{
        static enum { UNKNOWN, YES, NO } answer;
        unsigned a, b, c, d;

        if (answer == UNKNOWN) {
                answer = __get_cpuid(1, &a, &b, &c, &d) && (c & bit_SSSE3) && (c & bit_POPCNT)
                    ? YES : NO;
                fill_turns();
        }
        return answer == YES;
}
#endif

static const unsigned char *
encode_blocks(struct wire *wire, const unsigned char *data,
    const unsigned char *end, struct output *output)
{
#ifdef SHUFFLE
        if (can_shuffle())
                return shuffle_blocks(wire, data, end, output);
#endif
        return encode_blocks_by(encode_block, wire, data, end, output);
}

/* Encodes octet by octet. */
static const unsigned char *
encode_octets(struct wire *wire, const unsigned char *data,
    ptrdiff_t length, struct output *output)
{
        for (char *to = output->data; length > 0; length--, data++) {
                if (*data == '\n' && wire->last != '\r') {
                        to[output->used++] = '\r';
                        wire->octets++;
                } else if (*data == '.' && wire->last == '\n') {
                        to[output->used++] = '.';
                }
                wire->last = *data;
                to[output->used++] = (char)*data;
                wire->octets++;
        }
        return data;
}

/* How long the line is that begins here, with its line feed; 0 if it has none, or too far away. */
static ptrdiff_t
line_length(const unsigned char *data, const unsigned char *end)
{
        ptrdiff_t most = end - data < LINE_MOST ? end - data : LINE_MOST;
        const unsigned char *feed = memchr(data, '\n', (size_t)most);

        return feed == NULL ? 0 : feed + 1 - data;
}

/* Copies a block or more. False if there is a line feed in it. */
static bool
copy_line(unsigned char *to, const unsigned char *data, ptrdiff_t length)
{
        vector found = (vector)(*(const vector *)data == '\n');
        words both;

        *(vector *)to = *(const vector *)data;
        for (ptrdiff_t at = length % BLOCK; at < length; at += BLOCK) {
                *(vector *)(to + at) = *(const vector *)(data + at);
                found |= (vector)(*(const vector *)(data + at) == '\n');
        }
        both = (words)found;
        return (both[0] | both[1]) == 0;
}

/*
 * Where two lines of one length follow the present one: encodes that, and then lines of just that length
 * which begin with no dot, as long as the output has room. Returns how far it came.
 */
static const unsigned char *
encode_lines(struct wire *wire, const unsigned char *data, const unsigned char *end,
    struct output *output)
{
        const unsigned char *limit = (unsigned char *)output->data + output->size;
        ptrdiff_t first = line_length(data, end), length = line_length(data + first, end);
        unsigned char *begin, *to;

        /* what is added to a line is a dot and a carriage return */
        if (length <= BLOCK || line_length(data + first + length, end) != length ||
            (ptrdiff_t)(output->size - output->used) < first + 2)
                return data;
        data = encode_octets(wire, data, first, output);
        begin = to = (unsigned char *)output->data + output->used;
        while (end - data >= length && limit - to > length && *data != '.' &&
            data[length - 1] == '\n' && copy_line(to, data, length - 1)) {
                to += length - 1;
                if (data[length - 2] != '\r')
                        *to++ = '\r';
                *to++ = '\n';
                data += length;
        }
        output->used += (size_t)(to - begin);
        wire->octets += (uint64_t)(to - begin);
        return data;
}

/* Flushes the output unless ROOM is free; -1 if the client is gone. */
static int
make_room(struct output *output)
{
        return output->size - output->used < ROOM ? output->flush(output) : 0;
}

int
wire_encode(struct wire *wire, const char *data, size_t length, struct output *output)
{
        const unsigned char *from = (const unsigned char *)data, *end = from + length;

        for (bool is_first = true; from < end; is_first = false) {
                if (make_room(output) != 0)
                        return -1;
                /* the first octet alone, because encode_blocks() reads the octet before its own */
                if (is_first || end - from <= REACH) {
                        from = encode_octets(wire, from, is_first ? 1 : end - from, output);
                } else {
                        /* in a small message it does not pay to look for them */
                        if (end - from >= STRETCH)
                                from = encode_lines(wire, from, end, output);
                        from = encode_blocks(wire, from, end - from < STRETCH ? end : from + STRETCH,
                            output);
                }
        }
        return 0;
}

int
wire_end(struct wire *wire, struct output *output)
{
        bool is_ended = wire->octets > 0 && wire->last == '\n';
        const char *ending = is_ended ? ".\r\n" : "\r\n.\r\n";

        if (make_room(output) != 0)
                return -1;
        wire->octets = wire_total(wire);
        memcpy(output->data + output->used, ending, strlen(ending));
        output->used += strlen(ending);
        return 0;
}
