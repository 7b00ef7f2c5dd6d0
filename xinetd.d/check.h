/*
 * check.h - what the files of pop3d-check share: its rows, the launchers' entries, the ports.
 * Runs in:   pop3d-check alone, as root where it can.
 * May touch: the launchers' configuration and /proc, for reading; the ports, as a client.
 */
#ifndef POP3D_XINETD_CHECK_H
#define POP3D_XINETD_CHECK_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "../auth/auth.h"

enum { CHECK_OK = 0, CHECK_WARNINGS = 1, CHECK_FAULTS = 2 };    /* exit statuses */

/* rows.c: what the check has said so far. */
struct report {
        int worst;                      /* the exit status that its rows ask for */
};

/*
 * Prints a row: state ("ok", "warn", "fail" or "skip"), what was looked at, a text whose lines are
 * broken to fit 80 columns. context is the report. This is the check_row of auth.h and maildir.h.
 */
void print_row(void *context, const char *state, const char *what, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* entries.c: what the launchers' configuration says. */
enum { ENTRIES_MAX = 24, VALUE_SIZE = 256, WORDS_MAX = 64, POP3_PORT = 110, POP3S_PORT = 995 };

enum launcher { NO_LAUNCHER, XINETD, INETD, SYSTEMD, STUNNEL };

/* What an entry says of a service, whatever its launcher calls it. */
enum field { OFF, PROGRAM, ARGUMENTS, USER, WAIT, LIMIT, PORT, CONNECT, PROTOCOL, FLAGS, FIELDS };

struct entry {
        enum launcher launcher;
        char file[VALUE_SIZE], name[64], value[FIELDS][VALUE_SIZE];
        bool is_on;
        bool runs_us;                   /* its program is the pop3d beside this check */
        unsigned port;                  /* it listens on; 0: none is named */
        unsigned connects_to;           /* a port of this machine, or 0 */
        char words[VALUE_SIZE];         /* its arguments, cut into what follows */
        char *arguments[WORDS_MAX + 1]; /* as pop3d gets them, the program's name first; ends in NULL */
        struct options options;         /* what pop3d makes of them */
        const char *problem;            /* or cannot make of them, or NULL */
};

struct entries {
        struct report *report;
        struct stat self;               /* the file of the pop3d beside this check */
        bool is_any_on, is_proxied;     /* an entry is on; one that is on has -x */
        size_t count;
        struct entry entry[ENTRIES_MAX + 1];    /* the one behind the last is being read */
};

extern const char *const launcher_names[];      /* by enum launcher */

/* Reads all configuration that there is, and prints a row about each file that is not believed. */
void entries_read(struct entries *entries, struct report *report);

/* Whether a process of this name can be the entry's launcher. */
bool entry_is_by(const struct entry *entry, const char *process);

/*
 * The entry that is on and listens on the port (field PORT), or connects to it (CONNECT); NULL if
 * there is none. Of several it is the one whose launcher is the process named holder.
 */
const struct entry *entry_of_port(const struct entries *entries, unsigned port, enum field field,
    const char *holder);

/* entry_rows.c: a row for each entry, and one where no entry does TLS. */
void entries_check(const struct entries *entries);

/* ports.c: who listens, and what he says first. */
struct listener {
        unsigned port;
        int family;
        uint32_t address[4];            /* one word or four, as in a socket address */
        char text[INET6_ADDRSTRLEN];    /* the same to be read */
        unsigned long inode;            /* of its socket */
};

/* Calls found for each socket that listens on TCP, in both families. */
void listeners_read(void (*found)(void *context, const struct listener *listener), void *context);

/* The process that holds the socket, and its name; 0 if none is seen. */
int listener_holder(const struct listener *listener, char name[64]);

enum { HEARD_SIZE = 128 };

/* What whoever listens says first. With expects_proxy a PROXY header that tells nothing is sent. */
void listener_hear(const struct listener *listener, bool expects_proxy, char heard[HEARD_SIZE]);

/*
 * launchers.c: the rows of ports, behind those of the entries. Returns the entry that starts this pop3d, or
 * NULL; of several the one that has port 110. The strings are the check's, for good.
 */
const struct entry *launchers_check(struct report *report);

/*
 * session.c: the row of a session with pop3d itself, started with these arguments (argv, [0] is
 * replaced). On a terminal, and unless login is NULL, a password may be tried.
 */
void session_check(struct report *report, char **arguments, bool expects_proxy, const char *login);

#endif
