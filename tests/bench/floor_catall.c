/*
 * floor_catall.c - the floor of fetching all: open, read and close of each
 * message, and its octets into the socket as they are.
 *
 *     floor_catall [-f] MAILDIR     at one line, all of them in large writes
 *     floor_catall -l MAILDIR       at each line the next one, in one write
 *
 * With -f it does so inside pop3d's fences, and what is left is what they cost.
 * In lockstep each message is followed by ".\r\n", as the client waits for it.
 *
 * Runs in:   the benchmark.
 * May touch: the Maildir, to read it.
 */
#include <stdbool.h>

#include "floor.h"

struct gathering {
        char data[FLOOR_PIECE];
        size_t used;
};

static void
put(struct gathering *gathering)
{
        for (size_t done = 0; done < gathering->used;) {
                ssize_t count = write(1, gathering->data + done, gathering->used - done);

                if (count <= 0)
                        _exit(1);
                done += (size_t)count;
        }
        gathering->used = 0;
}

static void
gather(struct gathering *gathering, int folder, const char *name)
{
        int fd = openat(folder, name, O_RDONLY);
        ssize_t count;
        size_t room;

        do {
                if (sizeof(gathering->data) - gathering->used < 8192)
                        put(gathering);
                room = sizeof(gathering->data) - gathering->used;
                count = read(fd, gathering->data + gathering->used, room);
                if (count < 0)
                        floor_die(name);
                gathering->used += (size_t)count;
        } while ((size_t)count == room);
        (void)close(fd);
}

int
main(int argc, char **argv)
{
        static struct gathering gathering;
        bool is_lockstep = argc == 3 && strcmp(argv[1], "-l") == 0;
        struct floor_folder folders[2];

        if (argc < 2 || chdir(argv[argc - 1]) != 0)
                return 64;
        floor_fence(argc, argv);
        for (int i = 0; i < 2; i++)
                floor_read(&folders[i], floor_folders[i], 1);
        floor_say("+OK\r\n");
        if (!is_lockstep && !floor_wait())
                return 1;
        for (int i = 0; i < 2; i++) {
                const char *name;
                size_t at = 0;

                while ((name = floor_next(&folders[i], &at)) != NULL) {
                        if (is_lockstep && !floor_wait())
                                return 1;
                        gather(&gathering, folders[i].fd, name);
                        if (!is_lockstep)
                                continue;
                        memcpy(gathering.data + gathering.used, "\r\n.\r\n", 5);
                        gathering.used += 5;
                        put(&gathering);
                }
        }
        put(&gathering);
        return 0;
}
