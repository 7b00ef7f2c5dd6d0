/*
 * internal.h - what the files of maildir/ share, and nobody else sees.
 * Runs in:   the TRANSACTION process, as the mail user.
 * May touch: the Maildir it is given, and nothing else.
 *
 * The files, from the ground up; each calls only those above it in this list:
 *
 *   record.c    what a file name tells, the order of messages, memory: pure (record.h)
 *   wire.c      the form that RETR sends, and its octet count: pure
 *   template.c  where a maildrop lies: pure
 *   former.c    the lists of unique-ids that Dovecot and Courier keep: pure
 *   filesystem.c  what is known of each kind of file system
 *   lock.c      one session at a time (told at its head)
 *   open.c      opens the Maildir, its folders, and lists that others may have written
 *   folder.c    reads new/ and cur/, and tells which file is which message
 *   search.c    finds a message again that is not where it was (told at its head)
 *   index.c     the file pop3d.index
 *   older.c     the unique-ids in an index of an older format
 *   count.c     how many octets RETR will send of a message
 *   message.c   one message: opened, sent
 *   kept.c      the file pop3d.ids
 *   uniqueid.c  where a unique-id comes from (told at its head)
 *   snapshot.c  one numbered list, of what the index says and what the folders
 *               show, and when the index may be believed (told at its head)
 *   update.c    UPDATE: what is removed, moved and tidied up after QUIT
 *   maildrop.c  the other verbs of maildir.h: open, marks, close
 *   check.c     the rows of `pop3d -c`; in that program alone, as way.c, home.c and elsewhere.c
 *   command.c   the commands in them, which no user can turn against root; in that program alone
 */
#ifndef POP3D_MAILDIR_INTERNAL_H
#define POP3D_MAILDIR_INTERNAL_H

#include <errno.h>
#include <limits.h>
#include <sys/stat.h>

#include "maildir.h"
#include "record.h"

#define INDEX_NAME "pop3d.index"
#define LOCK_NAME "pop3d.lock"
#define IDS_NAME "pop3d.ids"

/* errno where the content of a file is not what it must be: a value that no file system gives. */
#define DAMAGED EILSEQ

/* The result of a system call, which is made again if a signal interrupts it. */
#define RETRY(call) __extension__ ({ \
        ssize_t result_; \
        do result_ = (call); while (result_ < 0 && errno == EINTR); \
        result_; \
})

enum {
        PIECE_SIZE = 131072,    /* octets of a message or of a folder that are read at once */
        LIST_LIMIT = 1 << 28,   /* octets of a list, which are lines of millions of messages */
        ATTEMPTS = 5,           /* how often a folder is read until it does not change meanwhile */
};

/*
 * What a folder's inode says at one moment, times in nanoseconds. ctime is part of it
 * because a program can set mtime back, but not ctime.
 */
struct stamp {
        uint64_t inode, modified, changed;
};

/* What the index begins with. The records follow, then the text. */
struct index_header {
        uint64_t magic, count, octets, text_length;
        struct stamp folders[FOLDERS];  /* all zero: the index is not to be believed unread */
        uint64_t body_checksum, header_checksum;
};

/* The wire form of one message, which is made piece by piece. */
struct wire {
        uint64_t octets;        /* so far, without the stuffed dots */
        uint64_t lines_left;    /* of the body, for TOP */
        uint64_t line_octets;   /* so far, of the line that is not at its end yet, for TOP */
        uint64_t line_returns;  /* of its first two octets, how many are CR */
        bool in_body;
        unsigned char last;     /* the octet before; a line feed before the first one */
};

/* What filesystem.c knows of a kind of file system; told there. */
struct file_system {
        uint32_t type;          /* statfs.f_type */
        char name[10];
        bool is_local, tells_changes;
};

