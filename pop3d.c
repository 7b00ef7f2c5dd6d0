/*
 * pop3d.c - speaks POP3: the line reader, the two command tables, main.
 * Runs in:   AUTHORIZATION up to a login, TRANSACTION after it.
 * May touch: the client on descriptors 0 and 1. It opens no file: who may
 *            log in is auth/'s to say, what lies in a maildrop maildir/'s.
 */
#include "auth/auth.h"
#include "maildir/maildir.h"
#include "xinetd.d/check.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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
};

static const char greeting[] = "+OK pop3d " VERSION " server ready";

struct options {
        struct auth auth;
        const char *maildir;            /* template */
        unsigned idle_seconds;
        bool allows_clear_text, logs_to_stderr;
        int wanted;                     /* 'c', 'h' or 'V' in place of a session */
        bool are_given;                 /* any beside -c */
};

struct session {
        struct output output;           /* replies not yet written; first, for flush_output() */
        const struct options *options;
        struct peer peer;

        size_t taken, filled;           /* of input: octets read, from taken on not used yet */
        bool is_logged_in;              /* else one octet is read: the next may be TRANSACTION's */
        bool may_have_more;             /* the last read filled all that it was given */
        int64_t deadline;               /* milliseconds on the monotonic clock */
        bool holds_mail;                /* the output has octets of a message */
        bool is_gone;                   /* the client, or its patience with us */
        enum session_end end;
        unsigned bad_commands;          /* in a row */
        bool has_spoken;        /* a command has come */
        bool was_refused;       /* a password without TLS */

        int pam;                        /* AUTHORIZATION: whom to ask */
        char user[COMMAND_MAX];         /* USER's argument, "" before it */
        unsigned failed_logins;

        struct identity identity;       /* TRANSACTION */
        char who[2 * LOGIN_PART_MAX + 2]; /* the user for the log, with a virtual user's domain */
        struct maildrop *drop;
        struct maildrop_update update;
        time_t began;
        uint64_t sent;                  /* octets written to the client */
        size_t top_count, retr_count;

        char input[INPUT_SIZE];         /* last, so that the rest shares a page */
};

enum outcome {
        PROCEED,                /* the argument is good: on to the handler */
        NEXT_COMMAND,           /* answered */
        BAD_COMMAND,            /* told what is wrong with it */
        END_SESSION,
};

/* The clocks */

