/*
 * count.c - how many octets RETR will send of a message.
 * Runs in:   the TRANSACTION process, as the mail user.
 * May touch: the files in new/ and cur/ of the Maildir, for reading.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "internal.h"

enum { HINT_PROOF = 4096 };     /* octets that are read in any case before a name is believed */

/*
 * Nanoseconds after the last change of a file in which it is asked whether a program writes it still. To
 * ask costs a quarter of what a first count does, and who pauses for longer is found out by RETR.
 */
#define WRITING (10 * UINT64_C(1000000000))

bool
count_is_possible(uint64_t size, uint64_t octets)
{
        return octets >= size && octets - size <= size + 2;
}

/* The number behind a word such as ",W=" in the base name. False if there is none. */
static bool
name_has(const char *name, const struct record *record, const char *word, uint64_t *number)
{
        const char *at = memmem(name, record->base_length, word, 3);
        char *end;

        if (at == NULL || at[3] < '0' || at[3] > '9')
                return false;
        *number = strtoull(at + 3, &end, 10);
        return *end == ',' || end == name + record->base_length;
}

/*
 * Whether the base name announces the wire octets of the file, as Dovecot's ",S=1200,W=1234"
 * does, and nothing speaks against it: S has to be the file's size, and the line feeds near the
 * end of the file, which are looked at, have to fit W. A file of which that is all is counted
 * as well. Dovecot does not count the line end that a file lacks.
 */
static bool
name_tells_octets(struct maildrop *drop, const struct record *record, int fd, uint64_t size,
    uint64_t *octets)
{
        const char *name = record_name(drop, record);
        struct wire wire = { .last = '\r' };    /* so that a first line feed adds nothing yet */
        uint64_t told, before = size - HINT_PROOF;

        if (size <= HINT_PROOF || !name_has(name, record, ",S=", &told) || told != size ||
            !name_has(name, record, ",W=", octets) ||
            RETRY(pread(fd, drop->piece, HINT_PROOF, (off_t)before)) != HINT_PROOF)
                return false;
        wire_count(&wire, drop->piece, HINT_PROOF);
        if (*octets < before + wire.octets || *octets - before - wire.octets > before + 1)
                return false;
        *octets += wire.last != '\n' ? 2 : 0;
        return true;
}

/* Where the data go on behind a hole, which is not read: its octets are all NUL. */
static uint64_t
skip_hole(int fd)
{
        off_t here = lseek(fd, 0, SEEK_CUR), there = lseek(fd, here, SEEK_DATA);

        if (there < 0 && errno == ENXIO)
                there = lseek(fd, 0, SEEK_END);
        return there > here ? (uint64_t)(there - here) : 0;
}

bool
count_octets(struct maildrop *drop, int fd, uint64_t size, uint64_t *octets)
{
        /* that read() returns less than was asked for is not the end; where sizes are true they tell it */
        const uint64_t end = drop->kind->tells_changes ? size : UINT64_MAX;
        uint64_t at = 0;
        struct wire wire;
        ssize_t length = 0;

        wire_begin(&wire, UINT64_MAX);
        while (at < end && (length = RETRY(read(fd, drop->piece, PIECE_SIZE))) > 0) {
                wire_count(&wire, drop->piece, (size_t)length);
                at += (uint64_t)length;
                if (length == PIECE_SIZE && drop->piece[0] == '\0' &&
                    drop->piece[PIECE_SIZE - 1] == '\0') {
                        uint64_t hole = skip_hole(fd);

                        wire.octets += hole;
                        at += hole;
                }
        }
        *octets = wire_total(&wire);
        return length >= 0;
}

/*
 * Whether another program has the file open to write it: then the kernel grants no lease to read it.
 * False where that cannot be known.
 */
static bool
is_being_written(const struct maildrop *drop, int fd)
{
        if (!drop->kind->is_local)
                return false;
        if (fcntl(fd, F_SETLEASE, F_RDLCK) != 0)
                return errno == EAGAIN;
        (void)fcntl(fd, F_SETLEASE, F_UNLCK);
        return false;
}

bool
count_is_settled(const struct maildrop *drop, int fd, const struct stat *before)
{
        const uint64_t changed = time_nanoseconds(&before->st_ctim);

        return changed < drop->clock &&
            (drop->clock - changed > WRITING || !is_being_written(drop, fd));
}

/*
 * Counts an open file. If another program may still write it, the count is right for now, and the next
 * session counts again, and reads the file for it, because RETR may have corrected what the name
 * announces.
 */
static bool
count_open(struct maildrop *drop, struct record *record, int fd, uint64_t *octets)
{
        struct stat status;

        if (fstat(fd, &status) != 0)
                return false;
        if (((record->flags & FRESH) == 0 ||
            !name_tells_octets(drop, record, fd, (uint64_t)status.st_size, octets)) &&
            !count_octets(drop, fd, (uint64_t)status.st_size, octets))
                return false;
        if (count_is_settled(drop, fd, &status))
                record->flags &= (uint8_t)~UNCOUNTED;
        return true;
}

int
record_count(struct maildrop *drop, struct record *record)
{
        int fd = record_open(drop, record);
        struct stat status = { 0 };
        uint64_t octets;

        if (fd == NOT_SEARCHED ||
            (fd < 0 && (errno == ENOMEM || errno == EMFILE || errno == ENFILE)))
                return -1;
        if (fd < 0 || !count_open(drop, record, fd, &octets)) {
                /* a guess will do, because a message that cannot be read cannot be sent either */
                fstatat(record_folder(drop, record), record_name(drop, record), &status,
                    AT_SYMLINK_NOFOLLOW);
                octets = (uint64_t)status.st_size;
        }
        record->octets = octets;
        if (fd >= 0)
                close(fd);
        return 0;
}
