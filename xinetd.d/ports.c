/*
 * ports.c - who listens on a port: address, owner of the socket, process.
 * Runs in:   pop3d-check, as root where it can.
 * May touch: /proc, for reading.
 */
#include "entries.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
        LISTENING = 10,         /* a state in /proc/net/tcp, in hexadecimal 0A */
        FIRST_DESCRIPTORS = 512,        /* of a process are looked at before those of others */
        SEARCH_MILLISECONDS = 700,
};

static void
read_table(const char *path, int family, void (*found)(void *, const struct listener *),
    void *context)
{
        struct listener listener = { .family = family };
        uint32_t *words = listener.address;
        FILE *table = fopen(path, "re");
        char line[256], address[33];
        unsigned state;

        if (table == NULL)
                return;
        while (fgets(line, sizeof(line), table) != NULL) {
                if (sscanf(line, " %*d: %32[0-9A-F]:%x %*s %x %*s %*s %*s %u %*s %lu", address,
                    &listener.port, &state, &listener.uid, &listener.inode) != 5 ||
                    state != LISTENING)
                        continue;
                (void)sscanf(address, "%8x%8x%8x%8x", words, words + 1, words + 2, words + 3);
                (void)inet_ntop(family, listener.address, listener.text, sizeof(listener.text));
                found(context, &listener);
        }
        (void)fclose(table);
}

void
listeners_read(void (*found)(void *context, const struct listener *listener), void *context)
{
        read_table("/proc/net/tcp", AF_INET, found, context);
        read_table("/proc/net/tcp6", AF_INET6, found, context);
}

int64_t
milliseconds_now(void)
{
        struct timespec now = { 0 };

        (void)clock_gettime(CLOCK_MONOTONIC, &now);
        return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* ---- The processes that hold the sockets ------------------------------------------------ */

/* Fills in what /proc tells of a process: its name, and the letter of its state. */
static void
describe_process(struct listener *listener, int pid)
{
        char path[64], line[256];
        const char *end;
        FILE *file;

        listener->pid = pid;
        (void)snprintf(path, sizeof(path), "/proc/%d/stat", pid);
        file = fopen(path, "re");
        if (file == NULL)
                return;
        /* "NUMBER (NAME) STATE ...", where a name may have anything in it */
        if (fgets(line, sizeof(line), file) != NULL && (end = strrchr(line, ')')) != NULL &&
            strchr(line, '(') != NULL) {
                const char *name = strchr(line, '(') + 1;

                (void)snprintf(listener->name, sizeof(listener->name), "%.*s", (int)(end - name),
                    name);
                listener->state = end[1] == ' ' ? end[2] : '?';
        }
        (void)fclose(file);
}

/* Looks through descriptors of a process, at most so many; false when the time is over. */
static bool
search_process(struct listeners *all, int pid, unsigned most, int64_t end)
{
        char path[64], link[64];
        const struct dirent *entry;
        unsigned long inode;
        unsigned seen = 0;
        DIR *folder;

        (void)snprintf(path, sizeof(path), "/proc/%d/fd", pid);
        folder = opendir(path);
        if (folder == NULL)
                return true;
        while (seen++ < most && (entry = readdir(folder)) != NULL) {
                ssize_t length = readlinkat(dirfd(folder), entry->d_name, link, sizeof(link) - 1);

                link[length < 0 ? 0 : length] = '\0';
                if (seen % 64 == 0 && milliseconds_now() > end)
                        break;
                if (sscanf(link, "socket:[%lu]", &inode) != 1)
                        continue;
                for (size_t i = 0; i < all->count; i++)
                        if (all->listener[i].inode == inode && all->listener[i].pid == 0)
                                describe_process(&all->listener[i], pid);
        }
        (void)closedir(folder);
        return milliseconds_now() <= end;
}

static bool
are_all_found(const struct listeners *all)
{
        for (size_t i = 0; i < all->count; i++)
                if (all->listener[i].pid == 0)
                        return false;
        return true;
}

/* Whether a process may well hold one of the sockets: the system's own, or of a socket's owner. */
static bool
is_likely(const struct listeners *all, const char *pid)
{
        char path[64];
        struct stat status;

        (void)snprintf(path, sizeof(path), "/proc/%.20s", pid);
        if (stat(path, &status) != 0)
                return false;
        for (size_t i = 0; i < all->count; i++)
                if (all->listener[i].uid == status.st_uid)
                        return true;
        return status.st_uid < ORDINARY_UID;
}

/*
 * Finds the holders in one walk for all sockets. Ordinary users may have millions of descriptors,
 * so the likely processes come first, and of each the first descriptors: a program listens early.
 * Only then all others, while there is time.
 */
static void
find_holders(struct listeners *all)
{
        int64_t end = milliseconds_now() + SEARCH_MILLISECONDS;
        bool has_time = true;

        for (size_t i = 0; i < all->count; i++)
                (void)snprintf(all->listener[i].name, sizeof(all->listener[i].name),
                    "a process that is not seen");
        for (int round = 0; round < 2 && has_time; round++) {
                DIR *folder = opendir("/proc");
                const struct dirent *entry;

                while (folder != NULL && has_time && !are_all_found(all) &&
                    (entry = readdir(folder)) != NULL) {
                        int pid = atoi(entry->d_name);

                        if (pid > 0 && (round == 1 || is_likely(all, entry->d_name)))
                                has_time = search_process(all, pid,
                                    round == 1 ? UINT_MAX : FIRST_DESCRIPTORS, end);
                }
                if (folder != NULL)
                        (void)closedir(folder);
        }
}

static void
take_listener(void *context, const struct listener *listener)
{
        struct listeners *all = context;

        if (all->count < LISTENERS_MAX && all->is_wanted(all->context, listener->port))
                all->listener[all->count++] = *listener;
}

void
listeners_take(struct listeners *all)
{
        all->count = 0;
        listeners_read(take_listener, all);
        find_holders(all);
}

int
listener_holder(const struct listener *listener, char name[64])
{
        struct listeners all = { .count = 1 };

        all.listener[0] = *listener;
        find_holders(&all);
        (void)snprintf(name, 64, "%s", all.listener[0].name);
        return all.listener[0].pid;
}

bool
listener_is_wild(const struct listener *listener)
{
        const uint32_t nothing[4] = { 0 };

        return memcmp(listener->address, nothing, listener->family == AF_INET6 ? 16 : 4) == 0;
}

/* ---- Who has a port ----------------------------------------------------------------------- */

struct search {
        unsigned port;
        struct holder *holder;
};

static void
take_first(void *context, const struct listener *listener)
{
        const struct search *search = context;

        if (listener->port == search->port && search->holder->pid == 0)
                search->holder->pid = listener_holder(listener, search->holder->name);
}

void
find_holder(unsigned port, struct holder *holder)
{
        struct search search = { .port = port, .holder = holder };

        memset(holder, 0, sizeof(*holder));
        if (port != 0)
                listeners_read(take_first, &search);
}
