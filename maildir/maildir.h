/*
 * maildir.h - the contract of maildir/: one Maildir as a POP3 maildrop.
 *
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

enum {
        UNIQUE_ID_MAX = 70,     /* octets of a unique-id (RFC 1939 section 7, UIDL) */
};

/* Where a maildrop lies */

/* What a template may speak of. Strings are the caller's; domain may be "". */
struct maildir_names {
        const char *user;       /* %u */
        const char *domain;     /* %d, lower case */
        const char *mailbox;    /* %m */
        const char *home;       /* %h, and what a relative result starts from */
};

/* Whether every % in the template is one of %u %d %m %h %%, and it is not empty. */
bool maildir_template_is_valid(const char *template);

/*
 * Writes the absolute path of a maildrop. Fails with EINVAL (template) or
 * ENAMETOOLONG.
 */
int maildir_path(char *path, size_t size, const char *template,
    const struct maildir_names *names);

/*
 * Opens the Maildir's own directory, close-on-exec. Every later step is done
 * below this descriptor. Fails as open(2) does, ENOTDIR for anything but a
 * directory.
 */
int maildir_open(const char *path);

/*
 * Whether the path names a maildrop that no mail has ever reached: nothing
 * lies there, not even a dangling link, and the folder above exists and
 * belongs to uid. Such an account is served as empty; nothing is created.
 */
bool maildir_is_not_yet_there(const char *path, uid_t uid);

/* The maildrop: fixed from open to close */

struct maildrop;

/*
 * Locks the Maildir, waiting up to lock_milliseconds for another session to
 * end, and fixes what this session will see. Takes ownership of directory on
 * success and on failure; -1 stands for a maildrop not yet there and gives an
 * empty one. On failure NULL with errno, and *part tells where: "", "/new" or
 * "/cur". EWOULDBLOCK: another session holds the lock.
 */
struct maildrop *maildrop_open(int directory, unsigned lock_milliseconds, const char **part);

/* Messages not marked deleted, and their wire octets together (RFC 1939, STAT). */
size_t maildrop_count(const struct maildrop *drop);
uint64_t maildrop_octets(const struct maildrop *drop);

/* How many messages, and octets, were there when the session began. */
size_t maildrop_last(const struct maildrop *drop);

/* How many unique-ids were taken over from another server in this session. */
size_t maildrop_taken_over(const struct maildrop *drop);

/*
 * Makes the messages themselves known; what is below up to message_close()
 * needs it. An unchanged maildrop is opened without it, so that its cost does
 * not grow with the number of messages. Calling it again costs nothing. Fails
 * with ESTALE when the maildrop turns out not to be what STAT was answered
 * from: the session must end; the next one begins anew.
 */
int maildrop_load(struct maildrop *drop);

/* Whether number, counted from 1, is a message and not marked deleted. */
bool maildrop_has(const struct maildrop *drop, size_t number);

/* Wire octets of a message: what message_send() sends of all of it, unstuffed. */
uint64_t maildrop_message_octets(const struct maildrop *drop, size_t number);

/*
 * Writes the unique-id, 1 to UNIQUE_ID_MAX octets of 0x21-0x7E without a
 * final NUL, and returns its length (RFC 1939 section 7, UIDL).
 */
size_t maildrop_unique_id(const struct maildrop *drop, size_t number, char id[UNIQUE_ID_MAX]);

/* Marks a message deleted; it is removed by maildrop_update() alone. */
void maildrop_delete(struct maildrop *drop, size_t number);

/* Takes all marks back (RFC 1939, RSET). */
void maildrop_reset(struct maildrop *drop);

/* Sending */

/*
 * Where octets for the client gather. The caller owns it; size is at least
 * 4,096. flush empties it: 0, or -1 with errno when the client is gone.
 */
struct output {
        char *data;
        size_t used;
        size_t size;
        int (*flush)(struct output *output);
};

/*
 * Opens a message and reads its beginning, so that most failures come before
 * the +OK. One at a time. ENOENT: another program removed it.
 */
int message_open(struct maildrop *drop, size_t number);

/*
 * Appends the message opened last to output, in wire form: lines end in CRLF,
 * leading dots are stuffed, the closing "." CRLF follows. With body_lines
 * the header, the blank line and that many lines of the body; UINT64_MAX is
 * all of it (RFC 1939, RETR and TOP). Closes the message. -1: the client must
 * not see a closing dot, the connection is to be cut. A whole message is
 * remembered as retrieved, and a count that proved wrong is corrected.
 */
int message_send(struct maildrop *drop, uint64_t body_lines, struct output *output);

/* UPDATE */

struct maildrop_update {
        size_t marked;          /* messages marked deleted */
        size_t remaining;       /* of these, could not be removed */
        int error;              /* errno of the first failure, else 0 */
        bool is_durable;        /* the removals were synced to disk */
};

/*
 * Removes what is marked and syncs the folders; moves retrieved messages that
 * stay from new/ to cur/ with the S flag. A message already gone counts as
 * removed (RFC 1939 section 6).
 */
void maildrop_update(struct maildrop *drop, struct maildrop_update *result);

/*
 * Writes the index if it got better, releases the lock, frees everything. Of
 * no consequence to any message; the index may fail to be written.
 */
void maildrop_close(struct maildrop *drop);

/* The check (-c) */

typedef void (*check_row)(void *context, const char *state, const char *what, const char *format,
    ...) __attribute__((format(printf, 4, 5)));

/* The rows of a maildrop, as its user sees it. Nothing is written; what is locked is let go. */
void maildir_check(const char *path, check_row row, void *context);

#endif
