/*
 * sweep.h - one session, disturbed at one point, over and over.
 * Runs in:   the sweep's own processes.
 * May touch: a folder of its own, the pop3d that it started.
 *
 * A point is one system call of one process of a session. The sweep lets it
 * fail, shortens it or kills there, talks to the session as a client does, and
 * judges what the client was told, what lies on disk and how the next login
 * goes.
 */
#ifndef TORTURE_SWEEP_H
#define TORTURE_SWEEP_H

#include <semaphore.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum {
        PATH_SIZE = 512,
        WHY_SIZE = 240,
        MESSAGES_MAX = 8,
        SYSTEM_CALLS = 512,     /* numbers below this are counted */
};

/* Who makes a system call. The parent is TRANSACTION from the change of its uid on. */
enum role { ROLE_PARENT, ROLE_AUTHORIZATION, ROLE_PAM, ROLE_TRANSACTION, ROLE_OTHER, ROLES };
extern const char *const role_names[ROLES];

enum injection {
        INJECT_NOTHING,
        INJECT_ERROR,           /* value is the errno */
        INJECT_SHORT,           /* value is how many octets at most */
        INJECT_END,             /* a read finds the end of the file */
        INJECT_KILL_BEFORE,
        INJECT_KILL_AFTER,
        INJECT_KILL_PARENT,     /* pop3d itself dies when a helper makes this call */
        INJECT_ALLOCATION,      /* the n-th allocation fails */
        INJECT_ALLOCATIONS,     /* it and all that follow */
};

struct point {
        uint32_t situation;
        uint32_t role;
        uint32_t call;
        uint32_t occurrence;    /* from 1 */
        uint32_t injection;
        int32_t value;
        uint32_t second_call;   /* the next one of these fails as well; 0: none does */
        int32_t second_value;   /* its errno */
};

/* Kinds of file systems, by what they answer TRANSACTION all the time. */
enum file_system {
        FILES_PLAIN,
        FILES_NO_FLAGS,         /* renameat2 knows no flag: EINVAL */
        FILES_NO_LOCKS,         /* a directory cannot be locked: ENOLCK */
        FILES_NO_SYNC,          /* a directory cannot be synced: EINVAL */
        FILES_ELSEWHERE,        /* what kind it is is not known: as if it were on another machine */
        FILES_NO_TYPES,         /* folders do not tell the types of files */
        FILE_SYSTEMS,
};
extern const char *const file_system_names[FILE_SYSTEMS];

/* drop.c: maildrops, and what must become of them */

struct message {
        char base[64];
        char *content;
        size_t length;
        char *wire;             /* as RETR sends it, with the closing dot */
        size_t wire_length;
        uint64_t octets;
        char id[71];
};

enum situation {
        NO_INDEX, FRESH_INDEX, ONE_DELIVERED, ALL_NEW, TAKEN_OVER, RENAMED, PIPELINED, WRONG_PASSWORD,
        SITUATIONS,
};
extern const char *const situation_names[SITUATIONS];

struct drop {
        char path[PATH_SIZE];
        enum situation situation;
        size_t count;           /* messages 0 .. count - 1 are there, in the order of delivery */
};

extern struct message messages[MESSAGES_MAX];

void messages_prepare(void);
/* Makes the maildrop anew; login builds its index where the situation wants one. */
void drop_make(struct drop *drop, uid_t uid, void (*login)(const struct drop *drop));
/* What another program does in mid-session. */
void drop_disturb(const struct drop *drop);
/* Whether the files are what they must be; sets there[]. Else false, and why. */
bool drop_judge(const struct drop *drop, const bool may_be_gone[], const bool must_be_gone[],
    bool there[], char why[WHY_SIZE]);
/* Whether somebody holds the lock: then the next login could not succeed at once. */
bool drop_is_locked(const struct drop *drop);
/* What TOP number lines sends, with the closing dot; to be freed. */
char *top_of(const struct message *message, size_t lines, size_t *length);

/* client.c: the conversation */

struct expectation {
        const struct drop *drop;
        bool may_refuse_password;       /* PAM may have been made to say no */
        bool may_be_in_use;
        bool may_miss_messages;         /* a file was made to look gone */
        /*
         * A message could not be read when it was to be counted, and its size stands for its
         * octets; or the kernel told of an end that is none. Never longer than this session.
         */
        bool may_guess_octets;
        bool may_count_less;
        bool may_miss_list;             /* another server's list was made to look gone, or empty */
};

struct conversation {
        bool is_false;          /* a reply was not true; why says which */
        bool has_hung;
        bool was_granted;
        bool was_quit_sent, was_quit_granted;
        bool may_be_marked[MESSAGES_MAX];       /* DELE was sent */
        bool is_marked[MESSAGES_MAX];           /* and granted */
        int remaining;          /* as told by a QUIT that failed, else -1 */
        char why[WHY_SIZE];
};

void converse(int fd, const struct expectation *expected, struct conversation *result);
/* A login after all: lists exactly what is there. */
bool login_again(int fd, const struct expectation *expected, const bool there[],
    char why[WHY_SIZE]);

/* trace.c: the session under ptrace */

struct counts {
        uint32_t calls[ROLES][SYSTEM_CALLS];
};

/*
 * Follows the session that begins with the stopped child main, until its last process is gone,
 * and does at point what it says, on that kind of file system. counts, if not NULL, receives the calls made. PAM does not
 * wait where it would before it refuses: that would take two seconds each time.
 * Returns whether the point was met.
 */
bool trace(pid_t main, const struct point *point, enum file_system files, struct counts *counts);

/* errors.c */

/* The errors that the manual names for a call, 0-terminated; NULL: it has none. */
const int *errors_of(long call);

/* Pairs of calls that belong together: what the second is for, when the first has failed so. */
struct pair {
        long first;
        const int *errors;      /* of the first, 0-terminated */
        long second;
};
const struct pair *pair_number(size_t number);  /* NULL behind the last */
const char *call_name(long call);
bool is_read_call(long call);
bool is_write_call(long call);

#endif
