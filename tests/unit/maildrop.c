/*
 * maildrop.c - one session against a Maildir that others work in, step by step.
 */
#include <dirent.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "drop.h"

enum { LARGE = 300000 };

static char sent[2 * LARGE + 100];
static size_t sent_length;
static void (*between)(void);   /* what another program does while a message is sent */
static bool (*at_reading)(void);        /* of a piece of a folder, which may fail */
static bool tells_no_inodes;    /* a folder's entries have no inode numbers, as on sshfs */
static bool lacks_noreplace;    /* the file system does not know RENAME_NOREPLACE */
static int failures_left;       /* how often a file cannot be removed */
static int lies_left;           /* how often a removal succeeds and does nothing */
static int sync_error;          /* errno of each fsync(), which fails then; or 0 */

static int
gather(struct output *output)
{
        if (between != NULL)
                between();
        between = NULL;
        memcpy(sent + sent_length, output->data, output->used);
        sent_length += output->used;
        output->used = 0;
        return 0;
}

static int
retrieve(struct maildrop *drop, size_t number)
{
        static char room[4096];
        struct output output = { .data = room, .size = sizeof(room), .flush = gather };

        sent_length = 0;
        if (message_open(drop, number) != 0)
                return -1;
        if (message_send(drop, UINT64_MAX, &output) != 0)
                return -2;
        gather(&output);
        sent[sent_length] = '\0';
        return 0;
}

static void
test_nothing(void)
{
        const char *part;
        struct maildrop_update update;
        struct maildrop *drop = maildrop_open(-1, NULL, 0, INDEX_SECONDS_BY_KIND, &part);

        test(drop != NULL && maildrop_totals(drop)->count == 0 && maildrop_totals(drop)->octets == 0 &&
            maildrop_load(drop, &part) == 0 && !maildrop_has(drop, 1) && !maildrop_has(drop, 0) &&
            maildrop_totals(drop)->total == 0, "a maildrop not yet there is empty");
        maildrop_reset(drop);
        maildrop_update(drop, &update);
        test(update.marked == 0 && update.remaining == 0 && update.error == 0, "and has no UPDATE");
        maildrop_close(drop);
}

static void
test_failures_to_open(void)
{
        const char *part = NULL;
        struct maildrop *first;

        begin();
        test(maildir_open(path_of("nothing")) == -1 && errno == ENOENT, "no Maildir");
        put_text("file", "");
        test(maildir_open(path_of("file")) == -1 && errno == ENOTDIR, "a file for a Maildir");
        rmdir(path_of("cur"));
        test(maildrop_open(maildir_open(root), NULL, 0, INDEX_SECONDS_BY_KIND, &part) == NULL && errno == ENOENT &&
            strcmp(part, "/cur") == 0, "no cur/");
        test(symlink("tmp", path_of("cur")) == 0 &&
            maildrop_open(maildir_open(root), NULL, 0, INDEX_SECONDS_BY_KIND, &part) == NULL && errno == ENOTDIR &&
            strcmp(part, "/cur") == 0, "a link for cur/");
        begin();
        first = maildrop_open(maildir_open(root), NULL, 0, INDEX_SECONDS_BY_KIND, &part);
        test(maildrop_open(maildir_open(root), NULL, 100, INDEX_SECONDS_BY_KIND, &part) == NULL && errno == EWOULDBLOCK &&
            part[0] == '\0', "a second session");
        maildrop_close(first);
        first = maildrop_open(maildir_open(root), NULL, 0, INDEX_SECONDS_BY_KIND, &part);
        test(first != NULL, "the lock is gone with its holder");
        maildrop_close(first);
}

static void
test_order_and_numbers(void)
{
        struct maildrop *drop;
        struct maildrop_update update;

        begin();
        put_text("cur/10.c:2,S", "three\n");
        put_text("new/9.z", "one\n");
        put_text("new/10.b", "two\n");
        put_text("cur/.hidden", "x");
        mkdir(path_of("cur/11.folder"), 0700);
        if (symlink("/etc/passwd", path_of("cur/12.link")) != 0 || mkfifo(path_of("new/13.fifo"), 0600) != 0)
                abort();
        drop = session();
        test(maildrop_totals(drop)->count == 3 && maildrop_totals(drop)->octets == 17, "count and octets");
        test(has_id(drop, 1, "9.z") && has_id(drop, 2, "10.b") && has_id(drop, 3, "10.c"),
            "the order of delivery");
        maildrop_delete(drop, 2);
        test(!maildrop_has(drop, 2) && maildrop_has(drop, 3) && maildrop_totals(drop)->count == 2 &&
            maildrop_totals(drop)->octets == 12 && maildrop_totals(drop)->total == 3, "DELE");
        maildrop_reset(drop);
        test(maildrop_has(drop, 2) && maildrop_totals(drop)->count == 3 && maildrop_totals(drop)->octets == 17, "RSET");
        maildrop_delete(drop, 1);
        test(retrieve(drop, 2) == 0 && strcmp(sent, "two\r\n.\r\n") == 0, "RETR");
        maildrop_update(drop, &update);
        maildrop_close(drop);
        test(update.marked == 1 && update.remaining == 0 && update.error == 0,
            "UPDATE");
        test(access(path_of("new/9.z"), F_OK) != 0 && access(path_of("new/10.b"), F_OK) != 0 &&
            access(path_of("cur/10.b:2,S"), F_OK) == 0 && access(path_of("cur/10.c:2,S"), F_OK) == 0,
            "what was deleted is gone, what was read is in cur/");
}

static void
test_move_overwrites_nothing(void)
{
        struct maildrop *drop;
        struct maildrop_update update;

        begin();
        put_text("new/1.a:2,F", "new\n");
        put_text("new/2.b", "new\n");
        put_text("cur/2.b:2,S", "old, another message\n");
        drop = session();
        for (size_t number = 1; number <= 3; number++)
                test(retrieve(drop, number) == 0, "RETR");
        maildrop_update(drop, &update);
        maildrop_close(drop);
        test(access(path_of("cur/1.a:2,FS"), F_OK) == 0, "flags stay when S is added");
        test(access(path_of("new/2.b"), F_OK) == 0 && access(path_of("cur/2.b:2,S"), F_OK) == 0,
            "a name that is taken is not taken away");
}

/* So many that finding them again takes more than one piece of the folder. */
static void
test_many_renamed(void)
{
        enum { MANY = 3000 };
        struct maildrop *drop;
        struct maildrop_update update;
        const char *part;
        bool is_good = true;
        char old[40], name[50];

        begin();
        for (int i = 0; i < MANY; i++) {
                snprintf(old, sizeof(old), "cur/%d.name-of-some-length", 10000 + i);
                put_text(old, "text\n");
        }
        wait_for_clock();
        maildrop_close(session());
        drop = session();
        test(maildrop_load(drop, &part) == 0 && maildrop_totals(drop)->count == MANY, "many messages");
        for (int i = 0; i < MANY; i++) {
                snprintf(old, sizeof(old), "cur/%d.name-of-some-length", 10000 + i);
                snprintf(name, sizeof(name), "%s:2,S", old);
                if (rename(path_of(old), path_of(name)) != 0)
                        abort();
        }
        for (size_t number = 1; number <= MANY; number += 7) {
                is_good &= retrieve(drop, number) == 0;
                maildrop_delete(drop, number);
        }
        test(is_good, "all renamed by another program, all found again");
        maildrop_update(drop, &update);
        test(update.marked == (MANY + 6) / 7 && update.remaining == 0, "and removed");
        maildrop_close(drop);
}

