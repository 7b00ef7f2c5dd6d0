/*
 * client.c - one POP3 client with a stopwatch: spawns a server, speaks a
 * script with it, and tells how long that took.
 *
 *     client [-t] [-e NAME=VALUE] [-n runs] [-w seconds] script argv...
 *     client -c port [-n runs] [-w seconds] script
 *
 * The first spawns argv and gives it one end of a socketpair, with -t a
 * loopback TCP connection, as descriptors 0 and 1, and /dev/null as 2; -e adds
 * to its environment. The second speaks with a daemon on 127.0.0.1. A script is read line by line:
 *
 *     greeting          reads one line
 *     start, stop       set the stopwatch; without them it runs from before
 *                       the spawn to the end of the script
 *     say TEXT          sends a line, reads one line
 *     ask TEXT          sends a line, reads a reply of many lines
 *     each TEXT FROM TO sends TEXT with each number, waits for each whole reply
 *     batch TEXT FROM TO the same, all sent at once
 *     end TEXT          sends TEXT if there is one, reads to the end
 *     send TEXT         sends a line, reads nothing
 *     read OCTETS       reads so many octets, or a few more
 *     hold              prints "hold PID" and waits for a line on standard input
 *
 * For each run it prints: seconds by the stopwatch, seconds until the server
 * was gone, octets received under the stopwatch, seconds of processor time of
 * the server and its children (0 for a daemon), the last reply of one line.
 *
 * Runs in:   the benchmark.
 * May touch: its server, nothing else.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { BUFFER_SIZE = 256 * 1024, SEND_SIZE = 1 << 20, TAIL_SIZE = 600, ENVIRONMENT_SIZE = 12 };

/* How a reply ends. */
enum shape { ONE_LINE, MANY_LINES, REFUSED };

struct client {
        char **argv;            /* the server's, or NULL for a daemon */
        int port;
        bool is_tcp;
        unsigned patience;      /* seconds until the run counts as failed */
        char *script;
        char *environment[ENVIRONMENT_SIZE];    /* ends with NULL */
        size_t environment_length;

        int fd;
        pid_t server;
        double began, stopped;
        uint64_t octets, octets_at_start;
        char tail[TAIL_SIZE];   /* the last octets received, for the end of a reply */
        size_t tail_length;
        char line[TAIL_SIZE];   /* the last reply of one line */
        char to_send[SEND_SIZE];
        char buffer[BUFFER_SIZE];
};

__attribute__((noreturn, format(printf, 1, 2))) static void
fail(const char *format, ...)
{
        va_list arguments;

        va_start(arguments, format);
        (void)vfprintf(stderr, format, arguments);
        va_end(arguments);
        (void)fputc('\n', stderr);
        _exit(1);
}

