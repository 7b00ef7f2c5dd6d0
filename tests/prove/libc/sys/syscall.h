/*
 * syscall.h - system calls, which no pure function makes; Frama-C has no such header.
 *
 * Runs in:   never; Frama-C's Eva reads it.
 * May touch: nothing.
 */
#define SYS_getdents64 217
long syscall(long number, ...);
