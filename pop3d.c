/*
 * pop3d.c - speaks POP3: the line reader, the two command tables, main.
 * Runs in:   the AUTHORIZATION process up to a login, the TRANSACTION process after it;
 *            main() and serve() also in the process that waits between the two.
 * May touch: the client on descriptors 0 and 1. It opens no file: auth/ says who may log in,
 *            maildir/ what lies in a maildrop.
 *
 * The sections, in the order in which a session lives:
 *
 *     Clocks            the deadline, and the ticks that make a blocked call look at it
 *     Output            replies gather, and are written when no more input waits
 *     Input             lines from the client
 *     Conversation      a line becomes a command, its argument, a call of its handler
 *     Log               the lines about a maildrop and its session
 *     Arguments         names, message numbers: resolved before a handler sees them
 *     Both states       CAPA, QUIT
 *     AUTHORIZATION     USER, PASS, AUTH, and their table
 *     TRANSACTION       STAT, LIST, RETR, ..., and their table
 *     Processes         what the process of each state does from its first step to its last
 *     main              the command line; one session, or the check (pop3d-check)
 */
#include "auth/auth.h"
#include "maildir/maildir.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

enum {
        COMMAND_MAX = 255,              /* octets with CRLF (RFC 2449 section 4) */
        REPLY_MAX = 512,                /* octets with CRLF (ibid.) */
        CONTINUATION_MAX = 12288,       /* octets with CRLF (RFC 5034 section 4) */
        INPUT_SIZE = 16384,
        OUTPUT_SIZE_BEFORE_LOGIN = 4096,
        OUTPUT_SIZE = 160 * 1024,       /* what a local socket takes at once */
        LISTING_MAX = 2 * 20 + UNIQUE_ID_MAX,   /* octets of one line of LIST or UIDL */
        BAD_COMMANDS_MAX = 20,
        PROXY_SECONDS = 10,
        LOCK_MILLISECONDS = 2000,
        LINGER_MILLISECONDS = 1000,
        GRACE_MILLISECONDS = 5000,      /* from the last moment that a deadline may be noticed, to SIGKILL */
        LOGGED_FAULTS_MAX = 20,         /* lines of one session, which its user may cause at will */
        LINGER_OCTETS = 64 * 1024,
        SILENCE_MILLISECONDS = 10000,   /* before a login, while places are short */
        /* a stranger's budget: what one connection may cost before its login */
        STRANGER_OCTETS = 64 * 1024,
        STRANGER_COMMANDS = 100,
};

/* What the loop that reads commands does next. */
enum outcome {
        PROCEED,                /* the argument is good: call the handler */
        NEXT_COMMAND,           /* the command was answered */
        BAD_COMMAND,            /* the client was told what is wrong with the command */
        END_SESSION,
};

enum argument_kind {
        NO_ARGUMENT,
        USER_NAME,              /* all that stands behind one blank */
        PASSWORD,               /* all that stands behind one blank; may be empty */
        MECHANISM,              /* may be left out; the handler looks at it */
        MESSAGE,                /* a message number */
        MAYBE_MESSAGE,          /* a message number, or nothing */
        MESSAGE_AND_LINES,      /* a message number and a number of lines */
};

struct argument {
        char *text;             /* NULL: none was given */
        size_t number;          /* of a message that is there; 0: none was given */
        uint64_t lines;         /* of a body; UINT64_MAX, which no client can ask for: all */
};

struct session;

struct command {
        char name[5];           /* "" ends a table */
        enum argument_kind argument : 8;
        enum outcome (*handler)(struct session *session, const struct argument *argument);
};

struct session {
        struct output output;           /* replies not yet written; first, for flush_output() */
        const struct options *options;
        struct peer peer;

        size_t taken, filled;           /* input[0..filled) was read, [taken..filled) is not used yet */
        bool is_logged_in;              /* until then nothing behind a line is read; see take_of_line() */
        bool is_no_socket;              /* descriptor 0 is a pipe or a terminal */
        bool has_more;                  /* more input was waiting behind what was read last */
        bool may_have_more;             /* the last read filled all that it was given */
        size_t stranger_octets;         /* read before the login */
        unsigned stranger_commands;     /* obeyed before the login */
        int64_t heard;                  /* when a line came last, before the login */
        int64_t deadline;               /* milliseconds on the monotonic clock */
        int64_t watched;                /* the deadline for which SIGKILL was set; see renew_deadline() */
        int unsent;                     /* octets that the kernel still had for the client */
        bool holds_mail;                /* the output has octets of a message */
        bool is_gone;                   /* the connection is broken, or our patience has ended */
        enum session_end end;
        unsigned bad_commands;          /* in a row */
        bool has_spoken;                /* a command has come */
        bool was_refused;               /* a password was refused for want of TLS */

        int pam;                        /* AUTHORIZATION: the channel to the PAM helper */
        char user[COMMAND_MAX];         /* USER's argument, "" before it */
        unsigned failed_logins;

        char who[2 * LOGIN_PART_MAX + 2]; /* the user for the log, with a virtual user's domain */
        struct maildrop *drop;
        struct maildrop_update update;
        time_t began;
        uint64_t sent;                  /* octets written to the client */
        size_t top_count, retr_count;
        size_t faults;                  /* of these, LOGGED_FAULTS_MAX stand in the log */

        /* the large ones last, so that a session before its login needs one page of this struct */
        char input[INPUT_SIZE];
        struct identity identity;       /* TRANSACTION: who logged in */
};

/* ---- Clocks -------------------------------------------------------------------------- */

