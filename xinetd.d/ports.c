/*
 * ports.c - who listens on a port, and what he says first.
 * Runs in:   pop3d-check, as root where it can.
 * May touch: /proc, for reading; the ports, as a client.
 */
#include "check.h"

#include <arpa/inet.h>
#include <errno.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { LISTENING = 10 };        /* a state in /proc/net/tcp, in hexadecimal 0A */

static void
read_table(const char *path, int family, void (*found)(void *, const struct listener *),
    void *context)
{
        struct listener listener = { .family = family };
        uint32_t *words = listener.address;
        FILE *table = fopen(path, "re");
        char line[256], address[33];
        unsigned state;

        if (table == NULL)
                return;
        while (fgets(line, sizeof(line), table) != NULL) {
                if (sscanf(line, " %*d: %32[0-9A-F]:%x %*s %x %*s %*s %*s %*s %*s %lu", address,
                    &listener.port, &state, &listener.inode) != 4 || state != LISTENING)
                        continue;
                (void)sscanf(address, "%8x%8x%8x%8x", words, words + 1, words + 2, words + 3);
                (void)inet_ntop(family, listener.address, listener.text, sizeof(listener.text));
                found(context, &listener);
        }
        (void)fclose(table);
}

void
listeners_read(void (*found)(void *context, const struct listener *listener), void *context)
{
        read_table("/proc/net/tcp", AF_INET, found, context);
        read_table("/proc/net/tcp6", AF_INET6, found, context);
}

/* The number of the process that has a descriptor of this socket, or 0. */
static int
find_holder(unsigned long inode)
{
        char wanted[64], held[64];
        glob_t links;
        int pid = 0;

        (void)snprintf(wanted, sizeof(wanted), "socket:[%lu]", inode);
        (void)glob("/proc/[0-9]*/fd/*", GLOB_NOSORT, NULL, &links);
        for (size_t i = 0; i < links.gl_pathc && pid == 0; i++) {
                ssize_t length = readlink(links.gl_pathv[i], held, sizeof(held) - 1);

                held[length < 0 ? 0 : length] = '\0';
                if (strcmp(held, wanted) == 0)
                        pid = atoi(links.gl_pathv[i] + strlen("/proc/"));
        }
        globfree(&links);
        return pid;
}

int
listener_holder(const struct listener *listener, char name[64])
{
        int pid = find_holder(listener->inode);
        char path[64];
        FILE *file;

        (void)snprintf(path, sizeof(path), "/proc/%d/comm", pid);
        file = fopen(path, "re");
        if (file == NULL || fgets(name, 64, file) == NULL)
                (void)snprintf(name, 64, "a process that only root sees");
        name[strcspn(name, "\n")] = '\0';
        if (file != NULL)
                (void)fclose(file);
        return pid;
}

/* Connects, with patience for a few seconds. Where it listens on all addresses, to loopback. */
static bool
connect_to(const struct listener *listener, int fd)
{
        const struct timeval patience = { .tv_sec = 4 };
        const in_port_t port = htons((uint16_t)listener->port);
        struct sockaddr_in6 six = { .sin6_family = AF_INET6, .sin6_port = port };
        struct sockaddr_in four = { .sin_family = AF_INET, .sin_port = port };

        (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
        (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
        if (listener->family == AF_INET6) {
                memcpy(&six.sin6_addr, listener->address, sizeof(six.sin6_addr));
                return connect(fd, (void *)&six, sizeof(six)) == 0;
        }
        memcpy(&four.sin_addr, listener->address, sizeof(four.sin_addr));
        return connect(fd, (void *)&four, sizeof(four)) == 0;
}

void
listener_hear(const struct listener *listener, bool expects_proxy, char heard[HEARD_SIZE])
{
        int fd = socket(listener->family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        ssize_t count;

        if (connect_to(listener, fd) && expects_proxy)
                (void)send(fd, "PROXY UNKNOWN\r\n", 15, MSG_NOSIGNAL);
        count = recv(fd, heard, HEARD_SIZE - 1, 0);
        if (count == 0)
                count = snprintf(heard, HEARD_SIZE, "(nothing: closed at once)");
        else if (count < 0)
                count = snprintf(heard, HEARD_SIZE, "(nothing: %s)",
                    strerror(errno == EAGAIN ? ETIMEDOUT : errno));
        heard[count] = '\0';
        heard[strcspn(heard, "\r\n")] = '\0';
        (void)close(fd);
}