/* index.c alone writes this, but for header.folders, which snapshot.c sets. */
struct index {
        int file;               /* pop3d.index, of which only the header was read yet; else -1 */
        int next;               /* pop3d.index.new, or /dev/null in the check (-c); else -1 */
        uint64_t written;       /* the mtime of the index that was opened, in nanoseconds */
        struct index_header header;
};

/* What search.c knows of the folders, from its last search. */
struct search {
        struct stamp stamps[FOLDERS];   /* the folders as they were then */
        time_t first_met;       /* when a search first found these stamps; CLOCK_MONOTONIC */
        time_t last_made;       /* the last search under them; 0 if it failed */
        bool is_other_list;     /* one found another list than the index, under its stamps */
        size_t guesses_left;    /* until the next search is due */
        /*
         * Files that folder.c met then, as records; a file that was renamed meanwhile is there
         * twice. Of each it tells name, folder and file_hash.
         */
        struct area strays;     /* of no message */
        struct area marked;     /* of messages marked deleted; id: the number, counted from 0 */
        struct area text;       /* the names of both */
        struct area copies;     /* sorted, of records that are not in order; id: the number */
};

/* What RETR sent of a message; all zero if it was not sent. */
struct sent {
        uint64_t size;          /* of the file when it was opened */
        uint64_t modified;      /* of the same, nanoseconds; 0: not asked, see maildrop.unasked */
        uint64_t digest;        /* of its octets, 0 if it is larger than PIECE_SIZE - 1 */
};

/* A moment by the wall clock, whose setting back shows in ahead: by how much it is so of another. */
struct moment {
        time_t seconds, ahead;
};

/* message.c alone uses this: the message that message_open() opened. */
struct reading {
        int file;
        struct record *record;
        size_t piece_length;    /* how much of its beginning lies in maildrop.piece */
        struct stat before;     /* the file as it was when it was opened */
};

struct maildrop {
        int directory, folders[FOLDERS];
        int lock;               /* pop3d.lock, where that is locked (see lock.c); else -1 */
        bool is_guest;          /* it is another's Maildir, without a lock: nothing is removed */
        const struct file_system *kind;
        uint64_t believed;      /* nanoseconds that an index is believed: -i; 0: never */
        uid_t owner;            /* of the Maildir */
        const char *part;       /* what is being read: *part of maildrop_open() */
        struct area records;    /* the messages: number n is the record n - 1 */
        struct area text;       /* their names and unique-ids */
        struct maildrop_totals totals;
        uint64_t octets_low, octets_high;       /* totals.octets, without an end at UINT64_MAX */
        uint64_t clock;         /* the file system's time when the folders were read; 0: unknown */
        struct area marks;      /* the numbers marked deleted, counted from 0, for RSET */
        struct area sent;       /* a struct sent for each message, from the first RETR on */
        struct moment unasked;  /* when the first was sent whose file was not asked about; 0: none */
        const char *id_format;  /* of the unique-ids to take over: see maildrop_open() */
        bool has_list;          /* of another server, which may still be at work: see uniqueid.c */
        int keep_error;         /* errno, if pop3d.ids lacks unique-ids because of it; else 0 */
        bool is_only_looked_at; /* by the check (-c): nothing is written */
        bool is_as_if_new;      /* by the check: nor is it read */
        bool is_in_order;       /* the records were sorted: search.c may look for a base name */
        bool is_disordered;     /* a base name changed since then */
        bool is_partly_read;    /* a folder was not read, because it bears the index's stamp */
        bool index_is_due;      /* pop3d.index lacks what snapshot.c or message.c found out */
        struct index index;
        struct search search;
        struct reading reading;
        /*
         * What was read last, of a folder or of a message; whoever reads overwrites it.
         * Between message_open() and message_send() it is the beginning of that message.
         */
        _Alignas(uint64_t) char piece[PIECE_SIZE];
};

static inline struct record *
drop_records(const struct maildrop *drop)
{
        return (struct record *)(void *)drop->records.data;
}

