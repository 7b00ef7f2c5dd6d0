/*
 * sessions.c - sessions of a user that the kernel keeps from dying.
 * Runs in:   pop3d, as root, between a granted login and becoming the user.
 * May touch: the file of the sessions, in which nothing is written; /proc; the log.
 *
 * A session that is stuck is killed soon after its time (process_die_at()). A user can make one that
 * does not die of it: its Maildir lies on a FUSE file system whose server, which is his, keeps a
 * request. It cannot say so itself, and no process waits for it that could. So the user's next
 * session says it; and who has STUCK_MAX of them has no further one, for each has a place of the launcher's.
 *
 * A session is a lock on one octet of the file: its user's number says where they begin, its process's
 * which it is. The lock belongs to the open file. That is mapped into memory and then closed, so
 * TRANSACTION has no descriptor by which it could lock anything, and the lock ends with the process.
 */
#include "internal.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <syslog.h>
#include <unistd.h>

enum {
        STUCK_MAX = 20,
        LOOKED_AT = 40,                 /* sessions of the user's, however many he has */
        PROCESS_BITS = 22,              /* of a process's number, in the kernel */
};

/* Whether SIGKILL waits to be delivered to a process, which a moment later it never does. */
static bool
is_killed(int64_t process)
{
        static const char *const words[] = { "\nSigPnd:", "\nShdPnd:" };
        char path[32], status[4096];
        ssize_t length;
        bool is_found = false;
        int fd;

        (void)snprintf(path, sizeof(path), "/proc/%d/status", (int)process);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return false;
        length = read(fd, status, sizeof(status) - 1);
        (void)close(fd);
        status[length < 0 ? 0 : length] = '\0';
        for (size_t i = 0; i < 2; i++) {
                const char *found = strstr(status, words[i]);

                is_found |= found != NULL && (strtoull(found + strlen(words[i]), NULL, 16) >>
                    (SIGKILL - 1) & 1) != 0;
        }
        return is_found;
}

/* What is found out about the other sessions of a user. */
struct others {
        int fd;
        int64_t base;                   /* the octet of a session is that of its process behind this */
        unsigned looked_at, stuck;
        int64_t one;                    /* process of one that is stuck */
};

/* Looks at the sessions whose octets lie from one to another. */
static void
look_at(struct others *others, int64_t from, int64_t to)
{
        struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = from,
            .l_len = to - from + 1 };
        int64_t found;

        if (from > to || others->looked_at == LOOKED_AT ||
            fcntl(others->fd, F_OFD_GETLK, &lock) != 0 || lock.l_type == F_UNLCK)
                return;
        /* one that begins before is told of as a whole */
        found = lock.l_start < from ? from : lock.l_start;
        others->looked_at++;
        if (is_killed(found - others->base)) {
                others->stuck++;
                others->one = found - others->base;
        }
        look_at(others, from, found - 1);
        look_at(others, found + 1, to);
}

bool
sessions_admit(const struct auth *auth, const struct identity *identity)
{
        struct others others = { .base = (int64_t)identity->uid << PROCESS_BITS };
        struct flock own = { .l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = others.base + getpid(),
            .l_len = 1 };
        char number[16];

        /* all virtual users are one account, and none of them can put a file system anywhere */
        if (auth->virtual_account != NULL ||
            (others.fd = places_open(PLACES_FOLDER "/sessions", O_RDONLY)) < 0)
                return true;
        if (fcntl(others.fd, F_OFD_SETLK, &own) == 0)
                look_at(&others, others.base, others.base + (INT64_C(1) << PROCESS_BITS) - 1);
        if (others.stuck != 0) {
                (void)snprintf(number, sizeof(number), "%d", (int)others.one);
                log_event(LOG_ERR, "STUCK", identity->name.user, identity->peer.address, "pid", number, NULL);
        }
        /* nothing is read there; the map only keeps the file open */
        (void)mmap(NULL, 1, PROT_NONE, MAP_SHARED, others.fd, 0);
        (void)close(others.fd);
        if (others.stuck < STUCK_MAX)
                return true;
        log_event(LOG_NOTICE, "TOO MANY STUCK", identity->name.user, identity->peer.address, NULL);
        return false;
}
