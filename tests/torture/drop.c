/*
 * drop.c - the maildrops of the sweep, and what must become of them.
 * Runs in:   the sweep.
 * May touch: the Maildir of this worker.
 */
#include "sweep.h"

#include <dirent.h>
#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

const char *const situation_names[SITUATIONS] = { "no-index", "fresh-index", "one-delivered",
        "all-new", "taken-over", "renamed-meanwhile", "pipelined", "wrong-password" };

struct message messages[MESSAGES_MAX];

static const char *const folders[] = { "new", "cur" };

/* Messages */

static void *
allocate(size_t size)
{
        void *memory = malloc(size);

        if (memory == NULL)
                errx(1, "out of memory");
        return memory;
}

/* The wire form, octet by octet; independent of the product's on purpose. */
static char *
wire_of(const char *content, size_t length, size_t *wire_length, uint64_t *octets)
{
        char *wire = allocate(2 * length + 8);
        size_t used = 0, stuffed = 0;
        bool at_start = true;

        for (size_t i = 0; i < length; i++) {
                if (at_start && content[i] == '.') {
                        wire[used++] = '.';
                        stuffed++;
                }
                if (content[i] == '\n' && (i == 0 || content[i - 1] != '\r'))
                        wire[used++] = '\r';
                wire[used++] = content[i];
                at_start = content[i] == '\n';
        }
        if (!at_start) {
                memcpy(wire + used, "\r\n", 2);
                used += 2;
        }
        *octets = used - stuffed;
        memcpy(wire + used, ".\r\n", 3);
        *wire_length = used + 3;
        return wire;
}

static void
prepare(struct message *message, unsigned number, const char *text, size_t length)
{
        (void)snprintf(message->base, sizeof(message->base), "%u.M%uP%u.torture", 1700000000 + number,
            number * 7, number);
        (void)snprintf(message->id, sizeof(message->id), "%s", message->base);
        message->content = allocate(length);
        memcpy(message->content, text, length);
        message->length = length;
        message->wire = wire_of(text, length, &message->wire_length, &message->octets);
}

/* Longer than what pop3d reads, and than what it collects, at once. */
static void
prepare_long(struct message *message, unsigned number)
{
        size_t size = 330000, used = 0;
        char *text = allocate(size + 200);

        used += (size_t)sprintf(text, "Subject: long\n\n");
        for (unsigned line = 0; used < size; line++)
                used += (size_t)sprintf(text + used, "%sline %u of a message longer than any buffer\n",
                    line % 7 == 0 ? "." : "", line);
        prepare(message, number, text, used);
        free(text);
}

void
messages_prepare(void)
{
        static const char dots[] = "From: a@example.org\nSubject: dots\n\n.\n..\n.dot\nlast\n";
        static const char cut[] = "Subject: no line end\n\nthe last line has no end";
        static const char crlf[] = "Subject: stored as CRLF\r\n\r\none\r\n.two\r\nthree\r\n";
        static const char small[] = "Subject: small\n\nhello\n";

        prepare(&messages[0], 1, dots, sizeof(dots) - 1);
        prepare_long(&messages[1], 2);
        prepare(&messages[2], 3, cut, sizeof(cut) - 1);
        prepare(&messages[3], 4, crlf, sizeof(crlf) - 1);
        prepare(&messages[4], 5, small, sizeof(small) - 1);
        prepare(&messages[5], 6, small, sizeof(small) - 1);
}

char *
top_of(const struct message *message, size_t lines, size_t *length)
{
        const char *at = message->wire, *end = message->wire + message->wire_length - 3;
        bool in_body = false;
        char *top = allocate(message->wire_length + 3);

        while (at < end && !(in_body && lines == 0)) {
                const char *next = (const char *)memchr(at, '\n', (size_t)(end - at)) + 1;

                if (in_body)
                        lines--;
                else if (next - at == 2)
                        in_body = true;
                at = next;
        }
        *length = (size_t)(at - message->wire);
        memcpy(top, message->wire, *length);
        memcpy(top + *length, ".\r\n", 3);
        *length += 3;
        return top;
}

/* Making the maildrop */

static void
write_file(const char *path, const char *content, size_t length, uid_t uid)
{
        int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

        if (fd < 0 || write(fd, content, length) != (ssize_t)length || fchown(fd, uid, uid) != 0)
                err(1, "%s", path);
        (void)close(fd);
}

static void
empty_folder(const char *path)
{
        DIR *directory = opendir(path);
        const struct dirent *entry;

        if (directory == NULL)
                return;
        while ((entry = readdir(directory)) != NULL)
                if (entry->d_type != DT_DIR && unlinkat(dirfd(directory), entry->d_name, 0) != 0)
                        err(1, "%s/%s", path, entry->d_name);
        (void)closedir(directory);
}

static void
make_folder(const char *path, uid_t uid)
{
        empty_folder(path);
        if ((mkdir(path, 0700) != 0 && access(path, F_OK) != 0) || chown(path, uid, uid) != 0)
                err(1, "%s", path);
}

static void
deliver(const struct drop *drop, size_t number, bool in_cur, uid_t uid)
{
        char path[PATH_SIZE + 128];

        (void)snprintf(path, sizeof(path), "%s/%s/%s%s", drop->path, folders[in_cur],
            messages[number].base, in_cur ? ":2," : "");
        write_file(path, messages[number].content, messages[number].length, uid);
}

