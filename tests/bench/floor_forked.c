/*
 * floor_forked.c - the floor of a session of pop3d's kind: floor_dialog.c, but with the C library
 * as a shared object, and answered by a process of its own, which the first one waits for.
 *
 *     floor_forked STAT-REPLY
 *
 * Runs in:   the benchmark.
 * May touch: the client on descriptors 0 and 1.
 */
#include <sys/wait.h>

#include "floor_answers.h"

int
main(int argc, char **argv)
{
        pid_t child = fork();

        if (child < 0)
                floor_die("fork");
        if (child == 0)
                floor_answer(argc > 1 ? argv[1] : "0 0", NULL, NULL);
        else if (waitpid(child, NULL, 0) != child)
                floor_die("waitpid");
        return 0;
}
