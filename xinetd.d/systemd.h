/*
 * systemd.h - what the files about systemd's units share.
 * Runs in:   pop3d-check alone, as root where it can.
 * May touch: nothing.
 */
#ifndef POP3D_XINETD_SYSTEMD_H
#define POP3D_XINETD_SYSTEMD_H

#include "entries.h"

/* systemd_bars.c: what keeps systemd from starting the socket or its service, or sessions from being heard. */
void systemd_find_bars(struct entry *entry, const char *service);

/* systemd_fences.c: what the service forbids its sessions although they need it. */
void systemd_find_fences(struct entry *entry, const char *service);

/* systemd_calls.c: a value of SystemCallFilter= is added to the others; and whether all of them let pop3d work. */
void systemd_take_calls(struct entry *entry, const char *value);
void systemd_find_calls(struct entry *entry);

#endif
