/*
 * search.c - finds a message again that is not where it was.
 * Runs in:   the TRANSACTION process, as the mail user.
 * May touch: new/ and cur/ of the Maildir, for reading.
 *
 * Other programs change messages while a session runs. Which file is which message is
 * decided so:
 *
 * 1. A file with the base name and the inode number of a message is that message, whatever
 *    its flags and its folder are now. (folder.c finds it, by record.file_hash.) So is one with
 *    that inode number whose base name another program appended to; see find_renamed() there.
 * 2. Some programs write a message anew, and some file systems give a file another inode
 *    number when it is renamed. So if exactly one message of a base name is not found, and
 *    there is exactly one stray of that base name, which is a file that is no message's, then
 *    the stray is that message. record.file_hash stays as it is, because namesakes are in the
 *    order of that number; each search finds the same again.
 * 3. Of more than one such message or such stray nobody knows which is which. Such a
 *    message is not found; search_has_stray() tells that it may be there all the same.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "internal.h"

enum {
        TICK_MAX = 2,           /* seconds that the clock of a file system may stand still */
        GUESS_WORTH = 256,      /* messages whose names are read in the time that a guess takes */
};

/* Strays */

/* Gives a message the place of a file that a search met. */
static int
take_place(struct maildrop *drop, struct record *record, const struct record *file,
    const char *name)
{
        if (text_append(&drop->text, name, file->name_length, &record->name) != 0)
                return -1;
        record->name_length = file->name_length;
        record->flags = (uint8_t)((record->flags & ~IN_CUR) | (file->flags & IN_CUR) | SEEN);
        return 0;
}

/* Makes search.copies, because records_find() needs the records in order. */
static int
sort_copies(struct maildrop *drop)
{
        struct area *copies = &drop->search.copies, spare = { 0 };
        const size_t count = drop_length(drop);
        struct record *copy;

        copies->used = 0;
        if (area_append(copies, drop->records.data, drop->records.used) != 0 ||
            area_reserve(&spare, drop->records.used) != 0)
                return -1;
        copy = (void *)copies->data;
        for (size_t i = 0; i < count; i++)
                copy[i].id = (uint32_t)i;
        records_sort(copy, count, (void *)spare.data, drop->text.data);
        area_free(&spare);
        return 0;
}

/* The only message of this base name that is not found, or NULL. */
static struct record *
only_one_missing(const struct maildrop *drop, const struct record *stray)
{
        const struct area *sorted = drop->is_disordered ? &drop->search.copies : &drop->records;
        const struct record *all = (const void *)sorted->data;
        struct record *missing = NULL;
        size_t first, count = records_find(sorted, drop->text.data, stray,
            drop->search.text.data, &first);

        for (size_t i = first; i < first + count; i++) {
                struct record *record = drop_records(drop) + (drop->is_disordered ? all[i].id : i);

                if (record->flags & (SEEN | REMOVED))
                        continue;
                if (missing != NULL)
                        return NULL;
                missing = record;
        }
        return missing;
}

/* A stray becomes the message that it is, if it is one. */
static int
adopt(struct maildrop *drop, const struct record *stray)
{
        struct record *record = only_one_missing(drop, stray), met = *stray;

        if (record == NULL)
                return 0;
        if (take_place(drop, record, stray, drop->search.text.data + stray->name) != 0)
                return -1;
        met.id = (uint32_t)(record - drop_records(drop));
        return (record->flags & DELETED) == 0 ? 0 :
            area_append(&drop->search.marked, &met, sizeof(met));
}

/*
 * Sorts the strays, and adopts each that is the only one of its base name. One file may have
 * been met under several names, in several readings: the one that was met last counts.
 */
static int
adopt_strays(struct maildrop *drop)
{
        struct search *search = &drop->search;
        size_t count = search->strays.used / sizeof(struct record);
        struct record *stray = (void *)search->strays.data, *end;
        struct area spare = { 0 };

        if (count == 0)
                return 0;
        end = stray + count;
        if (area_reserve(&spare, search->strays.used) != 0)
                return -1;
        records_sort(stray, count, (void *)spare.data, search->text.data);
        area_free(&spare);
        if (drop->is_disordered && sort_copies(drop) != 0)
                return -1;
        while (stray < end) {
                const struct record *last = stray, *group = stray;
                bool is_one_file = true;

                while (++stray < end && record_compare(group, search->text.data, stray,
                    search->text.data) == 0) {
                        is_one_file &= stray->file_hash == group->file_hash;
                        if (stray->name > last->name)
                                last = stray;
                }
                if (is_one_file && adopt(drop, last) != 0)
                        return -1;
        }
        return 0;
}

