/*
 * floor_unlink.c - the floor of UPDATE: at one line, unlinkat of each message.
 *
 *     floor_unlink MAILDIR          and nothing else
 *     floor_unlink -s MAILDIR       and one fsync a folder
 *
 * Runs in:   the benchmark.
 * May touch: the Maildir, which it empties.
 */
#include "floor.h"

int
main(int argc, char **argv)
{
        struct floor_folder folders[2];
        int syncs = argc == 3 && strcmp(argv[1], "-s") == 0;

        if (argc < 2 || chdir(argv[argc - 1]) != 0)
                return 64;
        for (int i = 0; i < 2; i++)
                floor_read(&folders[i], floor_folders[i], 1);
        floor_say("+OK\r\n");
        if (!floor_wait())
                return 1;
        for (int i = 0; i < 2; i++) {
                const char *name;
                size_t at = 0;

                while ((name = floor_next(&folders[i], &at)) != NULL)
                        if (unlinkat(folders[i].fd, name, 0) != 0)
                                floor_die(name);
                if (syncs && fsync(folders[i].fd) != 0)
                        floor_die("fsync");
        }
        floor_say("+OK\r\n");
        return 0;
}