static int64_t
now_milliseconds(void)
{
        struct timespec now;

        (void)clock_gettime(CLOCK_MONOTONIC, &now);
        return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void
on_tick(int number)
{
}

/*
 * Makes the kernel break whatever blocks, ten times within the given time, so
 * that a deadline is looked at without a system call per command to watch it.
 * One signal alone could come just before a read blocks, and be lost.
 */
static void
start_ticks(unsigned seconds)
{
        struct sigaction action = { .sa_handler = on_tick }; /* no SA_RESTART, on purpose */
        const struct timeval tick = { seconds / 10, seconds % 10 * 100000 };
        const struct itimerval timer = { tick, tick };

        must(sigaction(SIGALRM, &action, NULL) == 0 && setitimer(ITIMER_REAL, &timer, NULL) == 0,
            "cannot start the clock");
}

/* Output */

static void
client_is_gone(struct session *session, enum session_end end)
{
        session->end = end;
        session->is_gone = true;
        session->output.used = 0;
}

static int
flush_output(struct output *output)
{
        struct session *session = (struct session *)output;
        size_t done = 0;

        /* before login the one deadline holds; after it each flush has its own */
        if (session->is_logged_in)
                session->deadline = now_milliseconds() + session->options->idle_seconds * 1000;
        while (!session->is_gone && done < output->used) {
                ssize_t count = write(1, output->data + done, output->used - done);

                if (count >= 0)
                        done += (size_t)count;
                else if (errno != EINTR)
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

/* Appends a line. What is filled in is cut where it would be longer than the protocol allows. */
__attribute__((format(printf, 2, 3)))
static void
reply(struct session *session, const char *format, ...)
{
        struct output *output = &session->output;
        char line[REPLY_MAX - 1] = "";
        const char *text = format;
        va_list arguments;
        size_t length;

        /* most have nothing to fill in; printf costs the first of the others a dozen page faults */
        if (strchr(format, '%') != NULL) {
                va_start(arguments, format);
                (void)vsnprintf(line, sizeof(line), format, arguments);
                va_end(arguments);
                text = line;
        }
        length = strlen(text);
        if (output->size - output->used < length + 2 && flush_output(output) != 0)
                return;
        memcpy(output->data + output->used, text, length);
        memcpy(output->data + output->used + length, "\r\n", 2);
        output->used += length + 2;
}

/* Input */

/* Reads up to wanted octets more; what is to be said is said before waiting. False at the end. */
static bool
read_client(struct session *session, size_t wanted)
{
        struct pollfd client = { .fd = 0, .events = POLLIN };
        ssize_t count;

        /* whether more is waiting is asked only where the last read has not told */
        if (session->output.used > 0 && !(session->may_have_more && poll(&client, 1, 0) == 1))
                (void)flush_output(&session->output);
        if (session->is_gone)
                return false;
        while ((count = read(0, session->input + session->filled, wanted)) < 0 && errno == EINTR)
                if (now_milliseconds() >= session->deadline)
                        break;
        if (count == 0)
                session->end = END_DISCONNECT;  /* perhaps half: what was answered still goes out */
        else if (count < 0 || now_milliseconds() >= session->deadline)
                client_is_gone(session, count < 0 && errno != EINTR ? END_DISCONNECT : END_TIMEOUT);
        if (session->is_gone || count == 0)
                return false;
        session->filled += (size_t)count;
        session->may_have_more = (size_t)count == wanted;
        return true;
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

/*
 * The next line, NUL in place of its end; false if none comes. One longer than limit
 * octets with its end is swallowed whole, in the memory of this one buffer: that, or
 * one with a NUL in it, is no line that can be obeyed, and NULL.
 */
static bool
next_line(struct session *session, size_t limit, char **line)
{
        size_t searched = 0;
        bool is_too_long = false;

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
                        session->taken = session->filled;
                        have = 0;
                }
                searched = have;
                memmove(session->input, session->input + session->taken, have);
                session->taken = 0;
                session->filled = have;
                if (!read_client(session, session->is_logged_in ? INPUT_SIZE - have : 1))
                        return false;
        }
}

/* Arguments */

enum argument_kind {
        NO_ARGUMENT,
        /* of a login, which may be refused in clear text */
        USER_NAME,              /* one word */
        PASSWORD,               /* after one blank; may be empty */
        MECHANISM,              /* may be left out; checked by the handler */
        /* of what needs the messages themselves */
        MESSAGE,
        MAYBE_MESSAGE,
        MESSAGE_AND_LINES,
};

struct argument {
        char *text;             /* NULL: none given */
        size_t number;          /* of an existing message; 0: none given */
        uint64_t lines;         /* of a body; UINT64_MAX, which no number reaches: RETR */
};

struct command {
        const char *name;
        enum argument_kind argument;
        enum outcome (*handler)(struct session *session, const struct argument *argument);
        const char *capability; /* what CAPA says of it, or NULL */
};

/* Digits only; a number beyond all measure is taken as the largest, INT64_MAX. */
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

static void
log_fault(const struct session *session, const char *path, int error)
{
        char uid[16];

        (void)snprintf(uid, sizeof(uid), "%u", (unsigned)geteuid());
        log_event(LOG_ERR, "FAULT", session->who, session->peer.address, "category", "Mailbox",
            "path", path, "error", error_name(error), "uid", uid, NULL);
}

/* Numbers of messages, resolved: a handler never sees one that is not there. */
static enum outcome
parse_message(struct session *session, enum argument_kind kind,
    struct argument *argument)
{
        const char *at = argument->text;
        uint64_t number;

        if (maildrop_load(session->drop) != 0) {
                log_fault(session, "pop3d.index", errno);
                reply(session, "-ERR [SYS/TEMP] The maildrop cannot be read; please try again");
                session->end = END_FAULT;
                return END_SESSION;
        }
        if (kind == MAYBE_MESSAGE && at == NULL)
                return PROCEED;
        if (at == NULL || !parse_number(&at, &number) ||
            (kind == MESSAGE_AND_LINES && (*at++ != ' ' || !parse_number(&at, &argument->lines))) ||
            *at != '\0')
                return bad_command(session, kind == MESSAGE_AND_LINES
                    ? "A message number and a number of lines are wanted"
                    : "A message number is wanted");
        if (number > SIZE_MAX || !maildrop_has(session->drop, (size_t)number)) {
                reply(session, "-ERR There is no such message");
                return NEXT_COMMAND;
        }
        argument->number = (size_t)number;
        return PROCEED;
}

static bool
refuses_passwords(const struct session *session)
{
        return session->peer.is_remote && !session->peer.is_secured &&
            !session->options->allows_clear_text;
}

static enum outcome
parse_argument(struct session *session, enum argument_kind kind,
    struct argument *argument)
{
        if (kind >= MESSAGE)
                return parse_message(session, kind, argument);
        if (kind == NO_ARGUMENT && argument->text != NULL)
                return bad_command(session, "This command takes no argument");
        if (kind == PASSWORD && argument->text == NULL)
                return bad_command(session, "An argument is missing");
        if (kind == USER_NAME && (argument->text == NULL || argument->text[0] == '\0' ||
            strchr(argument->text, ' ') != NULL))
                return bad_command(session, "One argument is wanted");
        if (kind != NO_ARGUMENT && refuses_passwords(session)) {
                session->was_refused = true;
                reply(session, "-ERR [AUTH] Passwords are not taken in clear text; please use TLS");
                return NEXT_COMMAND;
        }
        return PROCEED;
}

/* Commands of both states */

static enum outcome do_capa(struct session *session, const struct argument *argument);

/* UPDATE, after a login; its outcome decides what is said. */
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

/* AUTHORIZATION */

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
 * An authorization identity (RFC 4616) names a mailbox: in the login's own domain, and
 * where it names a user beside the mailbox, the login's own. False if it is neither.
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

/* Asks PAM. A login that breaks the rules goes the same way, so that it takes the same time. */
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
        explicit_bzero(argument->text, strlen(argument->text));
        return outcome;
}

/*
 * One response of a SASL exchange, decoded where it lies, a NUL behind it. With initial
 * it came with the command, "=" for an empty one; else the client is prompted.
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
        if (decoded < 0) {
                explicit_bzero(*response, *length);
                return bad_command(session, "The response is not base64");
        }
        explicit_bzero(*response + decoded, *length - (size_t)decoded + 1);
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
        outcome = sasl_plain_parse(&plain, message, length)
            ? log_in(session, MECHANISM_PLAIN, plain.authentication, plain.authorization,
                plain.password)
            : bad_command(session, "The response is malformed");
        explicit_bzero(message, length);
        return outcome;
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
        outcome = is_good ? log_in(session, MECHANISM_LOGIN, user, "", response)
            : bad_command(session, "The response is malformed");
        explicit_bzero(response, length);
        return outcome;
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
        { "AUTH", MECHANISM, do_auth, "SASL PLAIN LOGIN" },
        { "CAPA", NO_ARGUMENT, do_capa, NULL },
        { "PASS", PASSWORD, do_pass, NULL },
        { "QUIT", NO_ARGUMENT, do_quit, NULL },
        { "USER", USER_NAME, do_user, "USER" },
        { NULL, 0, NULL, NULL },
};

/* TRANSACTION */

static enum outcome
do_stat(struct session *session, const struct argument *argument)
{
        reply(session, "+OK %zu %" PRIu64, maildrop_count(session->drop),
            maildrop_octets(session->drop));
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
        reply(session, "+OK %zu messages", maildrop_count(session->drop));
        return NEXT_COMMAND;
}

/* printf would take longer than all the rest of a scan listing */
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

/* "number octets", a scan listing (RFC 1939, LIST), or "number unique-id". */
static size_t
write_listing(const struct session *session, size_t number, bool is_uidl, char *out)
{
        size_t used = write_number(out, number);

        out[used++] = ' ';
        return used + (is_uidl ? maildrop_unique_id(session->drop, number, out + used)
            : write_number(out + used, maildrop_message_octets(session->drop, number)));
}

/* One message, or all that are not deleted. */
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
        reply(session, "+OK %zu messages", maildrop_count(session->drop));
        for (size_t number = 1; number <= maildrop_last(session->drop); number++) {
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
        return list(session, argument, true);
}

/* A message failed: the log names it by its unique-id. */
static void
log_message_fault(const struct session *session, size_t number, int error)
{
        char id[UNIQUE_ID_MAX + 1];

        id[maildrop_unique_id(session->drop, number, id)] = '\0';
        log_fault(session, id, error);
}

/* RETR, and TOP with its lines: all that there could be are still not a RETR. */
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
        reply(session, "+OK Message follows");
        if (message_send(session->drop, argument->lines, &session->output) == 0) {
                session->holds_mail = true;
                ++*(argument->lines == UINT64_MAX ? &session->retr_count : &session->top_count);
                return NEXT_COMMAND;
        }
        if (!session->is_gone) {
                log_message_fault(session, number, errno);
                session->end = END_CUT;
        }
        return END_SESSION;
}

