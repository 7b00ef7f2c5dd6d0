/*
 * addresses.c - the addresses of this machine, and whether one is in a network.
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

/* The octets of a socket address, or NULL. */
static const unsigned char *
octets_of(const struct sockaddr *address)
{
        if (address == NULL)
                return NULL;
        if (address->sa_family == AF_INET)
                return (const void *)&((const struct sockaddr_in *)(const void *)address)->sin_addr;
        if (address->sa_family == AF_INET6)
                return (const void *)&((const struct sockaddr_in6 *)(const void *)address)->sin6_addr;
        return NULL;
}

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

static void
add_own(struct owns *owns, const struct ifaddrs *interface)
{
        const unsigned char *octets = octets_of(interface->ifa_addr);
        const unsigned char *mask = octets_of(interface->ifa_netmask);
        struct own *own = &owns->own[owns->count];
        unsigned char network[16];
        char text[INET6_ADDRSTRLEN];
        size_t length;

        if (octets == NULL || (interface->ifa_flags & IFF_UP) == 0 || owns->count == OWN_MAX)
                return;
        memset(own, 0, sizeof(*own));
        own->family = interface->ifa_addr->sa_family;
        length = length_of(own->family);
        /* a client on the same link alone is none */
        if (own->family == AF_INET6 && octets[0] == 0xfe && (octets[1] & 0xc0) == 0x80)
                return;
        memcpy(own->octets, octets, length);
        memcpy(network, octets, length);
        for (size_t i = 0; mask != NULL && i < length; i++)
                own->prefix += (unsigned)__builtin_popcount(mask[i]);
        cut_bits(network, length, own->prefix);
        own->is_loopback = (interface->ifa_flags & IFF_LOOPBACK) != 0;
        (void)inet_ntop(own->family, own->octets, own->text, sizeof(own->text));
        (void)inet_ntop(own->family, network, text, sizeof(text));
        (void)snprintf(own->network, sizeof(own->network), "%s/%u", text, own->prefix);
        owns->count++;
}

void
owns_read(struct owns *owns)
{
        struct ifaddrs *interfaces;

        owns->count = 0;
        if (getifaddrs(&interfaces) != 0)
                return;
        for (const struct ifaddrs *one = interfaces; one != NULL; one = one->ifa_next)
                add_own(owns, one);
        freeifaddrs(interfaces);
}

bool
owns_has(const struct owns *owns, const char *address)
{
        const struct addrinfo hints = { .ai_socktype = SOCK_STREAM };
        struct addrinfo *found, *one;
        bool is_own = false;

        if (getaddrinfo(address, NULL, &hints, &found) != 0)
                return false;
        for (one = found; one != NULL && !is_own; one = one->ai_next) {
                const unsigned char *octets = octets_of(one->ai_addr);

                /* all of 127.0.0.0/8 are the machine's */
                is_own = one->ai_family == AF_INET && octets[0] == 127;
                for (size_t i = 0; i < owns->count && octets != NULL; i++)
                        is_own |= owns->own[i].family == one->ai_family &&
                            memcmp(owns->own[i].octets, octets, length_of(one->ai_family)) == 0;
        }
        freeaddrinfo(found);
        return is_own;
}

bool
is_in_network(const struct own *own, const char *network)
{
        char text[VALUE_SIZE], *slash;
        unsigned char octets[16], mask[16], mine[16];
        size_t length = length_of(own->family);
        unsigned prefix = (unsigned)(8 * length);

        (void)snprintf(text, sizeof(text), "%s", network);
        slash = strchr(text, '/');
        if (slash != NULL)
                *slash++ = '\0';
        if (inet_pton(own->family, text, octets) != 1)
                return false;
        if (slash != NULL && own->family == AF_INET && inet_pton(AF_INET, slash, mask) == 1) {
                prefix = 0;
                for (size_t i = 0; i < length; i++)
                        prefix += (unsigned)__builtin_popcount(mask[i]);
        } else if (slash != NULL) {
                prefix = (unsigned)atoi(slash);
        }
        memcpy(mine, own->octets, length);
        cut_bits(mine, length, prefix);
        cut_bits(octets, length, prefix);
        return memcmp(mine, octets, length) == 0;
}

const char *
name_of(const struct own *own, char name[VALUE_SIZE])
{
        struct sockaddr_in four = { .sin_family = AF_INET };
        struct sockaddr_in6 six = { .sin6_family = AF_INET6 };
        bool is_four = own->family == AF_INET;

        memcpy(is_four ? (void *)&four.sin_addr : (void *)&six.sin6_addr, own->octets,
            length_of(own->family));
        if (getnameinfo(is_four ? (const void *)&four : (const void *)&six,
            is_four ? sizeof(four) : sizeof(six), name, VALUE_SIZE, NULL, 0, NI_NAMEREQD) != 0)
                *name = '\0';
        return name;
}
