/*
 * auth.h - the contract of auth/: who may log in, and as whom.
 *
 * Runs in:   every process of a session; the only code that runs as root.
 * May touch: PAM, the account databases, syslog. Never a Maildir.
 *
 * All of it fails closed: where a privilege step fails, the session ends. The parsers (login
 * names, SASL, PROXY) make no system call. What only the files of auth/ share is in internal.h.
 */
#ifndef POP3D_AUTH_H
#define POP3D_AUTH_H

#include <limits.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/types.h>

enum {
        LOGIN_PART_MAX = 64,            /* octets of a user, a domain, a mailbox */
        LOGIN_TYPED_MAX = 255,          /* octets kept of a name as typed, for the log */
        PASSWORD_MAX = 511,             /* octets; PAM modules cannot be trusted with more */
        LOGIN_TRIES = 3,                /* failed logins that end a session */
        FAILED_LOGIN_SECONDS = 2,       /* from a login's receipt to its refusal, always */
        PROXY_HEADER_MAX = 8192,        /* octets of a version 2 header; more are refused */
        PROXY_LINE_MAX = 107,           /* octets of a version 1 header, with its CRLF */
        GROUPS_MAX = 1024,
        OUR_DOMAINS_MAX = 32,
};

/*
 * Sets signals, umask, limits and descriptors to known values, because the launcher may have left
 * them in any state. Descriptor 2 becomes /dev/null unless keeps_stderr. False, with errno, if
 * /dev/null cannot be opened; descriptors are then as they were.
 */
bool process_begin(bool keeps_stderr);

struct peer {
        char address[INET6_ADDRSTRLEN + IF_NAMESIZE];   /* "": unknown */
        /* octets, not bool: the struct is sent from process to process, and may hold any value */
        uint8_t is_remote;              /* an internet address other than loopback; or unknown */
        uint8_t is_secured;             /* TLS in front, by -S or by a PROXY header */
};

/*
 * Sets the address and is_remote from text; false and unchanged if it is no address. A link-local
 * one may have its scope: "fe80::1%eth0".
 */
bool peer_set_address(struct peer *peer, const char *text);

/*
 * Finds the client's address: the socket's peer or, where fd is no internet socket or its peer is
 * loopback, what REMOTE_HOST, REMOTE_ADDR, TCPREMOTEIP, SOCAT_PEERADDR or NCAT_REMOTE_ADDR says.
 * Where nothing does, the client is local at a pipe, a terminal or a socketpair, else remote. Then
 * clears the environment. Sets the socket so that a dead client is noticed within about two minutes.
 */
void peer_find(struct peer *peer, int fd);

/*
 * Waits for the client, and looks at up to size octets that it has sent without taking them. Returns
 * as read(2) does; -1 with ENOTSOCK if fd is no socket, where nobody can look.
 */
ssize_t peer_peek(int fd, void *data, size_t size);

enum proxy_trust {
        PROXY_TRUSTED,
        PROXY_REFUSED,          /* it was logged whom */
        PROXY_GONE,             /* who connected has closed already, so nobody can be asked for */
};

/*
 * Whether who connected to fd may say in a PROXY header who the client is. Over a Unix socket root
 * may, the user as whom pop3d was started, and the owner of the socket's file. Over TCP from this
 * machine anybody but an ordinary account (of account_least_uid() and above). Where the kernel tells
 * of no sockets anybody is trusted, and that is logged. What comes from another machine is trusted.
 */
enum proxy_trust proxy_trust(int fd);

/*
 * Parses a PROXY protocol header, version 1 or 2, at the beginning of data. 0: it is whole, and
 * peer is set unless it says LOCAL or UNKNOWN. -1: it is no such header. Else the number of octets
 * that are missing at least; whoever reads just as many never reads past the header.
 */
int proxy_parse(const unsigned char *data, size_t length, struct peer *peer);

struct login_name {
        char user[LOGIN_PART_MAX + 1];
        char domain[LOGIN_PART_MAX + 1];        /* lower case; "" when left out */
        char mailbox[LOGIN_PART_MAX + 1];       /* the user's own when left out */
};

/*
 * Takes apart "user", "domain\user", "domain\user\mailbox" or "user@domain". Parts are 1 to 64
 * octets of 0x21-0x7E without '/', ':', '\' and '@', not starting with '.' or '-'. False for
 * anything else.
 */
bool login_name_parse(struct login_name *name, const char *text, size_t length);