static void
grow_file(void)
{
        FILE *file = fopen(path_of("cur/1.large"), "a");

        if (file != NULL) {
                fputs("more\n", file);
                fclose(file);
        }
}

static void
shrink_file(void)
{
        if (truncate(path_of("cur/1.large"), 140000) != 0)
                abort();
}

static void
test_change_while_sent(void)
{
        static char content[LARGE];
        struct maildrop *drop;

        begin();
        memset(content, 'x', sizeof(content));
        put("cur/1.large", content, sizeof(content));
        drop = session();
        test(retrieve(drop, 1) == 0 && sent_length == LARGE + 5, "a large message");
        between = grow_file;
        test(retrieve(drop, 1) == -2, "one that grows is cut off");
        put("cur/1.large", content, sizeof(content));
        between = shrink_file;
        test(retrieve(drop, 1) == -2, "one that shrinks is cut off");
        test(retrieve(drop, 1) == 0 && sent_length == 140000 + 5 &&
            maildrop_message_octets(drop, 1) == 140002 && maildrop_totals(drop)->octets == 140002,
            "one that is smaller than it was is sent, and its count corrected");
        maildrop_close(drop);
        drop = session();
        test(maildrop_totals(drop)->octets == 140002, "for the sessions to come too");
        maildrop_close(drop);
}

static void
grow_unnoticed(void)
{
        struct stat status;
        int fd = open(path_of("cur/1.a"), O_WRONLY | O_APPEND);

        if (fd < 0 || fstat(fd, &status) != 0 || write(fd, sent, LARGE) != LARGE ||
            futimens(fd, (const struct timespec[2]){ status.st_atim, status.st_mtim }) != 0)
                abort();
        close(fd);
}

/* A file of whole pieces is read to where it ended at first, and its time tells nothing. */
static void
test_growth_while_sent(void)
{
        static char content[2 * PIECE_SIZE];
        struct maildrop *drop;

        begin();
        memset(content, 'x', sizeof(content));
        put("cur/1.a", content, sizeof(content));
        drop = session();
        between = grow_unnoticed;
        test(retrieve(drop, 1) == -2, "a message that grows while it is sent is not sent to an end");
        maildrop_close(drop);
}

static void
test_others(void)
{
        struct maildrop *drop;
        struct maildrop_update update;

        begin();
        put_text("new/1.a", "one\n");
        put_text("cur/2.b:2,", "two\n");
        put_text("cur/3.c:2,", "three\n");
        put_text("cur/4.d:2,", "four\n");
        drop = session();
        rename(path_of("new/1.a"), path_of("cur/1.a:2,S"));
        rename(path_of("cur/2.b:2,"), path_of("cur/2.b:2,RS"));
        unlink(path_of("cur/3.c:2,"));
        put_text("new/5.e", "five\n");
        test(retrieve(drop, 1) == 0 && strcmp(sent, "one\r\n.\r\n") == 0, "a message moved to cur/");
        test(retrieve(drop, 2) == 0 && strcmp(sent, "two\r\n.\r\n") == 0, "a message with new flags");
        test(retrieve(drop, 3) == -1 && errno == ENOENT, "a message that is gone");
        test(retrieve(drop, 4) == 0 && !maildrop_has(drop, 5), "the others, and no new one");
        maildrop_delete(drop, 2);
        maildrop_delete(drop, 3);
        maildrop_delete(drop, 4);
        rename(path_of("cur/2.b:2,RS"), path_of("cur/2.b:2,"));
        rename(path_of("cur/4.d:2,"), path_of("cur/4.d:2,T"));
        maildrop_update(drop, &update);
        test(update.marked == 3 && update.remaining == 0 && access(path_of("cur/2.b:2,"), F_OK) != 0 &&
            access(path_of("cur/4.d:2,T"), F_OK) != 0, "UPDATE finds renamed messages, and misses none");
        test(access(path_of("new/5.e"), F_OK) == 0 && access(path_of("cur/1.a:2,S"), F_OK) == 0,
            "UPDATE removes no other");
        maildrop_close(drop);
        drop = session();
        test(maildrop_totals(drop)->count == 2 && has_id(drop, 1, "1.a") && has_id(drop, 2, "5.e"),
            "the next session has what is left, and what is new");
        maildrop_close(drop);
}

/* What took a message's place may be no file: a FIFO reads like an empty one, a link like another. */
static void
test_replaced_by_no_message(void)
{
        struct maildrop *drop;

        begin();
        put_text("cur/1.a", "one\n");
        drop = session();
        unlink(path_of("cur/1.a"));
        test(mkfifo(path_of("cur/1.a"), 0600) == 0 && retrieve(drop, 1) == -1 && errno == EINVAL,
            "a FIFO in the place of a message is not sent");
        unlink(path_of("cur/1.a"));
        put_text("outside", "not his\n");
        test(symlink("../outside", path_of("cur/1.a")) == 0 && retrieve(drop, 1) == -1,
            "nor what a link leads to");
        maildrop_close(drop);
}

/* Written over in place: neither the folder nor the index tells it. RETR does, once and for good. */
static void
test_wrong_count(void)
{
        struct maildrop *drop;

        begin();
        put_text("cur/1.a", "one\n");
        wait_for_clock();
        maildrop_close(session());
        put_text("cur/1.a", "three\n");
        wait_for_clock();
        drop = session();
        test(maildrop_message_octets(drop, 1) == 5, "the index is believed");
        test(retrieve(drop, 1) == 0 && maildrop_message_octets(drop, 1) == 7, "until RETR knows better");
        maildrop_close(drop);
        drop = session();
        test(maildrop_message_octets(drop, 1) == 7 && maildrop_totals(drop)->octets == 7,
            "and the next session knows it, too");
        test(drop->clock != 0, "but reads the folders: the index is not younger for what RETR knew");
        maildrop_close(drop);
}

/* A file of the name, which is told its size: count lines, then the text behind them. */
static void
put_lines(const char *name, size_t count, const char *line, const char *rest)
{
        static char content[20000];
        size_t used = 0;

        for (; count > 0; count--)
                used += (size_t)sprintf(content + used, "%s", line);
        used += (size_t)sprintf(content + used, "%s", rest);
        put(name, content, used);
}

/* What is told of the nine messages whose names announce octets; the octets that are right. */
static const struct {
        const char *name;
        size_t lines;
        const char *line, *rest;
        uint64_t told, right;
} hints[] = {
        { "cur/1.a,S=9000,W=12000", 3000, "ab\n", "", 12000, 12000 },
        { "cur/2.b,S=9000,W=11000", 3000, "ab\n", "", 11000, 12000 },  /* nothing shows that */
        { "cur/3.c,S=8999,W=11000", 3000, "ab\n", "", 12000, 12000 },
        { "cur/4.d,W=11000", 3000, "ab\n", "", 12000, 12000 },
        { "cur/5.e,S=9000,W=10300", 3000, "ab\n", "", 12000, 12000 },  /* fewer than near the end */
        { "cur/6.f,S=8000,W=12000", 2000, "ab\r\n", "", 8000, 8000 },  /* more than before that */
        { "cur/7.g,S=9003,W=12003", 3000, "ab\n", "end", 12005, 12005 },
        { "cur/8.h,S=4096,W=5462", 1365, "ab\n", ".", 5463, 5463 },    /* all is read anyway */
        { "cur/9.i,S=4098,W=5464", 1366, "ab\n", "", 5464, 5464 },
        { "cur/10.j,S=8000,W=5x", 2000, "ab\r\n", "", 8000, 8000 },
        { "cur/11.k,S=8000,W=99999999999999999999", 2000, "ab\r\n", "", 8000, 8000 },
        { "cur/12.l,S=6:2,W=9", 2, "ab\n", "", 8, 8 },
        { "cur/13.m,S=0,W=9", 0, "", "", 2, 2 },
};

