/*
 * session_fuzz.c - any octets as a whole session: the line reader, both command tables.
 *
 * Runs in:   a fuzzer, or replay.
 * May touch: memory; all system calls of pop3d.c are replaced below.
 *
 * The first four octets say what the world is like (see struct world), the rest
 * is what the client sends. The session is run three times: the input whole, octet
 * by octet with interrupted reads and short writes, and in pieces. Then:
 *
 *   - the three conversations are the same, octet for octet;
 *   - each line of the client has exactly one reply, each reply line is at most 512
 *     octets of plain text and ends in CRLF; lists and messages end in a dot;
 *   - a message arrives as it lies in the maildrop;
 *   - a batch is answered in few writes;
 *   - maildir/ and auth/ are called only as their contracts allow: this is what
 *     their stand-ins below look at.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "../../maildir/internal.h"
#include "fuzz.h"

static ssize_t world_read(int fd, void *data, size_t size);
static ssize_t world_write(int fd, const void *data, size_t size);
static int world_poll(struct pollfd *polled, nfds_t count, int milliseconds);
static int world_shutdown(int fd, int how);
static int world_clock(clockid_t clock, struct timespec *now);
static int no_clock(void);
int pop3d_main(int argc, char **argv);

#define read world_read
#define write world_write
#define poll world_poll
#define shutdown world_shutdown
#define clock_gettime world_clock
#define sigaction(number, action, old) ((void)(action), no_clock())
#define setitimer(timer, value, old) ((void)(value), no_clock())
/* auth/peer.c is there, for the PROXY parser */
#define process_begin world_process_begin
#define peer_find world_peer_find
#define peer_peek world_peer_peek
#define main pop3d_main
#include "../../pop3d.c"
#undef read
#undef write
#undef poll
#undef shutdown
#undef clock_gettime
#undef sigaction
#undef setitimer
#undef main

enum {
        SETTINGS = 4,           /* octets before the client's */
        INPUT_LIMIT = 64 * 1024,
        HUGE_DROP = 4000,       /* messages; their UIDL is larger than all buffers */
        BODY_MAX = 512,
        DAY_MILLISECONDS = 86400 * 1000,
};

enum fault {
        NO_FAULT, IN_USE, NO_RIGHTS, BROKEN_DISK, INDEX_STALE, MESSAGE_GONE, MESSAGE_BROKEN,
        MESSAGE_CUT, REMOVAL_FAILS, REMOVAL_MAY_NOT_LAST, ONLY_IN_CAPITALS, PATH_TOO_LONG,
        NO_MAILDROP_YET, CLIENT_VANISHES, CLOCK_JUMPS, NO_MEMORY
};

enum feed { WHOLE, OCTETS, PIECES, FEEDS };

struct text {
        char *data;
        size_t used, size;
};

/* One run, and all that the stand-ins know. */
static struct world {
        bool is_remote, is_secured, allows_clear_text, expects_proxy;
        size_t messages;
        enum fault fault;
        uint32_t seed;

        const uint8_t *input;
        size_t input_size, read_so_far, arrived;
        enum feed feed;
        bool is_pipe;           /* and no socket */
        bool was_interrupted;
        int64_t milliseconds;
        struct text output;
        size_t writes;
        bool is_shut;

        bool is_granted;        /* a login was, and TRANSACTION runs */
        struct login_name name;
        bool is_open, is_loaded, has_message, is_updated;
        size_t open_message;
        bool is_deleted[HUGE_DROP + 1];
        size_t deleted;
} world;

/* The client */

static uint32_t
any_number(void)
{
        world.seed = world.seed * 1664525U + 1013904223U;
        return world.seed >> 16;
}

/* What the next packet brings. */
static void
let_arrive(void)
{
        size_t left = world.input_size - world.arrived;
        size_t packet = world.feed == WHOLE ? left : world.feed == OCTETS ? 1
            : 1 + any_number() % (any_number() % 8 == 0 ? 4096 : 40);

        world.arrived += packet < left ? packet : left;
}

