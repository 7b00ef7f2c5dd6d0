/*
 * message.c - one message: counted, opened, sent.
 *
 * Runs in:   the TRANSACTION process, as the mail user.
 * May touch: the files in new/ and cur/ of the Maildir, for reading.
 */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "internal.h"

/* An octet count in a name is not believed beyond this. */
#define HINT_LIMIT (UINT64_C(1) << 40)

/* Opens a message, wherever it is by now. */
int record_open(struct maildrop *drop, const struct record *record)
{
        int fd = open_file(record_folder(drop, record), record_name(drop, record));

        if (fd < 0 && errno == ENOENT && drop_search(drop) == 0)
                fd = open_file(record_folder(drop, record), record_name(drop, record));
        return fd;
}

/* The wire octets that the base name announces as ,W=, if it does. */
static bool name_tells_octets(const char *name, const struct record *record, uint64_t *octets)
{
        const char *end = name + record->base_length, *at = name, *digits;

        do
                at = memchr(at, ',', (size_t)(end - at));
        while (at != NULL && strncmp(at++, ",W=", 3) != 0);
        if (at == NULL)
                return false;
        digits = at += 2;
        for (*octets = 0; *at >= '0' && *at <= '9' && *octets < HINT_LIMIT; at++)
                *octets = *octets * 10 + (uint64_t)(*at - '0');
        return at > digits && *octets < HINT_LIMIT && (at == end || *at == ',');
}

/* Skips a hole, whose octets are all NUL, as if it had been counted. */
static void skip_hole(int fd, struct wire *wire)
{
        off_t here = lseek(fd, 0, SEEK_CUR), there = lseek(fd, here, SEEK_DATA);

        if (there < 0 && errno == ENXIO)
                there = lseek(fd, 0, SEEK_END);
        if (there > here)
                wire->octets += (uint64_t)(there - here);
}

/* Until the end is met: a reading shorter than asked for need not be the last. */
static bool count_file(int fd, char *piece, uint64_t *octets)
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

int record_count(struct maildrop *drop, struct record *record)
{
        struct stat status = { 0 };
        bool is_counted = name_tells_octets(record_name(drop, record), record, &record->octets);

        if (!is_counted) {
                int fd = record_open(drop, record);

                if (fd < 0 && (errno == ENOMEM || errno == EMFILE || errno == ENFILE))
                        return -1;
                is_counted = fd >= 0 && count_file(fd, drop->piece, &record->octets);
                if (fd >= 0)
                        close(fd);
        }
        if (is_counted) {
                record->flags &= (uint8_t)~UNCOUNTED;
                return 0;
        }
        /* It cannot be sent either, so its size will do. */
        fstatat(record_folder(drop, record), record_name(drop, record), &status,
            AT_SYMLINK_NOFOLLOW);
        record->octets = (uint64_t)status.st_size;
        return 0;
}

/* Sending */

static void correct(struct maildrop *drop, struct record *record, uint64_t octets)
{
        drop->is_better |= record->octets != octets || (record->flags & UNCOUNTED) != 0;
        drop->octets += octets - record->octets;
        record->octets = octets;
        record->flags &= (uint8_t)~UNCOUNTED;
}

/*
 * Reads the beginning. When that makes the recorded count, it is the whole
 * message, and nothing more needs to be asked; else the file must say what it is.
 */
static int read_beginning(struct maildrop *drop, struct record *record)
{
        ssize_t length = RETRY(read(drop->message, drop->piece, PIECE_SIZE));
        struct wire wire;

        if (length < 0)
                return -1;
        drop->piece_length = (size_t)length;
        wire_begin(&wire, UINT64_MAX);
        wire_count(&wire, drop->piece, drop->piece_length);
        drop->is_whole = length > 0 && length < PIECE_SIZE && wire_total(&wire) == record->octets;
        if (drop->is_whole)
                return 0;
        if (fstat(drop->message, &drop->before) != 0)
                return -1;
        if (!S_ISREG(drop->before.st_mode)) {
                errno = EINVAL;
                return -1;
        }
        drop->is_whole = length < PIECE_SIZE && drop->before.st_size == length;
        if (drop->is_whole)
                correct(drop, record, wire_total(&wire));
        return 0;
}

static void message_close(struct maildrop *drop)
{
        int error = errno;

        close(drop->message);
        drop->message = -1;
        errno = error;
}

int message_open(struct maildrop *drop, size_t number)
{
        drop->current = drop_records(drop) + number - 1;
        drop->message = record_open(drop, drop->current);
        if (drop->message < 0)
                return -1;
        if (read_beginning(drop, drop->current) == 0)
                return 0;
        message_close(drop);
        return -1;
}

/* Whether the file, read to its end, is what it was at the beginning. */
static bool is_intact(const struct maildrop *drop, uint64_t octets)
{
        const struct stat *before = &drop->before;
        struct stat after;

        return fstat(drop->message, &after) == 0 && (uint64_t)after.st_size == octets &&
            after.st_size == before->st_size &&
            after.st_mtim.tv_sec == before->st_mtim.tv_sec &&
            after.st_mtim.tv_nsec == before->st_mtim.tv_nsec;
}

/* Sends piece after piece; *is_all tells whether to the end, or only the lines asked for. */
static int send_pieces(struct maildrop *drop, struct wire *wire, bool is_top, struct output *output,
    bool *is_all)
{
        ssize_t length = (ssize_t)drop->piece_length;
        uint64_t octets = 0;

        for (*is_all = true; length > 0;) {
                size_t all = (size_t)length;
                size_t extent = is_top ? wire_extent(wire, drop->piece, all) : all;

                if (wire_encode(wire, drop->piece, extent, output) != 0)
                        return -1;
                octets += all;
                *is_all = extent == all && !(wire->in_body && wire->lines_left == 0);
                if (!*is_all || drop->is_whole)
                        return 0;
                length = RETRY(read(drop->message, drop->piece, PIECE_SIZE));
        }
        if (length == 0 && (drop->is_whole || is_intact(drop, octets)))
                return 0;
        errno = EIO;
        return -1;
}

int message_send(struct maildrop *drop, uint64_t body_lines, struct output *output)
{
        bool is_top = body_lines != UINT64_MAX, is_all;
        struct wire wire;
        int result;

        wire_begin(&wire, body_lines);
        result = send_pieces(drop, &wire, is_top, output, &is_all);
        if (result == 0)
                result = wire_end(&wire, output);
        if (result == 0 && is_all)
                correct(drop, drop->current, wire.octets);
        if (result == 0 && !is_top)
                drop->current->flags |= RETRIEVED;
        message_close(drop);
        return result;
}
