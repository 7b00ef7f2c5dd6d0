/*
 * message.c - one message: opened, sent.
 * Runs in:   the TRANSACTION process, as the mail user.
 * May touch: the files in new/ and cur/ of the Maildir, for reading.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "internal.h"

enum { CLEARLY = 2 };   /* seconds by which one moment is before another beyond doubt */

/* What was sent */

bool
record_has_namesake(const struct maildrop *drop, const struct record *record)
{
        const struct record *first = drop_records(drop), *last = first + drop_length(drop) - 1;
        const char *text = drop->text.data;
        size_t same = 0;

        if (!drop->is_disordered)
                return (record > first && record_compare(record - 1, text, record, text) == 0) ||
                    (record < last && record_compare(record + 1, text, record, text) == 0);
        for (const struct record *other = first; other <= last; other++)
                same += record_compare(other, text, record, text) == 0;
        return same > 1;
}

/* Whether a file has the octets that were sent, as far as they were not more than a piece. */
static bool
has_octets(struct maildrop *drop, int folder, const char *name, const struct sent *sent)
{
        int fd = sent->digest != 0 ? open_file(drop->folders[folder], name) : -1;
        bool is_same = fd >= 0 &&
            RETRY(read(fd, drop->piece, PIECE_SIZE)) == (ssize_t)sent->size &&
            digest(drop->piece, (size_t)sent->size) == sent->digest;

        if (fd >= 0)
                close(fd);
        return is_same;
}

static struct sent *
sent_of(const struct maildrop *drop, const struct record *record)
{
        return (struct sent *)(void *)drop->sent.data + (record - drop_records(drop));
}

/* The seconds of the wall clock, and how far they are ahead of a clock that nobody sets. */
static struct moment
moment_now(void)
{
        struct timespec wall = { 0 }, running = { 0 };

        (void)clock_gettime(CLOCK_REALTIME, &wall);
        (void)clock_gettime(CLOCK_MONOTONIC, &running);
        return (struct moment){ .seconds = wall.tv_sec, .ahead = wall.tv_sec - running.tv_sec };
}

/*
 * Whether a file has not changed, nor got its name, since the first message was sent whose file was not
 * asked about: its ctime is older. A file system may tell whole seconds, and a clock that was set
 * back tells nothing, so both have to be clear.
 */
static bool
is_older_than_sending(const struct maildrop *drop, const struct stat *status)
{
        return status->st_ctim.tv_sec + CLEARLY < drop->unasked.seconds &&
            moment_now().ahead + CLEARLY > drop->unasked.ahead;
}

bool
record_fits(struct maildrop *drop, const struct record *record, int folder, const char *name,
    const struct stat *status)
{
        const struct sent *sent;

        if ((record->flags & RETRIEVED) == 0)
                return true;
        sent = sent_of(drop, record);
        return (uint64_t)status->st_size == sent->size &&
            ((sent->modified != 0 ? time_nanoseconds(&status->st_mtim) == sent->modified
                : is_older_than_sending(drop, status)) || has_octets(drop, folder, name, sent));
}

/* Opening and sending */

/* Sets the count of the open message to what its content was found to make. */
static void
correct_octets(struct maildrop *drop, uint64_t octets)
{
        const struct reading *reading = &drop->reading;
        struct record *record = reading->record;
        bool is_now_counted = (record->flags & UNCOUNTED) != 0 &&
            count_is_settled(drop, reading->file, &reading->before);

        if (record->octets != octets || is_now_counted)
                drop->index_is_due = true;
        totals_take(drop, record->octets);
        totals_add(drop, octets);
        record->octets = octets;
        if (is_now_counted)
                record->flags &= (uint8_t)~UNCOUNTED;
}

/* Opens the file, wherever it is by now, and has it in before as it is then. */
static int
open_file_of(struct maildrop *drop, struct record *record)
{
        struct reading *reading = &drop->reading;

        reading->file = record_open(drop, record);
        if (reading->file < 0)
                return -1;
        if (fstat(reading->file, &reading->before) == 0)
                return 0;
        close(reading->file);
        return -1;
}

/*
 * Opens a message. Of several with one base name the inode number tells which file is
 * which, because they may have exchanged their names.
 */
static int
open_record(struct maildrop *drop, struct record *record)
{
        if (open_file_of(drop, record) != 0)
                return -1;
        if (is_file_of(record, &drop->reading.before, record_name(drop, record)) ||
            !record_has_namesake(drop, record))
                return 0;
        close(drop->reading.file);
        if (search_anew(drop) != 0)
                return -1;
        if ((record->flags & SEEN) != 0)
                return open_file_of(drop, record);
        errno = ENOENT;
        return -1;
}