static const struct command transaction_commands[] = {
        { "CAPA", NO_ARGUMENT, do_capa, NULL },
        { "DELE", MESSAGE, do_dele, NULL },
        { "LIST", MAYBE_MESSAGE, do_list, NULL },
        { "NOOP", NO_ARGUMENT, do_noop, NULL },
        { "QUIT", NO_ARGUMENT, do_quit, NULL },
        { "RETR", MESSAGE, do_retr, NULL },
        { "RSET", NO_ARGUMENT, do_rset, NULL },
        { "STAT", NO_ARGUMENT, do_stat, NULL },
        { "TOP", MESSAGE_AND_LINES, do_retr, "TOP" },
        { "UIDL", MAYBE_MESSAGE, do_uidl, "UIDL" },
        { NULL, 0, NULL, NULL },
};

/* By whether somebody is logged in. */
static const struct command *const tables[] = { authorization_commands, transaction_commands };

/* RFC 2449; the same in both states. A password that would be refused is not asked for. */
static enum outcome
do_capa(struct session *session, const struct argument *argument)
{
        reply(session, "+OK Capability list follows");
        for (size_t table = refuses_passwords(session); table < 2; table++)
                for (const struct command *command = tables[table]; command->name != NULL; command++)
                        if (command->capability != NULL)
                                reply(session, "%s", command->capability);
        reply(session, "RESP-CODES\r\nAUTH-RESP-CODE\r\nPIPELINING\r\nEXPIRE NEVER\r\n"
            "IMPLEMENTATION pop3d-" VERSION "\r\n.");
        return NEXT_COMMAND;
}

