/*
 * connector.c - who connected, where a PROXY header is expected, and whether he is believed.
 * Runs in:   pop3d, before the first fork, and only with -x.
 * May touch: the client's socket, the file of a Unix socket, the kernel's list of sockets; the log.
 *
 * A header names any address it likes. Were an ordinary user of this machine believed, he could have
 * others banned, use up their places, or be taken for a client that has TLS.
 */
#include "internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <syslog.h>
#include <unistd.h>

union address {
        struct sockaddr any;
        struct sockaddr_in four;
        struct sockaddr_in6 six;
        struct sockaddr_un local;
};

/* What the kernel knows of the other end. */
struct connector {
        uid_t uid;
        uint32_t inode;         /* 0: no process has the socket any more */
};

/* Who connected to a Unix socket whose own name this is. */
static enum proxy_trust
trust_local(int fd, union address *own, socklen_t size)
{
        struct ucred who = { .uid = (uid_t)-1 };
        socklen_t who_size = sizeof(who);
        struct stat file;
        char number[16];

        /* a path of the greatest length has no NUL */
        if (size == sizeof(own->local))
                own->local.sun_path[sizeof(own->local.sun_path) - 1] = '\0';
        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &who_size) != 0)
                who.uid = (uid_t)-1;
        if (who.uid == 0 || who.uid == getuid() ||
            (size > sizeof(sa_family_t) && own->local.sun_path[0] == '/' &&
                stat(own->local.sun_path, &file) == 0 && file.st_uid == who.uid))
                return PROXY_TRUSTED;
        (void)snprintf(number, sizeof(number), "%u", (unsigned)who.uid);
        log_event(LOG_WARNING, "PROXY REFUSED", NULL, NULL, "uid", number, NULL);
        return PROXY_REFUSED;
}

/* Writes one end of a connection as inet_diag has it. An IPv4 address written as IPv6 is made IPv4. */
static void
write_end(const union address *end, bool is_four, uint32_t address[4], uint16_t *port)
{
        bool is_mapped = is_four && end->any.sa_family == AF_INET6;

        if (end->any.sa_family == AF_INET6) {
                memcpy(address, end->six.sin6_addr.s6_addr + (is_mapped ? 12 : 0), is_mapped ? 4 : 16);
                *port = end->six.sin6_port;
        } else {
                memcpy(address, &end->four.sin_addr, 4);
                *port = end->four.sin_port;
        }
}

static bool
is_four(const union address *end)
{
        return end->any.sa_family == AF_INET || IN6_IS_ADDR_V4MAPPED(&end->six.sin6_addr);
}

/* The number of the device "lo", which is the same in each network namespace. */
#define LOOPBACK_DEVICE 1

/*
 * Asks the kernel for the socket that has this end of a connection to other, and is bound to this
 * device, or with 0 to none. False, with errno, if it does not tell of one.
 */
static bool
ask_about(const union address *end, const union address *other, uint32_t device,
    struct connector *connector)
{
        struct {
                struct nlmsghdr head;
                struct inet_diag_req_v2 question;
        } request = {
                .head = { sizeof(request), SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST, 0, 0 },
                .question = {
                        .sdiag_family = is_four(end) ? AF_INET : AF_INET6,
                        .sdiag_protocol = IPPROTO_TCP,
                        .idiag_states = UINT32_MAX,
                        .id.idiag_if = device,
                        .id.idiag_cookie = { INET_DIAG_NOCOOKIE, INET_DIAG_NOCOOKIE },
                },
        };
        struct {
                struct nlmsghdr head;
                union {
                        struct nlmsgerr error;
                        struct inet_diag_msg socket;
                } body;
                char attributes[1024];
        } answer = { 0 };
        struct inet_diag_sockid *id = &request.question.id;
        int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
        ssize_t count;