/* Whether each part of a name obeys these rules; asked when the name comes from another process. */
bool login_name_is_valid(const struct login_name *name);

/* Makes capitals of ASCII small in each part: virtual users (-v) have one spelling. */
void login_name_lower(struct login_name *name);

/*
 * Decodes RFC 4648 section 4 strictly: padding where due, no blanks, no stray bits. Returns the
 * number of octets written to out, or -1. size is out's and must be at least 3/4 of length; out
 * may be text itself.
 */
ssize_t base64_decode(char *out, size_t size, const char *text, size_t length);

/* The parts of a PLAIN response (RFC 4616), pointing into it; each ends in NUL. */
struct sasl_plain {
        const char *authorization;      /* "" when left out */
        const char *authentication, *password;
};

/* message is length octets and has room for a final NUL. False if malformed. */
bool sasl_plain_parse(struct sasl_plain *plain, char *message, size_t length);

enum mechanism { MECHANISM_PASS, MECHANISM_PLAIN, MECHANISM_LOGIN, MECHANISMS };
const char *mechanism_name(enum mechanism mechanism);   /* "PASS", "PLAIN" or "LOGIN" */

/* What AUTHORIZATION sends to PAM, which checks every member before it uses it. */
struct login {
        uint32_t kind;                          /* LOGIN_QUESTION, or LOGIN_VIOLATION */
        uint32_t mechanism;                     /* enum mechanism */
        uint32_t forbidden_call;                /* number of a system call; LOGIN_VIOLATION only */
        uint32_t is_acceptable;                 /* 0: refused without asking PAM */
        char typed[LOGIN_TYPED_MAX + 1];        /* the name as typed, for the log */
        struct login_name name;
        char password[PASSWORD_MAX + 1];
        struct peer peer;                       /* believed only with -x */
        /* the PAM helper sets these two, whatever AUTHORIZATION sent */
        char account[LOGIN_TYPED_MAX + 1];      /* whom PAM is asked about, then PAM_USER */
        uint32_t is_qualified;                  /* a system account with a domain in its own name */
};
enum {
        LOGIN_QUESTION = 1,
        LOGIN_VIOLATION = 2,    /* AUTHORIZATION was made to try a forbidden system call */
        LOGIN_ANNOUNCEMENT = 3,
};

/* What AUTHORIZATION sends to pop3d, once and only with -x, before any login. */
struct announcement {
        uint32_t kind;                          /* LOGIN_ANNOUNCEMENT */
        struct peer peer;                       /* of the PROXY header; no address: it told none */
};

enum verdict {
        VERDICT_GRANTED = 1,
        VERDICT_DENIED,         /* the client's fault: [AUTH] */
        VERDICT_UNAVAILABLE,    /* our fault, and may pass: [SYS/TEMP] */
        VERDICT_MISCONFIGURED,  /* our fault, and stays until it is mended: [SYS/PERM] */
};

/* Who logged in. The PAM helper sends it to pop3d, once. */
struct identity {
        uid_t uid;
        gid_t gid;
        uint32_t group_count;
        gid_t groups[GROUPS_MAX];               /* looked up where name-service modules may load */
        struct login_name name;
        uint32_t is_qualified;                  /* a system account with a domain in its own name */
        char home[PATH_MAX];                    /* of the mailbox */
        uint32_t mechanism;
        struct peer peer;
};

/* How this server authenticates. Strings are the caller's, and constant. */
struct auth {
        const char *service;            /* PAM service name */
        const char *configuration;      /* PAM directory, NULL for the system's */
        const char *virtual_account;    /* owner of all maildrops, NULL for system accounts */
        const char *powerless_account;  /* of the AUTHORIZATION process; NULL: pop3d or nobody */
        const char *our_domains[OUR_DOMAINS_MAX];
        size_t our_domain_count;
        unsigned login_seconds;         /* whole time until login */
        bool expects_proxy;             /* the client's address comes in a login */
        struct peer peer;               /* as the socket and -S tell it */
};

