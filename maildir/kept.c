/*
 * kept.c - unique-ids that must outlive the index: the file pop3d.ids.
 * Runs in:   the TRANSACTION process, as the mail user.
 * May touch: pop3d.ids and pop3d.ids.new in the Maildir.
 *
 * The file is plain text and has no version. Each line is a unique-id and what it belongs to:
 *
 *     000000016b04bd1d - 1700000001.M1P1.host
 *     1700000002.M2P1.host 8f3a5c0912d4e677 1700000002.M2P1.host
 *
 * The first word is the unique-id, the last one the base name of the message, in which each
 * octet outside 0x21-0x7E, and %, is written as % and two hexadecimal digits. The word between
 * them is - if the base name alone says which message it is. It is a hash of the content
 * if several messages had the base name. Of two lines for one message the later one counts.
 *
 * Lines are appended, and synced before a client is told the unique-id. A last line without
 * a line feed was cut off by a crash or a full disk: it is not read, and the next session
 * makes a line of it that is not read either, by a blank at its end. Lines of messages that
 * are gone stay, because a message may come back, until there are LINES_SPARE of them.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "internal.h"

#define NEXT_NAME "pop3d.ids.new"

enum {
        LINES_SPARE = 20000,    /* lines of messages that are gone */
        CONTENT_LENGTH = 16,    /* hexadecimal digits */
        SAME_MAX = 64,          /* messages of one base name and one content that are told apart */
        LINE_LIMIT = UNIQUE_ID_MAX + CONTENT_LENGTH + 3 * NAME_LIMIT + 3,
};

static const char digits[] = "0123456789abcdef";

/* Lines */

/* A line in memory is three strings: the unique-id, the content and the base name. */
static const char *
line_content(const char *line)
{
        return line + strlen(line) + 1;
}

static const char *
line_name(const char *line)
{
        const char *content = line_content(line);

        return content + strlen(content) + 1;
}

static bool
line_tells_content(const char *line)
{
        return strcmp(line_content(line), "-") != 0;
}

/* What a % in a name stands for, or 0 if that is no octet of a name. */
static int
unescaped(const char *at)
{
        const char *high = at[1] != '\0' ? strchr(digits, at[1]) : NULL;
        const char *low = high != NULL && at[2] != '\0' ? strchr(digits, at[2]) : NULL;

        return low == NULL ? 0 : (int)((high - digits) * 16 + (low - digits));
}

/* Turns an escaped name into the name, in place. False if it is none. */
static bool
unescape(char *name)
{
        char *to = name;

        for (const char *at = name; *at != '\0'; at++) {
                int octet = *at == '%' ? unescaped(at) : *at;

                if (octet == 0 || *at < 0x21 || *at > 0x7e)
                        return false;
                at += *at == '%' ? 2 : 0;
                *to++ = (char)octet;
        }
        *to = '\0';
        return to > name && to - name <= NAME_LIMIT;
}

/* Cuts a line, which ends in a NUL, into its three strings. False if it is not one of ours. */
static bool
cut_line(char *line)
{
        char *content = strchr(line, ' '), *name = content != NULL ? strchr(++content, ' ') : NULL;

        if (name == NULL)
                return false;
        content[-1] = '\0';
        *name++ = '\0';
        return octets_are_id(line, strlen(line)) && (strcmp(content, "-") == 0 ||
            (strspn(content, digits) == CONTENT_LENGTH && content[CONTENT_LENGTH] == '\0')) &&
            unescape(name);
}

/* The table */

/*
 * A slot is 0, or the upper half of a hash in its upper half and, counted from 1, where the line
 * begins in its lower half. At most half of the slots are taken. Each line is in the table by its
 * base name; if it tells the content, also by base name and content, and by base name and id.
 * Several messages can have one base name and one content, too: then each of their lines has a slot
 * by content, up to SAME_MAX, and GIVEN is set in that of a line whose message was found.
 */
enum word { NO_WORD, CONTENT, ID };

#define GIVEN UINT64_C(0x80000000)

static const char *
slot_line(const struct kept *kept, uint64_t slot)
{
        return kept->text.data + (slot & (GIVEN - 1)) - 1;
}

static bool
line_has(const char *line, enum word word, const char *name, size_t name_length, const char *text)
{
        const char *own = line_name(line);

        return strlen(own) == name_length && memcmp(own, name, name_length) == 0 &&
            (word == NO_WORD || strcmp(word == ID ? line : line_content(line), text) == 0) &&
            (word != ID || line_tells_content(line));
}

static uint64_t
hash_words(enum word word, const char *name, size_t name_length, const char *text)
{
        return checksum(checksum(word, name, name_length), text, strlen(text));
}

/* The next slot of a line that has this name and this word, from *at on, or the free slot behind. */
static uint64_t *
next_slot(const struct kept *kept, enum word word, const char *name, size_t name_length,
    const char *text, uint64_t *at)
{
        const uint64_t hash = hash_words(word, name, name_length, text);
        uint64_t *slots = (uint64_t *)(void *)kept->slots.data, *slot;

        do
                slot = slots + ((*at)++ & (kept->slots.size / sizeof(*slots) - 1));
        while (*slot != 0 && (*slot >> 32 != hash >> 32 ||
            !line_has(slot_line(kept, *slot), word, name, name_length, text)));
        return slot;
}

