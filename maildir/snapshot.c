/*
 * snapshot.c - one numbered list, of what the index says and what the folders show.
 * Runs in:   the TRANSACTION process, as the mail user.
 * May touch: what folder.c, index.c, count.c and uniqueid.c touch.
 *
 * When the index may be believed
 * ------------------------------
 * An index is true as long as the folders are as they were when they were read for it. A
 * folder's stamp (inode, mtime and ctime) shows whether it changed, with one gap: a clock
 * goes in ticks, and of two changes in the same tick the second one leaves no trace. On some
 * file systems, after a crash or a repair of the disk a stamp shows less; see 8.
 *
 * 1. At the login drop_fix() compares the stamps of new/ and cur/ with those in the header
 *    of pop3d.index. If they are equal and drop_believes() them, the header's count and octets
 *    answer STAT, and nothing else is read. The records follow when a command first needs
 *    them (maildrop_load()).
 * 2. If not, or if there is no index, drop_read() reads the folders. If just one of them has
 *    another stamp, and the index may be believed otherwise, that one alone is read, on a local file
 *    system (believes_one()): for a delivery to new/ a large cur/ need not be. Messages that the
 *    index knows need not be counted again. First index_create() creates pop3d.index.new:
 *    its mtime is the time of the file system's own clock ("now"), the only clock that the
 *    stamps can be compared with. Where it cannot be created, now is 0.
 * 3. The gap: cur/ is changed in tick 100, we read it in tick 100, and it is changed once
 *    more in tick 100. Its stamp says 100 before and after the second change; an index with
 *    that stamp would hide this change for ever. Therefore a stamp that is not older than
 *    now, or that changed during the last reading, is stored as zero. Zero equals no stamp,
 *    so the next session reads the folders.
 * 4. A file that is renamed while its folder is read can be missed by that reading, under
 *    both names. Therefore read_until_quiet() reads both folders again until their stamps do
 *    not change during a reading, ATTEMPTS times at most, and twice in any case if cur/ is
 *    not older than now, which is the gap again. A file that any reading met counts. new/ is
 *    read before cur/, so that a message which moves on meanwhile is met in cur/.
 * 5. A message whose file is not where it was, in the course of the session, is looked for
 *    by the same readings (search.c). Unless something may have changed since the
 *    last search, the search is not repeated.
 * 6. If a message could not be counted, or its file was changed as late as now, or another program
 *    has it open to write it, it stays UNCOUNTED, and index_write() stores zero for both stamps: the
 *    next session reads the folders, and counts it again.
 * 7. What UPDATE removes or moves changes the stamps like any other change. The index is not
 *    written for it: the next session reads the folders.
 * 8. drop_believes() is what bounds the harm that a wrong stamp can do. Equal stamps count for
 *    nothing on a kind of file system that filesystem.c does not know to tell changes, unless
 *    -i is given; if all four times are whole seconds; if the index is older than -i says, than
 *    the start of this machine, or than now (its own mtime is later). The age is counted from
 *    its mtime, which is when both folders were last read: a reading that finds nothing new
 *    writes the index all the same, so that the next sessions need not read them; where one was
 *    not read, the new index takes the mtime over from the one before (index_write()).
 *    Where several machines change the folders, "now" is taken as CLOCKS_APART earlier.
 * 9. A first count may take longer than a session may last. So after COUNTING_SECONDS the messages get
 *    their unique-ids, and the index is written while the rest are UNCOUNTED still (count_rest()).
 * 10. If a search (5) finds another list than the index had under the same stamps, index_write()
 *    stores zero for both: the next session reads the folders.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "internal.h"

#define SECOND UINT64_C(1000000000)

enum { COUNTING_SECONDS = 2 };  /* of a count that takes no longer the index is written once */

/* How far apart the clocks of two machines may be that share a file system. */
#define CLOCKS_APART (2 * SECOND)

