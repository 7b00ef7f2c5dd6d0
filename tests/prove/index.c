/*
 * index.c - no index makes its parser leave the memory that was read.
 *
 * Runs in:   never; Frama-C's Eva reads it.
 * May touch: nothing.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#include "prove.h"

/* What Frama-C's own headers lack. */
int unlinkat(int directory, const char *name, int flags);
#define le64toh(number) (number)
#define __builtin_add_overflow(a, b, sum) (*(sum) = (a) + (b), *(sum) < (b))
#define st_mtim st_mtim_

#include "../../maildir/index.c"