/* The conversation */

static const struct command *
find_command(const struct command *table, const char *name)
{
        for (; table->name != NULL; table++)
                if (strcasecmp(table->name, name) == 0)
                        return table;
        return NULL;
}

static enum outcome
obey(struct session *session, char *line)
{
        struct argument argument = { .lines = UINT64_MAX };
        const struct command *command;
        char *blank = strchr(line, ' ');
        enum outcome outcome;

        if (blank != NULL) {
                *blank = '\0';
                argument.text = blank + 1;
        }
        command = find_command(tables[session->is_logged_in], line);
        if (command == NULL && find_command(tables[!session->is_logged_in], line) == NULL)
                return bad_command(session, "Unknown command");
        if (command == NULL)
                return bad_command(session, session->is_logged_in
                    ? "You are logged in already" : "Please log in first");
        outcome = parse_argument(session, command->argument, &argument);
        return outcome == PROCEED ? command->handler(session, &argument) : outcome;
}

/* Obeys the commands of one state until it ends. */
static void
converse(struct session *session)
{
        enum outcome outcome = NEXT_COMMAND;
        char *line;

        while (outcome != END_SESSION && !session->is_gone) {
                if (session->is_logged_in)
                        session->deadline = now_milliseconds() +
                            session->options->idle_seconds * 1000;
                if (!next_line(session, COMMAND_MAX, &line))
                        return;
                outcome = line != NULL ? obey(session, line)
                    : bad_command(session, "The line is too long, or has a NUL in it");
                session->has_spoken = true;
                if (outcome == NEXT_COMMAND)
                        session->bad_commands = 0;
        }
}

/*
 * What is still unread when a socket is closed makes the kernel reset the
 * connection, and the last reply may be lost. So unread commands are drained.
 */
static void
part_from_client(struct session *session)
{
        struct pollfd client = { .fd = 0, .events = POLLIN };
        int64_t end = now_milliseconds() + LINGER_MILLISECONDS;
        int64_t left = 0;
        int ready;

        if (session->is_gone || flush_output(&session->output) != 0 || shutdown(1, SHUT_WR) != 0)
                return;
        /* a tick of the clock is not the last of it */
        while (left >= 0 && (ready = poll(&client, 1, (int)left)) != 0 &&
            (ready < 0 ? errno == EINTR : read(0, session->input, INPUT_SIZE) > 0))
                left = end - now_milliseconds();
}

/* The PROXY header, before all else. False: there is none, or none in time. */
static bool
read_proxy_header(struct session *session)
{
        int64_t login_deadline = session->deadline;
        int64_t own_deadline = now_milliseconds() + PROXY_SECONDS * 1000;
        const unsigned char *header = (unsigned char *)session->input;
        int wanted;

        if (own_deadline < session->deadline)
                session->deadline = own_deadline;
        do
                wanted = proxy_parse(header, session->filled, &session->peer);
        while (wanted > 0 && read_client(session, (size_t)wanted));
        if (wanted != 0)
                return false;
        session->filled = 0;
        session->deadline = login_deadline;
        return true;
}

