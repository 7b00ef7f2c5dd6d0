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

/* An octet count in a name is not believed beyond this. */
#define HINT_LIMIT (UINT64_C(1) << 40)

int
record_open(struct maildrop *drop, const struct record *record)
{
        for (int tries = 0;; tries++) {
                int fd = open_file(record_folder(drop, record), record_name(drop, record));

                if (fd >= 0 || errno != ENOENT || tries == ATTEMPTS)
                        return fd;
                if (drop_search(drop) != 0)
                        return NOT_SEARCHED;
                if ((record->flags & SEEN) == 0) {
                        errno = ENOENT;
                        return -1;
                }
        }
}

/* The wire octets that the base name announces as ,W=, if it does. */
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

/* Skips a hole, whose octets are all NUL, as if it had been counted. */
static void
skip_hole(int fd, struct wire *wire)
{
        off_t here = lseek(fd, 0, SEEK_CUR), there = lseek(fd, here, SEEK_DATA);

        if (there < 0 && errno == ENXIO)
                there = lseek(fd, 0, SEEK_END);
        if (there > here)
                wire->octets += (uint64_t)(there - here);
}

/* Until the end is met: a reading shorter than asked for need not be the last. */
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
                /* It cannot be sent either, so its size will do. */
                fstatat(record_folder(drop, record), record_name(drop, record), &status,
                    AT_SYMLINK_NOFOLLOW);
                octets = (uint64_t)status.st_size;
        }
        record->octets = octets;
        return 0;
}

static void
correct(struct maildrop *drop, uint64_t octets)
{
        struct record *record = drop->current;

        drop->is_better |= record->octets != octets || (record->flags & UNCOUNTED) != 0;
        drop->octets += octets - record->octets;
        record->octets = octets;
        record->flags &= (uint8_t)~UNCOUNTED;
}

/*
 * Reads the beginning. When that makes the recorded count, it is the whole
 * message, and nothing more needs to be asked; else the file must say what it is.
 */
static int
read_beginning(struct maildrop *drop)
{
        ssize_t length = RETRY(read(drop->message, drop->piece, PIECE_SIZE));
        struct wire wire;

        if (length < 0)
                return -1;
        drop->before.st_size = length;
        drop->piece_length = (size_t)length;
        wire_begin(&wire, UINT64_MAX);
        wire_count(&wire, drop->piece, drop->piece_length);
        if (length > 0 && length < PIECE_SIZE && wire_total(&wire) == drop->current->octets)
                return 0;
        if (fstat(drop->message, &drop->before) != 0)
                return -1;
        if (!S_ISREG(drop->before.st_mode)) {
                errno = EINVAL;
                return -1;
        }
        if (drop->before.st_size == length)
                correct(drop, wire_total(&wire));
        return 0;
}

int
message_open(struct maildrop *drop, size_t number)
{
        drop->current = drop_records(drop) + number - 1;
        drop->message = record_open(drop, drop->current);
        if (drop->message < 0)
                return -1;
        if (read_beginning(drop) == 0)
                return 0;
        close(drop->message);
        return -1;
}

/* Whether the file, read to its end, is what it was at the beginning. */
static bool
is_intact(const struct maildrop *drop)
{
        const struct stat *before = &drop->before;
        struct stat after;

        return fstat(drop->message, &after) == 0 && after.st_size == before->st_size &&
            after.st_mtim.tv_sec == before->st_mtim.tv_sec &&
            after.st_mtim.tv_nsec == before->st_mtim.tv_nsec;
}

/* Sends piece after piece, to the end or as far as the lines that are asked for. */
static int
send_pieces(struct maildrop *drop, struct wire *wire, bool is_top, struct output *output)
{
        ssize_t length = (ssize_t)drop->piece_length;
        off_t octets = 0;

        do {
                size_t all = (size_t)length;
                size_t extent = is_top ? wire_extent(wire, drop->piece, all) : all;

                if (wire_encode(wire, drop->piece, extent, output) != 0)
                        return -1;
                if (wire->in_body && wire->lines_left == 0)
                        return 0;
                octets += length;
        } while (octets < drop->before.st_size &&
            (length = RETRY(read(drop->message, drop->piece, PIECE_SIZE))) > 0);
        if (octets == drop->before.st_size &&
            (octets == (off_t)drop->piece_length || is_intact(drop)))
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
                correct(drop, wire.octets);
                drop->current->flags |= RETRIEVED;
        }
        close(drop->message);
        return result;
}
