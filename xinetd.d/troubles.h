/*
 * troubles.h - what the rows of entries ask of what looks at them.
 * Runs in:   pop3d-check alone, as root where it can.
 * May touch: nothing.
 */
#ifndef POP3D_XINETD_TROUBLES_H
#define POP3D_XINETD_TROUBLES_H

#include "entries.h"

/* Adds to the entry what is wrong with it, beside what its reader has found. */
void entry_find_troubles(const struct entries *entries, struct entry *entry);

#endif
