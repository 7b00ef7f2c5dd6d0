/*
 * log.c - writes one line for each event; no name in it can forge a second line or field.
 * Runs in:   pop3d, PAM and TRANSACTION; AUTHORIZATION has no log.
 * May touch: the log's socket, opened at start; stderr with -e.
 */
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

enum {
        VALUE_MAX = 160,        /* octets of a value, escaped */
        LINE_MAX_OCTETS = 900,  /* RFC 3164 allows 1,024 with the head */
};

/* The log's descriptors, -1 for none. log_open() finds out syslog's, which syslog(3) hides. */
static struct {
        int stderr_fd, syslog_fd;
} log_state = { -1, -1 };

void
log_own_again(void)
{
        openlog("pop3d", LOG_NDELAY | LOG_PID, LOG_MAIL);
}

void
log_open(bool to_stderr)
{
        /* the lowest free descriptor is the one that openlog(3) will take for its socket */
        int next = fcntl(0, F_DUPFD, 3);

        if (next >= 0)
                (void)close(next);
        /* TZ is read now, because the environment is cleared later */
        if (getenv("TZ") != NULL)
                tzset();
        log_own_again();
        log_state.syslog_fd = fcntl(next, F_GETFD) < 0 ? -1 : next;
        log_state.stderr_fd = to_stderr ? 2 : -1;
}

void
log_learn_zone(void)
{
        (void)localtime_r(&(time_t){ 0 }, &(struct tm){ 0 });
}

bool
log_leave_standard(int first)
{
        int null;

        /* process_begin() has left it there, if it is not the log's */
        if (first == 2 && log_state.stderr_fd != 2)
                return true;
        null = open("/dev/null", O_RDWR | O_CLOEXEC);
        if (log_state.stderr_fd == 2)
                log_state.stderr_fd = fcntl(2, F_DUPFD_CLOEXEC, 3);
        for (int fd = first; fd <= 2; fd++)
                if (null < 0 || dup2(null, fd) < 0)
                        return false;
        (void)close(null);
        return true;
}

void
log_leave(void)
{
        closelog();
        log_state.syslog_fd = log_state.stderr_fd = -1;
}

void
log_close_others(int keep)
{
        const int kept[] = { log_state.stderr_fd, log_state.syslog_fd, keep };
        int last = 2;

        for (size_t i = 0; i < 3; i++)
                last = kept[i] > last ? kept[i] : last;
        for (int fd = 3; fd < last; fd++)
                if (fd != kept[0] && fd != kept[1] && fd != kept[2])
                        (void)close(fd);
        /* Linux before 5.9 lacks close_range(2), so there they are closed one by one */
        if (syscall(SYS_close_range, last + 1, UINT_MAX, 0) != 0)
                for (int fd = last + 1; fd < sysconf(_SC_OPEN_MAX); fd++)
                        (void)close(fd);
}

const char *
error_name(int error)
{
#ifdef __GLIBC__
        const char *name = strerrorname_np(error);

        return name == NULL ? "unknown" : name;
#else
        return strerror(error);
#endif
}

/* Appends ", NAME=VALUE" to the line. Octets of the value that are not in plain become %XX. */
static void
append(char line[LINE_MAX_OCTETS], const char *name, const char *value)
{
        static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                    "0123456789._@+-/";
        size_t end = strlen(line), used = 0;
        char escaped[VALUE_MAX + 4] = "";

        for (; *value != '\0' && used < VALUE_MAX - 3; value++) {
                if (strchr(plain, *value) != NULL)
                        escaped[used++] = *value;
                else
                        used += (size_t)snprintf(escaped + used, 4, "%%%02X",
                            (unsigned char)*value);
        }
        /* a '+' at its end says that the value was cut */
        (void)snprintf(line + end, LINE_MAX_OCTETS - end, ", %s=%s%s", name, escaped,
            *value == '\0' ? "" : "+");
}

void
log_event(int priority, const char *event, const char *user, const char *address, ...)
{
        char line[LINE_MAX_OCTETS], head[32];
        const char *name;
        va_list fields;
        int saved = errno;

        (void)snprintf(line, sizeof(line), "%s", event);
        if (user != NULL)
                append(line, "user", user);
        if (address != NULL)
                (void)snprintf(line + strlen(line), sizeof(line) - strlen(line), ", ip=[%s]",
                    address);
        va_start(fields, address);
        while ((name = va_arg(fields, const char *)) != NULL)
                append(line, name, va_arg(fields, const char *));
        va_end(fields);
        syslog(priority, "%s", line);
        /* not by stdio, which makes system calls that the fences of TRANSACTION forbid */
        if (log_state.stderr_fd >= 0) {
                int length = snprintf(head, sizeof(head), "pop3d[%ld]: ", (long)getpid());
                const struct iovec parts[] = { { head, (size_t)length }, { line, strlen(line) },
                        { (char[]){ '\n' }, 1 } };

                /* the !, because (void) alone does not silence the compiler */
                (void)!writev(log_state.stderr_fd, parts, 3);
        }
        errno = saved;
}

void
log_violation(const char *process, int call)
{
        char number[16];

        (void)snprintf(number, sizeof(number), "%d", call);
        log_event(LOG_CRIT, "FAULT", NULL, NULL, "category", "General", "process", process,
            "forbidden-system-call", number, NULL);
}