static ssize_t
world_read(int fd, void *data, size_t size)
{
        size_t ready;

        require(fd == 0 && size > 0);
        if (world.fault == CLOCK_JUMPS && world.read_so_far >= world.input_size / 2)
                world.milliseconds += DAY_MILLISECONDS;
        if (world.feed == OCTETS && !world.was_interrupted) {
                world.was_interrupted = true;
                errno = EINTR;
                return -1;
        }
        world.was_interrupted = false;
        if (world.read_so_far == world.arrived)
                let_arrive();
        ready = world.arrived - world.read_so_far;
        size = ready < size ? ready : size;
        if (size > 0)
                memcpy(data, world.input + world.read_so_far, size);
        world.read_so_far += size;
        return (ssize_t)size;
}

/* Looks at what is waiting. Before some sessions the client is no socket, where nobody can look. */
ssize_t
world_peer_peek(int fd, void *data, size_t size)
{
        size_t so_far = world.read_so_far;
        ssize_t count;

        require(!world.is_granted);
        if (world.is_pipe) {
                errno = ENOTSOCK;
                return -1;
        }
        count = world_read(fd, data, size);
        world.read_so_far = so_far;
        /* what was looked at is there: the next read is not interrupted */
        world.was_interrupted = count > 0;
        return count;
}

static ssize_t
world_write(int fd, const void *data, size_t size)
{
        struct text *output = &world.output;

        require(fd == 1 && size > 0 && !world.is_shut);
        if (world.fault == CLIENT_VANISHES && output->used > world.input_size) {
                errno = EPIPE;
                return -1;
        }
        if (world.fault == CLOCK_JUMPS && output->used > world.input_size)
                world.milliseconds += DAY_MILLISECONDS;
        if (world.feed == OCTETS && size > 1)
                size = 1 + size / 3;
        if (output->size - output->used < size) {
                output->size = (output->size + size) * 2;
                output->data = realloc(output->data, output->size);
                if (output->data == NULL)
                        abort();
        }
        memcpy(output->data + output->used, data, size);
        output->used += size;
        world.writes++;
        return (ssize_t)size;
}

static int
world_poll(struct pollfd *polled, nfds_t count, int milliseconds)
{
        require(count == 1 && polled->fd == 0 && polled->events == POLLIN && milliseconds >= 0);
        polled->revents = POLLIN;
        if (milliseconds > 0 && world.read_so_far == world.arrived)
                let_arrive();
        /* an end of file can be read, too */
        return world.read_so_far < world.arrived || world.arrived == world.input_size;
}

static int
world_shutdown(int fd, int how)
{
        require(fd == 1 && how == SHUT_WR);
        world.is_shut = true;
        return 0;
}

static int
world_clock(clockid_t clock, struct timespec *now)
{
        *now = (struct timespec){ world.milliseconds / 1000,
            (long)(world.milliseconds % 1000 * 1000000) };
        return 0;
}

static int
no_clock(void)
{
        return 0;
}

/* auth/ */

bool
world_process_begin(bool keeps_stderr)
{
        return true;
}

void
world_peer_find(struct peer *peer, int fd)
{
        *peer = (struct peer){ "192.0.2.7", world.is_remote, world.is_secured };
}

enum proxy_trust
proxy_trust(int fd)
{
        require(fd == 0 && world.expects_proxy);
        return PROXY_TRUSTED;
}

bool
auth_admits(const struct peer *peer)
{
        require(!world.expects_proxy && strcmp(peer->address, "192.0.2.7") == 0);
        return true;
}

bool
auth_announce(int pam, const struct peer *peer)
{
        require(pam == 7 && world.expects_proxy && memchr(peer->address, '\0', sizeof(peer->address)) != NULL);
        return true;
}

