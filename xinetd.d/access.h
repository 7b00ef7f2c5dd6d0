/*
 * access.h - what the files about who may connect share.
 * Runs in:   pop3d-check alone, as root where it can.
 * May touch: nothing.
 */
#ifndef POP3D_XINETD_ACCESS_H
#define POP3D_XINETD_ACCESS_H

#include "entries.h"

/* ---- addresses.c: addresses of this machine, and patterns for addresses ------------------- */

/* An address of this machine's; it stands for its neighbours, who are clients of ours. */
struct own {
        int family;
        unsigned char octets[16];       /* four of them for IPv4 */
        unsigned prefix;                /* bits of its network */
        bool is_loopback;
        char text[INET6_ADDRSTRLEN], network[INET6_ADDRSTRLEN + 4];     /* "192.0.2.0/24" */
};

enum { OWN_MAX = 32 };

struct owns {
        struct own own[OWN_MAX];
        size_t count;
};

/* Loopback and all others but those of one link alone. */
void owns_read(struct owns *owns);

/* Whether the address is one of them; it may be a name. */
bool owns_has(const struct owns *owns, const char *address);

/* "192.0.2.0/24", "192.0.2.0/255.255.255.0", "2001:db8::/32", an address alone. */
bool is_in_network(const struct own *own, const char *network);

/* The name that this address is known by, or "". */
const char *name_of(const struct own *own, char name[VALUE_SIZE]);

/* ---- wrappers.c: hosts.allow and hosts.deny ------------------------------------------------ */

/*
 * Whether tcp wrappers refuse this address for a daemon of this name. where: the file and the line
 * that decide, or "".
 */
bool wrappers_refuse(const struct entries *entries, const char *daemon, const struct own *own,
    char where[VALUE_SIZE]);

/* ---- limits.c: how many may connect ---------------------------------------------------------- */

/* The rows of limits that keep clients out: that are reached, or are too tight for POP3. */
void limits_check(const struct entries *entries, const struct entry *entry);

/* ---- access.c ---------------------------------------------------------------------------------- */

/* For each entry that is on a row of who may connect, and of what keeps clients out. */
void access_check(const struct entries *entries);

#endif
