/*
 * peer.c - who the client is, and the options of its socket.
 * Runs in:   pop3d, before the first fork; peer_peek() in AUTHORIZATION; peer_set_address() in all.
 * May touch: the client's socket, the environment.
 */
#include "internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>

/*
 * Takes "fe80::1%eth0", a link-local address with its scope. The scope may have letters, digits,
 * '.', '-' and '_' alone, because the log writes an address as it is.
 */
static bool
set_scoped_address(struct peer *peer, const char *text, size_t length)
{
        static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                    "0123456789.-_";
        const char *scope = text + length + 1;
        char address[INET6_ADDRSTRLEN] = "", *address_end;
        struct in6_addr six;

        if (length >= sizeof(address) || scope[0] == '\0' || strlen(scope) >= IF_NAMESIZE ||
            scope[strspn(scope, plain)] != '\0')
                return false;
        memcpy(address, text, length);
        if (inet_pton(AF_INET6, address, &six) != 1 || !IN6_IS_ADDR_LINKLOCAL(&six) ||
            inet_ntop(AF_INET6, &six, peer->address, INET6_ADDRSTRLEN) == NULL)
                return false;
        peer->is_remote = true;
        address_end = peer->address + strlen(peer->address);
        *address_end++ = '%';
        memcpy(address_end, scope, strlen(scope) + 1);
        return true;
}

bool
peer_set_address(struct peer *peer, const char *text)
{
        const char *percent = strchr(text, '%');
        struct in_addr four;
        struct in6_addr six;

        if (percent != NULL)
                return set_scoped_address(peer, text, (size_t)(percent - text));
        if (inet_pton(AF_INET6, text, &six) == 1) {
                if (!IN6_IS_ADDR_V4MAPPED(&six)) {
                        peer->is_remote = !IN6_IS_ADDR_LOOPBACK(&six);
                        return inet_ntop(AF_INET6, &six, peer->address, sizeof(peer->address));
                }
                memcpy(&four, &six.s6_addr[12], sizeof(four));
        } else if (inet_pton(AF_INET, text, &four) != 1) {
                return false;
        }
        peer->is_remote = ntohl(four.s_addr) >> 24 != 127;
        return inet_ntop(AF_INET, &four, peer->address, sizeof(peer->address));
}

/* Sets peer from the other end of fd; false if that is no internet address. */
static bool
ask_socket(struct peer *peer, int fd)
{
        union {
                struct sockaddr any;
                struct sockaddr_in four;
                struct sockaddr_in6 six;
        } address = { 0 };
        socklen_t size = sizeof(address);
        const void *octets = &address.six.sin6_addr;
        char text[INET6_ADDRSTRLEN];

        if (getpeername(fd, &address.any, &size) != 0)
                return false;
        if (address.any.sa_family == AF_INET)
                octets = &address.four.sin_addr;
        /* inet_ntop fails for any other family, as that of a Unix socket */
        return inet_ntop(address.any.sa_family, octets, text, sizeof(text)) != NULL &&
            peer_set_address(peer, text);
}

/*
 * Whether a client of whom nothing is known is a program on this machine: a script of the
 * administrator's, at the other end of a pipe, a terminal or a socketpair(2). Any other socket was
 * made by a launcher that tells nothing of its client, who may be anywhere.
 */
static bool
is_script(int fd)
{
        struct sockaddr_storage own = { 0 };
        socklen_t size = sizeof(own);

        if (getsockname(fd, (struct sockaddr *)&own, &size) != 0)
                return errno == ENOTSOCK;
        /* the socket of a connection has the name of the one that listened; that of a pair has none */
        return own.ss_family == AF_UNIX && size <= sizeof(sa_family_t);
}

/* Sets peer from a variable that the launcher has set; socat writes "[2001:db8::1]" in full. */
static bool
take_hint(struct peer *peer, const char *name)
{
        const char *hint = getenv(name);
        size_t length = hint == NULL ? 0 : strlen(hint);
        char text[sizeof(peer->address)];

        if (length < 2 || hint[0] != '[' || hint[length - 1] != ']' || length > sizeof(text))
                return hint != NULL && peer_set_address(peer, hint);
        memcpy(text, hint + 1, length - 2);
        text[length - 2] = '\0';
        return peer_set_address(peer, text);
}

/* Sets options that help. Failures are ignored, because a session needs none of them. */
static void
tune_socket(int fd)
{
        static const struct {
                int level, name, value;
        } options[] = {
                { SOL_SOCKET, SO_KEEPALIVE, 1 },
                { IPPROTO_TCP, TCP_KEEPIDLE, 60 },             /* seconds */
                { IPPROTO_TCP, TCP_KEEPINTVL, 15 },            /* seconds */
                { IPPROTO_TCP, TCP_KEEPCNT, 4 },
                { IPPROTO_TCP, TCP_NODELAY, 1 },
                /*
                 * octets. With less waiting in the kernel poll(2) says sooner that the client has
                 * read something, so that a slow client is not taken for an idle one.
                 */
                { IPPROTO_TCP, TCP_NOTSENT_LOWAT, 128 * 1024 },
        };

        for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
                (void)setsockopt(fd, options[i].level, options[i].name, &options[i].value,
                    sizeof(options[i].value));
}

void
peer_find(struct peer *peer, int fd)
{
        static const char *const hints[] = { "REMOTE_HOST", "REMOTE_ADDR", "TCPREMOTEIP",
                "SOCAT_PEERADDR", "NCAT_REMOTE_ADDR" };
        bool is_known;

        if (!ask_socket(peer, fd))
                peer->is_remote = !is_script(fd);
        is_known = peer->address[0] != '\0' && peer->is_remote;
        tune_socket(fd);
        for (size_t i = 0; i < sizeof(hints) / sizeof(hints[0]) && !is_known; i++)
                is_known = take_hint(peer, hints[i]);
        (void)clearenv();
}

ssize_t
peer_peek(int fd, void *data, size_t size)
{
        return recv(fd, data, size, MSG_PEEK);
}
