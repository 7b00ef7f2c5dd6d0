/*
 * doors.c - what a client meets who connects to an address of this machine.
 * Runs in:   pop3d-check.
 * May touch: the ports, as a client.
 */
#include "check.h"

#include <errno.h>
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
        struct sockaddr_storage place;
        socklen_t size = address_give(&door->address, door->port, &place);

        door->outcome = UNDECIDED;
        door->heard[0] = '\0';
        door->used = 0;
        door->has_connected = false;
        door->fd = socket(door->address.family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (door->fd < 0 || (connect(door->fd, (void *)&place, size) != 0 && errno != EINPROGRESS))
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
                /* who resets has accepted before */
                finish(door, door->error == ECONNRESET ? CLOSED : NOT_CONNECTED,
                    door->error == ECONNRESET ? 0 : door->error);
                return;
        }
        door->has_connected = true;
        if (door->manner == WITH_PROXY || door->manner == WITH_PROXY_AND_TLS)
                (void)send(door->fd, "PROXY UNKNOWN\r\n", 15, MSG_NOSIGNAL);
        if (door->manner == WITH_TLS || door->manner == WITH_PROXY_AND_TLS)
                (void)send(door->fd, client_hello, sizeof(client_hello), MSG_NOSIGNAL);
}

/* Takes the server's first words, or that it closed, and leaves as a client should. */
static void
hear(struct door *door)
{
        size_t used = door->used;
        ssize_t count = recv(door->fd, door->heard + used, HEARD_SIZE - 1 - used, 0);

        if (count <= 0 && used == 0) {
                finish(door, CLOSED, 0);
                return;
        }
        door->used = used += count > 0 ? (size_t)count : 0;
        door->heard[used] = '\0';
        /* an alert; a handshake, but not the one that was sent (it begins with 1), as an echo has it */
        door->speaks_tls = door->heard[0] == 0x15 || (door->heard[0] == 0x16 && door->heard[5] != 1);
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
