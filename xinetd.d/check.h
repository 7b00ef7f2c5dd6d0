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
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>

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

/* addresses.c: addresses, and those of this machine. */
enum { ADDRESSES_MAX = 48, NETWORK_SIZE = INET6_ADDRSTRLEN + 4 };

struct address {
        int family;
        unsigned char octets[16];       /* of IPv4 the first four */
        char text[INET6_ADDRSTRLEN];
        unsigned network;               /* of this machine's: how many bits name the network */
        bool is_loopback, is_private;
};

struct addresses {
        size_t count;
        struct address address[ADDRESSES_MAX];
};

/*
 * The addresses under which this machine can be reached; of 127.0.0.0/8 only 127.0.0.1, and none
 * that is known on one link alone.
 */
void addresses_read(struct addresses *own);

/* False if it is of another family; IPv4 in IPv6 becomes IPv4. */
bool address_take(struct address *address, const struct sockaddr *given);

bool address_read(struct address *address, const char *text);   /* false: that is none */

/* The same for connect(2) and the like; returns its size. */
socklen_t address_give(const struct address *address, unsigned port, struct sockaddr_storage *out);

/* The network that it is of: "192.0.2.0/24"; of one that is alone itself. */
const char *address_network(const struct address *address, char network[NETWORK_SIZE]);

bool address_is(const struct address *one, const struct address *other);
bool addresses_have(const struct addresses *own, const struct address *address);
bool addresses_have_name(const struct addresses *own, const char *name);       /* or an address as text */

/* Whether it is of a network that one of this machine's addresses is of. */
bool addresses_are_near(const struct addresses *own, const struct address *other);

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
        bool serves_one;                /* the next connection is its last, or the only one at a time */
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
        struct addresses own;           /* of this machine */
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

/* How a launcher is made to read its configuration again, in words for a remedy. */
const char *restart_words(const struct entry *entry, char words[VALUE_SIZE]);

/* The entry that is on and listens on this Unix socket, or NULL. */
const struct entry *entry_of_socket(const struct entries *entries, const char *path);

/* entry_rows.c: a row for each entry, and one where no entry does TLS. */
void entries_check(struct entries *entries);

/* ports.c: who listens. */
enum { LISTENERS_MAX = 48, ORDINARY_UID = 1000, NOBODY_UID = 65534 };   /* from 1000 on uids are people's */

struct listener {
        unsigned port;
        int family;
        uint32_t address[4];            /* one word or four, as in a socket address */
        char text[INET6_ADDRSTRLEN];    /* the same to be read */
        unsigned uid;                   /* who made its socket, whatever its process says of itself */
        unsigned long inode;            /* of its socket */
        int pid;                        /* the process that holds it; 0: none is seen */
        char name[64];                  /* of that process, or words in its place */
        char state;                     /* of it, as in /proc: 'T' is stopped */
};

/* Calls found for each socket that listens on TCP, in both families. No process is known yet. */
void listeners_read(void (*found)(void *context, const struct listener *listener), void *context);

/* The process that holds the socket, and its name; 0 if none is seen. */
int listener_holder(const struct listener *listener, char name[64]);

struct listeners {
        bool (*is_wanted)(const void *context, unsigned port);
        const void *context;
        size_t count;
        struct listener listener[LISTENERS_MAX];
};

/* Takes those that listen on a port that is_wanted, with their processes. */
void listeners_take(struct listeners *all);

bool listener_is_wild(const struct listener *listener); /* it listens on all addresses */

int64_t milliseconds_now(void);         /* of a clock that only goes on */

/* doors.c: an address and a port that a client may come to. */
enum { HEARD_SIZE = 128, REFUSED_SIZE = 512, DOORS_MAX = 96, PATIENCE_MILLISECONDS = 4000, SECOND_MILLISECONDS = 1000 };

/* How a client begins. */
enum manner { IN_CLEAR_TEXT, WITH_PROXY, WITH_TLS, WITH_PROXY_AND_TLS };

/* What came of it. CLOSED: connected, and then closed without a word; SILENT: not even that. */
enum outcome { UNDECIDED, NOT_CONNECTED, CLOSED, SILENT, HEARD };

