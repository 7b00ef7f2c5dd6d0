/*
 * clocks.c - what maildir/ makes of the time: a first count that is long, a search that was made just
 * now, files that changed since a message was sent.
 */
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>

#include "drop.h"

static time_t leap;             /* how far the monotonic clock goes on whenever it is looked at */
static time_t ahead;            /* of what it would be */
static time_t stopped;          /* where it stands still; 0: it goes */
static ino_t last_index;        /* the file that pop3d.index was when it was looked at last */
static int indexes;             /* how many files it has been */

/* Stands in for libc's. */
int
clock_gettime(clockid_t clock, struct timespec *now)
{
        struct stat status;
#ifdef SYS_clock_gettime64
        long result = syscall(SYS_clock_gettime64, clock, now);
#else
        long result = syscall(SYS_clock_gettime, clock, now);
#endif

        if (clock != CLOCK_MONOTONIC)
                return (int)result;
        ahead += leap;
        now->tv_sec += ahead;
        if (stopped != 0)
                *now = (struct timespec){ .tv_sec = stopped };
        if (leap > 0 && stat(path_of("pop3d.index"), &status) == 0 && status.st_ino != last_index) {
                last_index = status.st_ino;
                indexes++;
        }
        return (int)result;
}

static void
ids_of(const struct maildrop *drop, char ids[2][UNIQUE_ID_MAX + 1])
{
        for (size_t i = 0; i < 2; i++)
                ids[i][maildrop_unique_id(drop, i + 1, ids[i])] = '\0';
}

/* Whether a session needs to read neither the folders nor the index. */
static bool
is_believed(void)
{
        const char *part;
        struct maildrop *drop = maildrop_open(maildir_open(root), NULL, 0, INDEX_SECONDS_BY_KIND, &part);
        bool is_unread = drop != NULL && drop_length(drop) == 0;

        if (drop != NULL)
                maildrop_close(drop);
        return is_unread;
}

/* A first count that takes long ends as one that does not, and what is counted is written meanwhile. */
static void
test_long_count(void)
{
        char ids[2][UNIQUE_ID_MAX + 1], same[2][UNIQUE_ID_MAX + 1];
        struct maildrop *drop;
        bool is_known;

        begin();
        put_text("cur/1.a:2,", "one\n");
        put_text("cur/1.a:2,S", "another\n");
        for (char number = '2'; number <= '9'; number++)
                put_text((char[]){ 'c', 'u', 'r', '/', number, '.', 'b', '\0' }, "text\n");
        wait_for_clock();
        drop = session();
        ids_of(drop, ids);
        maildrop_close(drop);
        test(strcmp(ids[0], ids[1]) != 0 && strlen(ids[0]) == 32, "unique-ids of a short count");
        unlink(path_of("pop3d.index"));
        unlink(path_of("pop3d.ids"));
        leap = 1;
        drop = session();
        leap = 0;
        ids_of(drop, same);
        test(maildrop_totals(drop)->count == 10 && maildrop_totals(drop)->octets == 5 + 9 + 8 * 6,
            "a long count is the same count");
        test(strcmp(ids[0], same[0]) == 0 && strcmp(ids[1], same[1]) == 0, "the unique-ids are the same");
        test(indexes >= 2, "what is counted is written meanwhile, more than once");
        is_known = drop->kind->tells_changes;
        maildrop_close(drop);
        test(!is_known || is_believed(), "and in the end the index is believed as another one");
}

/* One message that is not counted lets the next session read the folders. */
static void
test_uncounted(void)
{
        struct maildrop *drop = session_with_two();
        bool tells_changes = drop->kind->tells_changes;

        drop_records(drop)[0].flags |= UNCOUNTED;
        maildrop_close(drop);
        if (tells_changes) {
                test(!is_believed(), "an index where something is not counted is not believed");
                test(is_believed(), "until that is counted");
        }
}

/* While another program writes a message it is counted in each session; then once more, and never again. */
static void
test_half_written(void)
{
        struct maildrop *drop = session_with_two();
        bool is_known = drop->kind->is_local && drop->kind->tells_changes;
        int writer;

        maildrop_close(drop);
        put_text("new/3.c", "half, ");
        writer = open(path_of("new/3.c"), O_WRONLY | O_APPEND);
        for (uint64_t octets = 8; is_known && octets <= 14; octets += 6) {
                wait_for_clock();
                drop = session();
                test(maildrop_message_octets(drop, 3) == octets, "a message is counted as far as it is written");
                test(message_open(drop, 3) == 0 && close(drop->reading.file) == 0 &&
                    (drop_records(drop)[2].flags & UNCOUNTED) != 0, "and stays uncounted, though it was read");
                maildrop_close(drop);
                if (write(writer, "more, ", 6) != 6)
                        abort();
        }
        close(writer);
        wait_for_clock();
        test(!is_known || !is_believed(), "until nobody writes it");
        drop = session();
        test(!is_known || (maildrop_message_octets(drop, 3) == 20 && maildrop_totals(drop)->octets == 30),
            "then all of it is counted");
        maildrop_close(drop);
        test(!is_known || is_believed(), "and the index is believed again");
}

/* Whether another program's file is met by a search for a message that is gone. */
static bool
searches(struct maildrop *drop)
{
        drop->search.strays.used = 0;
        return search_message(drop, drop_records(drop)) == 0 && drop->search.strays.used > 0;
}