static inline size_t
drop_length(const struct maildrop *drop)
{
        return drop->records.used / sizeof(struct record);
}

static inline const char *
record_name(const struct maildrop *drop, const struct record *record)
{
        return drop->text.data + record->name;
}

static inline int
record_folder(const struct maildrop *drop, const struct record *record)
{
        return drop->folders[record->flags & IN_CUR];
}

static inline uint64_t
time_nanoseconds(const struct timespec *time)
{
        return (uint64_t)time->tv_sec * 1000000000 + (uint64_t)time->tv_nsec;
}

/* Whether there is an index of which only the header was read yet. */
static inline bool
index_is_unread(const struct maildrop *drop)
{
        return drop->index.file >= 0;
}

/* record.c; the rest of it is in record.h */

/* Adds to totals.octets, or takes from it. It stays at UINT64_MAX while there are more. */
void totals_add(struct maildrop *drop, uint64_t octets);
void totals_take(struct maildrop *drop, uint64_t octets);
/* former.c: a list of another server's, which is cut into strings in place. Pure. */

struct former {
        char *at, *end;         /* the part that is not read yet */
        const char *format;     /* of Dovecot's unique-ids; NULL: its default */
        bool is_courier;
        uint64_t validity;      /* of Dovecot's list: the second half of its unique-ids */
};

/* False if this is the list of neither server. */
bool former_begin(struct former *former, const char *format, char *text, size_t length);
/* The next base name, and the unique-id that goes with it; NULL at the end. */
char *former_next(struct former *former, char id[UNIQUE_ID_MAX + 1]);

/* filesystem.c: never NULL; where nothing is known, or a folder is a mount point, the kind "unknown" */
const struct file_system *file_system_of(int maildir);
/* Whether the size of a folder is, at least roughly, in proportion to what is in it. */
bool file_system_tells_sizes(int maildir);

/* Whether only its owner may open a Maildir; group's bits bound what an ACL grants, too. */
static inline bool
maildir_is_private(const struct stat *status)
{
        return (status->st_mode & (S_IRGRP | S_IROTH)) == 0;
}

/*
 * lock.c. Waits up to so many milliseconds for another session to end. Fails with EWOULDBLOCK
 * if it does not. Succeeds without any lock for a guest, and sets is_guest.
 */
int drop_lock(struct maildrop *drop, unsigned milliseconds);

/* open.c */

extern const char *const folder_parts[FOLDERS];         /* "/new", "/cur" */
/* Opens a file of any kind for reading; follows no link and waits for nobody. */
int open_file(int directory, const char *name);
/* Makes the kernel ask a file system's server again what a name is. */
void look_up_again(int directory, const char *name);
/*
 * Opens a file that another program, or another session, may have written. Fails with
 * ENOENT if it is not there, EACCES if it may not be read, EPERM if it is not to be trusted,
 * or with another error if it cannot be read now. To a guest in the Maildir of another user
 * what may not be read or trusted is not there.
 */
int open_list(const struct maildrop *drop, const char *name, struct stat *status);
/* Reads such a file, up to limit. Fails with EPERM if it has a hole, which costs memory alone. */
int list_read(int fd, const struct stat *status, size_t limit, struct area *list);
bool file_has_hole(int fd, const struct stat *status);
/* fsync(2) of a file or a folder; succeeds where the file system does not sync these at all. */
int sync_to_disk(int fd);
int folders_open(struct maildrop *drop);

/* folder.c */

int folders_stamp(const struct maildrop *drop, struct stamp stamps[FOLDERS]);
/*
 * Reads new/ and cur/. Afterwards each record whose file is there has SEEN and its
 * present name; files that no record knew are new records, FRESH and UNCOUNTED. now is
 * the file system's time before the reading, 0 if that is not known. stamps: before, those under which
 * the records are true, zero where they may not be: a folder that bears its stamp still is not read.
 * Then those of the folders, zero where a later change might leave them as they are (see snapshot.c).
 */
