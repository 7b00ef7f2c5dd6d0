/*
 * lock.c - one session at a time has a maildrop.
 * Runs in:   the TRANSACTION process, as the mail user.
 * May touch: the Maildir's directory and pop3d.lock in it; the folder above a Maildir that
 *            is not there yet.
 *
 * How a maildrop is locked
 * ------------------------
 * Two kinds of lock are used. flock(2) on the Maildir's own directory needs no file, but on
 * NFS, GlusterFS and MooseFS it is known to one machine only, and whoever may open the
 * directory for reading can hold it, too, and keep the owner out. fcntl(2)'s lock on the file
 * pop3d.lock reaches other machines, and only who may write to that file can hold it: it
 * has the Maildir's own rights to write, and nobody else may even read it.
 *
 *   file system  others may open the Maildir   lock
 *   local        no                            the directory, after pop3d.lock if that is there: a session
 *                                              on a machine to which this one exports the Maildir made it
 *   local        yes                           pop3d.lock
 *   another      no                            pop3d.lock, then the directory as well, because a
 *                                              session of pop3d 1.0 locks that alone
 *   another      yes                           pop3d.lock
 *
 * Where pop3d.lock cannot be made (a full or read-only disk), the directory is locked. Where it
 * cannot be made because the Maildir is another's and may only be read, this session is a
 * guest: it takes no lock, so that it cannot keep the owner out, and it removes nothing.
 *
 * If a user who is not the Maildir's owner made pop3d.lock, whom the Maildir lets write, the
 * owner may be unable to open it. Who can open it then locks the directory as well, and
 * the owner locks the directory alone.
 *
 * pop3d.lock is never removed, because two sessions could then lock two files of that name.
 * A lock ends with the process that holds it.
 */
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "internal.h"

enum { LOCK_PAUSE = 50 };       /* milliseconds between attempts to lock */

/* Waits for a moment, which differs between processes, so that two do not meet for ever. */
static unsigned
pause_before_next(void)
{
        const unsigned milliseconds = LOCK_PAUSE + (unsigned)getpid() % (LOCK_PAUSE / 2);
        const struct timespec pause = { .tv_nsec = (long)milliseconds * 1000000 };

        clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
        return milliseconds;
}

/*
 * Gives pop3d.lock the rights to write that the Maildir has: who may add and remove messages
 * may lock, too. umask(2) took them off when the file was created, or they have changed since.
 */
static void
share_file(int fd, const struct stat *file, const struct stat *maildir)
{
        mode_t mode = 0600;

        if ((maildir->st_mode & S_IWGRP) != 0 && (file->st_gid == maildir->st_gid ||
            fchown(fd, (uid_t)-1, maildir->st_gid) == 0))
                mode |= 0060;
        if ((maildir->st_mode & S_IWOTH) != 0)
                mode |= 0006;
        if ((file->st_mode & 0777) != mode)
                (void)fchmod(fd, mode);
}

/*
 * Opens pop3d.lock, which is created if it is not there. *is_owners: the owner of the Maildir
 * can open it, too. One that a guest made belongs to that guest, and nobody can give it away.
 */
static int
open_lock_file(struct maildrop *drop, const struct stat *maildir, bool *is_owners)
{
        struct stat file;

        drop->lock = (int)RETRY(openat(drop->directory, LOCK_NAME,
            O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600));
        if (drop->lock < 0 || fstat(drop->lock, &file) != 0) {
                /* another program has a lease on it; EWOULDBLOCK would mean another session */
                if (errno == EWOULDBLOCK)
                        errno = EIO;
                return -1;
        }
        /* one with another name may be a file of the user's that a guest has linked here */
        if (file.st_uid == geteuid() && file.st_nlink == 1)
                share_file(drop->lock, &file, maildir);
        *is_owners = file.st_uid == maildir->st_uid;
        return 0;
}

/* Whether pop3d.lock is there already, and is ours: nobody else can open it, as open_lock_file() sees to. */
static bool
has_own_file(const struct maildrop *drop)
{
        struct stat file;

        return fstatat(drop->directory, LOCK_NAME, &file, AT_SYMLINK_NOFOLLOW) == 0 &&
            S_ISREG(file.st_mode) && file.st_uid == geteuid();
}