bool
search_has_stray(const struct maildrop *drop, const struct record *record)
{
        size_t first;

        return records_find(&drop->search.strays, drop->search.text.data, record,
            drop->text.data, &first) > 0;
}

/* The search */

static bool
all_are_seen(const struct maildrop *drop)
{
        for (size_t i = 0; i < drop_length(drop); i++)
                if ((drop_records(drop)[i].flags & SEEN) == 0)
                        return false;
        return true;
}

int
search_anew(struct maildrop *drop)
{
        struct search *search = &drop->search;
        struct stamp stamps[FOLDERS];
        size_t known_text = drop->text.used;
        struct timespec now;
        int result;

        clock_gettime(CLOCK_MONOTONIC, &now);
        search->guesses_left = drop_length(drop) / GUESS_WORTH;
        result = folders_read_again(drop, stamps);
        /* under the stamps that the index has, its list should be met; else those stamps mislead */
        if (result == 0 && memcmp(stamps, drop->index.header.folders, sizeof(stamps)) == 0 &&
            (search->strays.used > 0 || drop->text.used != known_text || !all_are_seen(drop)))
                search->is_other_list = true;
        if (result == 0 && drop->is_in_order)
                result = adopt_strays(drop);
        if (memcmp(stamps, search->stamps, sizeof(stamps)) != 0)
                search->first_met = now.tv_sec;
        memcpy(search->stamps, stamps, sizeof(stamps));
        search->last_made = result == 0 ? now.tv_sec : 0;
        return result;
}

/*
 * No search is made if the folders have the stamps that the last search met, and that one was
 * made more than TICK_MAX seconds after they were first met: a change since then would have
 * given them other stamps.
 */
static bool
is_search_due(const struct maildrop *drop, const struct stamp stamps[FOLDERS])
{
        const struct search *search = &drop->search;

        return memcmp(stamps, search->stamps, sizeof(search->stamps)) != 0 ||
            search->last_made <= search->first_met + TICK_MAX;
}

/* Guessing */

bool
is_file_of(const struct record *record, const struct stat *status, const char *name)
{
        return hash_file(status->st_ino, name) == record->file_hash;
}

static bool
is_there(struct maildrop *drop, struct record *record, int folder, const char *name)
{
        const struct record place = { .name_length = (uint8_t)strlen(name),
            .flags = (uint8_t)folder };
        struct stat status;

        return fstatat(drop->folders[folder], name, &status, AT_SYMLINK_NOFOLLOW) == 0 &&
            S_ISREG(status.st_mode) && is_file_of(record, &status, name) &&
            take_place(drop, record, &place, name) == 0;
}

/*
 * Whether a message is found under one of the names that other programs give: its base
 * name in new/, or in cur/ with any of the flags of Maildir, behind which keywords stay as
 * they are. These 66 attempts spare the search in a large maildrop where messages are
 * renamed one after the other. If many were renamed at once a search finds all: therefore
 * guesses may take as much time as the last search, and then another search is due.
 */
static bool
guess(struct maildrop *drop, struct record *record)
{
        static const char flags[] = "DFPRST";
        char name[2 * NAME_LIMIT], *info = name + record->base_length;
        const char *old = record_name(drop, record);
        const char *keywords = old + record->base_length;

        if (drop->search.guesses_left == 0)
                return false;
        drop->search.guesses_left--;
        keywords += strcspn(keywords, "abcdefghijklmnopqrstuvwxyz");
        memcpy(name, old, record->base_length);
        *info = '\0';
        if (is_there(drop, record, FOLDER_NEW, name) || is_there(drop, record, FOLDER_CUR, name))
                return true;
        for (unsigned set = 0; set < 1u << (sizeof(flags) - 1); set++) {
                char *end = info + sizeof(":2,") - 1;

                memcpy(info, ":2,", sizeof(":2,") - 1);
                for (unsigned flag = 0; flag < sizeof(flags) - 1; flag++)
                        if (set >> flag & 1)
                                *end++ = flags[flag];
                memcpy(end, keywords, strlen(keywords) + 1);
                if (is_there(drop, record, FOLDER_CUR, name))
                        return true;
        }
        return false;
}

int
search_message(struct maildrop *drop, struct record *record)
{
        struct stamp stamps[FOLDERS];

        if (folders_stamp(drop, stamps) != 0)
                return -1;
        return !is_search_due(drop, stamps) || guess(drop, record) ? 0 : search_anew(drop);
}

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
