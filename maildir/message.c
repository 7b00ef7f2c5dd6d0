/*
 * message.c - one message: counted, opened, sent.
 * Runs in:   the TRANSACTION process, as the mail user.
 * May touch: the files in new/ and cur/ of the Maildir, for reading.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "internal.h"

/* An octet count in a name is not believed from here on. */
#define HINT_LIMIT (UINT64_C(1) << 40)

int
record_open(struct maildrop *drop, const struct record *record)
{
        for (int tries = 0;; tries++) {
                int fd = open_file(record_folder(drop, record), record_name(drop, record));

                if (fd >= 0 || errno != ENOENT || tries == ATTEMPTS)
                        return fd;
                if (folders_search(drop) != 0)
                        return NOT_SEARCHED;
                if ((record->flags & SEEN) == 0) {
                        errno = ENOENT;
                        return -1;
                }
        }
}

/* Counting */

/* Whether the base name announces the wire octets, as ",W=1234" does. */
static bool
name_tells_octets(const char *name, const struct record *record, uint64_t *octets)
{
        const char *hint = memmem(name, record->base_length, ",W=", 3);
        char *end;

        if (hint == NULL || hint[3] < '0' || hint[3] > '9')
                return false;
        *octets = strtoull(hint + 3, &end, 10);
        return *octets < HINT_LIMIT && (*end == ',' || end == name + record->base_length);
}

/* Counts a hole of a sparse file without reading it: its octets are all NUL. */
static void
skip_hole(int fd, struct wire *wire)
{
        off_t here = lseek(fd, 0, SEEK_CUR), there = lseek(fd, here, SEEK_DATA);

        if (there < 0 && errno == ENXIO)
                there = lseek(fd, 0, SEEK_END);
        if (there > here)
                wire->octets += (uint64_t)(there - here);
}

/* Counts until read() returns 0: that it returns less than was asked for is not the end. */
static bool
count_file(int fd, char *piece, uint64_t *octets)
{
        struct wire wire;
        ssize_t length;

        wire_begin(&wire, UINT64_MAX);
        while ((length = RETRY(read(fd, piece, PIECE_SIZE))) > 0) {
                wire_count(&wire, piece, (size_t)length);
                if (length == PIECE_SIZE && piece[0] == '\0' && piece[PIECE_SIZE - 1] == '\0')
                        skip_hole(fd, &wire);
        }
        *octets = wire_total(&wire);
        return length == 0;
}

int
record_count(struct maildrop *drop, struct record *record)
{
        uint64_t octets = 0;
        bool is_counted = name_tells_octets(record_name(drop, record), record, &octets);
        struct stat status = { 0 };

        if (!is_counted) {
                int fd = record_open(drop, record);

                if (fd == NOT_SEARCHED ||
                    (fd < 0 && (errno == ENOMEM || errno == EMFILE || errno == ENFILE)))
                        return -1;
                is_counted = fd >= 0 && count_file(fd, drop->piece, &octets);
                if (fd >= 0)
                        close(fd);
        }
        if (is_counted) {
                record->flags &= (uint8_t)~UNCOUNTED;
        } else {
                /* a guess will do, because a message that cannot be read cannot be sent either */
                fstatat(record_folder(drop, record), record_name(drop, record), &status,
                    AT_SYMLINK_NOFOLLOW);
                octets = (uint64_t)status.st_size;
        }
        record->octets = octets;
        return 0;
}

/* Opening and sending */

/* Sets the count of the open message to what its content was found to make. */
static void
correct_octets(struct maildrop *drop, uint64_t octets)
{
        struct record *record = drop->reading.record;

        if (record->octets != octets || (record->flags & UNCOUNTED) != 0)
                drop->index_is_due = true;
        drop->totals.octets += octets - record->octets;
        record->octets = octets;
        record->flags &= (uint8_t)~UNCOUNTED;
}

/*
 * Reads the beginning. If that makes the recorded count it is the whole message, and
 * fstat() is spared. Else fstat() says how long the file is, and whether it is a regular one.
 */
static int
read_beginning(struct maildrop *drop)
{
        struct reading *reading = &drop->reading;
        ssize_t length = RETRY(read(reading->file, drop->piece, PIECE_SIZE));
        struct wire wire;

        if (length < 0)
                return -1;
        reading->before.st_size = length;
        reading->piece_length = (size_t)length;
        wire_begin(&wire, UINT64_MAX);
        wire_count(&wire, drop->piece, reading->piece_length);
        if (length > 0 && length < PIECE_SIZE && wire_total(&wire) == reading->record->octets)
                return 0;
        if (fstat(reading->file, &reading->before) != 0)
                return -1;
        if (!S_ISREG(reading->before.st_mode)) {
                errno = EINVAL;
                return -1;
        }
        if (reading->before.st_size == length)
                correct_octets(drop, wire_total(&wire));
        return 0;
}

int
message_open(struct maildrop *drop, size_t number)
{
        struct reading *reading = &drop->reading;

        reading->record = drop_records(drop) + number - 1;
        reading->file = record_open(drop, reading->record);
        if (reading->file < 0)
                return -1;
        if (read_beginning(drop) == 0)
                return 0;
        close(reading->file);
        return -1;
}

/* Whether the file, which was read to its end, has not changed since it was opened. */
static bool
is_unchanged(const struct reading *reading)
{
        const struct stat *before = &reading->before;
        struct stat after;

        return fstat(reading->file, &after) == 0 && after.st_size == before->st_size &&
            after.st_mtim.tv_sec == before->st_mtim.tv_sec &&
            after.st_mtim.tv_nsec == before->st_mtim.tv_nsec;
}

/*
 * Sends piece after piece, to the end of the file or as far as TOP asks. Fails with EIO
 * if the file is not as long as it was, or has changed while it was read; a file that
 * was read at once, when it was opened, cannot have changed since.
 */
static int
send_pieces(struct maildrop *drop, struct wire *wire, bool is_top, struct output *output)
{
        struct reading *reading = &drop->reading;
        ssize_t length = (ssize_t)reading->piece_length;
        off_t octets = 0;

        do {
                size_t all = (size_t)length;
                size_t extent = is_top ? wire_extent(wire, drop->piece, all) : all;

                if (wire_encode(wire, drop->piece, extent, output) != 0)
                        return -1;
                if (wire->in_body && wire->lines_left == 0)
                        return 0;
                octets += length;
        } while (octets < reading->before.st_size &&
            (length = RETRY(read(reading->file, drop->piece, PIECE_SIZE))) > 0);
        if (octets == reading->before.st_size &&
            (octets == (off_t)reading->piece_length || is_unchanged(reading)))
                return 0;
        errno = EIO;
        return -1;
}

int
message_send(struct maildrop *drop, uint64_t body_lines, struct output *output)
{
        bool is_top = body_lines != UINT64_MAX;
        struct wire wire;
        int result;

        wire_begin(&wire, body_lines);
        result = send_pieces(drop, &wire, is_top, output);
        if (result == 0)
                result = wire_end(&wire, output);
        if (result == 0 && !is_top) {
                correct_octets(drop, wire.octets);
                drop->reading.record->flags |= RETRIEVED;
        }
        close(drop->reading.file);
        return result;
}
