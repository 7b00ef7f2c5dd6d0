/*
 * systemd.h - what the two files about systemd's units share.
 * Runs in:   pop3d-check alone, as root where it can.
 * May touch: nothing.
 */
#ifndef POP3D_XINETD_SYSTEMD_H
#define POP3D_XINETD_SYSTEMD_H

#include "entries.h"

/* systemd_fences.c: names what the service forbids its sessions although they need it. */
/* What keeps systemd from starting the socket or its service, or the service from hearing and being heard. */
void systemd_find_bars(struct entry *entry, const char *service);

void systemd_find_fences(struct entry *entry, const char *service);

#endif