/* The command line of both programs. */
struct options {
        struct auth auth;
        const char *maildir;            /* -m: a template, not yet looked at */
        unsigned idle_seconds;          /* -t */
        int index_seconds;              /* -i; OPTION_INDEX_UNSET: by the kind of file system */
        const char *id_format;          /* -u, not yet looked at; NULL: not given */
        bool allows_clear_text;         /* -p */
        bool logs_to_stderr;            /* -e */
        int wanted;                     /* 'c', 'h' or 'V' in place of a session, else 0 */
        bool are_given;                 /* there is an option beside -c and -q */
        bool is_detailed;               /* -c twice: the check shows what is as it should be, too */
        bool is_quiet;                  /* -q: where all is well the check prints nothing */
        const char *login;              /* the operand, or NULL; only -c may have one */
        char problem[32];               /* where options_take() writes some of its answers */
};

enum {
        OPTION_SECONDS_MAX = 86400,
        OPTION_INDEX_MAX = 7 * 86400,   /* of -i */
        OPTION_INDEX_UNSET = -1,
};

extern const char options_letters[];    /* as getopt(3) wants them: the one list of all options */
extern const char options_usage[];      /* for -h */

/*
 * Reads a command line into options, whose strings then point into argv. Returns NULL, or what is
 * wrong with it in words for the client and the log.
 */
const char *options_take(struct options *options, int argc, char **argv);

/* What pop3d says first (RFC 1939 section 4). The check compares it with what a port says. */
#define GREETING "+OK pop3d " VERSION " server ready"

/*
 * Whether the path of a maildrop must tell domains apart, because two users may differ in nothing
 * but their domains: virtual users (-v) of more than one domain; and system accounts whose own
 * names hold a domain, which may share %u, but not the home (has_home: the template tells it).
 */
bool auth_tells_domains(const struct auth *auth, const struct identity *identity, bool has_home);

/*
 * Writes the domain, in lower case, by which the maildrop of a login is told: its own, or if it
 * has none and is a virtual user's the only one of -d.
 */
void auth_domain(const struct auth *auth, const struct login_name *name,
    char domain[LOGIN_PART_MAX + 1]);

/* Writes the path of a program of the project, which lies in the folder of this one. */
bool find_beside(const char *name, char path[PATH_MAX]);

/*
 * Replaces this process by such a program. arguments is its argv; [0] becomes its path. Returns
 * only if that fails: the exit status, after a row like the check's that says so.
 */
int start_beside(const char *name, char **arguments);

/* Why a session ended; also its exit status. */
enum session_end {
        END_QUIT = 0,
        END_DISCONNECT = 1,     /* the client went away */
        END_TIMEOUT = 2,
        END_ABUSE = 3,          /* failed logins or bad commands */
        END_CUT = 4,            /* a message failed while it was sent */
        END_USAGE = 64,         /* EX_USAGE */
        END_TOO_MANY = 69,      /* EX_UNAVAILABLE: connections of one network, stuck sessions of one user */
        END_FAULT = 70,         /* EX_SOFTWARE: our fault */
        END_IN_USE = 75,        /* EX_TEMPFAIL */
        END_REFUSED = 77,       /* EX_NOPERM */
        END_GRANTED = 100,      /* of the AUTHORIZATION process only: logged in */
        END_CROWDED = 102,      /* of auth_session() only: logged in, but too many sessions are stuck */
        END_SILENT = 101,       /* of the AUTHORIZATION process only: not a word from the client */
};

const char *session_end_name(enum session_end end);     /* for the log: "quit", "disconnect", ... */

/*
 * Runs authorization(context, pam) in the AUTHORIZATION process, and PAM in a second one. Returns
 * when both have ended: END_GRANTED or END_CROWDED, and this process is the identity's user for ever;
 * or why the session ended without a login.
 */
enum session_end auth_session(const struct auth *auth,
    enum session_end (*authorization)(void *context, int pam), void *context,
    struct identity *identity);

/*
 * Takes a place for a connection from this network, until its login or its end. False if the network
 * has all of its places already; this is logged. True where there are no places: without root, or
 * without /run, which is logged, or where the peer has no address.
 */
bool auth_admits(const struct peer *peer);

/* The same, asked from AUTHORIZATION (-x): whether pop3d admits the peer of the PROXY header. */
bool auth_announce(int pam, const struct peer *peer);

/*
 * AUTHORIZATION gets this signal every few seconds while places are short, so that it does not wait
 * for a silent client. By default it is ignored.
 */
#define SHORTAGE_SIGNAL SIGURG

/*
 * Asks PAM, from AUTHORIZATION, and wipes the login's password. VERDICT_UNAVAILABLE if PAM does
 * not answer.
 */
enum verdict auth_ask(int pam, struct login *login);