/*
 * Reads the beginning. If that is not the whole message, and the recorded count cannot be
 * right, the whole is counted, because the client is told the count before it is sent.
 */
static int
read_beginning(struct maildrop *drop)
{
        struct reading *reading = &drop->reading;
        const off_t size = reading->before.st_size;
        uint64_t octets;
        struct wire wire;
        ssize_t length;

        if (!S_ISREG(reading->before.st_mode)) {
                errno = EINVAL;
                return -1;
        }
        if (size >= PIECE_SIZE && !count_is_possible((uint64_t)size, reading->record->octets)) {
                if (count_octets(drop, reading->file, (uint64_t)size, &octets))
                        correct_octets(drop, octets);
                if (lseek(reading->file, 0, SEEK_SET) != 0)
                        return -1;
        }
        length = RETRY(read(reading->file, drop->piece, PIECE_SIZE));
        if (length < 0)
                return -1;
        /* a file that grew or shrank between the two calls */
        if (length != (size < PIECE_SIZE ? size : PIECE_SIZE) &&
            fstat(reading->file, &reading->before) != 0)
                return -1;
        /* an end where the file has none: nothing that is read behind it can be believed */
        if (length == 0 && reading->before.st_size != 0) {
                errno = EIO;
                return -1;
        }
        reading->piece_length = (size_t)length;
        wire_begin(&wire, UINT64_MAX);
        wire_count(&wire, drop->piece, reading->piece_length);
        if (length == reading->before.st_size)
                correct_octets(drop, wire_total(&wire));
        return 0;
}

/*
 * Opens a message and reads it at once, and does not ask what its file is. What was read is all of it
 * if it makes just the octets that were counted: on a local file system read(2) gives less than it is
 * asked for at the end alone. What fstat(2) would tell is not needed, because the name is no other
 * message's, and UPDATE sees by the file's ctime whether it changed since. False: it is not so here.
 */
static bool
open_unasked(struct maildrop *drop)
{
        struct reading *reading = &drop->reading;
        const struct record *record = reading->record;
        struct wire wire;
        ssize_t length;

        if (!drop->kind->tells_changes || (record->flags & UNCOUNTED) != 0 ||
            record->octets >= PIECE_SIZE || drop->is_disordered || record_has_namesake(drop, record))
                return false;
        reading->file = open_file(record_folder(drop, record), record_name(drop, record));
        if (reading->file < 0)
                return false;
        length = RETRY(read(reading->file, drop->piece, PIECE_SIZE));
        wire_begin(&wire, UINT64_MAX);
        if (length > 0)
                wire_count(&wire, drop->piece, (size_t)length);
        /* a whole piece may not be all, whatever was counted */
        if (length <= 0 || length == PIECE_SIZE || wire_total(&wire) != record->octets) {
                close(reading->file);
                return false;
        }
        reading->piece_length = (size_t)length;
        reading->before = (struct stat){ .st_size = length };
        if (drop->unasked.seconds == 0)
                drop->unasked = moment_now();
        return true;
}

int
message_open(struct maildrop *drop, size_t number)
{
        struct reading *reading = &drop->reading;

        reading->record = drop_records(drop) + number - 1;
        if (area_reserve(&drop->sent, drop_length(drop) * sizeof(struct sent)) != 0)
                return -1;
        if (open_unasked(drop))
                return 0;
        for (int tries = 0;; tries++) {
                if (open_record(drop, reading->record) != 0)
                        return -1;
                if (read_beginning(drop) == 0)
                        return 0;
                close(reading->file);
                /* some file systems find out that a name is stale when its file is read */
                if (errno != ESTALE || tries == ATTEMPTS || search_anew(drop) != 0)
                        return -1;
        }
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

/* Remembers what RETR sent, for UPDATE. */
static void
note_sent(struct maildrop *drop)
{
        const struct reading *reading = &drop->reading;
        const struct stat *before = &reading->before;
        bool is_whole = reading->piece_length == (size_t)before->st_size &&
            reading->piece_length < PIECE_SIZE;

        *sent_of(drop, reading->record) = (struct sent){
            .size = (uint64_t)before->st_size,
            .modified = time_nanoseconds(&before->st_mtim),
            .digest = is_whole ? digest(drop->piece, reading->piece_length) : 0,
        };
        reading->record->flags |= RETRIEVED;
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
                note_sent(drop);
        }
        close(drop->reading.file);
        return result;
}