static void
test_hints(void)
{
        struct maildrop *drop;

        begin();
        for (size_t i = 0; i < sizeof(hints) / sizeof(*hints); i++)
                put_lines(hints[i].name, hints[i].lines, hints[i].line, hints[i].rest);
        drop = session();
        for (size_t i = 0; i < sizeof(hints) / sizeof(*hints); i++)
                test(maildrop_message_octets(drop, i + 1) == hints[i].told, hints[i].name);
        for (size_t i = 0; i < sizeof(hints) / sizeof(*hints); i++)
                test(retrieve(drop, i + 1) == 0 && maildrop_message_octets(drop, i + 1) ==
                    hints[i].right, "RETR corrects it");
        maildrop_close(drop);
        drop = session();
        test(maildrop_message_octets(drop, 2) == 12000, "for ever");
        maildrop_close(drop);
}

/* How much of the index the next session believes: whether it finds a forged count. */
static bool
believes_index(void)
{
        const char *part;
        struct maildrop *drop;
        bool is_lazy;

        drop = maildrop_open(maildir_open(root), NULL, 0, INDEX_SECONDS_BY_KIND, &part);
        is_lazy = drop != NULL && index_is_unread(drop);
        if (drop != NULL)
                maildrop_close(drop);
        return is_lazy;
}

static void
test_index(void)
{
        struct maildrop *drop;

        begin();
        put_text("cur/1.a", "one\n");
        wait_for_clock();
        maildrop_close(session());
        test(believes_index(), "an unchanged maildrop is not read");
        chmod(path_of("pop3d.index"), 0602);
        test(!believes_index(), "an index that others may write is not believed");
        wait_for_clock();
        maildrop_close(session());
        test(believes_index(), "and replaced");
        put_text("new/2.b", "two\n");
        test(!believes_index(), "a delivery is seen");
        wait_for_clock();
        maildrop_close(session());
        unlink(path_of("cur/1.a"));
        drop = session();
        test(maildrop_totals(drop)->count == 1, "a removal too");
        maildrop_close(drop);
}

/* Why no session can be had with so few descriptors that the index cannot be opened. */
static int
error_without_descriptors(void)
{
        int directory = maildir_open(root);
        struct rlimit all, few;
        const char *part = "";
        struct maildrop *drop;
        int error;

        getrlimit(RLIMIT_NOFILE, &all);
        few = (struct rlimit){ (rlim_t)directory + 3, all.rlim_max };
        setrlimit(RLIMIT_NOFILE, &few);
        drop = maildrop_open(directory, NULL, 0, INDEX_SECONDS_BY_KIND, &part);
        error = drop == NULL ? errno : 0;
        setrlimit(RLIMIT_NOFILE, &all);
        if (drop != NULL)
                maildrop_close(drop);
        return strcmp(part, "/pop3d.index") == 0 ? error : 0;
}

static void
test_ids_last(void)
{
        static const char id[] = "0000000800000001";
        struct maildrop *drop;
        struct stat status = { .st_size = 0 };

        begin();
        put_text("cur/1.a", "one\n");
        put_text("dovecot-uidlist", "3 V1 N9 Gx\n1 :1.a\n8 :1.a\n");
        wait_for_clock();
        drop = session();
        test(has_id(drop, 1, id), "of two lines for one file the last counts");
        test(access(path_of("pop3d.ids"), F_OK) == 0,
            "beside a server that may be at work ids are kept before they are told");
        maildrop_close(drop);
        unlink(path_of("dovecot-uidlist"));
        test(error_without_descriptors() == EMFILE, "an index that cannot be opened now fails the session");
        drop = session();
        test(has_id(drop, 1, id), "and its ids stay");
        maildrop_close(drop);
        chmod(path_of("pop3d.index"), 0660);
        put_text("new/2.b", "two\n");
        drop = session();
        test(has_id(drop, 1, id), "nor does a group's right to write take them away");
        unlink(path_of("pop3d.index.new"));
        put_text("pop3d.index.new", "");
        maildrop_close(drop);
        test(stat(path_of("pop3d.index"), &status) == 0 && status.st_size > 0,
            "another host's session does not empty the index");
        unlink(path_of("pop3d.index.new"));
}

/* Instead of the C library's: what the product calls by number, and the first may fail. */
long
syscall(long number, ...)
{
        va_list arguments;
        const char *name, *new;
        int folder, to;
        long result;

        va_start(arguments, number);
        folder = va_arg(arguments, int);
        if (number == SYS_getdents64) {
                void *piece = va_arg(arguments, void *);

                result = at_reading != NULL && !at_reading() ? -1 :
                    getdents64(folder, piece, (size_t)va_arg(arguments, int));
                for (long at = 0; tells_no_inodes && at < result;) {
                        struct dirent64 *entry = (void *)((char *)piece + at);

                        entry->d_ino = UINT32_MAX;
                        at += entry->d_reclen;
                }
        } else {
                name = va_arg(arguments, const char *);
                to = va_arg(arguments, int);
                new = va_arg(arguments, const char *);
                errno = EINVAL;
                result = lacks_noreplace ? -1 :
                    renameat2(folder, name, to, new, (unsigned)va_arg(arguments, int));
        }
        va_end(arguments);
        return result;
}

/* Instead of the C library's, too. */
int
unlinkat(int folder, const char *name, int flags)
{
        char path[400];

        if (failures_left > 0) {
                failures_left--;
                errno = EIO;
                return -1;
        }
        if (lies_left > 0) {
                lies_left--;
                return 0;
        }
        snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", folder, name);
        return unlink(path);
}

int
fsync(int fd)
{
        errno = sync_error;
        return sync_error != 0 || fd < 0 ? -1 : 0;
}

static int readings;

/* A message goes while cur/ is read, and is looked for when it is counted. */
static bool
fail_search(void)
{
        readings++;
        if (readings == 4)
                unlink(path_of("cur/2.b"));
        errno = EIO;
        return readings != 9;
}

/* Nor does a search that fails make messages vanish, for this session and for those to come. */
static void
test_search_fails(void)
{
        const char *part = "";
        struct maildrop *drop;

        begin();
        put_text("cur/1.a", "one\n");
        put_text("cur/2.b", "two\n");
        put_text("cur/3.c", "three\n");
        wait_for_clock();
        at_reading = fail_search;
        drop = maildrop_open(maildir_open(root), NULL, 0, INDEX_SECONDS_BY_KIND, &part);
        test(drop == NULL && errno == EIO && readings == 9 && strcmp(part, "/new") == 0,
            "folders that cannot be read again");
        if (drop != NULL)
                maildrop_close(drop);
        at_reading = NULL;
        drop = session();
        test(maildrop_totals(drop)->count == 2 && maildrop_totals(drop)->octets == 12, "hide no message");
        maildrop_close(drop);
}

static int readings_made;

/* Between the readings of new/ and cur/ a message goes the other way; one reading misses it. */
static bool
move_back(void)
{
        if (++readings_made == 3)
                rename(path_of("cur/1.a:2,S"), path_of("new/1.a"));
        return true;
}