/* The AUTHORIZATION process, from its first octet to its last. */
static enum session_end
authorization(void *context, int pam)
{
        struct session *session = context;
        const struct auth *auth = &session->options->auth;

        session->pam = pam;
        start_ticks(auth->expects_proxy && PROXY_SECONDS < auth->login_seconds ? PROXY_SECONDS
            : auth->login_seconds);
        /* on its way while the fences are put up: nothing has been read yet */
        if (!auth->expects_proxy) {
                reply(session, greeting);
                (void)flush_output(&session->output);
        }
        confine_authorization(pam);
        if (auth->expects_proxy) {
                if (!read_proxy_header(session))
                        return session->end == END_TIMEOUT ? END_TIMEOUT
                            : session->filled == 0 ? END_SILENT : END_REFUSED;
                reply(session, greeting);
        }
        converse(session);
        if (session->end != END_GRANTED)
                part_from_client(session);
        if (session->was_refused)
                return END_REFUSED;
        return session->end == END_DISCONNECT && !session->has_spoken ? END_SILENT : session->end;
}

/* Opening the maildrop */

/* Instead of the login's +OK; always false. What may pass is told from what is to be mended. */
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

/* Whether a template tells, for one, users from each other ("um") or domains ("d"). */
static bool
template_tells(const char *template, const char *letters)
{
        for (const char *at = strchr(template, '%'); at != NULL; at = strchr(at + 2, '%'))
                if (strchr(letters, at[1]) != NULL)
                        return true;
        return false;
}

/* Where a maildrop lies: 0, or errno and what is to blame. */
static int
place_maildrop(const struct options *options, const struct identity *identity,
    char path[PATH_MAX], const char **culprit)
{
        const struct login_name *name = &identity->name;
        const struct maildir_names names = { name->user, name->domain, name->mailbox,
                identity->home };

        *culprit = name->mailbox;
        if (!identity->has_mailbox)
                return EACCES;
        *culprit = options->maildir;
        /* the same user of two domains is two users, but not to the kernel */
        if (options->auth.virtual_account != NULL && name->domain[0] != '\0' &&
            options->auth.our_domain_count != 1 && !template_tells(options->maildir, "d"))
                return EPERM;
        return maildir_path(path, PATH_MAX, options->maildir, &names) != 0 ? errno : 0;
}

static bool
open_maildrop(struct session *session)
{
        char path[PATH_MAX], place[PATH_MAX + 8];
        const char *part = "", *culprit;
        int directory, error = place_maildrop(session->options, &session->identity, path, &culprit);

        if (error != 0)
                return refuse_maildrop(session, culprit, error);
        directory = maildir_open(path);
        if (directory < 0 &&
            (errno != ENOENT || !maildir_is_not_yet_there(path, session->identity.uid)))
                return refuse_maildrop(session, path, errno);
        if (directory < 0)
                log_event(LOG_NOTICE, "NO MAILDROP YET", session->who, session->peer.address,
                    "path", path, NULL);
        confine_transaction(directory);
        session->drop = maildrop_open(directory, LOCK_MILLISECONDS, &part);
        if (session->drop != NULL)
                return true;
        (void)snprintf(place, sizeof(place), "%s%s", path, part);
        return refuse_maildrop(session, place, errno);
}

static void
log_login(const struct session *session)
{
        char taken[24];

        (void)snprintf(taken, sizeof(taken), "%zu", maildrop_taken_over(session->drop));
        log_event(LOG_INFO, "LOGIN", session->who, session->peer.address, "mailbox",
            session->identity.name.mailbox, "method",
            mechanism_name((enum mechanism)session->identity.mechanism), "secured",
            session->peer.is_secured ? "yes" : "no",
            maildrop_taken_over(session->drop) > 0 ? "taken-over" : NULL, taken, NULL);
}

static void
log_logout(const struct session *session)
{
        size_t marked = maildrop_last(session->drop) - maildrop_count(session->drop);
        size_t removed = session->update.marked - session->update.remaining;
        char top[24], retr[24], del[48], left[24], bytes[24], seconds[24];

        (void)snprintf(top, sizeof(top), "%zu", session->top_count);
        (void)snprintf(retr, sizeof(retr), "%zu", session->retr_count);
        (void)snprintf(del, sizeof(del), "%zu/%zu", removed, marked);
        (void)snprintf(left, sizeof(left), "%zu", maildrop_last(session->drop) - removed);
        (void)snprintf(bytes, sizeof(bytes), "%" PRIu64, session->sent);
        (void)snprintf(seconds, sizeof(seconds), "%lld", (long long)(time(NULL) - session->began));
        log_event(LOG_INFO, "LOGOUT", session->who, session->peer.address, "top", top, "retr", retr,
            "del", del, "left", left, "bytes", bytes, "time", seconds, "end",
            session_end_name(session->end), NULL);
}

