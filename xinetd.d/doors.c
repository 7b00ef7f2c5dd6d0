/*
 * doors.c - the addresses of this machine, and what a client meets who connects to one of them.
 * Runs in:   pop3d-check.
 * May touch: the list of network interfaces; the ports, as a client.
 */
#include "check.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/*
 * A ClientHello of TLS 1.2 (RFC 5246 section 7.4.1.2) with the usual ciphers, curves and signatures.
 * Whoever speaks TLS answers with a record of a handshake or an alert, and nothing has begun yet.
 */
static const unsigned char client_hello[] = {
        0x16, 3, 1, 0, 105,                     /* a record with a handshake */
        1, 0, 0, 101, 3, 3,                     /* ClientHello, TLS 1.2 */
        'p', 'o', 'p', '3', 'd', '-', 'c', 'h', 'e', 'c', 'k', ' ', 'l', 'o', 'o', 'k',
        's', ' ', 'w', 'h', 'o', ' ', 's', 'p', 'e', 'a', 'k', 's', ' ', 'T', 'L', 'S',
        0,                                      /* no session */
        0, 20, 0xc0, 0x2b, 0xc0, 0x2f, 0xc0, 0x2c, 0xc0, 0x30, 0xcc, 0xa9, 0xcc, 0xa8,
        0xc0, 0x13, 0xc0, 0x14, 0, 0x9c, 0, 0x2f,
        1, 0,                                   /* no compression */
        0, 40,                                  /* extensions */
        0, 10, 0, 8, 0, 6, 0, 0x1d, 0, 0x17, 0, 0x18,
        0, 11, 0, 2, 1, 0,
        0, 13, 0, 18, 0, 16, 4, 3, 8, 4, 4, 1, 5, 3, 8, 5, 5, 1, 8, 6, 6, 1,
};

/* ---- The addresses of this machine ------------------------------------------------------ */

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
address_is(const struct address *one, const struct address *other)
{
        return one->family == other->family && memcmp(one->octets, other->octets, 16) == 0;
}

bool
addresses_have(const struct addresses *own, const struct address *address)
{
        for (size_t i = 0; i < own->count; i++)
                if (address_is(&own->address[i], address))
                        return true;
        /* all of 127.0.0.0/8 is the machine itself */
        return address->is_loopback && address->family == AF_INET;
}

/* How many bits of an interface's address name its network. */
static unsigned
network_bits(const struct sockaddr *mask)
{
        struct address address;
        unsigned bits = 0;

        if (!address_take(&address, mask))
                return 128;
        while (bits < 128 && (address.octets[bits / 8] & (0x80 >> bits % 8)) != 0)
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

/* ---- Trying the doors -------------------------------------------------------------------- */

static void
finish(struct door *door, enum outcome outcome, int error)
{
        door->outcome = outcome;
        door->error = error;
        if (door->fd >= 0)
                (void)close(door->fd);
        door->fd = -1;
}

/* Begins to connect. */
static void
knock(struct door *door)
{
        const in_port_t port = htons((uint16_t)door->port);
        struct sockaddr_in6 six = { .sin6_family = AF_INET6, .sin6_port = port };
        struct sockaddr_in four = { .sin_family = AF_INET, .sin_port = port };
        bool is_six = door->address.family == AF_INET6;

        memcpy(&six.sin6_addr, door->address.octets, 16);
        memcpy(&four.sin_addr, door->address.octets, 4);
        door->outcome = UNDECIDED;
        door->heard[0] = '\0';
        door->used = 0;
        door->has_connected = false;
        door->fd = socket(door->address.family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (door->fd < 0 || (connect(door->fd, is_six ? (void *)&six : (void *)&four,
            is_six ? sizeof(six) : sizeof(four)) != 0 && errno != EINPROGRESS))
                finish(door, NOT_CONNECTED, errno);
}

/* Connected, or not: says what comes before the server's first words. */
static void
enter(struct door *door)
{
        socklen_t size = sizeof(door->error);

        door->error = 0;
        if (getsockopt(door->fd, SOL_SOCKET, SO_ERROR, &door->error, &size) != 0 ||
            door->error != 0) {
                finish(door, NOT_CONNECTED, door->error);
                return;
        }
        door->has_connected = true;
        if (door->manner == WITH_PROXY)
                (void)send(door->fd, "PROXY UNKNOWN\r\n", 15, MSG_NOSIGNAL);
        else if (door->manner == WITH_TLS)
                (void)send(door->fd, client_hello, sizeof(client_hello), MSG_NOSIGNAL);
}

/* Takes the server's first words, or that it closed, and leaves as a client should. */
static void
hear(struct door *door)
{
        size_t used = door->used;
        ssize_t count = recv(door->fd, door->heard + used, HEARD_SIZE - 1 - used, 0);

        if (count <= 0 && used == 0) {
                finish(door, CLOSED, count == 0 ? 0 : errno);
                return;
        }
        door->used = used += count > 0 ? (size_t)count : 0;
        door->heard[used] = '\0';
        door->speaks_tls = door->heard[0] == 0x16 || door->heard[0] == 0x15;
        if (count > 0 && !door->speaks_tls && strpbrk(door->heard, "\r\n") == NULL &&
            used < HEARD_SIZE - 1)
                return;
        door->heard[strcspn(door->heard, "\r\n")] = '\0';
        /* so that it is one line of the log, of a session that ended well */
        if (door->heard[0] == '+')
                (void)send(door->fd, "QUIT\r\n", 6, MSG_NOSIGNAL);
        finish(door, HEARD, 0);
}

void
doors_try(struct door *doors, size_t count, unsigned milliseconds)
{
        int64_t end = milliseconds_now() + milliseconds, left = milliseconds;
        struct pollfd wanted[DOORS_MAX];
        bool is_busy = true;

        for (size_t i = 0; i < count; i++)
                knock(&doors[i]);
        for (; is_busy && left > 0; left = end - milliseconds_now()) {
                is_busy = false;
                for (size_t i = 0; i < count; i++) {
                        /* poll(2) passes over a negative descriptor */
                        wanted[i].fd = doors[i].fd;
                        wanted[i].events = doors[i].has_connected ? POLLIN : POLLOUT;
                        wanted[i].revents = 0;
                        is_busy |= doors[i].fd >= 0;
                }
                if (is_busy && poll(wanted, (nfds_t)count, (int)left) < 0 && errno != EINTR)
                        break;
                for (size_t i = 0; i < count; i++)
                        if (wanted[i].revents != 0 && doors[i].has_connected)
                                hear(&doors[i]);
                        else if (wanted[i].revents != 0)
                                enter(&doors[i]);
        }
        for (size_t i = 0; i < count; i++)
                if (doors[i].outcome == UNDECIDED)
                        finish(&doors[i], doors[i].has_connected ? SILENT : NOT_CONNECTED, ETIMEDOUT);
}