int folders_read(struct maildrop *drop, uint64_t now, struct stamp stamps[FOLDERS]);
/* Reads them for a search: SEEN is set anew, no record is added, and search.strays and
 * search.marked are filled. */
int folders_read_again(struct maildrop *drop, struct stamp stamps[FOLDERS]);
/* record.file_hash of a file that has this inode number and this name. */
uint32_t hash_file(uint64_t inode, const char *name);

/* search.c */

/*
 * Looks for a message that is not where it was; afterwards it has SEEN, and its present
 * place, if it is there. Others that were renamed may be found together with it.
 */
int search_message(struct maildrop *drop, struct record *record);
enum { NOT_SEARCHED = -2 };
/*
 * Opens the file of a message, under another name if it was renamed. -1: it cannot be
 * opened, or is gone (ENOENT). NOT_SEARCHED: the file was not there, and the folders
 * could not be read, so that nothing is known of the message, and SEEN tells nothing.
 */
int record_open(struct maildrop *drop, struct record *record);
/* Reads the folders in any case, and finds all messages that are there. */
int search_anew(struct maildrop *drop);
/* Whether the last search met a file of this base name that is not known to be a message. */
bool search_has_stray(const struct maildrop *drop, const struct record *record);
/* Whether a file of this status and this name has the inode number of the record. */
bool is_file_of(const struct record *record, const struct stat *status, const char *name);

/*
 * index.c. Where pop3d.index is there but cannot be read now (EMFILE, EIO), index_open()
 * and index_load() fail, because it may have unique-ids that nothing else has.
 */

/* Reads the header. Succeeds without an index, too: see index_is_unread(). */
int index_open(struct maildrop *drop);
/*
 * Reads the records and the text. Fails with DAMAGED if they are no sound index. If another
 * machine replaces the index meanwhile its new one is read, with a header of its own.
 */
int index_load(struct maildrop *drop);
/* Creates pop3d.index.new, if it can be created. */
void index_create(struct maildrop *drop);
/* When pop3d.index.new was created, by the file system's own clock; 0 without that file. */
uint64_t index_clock(const struct maildrop *drop);
/* Makes pop3d.index.new the index if index_is_due, else removes it. */
void index_write(struct maildrop *drop);
/*
 * These three are pure. The first two take what was read from the file, and leave numbers of
 * this machine; the second one also fills in what the names tell. The third one makes what
 * is to be written of header and records, with the right checksums.
 */
bool index_header_is_sound(struct index_header *header, uint64_t file_size);
bool index_body_is_sound(const struct index_header *header, struct record *records,
    const char *text);
void index_seal(struct index_header *header, struct record *records, const char *text);

/* count.c */

/*
 * Counts a message. One that cannot be read stays UNCOUNTED, and gets the size of its
 * file. -1: it is not known whether it can be read.
 */
int record_count(struct maildrop *drop, struct record *record);
/* Counts an open file of this size from its beginning to its end. False if it cannot be read. */
bool count_octets(struct maildrop *drop, int fd, uint64_t size, uint64_t *octets);
/*
 * Whether a file of this size can make that many octets in wire form: each octet may be a
 * line feed that becomes two, and a last line end may be added.
 */
bool count_is_possible(uint64_t size, uint64_t octets);
/*
 * Whether what was counted of an open file, which before describes, will be right in the next session,
 * so far as one can know: it was not changed as late as the folders were read, nor is it being
 * written. That is not asked about files that have not changed for long, because most are such.
 */
bool count_is_settled(const struct maildrop *drop, int fd, const struct stat *before);

/* message.c */

/*
 * Whether a message was not sent, or what was sent is what the file of this name and status
 * has: by its size and time, else by its octets.
 */
bool record_fits(struct maildrop *drop, const struct record *record, int folder, const char *name,
    const struct stat *status);