struct maildrop *
drop_create(int directory, int index_seconds)
{
        struct maildrop *drop = calloc(1, sizeof(*drop));

        if (drop == NULL)
                return NULL;
        drop->directory = directory;
        drop->lock = drop->index.file = drop->index.next = -1;
        drop->folders[FOLDER_NEW] = drop->folders[FOLDER_CUR] = -1;
        drop->part = "";
        drop->kind = file_system_of(directory);
        if (index_seconds == INDEX_SECONDS_BY_KIND)
                index_seconds = drop->kind->tells_changes ? INDEX_SECONDS : 0;
        drop->believed = (uint64_t)index_seconds * SECOND;
        return drop;
}

/* When the index may be believed */

/* Such stamps are not fine enough: a second is long, and a clock may be set back by one. */
static bool
are_whole_seconds(const struct stamp stamps[FOLDERS])
{
        for (int folder = 0; folder < FOLDERS; folder++)
                if (stamps[folder].modified % SECOND != 0 || stamps[folder].changed % SECOND != 0)
                        return false;
        return true;
}

/*
 * Whether the index was written not longer ago than it is believed, since this machine was
 * started, and not in the future, which only a clock that was set back could tell.
 */
static bool
is_young(const struct maildrop *drop)
{
        struct timespec now = { 0 }, running = { 0 };
        uint64_t age;

        (void)clock_gettime(CLOCK_REALTIME, &now);
        (void)clock_gettime(CLOCK_BOOTTIME, &running);
        if (time_nanoseconds(&now) < drop->index.written)
                return false;
        age = time_nanoseconds(&now) - drop->index.written;
        return age <= drop->believed && age <= time_nanoseconds(&running);
}

bool
drop_believes(const struct maildrop *drop, const struct stamp stamps[FOLDERS])
{
        return drop->believed != 0 && memcmp(stamps, drop->index.header.folders,
            FOLDERS * sizeof(*stamps)) == 0 && !are_whole_seconds(stamps) && is_young(drop);
}

/*
 * Whether a folder need not be read that bears the index's stamp, although the other one does not. Where
 * other machines change the folders, this one may remember one folder's stamp for longer than the other's,
 * and a message that was moved would be in neither. The check (-c) is to look at all there is.
 */
static bool
believes_one(const struct maildrop *drop)
{
        /* if they are not in order no records were loaded */
        return drop->is_in_order && drop->kind->is_local && !drop->is_only_looked_at &&
            drop->believed != 0 && !are_whole_seconds(drop->index.header.folders) && is_young(drop);
}

/* The time that a folder's stamp must be older than if the index is to have it; 0: none is. */
static uint64_t
settled_before(const struct maildrop *drop)
{
        if (drop->kind->is_local)
                return drop->clock;
        return drop->clock > CLOCKS_APART ? drop->clock - CLOCKS_APART : 0;
}

/* The order of delivery */

int
drop_sort(struct maildrop *drop)
{
        size_t count = drop_length(drop);
        struct area spare = { 0 };

        if (area_reserve(&spare, (count + 1) / 2 * sizeof(struct record)) != 0)
                return -1;
        records_sort(drop_records(drop), count, (void *)spare.data, drop->text.data);
        area_free(&spare);
        drop->is_disordered = false;
        return 0;
}

/* Messages with the same base name */

/* Where a file of a group is. */
struct place {
        const char *name;
        struct record *record;
};

/* The order of folders and names, then that in which the names were written down. */
static int
compare_places(const void *first, const void *second)
{
        const struct place *a = first, *b = second;
        int order = (a->record->flags & IN_CUR) - (b->record->flags & IN_CUR);

        if (order == 0)
                order = strcmp(a->name, b->name);
        return order != 0 ? order : a->name < b->name ? -1 : 1;
}

/*
 * Two records of one group may have the same folder and file name: one file replaced the
 * other while the folders were read. The one whose name was written down later is there; the
 * other one loses SEEN.
 */
static int
forget_replaced(struct record *group, size_t count, const char *text, struct area *places)
{
        struct place *place;

        if (area_reserve(places, count * sizeof(*place)) != 0)
                return -1;
        place = (void *)places->data;
        for (size_t i = 0; i < count; i++)
                place[i] = (struct place){ text + group[i].name, group + i };
        qsort(place, count, sizeof(*place), compare_places);
        for (size_t i = 0; i + 1 < count; i++)
                if ((place[i + 1].record->flags & SEEN) != 0 &&
                    ((place[i].record->flags ^ place[i + 1].record->flags) & IN_CUR) == 0 &&
                    strcmp(place[i].name, place[i + 1].name) == 0)
                        place[i].record->flags &= (uint8_t)~SEEN;
        return 0;
}

