/*
 * sockios.h - what pop3d.c takes from the kernel's header, which Frama-C does not have.
 *
 * Runs in:   never; Frama-C's Eva reads it.
 * May touch: nothing.
 */
#define SIOCOUTQ 0x5411