static void
set_ids(const struct drop *drop, uid_t uid)
{
        char path[PATH_SIZE + 32], list[512];

        for (size_t i = 0; i < MESSAGES_MAX; i++)
                memcpy(messages[i].id, messages[i].base, sizeof(messages[i].base));
        if (drop->situation != TAKEN_OVER)
                return;
        (void)snprintf(path, sizeof(path), "%s/dovecot-uidlist", drop->path);
        (void)snprintf(list, sizeof(list), "3 V1600000000 N9 G0123456789abcdef0123456789abcdef\n"
            "1 :%s\n2 Pold-client-knows-it :%s\n3 :%s\n",
            messages[0].base, messages[1].base, messages[2].base);
        write_file(path, list, strlen(list), uid);
        (void)snprintf(messages[0].id, sizeof(messages[0].id), "000000015f5e1000");
        (void)snprintf(messages[1].id, sizeof(messages[1].id), "old-client-knows-it");
        (void)snprintf(messages[2].id, sizeof(messages[2].id), "000000035f5e1000");
}

void
drop_make(struct drop *drop, uid_t uid, void (*login)(const struct drop *drop))
{
        static const char *const parts[] = { "", "/new", "/cur", "/tmp" };
        enum situation situation = drop->situation;
        char path[PATH_SIZE + 8];

        for (size_t i = 0; i < 4; i++) {
                (void)snprintf(path, sizeof(path), "%s%s", drop->path, parts[i]);
                make_folder(path, uid);
        }
        drop->count = 5;
        for (size_t i = 0; i < drop->count; i++)
                deliver(drop, i, situation != ALL_NEW && i != 3, uid);
        set_ids(drop, uid);
        if (situation == FRESH_INDEX || situation == ONE_DELIVERED || situation == RENAMED) {
                /* a folder changed in this tick of the clock is not relied on */
                (void)usleep(10000);
                login(drop);
        }
        if (situation == ONE_DELIVERED)
                deliver(drop, drop->count++, false, uid);
}

void
drop_disturb(const struct drop *drop)
{
        char old[PATH_SIZE + 128], new[PATH_SIZE + 128];

        (void)snprintf(old, sizeof(old), "%s/cur/%s:2,", drop->path, messages[2].base);
        (void)snprintf(new, sizeof(new), "%s/cur/%s:2,FS", drop->path, messages[2].base);
        if (rename(old, new) != 0)
                err(1, "%s", old);
        (void)snprintf(old, sizeof(old), "%s/new/%s", drop->path, messages[3].base);
        (void)snprintf(new, sizeof(new), "%s/cur/%s:2,", drop->path, messages[3].base);
        if (rename(old, new) != 0)
                err(1, "%s", old);
        (void)snprintf(old, sizeof(old), "%s/cur/%s:2,", drop->path, messages[0].base);
        (void)snprintf(new, sizeof(new), "%s/cur/%s:2,T", drop->path, messages[0].base);
        if (rename(old, new) != 0)
                err(1, "%s", old);
}

/* Judging it */

static bool
is_whole(int folder, const char *name, const struct message *message)
{
        static char content[400000];
        int fd = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
        size_t have = 0;
        ssize_t got;

        if (fd < 0)
                return false;
        while ((got = read(fd, content + have, sizeof(content) - have)) > 0)
                have += (size_t)got;
        (void)close(fd);
        return got == 0 && have == message->length && memcmp(content, message->content, have) == 0;
}

static bool
judge_entry(const struct drop *drop, int folder, const char *name, bool there[],
    char why[WHY_SIZE])
{
        size_t base_length = strcspn(name, ":");

        for (size_t i = 0; i < drop->count; i++) {
                if (strlen(messages[i].base) != base_length ||
                    memcmp(name, messages[i].base, base_length) != 0)
                        continue;
                there[i] = true;
                if (is_whole(folder, name, &messages[i]))
                        return true;
                (void)snprintf(why, WHY_SIZE, "message %zu is no longer whole", i + 1);
                return false;
        }
        (void)snprintf(why, WHY_SIZE, "a strange file lies in the maildrop: %.100s", name);
        return false;
}

static bool
judge_folder(const struct drop *drop, const char *name, bool there[],
    char why[WHY_SIZE])
{
        char path[PATH_SIZE + 8];
        const struct dirent *entry;
        bool is_good = true;
        DIR *directory;

        (void)snprintf(path, sizeof(path), "%s/%s", drop->path, name);
        directory = opendir(path);
        if (directory == NULL)
                err(1, "%s", path);
        while (is_good && (entry = readdir(directory)) != NULL)
                if (entry->d_name[0] != '.')
                        is_good = judge_entry(drop, dirfd(directory), entry->d_name, there, why);
        (void)closedir(directory);
        return is_good;
}

bool
drop_judge(const struct drop *drop, const bool may_be_gone[], const bool must_be_gone[],
    bool there[], char why[WHY_SIZE])
{
        memset(there, 0, MESSAGES_MAX * sizeof(*there));
        if (!judge_folder(drop, "new", there, why) || !judge_folder(drop, "cur", there, why) ||
            !judge_folder(drop, "tmp", there, why))
                return false;
        for (size_t i = 0; i < drop->count; i++) {
                if (there[i] && must_be_gone[i])
                        (void)snprintf(why, WHY_SIZE, "+OK to QUIT, but message %zu is there", i + 1);
                else if (!there[i] && !may_be_gone[i])
                        (void)snprintf(why, WHY_SIZE, "LOST: message %zu is gone", i + 1);
                else
                        continue;
                return false;
        }
        return true;
}

bool
drop_is_locked(const struct drop *drop)
{
        int fd = open(drop->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        bool is_locked;

        if (fd < 0)
                err(1, "%s", drop->path);
        is_locked = flock(fd, LOCK_EX | LOCK_NB) != 0;
        (void)close(fd);
        return is_locked;
}