static double
now(void)
{
        struct timespec time;

        (void)clock_gettime(CLOCK_MONOTONIC, &time);
        return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* The connection */

static void
make_tcp_pair(int pair[2])
{
        struct sockaddr_in address = { .sin_family = AF_INET };
        socklen_t length = sizeof(address);
        int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        pair[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (bind(listener, (struct sockaddr *)&address, length) != 0 || listen(listener, 1) != 0 ||
            getsockname(listener, (struct sockaddr *)&address, &length) != 0 ||
            connect(pair[0], (struct sockaddr *)&address, length) != 0 ||
            (pair[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) < 0)
                fail("loopback: %s", strerror(errno));
        (void)close(listener);
}

/* vfork, so that neither this program's size nor a library's care is in the figure. */
static void
spawn_server(struct client *client)
{
        int pair[2], null = open("/dev/null", O_WRONLY | O_CLOEXEC);

        if (client->is_tcp)
                make_tcp_pair(pair);
        else if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
                fail("socketpair: %s", strerror(errno));
        client->began = now();
        client->server = vfork();
        if (client->server == 0) {
                (void)dup2(pair[1], 0);
                (void)dup2(pair[1], 1);
                (void)dup2(null, 2);
                (void)execve(client->argv[0], client->argv, client->environment);
                _exit(127);
        }
        if (client->server < 0)
                fail("%s: %s", client->argv[0], strerror(errno));
        (void)close(null);
        (void)close(pair[1]);
        client->fd = pair[0];
}

static void
connect_daemon(struct client *client)
{
        struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((uint16_t)client->port) };

        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        client->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        client->began = now();
        if (connect(client->fd, (struct sockaddr *)&address, sizeof(address)) != 0)
                fail("port %d: %s", client->port, strerror(errno));
}

/* Replies */

static void
keep_tail(struct client *client, size_t count)
{
        const char *from = client->buffer;
        size_t old = client->tail_length;

        if (count >= TAIL_SIZE) {
                memcpy(client->tail, from + count - TAIL_SIZE, TAIL_SIZE);
                client->tail_length = TAIL_SIZE;
                return;
        }
        if (old + count > TAIL_SIZE) {
                memmove(client->tail, client->tail + old + count - TAIL_SIZE, TAIL_SIZE - count);
                old = TAIL_SIZE - count;
        }
        memcpy(client->tail + old, from, count);
        client->tail_length = old + count;
}

/* One read; false at the end of the connection. */
static bool
receive(struct client *client)
{
        ssize_t count = read(client->fd, client->buffer, BUFFER_SIZE);

        if (count < 0 && errno != ECONNRESET)
                fail("read: %s", strerror(errno));
        if (count <= 0)
                return false;
        client->octets += (uint64_t)count;
        keep_tail(client, (size_t)count);
        return true;
}

static bool
tail_ends_with(const struct client *client, const char *end)
{
        size_t length = strlen(end);

        return client->tail_length >= length &&
            memcmp(client->tail + client->tail_length - length, end, length) == 0;
}

/* Whether the last line received is whole and an -ERR: only the closing bad command gets one. */
static bool
tail_is_refusal(const struct client *client)
{
        const char *line;

        if (!tail_ends_with(client, "\n") || client->tail_length < 2)
                return false;
        line = memrchr(client->tail, '\n', client->tail_length - 1);
        line = line != NULL ? line + 1 : client->tail;
        return client->tail + client->tail_length - line > 4 && memcmp(line, "-ERR", 4) == 0;
}

static bool
is_complete(const struct client *client, enum shape shape)
{
        switch (shape) {
        case ONE_LINE: return tail_ends_with(client, "\n");
        case MANY_LINES: return tail_ends_with(client, "\r\n.\r\n");
        default: return tail_is_refusal(client);
        }
}

static void
keep_line(struct client *client)
{
        size_t length = client->tail_length;

        while (length > 0 && (client->tail[length - 1] == '\n' || client->tail[length - 1] == '\r'))
                length--;
        memcpy(client->line, client->tail, length);
        client->line[length == TAIL_SIZE ? length - 1 : length] = '\0';
}

/* Sends and receives at once until the reply is whole, so that neither side waits for ever. */
static void
converse(struct client *client, const char *data, size_t length, enum shape shape)
{
        size_t sent = 0;

        client->tail_length = 0;
        while (sent < length) {
                struct pollfd ready = { client->fd, POLLIN | POLLOUT, 0 };
                ssize_t count = send(client->fd, data + sent, length - sent, MSG_DONTWAIT | MSG_NOSIGNAL);

                if (count < 0 && errno != EAGAIN)
                        fail("send: %s", strerror(errno));
                sent += count > 0 ? (size_t)count : 0;
                if (sent < length && poll(&ready, 1, -1) == 1 && (ready.revents & POLLIN) != 0 &&
                    !receive(client))
                        fail("the server left, last heard: %.*s", (int)client->tail_length, client->tail);
        }
        while (!is_complete(client, shape))
                if (!receive(client))
                        fail("the server left, last heard: %.*s", (int)client->tail_length, client->tail);
        if (shape == ONE_LINE)
                keep_line(client);
        if (shape != REFUSED && client->tail[0] == '-' && client->tail_length < TAIL_SIZE)
                fail("refused %.60s: %.*s", data, (int)client->tail_length, client->tail);
}

/* The script */

static void
do_each(struct client *client, const char *text, unsigned from, unsigned to)
{
        char line[128];

        for (unsigned number = from; number <= to; number++) {
                int length = snprintf(line, sizeof(line), "%s %u\r\n", text, number);

                converse(client, line, (size_t)length, MANY_LINES);
        }
}

static void
do_batch(struct client *client, const char *text, unsigned from, unsigned to)
{
        size_t length = 0;

        for (unsigned number = from; number <= to; number++)
                length += (size_t)snprintf(client->to_send + length, SEND_SIZE - length, "%s %u\r\n",
                    text, number);
        length += (size_t)snprintf(client->to_send + length, SEND_SIZE - length, "XBENCH\r\n");
        converse(client, client->to_send, length, REFUSED);
}

static void
do_end(struct client *client, const char *text)
{
        char line[128];
        int length = snprintf(line, sizeof(line), "%s\r\n", text);

        client->tail_length = 0;
        if (*text != '\0' && send(client->fd, line, (size_t)length, MSG_NOSIGNAL) != length)
                fail("send: %s", strerror(errno));
        while (receive(client))
                ;
}

static void
do_read(struct client *client, uint64_t octets)
{
        uint64_t until = client->octets + octets;

        while (client->octets < until)
                if (!receive(client))
                        fail("the server left in mid-message");
}

static void
do_hold(struct client *client)
{
        char line[16];

        (void)printf("hold %d\n", client->server);
        (void)fflush(stdout);
        (void)alarm(0);
        if (fgets(line, sizeof(line), stdin) == NULL)
                fail("nobody to wait for");
        (void)alarm(client->patience);
}

static void
do_line(struct client *client, const char *word, const char *rest)
{
        char line[256];
        char text[128] = "";
        unsigned long long from = 0, to = 0;
        int length = snprintf(line, sizeof(line), "%s\r\n", rest);

        if (strcmp(word, "start") == 0) {
                client->began = now();
                client->octets_at_start = client->octets;
        } else if (strcmp(word, "stop") == 0) {
                client->stopped = now();
                client->octets_at_start = client->octets - client->octets_at_start;
        } else if (strcmp(word, "greeting") == 0)
                converse(client, "", 0, ONE_LINE);
        else if (strcmp(word, "say") == 0)
                converse(client, line, (size_t)length, ONE_LINE);
        else if (strcmp(word, "ask") == 0)
                converse(client, line, (size_t)length, MANY_LINES);
        else if (strcmp(word, "each") == 0 && sscanf(rest, "%127s %llu %llu", text, &from, &to) == 3)
                do_each(client, text, (unsigned)from, (unsigned)to);
        else if (strcmp(word, "batch") == 0 && sscanf(rest, "%127s %llu %llu", text, &from, &to) == 3)
                do_batch(client, text, (unsigned)from, (unsigned)to);
        else if (strcmp(word, "end") == 0)
                do_end(client, rest);
        else if (strcmp(word, "send") == 0)
                (void)!send(client->fd, line, (size_t)length, MSG_NOSIGNAL);
        else if (strcmp(word, "read") == 0 && sscanf(rest, "%llu", &from) == 1)
                do_read(client, from);
        else if (strcmp(word, "hold") == 0)
                do_hold(client);
        else
                fail("unknown step: %s %s", word, rest);
}

static void
run(struct client *client)
{
        char *script = strdup(client->script), *at = script, *line;
        struct rusage used = { 0 };

        client->octets = client->octets_at_start = client->tail_length = 0;
        client->stopped = 0;
        client->line[0] = '\0';
        (void)alarm(client->patience);
        if (client->argv != NULL)
                spawn_server(client);
        else
                connect_daemon(client);
        while ((line = strsep(&at, "\n")) != NULL) {
                char *rest = strchrnul(line, ' ');

                if (*rest != '\0')
                        *rest++ = '\0';
                if (*line != '\0')
                        do_line(client, line, rest);
        }
        if (client->stopped == 0)
                do_line(client, "stop", "");
        (void)close(client->fd);
        if (client->argv != NULL)
                while (wait4(client->server, NULL, 0, &used) < 0 && errno == EINTR)
                        ;
        (void)printf("%.9f %.9f %llu %.6f %s\n", client->stopped - client->began,
            now() - client->began, (unsigned long long)client->octets_at_start,
            (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
            (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6, client->line);
        (void)fflush(stdout);
        free(script);
}

static void
on_alarm(int number)
{
        static const char text[] = "out of patience\n";

        (void)number;
        (void)!write(2, text, sizeof(text) - 1);
        _exit(3);
}

int
main(int argc, char **argv)
{
        static struct client client = { .patience = 60 };
        static char path[] = "PATH=/usr/sbin:/usr/bin:/sbin:/bin";
        unsigned runs = 1;
        int option;

        client.environment[client.environment_length++] = path;
        while ((option = getopt(argc, argv, "+te:c:n:w:")) != -1) {
                switch (option) {
                case 't': client.is_tcp = true; break;
                case 'e':
                        if (client.environment_length < ENVIRONMENT_SIZE - 1)
                                client.environment[client.environment_length++] = optarg;
                        break;
                case 'c': client.port = atoi(optarg); break;
                case 'n': runs = (unsigned)atoi(optarg); break;
                case 'w': client.patience = (unsigned)atoi(optarg); break;
                default: return 64;
                }
        }
        if (optind >= argc || (client.port == 0 && optind + 1 >= argc))
                return 64;
        client.script = argv[optind];
        client.argv = client.port == 0 ? argv + optind + 1 : NULL;
        (void)signal(SIGALRM, on_alarm);
        for (unsigned i = 0; i < runs; i++)
                run(&client);
        return 0;
}
