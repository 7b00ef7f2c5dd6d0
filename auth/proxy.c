/*
 * proxy.c - reads the PROXY protocol's header, version 1 and 2.
 * Runs in:   AUTHORIZATION, and only with -x.
 * May touch: nothing; no system call.
 */
#include "internal.h"

#include <arpa/inet.h>
#include <sys/socket.h>

enum {
        VERSION_2_FIXED = 16,
        COMMAND_LOCAL = 0x20,   /* version 2 in the high half, the command in the low */
        COMMAND_PROXY = 0x21,
        TCP_OVER_IPV4 = 0x11,
        TCP_OVER_IPV6 = 0x21,
        TYPE_TLS = 0x20,        /* of the TLV that tells how the client spoke with the proxy */
        CLIENT_USED_TLS = 0x01, /* a bit in the first octet of its value */
};

static const unsigned char signature[] = "\r\n\r\n\0\r\nQUIT\n";
enum { SIGNATURE_OCTETS = sizeof(signature) - 1 };

static bool
port_is_valid(const char *text)
{
        size_t digits = strspn(text, "0123456789");

        return text[digits] == '\0' && digits >= 1 && digits <= 5 &&
            (digits == 1 || text[0] != '0') && (digits < 5 || strcmp(text, "65535") <= 0);
}

/* "PROXY TCP4 source destination port port" CRLF; returns as proxy_parse() does. */
static int
parse_version_1(const unsigned char *data, size_t length, struct peer *peer)
{
        char line[PROXY_LINE_MAX + 1], *rest = line, *word[7];
        unsigned char unused[sizeof(struct in6_addr)];
        int words = 0, family;

        if (memcmp(data, "PROXY ", length < 6 ? length : 6) != 0)
                return -1;
        if (data[length - 1] != '\n')
                return length < PROXY_LINE_MAX ? 1 : -1;
        if (length < 8 || length > PROXY_LINE_MAX || data[length - 2] != '\r')
                return -1;
        memcpy(line, data, length - 2);
        line[length - 2] = '\0';
        if (strlen(line) != length - 2 || strpbrk(line, "\r\n") != NULL)
                return -1;
        /* the protocol says that what follows UNKNOWN is to be ignored */
        if (strcmp(line, "PROXY UNKNOWN") == 0 || strncmp(line, "PROXY UNKNOWN ", 14) == 0)
                return 0;
        while (words < 7 && (word[words] = strsep(&rest, " ")) != NULL)
                words++;
        if (words != 6)
                return -1;
        if (strcmp(word[1], "TCP4") == 0)
                family = AF_INET;
        else if (strcmp(word[1], "TCP6") == 0)
                family = AF_INET6;
        else
                return -1;
        if (inet_pton(family, word[2], unused) != 1 || inet_pton(family, word[3], unused) != 1 ||
            !port_is_valid(word[4]) || !port_is_valid(word[5]) || !peer_set_address(peer, word[2]))
                return -1;
        return 0;
}

/* 1 if one of the TLVs says that the client spoke TLS with the proxy, else 0; -1: malformed. */
static int
find_tls(const unsigned char *tlv, size_t length)
{
        int is_tls = 0;

        while (length > 0) {
                size_t value = length < 3 ? 0 : (size_t)(tlv[1] << 8 | tlv[2]);

                /* the value of TYPE_TLS begins with an octet of flags and four of a result */
                if (length < 3 || value > length - 3 || (tlv[0] == TYPE_TLS && value < 5))
                        return -1;
                is_tls |= tlv[0] == TYPE_TLS && (tlv[3] & CLIENT_USED_TLS) != 0;
                tlv += 3 + value;
                length -= 3 + value;
        }
        return is_tls;
}

static int
parse_version_2(const unsigned char *data, size_t length, struct peer *peer)
{
        size_t rest, addresses;
        char text[INET6_ADDRSTRLEN];
        int family, is_tls;

        if (memcmp(data, signature, length < SIGNATURE_OCTETS ? length : SIGNATURE_OCTETS) != 0)
                return -1;
        if (length < VERSION_2_FIXED)
                return (int)(VERSION_2_FIXED - length);
        rest = (size_t)(data[14] << 8 | data[15]);
        if ((data[12] != COMMAND_LOCAL && data[12] != COMMAND_PROXY) ||
            VERSION_2_FIXED + rest > PROXY_HEADER_MAX)
                return -1;
        if (length < VERSION_2_FIXED + rest)
                return (int)(VERSION_2_FIXED + rest - length);
        if (data[12] == COMMAND_LOCAL || data[13] == 0)
                return 0;
        /* other families and transports are refused, because POP3 has TCP alone */
        if (data[13] != TCP_OVER_IPV4 && data[13] != TCP_OVER_IPV6)
                return -1;
        family = data[13] == TCP_OVER_IPV4 ? AF_INET : AF_INET6;
        addresses = family == AF_INET ? 12 : 36;
        if (rest < addresses)
                return -1;
        is_tls = find_tls(data + VERSION_2_FIXED + addresses, rest - addresses);
        if (is_tls < 0 || inet_ntop(family, data + VERSION_2_FIXED, text, sizeof(text)) == NULL ||
            !peer_set_address(peer, text))
                return -1;
        if (is_tls == 1)
                peer->is_secured = true;
        return 0;
}

int
proxy_parse(const unsigned char *data, size_t length, struct peer *peer)
{
        if (length == 0)
                return 1;
        if (data[0] == signature[0])
                return parse_version_2(data, length, peer);
        return parse_version_1(data, length, peer);
}
