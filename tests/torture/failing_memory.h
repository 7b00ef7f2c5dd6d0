/*
 * failing_memory.h - the page on which a session's allocations are counted.
 * Runs in:   the sweep and the sessions that it starts.
 * May touch: nothing.
 */
#ifndef TORTURE_FAILING_MEMORY_H
#define TORTURE_FAILING_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

#define FAILING_MEMORY_VARIABLE "FAILING_MEMORY_PAGE"

struct failing_memory {
        uint32_t count;         /* allocations so far */
        uint32_t fail_at;       /* which is to fail, from 1; 0: none */
        uint32_t persists;      /* and all after it */
        uint32_t has_failed;
};

#endif
