/*
 * floor_getdents.c - the floor of looking at a maildrop: getdents64 over
 * new/ and cur/, then one line.
 *
 *     floor_getdents MAILDIR
 *
 * Runs in:   the benchmark.
 * May touch: the Maildir's directories.
 */
#include "floor.h"

int
main(int argc, char **argv)
{
        struct floor_folder folder;

        if (argc != 2 || chdir(argv[1]) != 0)
                return 64;
        for (int i = 0; i < 2; i++)
                floor_read(&folder, floor_folders[i], 0);
        floor_say("+OK\r\n");
        return 0;
}
