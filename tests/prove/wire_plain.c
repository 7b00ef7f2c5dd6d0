/*
 * wire_plain.c - the proofs of wire.c, as it is on a processor that cannot shuffle octets.
 *
 * Runs in:   make prove, as wire.c does.
 * May touch: memory.
 */
#define WITHOUT_SHUFFLE
#include "../../maildir/wire.c"

/* both have one, and it is the same */
#define BLOCK PROOF_BLOCK
#include "wire.c"
