/*
 * drive.c - maildir/ by hand: one command a line on standard input, for tests.
 *
 * format FORMAT -> ok          of the unique-ids that the next open takes over
 * open DIR     -> ok COUNT OCTETS TAKEN-OVER | error ERRNO PART; open DIR SECONDS: with -i
 * kept         -> ok | error ERRNO     whether the unique-ids are kept
 * load, stat, rset, quit (update and close), close
 * list         -> ok N, then N lines "NUMBER OCTETS UNIQUE-ID"
 * retr N, top N LINES -> ok ANNOUNCED SENT, then SENT octets | error ERRNO | cut ERRNO
 * dele N       -> ok | error 0
 *
 * Every answer is flushed at once, so that a test can work on the Maildir in
 * between.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "maildir.h"

static struct maildrop *drop;
static char *id_format;
static char *sent;
static size_t sent_length, sent_size;

static int
gather(struct output *output)
{
        if (sent_length + output->used > sent_size) {
                sent_size = 2 * (sent_length + output->used);
                sent = realloc(sent, sent_size);
                if (sent == NULL)
                        abort();
        }
        memcpy(sent + sent_length, output->data, output->used);
        sent_length += output->used;
        output->used = 0;
        return 0;
}

static void
do_open(const char *path, const char *seconds)
{
        const char *part;

        drop = maildrop_open(maildir_open(path), id_format, 200,
            seconds != NULL ? atoi(seconds) : INDEX_SECONDS_BY_KIND, &part);
        if (drop == NULL)
                printf("error %d %s\n", errno, part);
        else
                printf("ok %zu %llu %zu\n", maildrop_totals(drop)->count,
                    (unsigned long long)maildrop_totals(drop)->octets, maildrop_totals(drop)->taken_over);
}

static void
do_list(void)
{
        char id[UNIQUE_ID_MAX];

        printf("ok %zu\n", maildrop_totals(drop)->count);
        for (size_t number = 1; number <= maildrop_totals(drop)->total; number++)
                if (maildrop_has(drop, number))
                        printf("%zu %llu %.*s\n", number,
                            (unsigned long long)maildrop_message_octets(drop, number),
                            (int)maildrop_unique_id(drop, number, id), id);
}

static void
do_retr(size_t number, uint64_t lines)
{
        static char room[8192];
        struct output output = { .data = room, .size = sizeof(room), .flush = gather };
        unsigned long long announced;

        sent_length = 0;
        if (!maildrop_has(drop, number)) {
                printf("error 0\n");
                return;
        }
        if (message_open(drop, number) != 0) {
                printf("error %d\n", errno);
                return;
        }
        announced = maildrop_message_octets(drop, number);
        if (message_send(drop, lines, &output) != 0) {
                printf("cut %d\n", errno);
                return;
        }
        gather(&output);
        printf("ok %llu %zu\n", announced, sent_length);
        fwrite(sent, 1, sent_length, stdout);
}

static void
do_quit(void)
{
        struct maildrop_update update;

        maildrop_update(drop, &update);
        maildrop_close(drop);
        printf("ok %zu %zu %d\n", update.marked, update.remaining, update.error);
}

static void
obey(char *line)
{
        char *word = strtok(line, " \n"), *first = strtok(NULL, " \n"), *second = strtok(NULL, " \n");
        size_t number = first != NULL ? strtoul(first, NULL, 10) : 0;
        const char *part;

        if (word == NULL)
                return;
        if (strcmp(word, "open") == 0) {
                do_open(first, second);
        } else if (strcmp(word, "load") == 0) {
                if (maildrop_load(drop, &part) == 0)
                        puts("ok");
                else
                        printf("error %d\n", errno);
        } else if (strcmp(word, "format") == 0) {
                free(id_format);
                id_format = strdup(first);
                puts("ok");
        } else if (strcmp(word, "kept") == 0) {
                if (maildrop_ids_are_kept(drop))
                        puts("ok");
                else
                        printf("error %d\n", errno);
        } else if (strcmp(word, "stat") == 0) {
                printf("ok %zu %llu\n", maildrop_totals(drop)->count, (unsigned long long)maildrop_totals(drop)->octets);
        } else if (strcmp(word, "list") == 0) {
                do_list();
        } else if (strcmp(word, "retr") == 0) {
                do_retr(number, UINT64_MAX);
        } else if (strcmp(word, "top") == 0) {
                do_retr(number, strtoull(second, NULL, 10));
        } else if (strcmp(word, "dele") == 0) {
                bool has = maildrop_has(drop, number);

                if (has)
                        maildrop_delete(drop, number);
                puts(has ? "ok" : "error 0");
        } else if (strcmp(word, "rset") == 0) {
                maildrop_reset(drop);
                puts("ok");
        } else if (strcmp(word, "quit") == 0) {
                do_quit();
        } else if (strcmp(word, "close") == 0) {
                maildrop_close(drop);
                puts("ok");
        }
}

int
main(void)
{
        char line[4096];

        while (fgets(line, sizeof(line), stdin) != NULL) {
                obey(line);
                fflush(stdout);
        }
        free(sent);
        return 0;
}
