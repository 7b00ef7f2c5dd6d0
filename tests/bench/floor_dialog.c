/*
 * floor_dialog.c - the floor of a session: a static program that answers the
 * same commands with the same octets, and does nothing else.
 *
 *     floor_dialog STAT-REPLY
 *     floor_dialog_pam -f STAT-REPLY    the same, linked with libpam, in a child that it forks
 *
 * Runs in:   the benchmark.
 * May touch: the client on descriptors 0 and 1.
 */
#include <sys/wait.h>

#include "floor.h"

#include "floor_answers.h"

int
main(int argc, char **argv)
{
        if (argc > 2 && strcmp(argv[1], "-f") == 0 && fork() != 0)
                return wait(NULL) < 0;
        floor_answer(argc > 1 ? argv[argc - 1] : "0 0", NULL, NULL);
        return 0;
}
