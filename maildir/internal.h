/*
 * internal.h - what the files of maildir/ share, and nobody else sees.
 * Runs in:   the TRANSACTION process, as the mail user.
 * May touch: the Maildir it is given, and nothing else.
 */
#ifndef POP3D_MAILDIR_INTERNAL_H
#define POP3D_MAILDIR_INTERNAL_H

#include <errno.h>
#include <sys/stat.h>

#include "maildir.h"

#define INDEX_NAME "pop3d.index"

/* In a file that is to be fast: better small. */
#define RARE __attribute__((cold))

/* The result of a system call that no signal ended. */
#define RETRY(call) __extension__ ({ \
        ssize_t result_; \
        do result_ = (call); while (result_ < 0 && errno == EINTR); \
        result_; \
})

enum { FOLDER_NEW, FOLDER_CUR, FOLDERS };

enum {
        PIECE_SIZE = 131072,    /* what is read of a message or a folder at once */
        NAME_LIMIT = 255,       /* octets of a file name */
        NO_ID = 255,            /* record.id_length of a base name that can be no unique-id */
        ATTEMPTS = 5,           /* to see a folder at rest */
};

/* record.flags; only the first, which is the folder's number, and the last are kept in the index. */
enum {
        IN_CUR = FOLDER_CUR,
        DELETED = 0x02,
        RETRIEVED = 0x04,
        REMOVED = 0x08,         /* no longer in its folder */
        SEEN = 0x10,            /* met when the folders were last read */
        FRESH = 0x20,           /* not known from the index, its unique-id not settled */
        SHARED = 0x40,          /* fresh, and another message has the same base name */
        UNCOUNTED = 0x80,       /* the octets are a guess */
};

/* A message, in memory as in the index. The base name, up to a colon, outlives flags. */
struct record {
        uint64_t octets;
        uint32_t inode;         /* 32 bits made of it: files of one base name are told apart */
        uint32_t name, id;      /* where in the text; a NUL follows each */
        uint32_t delivered;     /* the number the name begins with, cut to 32 bits */
        uint8_t name_length, base_length, id_length;    /* no id: the base name is the unique-id */
        uint8_t flags;
} __attribute__((packed, aligned(4)));

/* A folder at one moment, times in nanoseconds. No program can set ctime back. */
struct stamp {
        uint64_t inode, modified, changed;
};

/* What the index begins with. The records follow, then the text. */
struct index_header {
        uint64_t magic, count, octets, text_length;
        struct stamp folders[FOLDERS];  /* all zero: not to be relied on */
        uint64_t body_checksum, header_checksum;
};

/* Memory that is zero at first, grows by doubling, and returns to the system. */
struct area {
        char *data;
        size_t used, size;
};

/* The wire form of one message, piece by piece. */
struct wire {
        uint64_t octets;        /* so far, stuffed dots not counted */
        uint64_t lines_left;    /* of the body, for TOP */
        uint64_t line_octets;   /* of the line begun, for TOP */
        bool in_body;
        unsigned char last;     /* the octet before; a line feed before the first */
};

struct maildrop {
        int directory, folders[FOLDERS];
        int lock;               /* a file, where the directory cannot be locked; else -1 */
        int index;              /* the index STAT is answered from, until it is read; else -1 */
        int next_index;         /* begun when the folders are read, else -1 */
        const char *part;       /* what is being read, as maildrop_open() tells it */
        bool is_better;         /* than the index on disk */
        struct index_header header;
        struct stamp searched[FOLDERS]; /* when renamed messages were last looked for */
        time_t stamped, found;  /* when these stamps were first met, and last searched under */
        uid_t owner;            /* of the Maildir */
        bool has_list;          /* of a former server, which may still be at work */
        struct area records, text;      /* text: names and unique-ids */
        size_t count, last, taken_over; /* count, octets: of messages not marked deleted */
        uint64_t octets;

        int message;            /* the message opened */
        struct record *current;
        size_t piece_length;    /* of its beginning */
        struct stat before;     /* the file when it was opened */
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

/* maildrop.c: helpers of all */
extern const char *const folder_parts[FOLDERS];         /* "/new", "/cur" */
int area_reserve(struct area *area, size_t more);
void area_free(struct area *area);
int text_append(struct area *text, const char *octets, size_t length, uint32_t *place);
/* Opens a file that may be anything; nothing is followed or waited for. */
int open_file(int directory, const char *name);
/* Opens what another program, or another session, may have written. ENOENT: nothing to be read. */
int open_list(const struct maildrop *drop, const char *name, struct stat *status);
struct maildrop *drop_begin(int directory);
int drop_open_folders(struct maildrop *drop);

/* scan.c: the snapshot, from what drop knows of the index and what is in the folders */
int drop_scan(struct maildrop *drop);
/* Finds all messages that were renamed, unless nothing changed since the last time; SEEN: it is there. */
int drop_search(struct maildrop *drop);
int drop_stamps(const struct maildrop *drop, struct stamp stamps[FOLDERS]);
/* Fills in what the name tells. */
void record_describe(struct record *record, const char *name);
/* The order of delivery; 0 for equal base names. */
int record_compare(const struct record *a, const char *a_text, const struct record *b,
    const char *b_text);

/*
 * index.c. open, load: what is there and cannot be read now is an error, for it may have unique-ids
 * that nothing else has; ESTALE when damaged. begin: the file system's time, 0 if there will be no index
 */
int index_open(struct maildrop *drop);
int index_load(struct maildrop *drop);
uint64_t index_begin(struct maildrop *drop);
void index_write(struct maildrop *drop);
uint64_t checksum(uint64_t sum, const void *data, size_t length);
/* Pure. The second also fills in what the names tell; flags are as they are kept, no others. */
bool index_header_is_sound(const struct index_header *header, uint64_t file_size);
bool index_body_is_sound(const struct index_header *header, struct record *records,
    const char *text);
bool octets_are_id(const char *octets, size_t length);

/* uniqueid.c: take over what other servers said of fresh records; give each an id of its own */
int ids_take_over(struct maildrop *drop);
int ids_settle(struct maildrop *drop);

/* A list of another server's, which is cut into strings. Pure; what is in doubt is left out. */
struct former {
        char *at, *end;
        bool is_courier;
        uint64_t validity;
};

bool former_begin(struct former *former, char *text, size_t length);
/* The next base name, and the id that the server made for it; NULL at the end. */
char *former_next(struct former *former, char id[UNIQUE_ID_MAX + 1]);

/*
 * message.c. open: wherever it is by now, else -1, or NOT_SEARCHED where the folders
 * could not be read, so that SEEN tells nothing. count: a guess, where the message
 * cannot be read
 */
enum { NOT_SEARCHED = -2 };
int record_open(struct maildrop *drop, const struct record *record);
int record_count(struct maildrop *drop, struct record *record);

/* wire.c: pure. total: what the message will have been when it ends here */
void wire_begin(struct wire *wire, uint64_t body_lines);
void wire_count(struct wire *wire, const char *data, size_t length);
uint64_t wire_total(const struct wire *wire);
/* How many of these octets belong to the header and the lines asked for. */
size_t wire_extent(struct wire *wire, const char *data, size_t length);
int wire_encode(struct wire *wire, const char *data, size_t length, struct output *output);
int wire_end(struct wire *wire, struct output *output);

#endif