/* After new/ was read another file takes the place of the one that was met there. */
static bool
replace(void)
{
        if (++readings_made == 3)
                rename(path_of("tmp/anew"), path_of("new/1.a"));
        return true;
}

static size_t
count_while(bool (*what)(void))
{
        struct maildrop *drop;
        size_t count;

        wait_for_clock();
        readings_made = 0;
        at_reading = what;
        drop = session();
        at_reading = NULL;
        count = maildrop_totals(drop)->count;
        maildrop_close(drop);
        return count;
}

/* Each folder takes two readings, of which the second one finds no more. */
static void
test_changes_while_read(void)
{
        begin();
        put_text("cur/1.a:2,S", "one\n");
        put_text("new/2.b", "two\n");
        test(count_while(move_back) == 2, "a message that goes from cur/ to new/ is not missed");
        begin();
        put_text("new/1.a", "one\n");
        put_text("new/2.b", "two\n");
        put_text("tmp/anew", "another\n");
        test(count_while(replace) == 2, "one that another file replaces is one message");
}

static bool
count_reading(void)
{
        readings_made++;
        return true;
}

/* While new/ is read one message in cur/ goes, and another one comes. */
static bool
exchange_in_cur(void)
{
        if (++readings_made == 1) {
                unlink(path_of("cur/2.b"));
                put_text("cur/4.d", "four\n");
        }
        return true;
}

/* After new/ was read, what was met there is moved to cur/, which was not to be read. */
static bool
move_on(void)
{
        if (++readings_made == 2)
                rename(path_of("new/3.c"), path_of("cur/3.c:2,S"));
        return true;
}

static struct timespec
index_time(void)
{
        struct stat status = { 0 };

        test(stat(path_of("pop3d.index"), &status) == 0, "there is an index");
        return status.st_mtim;
}

/* A folder that is as the index says is not read when the other one has changed. Each takes two readings. */
static void
test_one_folder_is_read(void)
{
        struct timespec before, after;

        maildrop_close(session_with_two());
        before = index_time();
        put_text("new/3.c", "three\n");
        test(count_while(count_reading) == 3 && readings_made == 2, "for a delivery new/ alone is read");
        after = index_time();
        test(before.tv_sec == after.tv_sec && before.tv_nsec == after.tv_nsec, "and the index is not younger for it");
        test(count_while(count_reading) == 3 && readings_made == 0, "and the next session reads neither folder");
        unlink(path_of("new/3.c"));
        test(count_while(count_reading) == 2 && readings_made == 2, "for a removal from new/ that is read alone, too");
        unlink(path_of("cur/1.a"));
        test(count_while(count_reading) == 1 && readings_made == 2, "for one from cur/ that");
        put_text("new/4.d", "four\n");
        put_text("cur/5.e", "five\n");
        test(count_while(count_reading) == 3 && readings_made == 4, "both for changes in both");
        after = index_time();
        test(before.tv_sec != after.tv_sec || before.tv_nsec != after.tv_nsec, "and then it is young again");
}

static void
test_other_folder_changes_meanwhile(void)
{
        maildrop_close(session_with_two());
        put_text("new/3.c", "three\n");
        test(count_while(exchange_in_cur) == 3 && readings_made == 6, "if cur/ changes meanwhile it is read");
        maildrop_close(session_with_two());
        put_text("new/3.c", "three\n");
        test(count_while(move_on) == 3 && readings_made == 6, "a message that is moved there is one message");
        test(count_while(NULL) == 3, "and so it is in the next session");
}

/* Files in new/ that may be those of messages in cur/, which is not read. */
static void
test_namesake_of_unread_folder(void)
{
        struct maildrop_update update;
        struct maildrop *drop;

        maildrop_close(session_with_two());
        test(link(path_of("cur/1.a"), path_of("new/1.a")) == 0, "a hard link");
        test(count_while(count_reading) == 2 && readings_made == 2, "of a message is no other message");
        drop = session();
        maildrop_delete(drop, 1);
        maildrop_update(drop, &update);
        test(update.remaining == 0 && access(path_of("cur/1.a"), F_OK) != 0 && access(path_of("new/1.a"), F_OK) != 0,
            "and goes with it");
        maildrop_close(drop);
        test(count_while(NULL) == 1, "there is one left");
        put_text("new/2.b", "another\n");
        test(count_while(count_reading) == 2 && readings_made == 2, "a file with the name of a message is another one");
        drop = session();
        test(has_id(drop, 1, "2.b") != has_id(drop, 2, "2.b"), "with a unique-id of its own");
        maildrop_close(drop);
}

/* What was added to pop3d.ids is later than an index that keeps its age. */
static void
test_ids_after_the_index(void)
{
        maildrop_close(session_with_two());
        put_text("cur/3 with blanks", "three\n");
        put_text("new/4.d", "four\n");
        test(count_while(count_reading) == 4 && readings_made == 4, "a name that is no unique-id");
        put_text("new/5 with blanks", "five\n");
        test(count_while(count_reading) == 5 && readings_made == 2, "one more of them, where new/ alone is read");
        test(count_while(count_reading) == 5 && readings_made == 4, "after that both folders are read");
        test(count_while(count_reading) == 5 && readings_made == 0, "once");
}

/* A folder that was changed in the present tick of the clock may change in it once more. */
static void
test_tick(void)
{
        struct stamp before[FOLDERS], after[FOLDERS];
        struct maildrop *drop;
        uint64_t now;

        begin();
        put_text("new/1.a", "one\n");
        drop = drop_create(maildir_open(root), INDEX_SECONDS_BY_KIND);
        test(drop != NULL && folders_open(drop) == 0 && folders_stamp(drop, before) == 0, "stamps of folders");
        now = before[FOLDER_NEW].changed;
        test(folders_read(drop, now, after) == 0 && after[FOLDER_NEW].inode == 0,
            "one of this very moment is not believed");
        test(folders_read(drop, now + 1, after) == 0 && after[FOLDER_NEW].inode == before[FOLDER_NEW].inode,
            "one of a moment before is");
        maildrop_close(drop);
}

/* Where the folders cannot be looked at nobody knows that a message is gone. */
static void
test_search_cannot_begin(void)
{
        struct maildrop *drop;
        int folder;

        begin();
        put_text("cur/1.a:2,", "one\n");
        drop = session();
        rename(path_of("cur/1.a:2,"), path_of("cur/1.a:2,S"));
        folder = drop->folders[FOLDER_NEW];
        drop->folders[FOLDER_NEW] = -1;
        test(retrieve(drop, 1) == -1 && errno == EBADF, "a search that fails is no missing message");
        drop->folders[FOLDER_NEW] = folder;
        test(retrieve(drop, 1) == 0, "and it is found later");
        maildrop_close(drop);
}

/* Of many messages that are gone only the first few cost a reading of the folders. */
static void
test_search_is_remembered(void)
{
        struct maildrop *drop;

        begin();
        put_text("cur/1.a", "one\n");
        put_text("cur/2.b", "two\n");
        drop = session();
        unlink(path_of("cur/1.a"));
        test(message_open(drop, 1) != 0 && errno == ENOENT, "a message that is gone is looked for");
        drop->search.first_met -= 10;
        drop->search.last_made -= 10;
        test(message_open(drop, 1) != 0 && errno == ENOENT, "and again while a tick may hide it");
        drop_records(drop)[1].flags &= (uint8_t)~SEEN;
        test(message_open(drop, 1) != 0 && (drop_records(drop)[1].flags & SEEN) == 0,
            "but no more when the folders have long been as they were searched");
        maildrop_close(drop);
}