/* Every process has its memory: what AUTHORIZATION did to the session is not seen after it. */
enum session_end
auth_session(const struct auth *auth, enum session_end (*state)(void *context, int pam),
    void *context, struct identity *identity)
{
        static struct session fresh, helper;
        struct session *session = context;
        enum session_end end;

        fresh = (struct session){ .end = END_DISCONNECT };
        fresh.options = session->options;
        fresh.output = session->output;
        fresh.output.used = 0;
        fresh.peer = session->peer;
        fresh.deadline = session->deadline;
        memcpy(session, &fresh, sizeof(fresh));
        memcpy(&helper, &fresh, sizeof(fresh));
        end = state(&helper, 7);
        require((end == END_GRANTED) == world.is_granted);
        /* the log and the exit status say only that; how it ended is judged all the same */
        if (helper.was_refused) {
                require(end == END_REFUSED);
                end = helper.end;
        }
        require(end != END_QUIT || helper.is_gone || helper.output.used == 0);
        if (end != END_GRANTED)
                return end;
        *identity = (struct identity){ .uid = 1000, .gid = 1000,
                .name = world.name, .home = "/home/user",
                .mechanism = MECHANISM_PASS, .peer = helper.peer };
        return END_GRANTED;
}

/* The password's first octet is the verdict. */
enum verdict
auth_ask(int pam, struct login *login)
{
        size_t password = strnlen(login->password, sizeof(login->password));

        require(pam == 7 && !world.is_granted);
        require(login->kind == LOGIN_QUESTION && login->mechanism < MECHANISMS);
        require(memchr(login->typed, '\0', sizeof(login->typed)) != NULL);
        require(password <= PASSWORD_MAX);
        for (size_t i = password; i < sizeof(login->password); i++)
                require(login->password[i] == '\0');
        require(login->is_acceptable || password == 0);
        require(!login->is_acceptable || login_name_is_valid(&login->name));
        require(!login->peer.is_remote || login->peer.is_secured || world.allows_clear_text);
        if (!login->is_acceptable)
                return VERDICT_DENIED;
        switch (login->password[0]) {
        case 'g':
                world.is_granted = true;
                world.name = login->name;
                return VERDICT_GRANTED;
        case 'u': return VERDICT_UNAVAILABLE;
        case 'm': return VERDICT_MISCONFIGURED;
        default: return VERDICT_DENIED;
        }
}

void
become_user(const struct identity *identity)
{
        require(world.is_granted && identity->uid == 1000);
}

void
confine_authorization(int pam)
{
        require(pam == 7);
}

void
confine_transaction(int directory, uint64_t memory)
{
        require(memory == 12345);
        require(world.is_granted && !world.is_open);
        require(directory == (world.fault == NO_MAILDROP_YET ? -1 : 9));
}

void
process_die_at(int64_t milliseconds)
{
        require(milliseconds > world.milliseconds);
}

void
log_open(bool to_stderr)
{
}

void
log_event(int priority, const char *event, const char *user, const char *address, ...)
{
        va_list pairs;
        const char *name;

        va_start(pairs, address);
        while ((name = va_arg(pairs, const char *)) != NULL) {
                const char *value = va_arg(pairs, const char *);

                require(name[0] != '\0' && value != NULL && strlen(value) < 4 * PATH_MAX);
        }
        va_end(pairs);
}

const char *
error_name(int error)
{
        require(error > 0);
        return "E";
}

const char *
session_end_name(enum session_end end)
{
        require(end == END_QUIT || end == END_DISCONNECT || end == END_TIMEOUT ||
            end == END_ABUSE || end == END_CUT || end == END_FAULT);
        return "";
}

/* maildir/ */

static int
fail_with(int error)
{
        errno = error;
        return -1;
}

const char *
maildir_template_problem(const char *template, bool is_virtual)
{
        return template == NULL ? "there is none" : NULL;
}

int
maildir_path(char *path, size_t size, const char *template, const struct maildir_names *names,
    bool must_tell_domains)
{
        require(size == PATH_MAX && names->user[0] != '\0' && names->mailbox[0] != '\0');
        if (world.fault == PATH_TOO_LONG)
                return fail_with(ENAMETOOLONG);
        memset(path, 'p', size - 1);
        path[0] = '/';
        path[size - 1] = '\0';
        return 0;
}

