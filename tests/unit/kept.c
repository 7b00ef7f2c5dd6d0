/*
 * kept.c - unique-ids that outlive the index: pop3d.ids is read, appended to and written anew.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "drop.h"

enum { SPARE = 20000 };         /* lines of messages that are gone, as kept.c bounds them */

/* pop3d.ids, or what else is named. */
static const char *
content_of(const char *name)
{
        static char content[4096];
        int fd = open(path_of(name), O_RDONLY);
        ssize_t length = fd >= 0 ? read(fd, content, sizeof(content) - 1) : -1;

        if (fd >= 0)
                close(fd);
        content[length > 0 ? length : 0] = '\0';
        return content;
}

/* Whether a session without an index tells these unique-ids, each with a blank behind it. */
static bool
tells(const char *expected)
{
        char told[2000] = "";
        struct maildrop *drop;

        unlink(path_of("pop3d.index"));
        drop = session();
        for (size_t number = 1; number <= maildrop_totals(drop)->count; number++) {
                char id[UNIQUE_ID_MAX];
                int length = (int)maildrop_unique_id(drop, number, id);

                snprintf(told + strlen(told), sizeof(told) - strlen(told), "%.*s ", length, id);
        }
        maildrop_close(drop);
        if (strcmp(told, expected) != 0)
                printf("# told %s\n", told);
        return strcmp(told, expected) == 0;
}

static void
test_lines(void)
{
        struct stat status;

        begin();
        put_text("cur/1.a:2,S", "one\n");
        put_text("new/2.b", "two\n");
        put_text("pop3d.ids", "first - 1.a\nsecond - 1.a\n");
        test(tells("second 2.b "), "of two lines for one message the later one counts");
        put_text("pop3d.ids", "good - 1.a\nx\x01y - 1.a\nbad - 1.a x\nbad -  1.a\nbad 0 1.a\nbad - \nbad\n\n - 1.a\n");
        test(tells("good 2.b "), "lines that are not ours do no harm");
        put_text("pop3d.ids", "good - 1.a\nbad - 2.b");
        test(tells("good 2.b "), "nor does a line that was cut off");
        test(strcmp(content_of("pop3d.ids"), "good - 1.a\nbad - 2.b") == 0, "and nothing is written for it");
        unlink(path_of("pop3d.ids"));
        rename(path_of("new/2.b"), path_of("new/2 %\x01\xc3\xa4"));
        unlink(path_of("pop3d.index"));
        maildrop_close(session());
        test(strstr(content_of("pop3d.ids"), " - 2%20%25%01%c3%a4\n") != NULL, "a name is escaped");
        test(stat(path_of("pop3d.ids"), &status) == 0 && (status.st_mode & 0777) == 0600,
            "the file is its owner's alone");
        put_text("pop3d.ids", "kept - 2%20%25%01%c3%a4\n");
        test(tells("1.a kept "), "and read back");
}

static void
test_torn(void)
{
        begin();
        put_text("cur/1.a", "one\n");
        put_text("pop3d.ids", "good - 1.a\nbad - 2.b");
        /* no unique-id can have a blank, so this one needs a line */
        put_text("cur/3 c", "three\n");
        maildrop_close(session());
        test(strncmp(content_of("pop3d.ids"), "good - 1.a\nbad - 2.b \n", 21) == 0 &&
            strstr(content_of("pop3d.ids"), " - 3%20c\n") != NULL, "a line that was cut off is ended by a blank");
        put_text("cur/2.b", "two\n");
        unlink(path_of("cur/3 c"));
        test(tells("good 2.b "), "and is not read later either");
}

/* What tells namesakes apart is their content, wherever they lie and whichever came first. */
static void
test_contents(void)
{
        char one[UNIQUE_ID_MAX + 1] = "", other[UNIQUE_ID_MAX + 1] = "", expected[200];
        struct maildrop *drop;

        begin();
        put_text("cur/1.a:2,", "one\n");
        put_text("cur/1.a:2,S", "another\n");
        drop = session();
        for (size_t number = 1; number <= 2; number++)
                maildrop_unique_id(drop, number, maildrop_message_octets(drop, number) == 5 ? one : other);
        maildrop_close(drop);
        unlink(path_of("cur/1.a:2,"));
        snprintf(expected, sizeof(expected), "%s ", other);
        test(strlen(one) == 32 && tells(expected), "one of two namesakes, alone");
        put_text("cur/1.a:2,S", "what nobody saw\n");
        unlink(path_of("pop3d.index"));
        drop = session();
        one[0] = '\0';
        maildrop_unique_id(drop, 1, one);
        test(strncmp(one, other, 32) != 0, "another content is another message");
        maildrop_close(drop);
}

static int
compare_ids(const void *a, const void *b)
{
        return strcmp(a, b);
}

/* The unique-ids of four messages, sorted. */
static void
get_ids(char ids[4][UNIQUE_ID_MAX + 1])
{
        struct maildrop *drop = session();

        if (maildrop_totals(drop)->count != 4)
                abort();
        for (size_t number = 1; number <= 4; number++) {
                size_t length = maildrop_unique_id(drop, number, ids[number - 1]);

                memset(ids[number - 1] + length, '\0', UNIQUE_ID_MAX + 1 - length);
        }
        maildrop_close(drop);
        qsort(ids, 4, sizeof(*ids), compare_ids);
}