/* A delivery in the same tick as the reading of the folder must not be overlooked. */
static void
test_racy_delivery(void)
{
        char name[40];
        bool is_missed = false;

        begin();
        for (int i = 0; i < 300 && !is_missed; i++) {
                struct maildrop *drop;

                snprintf(name, sizeof(name), "new/%d.a", i);
                put_text(name, "x\n");
                drop = session();
                is_missed = maildrop_totals(drop)->count != (size_t)i + 1;
                maildrop_close(drop);
        }
        test(!is_missed, "300 deliveries without a pause, each seen at once");
}

/* The index gets another header: what is said to be the sum of all messages, and these stamps. */
static void
forge_header(uint64_t octets, const struct stamp stamps[FOLDERS])
{
        struct index_header header;
        int fd = open(path_of("pop3d.index"), O_RDWR);

        if (fd < 0 || pread(fd, &header, sizeof(header), 0) != sizeof(header))
                abort();
        header.octets = htole64(octets);
        for (int folder = 0; stamps != NULL && folder < FOLDERS; folder++)
                header.folders[folder] = (struct stamp){ htole64(stamps[folder].inode),
                        htole64(stamps[folder].modified), htole64(stamps[folder].changed) };
        header.header_checksum = htole64(checksum(0, &header,
            offsetof(struct index_header, header_checksum)));
        if (pwrite(fd, &header, sizeof(header), 0) != sizeof(header))
                abort();
        close(fd);
}

static void
message_goes(void)
{
        unlink(path_of("cur/2.b"));
}

static void
message_is_renamed(void)
{
        rename(path_of("cur/2.b"), path_of("cur/2.b:2,S"));
}

static void
message_comes(void)
{
        put_text("cur/3.c", "three\n");
}

/* The folders are not as the index says, under just the stamps that it has. */
static void
test_misleading_stamps(void)
{
        static const struct { const char *what; void (*change)(void); size_t count; const char *last; } cases[] = {
                { "a message that is gone", message_goes, 1, "1.a" },
                { "one that was renamed", message_is_renamed, 2, "2.b:2,S" },
                { "one that is new", message_comes, 3, "3.c" },
        };
        const size_t count = sizeof(cases) / sizeof(*cases);

        /* first by a session that believes the index, then by one that read the folders itself */
        for (size_t round = 0; round < 2 * count; round++) {
                const size_t i = round % count;
                struct stamp stamps[FOLDERS];
                struct maildrop *drop;

                drop = session_with_two();
                cases[i].change();
                wait_for_clock();
                test(folders_stamp(drop, stamps) == 0, "the stamps of the folders");
                if (round < count) {
                        maildrop_close(drop);
                        forge_header(10, stamps);
                        drop = session();
                } else {
                        memcpy(drop->index.header.folders, stamps, sizeof(stamps));
                }
                test(maildrop_totals(drop)->count == 2, cases[i].what);
                test(search_anew(drop) == 0, "is found out by a search");
                maildrop_close(drop);
                drop = session();
                test(maildrop_totals(drop)->count == cases[i].count &&
                    strcmp(record_name(drop, drop_records(drop) + cases[i].count - 1), cases[i].last) == 0,
                    "and the next session reads the folders");
                maildrop_close(drop);
        }
}

static void
test_forged_header(void)
{
        const char *part;
        struct maildrop *drop;

        begin();
        put_text("cur/1.a", "one\n");
        wait_for_clock();
        maildrop_close(session());
        forge_header(4711, NULL);
        drop = maildrop_open(maildir_open(root), NULL, 0, INDEX_SECONDS_BY_KIND, &part);
        test(drop != NULL && maildrop_totals(drop)->octets == 4711, "a forged count is not found by STAT");
        test(maildrop_load(drop, &part) == -1 && errno == ESTALE && strcmp(part, "/pop3d.index") == 0,
            "but before anything else");
        maildrop_close(drop);
        drop = session();
        test(maildrop_totals(drop)->octets == 5, "and the next session begins anew");
        maildrop_close(drop);
}

static void
test_no_index(void)
{
        struct rlimit limit, none;
        struct maildrop *drop;

        begin();
        put_text("cur/1.a", "one\n");
        getrlimit(RLIMIT_FSIZE, &limit);
        none = limit;
        none.rlim_cur = 0;
        setrlimit(RLIMIT_FSIZE, &none);
        drop = session();
        test(maildrop_totals(drop)->count == 1 && retrieve(drop, 1) == 0, "where nothing can be written");
        maildrop_close(drop);
        setrlimit(RLIMIT_FSIZE, &limit);
        test(access(path_of("pop3d.index"), F_OK) != 0 && access(path_of("pop3d.index.new"), F_OK) != 0,
            "there is no index, and no rest of one");
}

static void
test_equal_names(void)
{
        struct maildrop *drop;
        char first[UNIQUE_ID_MAX], second[UNIQUE_ID_MAX], again[UNIQUE_ID_MAX];

        begin();
        put_text("new/1.a", "one\n");
        drop = session();
        maildrop_close(drop);
        put_text("cur/1.a:2,S", "another\n");
        drop = session();
        maildrop_unique_id(drop, 1, first);
        test(maildrop_totals(drop)->count == 2 && (has_id(drop, 1, "1.a") != has_id(drop, 2, "1.a")),
            "of equal names the known message keeps it for its id");
        maildrop_close(drop);
        unlink(path_of("pop3d.index"));
        drop = session();
        test(has_id(drop, 1, "1.a") != has_id(drop, 2, "1.a"), "also where the index is lost");
        maildrop_close(drop);
        unlink(path_of("pop3d.index"));
        unlink(path_of("pop3d.ids"));
        drop = session();
        test(maildrop_unique_id(drop, 1, first) == 32 && maildrop_unique_id(drop, 2, second) == 32 &&
            memcmp(first, second, 32) != 0, "of equal names that are both unknown, neither");
        maildrop_close(drop);
        unlink(path_of("pop3d.index"));
        unlink(path_of("pop3d.ids"));
        drop = session();
        test(maildrop_unique_id(drop, 1, again) == 32 && memcmp(first, again, 32) == 0,
            "their ids are made of the content, and can be made again");
        maildrop_close(drop);
}

