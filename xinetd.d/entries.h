/*
 * entries.h - how the readers of the launchers' files build entries; check.h is what others see.
 * Runs in:   pop3d-check alone, as root where it can.
 * May touch: the launchers' configuration and /proc, for reading.
 */
#ifndef POP3D_XINETD_ENTRIES_H
#define POP3D_XINETD_ENTRIES_H

#include "check.h"

/* ---- entry.c: one entry ---------------------------------------------------------------- */

/* "=", "+=", "-=", "=" where the first one counts, and one word more of the same name. */
enum change { SET, ADD, REMOVE, SET_ONCE, LIST };

/* Empties the entry behind the last one, which is now being read. */
struct entry *entry_begin(struct entries *entries, enum launcher launcher, const char *file,
    const char *name);

/*
 * The entry is complete: what its program is and what pop3d makes of its arguments is found out.
 * Kept if it has to do with POP3; then the next one can begin. Returns it, or NULL.
 */
struct entry *entry_end(struct entries *entries);

/* A word of its file with its value. */
void entry_set(struct entry *entry, enum change change, const char *name, const char *value);

/* Copies the value of the word, if it is there, to the field. */
void entry_take(struct entry *entry, enum field field, const char *name);

/* Takes over all words of another, as those that a file says for all its entries. */
void entry_inherit(struct entry *entry, const struct entry *other);

/* The next argument of its program; the first is the program's name. */
void entry_argument(struct entry *entry, const char *argument);

/* Cuts the field ARGUMENTS at blanks. Quotes are obeyed where has_quotes. */
void entry_arguments(struct entry *entry, bool has_quotes);

/* It is off, and why: "\ncause: ...\nremedy: ...". The first reason counts. */
void entry_switch_off(struct entry *entry, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Something is wrong with it: state "fail" or "warn", and "\ncause: ...\nremedy: ...". */
void entry_trouble(struct entry *entry, const char *state, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The same of a fault because of which its launcher does not listen at all. */
void entry_refused(struct entry *entry, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* What it listens on: "110", "pop3", "127.0.0.1:1110", "[::]:110", ":::995", "/run/socket". */
void entry_listens_on(struct entry *entry, const char *text);

/* Tells of a service name pop3 or pop3s that /etc/services gives another port than clients come to. */
void entry_find_moved_port(struct entry *entry, const char *service);

/* The address of this machine that it listens on; "0.0.0.0", "::", "*" are all of them. */
void entry_listens_at(struct entry *entry, const char *address);

/* What it connects to, written in the same ways. Other machines are no matter. */
void entry_connects_to(const struct entries *entries, struct entry *entry, const char *text);

/* Whether there is an account of this name; a number is taken for one. Then its uid. */
bool account_uid(const char *name, uid_t *uid);

/* The port of a number or of a name in /etc/services, 0 if there is none. */
unsigned service_port(const char *name);

/* The last part of a path. */
const char *base_name(const char *path);

/* ---- sources.c: files that root believes, and processes of its own ----------------------- */

/* Called with each line of a file, without blanks at its end, and its number from 1. */
typedef void take_line(void *context, char *line, unsigned number);

/*
 * Reads a file line by line. False if it is not there. A file that others than root may write is
 * not read, and a row says so.
 */
bool file_read(const struct entries *entries, const char *path, take_line *take, void *context);

/* Whether a line of the file ends in CR LF, as lines do that were written on Windows. */
bool file_has_returns(const char *path);

/* Whether it begins with a byte order mark, which file_read() leaves out, and launchers may not. */
bool file_has_mark(const char *path);

struct process {
        int pid;
        char name[NAME_SIZE];           /* as the kernel has it */
        char *words[WORDS_MAX + 1];     /* its command line, ends in NULL */
        size_t count;
};

/* Called with each process of root's, of a system account, or of who runs this check. */
void processes_read(void (*found)(void *context, const struct process *process), void *context);

/* ---- ports.c ---------------------------------------------------------------------------- */

/* Who listens on a port: the process and its name, or 0 and "". */
struct holder {
        int pid;
        char name[64];
};

void find_holder(unsigned port, struct holder *holder);

/* ---- A reader for each launcher, in a file of its name ----------------------------------- */

void xinetd_read(struct entries *entries);
void inetd_read(struct entries *entries);
void systemd_read(struct entries *entries);
/* stunnel_start.c: what keeps it from starting, where nobody listens. */
void stunnel_find_bars(struct entry *entry);

void stunnel_read(struct entries *entries);
void haproxy_read(struct entries *entries);
void commands_read(struct entries *entries);

#endif
