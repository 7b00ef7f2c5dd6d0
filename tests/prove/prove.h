/*
 * prove.h - any input at all, for an analyser that follows every path.
 *
 * Runs in:   never; Frama-C's Eva reads it.
 * May touch: nothing.
 *
 * An octet stands for all its values at once. Lengths, and places of octets that
 * mean something, are split into one case for each: Eva keeps states apart by the
 * values of the variables case_*, which a harness sets by choose().
 */
#ifndef POP3D_PROVE_H
#define POP3D_PROVE_H

#include <__fc_builtin.h>
#include <stddef.h>

extern volatile unsigned char any_octet;
extern volatile int any_bit;

size_t case_length, case_room, case_first, case_second, case_third;

#define choose(variable, least, most)                                           \
        ((variable) = Frama_C_unsigned_long_interval((least), (most)))

/* The place of something behind another; case_length when there is none. */
#define choose_after(variable, other)                                           \
        do {                                                                    \
                (variable) = case_length;                                       \
                if ((other) < case_length)                                      \
                        choose(variable, (other) + 1, case_length);             \
        } while (0)

static inline void
put(char *data, size_t place, char octet)
{
        if (place < case_length)
                data[place] = octet;
}

/* Any octets but a and b. */
static inline void
fill_without(char *data, size_t length, char a, char b)
{
        //@ loop unroll 256;
        for (size_t i = 0; i < length; i++) {
                char octet = (char)any_octet;

                if (octet == a || octet == b)
                        octet = 'x';
                data[i] = octet;
        }
}

static inline void
fill(char *data, size_t length)
{
        Frama_C_make_unknown(data, length);
}

#endif