uint64_t
maildir_memory(int directory)
{
        require(directory == (world.fault == NO_MAILDROP_YET ? -1 : 9));
        return 12345;
}

int
maildir_open(const char *path)
{
        if (world.fault == NO_RIGHTS)
                return fail_with(EACCES);
        return world.fault == NO_MAILDROP_YET || world.fault == ONLY_IN_CAPITALS
            ? fail_with(ENOENT) : 9;
}

bool
maildir_template_has_home(const char *template)
{
        return true;
}

bool
maildir_is_spelt_otherwise(const char *path, char *found, size_t size)
{
        require(world.fault == ONLY_IN_CAPITALS);
        (void)snprintf(found, size, "/P");
        return true;
}

bool
maildir_is_not_yet_there(const char *path, uid_t uid)
{
        require(world.fault == NO_MAILDROP_YET && uid == 1000);
        return true;
}

int
maildir_lock_absent(const char *path, unsigned lock_milliseconds)
{
        require(world.fault == NO_MAILDROP_YET && lock_milliseconds == 2000);
        return 0;
}

struct maildrop *
maildrop_open(int directory, const char *id_format, unsigned lock_milliseconds,
    int index_seconds, const char **part)
{
        static struct maildrop drop;
        int error = world.fault == IN_USE ? EWOULDBLOCK : world.fault == BROKEN_DISK ? EIO
            : world.fault == NO_MEMORY ? ENOMEM : 0;

        require(lock_milliseconds == 2000 && !world.is_open && index_seconds >= INDEX_SECONDS_BY_KIND &&
            index_seconds <= INDEX_SECONDS_MAX);
        *part = error == EIO ? "/new" : "";
        errno = error;
        world.is_open = error == 0;
        if (world.fault == NO_MAILDROP_YET)
                world.messages = 0;
        return world.is_open ? &drop : NULL;
}

const char *
maildir_id_format_problem(const char *format)
{
        return NULL;
}

bool
maildrop_ids_are_kept(const struct maildrop *drop)
{
        require(world.is_open && world.is_loaded);
        return true;
}

static void
require_loaded(size_t number)
{
        require(world.is_open && world.is_loaded && !world.is_updated);
        require(number >= 1 && number <= world.messages && !world.is_deleted[number]);
}

const struct maildrop_totals *
maildrop_totals(const struct maildrop *drop)
{
        static struct maildrop_totals totals;

        require(world.is_open);
        totals = (struct maildrop_totals){ .count = world.messages - world.deleted,
            .octets = UINT64_MAX - world.deleted, .total = world.messages,
            .taken_over = world.messages / 2 };
        return &totals;
}

int
maildrop_load(struct maildrop *drop, const char **part)
{
        require(world.is_open);
        if (world.fault == INDEX_STALE) {
                *part = "/pop3d.index";
                return fail_with(ESTALE);
        }
        world.is_loaded = true;
        return 0;
}

bool
maildrop_has(const struct maildrop *drop, size_t number)
{
        require(world.is_open && world.is_loaded);
        return number >= 1 && number <= world.messages && !world.is_deleted[number];
}

uint64_t
maildrop_message_octets(const struct maildrop *drop, size_t number)
{
        require_loaded(number);
        return UINT64_MAX - number;
}

size_t
maildrop_unique_id(const struct maildrop *drop, size_t number, char id[UNIQUE_ID_MAX])
{
        size_t length = number % 2 == 0 ? UNIQUE_ID_MAX : 1 + number % UNIQUE_ID_MAX;

        require_loaded(number);
        memset(id, '~', length);
        return length;
}

void
maildrop_delete(struct maildrop *drop, size_t number)
{
        require_loaded(number);
        world.is_deleted[number] = true;
        world.deleted++;
}

void
maildrop_reset(struct maildrop *drop)
{
        require(world.is_open && !world.is_updated);
        memset(world.is_deleted, 0, sizeof(world.is_deleted));
        world.deleted = 0;
}

