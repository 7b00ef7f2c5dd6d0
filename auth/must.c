/*
 * must.c - what ends a process in which a step failed that has to succeed.
 * Runs in:   every process of a session.
 * May touch: the log.
 */
#include "internal.h"

#include <errno.h>
#include <syslog.h>
#include <unistd.h>

void
must(bool is_done, const char *what)
{
        if (is_done)
                return;
        log_event(LOG_CRIT, "FAULT", NULL, NULL, "category", "General", "reason", what, "error",
            errno == 0 ? "none" : error_name(errno), NULL);
        _exit(END_FAULT);
}