/*
 * Decides for the FRESH files of a group, all with one base name, which messages they are.
 * If exactly one known message is gone and exactly one file is FRESH, the file is that
 * message, put back by a restore: it gets that unique-id. Else, if there are several files,
 * each FRESH one is a message of its own, SHARED, whose unique-id cannot be the base name.
 */
static void
compare_namesakes(struct record *group, struct record *end, const char *text)
{
        struct record *gone = NULL, *fresh = NULL;
        size_t gone_count = 0, fresh_count = 0, here_count = 0;

        for (struct record *record = group; record < end; record++) {
                bool is_here = (record->flags & SEEN) != 0;

                here_count += is_here;
                if (is_here && (record->flags & FRESH) != 0) {
                        fresh = record;
                        fresh_count++;
                } else if (!is_here && (record->flags & FRESH) == 0) {
                        gone = record;
                        gone_count++;
                }
        }
        if (gone_count == 1 && fresh_count == 1) {
                fresh->id = gone->id;
                fresh->id_length = gone->id_length;
                fresh->flags &= (uint8_t)~FRESH;
        } else if (here_count > 1) {
                for (struct record *record = group; record < end; record++)
                        if (record->flags & FRESH)
                                record->flags |= SHARED;
        }
}

/* Drops the records whose files are not there. *has_fresh: whether any that stays is FRESH. */
static int
forget_unseen(struct maildrop *drop, bool *has_fresh)
{
        struct record *record = drop_records(drop), *to = record, *end = record + drop_length(drop);
        const char *text = drop->text.data;
        struct area places = { 0 };
        int result = 0;

        *has_fresh = false;
        for (struct record *group = record; record < end; group = record) {
                do
                        record++;
                while (record < end && record_compare(group, text, record, text) == 0);
                if (record - group > 1) {
                        result |= forget_replaced(group, (size_t)(record - group), text, &places);
                        compare_namesakes(group, record, text);
                }
                for (; group < record; group++)
                        if (group->flags & SEEN) {
                                *has_fresh |= (group->flags & FRESH) != 0;
                                *to++ = *group;
                        }
        }
        drop->records.used = (size_t)(to - drop_records(drop)) * sizeof(*to);
        area_free(&places);
        return result;
}

/* The whole */

static time_t
running_seconds(void)
{
        struct timespec now = { 0 };

        (void)clock_gettime(CLOCK_MONOTONIC, &now);
        return now.tv_sec;
}

/*
 * Counts records that have these flags, from *at on, until that is done for all or a moment has
 * come; *at is then where to go on.
 */
static int
count_until(struct maildrop *drop, uint8_t flags, time_t end, size_t *at)
{
        for (; *at < drop_length(drop) && running_seconds() < end; ++*at) {
                struct record *record = drop_records(drop) + *at;

                if ((record->flags & flags) == flags && record_count(drop, record) != 0)
                        return -1;
        }
        return 0;
}

/*
 * Counts what was not counted yet. This is done before the records are sorted, because it is
 * faster in the order in which the folders tell the files. Where it takes long it ends early, and
 * count_rest() goes on; *is_early is then true. The check (-c) has no index to write meanwhile.
 */
static int
count_uncounted(struct maildrop *drop, time_t began, bool *is_early)
{
        const time_t end = drop->is_only_looked_at ? INT32_MAX : began + COUNTING_SECONDS;
        size_t at = 0;

        if (count_until(drop, UNCOUNTED | SEEN, end, &at) != 0)
                return -1;
        *is_early = at < drop_length(drop);
        return 0;
}

