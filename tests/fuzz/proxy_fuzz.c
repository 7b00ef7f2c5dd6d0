/*
 * proxy_fuzz.c - any octets before the greeting, to the PROXY parser.
 *
 * Runs in:   a fuzzer, or replay.
 * May touch: memory.
 *
 * The parser is fed as pop3d.c feeds it: exactly what it asks for, so that an
 * octet behind the header would be an octet lost. The address is compared with
 * what a second, simpler reading of the same header says.
 */
#include <arpa/inet.h>

#include "../../auth/auth.h"
#include "fuzz.h"

enum { VERSION_2_FIXED = 16 };

static const struct peer before = { "192.0.2.77", 1, 0 };

static bool
is_same(const struct peer *a, const struct peer *b)
{
        return strcmp(a->address, b->address) == 0 && a->is_remote == b->is_remote &&
            a->is_secured == b->is_secured;
}

/* As the contract has it: IPv4 in IPv6 is IPv4; what is not loopback is remote. */
static struct peer
peer_of(int family, const void *octets)
{
        static const unsigned char mapped[12] = { [10] = 0xFF, [11] = 0xFF };
        struct peer peer = { .address = "" };
        const unsigned char *address = octets;

        if (family == AF_INET6 && memcmp(address, mapped, sizeof(mapped)) == 0) {
                family = AF_INET;
                address += sizeof(mapped);
        }
        require(inet_ntop(family, address, peer.address, sizeof(peer.address)) != NULL);
        peer.is_remote = family == AF_INET ? address[0] != 127
                                           : strcmp(peer.address, "::1") != 0;
        return peer;
}

static void
check_version_1(const char *header, size_t length, const struct peer *peer)
{
        char source[108], line[108];
        unsigned char octets[16];
        struct peer expected = before;
        int family;

        require(length >= 2 && length <= 107);
        require(memchr(header, '\n', length) == header + length - 1);
        require(header[length - 2] == '\r');
        memcpy(line, header, length - 2);
        line[length - 2] = '\0';
        require(strlen(line) == length - 2);
        if (strncmp(line, "PROXY UNKNOWN", 13) == 0) {
                require(is_same(peer, &before));
                return;
        }
        require(sscanf(line, "PROXY TCP%d %107s", &family, source) == 2);
        family = family == 4 ? AF_INET : AF_INET6;
        require(inet_pton(family, source, octets) == 1);
        expected = peer_of(family, octets);
        require(is_same(peer, &expected));
}

static void
check_version_2(const unsigned char *header, size_t length, const struct peer *peer)
{
        struct peer expected = before;
        size_t rest = (size_t)header[14] * 256 + header[15];

        require(length == VERSION_2_FIXED + rest && length <= PROXY_HEADER_MAX);
        require(memcmp(header, "\r\n\r\n\0\r\nQUIT\n", 12) == 0);
        if (header[12] == 0x21 && header[13] != 0) {
                int family = header[13] == 0x11 ? AF_INET : AF_INET6;
                size_t at = VERSION_2_FIXED + (family == AF_INET ? 12 : 36);
                bool is_tls = false;

                require(header[13] == 0x11 || header[13] == 0x21);
                expected = peer_of(family, header + VERSION_2_FIXED);
                for (; at < length; at += 3 + (size_t)header[at + 1] * 256 + header[at + 2]) {
                        require(at + 3 <= length);
                        is_tls = is_tls || (header[at] == 0x20 && (header[at + 3] & 1) != 0);
                }
                require(at == length);
                expected.is_secured = is_tls;
        } else {
                require(header[12] == 0x20 || header[12] == 0x21);
        }
        require(is_same(peer, &expected));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        size_t have = 0;
        struct peer peer;

        for (;;) {
                char *header = exact_copy(data, have);
                int wanted;

                peer = before;
                wanted = proxy_parse((const unsigned char *)header, have, &peer);
                require(wanted >= -1);
                if (wanted == 0 && header[0] == 'P')
                        check_version_1(header, have, &peer);
                else if (wanted == 0)
                        check_version_2((const unsigned char *)header, have, &peer);
                free(header);
                if (wanted <= 0)
                        return 0;
                require(is_same(&peer, &before));
                require(have + (size_t)wanted <= PROXY_HEADER_MAX);
                if (have + (size_t)wanted > size)
                        return 0;
                have += (size_t)wanted;
        }
}