static void
test_former_servers(void)
{
        static char list[32768];
        struct maildrop *drop;

        begin();
        sprintf(list, "3 V1795472669 N25 G0\n");
        for (int number = 100; number < 1000; number++)
                sprintf(list + strlen(list), "%d W9 :%d.z:2,S\n", number, number);
        strcat(list, "1 :1.a:2,S\n26 W14 Pid :2.a\n"
            "27 W1 Pa\x7f" "b :3.a\n4294967296 :4.a\n28 W3:5.a\nx 5 :5.a\n9 S7:3 W :6.a\n9 :7.a");
        for (int number = 1; number <= 7; number++) {
                char name[40];

                sprintf(name, "cur/%d.a:2,S", number);
                put_text(name, "one\n");
        }
        put_text("dovecot-uidlist", list);
        drop = session();
        test(maildrop_totals(drop)->taken_over == 3 && has_id(drop, 1, "000000016b04bd1d") &&
            has_id(drop, 2, "id") && has_id(drop, 6, "000000096b04bd1d"), "what Dovecot called them");
        test(has_id(drop, 3, "3.a") && has_id(drop, 4, "4.a") && has_id(drop, 5, "5.a") &&
            has_id(drop, 7, "7.a"), "where it says so clearly");
        maildrop_close(drop);
        unlink(path_of("pop3d.index"));
        unlink(path_of("pop3d.ids"));
        sleep(1);               /* the time of a list counts in seconds */
        put_text("courierpop3dsizelist", "/3 4 1795472344\n1.a 5 17:1795472344:0\n2.a:2,S 5 18:0:0\n"
            "3.a 5 0:0:0\n4.a 5 19\n5.a 5 20:7\n6 .a 5 21:7\n6.a 5 21:7x\n");
        drop = session();
        test(maildrop_totals(drop)->taken_over == 3 && has_id(drop, 1, "UID17-1795472344") &&
            has_id(drop, 2, "UID18") && has_id(drop, 5, "UID20-7"), "what Courier called them, later");
        test(has_id(drop, 3, "3.a") && has_id(drop, 4, "4.a") && has_id(drop, 6, "6.a"),
            "where it says so clearly");
        maildrop_close(drop);
        unlink(path_of("courierpop3dsizelist"));
        drop = session();
        test(maildrop_totals(drop)->taken_over == 0 && has_id(drop, 2, "UID18"), "once and for good");
        maildrop_close(drop);
        unlink(path_of("dovecot-uidlist"));
}

/*
 * A base name to which another program appends is the same message's, even if the messages
 * are not in the order of their names any more: '+' sorts before ','.
 */
static void
test_appended(void)
{
        struct maildrop *drop;

        begin();
        put_text("cur/1.a:2,", "one\n");
        put_text("cur/1.a+b:2,", "two\n");
        put_text("cur/2.c:2,", "three\n");
        drop = session();
        test(rename(path_of("cur/1.a:2,"), path_of("cur/1.a,U=1:2,S")) == 0 &&
            retrieve(drop, 1) == 0 && strstr(sent, "one") != NULL && drop->is_disordered &&
            has_id(drop, 1, "1.a"), "what was appended to a base name in the session");
        put_text("tmp/anew", "two\n");
        test(rename(path_of("tmp/anew"), path_of("cur/1.a+b:2,S")) == 0 &&
            unlink(path_of("cur/1.a+b:2,")) == 0 && retrieve(drop, 2) == 0 &&
            strstr(sent, "two") != NULL, "one that is written anew is found out of its order");
        drop->index_is_due = true;
        maildrop_close(drop);
        drop = session();
        test(maildrop_totals(drop)->lost_index == NULL && has_id(drop, 1, "1.a+b") &&
            has_id(drop, 2, "1.a") && has_id(drop, 3, "2.c"), "the index has them in order again");
        maildrop_close(drop);
        test(link(path_of("cur/2.c:2,"), path_of("cur/2.c,U=3:2,")) == 0, "a hard link");
        drop = session();
        test(maildrop_totals(drop)->count == 4 && has_id(drop, 3, "2.c") != has_id(drop, 4, "2.c"),
            "of another base name is a message of its own");
        maildrop_close(drop);
}

/*
 * An index of the first format: a record had its inode number as a whole. Its text is the name and the
 * unique-id; the name may be said to be elsewhere and longer.
 */
static void
put_older_index_at(const char *name, uint64_t inode, const char *id, uint32_t name_at, size_t name_length)
{
        struct index_header header = { .magic = htole64(UINT64_C(0x31784449446f7050)),
            .count = htole64(1), .octets = htole64(5) };
        char file[300] = "", *record = file + sizeof(header), *text = record + 32;
        uint32_t id_at = htole32((uint32_t)strlen(name) + 1);
        size_t length;

        inode = htole64(inode);
        name_at = htole32(name_at);
        memcpy(record, &inode, 8);
        memcpy(record + 16, &name_at, 4);
        memcpy(record + 20, &id_at, 4);
        record[28] = (char)name_length;
        record[30] = (char)strlen(id);
        length = (size_t)sprintf(text, "%s%c%s", name, '\0', id) + 1;
        header.text_length = htole64(length);
        header.body_checksum = htole64(checksum(checksum(0, record, 32), text, length));
        header.header_checksum = htole64(checksum(0, &header,
            offsetof(struct index_header, header_checksum)));
        memcpy(file, &header, sizeof(header));
        put("pop3d.index", file, sizeof(header) + 32 + length);
}

static void
put_older_index(const char *name, uint64_t inode, const char *id)
{
        put_older_index_at(name, inode, id, 0, strlen(name));
}

static void
test_older_index(void)
{
        struct maildrop *drop;
        struct stat status;

        begin();
        put_text("cur/1.a:2,S", "one\n");
        put_older_index("1.a:2,", 7, "older-id");
        drop = session();
        test(has_id(drop, 1, "older-id"), "an index of an older format gives its unique-ids");
        test(strcmp(maildrop_totals(drop)->lost_index, "older") == 0, "and is said to be older");
        maildrop_close(drop);
        unlink(path_of("pop3d.index"));
        drop = session();
        test(has_id(drop, 1, "older-id"), "which are kept from then on");
        maildrop_close(drop);
        put_text("new/1.a", "another\n");
        for (int i = 0; i < 2; i++) {
                const char *name = i == 0 ? "new/1.a" : "cur/1.a:2,S";

                unlink(path_of("pop3d.ids"));
                stat(path_of(name), &status);
                put_older_index("1.a", status.st_ino, "older-id");
                drop = session();
                test(has_id(drop, 1, "older-id") != has_id(drop, 2, "older-id") &&
                    maildrop_message_octets(drop, has_id(drop, 1, "older-id") ? 1 : 2) == (i == 0 ? 9 : 5),
                    "of two with one base name the one with that inode has it");
                maildrop_close(drop);
        }
}

/* What an older index says is taken only from one that is sound, and only what can be true. */
static void
test_older_index_damaged(void)
{
        static const struct {
                const char *what, *id;
                off_t flipped;
                uint32_t name_at;
                size_t name_length;
        } cases[] = {
                { "whose header is damaged", "older-id", 40, 0, 6 },
                { "whose records are damaged", "older-id", (off_t)sizeof(struct index_header), 0, 6 },
                { "with a unique-id that is none", "older\x7fid", -1, 0, 6 },
                /* the last string of the text: with its NUL it is one octet too long */
                { "with a name that takes the last NUL", "1.a:2,", -1, 7, 7 },
                { "with a name far beyond its end", "older-id", -1, INT32_MAX, 6 },
                { "with a name a little beyond its end", "older-id", -1, 16, 6 },
        };

        for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
                struct maildrop *drop;
                char octet;
                int fd;

                begin();
                put_text("cur/1.a:2,S", "one\n");
                put_older_index_at("1.a:2,", 7, cases[i].id, cases[i].name_at, cases[i].name_length);
                fd = open(path_of("pop3d.index"), O_RDWR);
                if (cases[i].flipped >= 0) {
                        if (pread(fd, &octet, 1, cases[i].flipped) != 1)
                                abort();
                        octet ^= 1;
                        if (pwrite(fd, &octet, 1, cases[i].flipped) != 1)
                                abort();
                }
                close(fd);
                drop = session();
                test(has_id(drop, 1, "1.a"), cases[i].what);
                maildrop_close(drop);
        }
}

