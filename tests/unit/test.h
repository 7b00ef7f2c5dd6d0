/*
 * test.h - one line per checked fact, and an exit status that sums them up.
 */
#ifndef POP3D_TEST_H
#define POP3D_TEST_H

#include <stdbool.h>
#include <stdio.h>

static int test_failures;

/* Says whether what is named holds. */
static inline void
test(bool holds, const char *name)
{
        printf("%s %s\n", holds ? "ok" : "not ok", name);
        if (!holds)
                test_failures++;
}

static inline int
test_end(void)
{
        return test_failures == 0 ? 0 : 1;
}

#endif
