/*
 * wire_fuzz.c - any octets as a message: sent as counted, undone by a client.
 *
 * The first two octets say where the message is cut into pieces and how many
 * lines of the body are asked for.
 */
#include <stdlib.h>
#include <string.h>

#include "internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { OUTPUT = 4096 };

struct sink {
        struct output output;
        char *all;
        size_t length;
};

static int
sink_flush(struct output *output)
{
        struct sink *sink = (struct sink *)(void *)output;

        memcpy(sink->all + sink->length, output->data, output->used);
        sink->length += output->used;
        output->used = 0;
        return 0;
}

/* Sends a message in two pieces; what came out is the caller's to free. */
static struct sink
send_message(const uint8_t *data, size_t size, size_t cut, uint64_t body_lines, struct wire *wire)
{
        struct sink sink = { .all = malloc(2 * size + 8) };

        sink.output = (struct output){ .data = malloc(OUTPUT), .size = OUTPUT, .flush = sink_flush };
        wire_begin(wire, body_lines);
        for (size_t at = 0, length = cut; at < size; at += length, length = size - at) {
                char *piece = malloc(length + 1);
                size_t extent;

                memcpy(piece, data + at, length);
                extent = body_lines == UINT64_MAX ? length : wire_extent(wire, piece, length);
                if (extent > length || wire_encode(wire, piece, extent, &sink.output) != 0)
                        abort();
                free(piece);
                if (extent < length)
                        break;
        }
        if (wire_end(wire, &sink.output) != 0)
                abort();
        sink_flush(&sink.output);
        free(sink.output.data);
        return sink;
}

/* Undoes the stuffing, and compares with the file, line ends apart. */
static void
check(const struct sink *sink, const uint8_t *data, size_t size)
{
        size_t at = 0;
        char last = '\n';

        for (size_t i = 0; i < sink->length - 3; i++) {
                char octet = sink->all[i];

                if (last == '\n' && octet == '.')
                        octet = sink->all[++i];
                last = octet;
                if (at < size && (char)data[at] == octet)
                        at++;
                else if (octet != '\r' && !(octet == '\n' && at == size))
                        abort();
        }
        if (at != size || last != '\n')
                abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct wire wire, count, top;
        struct sink sink, top_sink;
        size_t cut, stuffed = 0;

        if (size < 2)
                return 0;
        cut = (size_t)data[0] * (size - 2) / 255;
        sink = send_message(data + 2, size - 2, cut, UINT64_MAX, &wire);
        check(&sink, data + 2, size - 2);
        wire_begin(&count, UINT64_MAX);
        wire_count(&count, (const char *)data + 2, cut);
        wire_count(&count, (const char *)data + 2 + cut, size - 2 - cut);
        for (size_t i = 0; i + 3 < sink.length; i++)
                stuffed += sink.all[i] == '.' && (i == 0 || sink.all[i - 1] == '\n');
        if (wire.octets != wire_total(&count) || wire.octets + stuffed + 3 != sink.length)
                abort();
        top_sink = send_message(data + 2, size - 2, cut, data[1], &top);
        if (top_sink.length > sink.length || memcmp(top_sink.all, sink.all, top_sink.length - 3) != 0)
                abort();
        free(sink.all);
        free(top_sink.all);
        return 0;
}
