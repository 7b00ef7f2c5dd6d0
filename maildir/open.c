/*
 * open.c - opens the Maildir, its folders, and lists that others may have written.
 * Runs in:   the TRANSACTION process, as the mail user.
 * May touch: the Maildir's directory, and the files in it that its callers name, for reading.
 */
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "internal.h"

enum {
        MEMORY_LEAST = 64,      /* MiB that a session may take with an empty Maildir */
        MEMORY_UNTOLD = 1024,   /* MiB, where a folder's size does not tell how much is in it */
        /*
         * Octets of memory for each octet of a folder or list. The least that a folder has for a
         * message is 20 octets, on tmpfs; the most memory that one takes, with a name of 255 octets
         * whose unique-id is kept anew, is some 2,500.
         */
        MEMORY_FACTOR = 128,
        COMPRESSION = 64,
        BASIC_STATS = 0x7ff,    /* STATX_BASIC_STATS, what stat(2) tells */
};

const char *const folder_parts[FOLDERS] = { "/new", "/cur" };

static int
open_below(int directory, const char *path, int flags)
{
        return (int)RETRY(openat(directory, path, O_RDONLY | O_CLOEXEC | flags));
}

int
open_file(int directory, const char *name)
{
        return open_below(directory, name, O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
}

int
open_list(const struct maildrop *drop, const char *name, struct stat *status)
{
        int fd = open_file(drop->directory, name);
        bool is_others = drop->owner != geteuid();
        int error = fd < 0 ? errno : 0;

        if (fd >= 0 && fstat(fd, status) != 0)
                error = errno == ESTALE ? ESTALE : EIO;
        else if (fd >= 0 && !S_ISREG(status->st_mode))
                error = ENOENT;
        else if (fd >= 0 && ((status->st_mode & S_IWOTH) != 0 || (status->st_uid != geteuid() &&
            status->st_uid != drop->owner && status->st_uid != 0)))
                error = EPERM;
        if (error == 0)
                return fd;
        if (fd >= 0)
                close(fd);
        /* a link or a device is no list of ours */
        if (error == ELOOP || error == ENXIO || (is_others && (error == EACCES || error == EPERM)))
                error = ENOENT;
        errno = error;
        return -1;
}

bool
file_has_hole(int fd, const struct stat *status)
{
        off_t hole = lseek(fd, 0, SEEK_HOLE);

        return hole >= 0 && hole < status->st_size;
}

int
list_read(int fd, const struct stat *status, size_t limit, struct area *list)
{
        size_t size = (uint64_t)status->st_size < limit ? (size_t)status->st_size : limit;

        if (file_has_hole(fd, status)) {
                errno = EPERM;
                return -1;
        }
        if (size == 0)
                return 0;
        if (area_reserve(list, size) != 0)
                return -1;
        if (RETRY(pread(fd, list->data, size, 0)) != (ssize_t)size) {
                errno = EIO;
                return -1;
        }
        list->used = size;
        return 0;
}

int
sync_to_disk(int fd)
{
        /*
         * With these errors a file system says that it does not sync such a file at all. EROFS is none of
         * them: ext4 and btrfs say it when an error made them read-only, after we had changed something.
         */
        if (RETRY(fsync(fd)) == 0 || errno == EINVAL || errno == ENOTSUP)
                return 0;
        return -1;
}

void
look_up_again(int directory, const char *name)
{
        /* room for a struct statx, which the headers of musl may lack */
        _Alignas(uint64_t) char unused[256];

        (void)syscall(SYS_statx, directory, name, AT_SYMLINK_NOFOLLOW | AT_STATX_FORCE_SYNC, BASIC_STATS, unused);
}

int
maildir_open(const char *path)
{
        int directory = open_below(AT_FDCWD, path, O_DIRECTORY);

        /* another machine has just put another home or Maildir in this place */
        for (int tries = 0; directory < 0 && errno == ESTALE && tries < ATTEMPTS; tries++) {
                look_up_again(AT_FDCWD, path);
                directory = open_below(AT_FDCWD, path, O_DIRECTORY);
        }
        /* EWOULDBLOCK means to our callers that another session holds the lock */
        if (directory < 0 && errno == EWOULDBLOCK)
                errno = EIO;
        return directory;
}

/*
 * The octets of a folder or of a list. Those of a list are bounded by its blocks, because a hole costs
 * nothing; COMPRESSION times, because a file system may store less than there is.
 */
static uint64_t
octets_held(int directory, const char *name)
{
        struct stat status;
        uint64_t size, stored;

        if (fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW) != 0)
                return 0;
        size = (uint64_t)status.st_size;
        stored = (uint64_t)status.st_blocks * 512 * COMPRESSION;
        return S_ISDIR(status.st_mode) || size < stored ? size : stored;
}

uint64_t
maildir_memory(int directory)
{
        static const char *const names[] = { "new", "cur", INDEX_NAME, "pop3d.ids",
                "dovecot-uidlist", "courierpop3dsizelist" };
        const uint64_t most = UINT64_C(1) << 40;        /* no sum overflows */
        uint64_t sum = (uint64_t)(directory < 0 || file_system_tells_sizes(directory)
            ? MEMORY_LEAST : MEMORY_UNTOLD) << 20;

        for (size_t i = 0; directory >= 0 && i < sizeof(names) / sizeof(*names); i++) {
                uint64_t held = octets_held(directory, names[i]);

                sum += (held < most ? held : most) * MEMORY_FACTOR;
        }
        return sum;
}

bool
maildir_is_not_yet_there(const char *path, uid_t uid)
{
        char own[PATH_MAX];
        size_t length = strlen(path);
        struct stat status;

        /* a link is followed that has a slash behind its name */
        while (length > 1 && path[length - 1] == '/')
                length--;
        if (snprintf(own, sizeof(own), "%.*s", (int)length, path) >= (int)sizeof(own) ||
            fstatat(AT_FDCWD, own, &status, AT_SYMLINK_NOFOLLOW) == 0 || errno != ENOENT ||
            fstatat(AT_FDCWD, dirname(own), &status, 0) != 0 || !S_ISDIR(status.st_mode) ||
            status.st_uid != uid)
                return false;
        /* the mode is looked at because root, as which the check may run, can write anywhere */
        errno = EACCES;
        return (status.st_mode & 0300) == 0300 && access(own, W_OK | X_OK) == 0;
}

int
folders_open(struct maildrop *drop)
{
        struct stat status;

        if (fstat(drop->directory, &status) != 0)
                return -1;
        drop->owner = status.st_uid;
        for (int folder = 0; folder < FOLDERS; folder++) {
                drop->part = folder_parts[folder];
                drop->folders[folder] = open_below(drop->directory, drop->part + 1,
                    O_DIRECTORY | O_NOFOLLOW);
                if (drop->folders[folder] < 0)
                        return -1;
        }
        return 0;
}
