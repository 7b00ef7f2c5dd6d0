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
 * that the template has to tell the users apart, and each from the domains.
 */
const char *maildir_template_problem(const char *template, bool is_virtual);

/* Whether a valid template leads into the user's home, or to a place that the home tells. */
bool maildir_template_has_home(const char *template);

/*
 * Writes the absolute path of a maildrop. Fails with EINVAL (the template, or a name that
 * is no part of a path), ENAMETOOLONG, or EPERM: users of different domains must be told
 * apart (must_tell_domains), and these names have a domain where the template has no %d,
 * or have none where it has.
 */
int maildir_path(char *path, size_t size, const char *template,
    const struct maildir_names *names, bool must_tell_domains);

/* Formats of unique-ids (-u): what Dovecot uses if it is not told; and to take none over. */
#define ID_FORMAT_DEFAULT "%08Xu%08Xv"
#define ID_FORMAT_NONE "none"

/* What is wrong with a format of unique-ids, as a text, or NULL. NULL is a format, the default. */
const char *maildir_id_format_problem(const char *format);

/*
 * Opens the Maildir's own directory, below which every later step is done. Fails
 * as open(2) does, ENOTDIR for anything but a directory.
 */
int maildir_open(const char *path);

/*
 * The octets of memory that a session needs at most to serve this Maildir (-1: none): a fixed sum, and
 * for each octet of its folders and lists, which somebody has paid for on a disk, a fixed number.
 */
uint64_t maildir_memory(int directory);

/*
 * Whether the path names a maildrop that no mail has reached yet: nothing lies there, not
 * even a dangling link, and the folder above exists, belongs to uid, and can be written by
 * it. (One that cannot be is a home that is locked, or not mounted.) Such a maildrop is
 * served as empty, and not created. If not, errno says why.
 */
bool maildir_is_not_yet_there(const char *path, uid_t uid);

/*
 * Locks a maildrop that is not there yet, until this process ends, so that one user has one
 * session of it. Fails with EWOULDBLOCK if another still has it after so many milliseconds.
 * Where the folder above cannot be locked, it succeeds.
 */
int maildir_lock_absent(const char *path, unsigned lock_milliseconds);

/*
 * Whether a part of the path that is not there is there in another spelling: it differs in capitals
 * of ASCII alone. Then found is the path as far as that part.
 */
bool maildir_is_spelt_otherwise(const char *path, char *found, size_t size);

struct maildrop;

enum {
        INDEX_SECONDS = 3600,   /* how long an index is believed where folders tell changes */
        INDEX_SECONDS_MAX = 7 * 86400,
        INDEX_SECONDS_BY_KIND = -1,     /* INDEX_SECONDS or 0, by the kind of file system */
};

/*
 * Locks the Maildir, waiting up to lock_milliseconds for another session to end, and
 * fixes what this session will see. From now on the directory belongs to the maildrop,
 * also when this fails; -1 stands for a maildrop that is not there yet, and gives an empty
 * one. id_format, the caller's until maildrop_close(), tells what Dovecot made of its list, if
 * it was the server before: its pop3_uidl_format, or ID_FORMAT_NONE. index_seconds: how long an
 * index is believed without reading the folders, 0 to INDEX_SECONDS_MAX, or
 * INDEX_SECONDS_BY_KIND. On failure *part tells where: "", or "/new" or another file of the
 * Maildir. EWOULDBLOCK: another session holds the lock.
 */
struct maildrop *maildrop_open(int directory, const char *id_format, unsigned lock_milliseconds,
    int index_seconds, const char **part);

struct maildrop_totals {
        size_t count;           /* messages not marked deleted (RFC 1939, STAT) */
        uint64_t octets;        /* of these, in wire form */
        size_t total;           /* messages when the session began: they are numbered 1 to total */
        size_t taken_over;      /* unique-ids that this session took over from another server */
        const char *lost_index; /* why pop3d.index, which is there, was not used; or NULL */
};

/* The totals of a maildrop, always up to date. Valid until maildrop_close(). */
const struct maildrop_totals *maildrop_totals(const struct maildrop *drop);

/*
 * Makes the messages themselves known. It must be called before the functions from here to
 * message_send(); the totals of an unchanged maildrop can be had without. Calling it again
 * costs nothing. If it fails the session must end, and *part tells where, as maildrop_open()
 * does; ESTALE: the maildrop is not what the totals said, and the next session begins anew.
 */
int maildrop_load(struct maildrop *drop, const char **part);