/* Message number n: lines that begin with dots, and n of everything else. */
static size_t
write_body(char body[BODY_MAX], size_t number)
{
        static const char *const pieces[] = { "Subject: a\n", "\n", ".", "..\n", "\r\n", "text\n",
                ".\n", "\r", "8-bit \xE4\xF6\n", "no end" };
        size_t used = 0;

        for (size_t i = 0; i < number % 40; i++) {
                const char *piece = pieces[(i + i * number) % 10];

                memcpy(body + used, piece, strlen(piece));
                used += strlen(piece);
        }
        return used;
}

int
message_open(struct maildrop *drop, size_t number)
{
        require_loaded(number);
        require(!world.has_message);
        if (world.fault == MESSAGE_GONE || world.fault == MESSAGE_BROKEN)
                return fail_with(world.fault == MESSAGE_GONE ? ENOENT : EIO);
        world.has_message = true;
        world.open_message = number;
        return 0;
}

int
message_send(struct maildrop *drop, uint64_t body_lines, struct output *output)
{
        char body[BODY_MAX];
        size_t length = write_body(body, world.open_message);
        struct wire wire;

        require(world.has_message);
        world.has_message = false;
        wire_begin(&wire, body_lines);
        if (body_lines < UINT64_MAX)
                length = wire_extent(&wire, body, length);
        if (wire_encode(&wire, body, length, output) != 0)
                return -1;
        return world.fault == MESSAGE_CUT ? fail_with(EIO) : wire_end(&wire, output);
}

void
maildrop_update(struct maildrop *drop, struct maildrop_update *result)
{
        require(world.is_open && !world.is_updated);
        world.is_updated = true;
        *result = (struct maildrop_update){ .marked = world.deleted };
        if (world.fault == REMOVAL_FAILS && world.deleted > 0)
                *result = (struct maildrop_update){ world.deleted, (world.deleted + 1) / 2, EPERM };
        if (world.fault == REMOVAL_MAY_NOT_LAST)
                *result = (struct maildrop_update){ world.deleted, 0, EIO };
}

void
maildrop_close(struct maildrop *drop)
{
        require(world.is_open);
        world.is_open = false;
}

/* Judging the conversation */

struct cursor {
        const char *at, *end;
};

/* The next line with its LF; false at the end. */
static bool
take_any_line(struct cursor *cursor, struct cursor *line)
{
        const char *end = cursor->at == cursor->end ? NULL
            : memchr(cursor->at, '\n', (size_t)(cursor->end - cursor->at));

        if (end == NULL)
                return false;
        *line = (struct cursor){ cursor->at, end + 1 };
        cursor->at = end + 1;
        return true;
}

static bool
begins(struct cursor line, const char *text)
{
        size_t length = strlen(text);

        return (size_t)(line.end - line.at) >= length && memcmp(line.at, text, length) == 0;
}

static void
require_reply_line(struct cursor line)
{
        size_t length = (size_t)(line.end - line.at);

        require(length >= 2 && length <= REPLY_MAX && line.end[-2] == '\r');
        for (const char *at = line.at; at < line.end - 2; at++)
                require(*at >= ' ' && *at <= '~');
}

/* The word a line begins with, when it is one of a command that may have a longer reply. */
static bool
has_long_reply(struct cursor line, bool *is_message, bool *shows_message_number)
{
        static const char *const alone[] = { "CAPA", "LIST", "UIDL", "AUTH" };
        size_t length = (size_t)(line.end - line.at) - 1;

        if (length > 0 && line.at[length - 1] == '\r')
                length--;
        *is_message = (length > 5 && strncasecmp(line.at, "RETR ", 5) == 0) ||
            (length > 4 && strncasecmp(line.at, "TOP ", 4) == 0);
        *shows_message_number = *is_message && (line.at[0] == 'R' || line.at[0] == 'r');
        /* blanks behind a command that stands alone are no argument */
        while (length > 4 && line.at[length - 1] == ' ')
                length--;
        for (size_t i = 0; i < 4; i++)
                if (length == 4 && strncasecmp(line.at, alone[i], 4) == 0)
                        return true;
        return *is_message;
}

