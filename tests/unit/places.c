/*
 * places.c - where the places of a network lie, how they are taken, and how many logins a machine examines.
 *
 * auth/places.c is included, because the numbers are known to that file alone.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Stands in for libc's, for this file alone: the runtime of sanitizers asks for other things. */
#define sysconf told_by_the_machine

static long told_by_the_machine(int name);

#include "../../auth/places.c"

#include "test.h"

static long mebibytes;          /* of memory that this machine is said to have; 0: what it has */
static long page = 4096;

static long
told_by_the_machine(int name)
{
        return name == _SC_PAGESIZE ? page : name == _SC_PHYS_PAGES ? mebibytes * (1024 * 1024 / page) : -1;
}

static int64_t
of(const char *address)
{
        struct peer peer = { 0 };

        snprintf(peer.address, sizeof(peer.address), "%s", address);
        return places_of(&peer);
}

/* Whether two networks have none of their places in common. */
static bool
are_apart(const char *one, const char *other)
{
        return llabs((long long)(of(one) - of(other))) >= PLACES_OF_A_NETWORK;
}

static void
test_networks(void)
{
        static const char *const apart[][2] = {
                { "192.0.2.7", "192.0.2.8" }, { "192.0.2.7", "192.0.3.7" }, { "192.0.2.7", "192.1.2.7" },
                { "192.0.2.7", "193.0.2.7" }, { "0.0.0.0", "0.0.0.1" }, { "255.255.255.255", "::" },
                { "2001:db8::", "2101:db8::" }, { "2001:db8::", "2002:db8::" }, { "2001:db8::", "2001:cb8::" },
                { "2001:db8::", "2001:db9::" }, { "2001:db8::", "2001:db8:100::" }, { "2001:db8::", "2001:db8:1::" },
                { "2001:db8::", "2001:db8:0:100::" }, { "2001:db8::", "2001:db8:0:1::" }, { "::", "0:0:0:1::" },
                { "ff00::", "::" }, { "2001:db8:0:7::", "2001:db8:0:8::" },
        };
        static const char *const same[][2] = {
                { "2001:db8:0:7::1", "2001:db8:0:7::2" }, { "2001:db8:0:7::", "2001:db8:0:7:ffff:ffff:ffff:ffff" },
                { "fe80::1", "fe80::1%eth0" }, { "fe80::1%eth1", "fe80::2%eth0" },
        };

        for (size_t i = 0; i < sizeof(apart) / sizeof(*apart); i++)
                test(are_apart(apart[i][0], apart[i][1]), apart[i][1]);
        for (size_t i = 0; i < sizeof(same) / sizeof(*same); i++)
                test(of(same[i][0]) == of(same[i][1]), same[i][1]);
        test(of("0.0.0.0") > EXAMINATIONS + QUEUE_HEAD && of("255.255.255.255") < of("::") - PLACES_OF_A_NETWORK &&
            of("ffff:ffff:ffff:ffff::") > of("::") && of("ffff:ffff:ffff:ffff::") <= INT64_MAX - PLACES_OF_A_NETWORK,
            "no kind reaches into the next");
}

static pid_t others[3];          /* processes that keep what they have taken */

/* Another process takes one of some octets, and keeps it. */
static void
let_another_take(unsigned count, unsigned first)
{
        static size_t next;
        char octet = '\0';
        int ends[2];

        if (pipe(ends) != 0 || (others[next] = fork()) < 0)
                abort();
        if (others[next++] == 0) {
                octet = take_octet(100, count, first);
                if (write(ends[1], &octet, 1) != 1)
                        abort();
                for (;;)
                        (void)pause();
        }
        test(read(ends[0], &octet, 1) == 1 && octet, "another process takes one");
        close(ends[0]);
        close(ends[1]);
}

static bool
is_taken(unsigned octet)
{
        struct flock lock;

        return lock_octet(F_GETLK, F_WRLCK, octet, &lock) == 0 && lock.l_type != F_UNLCK;
}

static void
test_taking(void)
{
        char name[] = "/tmp/pop3d-places-XXXXXX";

        places.fd = mkstemp(name);
        unlink(name);
        let_another_take(3, 1);
        test(!is_taken(100) && is_taken(101) && !is_taken(102), "the first that is tried");
        let_another_take(3, 1);
        test(!is_taken(100) && is_taken(102) && !is_taken(103), "then the next one");
        let_another_take(3, 1);
        test(is_taken(100) && !is_taken(103) && !is_taken(99), "from the end on to the beginning");
        errno = 0;
        test(!take_octet(100, 3, 0) && (errno == EAGAIN || errno == EACCES) && !is_taken(103), "and no other");
        test(take_octet(100, 4, 0) && !take_octet(100, 3, 2), "one more is free");
        (void)close(places.fd);
        errno = 0;
        test(!take_octet(100, 4, 0) && errno == EBADF, "an error is none that is taken");
        places.fd = -1;
        for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++)
                (void)kill(others[i], SIGKILL);
}

static void
test_examinations(void)
{
        static const struct { long mebibytes; unsigned at_once; } cases[] = {
                { 64, 2 }, { 256, 2 }, { 479, 2 }, { 480, 3 }, { 1024, 6 }, { 2399, 14 }, { 2400, 15 }, { 2560, 16 },
                { 65536, 16 },
        };

        for (page = 4096; page <= 65536; page *= 16)
                for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
                        mebibytes = cases[i].mebibytes;
                        test(examined_at_once() == cases[i].at_once, "logins examined at once");
                }
}

int
main(void)
{
        test_networks();
        test_taking();
        test_examinations();
        return test_end();
}