        write_end(end, is_four(end), id->idiag_src, &id->idiag_sport);
        write_end(other, is_four(end), id->idiag_dst, &id->idiag_dport);
        if (fd < 0)
                return false;
        count = send(fd, &request, sizeof(request), 0) < 0 ? -1 : recv(fd, &answer, sizeof(answer), 0);
        (void)close(fd);
        if (count >= (ssize_t)NLMSG_LENGTH(sizeof(answer.body.error)) && answer.head.nlmsg_type == NLMSG_ERROR)
                errno = -answer.body.error.error;
        if (count < (ssize_t)NLMSG_LENGTH(sizeof(answer.body.socket)) ||
            answer.head.nlmsg_type != SOCK_DIAG_BY_FAMILY)
                return false;
        errno = ENOENT;
        *connector = (struct connector){ answer.body.socket.idiag_uid, answer.body.socket.idiag_inode };
        /* one that listens on that port is found where the connection itself is no more */
        return answer.body.socket.idiag_state != TCP_LISTEN;
}

/*
 * The same, whatever the socket is bound to. Any user may bind his own to "lo" (SO_BINDTODEVICE), over
 * which all goes that stays on this machine, and connect(2) binds one to the scope of a link-local
 * address; the kernel finds such a socket only where its device is named.
 */
static bool
ask_kernel(const union address *end, const union address *other, struct connector *connector)
{
        uint32_t scope = end->any.sa_family == AF_INET6 ? end->six.sin6_scope_id : 0;

        return ask_about(end, other, scope, connector) ||
            ask_about(end, other, LOOPBACK_DEVICE, connector);
}

static bool
is_loopback(const union address *end)
{
        struct peer peer = { 0 };
        char text[INET6_ADDRSTRLEN];

        return inet_ntop(end->any.sa_family, end->any.sa_family == AF_INET ? (const void *)&end->four.sin_addr
            : &end->six.sin6_addr, text, sizeof(text)) != NULL && peer_set_address(&peer, text) && !peer.is_remote;
}

/*
 * The kernel does not tell of the other end's socket; errno says why. From another machine that is as
 * it should be. On this one it must be there, if the kernel tells of our own end: if not, it is gone
 * for good, or a rule of the firewall has changed one of the addresses.
 */
static enum proxy_trust
trust_untold(const union address *own, const union address *peer)
{
        const char *error = error_name(errno);
        struct connector ours;
        bool is_refused;

        if (!is_loopback(peer))
                return PROXY_TRUSTED;
        is_refused = ask_kernel(own, peer, &ours);
        log_event(is_refused ? LOG_WARNING : LOG_INFO, is_refused ? "PROXY REFUSED" : "PROXY UNKNOWN",
            NULL, NULL, "error", error, NULL);
        return is_refused ? PROXY_REFUSED : PROXY_TRUSTED;
}

enum proxy_trust
proxy_trust(int fd)
{
        union address own = { 0 }, peer = { 0 };
        socklen_t own_size = sizeof(own), peer_size = sizeof(peer);
        struct connector who;
        char number[16];

        if (getsockname(fd, &own.any, &own_size) != 0)
                return PROXY_TRUSTED;   /* a pipe */
        if (own.any.sa_family == AF_UNIX)
                return trust_local(fd, &own, own_size);
        if (own.any.sa_family != AF_INET && own.any.sa_family != AF_INET6)
                return PROXY_TRUSTED;   /* of a kind that the kernel cannot tell */
        if (getpeername(fd, &peer.any, &peer_size) != 0)
                return PROXY_GONE;
        if (!ask_kernel(&peer, &own, &who))
                return trust_untold(&own, &peer);
        /* the kernel says of a socket without an owner that it is root's */
        if (who.inode == 0)
                return PROXY_GONE;
        if (who.uid == getuid() || who.uid < account_least_uid())
                return PROXY_TRUSTED;
        (void)snprintf(number, sizeof(number), "%u", (unsigned)who.uid);
        log_event(LOG_WARNING, "PROXY REFUSED", NULL, NULL, "uid", number, NULL);
        return PROXY_REFUSED;
}
