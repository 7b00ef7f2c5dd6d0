/*
 * floor_readall.c - the floor of an exact count: open, read and close of each
 * message in the order of the directory, then one line.
 *
 *     floor_readall [-f] MAILDIR    with -f inside pop3d's fences
 *
 * Runs in:   the benchmark.
 * May touch: the Maildir, to read it.
 */
#include "floor.h"

int
main(int argc, char **argv)
{
        static char piece[FLOOR_PIECE];

        if (argc < 2 || chdir(argv[argc - 1]) != 0)
                return 64;
        floor_fence(argc, argv);
        for (int i = 0; i < 2; i++) {
                struct floor_folder folder;
                const char *name;
                size_t at = 0;

                floor_read(&folder, floor_folders[i], 1);
                while ((name = floor_next(&folder, &at)) != NULL) {
                        int fd = openat(folder.fd, name, O_RDONLY);

                        /* a read shorter than it could be has met the end */
                        while (read(fd, piece, sizeof(piece)) == (ssize_t)sizeof(piece))
                                ;
                        (void)close(fd);
                }
        }
        floor_say("+OK\r\n");
        return 0;
}
