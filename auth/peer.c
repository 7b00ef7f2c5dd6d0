/*
 * peer.c - who is at the other end, and the state in which a process begins.
 * Runs in:   pop3d, before the first fork; peer_set_address() in all.
 * May touch: descriptors 0 and 1, the environment.
 */
#include "auth.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

void
process_begin(bool keeps_stderr)
{
        const struct rlimit no_core = { 0, 0 };
        sigset_t none;
        int null;

        /* those beyond are real-time signals, which nobody sends; fails for SIGKILL: no matter */
        for (int number = 1; number < 32; number++)
                (void)signal(number, SIG_DFL);
        (void)signal(SIGPIPE, SIG_IGN);
        (void)signal(SIGXFSZ, SIG_IGN); /* a limit on file sizes means no index, not no mail */
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        umask(077);
        /* an open below 3 must never land on a place the client's descriptor has */
        do
                null = open("/dev/null", O_RDWR);
        while (null >= 0 && null < 3);
        if (null < 0 || (!keeps_stderr && dup2(null, 2) < 0))
                _exit(END_FAULT);
        log_close_others(-1);
        for (int fd = 0; fd < 2; fd++)
                (void)fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
        if (setrlimit(RLIMIT_CORE, &no_core) != 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)
                _exit(END_FAULT);
}

bool
peer_set_address(struct peer *peer, const char *text)
{
        struct in_addr four;
        struct in6_addr six;

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

static bool
ask_socket(struct peer *peer, int fd)
{
        union {
                struct sockaddr any;
                struct sockaddr_in four;
                struct sockaddr_in6 six;
        } address = { 0 };
        socklen_t size = sizeof(address);
        char text[INET6_ADDRSTRLEN];

        /* inet_ntop knows no other family */
        return getpeername(fd, &address.any, &size) == 0 && inet_ntop(address.any.sa_family,
            address.any.sa_family == AF_INET ? (const void *)&address.four.sin_addr
            : &address.six.sin6_addr, text, sizeof(text)) != NULL && peer_set_address(peer, text);
}

/* All of it is a help; what refuses an option, or is no socket, serves as well. */
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
                /* octets: what waits here is not idle time of a client that reads slowly */
                { IPPROTO_TCP, TCP_NOTSENT_LOWAT, 128 * 1024 },
        };

        for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
                (void)setsockopt(fd, options[i].level, options[i].name, &options[i].value,
                    sizeof(options[i].value));
}

void
peer_find(struct peer *peer, int fd)
{
        static const char *const hints[] = { "REMOTE_HOST", "REMOTE_ADDR", "TCPREMOTEIP" };
        bool is_known = ask_socket(peer, fd) && peer->is_remote;

        tune_socket(fd);
        for (size_t i = 0; i < 3 && !is_known; i++) {
                const char *hint = getenv(hints[i]);

                is_known = hint != NULL && peer_set_address(peer, hint);
        }
        (void)clearenv();
}