struct door {
        struct address address;
        unsigned port;
        enum manner manner;
        enum outcome outcome;
        int error;                      /* of connect(2), or of what came then; 0: there is none */
        bool speaks_tls;                /* what was heard is TLS */
        char heard[HEARD_SIZE];         /* its first line */
        char refused_by[REFUSED_SIZE];  /* what turns this address away, in words of its entry; or "" */
        /* while it is tried: */
        int fd;
        bool has_connected;
        size_t used;
};

/* Connects to all of them at once, and hears what each says first, for so long at most. */
void doors_try(struct door *doors, size_t count, unsigned milliseconds);

/* certificate.c: what the openssl command says of a certificate. */
enum { PEM_SIZE = 8192, CERTIFICATE_NAMES = 16 };

struct certificate {
        char pem[PEM_SIZE];             /* the block that it is */
        char subject[256], issuer[256], signature[64];  /* signature: how it is signed */
        char key[PEM_SIZE];             /* its public key, in PEM */
        bool is_rsa;
        unsigned bits;                  /* of the key */
        bool has_no_names;              /* but the subject's, CN, which clients do not take any more */
        bool is_for_servers;            /* or says nothing of what it is for */
        bool is_public;                 /* it names where its issuer's can be fetched */
        time_t from, until;
        size_t name_count;
        char name[CERTIFICATE_NAMES][128];      /* hosts and addresses that it is for */
};

/*
 * CERTIFICATE_UNSEEN: openssl is not there, or not done in time. CERTIFICATE_WRONG: it cannot be
 * read. CERTIFICATE_OTHER: it is read, and of another key.
 */
enum certificate_state { CERTIFICATE_READ, CERTIFICATE_UNSEEN, CERTIFICATE_WRONG, CERTIFICATE_OTHER };

/* Cuts the first block of this kind ("CERTIFICATE") out of a text; false if there is none. */
bool pem_cut(const char *text, const char *what, char out[PEM_SIZE]);

/* Reads the first certificate of a text. */
enum certificate_state certificate_read(struct certificate *certificate, const char *text);

/* Whether a text has the private key of a certificate that was read. */
enum certificate_state certificate_fits(const struct certificate *certificate,
    const char *private_key);

/* tls.c: what a client meets inside TLS at a port. */
enum { TLS_MAX = 6 };

struct tls {
        unsigned port;
        const struct door *door;        /* the one that was tried */
        bool is_stls;                   /* in clear text first, then STLS */
        bool has_openssl;               /* else nothing below is known */
        bool is_done;                   /* TLS was agreed on */
        char version[16];               /* "TLSv1.3" */
        char reason[128];               /* why it was not, or was broken off: "certificate required" */
        bool takes_older;               /* TLS 1.2 as well */
        bool is_late;                   /* it hangs */
        char heard[HEARD_SIZE];         /* the greeting in TLS, or "" */
        bool takes_passwords;           /* says CAPA there */
        int verify;                     /* X509_V_OK, or what is wrong with the chain, for openssl */
        unsigned sent;                  /* how many certificates were sent */
        bool is_ordered;                /* each is followed by its issuer's */
        char last_issuer[256];          /* of the last one that was sent */
        char expired[256];              /* the first one behind the server's own that has expired, or "" */
        enum certificate_state state;   /* of the first one: */
        struct certificate certificate;
};

/* Fills in survey->tls for each port that speaks TLS or has STLS. */
struct survey;
void tls_look(struct survey *survey);

/* survey.c: what is known of the machine. */
enum { PORTS_MAX = 32 };

struct survey {
        struct report *report;
        struct entries entries;
        const struct entry *ours;       /* what starts us, if anything does */
        struct listeners listeners;
        size_t port_count, door_count;
        unsigned port[PORTS_MAX];       /* those of POP3 and of the entries, ascending */
        struct door door[DOORS_MAX];
        size_t tls_count;
        struct tls tls[TLS_MAX];
};

/* Finds out all of it but the entries, which have been read. */
void survey_machine(struct survey *survey);

/* Whether clients begin with TLS at once on this port. */
bool port_begins_with_tls(const struct survey *survey, unsigned port);

/* Whether somebody listens where this door is. */
bool door_is_covered(const struct survey *survey, const struct door *door);

/* Whether a client elsewhere finds somebody at this port, over this family (0: over either). */
bool port_is_open(const struct survey *survey, unsigned port, int family);

/* port_rows.c: the rows of ports. */
void ports_check(struct survey *survey);

