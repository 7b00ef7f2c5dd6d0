/*
 * fuzz.h - what the fuzz harnesses share.
 *
 * Runs in:   a fuzzer, or replay, over one input at a time.
 * May touch: memory.
 *
 * A harness is one function, called with any octets; what it finds wrong ends
 * the process. What stands for a broken promise is require(), never assert():
 * it must hold in every build.
 */
#ifndef POP3D_FUZZ_H
#define POP3D_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define require(condition)                                                              \
        do {                                                                            \
                if (!(condition)) {                                                     \
                        fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
                        abort();                                                        \
                }                                                                       \
        } while (0)

/* Of exactly this size, so that the address sanitizer sees a step beyond it. */
static inline char *
exact_copy(const void *data, size_t size)
{
        char *copy = malloc(size > 0 ? size : 1);

        if (copy == NULL)
                abort();
        if (size > 0)
                memcpy(copy, data, size);
        return copy;
}

#endif