/* RETR's lines, dots taken off, are the message's. */
static void
require_message(struct cursor line, struct cursor reply)
{
        char body[BODY_MAX];
        size_t number = strtoul(line.at + 5, NULL, 10), length, at = 0;

        require(number >= 1 && number <= world.messages);
        length = write_body(body, number);
        for (struct cursor one; take_any_line(&reply, &one);) {
                one.at += *one.at == '.';
                for (; one.at < one.end - 2; one.at++)
                        require(at < length && *one.at == body[at++]);
                if (at < length && body[at] == '\r')
                        at++;
                require(at == length || body[at] == '\n');
                at += at < length;
        }
        require(at == length);
}

/* Lines up to the dot; false when there is none, which only a cut connection may show. */
static bool
take_long_reply(struct cursor *output, struct cursor line, bool is_message, bool is_whole_message)
{
        struct cursor reply, whole = { output->at, output->at };

        while (take_any_line(output, &reply)) {
                if (!is_message)
                        require_reply_line(reply);
                require(reply.end - reply.at >= 2 && reply.end[-2] == '\r');
                if (reply.at[0] == '.' && reply.end - reply.at == 3) {
                        if (is_whole_message)
                                require_message(line, whole);
                        return true;
                }
                require(reply.at[0] != '.' || reply.at[1] == '.');
                whole.end = reply.end;
        }
        return false;
}

struct verdicts {
        size_t lines, replies;
        struct cursor last;             /* the last status line */
        bool is_cut;                    /* in mid-reply */
};

/* Goes through what both sides said, line by line. */
static void
judge(struct cursor input, struct cursor output, struct verdicts *verdicts)
{
        bool is_continuation = false;
        struct cursor line;

        *verdicts = (struct verdicts){ .last = { output.at, output.at } };
        while (take_any_line(&input, &line)) {
                bool is_message = false, is_retr = false;
                bool is_long = !is_continuation && has_long_reply(line, &is_message, &is_retr);

                verdicts->lines++;
                if (verdicts->is_cut || !take_any_line(&output, &verdicts->last)) {
                        verdicts->is_cut = verdicts->is_cut || output.at != output.end;
                        continue;
                }
                require_reply_line(verdicts->last);
                require(begins(verdicts->last, "+OK") || begins(verdicts->last, "-ERR") ||
                    begins(verdicts->last, "+ "));
                verdicts->replies++;
                is_continuation = begins(verdicts->last, "+ ");
                if (is_long && begins(verdicts->last, "+OK"))
                        verdicts->is_cut = !take_long_reply(&output, line, is_message, is_retr);
        }
        if (!verdicts->is_cut)
                require(output.at == output.end);
}

/* Where the client's commands begin. */
static size_t
proxy_header(void)
{
        struct peer peer = { "", 0, 0 };
        size_t have = 0;
        int wanted;

        if (!world.expects_proxy)
                return 0;
        while ((wanted = proxy_parse(world.input, have, &peer)) > 0) {
                have += (size_t)wanted;
                if (have > world.input_size)
                        return SIZE_MAX;
        }
        return wanted == 0 ? have : SIZE_MAX;
}

static void
require_sound(enum session_end end, const struct text *said)
{
        struct cursor input, output, first;
        size_t header = proxy_header();
        struct verdicts verdicts;

        if (header == SIZE_MAX) {
                require(said->used == 0 && (end == END_REFUSED || end == END_TIMEOUT ||
                    (end == END_DISCONNECT && (world.input_size == 0 || world.fault == CLIENT_VANISHES))));
                return;
        }
        if (world.fault == CLIENT_VANISHES || world.fault == CLOCK_JUMPS)
                return;         /* compared with the same session without this fault */
        require(said->used > 0);
        output = (struct cursor){ said->data, said->data + said->used };
        require(take_any_line(&output, &first) && begins(first, "+OK pop3d "));
        require_reply_line(first);
        input = (struct cursor){ (const char *)world.input + header,
                (const char *)world.input + world.input_size };
        judge(input, output, &verdicts);
        require(verdicts.is_cut == (end == END_CUT));
        switch (end) {
        case END_QUIT:
                require(begins(verdicts.last, "+OK pop3d ") ||
                    (world.is_updated && begins(verdicts.last, "-ERR [SYS/TEMP] ")));
                break;
        case END_DISCONNECT: require(verdicts.replies == verdicts.lines); break;
        case END_ABUSE: require(begins(verdicts.last, "-ERR ")); break;
        case END_FAULT: require(begins(verdicts.last, "-ERR [SYS/TEMP] ")); break;
        case END_REFUSED: require(begins(verdicts.last, "-ERR [SYS/")); break;
        case END_IN_USE: require(begins(verdicts.last, "-ERR [IN-USE] ")); break;
        default: require(end == END_CUT && world.fault == MESSAGE_CUT); break;
        }
}