/* From a granted login on: the user's process, and the only one. */
static enum session_end
transaction(struct session *session)
{
        const struct login_name *name = &session->identity.name;
        bool shows_domain = session->options->auth.virtual_account != NULL &&
            name->domain[0] != '\0';

        session->peer = session->identity.peer;
        session->is_logged_in = true;
        session->began = time(NULL);
        (void)snprintf(session->who, sizeof(session->who), "%s%s%s", name->user,
            shows_domain ? "@" : "", shows_domain ? name->domain : "");
        start_ticks(session->options->idle_seconds);
        if (open_maildrop(session)) {
                log_login(session);
                reply(session, "+OK User successfully logged on");
                session->end = END_DISCONNECT;
                converse(session);
        }
        /* the client hears of QUIT's outcome before the index is written */
        part_from_client(session);
        if (session->drop != NULL) {
                log_logout(session);
                maildrop_close(session->drop);
        }
        return session->end;
}

/* The command line */

static const char usage[] =
    "usage: pop3d [-ehpSVx] [-C dir] [-d domain] [-l seconds] [-m maildir] [-n account]\n"
    "             [-s service] [-t seconds] [-v account]\n"
    "       pop3d -c [options] [login]     (what is wrong, and how to mend it)\n";

static bool
parse_seconds(const char *text, unsigned *seconds)
{
        uint64_t number;

        if (!parse_number(&text, &number) || *text != '\0' || number < 1 || number > 86400)
                return false;
        *seconds = (unsigned)number;
        return true;
}

/* Takes one option; what is wrong with it, or NULL. */
static const char *
take_option(struct options *options, int option, const char *value)
{
        static char named[32];
        struct auth *auth = &options->auth;

        switch (option) {
        case 'C': auth->configuration = value; return NULL;
        case 'S': auth->peer.is_secured = true; return NULL;
        case 'V': case 'c': case 'h': options->wanted = option; return NULL;
        case 'd':
                if (auth->our_domain_count == OUR_DOMAINS_MAX)
                        return "there are too many -d";
                auth->our_domains[auth->our_domain_count++] = value;
                return NULL;
        case 'e': options->logs_to_stderr = true; return NULL;
        case 'l':
                return parse_seconds(value, &auth->login_seconds)
                    ? NULL : "-l takes 1 to 86400 seconds";
        case 'm':
                options->maildir = value;
                return maildir_template_is_valid(value)
                    ? NULL : "-m takes a path with %u, %d, %m, %h and %%";
        case 'n': auth->powerless_account = value; return NULL;
        case 'p': options->allows_clear_text = true; return NULL;
        case 's': auth->service = value; return NULL;
        case 't':
                return parse_seconds(value, &options->idle_seconds)
                    ? NULL : "-t takes 1 to 86400 seconds";
        case 'v': auth->virtual_account = value; return NULL;
        case 'x': auth->expects_proxy = true; return NULL;
        default:
                (void)snprintf(named, sizeof(named), "-%c %s", isgraph(optopt) ? optopt : '?',
                    option == ':' ? "lacks its value" : "is no option");
                return named;
        }
}

/* Under an inetd nobody reads stderr: the client and the log are told of a problem. */
static int
serve(struct options *options, const char *problem)
{
        static char data[OUTPUT_SIZE];
        static struct session session;
        struct auth *auth = &options->auth;
        enum session_end end;

        process_begin(options->logs_to_stderr);
        log_open(options->logs_to_stderr);
        session.options = options;
        session.end = END_DISCONNECT;
        session.output = (struct output){ data, 0, OUTPUT_SIZE_BEFORE_LOGIN, flush_output };
        session.deadline = now_milliseconds() + (int64_t)auth->login_seconds * 1000;
        if (problem != NULL) {
                log_event(LOG_ERR, "FAULT", NULL, NULL, "category", "Configuration", "reason",
                    problem, NULL);
                reply(&session, "-ERR [SYS/PERM] pop3d was started wrongly: %s", problem);
                part_from_client(&session);
                return END_USAGE;
        }
        peer_find(&auth->peer, 0);
        session.peer = auth->peer;
        end = auth_session(auth, authorization, &session, &session.identity);
        if (end != END_GRANTED)
                return end == END_SILENT ? END_DISCONNECT : (int)end;
        session.output.size = sizeof(data);
        return (int)transaction(&session);
}

