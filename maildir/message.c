/*
 * message.c - one message: counted, opened, sent.
 * Runs in:   the TRANSACTION process, as the mail user.
 * May touch: the files in new/ and cur/ of the Maildir, for reading.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "internal.h"

enum {
        CLEARLY = 2,            /* seconds by which one moment is before another beyond doubt */
        HINT_PROOF = 4096,      /* octets that are read in any case before a name is believed */
};

int
record_open(struct maildrop *drop, struct record *record)
{
        for (int tries = 0;; tries++) {
                int fd = open_file(record_folder(drop, record), record_name(drop, record));

                /* ESTALE: another machine removed or renamed it */
                if (fd >= 0 || (errno != ENOENT && errno != ESTALE) || tries == ATTEMPTS)
                        return fd;
                if (search_message(drop, record) != 0)
                        return NOT_SEARCHED;
                if ((record->flags & SEEN) == 0) {
                        errno = ENOENT;
                        return -1;
                }
        }
}

/* Counting */

/*
 * Whether a file of this size can make that many octets in wire form: each octet may be a
 * line feed that becomes two, and a last line end may be added.
 */
static bool
can_make(uint64_t size, uint64_t octets)
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

/*
 * Counts an open file. If it was changed as late as the folders were read, another program
 * may still write it: then the count is right for now, and the next session counts again,
 * and reads the file for it, because RETR may have corrected what the name announces.
 */
static bool
count_open(struct maildrop *drop, struct record *record, int fd, uint64_t *octets)
{
        struct stat status;

        if (fstat(fd, &status) != 0)
                return false;
        if (((record->flags & FRESH) == 0 ||
            !name_tells_octets(drop, record, fd, (uint64_t)status.st_size, octets)) &&
            !count_file(fd, drop->piece, octets))
                return false;
        if (time_nanoseconds(&status.st_ctim) < drop->clock)
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

/*
 * Tells other octets from those that were sent; never 0. It is made at each RETR, so it takes
 * two words in a turn, which the processor works on at the same time. checksum() cannot.
 */
static uint64_t
digest(const char *data, size_t length)
{
        const uint64_t factor = UINT64_C(0x9e3779b97f4a7c15);
        uint64_t sums[2], words[2], first = length, second = ~(uint64_t)length;

        for (; length >= sizeof(words); length -= sizeof(words), data += sizeof(words)) {
                memcpy(words, data, sizeof(words));
                first = (first ^ words[0]) * factor;
                second = (second ^ words[1]) * factor;
                first ^= first >> 32;
                second ^= second >> 32;
        }
        sums[0] = first;
        sums[1] = second;
        return checksum(checksum(0, data, length), sums, sizeof(sums)) | 1;
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
        bool is_settled = time_nanoseconds(&reading->before.st_ctim) < drop->clock;

        if (record->octets != octets || ((record->flags & UNCOUNTED) != 0 && is_settled))
                drop->index_is_due = true;
        totals_take(drop, record->octets);
        totals_add(drop, octets);
        record->octets = octets;
        if (is_settled)
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
        if (size >= PIECE_SIZE && !can_make((uint64_t)size, reading->record->octets)) {
                if (count_file(reading->file, drop->piece, &octets))
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