/*
 * Moves the moment at which the kernel kills this process, which auth_session() left far enough
 * ahead for a login: milliseconds on the monotonic clock. SIGKILL also ends a process that is
 * stopped, that waits for a file system which does not answer, or that computes for ever.
 */
void process_die_at(int64_t milliseconds);

/*
 * These fences hold until the process ends. AUTHORIZATION keeps its descriptors and a handful of
 * system calls. TRANSACTION keeps the Maildir that directory is (-1: no directory at all), the
 * system calls that serve it, and so many octets of memory. A forbidden system call is logged and
 * ends the process; a layer that the kernel lacks is logged, and the other layers hold.
 */
void confine_authorization(int pam);
void confine_transaction(int directory, uint64_t memory);

/* Opens syslog, facility mail; with to_stderr each line goes to descriptor 2 as well. */
void log_open(bool to_stderr);

/*
 * Logs one line, "EVENT, user=USER, ip=[ADDRESS], NAME=VALUE, ...". The arguments behind address
 * are pairs of strings up to a NULL name. user or address NULL: the line has none. Values are cut,
 * and each octet outside [A-Za-z0-9._@+-/] is escaped; except in address, which must come from
 * peer_set_address().
 */
void log_event(int priority, const char *event, const char *user, const char *address, ...)
    __attribute__((sentinel));

const char *error_name(int error);                      /* symbolic: "EACCES" */

/* If is_done is false: logs what, with errno if it is set, and ends the process with END_FAULT. */
void must(bool is_done, const char *what);

/* From here on: for the check (-c) alone, which no session calls. */

/* Prints one row of the check; state is "ok", "warn", "fail" or "skip", what the row's subject. */
typedef void (*check_row)(void *context, const char *state, const char *what, const char *format,
    ...) __attribute__((format(printf, 4, 5)));

/* An account that a launcher's file names: false if there is none. home is that of its line. */
bool auth_look_up(const char *name, uid_t *uid, gid_t *gid, char home[PATH_MAX]);

/* Whether there is such a group. */
bool auth_has_group(const char *name);

/*
 * Whether root's account can be looked up, as launchers do; and all that a session looks up about a login. Make a
 * row that is a fault if it cannot, or there is no answer within seconds, so that nobody else should ask.
 */
void auth_check_names(check_row row, void *context);
void auth_check_account(const struct auth *auth, const char *typed, check_row row, void *context);

/* The rows of the process and the log. */
void auth_check_process(const struct auth *auth, check_row row, void *context);

/*
 * The row of how a login is taken apart, and whose account would serve it. True, with login
 * set, if PAM can be asked about it; identity is set, and its uid not 0, if nothing but PAM can refuse it.
 */
bool auth_check_login(const struct auth *auth, const char *typed, struct login *login,
    struct identity *identity, check_row row, void *context);

/* Sets the identity that owns all maildrops of virtual users; false without -v, or without it. */
bool auth_check_owner(const struct auth *auth, struct identity *identity);

/*
 * The rows of PAM's files and modules and, unless login is NULL, of what its rules say to that
 * login. Loads the modules into this process.
 */
void auth_check_pam(const struct auth *auth, struct login *login, check_row row, void *context);

/* tool.c: a program of this machine that is asked something. */
enum { TOOL_INPUT_MAX = 65536, TOOL_MISSING = -1, TOOL_LATE = -2 };

/* Whether it stays root where the check is, or becomes nobody: what reads from a port has no power. */
enum tool_power { TOOL_POWERLESS, TOOL_AS_WE_ARE };

struct tool {
        pid_t pid;
        int said;                       /* what it writes to its standard output and error */
};

/*
 * Starts a program, looked for in the system's folders; words is its argv. It reads input, of which
 * TOOL_INPUT_MAX octets count. Several may run at once.
 */
void tool_start(struct tool *tool, const char *const *words, enum tool_power power,
    const char *input);

/*
 * Reads what it says, ends it when the time is over, and waits for it. Returns its exit status;
 * TOOL_MISSING: there is no such program; TOOL_LATE: it was not done in time.
 */
int tool_end(struct tool *tool, unsigned milliseconds, char *said, size_t size);

/*
 * Becomes the mail user for ever, proves it, and closes every descriptor but 0, 1, 2 and the
 * log's. Without root it only proves that the process is that user. (A session does this within
 * auth_session(); the check does it to look at a maildrop.)
 */
void become_user(const struct identity *identity);

#endif