/* The runs */

static enum session_end
run(const uint8_t *data, size_t size, enum feed feed, enum fault fault)
{
        static const size_t sizes[] = { 0, 1, 3, 5, 5, 12, 39, HUGE_DROP };
        struct options options = {
                .auth = { .service = "pop3", .login_seconds = 60 },
                .maildir = "Maildir",
                .idle_seconds = 600,
        };
        struct text output = { 0 };
        enum session_end end;

        memset(&world, 0, sizeof(world));
        world.is_remote = (data[0] & 1) != 0;
        world.is_secured = (data[0] & 2) != 0;
        world.allows_clear_text = (data[0] & 4) != 0;
        world.expects_proxy = (data[0] & 8) != 0;
        world.is_pipe = (data[0] & 16) != 0;
        world.messages = sizes[data[1] & 7];
        world.fault = fault;
        world.seed = data[3];
        world.input = data + SETTINGS;
        world.input_size = size - SETTINGS;
        world.feed = feed;
        world.milliseconds = 1000000;
        world.output = output;
        options.allows_clear_text = world.allows_clear_text;
        options.auth.virtual_account = world.fault == ONLY_IN_CAPITALS ? "vmail" : NULL;
        options.auth.expects_proxy = world.expects_proxy;
        end = (enum session_end)serve(&options, NULL);
        require(!world.is_open && !world.has_message);
        require(end != END_GRANTED && end != END_SILENT);
        return end;
}

/*
 * Replies are collected: in TRANSACTION a write for each buffer that is full, one before a
 * message is removed, and one at the end; before it one for each login too and one for its
 * refusal, of which there are three at most.
 */
static void
require_batched(void)
{
        require(world.writes <= 12 + world.output.used / (OUTPUT_SIZE_BEFORE_LOGIN / 2));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct text first;
        enum fault fault;
        enum session_end end;
        bool ends_early;

        if (size < SETTINGS || size > INPUT_LIMIT)
                return 0;
        fault = (enum fault)(data[2] & 15);
        ends_early = fault == CLIENT_VANISHES || fault == CLOCK_JUMPS;
        end = run(data, size, ends_early ? OCTETS : WHOLE, fault);
        require_sound(end, &world.output);
        first = world.output;
        if (ends_early) {
                /* all that was said is the beginning of what would have been said */
                (void)run(data, size, PIECES, NO_FAULT);
                require(first.used <= world.output.used);
                require(first.used == 0 || memcmp(first.data, world.output.data, first.used) == 0);
                free(world.output.data);
        } else {
                require_batched();
                for (enum feed feed = OCTETS; feed < FEEDS; feed++) {
                        require(run(data, size, feed, fault) == end);
                        require(world.output.used == first.used);
                        require(first.used == 0 ||
                            memcmp(world.output.data, first.data, first.used) == 0);
                        free(world.output.data);
                }
        }
        free(first.data);
        return 0;
}

/* The check (-c) is no part of a session. */

int
start_beside(const char *name, char **arguments)
{
        abort();
}

void
must(bool is_done, const char *what)
{
        if (is_done)
                return;
        fprintf(stderr, "died: %s\n", what);
        abort();
}
