/*
 * drop.h - a Maildir of a test's own, and sessions with it.
 */
#ifndef POP3D_DROP_H
#define POP3D_DROP_H

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "internal.h"
#include "test.h"

static char root[] = "/tmp/pop3d-unit-XXXXXX";

/* The path of a file in the Maildir; four of them are good at once. */
static inline const char *
path_of(const char *name)
{
        static char paths[4][600];
        static int next;

        next = (next + 1) % 4;
        snprintf(paths[next], sizeof(paths[next]), "%s/%s", root, name);
        return paths[next];
}

static inline void
put(const char *name, const char *content, size_t length)
{
        int fd = open(path_of(name), O_WRONLY | O_CREAT | O_TRUNC, 0600);

        if (fd < 0 || write(fd, content, length) != (ssize_t)length)
                abort();
        close(fd);
}

static inline void
put_text(const char *name, const char *content)
{
        put(name, content, strlen(content));
}

static inline void
run(const char *command)
{
        if (system(command) != 0)
                abort();
}

/* The Maildir is as it was made first. */
static inline void
begin(void)
{
        char command[700];

        snprintf(command, sizeof(command), "rm -rf %s && mkdir -p %s/new %s/cur %s/tmp && chmod 700 %s", root,
            root, root, root, root);
        run(command);
}

static inline struct maildrop *
session(void)
{
        const char *part;
        struct maildrop *drop = maildrop_open(maildir_open(root), NULL, 0, INDEX_SECONDS_BY_KIND, &part);

        if (drop == NULL || maildrop_load(drop, &part) != 0)
                abort();
        return drop;
}

/* So that what was written is older than what is read next. */
static inline void
wait_for_clock(void)
{
        nanosleep(&(struct timespec){ .tv_nsec = 20000000 }, NULL);
}

/* A session with two messages of four octets, cur/1.a and cur/2.b, and nothing else, that are older than it. */
static inline struct maildrop *
session_with_two(void)
{
        begin();
        put_text("cur/1.a", "one\n");
        put_text("cur/2.b", "two\n");
        wait_for_clock();
        return session();
}

static inline bool
has_id(const struct maildrop *drop, size_t number, const char *expected)
{
        char id[UNIQUE_ID_MAX];
        size_t length = maildrop_unique_id(drop, number, id);

        return length == strlen(expected) && memcmp(id, expected, length) == 0;
}

/* The folder of all of them, before the first one begins and after the last one. */
static inline void
make_root(void)
{
        if (mkdtemp(root) == NULL)
                abort();
}

static inline void
remove_root(void)
{
        char command[sizeof(root) + 16];

        snprintf(command, sizeof(command), "rm -rf %s", root);
        run(command);
}

#endif