/* A search is repeated until it was made clearly after the folders got their stamps. */
static void
test_search(void)
{
        struct maildrop *drop = session_with_two();
        unlink(path_of("cur/1.a"));
        put_text("cur/3.c", "three\n");
        stopped = 1000;
        test(searches(drop), "a message that is gone is looked for");
        stopped += 2;
        test(searches(drop), "and again, while a clock may have stood still");
        stopped++;
        test(searches(drop), "and once after that");
        test(!searches(drop), "but then no more");
        put_text("cur/4.d", "four\n");
        test(searches(drop), "until the folders change");
        stopped = 0;
        maildrop_close(drop);
}

/* Whether a message is opened without asking what its file is, if the file system is one that tells changes. */
static bool
opens_unasked(struct maildrop *drop, size_t number)
{
        bool is_unasked = message_open(drop, number) == 0 && drop->reading.before.st_ino == 0;

        close(drop->reading.file);
        return is_unasked;
}

static struct maildrop *
session_of_kind(struct file_system *kind, bool tells_changes)
{
        struct maildrop *drop = session();

        *kind = *drop->kind;
        kind->tells_changes = tells_changes;
        drop->kind = kind;
        return drop;
}

static void
test_unasked(void)
{
        static char large[PIECE_SIZE + 2];
        struct file_system kind;
        struct maildrop *drop;
        struct moment first;

        begin();
        memset(large, 'x', sizeof(large));
        put_text("cur/1.a", "one\n");
        put_text("cur/2.b", "two\n");
        put_text("cur/3.c", "");
        put("cur/4.d", large, PIECE_SIZE);
        put("cur/5.e", large, PIECE_SIZE - 3);
        put_text("cur/6.f:2,", "six\n");
        put_text("cur/6.f:2,S", "seven\n");
        wait_for_clock();
        drop = session_of_kind(&kind, true);
        test(opens_unasked(drop, 1) && drop->reading.piece_length == 4 && drop->unasked.seconds != 0,
            "a small message is opened unasked");
        first = drop->unasked;
        ahead += 60;
        test(opens_unasked(drop, 2) && drop->unasked.seconds == first.seconds && drop->unasked.ahead == first.ahead,
            "when that was is known of the first one");
        test(!opens_unasked(drop, 3), "not an empty one");
        test(!opens_unasked(drop, 4) && opens_unasked(drop, 5), "nor one that is more than a piece");
        test(!opens_unasked(drop, 6) && !opens_unasked(drop, 7), "nor one that has a namesake");
        drop_records(drop)[0].flags |= UNCOUNTED;
        test(!opens_unasked(drop, 1), "nor one that is not counted");
        drop_records(drop)[0].flags &= (uint8_t)~UNCOUNTED;
        drop_records(drop)[0].octets++;
        test(!opens_unasked(drop, 1) && drop_records(drop)[0].octets == 5, "nor one whose count is wrong");
        drop->is_disordered = true;
        test(!opens_unasked(drop, 2), "nor when namesakes cannot be told");
        drop->is_disordered = false;
        kind.tells_changes = false;
        test(!opens_unasked(drop, 2), "nor where a read may give less than there is");
        kind.tells_changes = true;
        test(opens_unasked(drop, 2), "else it is");
        maildrop_close(drop);
}

static int
discard(struct output *output)
{
        output->used = 0;
        return 0;
}

/* What was sent unasked fits while its file is clearly older than the sending, or has the same octets. */
static void
test_older_than_sending(void)
{
        static const struct { const char *what; time_t later, set_back; bool fits; } cases[] = {
                { "a file that changed when it was sent", 0, 0, false },
                { "or two seconds before", 2, 0, false },
                { "or three", 3, 0, true },
                { "and a clock that was set back by more than that", 100, 5, false },
                { "and one that was set on", 100, -5, true },
        };
        static char room[4096];
        struct output output = { .data = room, .size = sizeof(room), .flush = discard };
        struct file_system kind;
        struct maildrop *drop;
        struct moment sent;
        struct stat status;

        begin();
        put_text("cur/1.a", "one\n");
        wait_for_clock();
        drop = session_of_kind(&kind, true);
        test(message_open(drop, 1) == 0 && message_send(drop, UINT64_MAX, &output) == 0, "it is sent");
        sent = drop->unasked;
        for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
                put_text("cur/1.a", "eno\n");
                stat(path_of("cur/1.a"), &status);
                drop->unasked.seconds = status.st_ctim.tv_sec + cases[i].later;
                drop->unasked.ahead = sent.ahead + cases[i].set_back;
                test(record_fits(drop, drop_records(drop), FOLDER_CUR, "1.a", &status) == cases[i].fits, cases[i].what);
                put_text("cur/1.a", "one\n");
                test(record_fits(drop, drop_records(drop), FOLDER_CUR, "1.a", &status), "with the same octets");
                put_text("cur/1.a", "one more\n");
                stat(path_of("cur/1.a"), &status);
                test(!record_fits(drop, drop_records(drop), FOLDER_CUR, "1.a", &status), "with more octets");
        }
        maildrop_close(drop);
}

int
main(void)
{
        make_root();
        test_long_count();
        test_uncounted();
        test_half_written();
        test_search();
        test_unasked();
        test_older_than_sending();
        remove_root();
        return test_end();
}
