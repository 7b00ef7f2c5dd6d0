/*
 * xinetd.h - what the two files about xinetd's entries share.
 * Runs in:   pop3d-check alone, as root where it can.
 * May touch: nothing.
 */
#ifndef POP3D_XINETD_XINETD_H
#define POP3D_XINETD_XINETD_H

#include "entries.h"

/* Whether a list of words, each behind a blank, has this word. */
bool xinetd_lists(const char *list, const char *word);

/* Adds to a complete entry what is wrong with it, and finds its port and its arguments. */
void xinetd_find_faults(struct entry *entry);

#endif
