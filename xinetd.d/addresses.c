/*
 * addresses.c - addresses: those of this machine, and whether one is in a network.
 * Runs in:   pop3d-check, as root where it can.
 * May touch: the network's interfaces and the resolver, by asking.
 */
#include "access.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* ---- One address ------------------------------------------------------------------------- */

static size_t
length_of(int family)
{
        return family == AF_INET ? 4 : 16;
}

/* Clears the bits behind the prefix. */
static void
cut_bits(unsigned char *octets, size_t length, unsigned prefix)
{
        for (unsigned bit = prefix; bit < 8 * length; bit++)
                octets[bit / 8] = (unsigned char)(octets[bit / 8] & ~(0x80U >> bit % 8));
}

static bool
is_private(const struct address *address)
{
        const unsigned char *octets = address->octets;

        if (address->family == AF_INET6)
                return (octets[0] & 0xfe) == 0xfc;
        return octets[0] == 10 || (octets[0] == 172 && (octets[1] & 0xf0) == 16) ||
            (octets[0] == 192 && octets[1] == 168) || (octets[0] == 100 && (octets[1] & 0xc0) == 64);
}

bool
address_take(struct address *address, const struct sockaddr *given)
{
        const struct sockaddr_in6 *six = (const void *)given;
        const struct sockaddr_in *four = (const void *)given;

        memset(address, 0, sizeof(*address));
        if (given == NULL || (given->sa_family != AF_INET && given->sa_family != AF_INET6))
                return false;
        address->family = given->sa_family;
        if (address->family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&six->sin6_addr)) {
                address->family = AF_INET;
                memcpy(address->octets, six->sin6_addr.s6_addr + 12, 4);
        } else if (address->family == AF_INET6) {
                memcpy(address->octets, &six->sin6_addr, 16);
        } else {
                memcpy(address->octets, &four->sin_addr, 4);
        }
        (void)inet_ntop(address->family, address->octets, address->text, sizeof(address->text));
        address->is_loopback = address->family == AF_INET ? address->octets[0] == 127
            : strcmp(address->text, "::1") == 0;
        address->is_private = is_private(address);
        return true;
}

bool
address_read(struct address *address, const char *text)
{
        struct sockaddr_in four = { .sin_family = AF_INET };
        struct sockaddr_in6 six = { .sin6_family = AF_INET6 };

        if (inet_pton(AF_INET, text, &four.sin_addr) == 1)
                return address_take(address, (const void *)&four);
        return inet_pton(AF_INET6, text, &six.sin6_addr) == 1 && address_take(address, (const void *)&six);
}

socklen_t
address_give(const struct address *address, unsigned port, struct sockaddr_storage *out)
{
        struct sockaddr_in four = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
        struct sockaddr_in6 six = { .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port) };
        bool is_four = address->family == AF_INET;
        socklen_t size = is_four ? sizeof(four) : sizeof(six);

        memcpy(&four.sin_addr, address->octets, 4);
        memcpy(&six.sin6_addr, address->octets, 16);
        memset(out, 0, sizeof(*out));
        memcpy(out, is_four ? (const void *)&four : (const void *)&six, size);
        return size;
}

const char *
address_network(const struct address *address, char network[NETWORK_SIZE])
{
        unsigned char octets[16];
        char text[INET6_ADDRSTRLEN] = "";

        memcpy(octets, address->octets, sizeof(octets));
        cut_bits(octets, length_of(address->family), address->network);
        (void)inet_ntop(address->family, octets, text, sizeof(text));
        (void)snprintf(network, NETWORK_SIZE, "%s", text);
        if (address->network < 8 * length_of(address->family))
                (void)snprintf(network, NETWORK_SIZE, "%s/%u", text, address->network);
        return network;
}

bool
address_is(const struct address *one, const struct address *other)
{
        return one->family == other->family && memcmp(one->octets, other->octets, 16) == 0;
}

/* ---- Networks ---------------------------------------------------------------------------- */