/* Where a line goes in the table: it takes the slot of an earlier line that it replaces. */
static void
put_in_table(const struct kept *kept, const char *line)
{
        const char *name = line_name(line), *content = line_content(line);
        size_t length = strlen(name), where = (size_t)(line - kept->text.data) + 1;

        for (int word = NO_WORD; word <= (line_tells_content(line) ? ID : NO_WORD); word++) {
                const char *text = word == NO_WORD ? "" : word == ID ? line : content;
                const uint64_t hash = hash_words((enum word)word, name, length, text);
                uint64_t at = hash, *slot;
                int others = 0;

                do
                        slot = next_slot(kept, (enum word)word, name, length, text, &at);
                while (word == CONTENT && *slot != 0 && strcmp(slot_line(kept, *slot), line) != 0 &&
                    ++others < SAME_MAX);
                *slot = hash >> 32 << 32 | where;
        }
}

/* A line with this name and this word, or NULL. */
static const char *
find_line(const struct kept *kept, enum word word, const char *name, size_t name_length,
    const char *text)
{
        uint64_t slot, at = hash_words(word, name, name_length, text);

        if (kept->lines == 0)
                return NULL;
        slot = *next_slot(kept, word, name, name_length, text, &at);
        return slot == 0 ? NULL : slot_line(kept, slot);
}

/*
 * Gives the last line with this name and content that is not GIVEN yet, or one that is wanted, if that
 * is not NULL. NULL if there is none.
 */
static const char *
give_line(const struct kept *kept, const char *name, size_t name_length, const char *content,
    const char *wanted)
{
        uint64_t at = hash_words(CONTENT, name, name_length, content), *slot, *last = NULL;

        if (kept->lines == 0)
                return NULL;
        while (*(slot = next_slot(kept, CONTENT, name, name_length, content, &at)) != 0)
                if ((*slot & GIVEN) == 0 && (last == NULL || *slot > *last) &&
                    (wanted == NULL || slot_line(kept, *slot) == wanted))
                        last = slot;
        if (last == NULL)
                return NULL;
        *last |= GIVEN;
        return slot_line(kept, *last);
}

/* Reading */

int
kept_cut(struct kept *kept)
{
        char *at = kept->text.data, *end = at + kept->text.used, *line_end;
        size_t lines = 0;

        for (char *from = at; (from = memchr(from, '\n', (size_t)(end - from))) != NULL; from++)
                lines++;
        if (area_reserve(&kept->slots, lines * 6 * sizeof(uint64_t)) != 0)
                return -1;
        for (; (line_end = memchr(at, '\n', (size_t)(end - at))) != NULL; at = line_end + 1) {
                *line_end = '\0';
                if (strlen(at) != (size_t)(line_end - at) || !cut_line(at))
                        continue;
                kept->lines++;
                put_in_table(kept, at);
        }
        kept->is_torn = at < end;
        return 0;
}

int
kept_load(struct maildrop *drop, struct kept *kept)
{
        struct stat status;
        int fd = open_list(drop, IDS_NAME, &status), result = fd >= 0 || errno == ENOENT ? 0 : -1;

        kept->is_new = fd < 0;
        drop->part = "/" IDS_NAME;
        if (fd >= 0) {
                result = list_read(fd, &status, LIST_LIMIT, &kept->text);
                close(fd);
        }
        if (result == 0 && kept->text.used > 0)
                result = kept_cut(kept);
        if (result == 0)
                drop->part = "";
        return result;
}

bool
kept_is_later(const struct maildrop *drop)
{
        struct stat status;

        errno = 0;
        return fstatat(drop->directory, IDS_NAME, &status, AT_SYMLINK_NOFOLLOW) == 0 &&
            time_nanoseconds(&status.st_ctim) > drop->index.written;
}

bool
kept_is_doubtful(const struct maildrop *drop)
{
        return kept_is_later(drop) || errno == ENOENT;
}

void
kept_free(struct kept *kept)
{
        area_free(&kept->text);
        area_free(&kept->slots);
        area_free(&kept->added);
}

/* Finding */

/*
 * Writes a hash of a message's content: of its size and its first PIECE_SIZE octets. False if
 * it cannot be read.
 */
static bool
hash_content(struct maildrop *drop, struct record *record, char content[CONTENT_LENGTH + 1])
{
        struct stat status;
        int fd = record_open(drop, record);
        ssize_t length = fd >= 0 ? RETRY(read(fd, drop->piece, PIECE_SIZE)) : -1;
        uint64_t hash;

        if (length >= 0 && fstat(fd, &status) != 0)
                length = -1;
        if (fd >= 0)
                close(fd);
        if (length < 0)
                return false;
        hash = checksum((uint64_t)status.st_size, drop->piece, (size_t)length);
        for (int i = 0; i < CONTENT_LENGTH; i++)
                content[i] = digits[hash >> (60 - 4 * i) & 15];
        content[CONTENT_LENGTH] = '\0';
        return true;
}