/* reach_rows.c: the rows of whom a port does not reach. */

/* A port while its rows are made. */
struct port {
        struct survey *survey;
        unsigned number;
        const struct entry *entry;      /* which listens on it, or NULL */
        const struct entry *before;     /* which connects to it, or NULL */
        bool is_foreign;                /* none of its listeners is known to lead to pop3d */
        bool greets;                    /* as we do, at one door at least, through TLS or not */
};

/* Prints a row of the port's. */
void port_row(const struct port *port, const char *state, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Nobody listens on a port that something is set to use, or that is POP3's. */
void nobody_check(const struct port *port);

/* Somebody listens, but not for clients of one family, or of no other machine. */
void reach_check(const struct port *port);

/*
 * Whether the port's sockets on :: take IPv6 alone: no door of IPv4 lets anybody in, and one of IPv6
 * does. (A firewall that rejects looks alike, but does so over both.)
 */
bool port_refuses_four(const struct survey *survey, unsigned port);

/* tls_rows.c: the rows of what was met inside TLS. */
void tls_check(struct survey *survey);

/* certificate_rows.c: the rows of a certificate's own faults. where: of which it is told. */
void certificate_check(struct report *report, const struct certificate *certificate,
    const char *where, const char *remedy);

enum { DATE_SIZE = 16 };
const char *date_words(time_t when, char date[DATE_SIZE]);      /* "2026-11-30" */

/* certificate_files.c: the rows of the certificates and keys that entries name. */
void certificate_files_check(struct survey *survey);

/* Where the certificate of a certificate's issuer is: not known, beside it in *path, or there and a root's. */
enum issuer { ISSUER_IS_UNKNOWN, ISSUER_IS_BESIDE, ISSUER_IS_ROOT };
enum issuer certificate_issuer(const struct entry *entry, const struct certificate *certificate,
    char path[PATH_MAX]);

/* names.c: the rows of the names under which clients may know this machine. */
void names_check(struct survey *survey);

/* firewall_rules.c: the rules of a firewall, as nft and iptables-save write them down. */
enum { RULES_MAX = 1024, RULES_TEXT = 262144 };

/* Where packets meet a chain: on their way in, before that, elsewhere, or where a rule sends them. */
enum hook { HOOK_NONE, HOOK_INPUT, HOOK_PREROUTING, HOOK_ELSEWHERE };

struct rule {
        char table[64], chain[64];
        enum hook hook;
        bool is_policy, drops;          /* what becomes of what no rule of the chain has taken */
        unsigned handle;                /* nft's number for it */
        const char *text;
};

struct rules {
        bool is_nft, is_six;            /* who wrote them down; ip6tables */
        size_t count;
        struct rule rule[RULES_MAX];
        char whole[RULES_TEXT];         /* of nft: all lines, for its sets */
};

/* Cuts a listing into rules, whose text points into it. */
void rules_take(struct rules *rules, char *text, bool is_nft);

enum verdict_of_rule { RULE_OTHER, RULE_ACCEPTS, RULE_DROPS, RULE_REDIRECTS };

enum verdict_of_rule rule_verdict(const struct rule *rule, unsigned port);
bool rule_says(const struct rule *rule, const char *word);
bool rule_names_port(const struct rules *rules, const struct rule *rule, unsigned port);
bool rule_names_any_port(const struct rule *rule);
bool rule_is_for_all(const struct rule *rule);  /* it has no condition */
bool rule_is_of_interface(const struct rule *rule);     /* it has none but an interface, not lo, and TCP */
bool rule_leads_to(const struct rule *rule, const char *chain);
unsigned rule_target(const struct rule *rule);  /* the port of a redirection, or 0 */

/* The addresses that it is for, as they are written: "{ 192.0.2.7, ...", or NULL for all. */
const char *rule_sources(const struct rules *rules, const struct rule *rule);

/* firewall.c: starts what lists rules and bans; then their rows. */
void firewall_start(void);
void firewall_check(struct survey *survey);

/* haproxy_rows.c: the rows of what lies between HAProxy and pop3d. */
void haproxy_check(struct survey *survey);

/*
 * launchers.c: the rows of entries, ports, TLS, names and firewalls. Returns the entry that starts this pop3d,
 * or NULL; of several the one that has port 110. The strings are the check's, for good.
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
