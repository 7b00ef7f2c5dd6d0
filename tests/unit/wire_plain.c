/*
 * wire_plain.c - the tests of wire.c, as it is on a processor that cannot shuffle octets.
 * Runs in:   the tests.
 * May touch: memory.
 */
#define WITHOUT_SHUFFLE
#include "../../maildir/wire.c"
#include "wire.c"
