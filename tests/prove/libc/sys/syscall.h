/*
 * syscall.h - what maildir/index.c takes of system calls that Frama-C does not know.
 *
 * Runs in:   never; Frama-C's Eva reads it.
 * May touch: nothing.
 */
#define SYS_statx 332
#define AT_STATX_FORCE_SYNC 0x2000
long syscall(long number, ...);