/* Equal stamps are believed if one of the times has a fraction of a second; whole ones may hide a change. */
static void
test_whole_seconds(void)
{
        const struct { uint64_t modified, changed; bool is_believed; } cases[] = {
                { 7000000000, 8000000000, false }, { 7000000001, 8000000000, true },
                { 7000000000, 8000000001, true },
        };
        struct maildrop *drop;

        begin();
        drop = drop_create(maildir_open(root), INDEX_SECONDS_MAX);
        for (size_t i = 0; drop != NULL && i < sizeof(cases) / sizeof(*cases); i++) {
                struct stamp *stamps = drop->index.header.folders, same[FOLDERS];
                struct timespec now;

                clock_gettime(CLOCK_REALTIME, &now);
                drop->index.written = time_nanoseconds(&now);
                for (int folder = 0; folder < FOLDERS; folder++)
                        stamps[folder] = (struct stamp){ 1, cases[i].modified, cases[i].changed };
                memcpy(same, stamps, sizeof(same));
                test(drop_believes(drop, same) == cases[i].is_believed, "stamps of whole seconds");
        }
        maildrop_close(drop);
}

static void
test_sparse(void)
{
        char ids[2][UNIQUE_ID_MAX];
        struct maildrop *drop;

        begin();
        put_text("cur/1.a", "From me\n");
        if (truncate(path_of("cur/1.a"), (off_t)1 << 40) != 0) {
                test(true, "a file of 1 TB # skip, the file system has none");
                return;
        }
        drop = session();
        test(maildrop_totals(drop)->octets == ((uint64_t)1 << 40) + 3, "a file of 1 TB is counted at once");
        maildrop_close(drop);
        put_text("cur/1.a:2,S", "another\n");
        drop = session();
        test(maildrop_totals(drop)->count == 2, "and one of 1 TB told at once from another of its name");
        maildrop_close(drop);
        unlink(path_of("pop3d.index"));
        unlink(path_of("pop3d.ids"));
        unlink(path_of("cur/1.a:2,S"));
        put_text("cur/1.a:2,S", "");
        test(truncate(path_of("cur/1.a:2,S"), (off_t)1 << 40) == 0, "two of 1 TB");
        drop = session();
        test(maildrop_unique_id(drop, 1, ids[0]) == 32 && maildrop_unique_id(drop, 2, ids[1]) == 32 &&
            memcmp(ids[0], ids[1], 32) != 0, "and have ids of their own");
        maildrop_close(drop);
}

/* Two messages of one base name exchange their flags, before RETR and after it. */
static void
test_exchanged_names(void)
{
        struct maildrop *drop;
        struct maildrop_update update;
        size_t one;

        begin();
        put_text("cur/1.a:2,", "one\n");
        put_text("cur/1.a:2,S", "another\n");
        drop = session();
        one = maildrop_message_octets(drop, 1) == 5 ? 1 : 2;
        for (int turn = 0; turn < 2; turn++) {
                test(renameat2(AT_FDCWD, path_of("cur/1.a:2,"), AT_FDCWD, path_of("cur/1.a:2,S"),
                    RENAME_EXCHANGE) == 0, "names exchanged");
                if (turn == 0)
                        test(retrieve(drop, one) == 0 && strcmp(sent, "one\r\n.\r\n") == 0,
                            "RETR sends the message all the same");
        }
        maildrop_delete(drop, one);
        maildrop_delete(drop, 3 - one);
        maildrop_reset(drop);
        maildrop_delete(drop, 3 - one);
        maildrop_update(drop, &update);
        maildrop_close(drop);
        test(update.marked == 1 && update.remaining == 0 && access(path_of("cur/1.a:2,"), F_OK) == 0 &&
            access(path_of("cur/1.a:2,S"), F_OK) != 0, "and UPDATE removes the right one");
}

/* Without inode numbers: of one base name each file is a message; one that is renamed is the same. */
static void
test_no_inodes(void)
{
        struct maildrop *drop;
        struct maildrop_update update;
        char second[UNIQUE_ID_MAX + 1] = "";

        begin();
        tells_no_inodes = true;
        put_text("new/1.a", "one\n");
        put_text("cur/2.b:2,", "two\n");
        wait_for_clock();
        maildrop_close(session());
        put_text("cur/1.a:2,S", "another\n");
        rename(path_of("cur/2.b:2,"), path_of("cur/2.b:2,S"));
        drop = session();
        test(maildrop_totals(drop)->count == 3 && maildrop_totals(drop)->octets == 19 &&
            has_id(drop, 3, "2.b"), "a file beside another, and one that was renamed");
        for (size_t number = 1; number <= 2; number++)
                if (maildrop_message_octets(drop, number) == 5)
                        maildrop_delete(drop, number);
                else
                        maildrop_unique_id(drop, number, second);
        test(strlen(second) == 32, "have ids of their own");
        maildrop_update(drop, &update);
        maildrop_close(drop);
        test(update.remaining == 0 && access(path_of("new/1.a"), F_OK) != 0 &&
            access(path_of("cur/1.a:2,S"), F_OK) == 0, "UPDATE removes the right one");
        drop = session();
        test(maildrop_totals(drop)->count == 2 && has_id(drop, 1, second), "and the other keeps its id");
        maildrop_close(drop);
        tells_no_inodes = false;
}

/* Where rename() cannot be kept from replacing a file, no two names are left. */
static void
test_move_without_noreplace(void)
{
        struct maildrop *drop;
        struct maildrop_update update;

        begin();
        put_text("new/1.a", "one\n");
        put_text("new/2.b", "two\n");
        put_text("cur/2.b:2,S", "in the way\n");
        drop = session();
        for (size_t number = 1; number <= 3; number++)
                test(retrieve(drop, number) == 0, "RETR");
        lacks_noreplace = true;
        failures_left = 9;      /* nothing needs to be unlinked for it */
        maildrop_update(drop, &update);
        lacks_noreplace = false;
        failures_left = 0;
        maildrop_close(drop);
        test(access(path_of("new/1.a"), F_OK) != 0 && access(path_of("cur/1.a:2,S"), F_OK) == 0,
            "a move without RENAME_NOREPLACE");
        test(access(path_of("new/2.b"), F_OK) == 0 && access(path_of("cur/2.b:2,S"), F_OK) == 0,
            "which replaces nothing either");
}

/* Sessions on the machine itself, and on one to which it exports the Maildir, lock one file once it is there. */
static void
test_lock_of_another_machine(void)
{
        struct flock whole = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
        struct maildrop *drop;
        const char *part;
        int fd;

        begin();
        maildrop_close(session());
        test(access(path_of("pop3d.lock"), F_OK) != 0, "a Maildir of one machine needs no file");
        fd = open(path_of("pop3d.lock"), O_RDWR | O_CREAT, 0600);
        test(fcntl(fd, F_OFD_SETLK, &whole) == 0, "another machine's session");
        drop = maildrop_open(maildir_open(root), NULL, 0, INDEX_SECONDS_BY_KIND, &part);
        test(drop == NULL && errno == EWOULDBLOCK, "keeps ours out");
        close(fd);
        drop = session();
        fd = open(path_of("pop3d.lock"), O_RDWR);
        test(fcntl(fd, F_OFD_SETLK, &whole) != 0, "as ours does it");
        close(fd);
        maildrop_close(drop);
}

