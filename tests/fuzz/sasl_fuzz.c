/*
 * sasl_fuzz.c - any octets as a SASL response.
 *
 * Runs in:   a fuzzer, or replay.
 * May touch: memory.
 *
 * The first octet leaves that many octets of room too few or too many. What
 * base64_decode() takes must come out again of an encoder of our own, what it
 * refuses must not; a PLAIN message has exactly two NULs, and its three parts
 * are the message.
 */
#include "../../auth/auth.h"
#include "fuzz.h"

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static size_t
encode(char *out, const unsigned char *octets, size_t length)
{
        size_t used = 0;

        for (size_t at = 0; at < length; at += 3) {
                unsigned here = (unsigned)octets[at] << 16;

                if (at + 1 < length)
                        here |= (unsigned)octets[at + 1] << 8;
                if (at + 2 < length)
                        here |= octets[at + 2];
                out[used++] = alphabet[here >> 18];
                out[used++] = alphabet[here >> 12 & 63];
                out[used++] = at + 1 < length ? alphabet[here >> 6 & 63] : '=';
                out[used++] = at + 2 < length ? alphabet[here & 63] : '=';
        }
        return used;
}

/* Bit by bit, whatever else is there: for what is base64 at all, the right octets. */
static size_t
decode_anyhow(unsigned char *out, const char *text, size_t length)
{
        size_t used = 0;
        unsigned bits = 0, have = 0;

        for (size_t i = 0; i < length; i++) {
                const char *place = text[i] == '\0' ? NULL : strchr(alphabet, text[i]);

                if (place == NULL)
                        continue;
                bits = (bits << 6 | (unsigned)(place - alphabet)) & 0xFFFF;
                have += 6;
                if (have >= 8) {
                        have -= 8;
                        out[used++] = (unsigned char)(bits >> have);
                }
        }
        return used;
}

static bool
is_canonical(const char *text, size_t length)
{
        unsigned char *octets = calloc(1, length + 1);
        char *again = malloc(length / 3 * 4 + length + 8);
        bool result;

        if (octets == NULL || again == NULL)
                abort();
        result = encode(again, octets, decode_anyhow(octets, text, length)) == length &&
            memcmp(again, text, length) == 0;
        free(octets);
        free(again);
        return result;
}

static void
check_base64(const char *text, size_t length, size_t room)
{
        char *out = malloc(room > 0 ? room : 1);
        char *again = malloc(length + 8);
        ssize_t decoded;

        if (out == NULL || again == NULL)
                abort();
        decoded = base64_decode(out, room, text, length);
        if (decoded >= 0) {
                require((size_t)decoded <= room);
                require(encode(again, (unsigned char *)out, (size_t)decoded) == length);
                require(memcmp(again, text, length) == 0);
                /* where it lies, as pop3d.c has it */
                require(base64_decode(again, length, again, length) == decoded);
                require(memcmp(again, out, (size_t)decoded) == 0);
        } else {
                require(room < length / 4 * 3 || !is_canonical(text, length));
        }
        free(out);
        free(again);
}

static void
check_plain(const uint8_t *data, size_t length)
{
        char *message = malloc(length + 1);
        struct sasl_plain plain;
        size_t nuls = 0;

        if (message == NULL)
                abort();
        memcpy(message, data, length);
        message[length] = 'x';
        for (size_t i = 0; i < length; i++)
                nuls += data[i] == '\0';
        if (sasl_plain_parse(&plain, message, length)) {
                require(nuls == 2);
                require(plain.authorization == message);
                require(plain.authentication == message + strlen(message) + 1);
                require(plain.password == plain.authentication + strlen(plain.authentication) + 1);
                require(plain.password + strlen(plain.password) == message + length);
        } else {
                require(nuls != 2);
        }
        require(memcmp(message, data, length) == 0);
        free(message);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        char *text;
        size_t room;

        if (size == 0)
                return 0;
        text = exact_copy(data + 1, size - 1);
        room = (size - 1) / 4 * 3 + (data[0] & 0x0FU);
        check_base64(text, size - 1, room >= 2 ? room - 2 : 0);
        check_plain(data + 1, size - 1);
        free(text);
        return 0;
}
