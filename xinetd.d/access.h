/*
 * access.h - what the files about who may connect share.
 * Runs in:   pop3d-check alone, as root where it can.
 * May touch: nothing.
 */
#ifndef POP3D_XINETD_ACCESS_H
#define POP3D_XINETD_ACCESS_H

#include "entries.h"

/* ---- addresses.c: patterns for addresses ------------------------------------------------------ */

/* "192.0.2.0/24", "192.0.2.0/255.255.255.0", "2001:db8::/32", an address alone. */
bool is_in_network(const struct address *address, const char *network);

/* The name that this address is known by, or "". */
const char *name_of(const struct address *address, char name[VALUE_SIZE]);

/* ---- wrappers.c: hosts.allow and hosts.deny ------------------------------------------------ */

/*
 * Whether tcp wrappers refuse this address for a daemon of this name. where: the file and the line
 * that decide, or "".
 */
bool wrappers_refuse(const struct entries *entries, const char *daemon, const struct address *own,
    char where[VALUE_SIZE]);

/* ---- command_access.c: what command lines say of addresses ------------------------------------ */

struct refusal;

/* Whether tcpserver, tcpsvd or socat was told to keep this address out; then why. */
bool command_refuses(const struct entry *entry, const struct address *address, struct refusal *refusal);

/* ---- haproxy_access.c: what HAProxy's rules say of addresses ------------------------------------- */

bool haproxy_refuses(const struct entry *entry, const struct address *address, struct refusal *refusal);

/* ---- neighbours.c: single machines of our networks that are kept out ---------------------------- */

/* The row of the first that is, where their network is let in. */
void neighbours_check(const struct entries *entries, const struct entry *entry);

/* ---- limits.c: how many may connect ---------------------------------------------------------- */

/* The rows of limits that keep clients out: that are reached, or are too tight for POP3. */
void limits_check(const struct entries *entries, const struct entry *entry);

/* ---- refusal.c ---------------------------------------------------------------------------------- */

/* Why an address is kept out: the words that do it, and what mends it. */
struct refusal {
        char cause[VALUE_SIZE], remedy[VALUE_SIZE];
        bool is_for_others;             /* these words let in others than this machine, who may be the clients */
};

/* Whether what restricts the entry by address keeps this one out; then why. */
bool access_refusal(const struct entries *entries, const struct entry *entry,
    const struct address *address, struct refusal *refusal);

/* ---- access.c ---------------------------------------------------------------------------------- */

/* For each entry that is on a row of who may connect, and of what keeps clients out. */
void access_check(const struct entries *entries);

#endif
