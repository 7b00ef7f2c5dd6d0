/*
 * auth.h - the contract of auth/: who may log in, and as whom.
 *
 * Runs in:   every process of a session; the only code that runs as root.
 * May touch: PAM, the account databases, syslog. Never a Maildir.
 *
 * All of it fails closed: where a privilege step fails, the session ends. The parsers (login
 * names, SASL, PROXY) make no system call.
 */
#ifndef POP3D_AUTH_H
#define POP3D_AUTH_H

#include <limits.h>
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
        GROUPS_MAX = 1024,
        OUR_DOMAINS_MAX = 32,
};

/* A known state, whatever started us. Descriptor 2 becomes /dev/null unless keeps_stderr. */
void process_begin(bool keeps_stderr);

struct peer {
        char address[INET6_ADDRSTRLEN]; /* the client's; "" for a pipe, a Unix socket */
        /* octets, not bool: they cross from process to process, and may hold anything */
        uint8_t is_remote;              /* an internet address other than loopback */
        uint8_t is_secured;             /* TLS in front, by -S or by a PROXY header */
};

/* Sets the address and is_remote from text; false and unchanged if it is no address. */
bool peer_set_address(struct peer *peer, const char *text);

/*
 * Takes the socket's peer or, when fd is no internet socket or its peer is loopback, REMOTE_HOST,
 * REMOTE_ADDR or TCPREMOTEIP; then clears the environment. A socket's client that is dead will be
 * noticed within about two minutes.
 */
void peer_find(struct peer *peer, int fd);

/*
 * A PROXY protocol header, version 1 or 2, at the beginning of data: 0 when it is whole (and peer
 * is set, unless it says LOCAL or UNKNOWN), -1 when it is none, else how many more octets are
 * needed at least; asking for just those never reads past the header.
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

/* Whether all parts of a name that came from another process obey the rules. */
bool login_name_is_valid(const struct login_name *name);

/*
 * RFC 4648 section 4, strictly: padding where due, no blanks, no stray bits. The number of octets
 * written to out (size octets, at least 3/4 of length), which may be text itself, or -1.
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

/* AUTHORIZATION to PAM, believed in nothing. */
struct login {
        uint32_t kind;                          /* LOGIN_QUESTION */
        uint32_t mechanism;                     /* or the system call, in a LOGIN_VIOLATION */
        uint32_t is_acceptable;                 /* else it is refused without asking PAM */
        char typed[LOGIN_TYPED_MAX + 1];        /* the name as typed, for the log */
        struct login_name name;
        char password[PASSWORD_MAX + 1];
        struct peer peer;                       /* believed only with -x */
};
enum { LOGIN_QUESTION = 1, LOGIN_VIOLATION = 2 };

enum verdict {
        VERDICT_GRANTED = 1,
        VERDICT_DENIED,         /* the client's fault: [AUTH] */
        VERDICT_UNAVAILABLE,    /* ours, may pass: [SYS/TEMP] */
        VERDICT_MISCONFIGURED,  /* ours, will stay: [SYS/PERM] */
};

/* Who logged in: PAM to pop3d, once. */
struct identity {
        uid_t uid;
        gid_t gid;
        uint32_t group_count;
        gid_t groups[GROUPS_MAX];               /* looked up where name-service modules may load */
        struct login_name name;
        uint32_t has_mailbox;                   /* 0: no such mailbox, or never to be opened */
        char home[PATH_MAX];                    /* of the mailbox */
        uint32_t mechanism;
        struct peer peer;
};

/* How this server authenticates. Strings are the caller's, and constant. */
struct auth {
        const char *service;            /* PAM service name */
        const char *configuration;      /* PAM directory, NULL for the system's */
        const char *virtual_account;    /* owner of all maildrops, NULL for system accounts */
        const char *powerless_account;  /* of the AUTHORIZATION process */
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
        bool allows_clear_text;         /* -p */
        bool logs_to_stderr;            /* -e */
        int wanted;                     /* 'c', 'h' or 'V' in place of a session, else 0 */
        bool are_given;                 /* there is an option beside -c */
        const char *login;              /* the operand, or NULL; only -c may have one */
        char problem[32];               /* where options_take() writes some of its answers */
};

enum { OPTION_SECONDS_MAX = 86400 };

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
 * Whether logins of more than one domain may be granted, so that two users may differ in nothing
 * but their domains. For virtual users (-v) alone: a system account has one domain.
 */
bool auth_tells_domains(const struct auth *auth);

/* Writes the path of a program of the project, which lies in the folder of this one. */
bool find_beside(const char *name, char path[PATH_MAX]);

/*
 * Replaces this process by such a program. arguments is its argv; [0] becomes its path. Returns only if that fails: the exit status, after a
 * row like the check's that says so.
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
        END_FAULT = 70,         /* EX_SOFTWARE: ours */
        END_IN_USE = 75,        /* EX_TEMPFAIL */
        END_REFUSED = 77,       /* EX_NOPERM */
        END_GRANTED = 100,      /* of the AUTHORIZATION process only: logged in */
        END_SILENT = 101,       /* of the AUTHORIZATION process only: not a word from the client */
};