/* Whether another message has the same base name. */
bool record_has_namesake(const struct maildrop *drop, const struct record *record);

/* older.c */

struct older {
        struct area file;
        const char *text;       /* NULL: there is no older index */
        const char *at;         /* the next record */
};
/* Reads pop3d.index if its format is an older one. Fails if there is no memory. */
int older_open(const struct maildrop *drop, struct older *older);
/* The next message: base_length, delivered, file_hash and id_length of record. False at the end. */
bool older_next(struct older *older, struct record *record, const char **name, const char **id);

/* kept.c */

struct kept {
        struct area text;       /* pop3d.ids, cut into strings in place */
        struct area slots;      /* a hash table of its lines */
        size_t lines;
        bool is_new, is_torn;   /* the file is not there yet; its last line was cut off */
        struct area added;      /* lines that will be written */
};
/* Reads pop3d.ids. Fails as open_list() does, except that there need not be one. */
int kept_load(struct maildrop *drop, struct kept *kept);
/* Cuts text into lines, and makes the table of those that are sound. Fails if there is no memory. */
int kept_cut(struct kept *kept);
/* Whether pop3d.ids is there, and was changed after the index that was opened. */
bool kept_is_later(const struct maildrop *drop);
/* Whether pop3d.ids may lack what the index has: it is not there, or is the later one of the two. */
bool kept_is_doubtful(const struct maildrop *drop);
void kept_free(struct kept *kept);
/* Says that a known message, which has namesakes, has its unique-id: none of them is given that. */
void kept_give(const struct maildrop *drop, const struct kept *kept, const struct record *record);
/*
 * The unique-id that pop3d.ids has for a message, or NULL. Its namesakes are told by content; of
 * several lines for one content each is given once.
 */
const char *kept_find(struct maildrop *drop, const struct kept *kept, struct record *record,
    bool has_namesake);
/* Adds a line for a message that has none. Fails if there is no memory. */
int kept_add(struct maildrop *drop, struct kept *kept, struct record *record,
    bool has_namesake);
/* Writes what was added, so that it outlives a crash. */
int kept_save(const struct maildrop *drop, const struct kept *kept);

/* uniqueid.c */

/* Gives a unique-id to each message that has none, or has one that another has too. */
int ids_assign(struct maildrop *drop);
/* After a reading of the folders: gives each message its unique-id, and keeps it. */
int ids_settle(struct maildrop *drop, bool has_fresh);
/* After a loading of the index: sees that pop3d.ids has what it must have. */
int ids_keep(struct maildrop *drop);

/* snapshot.c */

/* A maildrop of which nothing is read yet, or NULL. index_seconds: see maildrop_open(). */
struct maildrop *drop_create(int directory, int index_seconds);
/* Whether the index, whose header was read, may be believed under these stamps. */
bool drop_believes(const struct maildrop *drop, const struct stamp stamps[FOLDERS]);
/* Fixes what the session will see, from the index alone where the index is believed. */
int drop_fix(struct maildrop *drop);
/* Loads the index, and sees that the unique-ids in it differ. Fails as index_load() does. */
int drop_load(struct maildrop *drop);
/* Puts the records in order. */
int drop_sort(struct maildrop *drop);
/* Reads the folders, and makes of them and of the records that there are one numbered list. */
int drop_read(struct maildrop *drop);

/* wire.c: pure */

void wire_begin(struct wire *wire, uint64_t body_lines);
void wire_count(struct wire *wire, const char *data, size_t length);
/* The octets of a message that ends here; the line end that it may lack is counted. */
uint64_t wire_total(const struct wire *wire);
/* How many of these octets belong to the header and to the lines that TOP asks for. */
size_t wire_extent(struct wire *wire, const char *data, size_t length);
int wire_encode(struct wire *wire, const char *data, size_t length, struct output *output);
int wire_end(struct wire *wire, struct output *output);

#endif