/* An error that a later attempt makes good is none; one that lasts is told. */
static void
test_removal_fails(void)
{
        struct maildrop *drop;
        struct maildrop_update update;

        begin();
        put_text("cur/1.a:2,", "one\n");
        put_text("cur/2.b:2,", "two\n");
        put_text("cur/3.c:2,", "three\n");
        drop = session();
        maildrop_delete(drop, 1);
        maildrop_delete(drop, 2);
        rename(path_of("cur/2.b:2,"), path_of("cur/2.b:2,S"));
        failures_left = 1;
        maildrop_update(drop, &update);
        test(update.marked == 2 && update.remaining == 0 && update.error == 0,
            "a removal that succeeds at last");
        maildrop_close(drop);
        drop = session();
        maildrop_delete(drop, 1);
        failures_left = 1;
        maildrop_update(drop, &update);
        maildrop_close(drop);
        test(update.marked == 1 && update.remaining == 1 && update.error == EIO &&
            access(path_of("cur/3.c:2,"), F_OK) == 0, "one that does not");
}

/* Where other machines change the folders, too, a search tells whether what was removed is gone. */
static void
test_removal_that_does_nothing(void)
{
        static const struct { const char *what; bool is_local; int lies; size_t remaining; } cases[] = {
                { "a removal that is one", false, 0, 0 },
                { "one that does nothing is made again", false, 1, 0 },
                { "and if it never does anything, this is told", false, 99, 1 },
                { "on a file system of this machine it is believed", true, 1, 0 },
        };
        struct maildrop_update update;

        for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
                struct maildrop *drop = session_with_two();
                struct file_system kind = *drop->kind;

                kind.is_local = cases[i].is_local;
                drop->kind = &kind;
                maildrop_delete(drop, 2);
                lies_left = cases[i].lies;
                maildrop_update(drop, &update);
                lies_left = 0;
                maildrop_close(drop);
                test(update.marked == 1 && update.remaining == cases[i].remaining &&
                    (update.error != 0) == (update.remaining > 0), cases[i].what);
                test((access(path_of("cur/2.b"), F_OK) == 0) == (cases[i].is_local || update.remaining > 0),
                    "and it is there, or not");
        }
}

/*
 * A file system that became read-only after the removal, because of an error, may have lost it; one that
 * does not sync folders has not.
 */
static void
test_sync_fails(void)
{
        static const int errors[] = { EROFS, EIO, EINVAL, ENOTSUP };
        struct maildrop *drop;
        struct maildrop_update update;

        for (size_t i = 0; i < sizeof(errors) / sizeof(*errors); i++) {
                begin();
                put_text("cur/1.a:2,", "one\n");
                drop = session();
                maildrop_delete(drop, 1);
                sync_error = errors[i];
                maildrop_update(drop, &update);
                sync_error = 0;
                maildrop_close(drop);
                test(update.remaining == 0 && update.error == (i < 2 ? errors[i] : 0), "a sync fails");
        }
}

/* One of a file's three times alone is not old; the third is the present, which the tests before this one have. */
static void
test_tmp_in_use(uint64_t later)
{
        struct timespec read[2] = { { .tv_nsec = UTIME_OMIT }, { .tv_nsec = UTIME_OMIT } };
        struct timespec written[2] = { { .tv_nsec = UTIME_OMIT }, { .tv_nsec = UTIME_OMIT } };
        struct maildrop_update update;
        struct maildrop *drop;

        read[0] = written[1] = (struct timespec){ .tv_sec = time(NULL) + 7200 };
        put_text("tmp/1.read", "");
        put_text("tmp/2.written", "");
        put_text("tmp/3.left", "");
        put_text("new/9.z", "so that the folders are read\n");
        test(utimensat(AT_FDCWD, path_of("tmp/1.read"), read, 0) == 0 &&
            utimensat(AT_FDCWD, path_of("tmp/2.written"), written, 0) == 0, "times of files");
        drop = session();
        drop->clock += later;
        maildrop_update(drop, &update);
        maildrop_close(drop);
        test(access(path_of("tmp/1.read"), F_OK) == 0, "a file that is read stays");
        test(access(path_of("tmp/2.written"), F_OK) == 0, "and one that is written");
        test(access(path_of("tmp/3.left"), F_OK) != 0, "and one that is neither does not");
}

/* What deliveries left in tmp/ goes when it is old, by all of its three times. */
static void
test_tmp(void)
{
        const uint64_t hour = UINT64_C(3600) * 1000000000;
        struct maildrop *drop;
        struct maildrop_update update;

        begin();
        put_text("tmp/1.left", "half a mess");
        put_text("tmp/.hidden", "");
        mkdir(path_of("tmp/folder"), 0700);
        for (uint64_t hours = 35; hours <= 37; hours += 2) {
                put_text(hours == 35 ? "new/1.a" : "new/2.b", "so that the folders are read\n");
                drop = session();
                drop->clock += hours * hour;
                maildrop_update(drop, &update);
                maildrop_close(drop);
                test((access(path_of("tmp/1.left"), F_OK) == 0) == (hours == 35), "a file in tmp/");
        }
        test(access(path_of("tmp/.hidden"), F_OK) == 0 && access(path_of("tmp/folder"), F_OK) == 0,
            "and nothing else");
        test_tmp_in_use(37 * hour);
        put_text("tmp/2.left", "half a mess");
        wait_for_clock();
        maildrop_close(session());
        drop = session();
        drop->clock += drop->clock != 0 ? 37 * hour : 0;
        maildrop_update(drop, &update);
        maildrop_close(drop);
        test(access(path_of("tmp/2.left"), F_OK) == 0, "not in a session that need not read the folders");
}

/* More octets than a number has room for: STAT tells the greatest, and DELE comes back from it. */
static void
test_too_many_octets(void)
{
        struct maildrop *drop;
        const struct maildrop_totals *totals;

        begin();
        put_text("cur/1.a", "one\n");
        put_text("cur/2.b", "two\n");
        drop = session();
        totals = maildrop_totals(drop);
        totals_add(drop, UINT64_MAX - 5);
        drop_records(drop)[1].octets = UINT64_MAX;
        test(totals->octets == UINT64_MAX, "the sum does not wrap");
        maildrop_delete(drop, 1);
        test(totals->octets == UINT64_MAX, "nor with less");
        totals_take(drop, 5);
        test(totals->octets == UINT64_MAX - 5, "until it fits again");
        maildrop_reset(drop);
        test(totals->octets == UINT64_MAX, "RSET");
        maildrop_close(drop);
}

int
main(void)
{
        signal(SIGXFSZ, SIG_IGN);
        make_root();
        test_nothing();
        test_failures_to_open();
        test_order_and_numbers();
        test_move_overwrites_nothing();
        test_many_renamed();
        test_change_while_sent();
        test_growth_while_sent();
        test_replaced_by_no_message();
        test_wrong_count();
        test_others();
        test_hints();
        test_index();
        test_ids_last();
        test_search_fails();
        test_changes_while_read();
        test_one_folder_is_read();
        test_other_folder_changes_meanwhile();
        test_namesake_of_unread_folder();
        test_ids_after_the_index();
        test_tick();
        test_search_cannot_begin();
        test_search_is_remembered();
        test_racy_delivery();
        test_misleading_stamps();
        test_forged_header();
        test_no_index();
        test_equal_names();
        test_former_servers();
        test_older_index();
        test_older_index_damaged();
        test_whole_seconds();
        test_appended();
        test_sparse();
        test_exchanged_names();
        test_no_inodes();
        test_move_without_noreplace();
        test_lock_of_another_machine();
        test_removal_fails();
        test_removal_that_does_nothing();
        test_sync_fails();
        test_tmp();
        test_too_many_octets();
        remove_root();
        return test_end();
}