const char *session_end_name(enum session_end end);     /* for the log: "quit", "disconnect", ... */

/*
 * Runs authorization(context, pam) in the AUTHORIZATION process, and PAM in another. Returns when
 * both are gone: END_GRANTED, and this process is the identity's user for ever, else how it ended.
 */
enum session_end auth_session(const struct auth *auth,
    enum session_end (*authorization)(void *context, int pam), void *context,
    struct identity *identity);

/* Asks PAM, from AUTHORIZATION; wipes the password. VERDICT_UNAVAILABLE if PAM does not answer. */
enum verdict auth_ask(int pam, struct login *login);

/*
 * Fences for ever. AUTHORIZATION keeps its descriptors and a handful of system calls, TRANSACTION
 * the Maildir that directory is (-1: nothing) and the calls that serving it takes. Crossing one is
 * logged and ends the process; a layer that the kernel lacks is logged.
 */
void confine_authorization(int pam);
void confine_transaction(int directory);

/* The check (-c): one call a row; "ok", "warn", "fail" or "skip", its layer, lines of words. */
typedef void (*check_row)(void *context, const char *state, const char *what, const char *format,
    ...) __attribute__((format(printf, 4, 5)));

/* The rows of the process and the log. */
void auth_check_process(const struct auth *auth, check_row row, void *context);

/* How a login is taken apart; true, with login and identity, if it could succeed. */
bool auth_check_login(const struct auth *auth, const char *typed, struct login *login,
    struct identity *identity, check_row row, void *context);

/* PAM's files and modules and, unless NULL, what its rules say to a login. Loads modules. */
void auth_check_pam(const struct auth *auth, struct login *login, check_row row, void *context);

/*
 * Runs part(context) in a process of its own, for two minutes at most; unless client is NULL, on a
 * socket of which that is the other end. apart_end() is its exit status, -1 if it has none.
 */
pid_t apart_start(int (*part)(void *context), void *context, int *client);
int apart_end(pid_t child);

/* syslog, facility mail; with to_stderr on descriptor 2 also. */
void log_open(bool to_stderr);

/*
 * One line, "EVENT, user=USER, ip=[ADDRESS], NAME=VALUE, ...", of pairs of strings up to a NULL
 * name. user or address NULL: the event has none. Values are cut, and escaped: nothing outside
 * [A-Za-z0-9._@+-/] as it is; but the address, which comes from peer_set_address().
 */
void log_event(int priority, const char *event, const char *user, const char *address, ...)
    __attribute__((sentinel));

const char *error_name(int error);                      /* symbolic: "EACCES" */

/* Unless it is, logs what is not done, with errno if set, and ends the process with END_FAULT. */
void must(bool is_done, const char *what);

/* Inside auth/ from here on */

/* Loads libpam, for good; NULL, or why it cannot be. Due before what follows. */
const char *auth_load_pam(void);

/* What the account rules of a service, or else its auth rules, say against a login, or NULL. */
const char *auth_ask_rules(const struct auth *auth, struct login *login, bool are_account);

/* A user's hash, or NULL if none is seen. From then on the process has seen the shadow file. */
const char *auth_hash(const struct auth *auth, const char *user);

/* Why a login must fail whatever its password, or "" and its identity. */
const char *auth_foresee(const struct auth *auth, const struct login *login,
    struct identity *identity);

void log_leave_standard(int first);     /* first to 2 become /dev/null; the log keeps a copy of 2 */
void log_leave(void);                   /* closes the log in this process */
void log_own_again(void);               /* after strangers' code that may have used syslog(3) */
void log_close_others(int keep);        /* all but descriptors 0, 1, 2, the log's and keep (or -1) */
void log_violation(const char *process, int call);      /* the system call it was made to try */

/*
 * Becomes the mail user for ever, proves it, and closes every descriptor but 0, 1, 2 and the
 * log's. Without root only proves that it is that user.
 */
void become_user(const struct identity *identity);

/* AUTHORIZATION leaves root, the file system, the log and all descriptors but 0, 1, 2 and pam. */
void become_powerless(uid_t uid, gid_t gid, int pam);

/* An account's numbers, 0 and false if it is unknown; errno then as getpwnam(3) leaves it. */
bool find_account(const char *name, uid_t *uid, gid_t *gid);

/* The PAM helper. Answers logins until one is granted. */
_Noreturn void pam_helper(const struct auth *auth, int logins, int identities);

/* Whether an array that came from another process holds a string. */
#define IS_STRING(array) (memchr((array), '\0', sizeof(array)) != NULL)

/* The kernel ends this process then, whatever has become of its code. */
void die_after(unsigned seconds);

/* One whole message, as write(2) and recv(2), but not interrupted; false if it did not go. */
bool channel_send(int channel, const void *message, size_t size);
ssize_t channel_receive(int channel, void *message, size_t size, int flags);

#endif
