/*
 * options.c - numbers of seconds on the command line: a pure function of auth/options.c.
 *
 * Runs in:   never; Frama-C's Eva reads it.
 * May touch: nothing.
 */
#include "prove.h"

#include "../../auth/options.c"

/* Every string as an option's seconds: 1 to 86,400 or refused. */
void
prove_seconds(void)
{
        char text[8];
        unsigned seconds = 1;

        choose(case_length, 0, 7);
        fill_without(text, case_length, '\0', '\0');
        text[case_length] = '\0';
        if (parse_seconds(text, 1, OPTION_SECONDS_MAX, &seconds)) {
                //@ assert 1 <= seconds <= 86400;
        }
}