static int64_t
now_milliseconds(void)
{
        struct timespec now;

        (void)clock_gettime(CLOCK_MONOTONIC, &now);
        return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* A signal that is handled, if only by doing nothing, makes a blocked system call return EINTR. */
static void
on_tick(int number)
{
}

/* Whether connections wait for places. A signal sets it, so it can be in no struct. */
static volatile sig_atomic_t places_are_short;

static void
on_shortage(int number)
{
        places_are_short = true;
}

/* Whether a client that has not sent anything is waited for any longer. */
static bool
is_late(const struct session *session)
{
        int64_t now = now_milliseconds();

        return now >= session->deadline || (places_are_short && !session->is_logged_in &&
            now >= session->heard + SILENCE_MILLISECONDS);
}

/*
 * Starts a timer that interrupts whatever blocks, ten times within the given seconds. The code
 * that was blocked then looks at session->deadline; this costs no system call per command. There
 * are ten ticks and not one because a single tick could come just before a read begins to block,
 * and would be lost. So a deadline may be noticed a tenth of its time late.
 */
static void
start_ticks(unsigned seconds)
{
        struct sigaction action = { .sa_handler = on_tick }; /* without SA_RESTART, on purpose */
        const struct timeval tick = { seconds / 10, seconds % 10 * 100000 };
        const struct itimerval timer = { tick, tick };

        must(sigaction(SIGALRM, &action, NULL) == 0 && setitimer(ITIMER_REAL, &timer, NULL) == 0,
            "cannot start the clock");
}

/*
 * After a login a client has -t seconds from each command on, and from each octet that it takes:
 * one that reads slowly but steadily is not silent. Before it one deadline (-l) holds for all.
 *
 * A process that is stopped by its user, waits for a file system that does not answer, or counts
 * for ever does not come back to look at its deadline. The kernel kills it a moment later. That
 * moment is moved on when the deadline has moved by a tenth of -t, not at each command.
 */
static void
renew_deadline(struct session *session)
{
        const int64_t tenth = (int64_t)session->options->idle_seconds * 100;

        if (!session->is_logged_in)
                return;
        session->deadline = now_milliseconds() + 10 * tenth;
        if (session->deadline < session->watched + tenth)
                return;
        session->watched = session->deadline;
        process_die_at(session->deadline + 2 * tenth + GRACE_MILLISECONDS);
}

/*
 * What was written may wait in the kernel for longer than -t, because its buffers are large. A
 * client that takes some of it is not silent, so the deadline is renewed whenever less is left.
 */
static void
note_progress(struct session *session)
{
        int unsent = 0;

        if (!session->is_logged_in || ioctl(1, SIOCOUTQ, &unsent) != 0)
                return;
        if (unsent < session->unsent)
                renew_deadline(session);
        session->unsent = unsent;
}

/* ---- Output -------------------------------------------------------------------------- */

/* From now on nothing is read or written: the connection is broken, or a deadline has passed. */
static void
client_is_gone(struct session *session, enum session_end end)
{
        session->end = end;
        session->is_gone = true;
        session->output.used = 0;
}

/* Writes all that has gathered. -1, with EPIPE, when the client is gone. */
static int
flush_output(struct output *output)
{
        struct session *session = (struct session *)output;
        size_t done = 0;

        renew_deadline(session);
        while (!session->is_gone && done < output->used) {
                ssize_t count = write(1, output->data + done, output->used - done);

                if (count > 0)
                        renew_deadline(session);
                if (count >= 0)
                        done += (size_t)count;
                else if (errno == EINTR)
                        note_progress(session);
                else
                        client_is_gone(session, END_DISCONNECT);
                if (done < output->used && now_milliseconds() >= session->deadline)
                        client_is_gone(session, END_TIMEOUT);
        }
        session->sent += done;
        session->holds_mail = false;
        output->used = 0;
        if (!session->is_gone)
                return 0;
        errno = EPIPE;
        return -1;
}

/* Appends a line. */
static void
reply_text(struct session *session, const char *text)
{
        struct output *output = &session->output;
        size_t length = strlen(text);

        if (output->size - output->used < length + 2 && flush_output(output) != 0)
                return;
        memcpy(output->data + output->used, text, length);
        memcpy(output->data + output->used + length, "\r\n", 2);
        output->used += length + 2;
}

/* Appends a reply line. Where filling in would make it longer than the protocol allows, it is cut. */
__attribute__((format(printf, 2, 3)))
static void
reply(struct session *session, const char *format, ...)
{
        char line[REPLY_MAX - 1] = "";
        va_list arguments;

        /* most replies fill in nothing: without printf(3) a first reply has a dozen page faults less */
        if (strchr(format, '%') == NULL) {
                reply_text(session, format);
                return;
        }
        va_start(arguments, format);
        (void)vsnprintf(line, sizeof(line), format, arguments);
        va_end(arguments);
        reply_text(session, line);
}

/* ---- Input --------------------------------------------------------------------------- */

/*
 * Reads a line, or a part of one, and no octet behind it: up to wanted octets to at. On a socket
 * that takes two system calls: the first looks at what is waiting, the second takes what belongs to
 * the line. Elsewhere nothing can be looked at, so there one octet is read.
 */
static ssize_t
take_of_line(struct session *session, char *at, size_t wanted)
{
        ssize_t waiting = session->is_no_socket ? -1 : peer_peek(0, at, wanted);
        const char *end;
        size_t length;

        session->is_no_socket |= waiting < 0 && errno == ENOTSOCK;
        if (session->is_no_socket)
                return read(0, at, 1);
        if (waiting <= 0)
                return waiting;
        end = memchr(at, '\n', (size_t)waiting);
        length = end == NULL ? (size_t)waiting : (size_t)(end - at) + 1;
        session->has_more = length < (size_t)waiting;
        /* it may be a password, and is not to lie here while the line before it is obeyed */
        explicit_bzero(at + length, (size_t)waiting - length);
        return read(0, at, length);
}

/*
 * Reads up to wanted octets more; with is_line none behind the end of a line. Replies are written
 * first, unless more input waits already (RFC 2449, PIPELINING: one write answers a batch). False
 * when there is nothing more to read.
 */
static bool
read_client(struct session *session, size_t wanted, bool is_line)
{
        struct pollfd client = { .fd = 0, .events = POLLIN };
        char *at = session->input + session->filled;
        ssize_t count;

        /* whether more is waiting is asked only where the last read has not told */
        if (session->output.used > 0 && !session->has_more &&
            !(session->may_have_more && poll(&client, 1, 0) == 1))
                (void)flush_output(&session->output);
        if (session->is_gone)
                return false;
        session->has_more = false;
        while ((count = is_line ? take_of_line(session, at, wanted) : read(0, at, wanted)) < 0 &&
            errno == EINTR) {
                note_progress(session);
                errno = EINTR;
                if (is_late(session))
                        break;
        }
        if (count == 0)
                session->end = END_DISCONNECT;  /* perhaps half: what was answered still goes out */
        else if (count < 0 || now_milliseconds() >= session->deadline)
                client_is_gone(session, count < 0 && errno != EINTR ? END_DISCONNECT : END_TIMEOUT);
        if (session->is_gone || count == 0)
                return false;
        session->filled += (size_t)count;
        session->may_have_more = (size_t)count == wanted || (is_line && session->is_no_socket);
        if (!session->is_logged_in)
                session->stranger_octets += (size_t)count;
        return true;
}

/* Wipes what was read before the login: it may be a password, whatever became of it. */
static void
forget_input(struct session *session)
{
        if (session->is_logged_in)
                return;
        explicit_bzero(session->input, session->filled);
        session->taken = session->filled = 0;
}

/* Ends the session of a stranger whose budget is spent; always false. */
static bool
end_of_budget(struct session *session, const char *what)
{
        reply(session, "-ERR Too many %s before a login", what);
        session->end = END_ABUSE;
        return false;
}

/* Finishes a line that is length octets with its LF. False if it is too long, or has a NUL. */
static bool
take_line(char *line, size_t length, size_t limit)
{
        size_t text = length - 1;

        if (length > limit)
                return false;
        if (text > 0 && line[text - 1] == '\r')
                text--;
        line[text] = '\0';
        return strlen(line) == text;
}

/* A line came before the login. False if it is one too many. */
static bool
hear_stranger(struct session *session)
{
        session->heard = now_milliseconds();
        return ++session->stranger_commands <= STRANGER_COMMANDS ||
            end_of_budget(session, "commands");
}

/*
 * Finds the next line: *line is the line with a NUL in place of its end, or NULL if it cannot be
 * obeyed, because it has a NUL or more than limit octets with its end. A line that is too long is
 * swallowed to its end, so that its tail is not taken for a command. False if no line comes.
 *
 * Until the login no octet behind the line is read: what the client sent behind PASS must stay in
 * the kernel, for the TRANSACTION process reads it. And the line before is wiped.
 */
static bool
next_line(struct session *session, size_t limit, char **line)
{
        size_t searched = 0, room = session->is_logged_in ? INPUT_SIZE : limit;
        bool is_too_long = false;

        forget_input(session);
        for (;;) {
                char *start = session->input + session->taken;
                size_t have = session->filled - session->taken;
                char *end = memchr(start + searched, '\n', have - searched);

                if (end != NULL) {
                        size_t whole = (size_t)(end - start) + 1;

                        session->taken += whole;
                        *line = !is_too_long && take_line(start, whole, limit) ? start : NULL;
                        return true;
                }
                if (have >= limit) {
                        is_too_long = true;
                        forget_input(session);
                        session->taken = session->filled;
                        have = 0;
                }
                if (session->stranger_octets >= STRANGER_OCTETS && !session->is_logged_in)
                        return end_of_budget(session, "octets");
                searched = have;
                memmove(session->input, session->input + session->taken, have);
                session->taken = 0;
                session->filled = have;
                if (!read_client(session, room - have, !session->is_logged_in))
                        return false;
        }
}

/* ---- Conversation -------------------------------------------------------------------- */

static enum outcome parse_argument(struct session *session, enum argument_kind kind,
    struct argument *argument);

/* The client is wrong: it is told so, and twenty times in a row are enough. */
static enum outcome
bad_command(struct session *session, const char *why)
{
        if (++session->bad_commands < BAD_COMMANDS_MAX) {
                reply(session, "-ERR %s", why);
                return BAD_COMMAND;
        }
        reply(session, "-ERR Too many bad commands");
        session->end = END_ABUSE;
        return END_SESSION;
}

static const struct command *
find_command(const struct command *table, const char *name)
{
        for (; table->name[0] != '\0'; table++)
                if (strcasecmp(table->name, name) == 0)
                        return table;
        return NULL;
}

/* Obeys one line: a command of this state's table, own. */
static enum outcome
obey(struct session *session, const struct command *own, const struct command *other, char *line)
{
        struct argument argument = { .lines = UINT64_MAX };
        const struct command *command;
        char *blank = strchr(line, ' ');
        enum outcome outcome;

        if (blank != NULL) {
                *blank = '\0';
                argument.text = blank + 1;
        }
        command = find_command(own, line);
        if (command == NULL && find_command(other, line) == NULL)
                return bad_command(session, "Unknown command");
        if (command == NULL)
                return bad_command(session, session->is_logged_in
                    ? "You are logged in already" : "Please log in first");
        outcome = parse_argument(session, command->argument, &argument);
        return outcome == PROCEED ? command->handler(session, &argument) : outcome;
}

/* Obeys the commands of one state until it ends. own is its table, other that of the other state. */
static void
converse(struct session *session, const struct command *own, const struct command *other)
{
        enum outcome outcome = NEXT_COMMAND;
        char *line;

        while (outcome != END_SESSION && !session->is_gone) {
                renew_deadline(session);
                if (!next_line(session, COMMAND_MAX, &line))
                        return;
                if (!session->is_logged_in && !hear_stranger(session))
                        return;
                outcome = line != NULL ? obey(session, own, other, line)
                    : bad_command(session, "The line is too long, or has a NUL in it");
                session->has_spoken = true;
                if (outcome == NEXT_COMMAND)
                        session->bad_commands = 0;
        }
}

/*
 * Says goodbye: writes what is left, and reads what still comes for a moment. If a socket is
 * closed with unread input, the kernel resets the connection, and the last reply may be lost.
 */
static void
part_from_client(struct session *session)
{
        struct pollfd client = { .fd = 0, .events = POLLIN };
        int64_t end = now_milliseconds() + LINGER_MILLISECONDS;
        int64_t left = 0;
        ssize_t count;
        size_t octets = 0;
        int ready;

        forget_input(session);
        if (session->is_gone || flush_output(&session->output) != 0 || shutdown(1, SHUT_WR) != 0)
                return;
        /* a tick of the clock is not the last of it; one who never stops sending is not waited for */
        while (left >= 0 && octets < LINGER_OCTETS && (ready = poll(&client, 1, (int)left)) != 0) {
                count = ready < 0 ? -1 : read(0, session->input, INPUT_SIZE);
                /* it may be a password */
                explicit_bzero(session->input, count > 0 ? (size_t)count : 0);
                if (count == 0 || (count < 0 && errno != EINTR))
                        return;
                octets += count > 0 ? (size_t)count : 0;
                left = end - now_milliseconds();
        }
}

/* ---- Log ----------------------------------------------------------------------------- */

/*
 * Writes a fault of the maildrop to the log: the path or what failed, the error, the uid. A user
 * can make any number of them, so that they would fill the disk, or others' lines would be dropped
 * for them: after the first ones they are only counted, for LOGOUT.
 */
static void
log_fault(struct session *session, const char *path, int error)
{
        char uid[16];

        if (session->faults++ >= LOGGED_FAULTS_MAX)
                return;
        (void)snprintf(uid, sizeof(uid), "%u", (unsigned)geteuid());
        log_event(LOG_ERR, "FAULT", session->who, session->peer.address, "category", "Mailbox",
            "path", path, "error", error_name(error), "uid", uid, NULL);
}

/* Writes a message's fault to the log, which names it by its unique-id. */
static void
log_message_fault(struct session *session, size_t number, int error)
{
        char id[UNIQUE_ID_MAX + 1];

        id[maildrop_unique_id(session->drop, number, id)] = '\0';
        log_fault(session, id, error);
}

static void
log_login(const struct session *session)
{
        size_t taken_over = maildrop_totals(session->drop)->taken_over;
        char taken[24];

        (void)snprintf(taken, sizeof(taken), "%zu", taken_over);
        log_event(LOG_INFO, "LOGIN", session->who, session->peer.address, "mailbox",
            session->identity.name.mailbox, "method",
            mechanism_name((enum mechanism)session->identity.mechanism), "secured",
            session->peer.is_secured ? "yes" : "no",
            taken_over > 0 ? "taken-over" : NULL, taken, NULL);
}

/* Writes to the log that there was an index which could not be used, if so. */
static void
log_lost_index(const struct session *session)
{
        const char *reason = maildrop_totals(session->drop)->lost_index;

        if (reason != NULL)
                log_event(LOG_NOTICE, "INDEX NOT USED", session->who, session->peer.address,
                    "reason", reason, NULL);
}

static void
log_logout(const struct session *session)
{
        const struct maildrop_totals *totals = maildrop_totals(session->drop);
        size_t marked = totals->total - totals->count;
        size_t removed = session->update.marked - session->update.remaining;
        size_t unlogged = session->faults > LOGGED_FAULTS_MAX ? session->faults - LOGGED_FAULTS_MAX : 0;
        char top[24], retr[24], del[48], left[24], bytes[24], seconds[24], more[24];

        (void)snprintf(top, sizeof(top), "%zu", session->top_count);
        (void)snprintf(retr, sizeof(retr), "%zu", session->retr_count);
        (void)snprintf(del, sizeof(del), "%zu/%zu", removed, marked);
        (void)snprintf(left, sizeof(left), "%zu", totals->total - removed);
        (void)snprintf(bytes, sizeof(bytes), "%" PRIu64, session->sent);
        (void)snprintf(seconds, sizeof(seconds), "%lld", (long long)(time(NULL) - session->began));
        (void)snprintf(more, sizeof(more), "%zu", unlogged);
        log_event(LOG_INFO, "LOGOUT", session->who, session->peer.address, "top", top, "retr", retr,
            "del", del, "left", left, "bytes", bytes, "time", seconds, "end",
            session_end_name(session->end), unlogged > 0 ? "unlogged" : NULL, more, NULL);
}

/* ---- Arguments ----------------------------------------------------------------------- */

/* Reads digits at *text and moves it behind them. A number above INT64_MAX is taken as INT64_MAX. */
static bool
parse_number(const char **text, uint64_t *number)
{
        const char *at = *text;

        for (*number = 0; *at >= '0' && *at <= '9'; at++) {
                uint64_t digit = (uint64_t)(*at - '0');

                *number = *number > (INT64_MAX - digit) / 10 ? INT64_MAX : *number * 10 + digit;
        }
        if (at == *text)
                return false;
        *text = at;
        return true;
}

/* Makes the messages known to maildir/. Where that fails, the session ends with a reply. */
static enum outcome
load_messages(struct session *session)
{
        bool was_lost = maildrop_totals(session->drop)->lost_index != NULL;
        const char *part = "";
        int result = maildrop_load(session->drop, &part), error = errno;

        if (!was_lost)
                log_lost_index(session);
        if (result == 0)
                return PROCEED;
        log_fault(session, part[0] == '/' ? part + 1 : ".", error);
        reply(session, "-ERR [SYS/TEMP] The maildrop cannot be read; please try again");
        session->end = END_FAULT;
        return END_SESSION;
}

/* Resolves a message number, so that no handler sees one of a message that is not there. */
static enum outcome
parse_message(struct session *session, enum argument_kind kind, struct argument *argument)
{
        const char *at = argument->text;
        bool has_lines = kind == MESSAGE_AND_LINES;
        uint64_t number;

        if (kind == MAYBE_MESSAGE && at == NULL)
                return PROCEED;
        if (at == NULL || !parse_number(&at, &number) ||
            (has_lines && (*at++ != ' ' || !parse_number(&at, &argument->lines))) || *at != '\0')
                return bad_command(session, has_lines
                    ? "A message number and a number of lines are wanted"
                    : "A message number is wanted");
        if (number > SIZE_MAX || !maildrop_has(session->drop, (size_t)number)) {
                reply(session, "-ERR There is no such message");
                return NEXT_COMMAND;
        }
        argument->number = (size_t)number;
        return PROCEED;
}

/* Whether a password would cross a network in clear text, which only -p allows. */
static bool
refuses_passwords(const struct session *session)
{
        return session->peer.is_remote && !session->peer.is_secured &&
            !session->options->allows_clear_text;
}

/* Looks at what came behind USER, PASS or AUTH. */
static enum outcome
parse_login(struct session *session, enum argument_kind kind, const char *text)
{
        if (kind == PASSWORD && text == NULL)
                return bad_command(session, "An argument is missing");
        /* a name with blanks fails like a wrong password, and then stands in the log */
        if (kind == USER_NAME && text == NULL)
                return bad_command(session, "One argument is wanted");
        if (!refuses_passwords(session))
                return PROCEED;
        session->was_refused = true;
        reply(session, "-ERR [AUTH] Passwords are not taken in clear text; please use TLS");
        return NEXT_COMMAND;
}

static enum outcome
parse_argument(struct session *session, enum argument_kind kind, struct argument *argument)
{
        enum outcome outcome;

        /* "QUIT " is QUIT: many clients send a blank where an argument could stand */
        if (kind != PASSWORD && argument->text != NULL && argument->text[strspn(argument->text, " ")] == '\0')
                argument->text = NULL;
        switch (kind) {
        case NO_ARGUMENT:
                return argument->text == NULL ? PROCEED
                    : bad_command(session, "This command takes no argument");
        case USER_NAME: case PASSWORD: case MECHANISM:
                return parse_login(session, kind, argument->text);
        default:
                outcome = load_messages(session);
                return outcome == PROCEED ? parse_message(session, kind, argument) : outcome;
        }
}

/* ---- Both states --------------------------------------------------------------------- */

/* RFC 2449, the same in both states. Where passwords are refused, USER and SASL are not listed. */
static enum outcome
do_capa(struct session *session, const struct argument *argument)
{
        reply(session, "+OK Capability list follows");
        if (!refuses_passwords(session))
                reply(session, "SASL PLAIN LOGIN\r\nUSER");
        reply(session, "TOP\r\nUIDL\r\nRESP-CODES\r\nAUTH-RESP-CODE\r\nPIPELINING\r\n"
            "EXPIRE NEVER\r\nIMPLEMENTATION pop3d-" VERSION "\r\n.");
        return NEXT_COMMAND;
}

/* QUIT. After a login that is UPDATE (RFC 1939 section 6), and the reply tells its outcome. */
static enum outcome
do_quit(struct session *session, const struct argument *argument)
{
        struct maildrop_update *update = &session->update;

        /* no message is removed that is not on its way */
        if (session->holds_mail && flush_output(&session->output) != 0)
                return END_SESSION;
        if (session->drop != NULL)
                maildrop_update(session->drop, update);
        if (update->error != 0)
                log_fault(session, "update", update->error);
        if (update->remaining > 0)
                reply(session, "-ERR [SYS/TEMP] %zu of %zu deleted messages not removed",
                    update->remaining, update->marked);
        else if (update->error != 0)
                reply(session, "-ERR [SYS/TEMP] the removal of %zu messages may not last",
                    update->marked);
        else
                reply(session, "+OK pop3d " VERSION " server signing off");
        session->end = END_QUIT;
        return END_SESSION;
}

/* ---- AUTHORIZATION ------------------------------------------------------------------- */

static enum outcome
login_failed(struct session *session, enum verdict verdict)
{
        const char *why = verdict == VERDICT_DENIED
            ? "-ERR [AUTH] Logon failure: unknown user name or bad password."
            : verdict == VERDICT_UNAVAILABLE
            ? "-ERR [SYS/TEMP] Authentication is not available; please try later."
            : "-ERR [SYS/PERM] This server is not set up for this login.";

        if (++session->failed_logins < LOGIN_TRIES) {
                reply(session, "%s", why);
                /* at once: when it took long the next look at the clock ends the session */
                return flush_output(&session->output) == 0 ? NEXT_COMMAND : END_SESSION;
        }
        reply(session, "%s Too many failed logins.", why);
        session->end = END_ABUSE;
        return END_SESSION;
}

/*
 * Takes an authorization identity (RFC 4616), which names the mailbox to open. False unless its
 * domain, and its user if it names one beside the mailbox, are those of the login itself.
 */
static bool
take_authorization(struct login_name *name, const char *authorization)
{
        struct login_name other;

        if (!login_name_parse(&other, authorization, strlen(authorization)) ||
            strcmp(name->mailbox, name->user) != 0 ||
            (other.domain[0] != '\0' && strcmp(other.domain, name->domain) != 0) ||
            (strcmp(other.mailbox, other.user) != 0 && strcmp(other.user, name->user) != 0))
                return false;
        memcpy(name->mailbox, other.mailbox, sizeof(other.mailbox));
        return true;
}

/*
 * Asks PAM about a login. A login that breaks the rules is sent to the PAM helper as well, marked
 * as not acceptable, so that its refusal takes the same time.
 */
static enum outcome
log_in(struct session *session, enum mechanism mechanism, const char *typed,
    const char *authorization, const char *password)
{
        struct login login = { .kind = LOGIN_QUESTION, .mechanism = (uint32_t)mechanism };
        enum verdict verdict;

        login.peer = session->peer;
        (void)snprintf(login.typed, sizeof(login.typed), "%s", typed);
        login.is_acceptable = login_name_parse(&login.name, typed, strlen(typed)) &&
            strlen(password) <= PASSWORD_MAX &&
            (authorization[0] == '\0' || strcmp(authorization, typed) == 0 ||
                take_authorization(&login.name, authorization));
        if (login.is_acceptable)
                memcpy(login.password, password, strlen(password));
        /* the texts above lie in the input, or were decoded there */
        forget_input(session);
        /* what was said so far: once the login is granted this process is gone */
        if (flush_output(&session->output) != 0)
                return END_SESSION;
        verdict = auth_ask(session->pam, &login);
        if (verdict != VERDICT_GRANTED)
                return login_failed(session, verdict);
        session->end = END_GRANTED;
        return END_SESSION;
}

static enum outcome
do_user(struct session *session, const struct argument *argument)
{
        memcpy(session->user, argument->text, strlen(argument->text) + 1);
        reply(session, "+OK Password, please");
        return NEXT_COMMAND;
}

static enum outcome
do_pass(struct session *session, const struct argument *argument)
{
        enum outcome outcome;

        if (session->user[0] == '\0')
                return bad_command(session, "USER comes first");
        outcome = log_in(session, MECHANISM_PASS, session->user, "", argument->text);
        session->user[0] = '\0';
        return outcome;
}

/*
 * Takes one response of a SASL exchange (RFC 5034) and decodes it where it lies, with a NUL behind
 * it. initial came with the command, and is "=" for an empty response; NULL: the client is asked.
 */
static enum outcome
read_response(struct session *session, const char *prompt, char *initial,
    char **response, size_t *length)
{
        ssize_t decoded;

        if (initial == NULL) {
                reply(session, "+ %s", prompt);
                if (!next_line(session, CONTINUATION_MAX, response))
                        return END_SESSION;
                if (*response == NULL)
                        return bad_command(session, "The response is malformed");
        } else {
                if (initial[0] == '\0')
                        return bad_command(session, "The response is missing");
                *response = strcmp(initial, "=") == 0 ? initial + 1 : initial;
        }
        *length = strlen(*response);
        if (initial == NULL && strcmp(*response, "*") == 0)
                return bad_command(session, "Authentication cancelled");
        decoded = base64_decode(*response, *length, *response, *length);
        if (decoded < 0)
                return bad_command(session, "The response is not base64");
        (*response)[decoded] = '\0';
        *length = (size_t)decoded;
        return PROCEED;
}

static enum outcome
auth_plain(struct session *session, char *initial)
{
        struct sasl_plain plain;
        char *message;
        size_t length;
        enum outcome outcome = read_response(session, "", initial, &message, &length);

        if (outcome != PROCEED)
                return outcome;
        return sasl_plain_parse(&plain, message, length)
            ? log_in(session, MECHANISM_PLAIN, plain.authentication, plain.authorization,
                plain.password)
            : bad_command(session, "The response is malformed");
}

static enum outcome
auth_login(struct session *session, char *initial)
{
        char user[LOGIN_TYPED_MAX + 1], *response;
        bool is_good;
        size_t length;
        enum outcome outcome = read_response(session, "VXNlcm5hbWU6", initial, &response, &length);

        if (outcome != PROCEED)
                return outcome;
        is_good = strlen(response) == length;
        /* one that is cut here is far beyond what a login may be */
        (void)snprintf(user, sizeof(user), "%s", response);
        outcome = read_response(session, "UGFzc3dvcmQ6", NULL, &response, &length);
        if (outcome != PROCEED)
                return outcome;
        is_good &= strlen(response) == length;
        return is_good ? log_in(session, MECHANISM_LOGIN, user, "", response)
            : bad_command(session, "The response is malformed");
}

static enum outcome
do_auth(struct session *session, const struct argument *argument)
{
        char *initial = argument->text;
        const char *mechanism = strsep(&initial, " ");

        if (mechanism == NULL) {
                reply(session, "+OK The mechanisms are\r\nPLAIN\r\nLOGIN\r\n.");
                return NEXT_COMMAND;
        }
        if (strcasecmp(mechanism, "PLAIN") == 0)
                return auth_plain(session, initial);
        if (strcasecmp(mechanism, "LOGIN") == 0)
                return auth_login(session, initial);
        return bad_command(session, "This mechanism is not known");
}

static const struct command authorization_commands[] = {
        { "AUTH", MECHANISM, do_auth },
        { "CAPA", NO_ARGUMENT, do_capa },
        { "PASS", PASSWORD, do_pass },
        { "QUIT", NO_ARGUMENT, do_quit },
        { "USER", USER_NAME, do_user },
        { "", NO_ARGUMENT, NULL },
};

/* ---- TRANSACTION --------------------------------------------------------------------- */

static enum outcome
do_stat(struct session *session, const struct argument *argument)
{
        reply(session, "+OK %zu %" PRIu64, maildrop_totals(session->drop)->count,
            maildrop_totals(session->drop)->octets);
        return NEXT_COMMAND;
}

static enum outcome
do_noop(struct session *session, const struct argument *argument)
{
        reply(session, "+OK");
        return NEXT_COMMAND;
}

static enum outcome
do_dele(struct session *session, const struct argument *argument)
{
        maildrop_delete(session->drop, argument->number);
        reply(session, "+OK Message %zu deleted", argument->number);
        return NEXT_COMMAND;
}

static enum outcome
do_rset(struct session *session, const struct argument *argument)
{
        maildrop_reset(session->drop);
        reply(session, "+OK %zu messages", maildrop_totals(session->drop)->count);
        return NEXT_COMMAND;
}

/* Writes decimal digits. printf(3) would take longer than all the rest of a listing, or of a short RETR. */
static size_t
write_number(char *out, uint64_t number)
{
        char digits[20];
        size_t count = 0;

        do
                digits[count++] = (char)('0' + number % 10);
        while ((number /= 10) > 0);
        for (size_t i = 0; i < count; i++)
                out[i] = digits[count - 1 - i];
        return count;
}

/* The status line of RETR. */
static void
reply_octets(struct session *session, uint64_t octets)
{
        char line[sizeof("+OK 18446744073709551615 octets")] = "+OK ";
        size_t used = strlen(line);

        used += write_number(line + used, octets);
        memcpy(line + used, " octets", sizeof(" octets"));
        reply_text(session, line);
}

/* Writes "number octets", a scan listing (RFC 1939, LIST), or "number unique-id" (UIDL). */
static size_t
write_listing(const struct session *session, size_t number, bool is_uidl, char *out)
{
        size_t used = write_number(out, number);

        out[used++] = ' ';
        return used + (is_uidl ? maildrop_unique_id(session->drop, number, out + used)
            : write_number(out + used, maildrop_message_octets(session->drop, number)));
}

/* LIST and UIDL: one message, or all that are not marked deleted. */
static enum outcome
list(struct session *session, const struct argument *argument, bool is_uidl)
{
        struct output *output = &session->output;
        char line[LISTING_MAX];

        if (argument->number != 0) {
                int length = (int)write_listing(session, argument->number, is_uidl, line);

                reply(session, "+OK %.*s", length, line);
                return NEXT_COMMAND;
        }
        reply(session, "+OK %zu messages", maildrop_totals(session->drop)->count);
        for (size_t number = 1; number <= maildrop_totals(session->drop)->total; number++) {
                if (!maildrop_has(session->drop, number))
                        continue;
                if (output->size - output->used < LISTING_MAX + 2 && flush_output(output) != 0)
                        return END_SESSION;
                output->used += write_listing(session, number, is_uidl, output->data + output->used);
                memcpy(output->data + output->used, "\r\n", 2);
                output->used += 2;
        }
        reply(session, ".");
        return NEXT_COMMAND;
}

static enum outcome
do_list(struct session *session, const struct argument *argument)
{
        return list(session, argument, false);
}

static enum outcome
do_uidl(struct session *session, const struct argument *argument)
{
        if (!maildrop_ids_are_kept(session->drop)) {
                log_fault(session, "pop3d.ids", errno);
                reply(session, "-ERR [SYS/TEMP] Unique-ids cannot be kept now");
                return NEXT_COMMAND;
        }
        return list(session, argument, true);
}

/* RETR and TOP. For RETR argument->lines is UINT64_MAX, which no client can ask of TOP. */
static enum outcome
do_retr(struct session *session, const struct argument *argument)
{
        size_t number = argument->number;

        if (message_open(session->drop, number) != 0) {
                if (errno == ENOENT) {
                        reply(session, "-ERR Message %zu was removed by another program", number);
                } else {
                        log_message_fault(session, number, errno);
                        reply(session, "-ERR [SYS/TEMP] Message %zu cannot be read", number);
                }
                return NEXT_COMMAND;
        }
        if (argument->lines == UINT64_MAX)
                reply_octets(session, maildrop_message_octets(session->drop, number));
        else
                reply(session, "+OK Message follows");
        if (message_send(session->drop, argument->lines, &session->output) == 0) {
                session->holds_mail = true;
                if (argument->lines == UINT64_MAX)
                        session->retr_count++;
                else
                        session->top_count++;
                return NEXT_COMMAND;
        }
        if (!session->is_gone) {
                log_message_fault(session, number, errno);
                session->end = END_CUT;
        }
        return END_SESSION;
}

static const struct command transaction_commands[] = {
        { "CAPA", NO_ARGUMENT, do_capa },
        { "DELE", MESSAGE, do_dele },
        { "LIST", MAYBE_MESSAGE, do_list },
        { "NOOP", NO_ARGUMENT, do_noop },
        { "QUIT", NO_ARGUMENT, do_quit },
        { "RETR", MESSAGE, do_retr },
        { "RSET", NO_ARGUMENT, do_rset },
        { "STAT", NO_ARGUMENT, do_stat },
        { "TOP", MESSAGE_AND_LINES, do_retr },
        { "UIDL", MAYBE_MESSAGE, do_uidl },
        { "", NO_ARGUMENT, NULL },
};

/* ---- Processes ----------------------------------------------------------------------- */

/*
 * Reads the PROXY header (-x), which comes before all else. told is the peer that it names, without
 * an address if it names none. False: none came, or not in time.
 */
static bool
read_proxy_header(struct session *session, struct peer *told)
{
        int64_t login_deadline = session->deadline;
        int64_t own_deadline = now_milliseconds() + PROXY_SECONDS * 1000;
        const unsigned char *header = (unsigned char *)session->input;
        int wanted;

        *told = session->peer;
        told->address[0] = '\0';
        if (own_deadline < session->deadline)
                session->deadline = own_deadline;
        do {
                /* version 1 is a line, version 2 tells its length */
                bool is_line = session->filled > 0 && header[0] == 'P';

                wanted = proxy_parse(header, session->filled, told);
                if (wanted > 0 && !read_client(session, is_line ? PROXY_LINE_MAX : (size_t)wanted,
                    is_line))
                        break;
        } while (wanted > 0);
        if (wanted != 0)
                return false;
        if (told->address[0] != '\0')
                session->peer = *told;
        session->filled = 0;
        session->deadline = login_deadline;
        return true;
}

/* Tells a client that too many, in all or from his network, wait for their logins already. */
static enum session_end
refuse_connection(struct session *session)
{
        reply(session, "-ERR [SYS/TEMP] Too many connections wait for a login; please try again");
        (void)flush_output(&session->output);
        return END_TOO_MANY;
}

/* The AUTHORIZATION process, from its first octet to its last. */
static enum session_end
authorization(void *context, int pam)
{
        struct session *session = context;
        const struct auth *auth = &session->options->auth;
        struct sigaction action = { .sa_handler = on_shortage };
        struct peer told;

        session->pam = pam;
        must(sigaction(SHORTAGE_SIGNAL, &action, NULL) == 0, "cannot hear that places are short");
        start_ticks(auth->expects_proxy && PROXY_SECONDS < auth->login_seconds ? PROXY_SECONDS
            : auth->login_seconds);
        /* on its way while the fences are put up: nothing has been read yet */
        if (!auth->expects_proxy) {
                reply(session, GREETING);
                (void)flush_output(&session->output);
        }
        confine_authorization(pam);
        if (auth->expects_proxy) {
                if (!read_proxy_header(session, &told))
                        return session->end == END_TIMEOUT ? END_TIMEOUT
                            : session->filled == 0 ? END_SILENT : END_REFUSED;
                if (!auth_announce(pam, &told))
                        return refuse_connection(session);
                reply(session, GREETING);
        }
        converse(session, authorization_commands, transaction_commands);
        if (session->end != END_GRANTED)
                part_from_client(session);
        if (session->was_refused)
                return END_REFUSED;
        return session->end == END_DISCONNECT && !session->has_spoken ? END_SILENT : session->end;
}

/*
 * Refuses the login after all, because of its maildrop; always false. [SYS/PERM] is said of what
 * somebody must mend, [SYS/TEMP] of what may pass (RFC 3206).
 */
static bool
refuse_maildrop(struct session *session, const char *path, int error)
{
        bool is_permanent = error == EACCES || error == EPERM || error == ENOENT ||
            error == ENOTDIR || error == ELOOP || error == ENAMETOOLONG;

        if (error == EWOULDBLOCK) {
                log_event(LOG_NOTICE, "FAULT", session->who, session->peer.address, "category",
                    "Session", "reason", "maildrop-in-use", NULL);
                reply(session, "-ERR [IN-USE] Another session has this maildrop open");
                session->end = END_IN_USE;
                return false;
        }
        log_fault(session, path, error);
        reply(session, is_permanent ? "-ERR [SYS/PERM] The mailbox cannot be opened"
                                    : "-ERR [SYS/TEMP] The mailbox cannot be opened now");
        session->end = END_REFUSED;
        return false;
}

/* Finds where the maildrop lies. Returns 0, or an error, which is about the template. */
static int
find_maildrop(const struct session *session, char path[PATH_MAX])
{
        const struct options *options = session->options;
        const struct identity *identity = &session->identity;
        char domain[LOGIN_PART_MAX + 1];
        const struct maildir_names names = { identity->name.user, domain, identity->name.mailbox,
            identity->home };

        auth_domain(&options->auth, &identity->name, domain);
        return maildir_path(path, PATH_MAX, options->maildir, &names,
            auth_tells_domains(&options->auth, identity,
                maildir_template_has_home(options->maildir))) != 0 ? errno : 0;
}

/*
 * Refuses a virtual user whose maildrop is there under a name with capitals alone; always false. An
 * empty maildrop would make clients forget what they have fetched.
 */
static bool
refuse_spelling(struct session *session, const char *path)
{
        log_event(LOG_ERR, "FAULT", session->who, session->peer.address, "category", "Mailbox",
            "reason", "only-there-in-capitals", "path", path, NULL);
        reply(session, "-ERR [SYS/PERM] The mailbox cannot be opened");
        session->end = END_REFUSED;
        return false;
}

_Static_assert((int)OPTION_INDEX_MAX == (int)INDEX_SECONDS_MAX &&
    (int)OPTION_INDEX_UNSET == (int)INDEX_SECONDS_BY_KIND, "auth/ and maildir/ say the same of -i");

/* Opens the maildrop inside the fences; false if the login is refused for it. */
static bool
open_maildrop(struct session *session)
{
        char path[PATH_MAX], part_path[PATH_MAX + 8];
        const char *part = "";
        int directory, error = find_maildrop(session, path);

        if (error != 0)
                return refuse_maildrop(session, session->options->maildir, error);
        directory = maildir_open(path);
        error = errno;
        if (directory < 0 && error == ENOENT && session->options->auth.virtual_account != NULL &&
            maildir_is_spelt_otherwise(path, part_path, sizeof(part_path)))
                return refuse_spelling(session, part_path);
        if (directory < 0) {
                errno = error;
                if (error != ENOENT || !maildir_is_not_yet_there(path, session->identity.uid) ||
                    maildir_lock_absent(path, LOCK_MILLISECONDS) != 0)
                        return refuse_maildrop(session, path, errno);
                log_event(LOG_NOTICE, "NO MAILDROP YET", session->who, session->peer.address,
                    "path", path, NULL);
        }
        confine_transaction(directory, maildir_memory(directory));
        session->drop = maildrop_open(directory, session->options->id_format,
            LOCK_MILLISECONDS, session->options->index_seconds, &part);
        if (session->drop != NULL)
                return true;
        (void)snprintf(part_path, sizeof(part_path), "%s%s", path, part);
        return refuse_maildrop(session, part_path, errno);
}

/* The TRANSACTION process, from a granted login to the end. It has become the user. */
static enum session_end
transaction(struct session *session)
{
        const struct login_name *name = &session->identity.name;
        bool shows_domain = name->domain[0] != '\0' && (session->identity.is_qualified ||
            session->options->auth.virtual_account != NULL);

        session->peer = session->identity.peer;
        session->is_logged_in = true;
        session->began = time(NULL);
        (void)snprintf(session->who, sizeof(session->who), "%s%s%s", name->user,
            shows_domain ? "@" : "", shows_domain ? name->domain : "");
        start_ticks(session->options->idle_seconds);
        renew_deadline(session);
        if (open_maildrop(session)) {
                log_login(session);
                log_lost_index(session);
                reply(session, "+OK User successfully logged on");
                session->end = END_DISCONNECT;
                converse(session, transaction_commands, authorization_commands);
        }
        /* the client hears of QUIT's outcome before the index is written */
        part_from_client(session);
        if (session->drop != NULL) {
                log_logout(session);
                maildrop_close(session->drop);
        }
        return session->end;
}

/* The login was right, but too many sessions of this user are stuck. This process has become the user. */
static enum session_end
refuse_crowded(struct session *session)
{
        confine_transaction(-1, maildir_memory(-1));
        reply(session, "-ERR [SYS/TEMP] Too many sessions of yours are stuck in your file system");
        part_from_client(session);
        return END_TOO_MANY;
}

/* ---- main ---------------------------------------------------------------------------- */

/*
 * Serves one session. Nobody reads standard error under an inetd, so a problem of the command line
 * is told to the client and to the log.
 */
static int
serve(struct options *options, const char *problem)
{
        static char data[OUTPUT_SIZE];
        static struct session session;
        struct auth *auth = &options->auth;
        enum session_end end, status = END_USAGE;
        enum proxy_trust trust;

        if (!process_begin(options->logs_to_stderr)) {
                problem = "/dev/null cannot be opened";
                status = END_FAULT;
        }
        log_open(options->logs_to_stderr);
        session.options = options;
        session.end = END_DISCONNECT;
        session.output = (struct output){ data, 0, OUTPUT_SIZE_BEFORE_LOGIN, flush_output };
        session.heard = now_milliseconds();
        session.deadline = session.heard + (int64_t)auth->login_seconds * 1000;
        if (problem != NULL) {
                log_event(LOG_ERR, "FAULT", NULL, NULL, "category", "Configuration", "reason",
                    problem, NULL);
                reply(&session, "-ERR [SYS/PERM] pop3d was started wrongly: %s", problem);
                part_from_client(&session);
                return (int)status;
        }
        peer_find(&auth->peer, 0);
        session.peer = auth->peer;
        if (auth->expects_proxy && (trust = proxy_trust(0)) != PROXY_TRUSTED)
                return (int)(trust == PROXY_GONE ? END_DISCONNECT : END_REFUSED);
        if (!auth->expects_proxy && !auth_admits(&auth->peer))
                return (int)refuse_connection(&session);
        end = auth_session(auth, authorization, &session, &session.identity);
        if (end == END_CROWDED)
                return (int)refuse_crowded(&session);
        if (end != END_GRANTED)
                return end == END_SILENT ? END_DISCONNECT : (int)end;
        session.output.size = sizeof(data);
        return (int)transaction(&session);
}

int
main(int argc, char **argv)
{
        struct options options;
        const char *problem = options_take(&options, argc, argv);

        if (problem == NULL)
                problem = maildir_template_problem(options.maildir,
                    options.auth.virtual_account != NULL);
        if (problem == NULL)
                problem = maildir_id_format_problem(options.id_format);
        if (options.wanted == 'V' || options.wanted == 'h')
                return printf("%s", options.wanted == 'V' ? "pop3d " VERSION "\n" : options_usage) < 0;
        if (problem == NULL && options.wanted == 'c')
                return start_beside("pop3d-check", argv);
        /* not exit(3): nothing is left for it to do, and it costs as much as the greeting */
        _exit(serve(&options, problem));
}