/* Messages with one base name and one content have the unique-ids that were told, each one of them. */
static void
test_twins(void)
{
        static const char *const names[] = { "cur/1.a:2,", "cur/1.a:2,S", "cur/1.a:2,F", "cur/1.a:2,R" };
        char told[4][UNIQUE_ID_MAX + 1], again[4][UNIQUE_ID_MAX + 1];

        begin();
        /* one after the other, so that the first has its base name */
        for (size_t i = 0; i < 4; i++) {
                put_text(names[i], "the same\n");
                maildrop_close(session());
        }
        get_ids(told);
        test(strcmp(told[0], "1.a") == 0 && strcmp(told[1], told[2]) != 0 && strcmp(told[2], told[3]) != 0,
            "each has a unique-id of its own");
        unlink(path_of("pop3d.index"));
        get_ids(again);
        test(memcmp(told, again, sizeof(told)) == 0, "and again, if the index is lost");
        for (size_t i = 0; i < 2; i++) {
                unlink(path_of(names[i]));
                put_text(names[i], "the same\n");
        }
        get_ids(again);
        test(strcmp(again[0], again[1]) != 0 && strcmp(again[1], again[2]) != 0 &&
            strcmp(again[2], again[3]) != 0, "and no two alike, if two are restored");
        put_text("pop3d.ids", "1.a 1111111111111111 1.a\n1.a 2222222222222222 1.a\n");
        unlink(path_of("pop3d.index"));
        get_ids(again);
        test(strcmp(again[0], again[1]) != 0 && strcmp(again[1], again[2]) != 0 &&
            strcmp(again[2], again[3]) != 0, "nor by lines that give one to several");
}

/* What becomes of pop3d.ids while the index is believed is seen by the next session that needs it. */
static void
test_damaged_beside_index(void)
{
        struct stat before, after;

        begin();
        put_text("cur/1 a", "one\n");
        wait_for_clock();
        maildrop_close(session());
        stat(path_of("pop3d.ids"), &before);
        for (int how = 0; how < 3; how++) {
                if (how == 0)
                        unlink(path_of("pop3d.ids"));
                else if (truncate(path_of("pop3d.ids"), how == 1 ? 0 : before.st_size - 1) != 0)
                        abort();
                wait_for_clock();
                maildrop_close(session());
                test(stat(path_of("pop3d.ids"), &after) == 0 && after.st_size >= before.st_size &&
                    strstr(content_of("pop3d.ids"), " - 1%20a\n") != NULL, "pop3d.ids has its line again");
                /* another index to be believed */
                maildrop_close(session());
        }
}

/* A file with so many lines, of which the last one is the present message's. */
static void
put_many(size_t lines)
{
        FILE *file = fopen(path_of("pop3d.ids"), "w");

        if (file == NULL)
                abort();
        for (size_t line = 1; line < lines; line++)
                fprintf(file, "gone%zu - %zu.gone\n", line, line);
        fprintf(file, "kept - 1.a\n");
        if (fclose(file) != 0)
                abort();
}

static void
test_rewriting(void)
{
        struct stat before, after;

        begin();
        put_text("cur/1.a", "one\n");
        put_text("outside", "not touched\n");
        /* twice the messages that are there, and SPARE more */
        put_many(SPARE + 2);
        test(stat(path_of("pop3d.ids"), &before) == 0 && tells("kept ") &&
            stat(path_of("pop3d.ids"), &after) == 0 && before.st_ino == after.st_ino &&
            before.st_size == after.st_size, "lines of messages that are gone stay");
        put_many(SPARE + 3);
        test(symlink("outside", path_of("pop3d.ids.new")) == 0, "a link in the way of the new file");
        test(tells("kept ") && strcmp(content_of("pop3d.ids"), "kept - 1.a\n") == 0,
            "until there are too many of them");
        test(lstat(path_of("pop3d.ids.new"), &after) != 0 && strcmp(content_of("outside"), "not touched\n") == 0,
            "the link is removed, and not followed");
        test(tells("kept "), "and the new file is read");
        put_many(SPARE + 3);
        mkdir(path_of("pop3d.ids.new"), 0700);
        stat(path_of("pop3d.ids"), &before);
        test(tells("kept ") && stat(path_of("pop3d.ids"), &after) == 0 && before.st_size == after.st_size,
            "where it cannot be written the old one stays");
        rmdir(path_of("pop3d.ids.new"));
        put_text("cur/2 b", "two\n");
        put_many(SPARE + 5);
        unlink(path_of("pop3d.index"));
        maildrop_close(session());
        test(strncmp(content_of("pop3d.ids"), "kept - 1.a\n", 11) == 0 &&
            strstr(content_of("pop3d.ids"), " - 2%20b\n") != NULL, "a new message gets its line then, too");
}

int
main(void)
{
        make_root();
        test_lines();
        test_torn();
        test_contents();
        test_twins();
        test_damaged_beside_index();
        test_rewriting();
        remove_root();
        return test_end();
}
