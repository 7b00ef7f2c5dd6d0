/*
 * log.c - one line an event, which no name can forge.
 * Runs in:   pop3d, PAM and TRANSACTION; AUTHORIZATION has no log.
 * May touch: the log's socket, opened at start; stderr with -e.
 */
#include "auth.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

enum {
        VALUE_MAX = 160,        /* octets of a value, escaped */
        LINE_MAX_OCTETS = 900,  /* RFC 3164 allows 1,024 with the head */
};

/* The log's descriptors, -1 for none: syslog(3) hides its own, stderr serves only where wanted. */
static struct {
        int stderr_fd, syslog_fd;
} log_state = { -1, -1 };

void log_open(bool to_stderr)
{
        int next = fcntl(0, F_DUPFD, 3);

        if (next >= 0)
                (void)close(next);
        /* the zone is read now: later there may be no file system to read it from */
        tzset();
        openlog("pop3d", LOG_NDELAY | LOG_PID, LOG_MAIL);
        if (next >= 0 && fcntl(next, F_GETFD) >= 0)
                log_state.syslog_fd = next;
        log_state.stderr_fd = to_stderr ? 2 : -1;
}

void log_leave_stderr(void)
{
        if (log_state.stderr_fd == 2)
                log_state.stderr_fd = fcntl(2, F_DUPFD_CLOEXEC, 3);
}

void log_leave(void)
{
        closelog();
        log_state.syslog_fd = log_state.stderr_fd = -1;
}

void log_close_others(int keep)
{
        /* none becomes the highest number */
        const unsigned kept[] = { (unsigned)log_state.stderr_fd, (unsigned)log_state.syslog_fd,
            (unsigned)keep };

        for (unsigned first = 3, next; first != 0; first = next + 1) {
                next = UINT_MAX;
                for (size_t i = 0; i < 3; i++)
                        if (kept[i] >= first && kept[i] < next)
                                next = kept[i];
                if (first == next || syscall(SYS_close_range, first, next - 1, 0U) == 0)
                        continue;
                /* before Linux 5.9 */
                for (unsigned fd = first; fd < next && fd < (unsigned)sysconf(_SC_OPEN_MAX); fd++)
                        (void)close((int)fd);
        }
}

const char *error_name(int error)
{
#ifdef __GLIBC__
        const char *name = strerrorname_np(error);

        return name == NULL ? "unknown" : name;
#else
        return strerror(error);
#endif
}

/* Octets of the value stand for themselves where none can mislead; all others become %XX. */
static void append(char line[LINE_MAX_OCTETS], const char *name, const char *value)
{
        static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                    "0123456789._@+-/";
        size_t end = strlen(line), used = 0;
        char escaped[VALUE_MAX + 4] = "";

        for (; *value != '\0' && used < VALUE_MAX - 3; value++)
                used += (size_t)snprintf(escaped + used, 4,
                    strchr(plain, *value) != NULL ? "%c" : "%%%02X", (unsigned char)*value);
        (void)snprintf(line + end, LINE_MAX_OCTETS - end, ", %s=%s%s", name, escaped,
            *value == '\0' ? "" : "+");
}

void log_event(int priority, const char *event, const char *user, const char *address, ...)
{
        char line[LINE_MAX_OCTETS];
        const char *name;
        va_list fields;
        int saved = errno;

        (void)snprintf(line, sizeof(line), "%s", event);
        if (user != NULL)
                append(line, "user", user);
        if (address != NULL) {
                size_t end = strlen(line);

                (void)snprintf(line + end, sizeof(line) - end, ", ip=[%s]", address);
        }
        va_start(fields, address);
        while ((name = va_arg(fields, const char *)) != NULL)
                append(line, name, va_arg(fields, const char *));
        va_end(fields);
        syslog(priority, "%s", line);
        if (log_state.stderr_fd >= 0)
                (void)dprintf(log_state.stderr_fd, "pop3d[%ld]: %s\n", (long)getpid(), line);
        errno = saved;
}

void die(const char *what)
{
        log_event(LOG_CRIT, "FAULT", NULL, NULL, "category", "General", "reason", what, "error",
            errno == 0 ? "none" : error_name(errno), NULL);
        _exit(END_FAULT);
}

void must(bool is_done, const char *what)
{
        if (!is_done)
                die(what);
}

const char *session_end_name(enum session_end end)
{
        switch (end) {
        case END_QUIT: return "quit";
        case END_TIMEOUT: return "timeout";
        case END_ABUSE: return "abuse";
        case END_CUT: return "cut";
        case END_IN_USE: return "in-use";
        case END_REFUSED: return "refused";
        case END_DISCONNECT: case END_SILENT: return "disconnect";
        default: return "fault";
        }
}
