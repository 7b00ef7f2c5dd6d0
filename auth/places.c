/*
 * places.c - how many connections wait for their login at once, and how many logins are examined.
 * Runs in:   pop3d, until the login; PAM.
 * May touch: the file of the places, in which nothing is written.
 *
 * A place is an octet of the file, behind its end, and who has locked it has the place. The kernel
 * takes a lock back when its process ends or closes the file, so nothing is left over, whatever
 * happens, and no process has to keep count. pop3d closes the file when it becomes the user, so a
 * login gives its places back. A connection has two: one of PLACES, which are for all, and one of
 * PLACES_OF_A_NETWORK, which each network has to itself somewhere in the 2^63 octets of a file.
 */
#include "internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

enum {
        PLACES = 200,
        PLACES_OF_A_NETWORK = 20,
        SHORT_OF_PLACES = PLACES / 2,           /* when so many are taken */
        LOOK_MILLISECONDS = 5000,               /* between two looks whether they are short */
        EXAMINED_LEAST = 2,
        EXAMINED_MOST = 16,
        QUEUE_HEAD = EXAMINED_MOST,
        LOOK_NANOSECONDS = 10000000,            /* between two looks whether an examination is over */
        EXAMINED_MEBIBYTES = 20,                /* of memory that one login takes: yescrypt's 16, and PAM */
};


/* Where in the file the octets of each kind begin. */
#define CONNECTIONS INT64_C(0)
#define EXAMINATIONS INT64_C(1000)
#define IPV4_NETWORKS (INT64_C(1) << 40)
#define IPV6_NETWORKS (INT64_C(1) << 62)
#define NETWORK_SHIFT 5
_Static_assert(PLACES < EXAMINATIONS && PLACES_OF_A_NETWORK <= 1 << NETWORK_SHIFT &&
    sizeof(off_t) == sizeof(int64_t), "the octets of two kinds overlap");

/* -1: there are no places. */
static struct {
        int fd;
} places = { -1 };

int
places_open(const char *path, int flags)
{
        struct stat file;
        int fd;

        errno = EPERM;
        if (geteuid() != 0)
                return -1;
        flags |= O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
        fd = open(path, flags, 0600);
        if (fd < 0 && errno == ENOENT) {
                (void)mkdir(PLACES_FOLDER, 0700);
                fd = open(path, flags, 0600);
        }
        if (fd < 0)
                return -1;
        if (fstat(fd, &file) == 0 && S_ISREG(file.st_mode) && file.st_uid == 0 &&
            (file.st_mode & 077) == 0)
                return fd;
        (void)close(fd);
        errno = EPERM;
        return -1;
}

/* Locks, unlocks or asks about one octet; as fcntl(2). */
static int
lock_octet(int command, short kind, int64_t octet, struct flock *lock)
{
        *lock = (struct flock){ .l_type = kind, .l_whence = SEEK_SET, .l_start = octet, .l_len = 1 };
        return fcntl(places.fd, command, lock);
}

/* Says that there are no limits, and why. */
static bool
go_without(void)
{
        log_event(LOG_INFO, "UNLIMITED", NULL, NULL, "file", PLACES_FOLDER "/places", "error",
            error_name(errno), NULL);
        return true;
}

/*
 * Where the places of a network begin: an IPv4 address, or the first 64 bits of an IPv6 address, of
 * which 56 fit. The other 8 change some of these, so that no two neighbours have the same places.
 */
static int64_t
places_of(const struct peer *peer)
{
        uint8_t octets[sizeof(struct in6_addr)] = { 0 };
        char text[sizeof(peer->address)];
        int64_t number = 0;
        bool is_four;

        /* without the scope of a link-local address */
        memcpy(text, peer->address, sizeof(text));
        text[strcspn(text, "%")] = '\0';
        is_four = inet_pton(AF_INET, text, octets) == 1;
        if (!is_four) {
                (void)inet_pton(AF_INET6, text, octets);
                octets[7] ^= octets[0];
        }
        for (size_t i = is_four ? 0 : 1; i < (is_four ? 4 : 8); i++)
                number = number << 8 | octets[i];
        return (is_four ? IPV4_NETWORKS : IPV6_NETWORKS) + (number << NETWORK_SHIFT);
}

/* Locks one of count octets, trying this one first. False, with errno, if all are taken. */
static bool
take_octet(int64_t begin, unsigned count, unsigned first)
{
        struct flock lock;

        for (unsigned i = 0; i < count; i++)
                if (lock_octet(F_SETLK, F_WRLCK, begin + (first + i) % count, &lock) == 0)
                        return true;
                else if (errno != EACCES && errno != EAGAIN)
                        return false;
        return false;
}

bool
auth_admits(const struct peer *peer)
{
        places.fd = places_open(PLACES_FOLDER "/places", O_RDWR);
        if (places.fd < 0)
                return go_without();
        if (peer->address[0] == '\0' || (take_octet(places_of(peer), PLACES_OF_A_NETWORK, 0) &&
            take_octet(CONNECTIONS, PLACES, (unsigned)getpid())))
                return true;
        if (errno != EACCES && errno != EAGAIN)
                return go_without();
        log_event(LOG_NOTICE, "TOO MANY CONNECTIONS", NULL, peer->address, NULL);
        return false;
}

static bool
are_short(void)
{
        unsigned taken = 0;
        struct flock lock;

        for (unsigned i = 0; i < PLACES && taken < SHORT_OF_PLACES; i++)
                taken += lock_octet(F_GETLK, F_WRLCK, CONNECTIONS + i, &lock) == 0 &&
                    lock.l_type != F_UNLCK;
        return taken >= SHORT_OF_PLACES;
}

void
places_wait(int channel, pid_t authorization)
{
        struct pollfd ready = { .fd = channel, .events = POLLIN };
        int count;

        while ((count = poll(&ready, 1, places.fd < 0 ? -1 : LOOK_MILLISECONDS)) <= 0)
                if (count == 0 && are_short())
                        (void)kill(authorization, SHORTAGE_SIGNAL);
}

/* How many logins may be examined at once: those that an eighth of the machine's memory can hold. */
static unsigned
examined_at_once(void)
{
        long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
        long logins = pages / ((1024 * 1024L / size) * EXAMINED_MEBIBYTES * 8);

        return logins < EXAMINED_LEAST ? EXAMINED_LEAST
            : logins > EXAMINED_MOST ? EXAMINED_MOST : (unsigned)logins;
}

/*
 * Whoever has the octet QUEUE_HEAD is the next one, and looks again and again which examination is
 * over; all others wait for that octet, asleep. The alarm ends a wait that takes too long.
 */
void
places_begin_examination(void)
{
        const struct timespec moment = { 0, LOOK_NANOSECONDS };
        const unsigned most = examined_at_once();
        struct flock lock;

        if (places.fd < 0 || lock_octet(F_SETLKW, F_WRLCK, EXAMINATIONS + QUEUE_HEAD, &lock) != 0)
                return;
        while (!take_octet(EXAMINATIONS, most, 0) && (errno == EACCES || errno == EAGAIN))
                (void)nanosleep(&moment, NULL);
        (void)lock_octet(F_SETLK, F_UNLCK, EXAMINATIONS + QUEUE_HEAD, &lock);
}

void
places_end_examination(void)
{
        struct flock lock = { .l_type = F_UNLCK, .l_whence = SEEK_SET, .l_start = EXAMINATIONS,
            .l_len = EXAMINED_MOST };

        if (places.fd >= 0)
                (void)fcntl(places.fd, F_SETLK, &lock);
}
