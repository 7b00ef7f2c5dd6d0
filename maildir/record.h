/*
 * record.h - a message as memory and the index have it, and the memory that messages lie in.
 * Runs in:   whatever includes internal.h, which is the code of maildir/ in any process.
 * May touch: nothing; the contract is maildir.h.
 */
#ifndef POP3D_RECORD_H
#define POP3D_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "maildir.h"

enum { FOLDER_NEW, FOLDER_CUR, FOLDERS };

enum {
        NAME_LIMIT = 255,       /* octets of a file name, at most */
        NO_ID = 255,            /* record.id_length: there is no unique-id yet, see uniqueid.c */
};

/*
 * record.flags: the life of a message, told by who sets and who clears each flag.
 *
 *              set by                                cleared by
 *   IN_CUR     folder.c, where it meets the file     folder.c, where it meets the file in new/
 *   SEEN       folder.c, when a reading of the       folder.c, of all messages before a search;
 *              folders meets the file; search.c      snapshot.c, of a file that was replaced
 *   FRESH      folder.c: the index does not know     snapshot.c: it is a known message that
 *              the file                              was put back; uniqueid.c: pop3d.ids or
 *                                                    an older index has its unique-id
 *   UNCOUNTED  folder.c, together with FRESH: the    count.c and message.c, when it was counted or
 *              octets are a guess                    sent, unless it may still be written
 *   SHARED     snapshot.c: it is FRESH, and another  uniqueid.c, together with FRESH
 *              message has the same base name
 *   RETRIEVED  message.c, when all of it was sent:   nobody
 *              UPDATE moves it from new/ to cur/
 *   DELETED    maildrop.c, DELE                      maildrop.c, RSET
 *   REMOVED    update.c, when it removed the last    nobody: the index leaves it out
 *              name, or found it in neither folder
 *
 * index_write() keeps IN_CUR and UNCOUNTED, in the file and in memory, and clears the rest.
 * IN_CUR is 1, so that record.flags & IN_CUR is the number of the folder.
 */
enum {
        IN_CUR = FOLDER_CUR,
        DELETED = 0x02,
        RETRIEVED = 0x04,
        REMOVED = 0x08,
        SEEN = 0x10,
        FRESH = 0x20,
        SHARED = 0x40,
        UNCOUNTED = 0x80,
};

/*
 * A message, in memory as in the index. Its base name is its file name up to a colon:
 * what follows there are flags, which other programs change.
 */
struct record {
        uint64_t octets;        /* in wire form */
        uint32_t file_hash;     /* of its inode number: tells files of one base name apart */
        uint32_t name, id;      /* where these begin in the text; each ends in a NUL */
        uint32_t delivered;     /* the number that the name begins with, UINT32_MAX at most */
        uint8_t name_length, base_length;
        uint8_t id_length;      /* 0: the base name is the unique-id. NO_ID: none yet. */
        uint8_t flags;
} __attribute__((packed, aligned(4)));

/* Memory that is zero at first and grows by doubling. area_free() returns it to the system. */
struct area {
        char *data;
        size_t used, size;
};

int area_reserve(struct area *area, size_t more);
int area_append(struct area *area, const void *data, size_t size);
void area_free(struct area *area);
/* Appends octets and a NUL. *at: where they begin. Fails with EOVERFLOW beyond 4 GiB. */
int text_append(struct area *text, const char *octets, size_t length, uint32_t *at);
/* Fills in base_length and delivered, which the name tells. */
void record_describe(struct record *record, const char *name);
/* The order of delivery: negative, 0 for equal base names, or positive. */
int record_compare(const struct record *a, const char *a_text, const struct record *b,
    const char *b_text);
/* Sorts by base name, then by file_hash. spare has room for half of them. */
void records_sort(struct record *records, size_t count, struct record *spare, const char *text);
/* How many of these sorted records have the base name of wanted. *first is the first of them. */
size_t records_find(const struct area *records, const char *text, const struct record *wanted,
    const char *wanted_text, size_t *first);
/* Writes the unique-id of a record that has one, and returns its length. */
size_t record_unique_id(const struct record *record, const char *text, char id[UNIQUE_ID_MAX]);
/* Whether they obey RFC 1939: 1 to UNIQUE_ID_MAX octets of 0x21-0x7E. */
bool octets_are_id(const char *octets, size_t length);
uint64_t checksum(uint64_t sum, const void *data, size_t length);
/* Of a message of less than a piece, in memory alone. */
uint64_t digest(const char *data, size_t length);

#endif