/* What is wrong with the arguments, or NULL; optind is then at the operand. */
static const char *
take_options(struct options *options, int argc, char **argv)
{
        const char *problem = NULL;
        int option;

        opterr = 0;
        optind = 0;
        while ((option = getopt(argc, argv, ":C:SVcd:ehl:m:n:ps:t:v:x")) != -1) {
                const char *wrong = take_option(options, option, optarg);

                options->are_given |= option != 'c';
                problem = problem == NULL ? wrong : problem;
        }
        if (problem == NULL && argc - optind > (options->wanted == 'c'))
                return "there is an argument too many";
        if (problem == NULL && options->auth.virtual_account != NULL &&
            !template_tells(options->maildir, "um"))
                return "-v needs -m with %u or %m, or all users would share one maildrop";
        return problem;
}

/* The check (-c) */

enum { ROW_INDENT = 17, ROW_WIDTH = 79 };

struct check {
        struct options *options;
        struct login login;
        struct identity identity;
        bool has_login;
        int worst;              /* exit status: 0 all is well, 1 warnings, 2 faults */
};

/* Prints a row, broken into lines. What is not printable came from others, and stays away. */
__attribute__((format(printf, 4, 5)))
static void
print_row(void *context, const char *state, const char *what, const char *format, ...)
{
        struct check *check = context;
        int column = printf("%-5s %-*s", state, ROW_INDENT - 7, what);
        int severity = strcmp(state, "fail") == 0 ? 2 : strcmp(state, "warn") == 0;
        char text[5120];
        va_list arguments;

        check->worst = severity > check->worst ? severity : check->worst;
        va_start(arguments, format);
        (void)vsnprintf(text, sizeof(text), format, arguments);
        va_end(arguments);
        for (char *at = text; *at != '\0'; at++)
                *at = *at == '\n' || (*at >= ' ' && *at <= '~') ? *at : '?';
        for (const char *at = text; *(at += strspn(at, " ")) != '\0';) {
                int length = (int)strcspn(at, " \n"), room = ROW_WIDTH - ROW_INDENT;

                length = length > room ? room : length;
                if (length > 0 && column + 1 + length > ROW_WIDTH)
                        column = printf("\n%*s", ROW_INDENT - 1, "") - 1;
                if (length > 0)
                        column += printf(" %.*s", length, at);
                at += length;
                if (*at == '\n') {
                        column = ROW_WIDTH;
                        at++;
                }
        }
        (void)printf("\n");
}

static int
check_pam(void *context)
{
        struct check *check = context;

        auth_check_pam(&check->options->auth, check->has_login ? &check->login : NULL, print_row,
            check);
        return check->worst;
}

/* As its user: for that the process is another for ever, and it has seen no shadow file. */
static int
check_maildrop(void *context)
{
        struct check *check = context;
        struct identity *identity = &check->identity;
        char path[PATH_MAX];
        const char *culprit;
        int error;

        become_user(identity);
        error = place_maildrop(check->options, identity, path, &culprit);
        if (error != 0)
                print_row(check, "fail", "maildrop", "%s: %s\n"
                    "cause: no such mailbox, or -m does not tell domains apart", culprit,
                    strerror(error));
        else if (maildir_is_not_yet_there(path, identity->uid))
                print_row(check, "warn", "maildrop", "%s is not there yet, and served as empty\n"
                    "remedy: none before the first mail comes; if mail goes elsewhere, as to /var/mail, "
                    "have it delivered here, or see -m", path);
        else
                maildir_check(path, print_row, check);
        return check->worst;
}

static void
check_apart(struct check *check, int (*part)(void *context), const char *what)
{
        int worst = apart_end(apart_start(part, check, NULL));

        if (worst < 0 || worst > 2)
                print_row(check, "fail", what, "the check did not come to its end\n"
                    "cause: the log may say");
        else
                check->worst = worst;
}

static int
check_serve(void *context)
{
        struct check *check = context;

        /* serve() closes descriptors behind the log's back, and opens it anew */
        log_leave();
        return serve(check->options, NULL);
}

/*
 * What was said, in turn, as people have it from telnet; from a session gone wrong as much as
 * fits. Commands were sent at once: PIPELINING.
 */