/* Before they get unique-ids: a digest of messages that share a base name is made of their counts. */
static int
count_namesakes(struct maildrop *drop)
{
        for (size_t i = 0; i < drop_length(drop); i++) {
                struct record *record = drop_records(drop) + i;

                if ((record->flags & UNCOUNTED) != 0 && record_has_namesake(drop, record) &&
                    record_count(drop, record) != 0)
                        return -1;
        }
        return 0;
}

/*
 * Counts the rest, and writes the index again and again meanwhile, so that a session that is killed
 * has not counted in vain: the next one goes on. Each time it waits half as long as it took so far,
 * so that of a long count a third may be lost, and writing takes little of it.
 */
static int
count_rest(struct maildrop *drop, time_t began)
{
        struct stamp stamps[FOLDERS];
        size_t at = 0;

        /* index_write() makes them zero, for there is something UNCOUNTED */
        memcpy(stamps, drop->index.header.folders, sizeof(stamps));
        while (at < drop_length(drop)) {
                time_t now;

                drop->index_is_due = true;
                index_write(drop);
                now = running_seconds();
                if (count_until(drop, UNCOUNTED, now + 1 + (now - began) / 2, &at) != 0)
                        return -1;
        }
        memcpy(drop->index.header.folders, stamps, sizeof(stamps));
        return 0;
}

static void
add_up(struct maildrop *drop)
{
        struct maildrop_totals *totals = &drop->totals;

        totals->count = drop_length(drop);
        drop->octets_low = drop->octets_high = totals->octets = 0;
        for (size_t i = 0; i < totals->count; i++)
                totals_add(drop, drop_records(drop)[i].octets);
}

int
drop_load(struct maildrop *drop)
{
        drop->is_in_order = index_load(drop) == 0;
        if (!drop->is_in_order)
                return -1;
        add_up(drop);
        return ids_assign(drop);
}

int
drop_read(struct maildrop *drop)
{
        size_t known = drop_length(drop), known_text = drop->text.used;
        struct stamp *stamps = drop->index.header.folders;
        const time_t began = running_seconds();
        bool has_fresh, is_early;

        if (!believes_one(drop))
                memset(stamps, 0, FOLDERS * sizeof(*stamps));
        index_create(drop);
        drop->clock = index_clock(drop);
        drop->is_in_order = false;
        if (folders_read(drop, settled_before(drop), stamps) != 0 ||
            count_uncounted(drop, began, &is_early) != 0 || drop_sort(drop) != 0)
                return -1;
        if (drop->believed == 0 || are_whole_seconds(stamps))
                memset(stamps, 0, FOLDERS * sizeof(*stamps));
        if (forget_unseen(drop, &has_fresh) != 0 || (is_early && count_namesakes(drop) != 0))
                return -1;
        drop->is_in_order = true;
        if (ids_settle(drop, has_fresh) != 0 || (is_early && count_rest(drop, began) != 0))
                return -1;
        /* what could not be kept the next session tries to keep; and pop3d.ids may not be the later one */
        if ((drop->has_list && drop->keep_error != 0) || (drop->is_partly_read && kept_is_later(drop)))
                memset(stamps, 0, FOLDERS * sizeof(*stamps));
        add_up(drop);
        /*
         * The index lacks something if a file is new, was renamed or is gone. (note_file()
         * appends the name of a new or renamed file to the text.) Else writing it pays only
         * if the stamps can be stored, for then the next session need not read the folders.
         */
        drop->index_is_due = is_early || drop->text.used != known_text || drop->totals.count != known ||
            stamps[FOLDER_NEW].inode != 0 || stamps[FOLDER_CUR].inode != 0;
        return 0;
}

int
drop_fix(struct maildrop *drop)
{
        const struct index_header *header = &drop->index.header;
        struct stamp now[FOLDERS];

        if (folders_open(drop) != 0 || index_open(drop) != 0)
                return -1;
        if (index_is_unread(drop)) {
                if (folders_stamp(drop, now) == 0 && drop_believes(drop, now)) {
                        drop->totals.count = (size_t)header->count;
                        totals_add(drop, header->octets);
                        return 0;
                }
                /* a damaged index is as good as none */
                if (drop_load(drop) != 0 && errno != DAMAGED)
                        return -1;
        }
        drop->part = "";
        return drop_read(drop);
}
