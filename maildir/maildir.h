/*
 * maildir.h - the contract of maildir/: one Maildir as a POP3 maildrop.
 * Runs in:   the TRANSACTION process, as the mail user.
 * May touch: the Maildir it is given, and nothing else.
 *
 * Everything here behaves like libc: -1 or NULL and errno. It never logs,
 * never exits and never writes to the client. No file name, directory
 * entry or index octet is believed before it was checked.
 */
#ifndef POP3D_MAILDIR_H
#define POP3D_MAILDIR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { UNIQUE_ID_MAX = 70 };    /* octets of a unique-id (RFC 1939 section 7, UIDL) */

/* What a template is filled with. The strings are the caller's; domain may be "". */
struct maildir_names {
        const char *user;       /* %u */
        const char *domain;     /* %d, lower case */
        const char *mailbox;    /* %m */
        const char *home;       /* %h, and what a relative path starts from */
};

/*
 * What is wrong with a template, as a text, or NULL. It must not be empty, and each % in
 * it must be one of %u %d %m %h %%. is_virtual: all maildrops belong to one account, so
 * that the template has to tell the users apart.
 */
const char *maildir_template_problem(const char *template, bool is_virtual);

/*
 * Writes the absolute path of a maildrop. Fails with EINVAL (the template, or a name that
 * is no part of a path), ENAMETOOLONG, or EPERM: users of different domains must be told
 * apart (must_tell_domains), these names have a domain, and the template has no %d.
 */
int maildir_path(char *path, size_t size, const char *template,
    const struct maildir_names *names, bool must_tell_domains);

/*
 * Opens the Maildir's own directory, below which every later step is done. Fails
 * as open(2) does, ENOTDIR for anything but a directory.
 */
int maildir_open(const char *path);

/*
 * Whether the path names a maildrop that no mail has ever reached: nothing
 * lies there, not even a dangling link, and the folder above exists and
 * belongs to uid. Such an account is served as empty; nothing is created.
 */
bool maildir_is_not_yet_there(const char *path, uid_t uid);

struct maildrop;

/*
 * Locks the Maildir, waiting up to lock_milliseconds for another session to
 * end, and fixes what this session will see. The directory is its own from now
 * on; -1 stands for a maildrop not yet there and gives an empty one. On failure
 * *part tells where: "", "/new", "/cur" or "/pop3d.index". EWOULDBLOCK: another
 * session holds the lock.
 */
struct maildrop *maildrop_open(int directory, unsigned lock_milliseconds, const char **part);

/* Messages not marked deleted, and their wire octets together (RFC 1939, STAT). */
size_t maildrop_count(const struct maildrop *drop);
uint64_t maildrop_octets(const struct maildrop *drop);

/* How many messages there were when the session began. */
size_t maildrop_last(const struct maildrop *drop);

/* How many unique-ids were taken over from another server in this session. */
size_t maildrop_taken_over(const struct maildrop *drop);

/*
 * Makes the messages themselves known, which all below up to message_send()
 * needs; STAT of an unchanged maildrop does without. Calling it again costs
 * nothing. When it fails the session must end; ESTALE: the maildrop is not what
 * STAT was answered from, and the next session begins anew.
 */
int maildrop_load(struct maildrop *drop);

/* Whether number, counted from 1, is a message and not marked deleted. */
bool maildrop_has(const struct maildrop *drop, size_t number);

/* Wire octets of a message: what message_send() sends of all of it, unstuffed. */
uint64_t maildrop_message_octets(const struct maildrop *drop, size_t number);

/* Writes the unique-id, 1 to UNIQUE_ID_MAX octets of 0x21-0x7E; returns how many. */
size_t maildrop_unique_id(const struct maildrop *drop, size_t number, char id[UNIQUE_ID_MAX]);

/* Marks a message deleted; it is removed by maildrop_update() alone. */
void maildrop_delete(struct maildrop *drop, size_t number);

/* Takes all marks back (RFC 1939, RSET). */
void maildrop_reset(struct maildrop *drop);

/*
 * Where octets for the client gather. The caller owns it; size is at least
 * 4,096. flush empties it: 0, or -1 with errno when the client is gone.
 */
struct output {
        char *data;
        size_t used, size;
        int (*flush)(struct output *output);
};

/*
 * Opens a message and reads its beginning, so that most failures come before
 * the +OK. One at a time; message_send() must follow. ENOENT: another program
 * removed it.
 */
int message_open(struct maildrop *drop, size_t number);

/*
 * Sends the message opened last in wire form, and closes it: lines end in CRLF,
 * leading dots are stuffed, the closing "." CRLF follows. With body_lines the
 * header, the blank line and that many lines; UINT64_MAX is all of it (RFC 1939,
 * RETR and TOP), which is remembered, and corrects a count that proved wrong.
 * -1: the client must not see a closing dot, the connection is to be cut.
 */
int message_send(struct maildrop *drop, uint64_t body_lines, struct output *output);

struct maildrop_update {
        size_t marked;          /* messages marked deleted */
        size_t remaining;       /* of these, could not be removed */
        int error;              /* of the last failure: to remove one, or to sync; else 0 */
};

/*
 * Removes what is marked and syncs the folders; moves retrieved messages that
 * stay from new/ to cur/ with the S flag. A message already gone counts as
 * removed (RFC 1939 section 6).
 */
void maildrop_update(struct maildrop *drop, struct maildrop_update *result);

/* Writes the index if it got better and can be written, releases the lock, frees everything. */
void maildrop_close(struct maildrop *drop);

typedef void (*check_row)(void *context, const char *state, const char *what, const char *format,
    ...) __attribute__((format(printf, 4, 5)));

/* The rows of a maildrop (-c), as its user sees it. Nothing is written, no lock is kept. */
void maildir_check(const char *path, check_row row, void *context);

#endif