/*
 * Whether the unique-ids that clients are told now will be told for ever. False, with errno, if
 * another server has a list that may call the messages something else by then, and ours could
 * not be kept.
 */
bool maildrop_ids_are_kept(const struct maildrop *drop);

/* Whether there is a message of this number, counted from 1, that is not marked deleted. */
bool maildrop_has(const struct maildrop *drop, size_t number);

/* The octets of a message in wire form: what message_send() sends, without stuffed dots and end. */
uint64_t maildrop_message_octets(const struct maildrop *drop, size_t number);

/* Writes the unique-id, 1 to UNIQUE_ID_MAX octets of 0x21-0x7E, without a NUL; returns how many. */
size_t maildrop_unique_id(const struct maildrop *drop, size_t number, char id[UNIQUE_ID_MAX]);

/* Marks a message deleted; it is removed by maildrop_update() alone. */
void maildrop_delete(struct maildrop *drop, size_t number);

/* Takes all marks back (RFC 1939, RSET). */
void maildrop_reset(struct maildrop *drop);

/*
 * Where octets for the client are collected. The caller owns it; size is at least 4,096.
 * flush() sends them and sets used to 0; it returns 0, or -1 with errno if the client is gone.
 */
struct output {
        char *data;
        size_t used, size;
        int (*flush)(struct output *output);
};

/*
 * Opens a message and reads its beginning, so that most failures come before the +OK. One
 * message at a time: if this succeeds, message_send() must follow. ENOENT: another program
 * removed the message.
 */
int message_open(struct maildrop *drop, size_t number);

/*
 * Sends the message that was opened, in wire form, and closes it: lines end in CRLF,
 * leading dots are stuffed, the closing "." CRLF follows. body_lines is UINT64_MAX for all
 * of it (RFC 1939, RETR): the message is then retrieved, for maildrop_update(), and its
 * octet count is corrected if it proves wrong. Else the header, the blank line and that many
 * lines are sent (TOP). -1: the message could not be sent whole, no closing dot was
 * written, and the caller must cut the connection.
 */
int message_send(struct maildrop *drop, uint64_t body_lines, struct output *output);

struct maildrop_update {
        size_t marked;          /* messages marked deleted */
        size_t remaining;       /* of these, those that could not be removed */
        int error;              /* errno of the last failure, to remove one or to sync; else 0 */
};

/*
 * Removes the messages marked deleted, under every name that they have, and syncs the
 * folders; moves those that were retrieved and stay from new/ to cur/, with the S flag. A
 * message that another program removed counts as removed (RFC 1939 section 6). One that was
 * retrieved, and has other content now, stays; error is then ESTALE.
 * Where another's Maildir may only be read, nothing is removed or moved: all that are marked
 * remain, and the error is EACCES.
 */
void maildrop_update(struct maildrop *drop, struct maildrop_update *result);

/* Writes the index if more is known than it says, releases the lock, and frees everything. */
void maildrop_close(struct maildrop *drop);

typedef void (*check_row)(void *context, const char *state, const char *what, const char *format,
    ...) __attribute__((format(printf, 4, 5)));

/*
 * Tells for the check (-c), as the maildrop's user sees it, what lies around the mail: the rights
 * on the way there, the file system, who holds the lock. No message and no list is read, nothing is
 * written, no lock is kept. by_root: root will do what the rows say. In check.c, which no session
 * needs.
 */
void maildir_check_place(const char *path, const struct maildir_names *names, int index_seconds,
    bool by_root, check_row row, void *context);

/*
 * Tells in elsewhere.c of mail that no session shows: links, and if the maildrop is empty or not
 * there mail in folders of it, in other Maildirs, in an mbox.
 */
void maildir_check_elsewhere(const char *path, const struct maildir_names *names, bool by_root,
    check_row row, void *context);

/* Whether the home of a system account is there, and its own. Else a row tells why not, and what mends it. In home.c. */
bool maildir_check_home(const char *path, const struct maildir_names *names, check_row row,
    void *context);

/*
 * Tells of the mail itself: it is read as a session reads it, and may be read behind a session's
 * fences. directory is of maildir_open().
 */
void maildir_check_mail(int directory, const char *path, const char *id_format, int index_seconds,
    check_row row, void *context);

/*
 * Tells a row for each folder, on the way that a template leads virtual users, whose name has
 * capitals, so that nobody is served from it. home is that of their account.
 */
void maildir_check_spelling(const char *template, const char *home, check_row row, void *context);

#endif
