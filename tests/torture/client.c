/*
 * client.c - talks to a disturbed session, and believes nothing that is not true.
 * Runs in:   the sweep, a thread beside the tracer.
 * May touch: the client's end of the connection, the Maildir in situation RENAMED.
 *
 * Each reply must be true or missing: the connection may be cut anywhere, but
 * no +OK, no line and no closing dot may say what is not so.
 */
#include "sweep.h"

#include <err.h>
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
        PATIENCE_MILLISECONDS = 15000,  /* for any reply */
        LINE_SIZE = 600,
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

struct client {
        int fd;
        const struct expectation *expected;
        struct conversation *result;
        int64_t deadline;
        char buffer[65536];
        size_t taken, filled;
        bool is_cut;
        bool has_said_all;      /* at once, before the first reply was read */
};

static int64_t
now_milliseconds(void)
{
        struct timespec now;

        (void)clock_gettime(CLOCK_MONOTONIC, &now);
        return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

__attribute__((format(printf, 2, 3)))
static void
is_false(struct client *client, const char *format, ...)
{
        va_list arguments;

        if (client->result->is_false)
                return;
        /* what follows would be misunderstood */
        client->is_cut = true;
        client->result->is_false = true;
        va_start(arguments, format);
        (void)vsnprintf(client->result->why, WHY_SIZE, format, arguments);
        va_end(arguments);
}

/* Octets */

/* Reads more; false when nothing comes any more. */
static bool
fill(struct client *client)
{
        struct pollfd waiting = { .fd = client->fd, .events = POLLIN };
        ssize_t got;

        if (client->is_cut)
                return false;
        if (client->taken == client->filled)
                client->taken = client->filled = 0;
        if (client->deadline <= now_milliseconds() ||
            poll(&waiting, 1, (int)(client->deadline - now_milliseconds())) != 1) {
                client->result->has_hung = true;
                client->is_cut = true;
                return false;
        }
        got = read(client->fd, client->buffer + client->filled,
            sizeof(client->buffer) - client->filled);
        client->is_cut = got <= 0;
        if (got > 0)
                client->filled += (size_t)got;
        return got > 0;
}

static bool
next_octet(struct client *client, char *octet)
{
        if (client->taken == client->filled && !fill(client))
                return false;
        *octet = client->buffer[client->taken++];
        return true;
}

/* A line without its CRLF; false when the connection was cut before its end. */
static bool
read_line(struct client *client, char line[LINE_SIZE])
{
        size_t used = 0;

        client->deadline = now_milliseconds() + PATIENCE_MILLISECONDS;
        while (used < LINE_SIZE - 1 && next_octet(client, &line[used])) {
                if (line[used] != '\n') {
                        used++;
                        continue;
                }
                if (used > 0 && line[used - 1] == '\r')
                        used--;
                line[used] = '\0';
                return true;
        }
        line[used] = '\0';
        if (!client->is_cut)
                is_false(client, "a reply longer than any: %.60s", line);
        return false;
}

static void
say(const struct client *client, const char *command)
{
        char line[128];
        int length = snprintf(line, sizeof(line), "%s\r\n", command);

        /* whoever cannot be reached will be found missing when his reply is */
        if (!client->has_said_all)
                (void)!write(client->fd, line, (size_t)length);
}

/* Replies */

enum answer { CUT, GRANTED, REFUSED };

/* A status line. What is refused must be refused in words that fit what was done. */
static enum answer
status_line(struct client *client, const char *command, char line[LINE_SIZE])
{
        const struct expectation *expected = client->expected;
        const char *text;

        if (!read_line(client, line))
                return CUT;
        if (strncmp(line, "+OK", 3) == 0 && (line[3] == '\0' || line[3] == ' '))
                return GRANTED;
        /* before main() the loader speaks; under an inetd its stderr is the client */
        if (strstr(line, ": error while loading shared libraries: ") != NULL ||
            strstr(line, "cannot set up thread-local storage") != NULL ||
            strstr(line, "cannot allocate TLS data structures") != NULL)
                return CUT;
        if (strncmp(line, "-ERR ", 5) != 0) {
                is_false(client, "%s: no reply at all: %.100s", command, line);
                return CUT;
        }
        text = line + 5;
        if (strncmp(text, "[SYS/TEMP]", 10) == 0 || strncmp(text, "[SYS/PERM]", 10) == 0)
                return REFUSED;
        if (strncmp(text, "[AUTH]", 6) == 0 && expected->may_refuse_password)
                return REFUSED;
        if (strncmp(text, "[IN-USE]", 8) == 0 && expected->may_be_in_use)
                return REFUSED;
        if (strstr(text, "removed by another program") != NULL && expected->may_miss_messages)
                return REFUSED;
        is_false(client, "%s: refused for a false reason: %.100s", command, line);
        return REFUSED;
}

static enum answer
ask(struct client *client, const char *command, char line[LINE_SIZE])
{
        if (client->is_cut)
                return CUT;
        say(client, command);
        return status_line(client, command, line);
}

/* The octets that must follow, up to the closing dot. Cut off is true as well. */
static void
expect_octets(struct client *client, const char *command, const char *wanted,
    size_t length)
{
        for (size_t at = 0; at < length;) {
                size_t have = client->filled - client->taken;

                client->deadline = now_milliseconds() + PATIENCE_MILLISECONDS;
                if (have == 0) {
                        if (!fill(client))
                                return;
                        continue;
                }
                have = have < length - at ? have : length - at;
                if (memcmp(client->buffer + client->taken, wanted + at, have) != 0) {
                        is_false(client, "%s: other octets than the message's behind octet %zu of %zu",
                            command, at, length);
                        return;
                }
                client->taken += have;
                at += have;
        }
}

static const bool all_there[MESSAGES_MAX] = { true, true, true, true, true, true, true, true };

/* Whether this may be said of a message's octets. */
static bool
octets_are_true(const struct client *client, const struct message *message,
    uint64_t octets)
{
        return octets == message->octets ||
            (client->expected->may_guess_octets && octets == message->length) ||
            (client->expected->may_count_less && octets < message->octets);
}

static void
expect_stat(struct client *client, const struct drop *drop, const bool there[])
{
        char line[LINE_SIZE];
        uint64_t octets = 0, least = 0;
        unsigned long long told_count, told_octets;
        size_t count = 0;

        for (size_t i = 0; i < drop->count; i++)
                if (there[i]) {
                        count++;
                        octets += messages[i].octets;
                        least += client->expected->may_count_less ? 0
                            : client->expected->may_guess_octets ? messages[i].length
                            : messages[i].octets;
                }
        if (ask(client, "STAT", line) != GRANTED)
                return;
        if (sscanf(line, "+OK %llu %llu", &told_count, &told_octets) != 2 || told_count != count ||
            told_octets < least || told_octets > octets)
                is_false(client, "STAT: %.60s and not +OK %zu %zu", line, count, (size_t)octets);
}

static bool
listing_is_true(const struct client *client, const struct message *message,
    size_t number, bool is_uidl, const char *line)
{
        unsigned long long told_number, octets;
        char wanted[LINE_SIZE];

        if (is_uidl && client->expected->may_miss_list)
                return true;
        if (is_uidl) {
                (void)snprintf(wanted, sizeof(wanted), "%zu %s", number, message->id);
                return strcmp(line, wanted) == 0;
        }
        return sscanf(line, "%llu %llu", &told_number, &octets) == 2 && told_number == number &&
            octets_are_true(client, message, octets);
}

/* LIST or UIDL: a line for each message, then a dot; or less, and no dot. */
static void
expect_listing(struct client *client, const char *command, const struct drop *drop,
    const bool there[])
{
        char line[LINE_SIZE];
        size_t number = 0;

        if (ask(client, command, line) != GRANTED)
                return;
        for (size_t i = 0; i < drop->count; i++) {
                if (!there[i])
                        continue;
                number++;
                if (!read_line(client, line))
                        return;
                if (!listing_is_true(client, &messages[i], number, command[0] == 'U', line)) {
                        is_false(client, "%s: %.60s is not true of message %zu", command, line, number);
                        return;
                }
        }
        if (read_line(client, line) && strcmp(line, ".") != 0)
                is_false(client, "%s: %.60s behind the last message", command, line);
}

static void
expect_message(struct client *client, size_t number)
{
        char line[LINE_SIZE], command[32];
        const struct message *message = &messages[number - 1];

        (void)snprintf(command, sizeof(command), "RETR %zu", number);
        if (ask(client, command, line) == GRANTED)
                expect_octets(client, command, message->wire, message->wire_length);
}

static void
expect_top(struct client *client, size_t number, size_t lines)
{
        char line[LINE_SIZE], command[32];
        size_t length;
        char *top = top_of(&messages[number - 1], lines, &length);

        (void)snprintf(command, sizeof(command), "TOP %zu %zu", number, lines);
        if (ask(client, command, line) == GRANTED)
                expect_octets(client, command, top, length);
        free(top);
}

static void
mark(struct client *client, size_t number)
{
        char line[LINE_SIZE], command[32];

        (void)snprintf(command, sizeof(command), "DELE %zu", number);
        client->result->may_be_marked[number - 1] |= !client->is_cut;
        if (ask(client, command, line) == GRANTED)
                client->result->is_marked[number - 1] = true;
}

static void
quit(struct client *client)
{
        struct conversation *result = client->result;
        char line[LINE_SIZE];
        enum answer answer;

        if (client->is_cut)
                return;
        result->was_quit_sent = true;
        answer = ask(client, "QUIT", line);
        result->was_quit_granted = answer == GRANTED;
        if (answer == REFUSED && sscanf(line, "-ERR [SYS/TEMP] %d of", &result->remaining) != 1)
                result->remaining = -1;
        if (next_octet(client, line))
                is_false(client, "more came behind the reply to QUIT");
}

/* Logs in; false when that did not come to pass. */
static bool
log_in(struct client *client)
{
        const struct drop *drop = client->expected->drop;
        bool is_wrong = drop->situation == WRONG_PASSWORD;
        char line[LINE_SIZE];

        if (status_line(client, "greeting", line) != GRANTED ||
            ask(client, "USER alice", line) != GRANTED)
                return false;
        if (ask(client, is_wrong ? "PASS wrong" : "PASS secret", line) == GRANTED) {
                client->result->was_granted = true;
                if (is_wrong)
                        is_false(client, "a wrong password was taken");
                return true;
        }
        /* what AUTHORIZATION says to it is of no matter */
        if (!client->is_cut)
                say(client, "QUIT");
        while (!client->is_cut && next_octet(client, line))
                continue;
        return false;
}

static const size_t retrieved[] = { 1, 2, 3, 4 }, deleted[] = { 1, 4, 5 };

/* All that is going to be said, in one write; the replies are read as they come. */
static void
say_all(struct client *client)
{
        char text[512] = "USER alice\r\nPASS secret\r\nSTAT\r\nLIST\r\nUIDL\r\nTOP 1 2\r\n";

        for (size_t i = 0; i < COUNT(retrieved); i++)
                (void)sprintf(text + strlen(text), "RETR %zu\r\n", retrieved[i]);
        for (size_t i = 0; i < COUNT(deleted); i++) {
                (void)sprintf(text + strlen(text), "DELE %zu\r\n", deleted[i]);
                client->result->may_be_marked[deleted[i] - 1] = true;
        }
        strcat(text, "QUIT\r\n");
        client->result->was_quit_sent = true;
        (void)!write(client->fd, text, strlen(text));
        client->has_said_all = true;
}

static void
be_served(struct client *client)
{
        const struct drop *drop = client->expected->drop;

        expect_stat(client, drop, all_there);
        expect_listing(client, "LIST", drop, all_there);
        expect_listing(client, "UIDL", drop, all_there);
        if (drop->situation == RENAMED)
                drop_disturb(drop);
        expect_top(client, 1, 2);
        for (size_t i = 0; i < COUNT(retrieved); i++)
                expect_message(client, retrieved[i]);
        for (size_t i = 0; i < COUNT(deleted); i++)
                mark(client, deleted[i]);
        quit(client);
}

void
converse(int fd, const struct expectation *expected, struct conversation *result)
{
        struct client *client = calloc(1, sizeof(*client));

        if (client == NULL)
                errx(1, "out of memory");
        *result = (struct conversation){ .remaining = -1 };
        client->fd = fd;
        client->expected = expected;
        client->result = result;
        client->deadline = now_milliseconds() + PATIENCE_MILLISECONDS;
        if (expected->drop->situation == PIPELINED)
                say_all(client);
        if (log_in(client))
                be_served(client);
        free(client);
}

/* Afterwards */

bool
login_again(int fd, const struct expectation *expected, const bool there[], char why[WHY_SIZE])
{
        const struct drop *drop = expected->drop;
        struct conversation result = { .remaining = -1 };
        struct client *client = calloc(1, sizeof(*client));
        char line[LINE_SIZE];
        bool is_in;

        if (client == NULL)
                errx(1, "out of memory");
        client->fd = fd;
        client->expected = expected;
        client->result = &result;
        client->deadline = now_milliseconds() + PATIENCE_MILLISECONDS;
        is_in = status_line(client, "greeting", line) == GRANTED &&
            ask(client, "USER alice", line) == GRANTED && ask(client, "PASS secret", line) == GRANTED;
        if (is_in) {
                expect_stat(client, drop, there);
                expect_listing(client, "LIST", drop, there);
                expect_listing(client, "UIDL", drop, there);
                quit(client);
        }
        if (!is_in || client->result->is_false || !result.was_quit_granted)
                (void)snprintf(why, WHY_SIZE, "the next login: %.200s",
                    result.is_false ? result.why : line[0] == '\0' ? "cut" : line);
        else
                why[0] = '\0';
        free(client);
        return why[0] == '\0';
}