bool
is_in_network(const struct address *address, const char *network)
{
        char text[VALUE_SIZE], *slash;
        unsigned char octets[16], mask[16], mine[16];
        size_t length = length_of(address->family);
        unsigned prefix = (unsigned)(8 * length);

        (void)snprintf(text, sizeof(text), "%s", network);
        slash = strchr(text, '/');
        if (slash != NULL)
                *slash++ = '\0';
        if (inet_pton(address->family, text, octets) != 1)
                return false;
        if (slash != NULL && address->family == AF_INET && inet_pton(AF_INET, slash, mask) == 1) {
                prefix = 0;
                for (size_t i = 0; i < length; i++)
                        prefix += (unsigned)__builtin_popcount(mask[i]);
        } else if (slash != NULL) {
                prefix = (unsigned)atoi(slash);
        }
        memcpy(mine, address->octets, length);
        cut_bits(mine, length, prefix);
        cut_bits(octets, length, prefix);
        return memcmp(mine, octets, length) == 0;
}

const char *
name_of(const struct address *address, char name[VALUE_SIZE])
{
        struct sockaddr_storage place;
        socklen_t size = address_give(address, 0, &place);

        if (getnameinfo((const void *)&place, size, name, VALUE_SIZE, NULL, 0, NI_NAMEREQD) != 0)
                *name = '\0';
        return name;
}

/* ---- The addresses of this machine ------------------------------------------------------ */

bool
addresses_have(const struct addresses *own, const struct address *address)
{
        for (size_t i = 0; i < own->count; i++)
                if (address_is(&own->address[i], address))
                        return true;
        /* all of 127.0.0.0/8 is the machine itself */
        return address->is_loopback && address->family == AF_INET;
}

bool
addresses_have_name(const struct addresses *own, const char *name)
{
        const struct addrinfo hints = { .ai_socktype = SOCK_STREAM };
        struct addrinfo *found, *one;
        struct address address;
        bool is_own = false;

        if (getaddrinfo(name, NULL, &hints, &found) != 0)
                return false;
        for (one = found; one != NULL && !is_own; one = one->ai_next)
                is_own = address_take(&address, one->ai_addr) && addresses_have(own, &address);
        freeaddrinfo(found);
        return is_own;
}

/* How many bits of an interface's address name its network. */
static unsigned
network_bits(const struct sockaddr *mask)
{
        struct address address;
        unsigned bits = 0;

        if (!address_take(&address, mask))
                return 128;
        while (bits < 8 * length_of(address.family) && (address.octets[bits / 8] & (0x80 >> bits % 8)) != 0)
                bits++;
        return bits;
}

bool
addresses_are_near(const struct addresses *own, const struct address *other)
{
        for (size_t i = 0; i < own->count; i++) {
                const struct address *address = &own->address[i];
                unsigned same = 0;

                while (same < 128 && ((address->octets[same / 8] ^ other->octets[same / 8]) &
                    (0x80 >> same % 8)) == 0)
                        same++;
                if (address->family == other->family && same >= address->network)
                        return true;
        }
        return false;
}

/* Whether clients may connect to an interface's address; all of 127.0.0.0/8 is one door. */
static bool
is_door(const struct ifaddrs *interface, struct address *address)
{
        if ((interface->ifa_flags & IFF_UP) == 0 || !address_take(address, interface->ifa_addr))
                return false;
        if (address->family == AF_INET6)
                return address->octets[0] != 0xfe;      /* link-local: no client is given that */
        return !address->is_loopback || strcmp(address->text, "127.0.0.1") == 0;
}

void
addresses_read(struct addresses *own)
{
        struct ifaddrs *all;

        own->count = 0;
        if (getifaddrs(&all) != 0)
                return;
        for (const struct ifaddrs *at = all; at != NULL && own->count < ADDRESSES_MAX;
            at = at->ifa_next) {
                struct address *address = &own->address[own->count];

                if (!is_door(at, address))
                        continue;
                address->network = network_bits(at->ifa_netmask);
                own->count++;
        }
        freeifaddrs(all);
}