const char *
kept_find(struct maildrop *drop, const struct kept *kept, struct record *record,
    bool has_namesake)
{
        char content[CONTENT_LENGTH + 1];
        const char *name = record_name(drop, record);
        const char *line = find_line(kept, NO_WORD, name, record->base_length, "");

        if (line == NULL || (!has_namesake && !line_tells_content(line)))
                return line;
        if (!hash_content(drop, record, content))
                return NULL;
        /* the name may have moved when the message was opened */
        name = record_name(drop, record);
        return give_line(kept, name, record->base_length, content, NULL);
}

void
kept_give(const struct maildrop *drop, const struct kept *kept, const struct record *record)
{
        const char *name = record_name(drop, record), *line;
        char id[UNIQUE_ID_MAX + 1];

        id[record_unique_id(record, drop->text.data, id)] = '\0';
        line = find_line(kept, ID, name, record->base_length, id);
        if (line != NULL)
                (void)give_line(kept, name, record->base_length, line_content(line), line);
}

/* Adding */

/* Whether there are so many lines of messages that are gone that they are left out. */
static bool
kept_is_rewritten(const struct maildrop *drop, const struct kept *kept)
{
        return kept->lines > LINES_SPARE + 2 * drop_length(drop);
}

/* Appends a line to those that will be written, for which there is room. */
static void
add_line(struct kept *kept, const char *id, size_t id_length, const char *content,
    const char *name, size_t name_length)
{
        char *to = kept->added.data + kept->added.used;

        memcpy(to, id, id_length);
        to += id_length;
        *to++ = ' ';
        memcpy(to, content, strlen(content));
        to += strlen(content);
        *to++ = ' ';
        for (size_t i = 0; i < name_length; i++) {
                unsigned char octet = (unsigned char)name[i];

                if (octet > 0x20 && octet < 0x7f && octet != '%') {
                        *to++ = (char)octet;
                        continue;
                }
                *to++ = '%';
                *to++ = digits[octet >> 4];
                *to++ = digits[octet & 15];
        }
        *to++ = '\n';
        kept->added.used = (size_t)(to - kept->added.data);
}

/* The line from which kept_find() would take the unique-id of a record, if it has that one. */
static const char *
line_of(const struct maildrop *drop, const struct kept *kept, const struct record *record,
    const char *id, bool has_namesake)
{
        const char *name = record_name(drop, record);
        const char *line = find_line(kept, NO_WORD, name, record->base_length, "");

        if (line != NULL && (has_namesake || line_tells_content(line)))
                return find_line(kept, ID, name, record->base_length, id);
        return line != NULL && strcmp(line, id) == 0 ? line : NULL;
}

int
kept_add(struct maildrop *drop, struct kept *kept, struct record *record, bool has_namesake)
{
        char id[UNIQUE_ID_MAX + 1], content[CONTENT_LENGTH + 1] = "-";
        size_t length = record_unique_id(record, drop->text.data, id);
        const char *line;

        id[length] = '\0';
        line = line_of(drop, kept, record, id, has_namesake);
        if (line != NULL && !kept_is_rewritten(drop, kept))
                return 0;
        if (area_reserve(&kept->added, LINE_LIMIT) != 0)
                return -1;
        /* what cannot be read has no content that tells it from its namesakes */
        if (line == NULL && has_namesake && !hash_content(drop, record, content))
                return 0;
        add_line(kept, id, length, line != NULL ? line_content(line) : content,
            record_name(drop, record), record->base_length);
        return 0;
}

/* Writing */

static int
write_lines(int fd, const struct kept *kept, bool is_torn)
{
        struct iovec parts[] = { { (char[]){ " \n" }, is_torn ? 2 : 0 },
            { kept->added.data, kept->added.used } };
        ssize_t length = (ssize_t)(parts[0].iov_len + parts[1].iov_len);
        ssize_t written = RETRY(writev(fd, parts, 2));

        if (written >= 0 && written != length)
                errno = ENOSPC;
        return written != length ? -1 : sync_to_disk(fd);
}

int
kept_save(const struct maildrop *drop, const struct kept *kept)
{
        bool is_rewritten = kept_is_rewritten(drop, kept);
        int fd, result, error;

        if (kept->added.used == 0)
                return 0;
        if (is_rewritten)
                unlinkat(drop->directory, NEXT_NAME, 0);
        fd = openat(drop->directory, is_rewritten ? NEXT_NAME : IDS_NAME, O_WRONLY | O_APPEND |
            O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | (is_rewritten ? O_EXCL : 0), 0600);
        if (fd < 0)
                return -1;
        result = write_lines(fd, kept, kept->is_torn && !is_rewritten);
        if (result == 0 && is_rewritten)
                result = renameat(drop->directory, NEXT_NAME, drop->directory, IDS_NAME);
        if (result == 0 && (is_rewritten || kept->is_new))
                result = sync_to_disk(drop->directory);
        error = errno;
        close(fd);
        errno = error;
        return result;
}