/* Locks all of pop3d.lock; by flock(2) where the file system knows no lock of fcntl(2). */
static int
lock_file(int fd)
{
        const struct flock whole = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

        if (RETRY(fcntl(fd, F_OFD_SETLK, &whole)) == 0)
                return 0;
        if (errno != EAGAIN && errno != EACCES)
                return (int)RETRY(flock(fd, LOCK_EX | LOCK_NB));
        errno = EWOULDBLOCK;
        return -1;
}

/*
 * Tries to lock pop3d.lock, if it is open, and the directory, if wants_directory or if the file
 * system does not lock the file. Where it does not lock the directory either, pop3d.lock
 * is opened after all. Fails with EWOULDBLOCK if another session holds one of these.
 */
static int
try_to_lock(struct maildrop *drop, const struct stat *maildir, bool wants_directory)
{
        bool has_file = drop->lock >= 0 && lock_file(drop->lock) == 0, is_owners;

        if (drop->lock >= 0 && !has_file && errno == EWOULDBLOCK)
                return -1;
        if (has_file && !wants_directory)
                return 0;
        if (RETRY(flock(drop->directory, LOCK_EX | LOCK_NB)) == 0)
                return 0;
        if (errno == EWOULDBLOCK)
                return -1;
        if (has_file)
                return 0;
        if (drop->lock >= 0 || open_lock_file(drop, maildir, &is_owners) != 0)
                return -1;
        return lock_file(drop->lock);
}

int
drop_lock(struct maildrop *drop, unsigned milliseconds)
{
        bool wants_directory, is_owners = true;
        struct stat maildir;

        if (fstat(drop->directory, &maildir) != 0)
                return -1;
        wants_directory = maildir_is_private(&maildir);
        if ((!wants_directory || !drop->kind->is_local || has_own_file(drop)) &&
            open_lock_file(drop, &maildir, &is_owners) != 0) {
                bool is_forbidden = errno == EACCES || errno == EPERM || errno == EROFS;

                drop->is_guest = is_forbidden && maildir.st_uid != geteuid();
                if (drop->is_guest)
                        return 0;
                if (!is_forbidden && errno != ENOSPC && errno != EDQUOT)
                        return -1;
        }
        wants_directory |= !is_owners || drop->lock < 0;
        for (unsigned waited = 0; try_to_lock(drop, &maildir, wants_directory) != 0;) {
                if (errno != EWOULDBLOCK || waited >= milliseconds)
                        return -1;
                waited += pause_before_next();
        }
        return 0;
}

/*
 * A Maildir that is not there cannot be locked, and the folder above it may belong to many
 * users. So one octet of that folder is locked, whose place is a hash of the path. A directory
 * can be locked for reading only: locks do not exclude each other, but F_OFD_GETLK tells of
 * another's. Two sessions that begin at once see each other; both let go and try again.
 * Whoever may open the folder can hold such a lock as well, which keeps nobody from his mail.
 */
int
maildir_lock_absent(const char *path, unsigned milliseconds)
{
        const off_t octet = (off_t)(checksum(0, path, strlen(path)) >> 2);
        char above[PATH_MAX];
        int fd;

        (void)snprintf(above, sizeof(above), "%s", path);
        fd = open(dirname(above), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return 0;
        for (unsigned waited = 0;; waited += pause_before_next()) {
                struct flock lock = { .l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = octet,
                        .l_len = 1 };
                bool is_locked = fcntl(fd, F_OFD_SETLK, &lock) == 0;

                lock.l_type = F_WRLCK;
                if (!is_locked || fcntl(fd, F_OFD_GETLK, &lock) != 0 || lock.l_type == F_UNLCK)
                        return 0;
                lock = (struct flock){ .l_type = F_UNLCK, .l_whence = SEEK_SET };
                (void)fcntl(fd, F_OFD_SETLK, &lock);
                if (waited >= milliseconds)
                        break;
        }
        close(fd);
        errno = EWOULDBLOCK;
        return -1;
}
