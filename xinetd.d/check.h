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
enum { ROWS_MAX = 1000 };

/* What was looked at, and how it is. It goes from process to process as a message of this size. */
struct row {
        char state[8];                  /* "ok", "warn", "fail" or "skip" */
        char what[24];
        char text[5120];                /* lines; those of the cause and the remedy say so */
};

struct report {
        int worst;                      /* the exit status that its rows ask for */
        int channel;                    /* to whom rows are sent; -1: they are kept in what follows */
        size_t count;
        struct row *rows[ROWS_MAX];
};

/* Sends a row, or keeps it; more than ROWS_MAX are not kept, but count in worst. */
void report_add(struct report *report, const struct row *row);

/* Adds all rows of another report, which must keep its own. */
void report_append(struct report *report, const struct report *other);

/*
 * The same with a text as of printf(3): what it is, then, each in a line of its own where it is
 * known, "cause: ..." and "remedy: ...". context is the report. This is the check_row of auth.h and
 * maildir.h.
 */
void print_row(void *context, const char *state, const char *what, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/*
 * Prints the sum, the rows that were kept, and the sum again: at a terminal in 80 columns, else a
 * row a line. is_quiet: only the rows that are not ok, and nothing at all if there are none.
 */
void report_print(const struct report *report, bool is_quiet);

/* stuck.c: a row for each session that was killed and does not end. */
void stuck_check(struct report *report);

/* parts.c: a part of the check. */

/* Sets signals: those by which the administrator ends it end the part that is running, and its row. */
void parts_begin(void);
bool parts_are_interrupted(void);

enum { PART_MESSAGE_MAX = 32768 };       /* octets of a row or a result, and a NUL behind */

struct part {
        const char *name;               /* of the row that says that it did not come to its end */
        bool is_of_one_name;            /* all its rows have this name, whatever it says */
        unsigned seconds;               /* in which it must end */
        const char *asks;               /* who may be slow to answer it */
        void (*look)(struct report *report, void *context);     /* adds to the report */
        void *result;                   /* what it leaves here is here when it has ended; or NULL */
        size_t result_size;
};

/*
 * Runs a part in a process of its own without a terminal, and takes over its rows. Returns how bad
 * the worst of them is. Once the check was interrupted it runs none.
 */
int part_run(struct report *report, const struct part *part, void *context);

/*
 * Starts a program whose descriptors 0 and 1 are one end of a socket; *socket is the other. It ends
 * after a minute at most. -1: it could not be started; *socket is then -1.
 */
pid_t program_start(const char *path, char *const arguments[], int *socket);

/*
 * Waits for a program to end, after killing it unless it is_waited_for. Its exit status, or -1; 127
 * if there was no such program.
 */
int program_end(pid_t program, bool is_waited_for);

/* entries.c, and a file for each launcher: what the launchers' configuration says. */
enum { ENTRIES_MAX = 32, VALUE_SIZE = 1024, NAME_SIZE = 64, WORDS_MAX = 64, TROUBLES_MAX = 8,
        POP3_PORT = 110, POP3S_PORT = 995 };

/* COMMAND: a process that listens by its command line (tcpserver, tcpsvd, socat and the like). */
enum launcher { NO_LAUNCHER, XINETD, INETD, SYSTEMD, STUNNEL, HAPROXY, COMMAND };

/* What an entry says of a service, whatever its launcher calls it. */
enum field { PROGRAM, ARGUMENTS, USER, WAIT, LIMIT, PORT, CONNECT, PROTOCOL, FLAGS, FIELDS };

/* A word of a launcher's file, as "only_from", and its value. */
struct word {
        char name[NAME_SIZE], *value;
};

/* What is wrong with an entry. */
struct trouble {
        const char *state;              /* "fail" or "warn" */
        char text[VALUE_SIZE];          /* "\ncause: ...\nremedy: ..." */
};

struct entry {
        enum launcher launcher;
        char file[VALUE_SIZE], name[NAME_SIZE], value[FIELDS][VALUE_SIZE];
        struct word *words;             /* all that its file says for it; entry_word() finds them */
        size_t word_count;
        bool is_on;
        bool is_stray;                  /* in a file that its launcher does not read */
        char off[VALUE_SIZE];           /* why it is off: "\ncause: ...\nremedy: ..." */
        bool runs_us;                   /* the pop3d beside this check is what it starts in the end */
        bool runs_script;               /* by a script, whose arguments for pop3d are not known */
        unsigned port;                  /* it listens on; 0: none is named, or a Unix socket */
        char address[NAME_SIZE];        /* the address of this machine that it listens on; "": all */
        char socket[VALUE_SIZE];        /* the Unix socket that it listens on, or "" */
        unsigned connects_to;           /* a port of this machine, or 0 */
        char connects_socket[VALUE_SIZE];       /* a Unix socket, or "" */
        int pid;                        /* the process, if the entry is its command line, or 0 */
        char *arguments[WORDS_MAX + 1]; /* as pop3d gets them, the program's name first; ends in NULL */
        size_t argument_count;
        struct options options;         /* what pop3d makes of them */
        const char *problem;            /* or cannot make of them, or NULL */
        struct trouble trouble[TROUBLES_MAX];
        size_t trouble_count;
        bool cannot_listen;             /* something of this keeps its launcher from listening */
};

struct entries {
        struct report *report;
        struct stat self;               /* the file of the pop3d beside this check */
        bool is_any_on, is_proxied;     /* an entry is on; one that is on has -x */
        bool is_running[COMMAND + 1];   /* a process of the launcher is there */
        bool xinetd_reads_inetd;        /* xinetd was started with -inetd_compat */
        size_t count;
        struct entry entry[ENTRIES_MAX + 1];    /* the one behind the last is being read */
};

extern const char *const launcher_names[];      /* by enum launcher */

/* Reads all configuration that there is, and prints a row about each file that is not believed. */
void entries_read(struct entries *entries, struct report *report);

/*
 * The value that counts for this entry of a word of its files (what they say for all, then its
 * section); NULL if it is not there. Words of stunnel's are found in any case. Of HAProxy's those
 * of the bind line stand as they are, those of the backend's first server behind "server.".
 */
const char *entry_word(const struct entry *entry, const char *name);

/* Whether a process of this name can be the entry's launcher. */
bool entry_is_by(const struct entries *entries, const struct entry *entry, const char *process);

/*
 * The entry that is on and listens on the port (field PORT), or connects to it (CONNECT); NULL if
 * there is none. Of several it is the one whose launcher is the process named holder.
 */
const struct entry *entry_of_port(const struct entries *entries, unsigned port, enum field field,
    const char *holder);

/* The entry that is on and listens on this Unix socket, or NULL. */
const struct entry *entry_of_socket(const struct entries *entries, const char *path);

/* entry_rows.c: a row for each entry, and one where no entry does TLS. */
void entries_check(struct entries *entries);

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

/* session.c: what a session with pop3d itself is tried with. */
struct trial {
        char **arguments;               /* pop3d's argv; [0] is replaced */
        bool expects_proxy;             /* they have -x */
        bool is_told;                   /* the dialogue is shown also if it is as it should be */
        const char *login;              /* or NULL */
        char password[PASSWORD_MAX + 1];        /* "": none is tried */
};

/*
 * Takes the password to try from the terminal that standard input is, where just Enter means none;
 * or a line that is already waiting there. It is never waited for elsewhere.
 */
void trial_ask_password(struct trial *trial);

/* The row of that session. */
void session_check(struct report *report, const struct trial *trial);

#endif
