/*
 * floor_dialog.c - the floor of a session: a static program that answers the
 * same commands with the same octets, and does nothing else.
 *
 *     floor_dialog STAT-REPLY
 *
 * Runs in:   the benchmark.
 * May touch: the client on descriptors 0 and 1.
 */
#include "floor.h"

#include "floor_answers.h"

int
main(int argc, char **argv)
{
        floor_answer(argc > 1 ? argv[1] : "0 0", NULL, NULL);
        return 0;
}