static bool
write_dialogue(char *out, size_t size, char *heard, const char *const *commands)
{
        bool is_listing = false, is_good = true;
        size_t used = 0;

        out[0] = '\0';
        for (char *line = strtok(heard, "\r\n"); line != NULL && used < size;
            line = strtok(NULL, "\r\n")) {
                is_good &= is_listing || line[0] == '+';
                used += (size_t)snprintf(out + used, size - used, "\nS: %s", line);
                is_listing = is_listing ? strcmp(line, ".") != 0
                                        : strstr(line, "list follows") != NULL;
                if (!is_listing && *commands != NULL && used < size)
                        used += (size_t)snprintf(out + used, size - used, "\nC: %s", *commands++);
        }
        return is_good && *commands == NULL;
}

/* A session with the real thing; on a terminal a password may be tried. */
static void
check_session(struct check *check, const char *login)
{
        char heard[2048], dialogue[4096], user[COMMAND_MAX], *password = NULL;
        const char *const without_login[] = { "CAPA", "QUIT", NULL };
        const char *const with_login[] = { "CAPA", user, "PASS", "STAT", "QUIT", NULL };
        const char *const *commands = without_login;
        size_t used = 0;
        ssize_t count;
        int server = -1;
        pid_t session = apart_start(check_serve, check, &server);
        bool is_good;

        if (login != NULL && isatty(0))
                password = getpass("Password to try (none: just Enter): ");
        (void)dprintf(server, "%sCAPA\r\n",
            check->options->auth.expects_proxy ? "PROXY UNKNOWN\r\n" : "");
        if (password != NULL && *password != '\0') {
                (void)snprintf(user, sizeof(user), "USER %s", login);
                (void)dprintf(server, "%s\r\nPASS %s\r\nSTAT\r\n", user, password);
                explicit_bzero(password, strlen(password));
                commands = with_login;
        }
        (void)dprintf(server, "QUIT\r\n");
        while ((count = read(server, heard + used, sizeof(heard) - 1 - used)) > 0)
                used += (size_t)count;
        heard[used] = '\0';
        (void)close(server);
        is_good = apart_end(session) == END_QUIT;
        is_good &= write_dialogue(dialogue, sizeof(dialogue), heard, commands);
        print_row(check, is_good ? "ok" : "fail", "session",
            "what a client is told:%s%s", dialogue, is_good ? "" : "\ncause: see the log");
}

/* Options as the launcher gives them, unless some were given by hand. */
static void
take_launcher_options(struct check *check)
{
        const char *problem, *file = NULL;
        char *words = launcher_check(greeting, print_row, check, &file);
        char *arguments[64] = { words };
        int count = 1;

        if (words == NULL || check->options->are_given)
                return;
        print_row(check, "ok", "options", "of %s, as none are given here: %s", file,
            *words == '\0' ? "none" : words);
        while (count < 63 && (arguments[count] = strtok(count == 1 ? words : NULL, " \t")) != NULL)
                count++;
        /* a login beside -c is none of theirs */
        check->options->wanted = 0;
        problem = take_options(check->options, count, arguments);
        if (problem != NULL)
                print_row(check, "fail", "options", "%s\nremedy: mend %s", problem, file);
}

static int
check(struct options *options, const char *login)
{
        struct check check = { .options = options };

        (void)signal(SIGPIPE, SIG_IGN);
        log_open(true);
        take_launcher_options(&check);
        auth_check_process(&options->auth, print_row, &check);
        if (login != NULL)
                check.has_login = auth_check_login(&options->auth, login, &check.login, &check.identity,
                    print_row, &check);
        else
                print_row(&check, "skip", "maildrop", "no login to look at: pop3d -c LOGIN");
        check_apart(&check, check_pam, "PAM");
        if (check.identity.uid != 0)
                check_apart(&check, check_maildrop, "maildrop");
        check_session(&check, login);
        return check.worst;
}

int
main(int argc, char **argv)
{
        struct options options = {
                .auth = { .service = "pop3", .powerless_account = "nobody", .login_seconds = 60 },
                .maildir = "Maildir",
                .idle_seconds = 600,
        };
        const char *problem = take_options(&options, argc, argv);

        if (options.wanted == 'V' || options.wanted == 'h')
                return printf("%s", options.wanted == 'V' ? "pop3d " VERSION "\n" : usage) < 0;
        if (problem == NULL && options.wanted == 'c')
                return check(&options, argv[optind]);
        /* not by exit(3): nothing is left to be done, and that costs as much as the greeting */
        _exit(serve(&options, problem));
}
