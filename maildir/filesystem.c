/*
 * filesystem.c - what is known of each kind of file system.
 * Runs in:   the TRANSACTION process, as the mail user.
 * May touch: nothing; it asks the kernel about a descriptor.
 *
 * The manual ("File systems") has a table of the same, and a test compares the two.
 */
#include <fcntl.h>
#include <sys/vfs.h>

#include "internal.h"

/*
 * is_local: all who can see the file system run on this machine, and a lock on a directory keeps
 * them out. tells_changes: each new, renamed or removed file gives its folder another mtime
 * and ctime, by a clock that all share, and no program can set ctime back.
 *
 * A kind of which one of these is not known for sure has false: that costs time, not mail. FUSE
 * has false because it is many file systems with one number (sshfs, mergerfs, GlusterFS, bindfs):
 * their folders' times are cached, or come from one of several disks or from a client's clock.
 * NFS has false because the server may lay anything bare, and because clients keep times in memory.
 */
static const struct file_system file_systems[] = {
        /* type, name, is_local, tells_changes */
        { 0x0000ef53, "ext2/3/4", true, true },
        { 0x58465342, "xfs", true, true },
        { 0x9123683e, "btrfs", true, true },
        { 0x01021994, "tmpfs", true, true },
        { 0x858458f6, "ramfs", true, true },
        { 0xf2f52010, "f2fs", true, true },
        { 0x2fc12fc1, "zfs", true, true },
        { 0xca451a4e, "bcachefs", true, true },
        { 0x794c7630, "overlay", true, true },
        { 0x3153464a, "jfs", true, true },
        { 0x52654973, "reiserfs", true, true },
        { 0x00003434, "nilfs2", true, true },
        { 0x24051905, "ubifs", true, true },
        { 0x0000f15f, "ecryptfs", true, false },
        { 0x00004d44, "vfat", true, false },
        { 0x2011bab0, "exfat", true, false },
        { 0x7366746e, "ntfs3", true, false },
        { 0x0000482b, "hfsplus", true, false },
        { 0x00006969, "nfs", false, false },
        { 0xff534d42, "cifs", false, false },
        { 0xfe534d42, "smb2", false, false },
        { 0x65735546, "fuse", false, false },
        { 0x00c36400, "ceph", false, false },
        { 0x5346414f, "afs", false, false },
        { 0x01021997, "9p", false, false },
        { 0x01161970, "gfs2", false, false },
        { 0x7461636f, "ocfs2", false, false },
        { 0x0bd00bd0, "lustre", false, false },
        { 0x47504653, "gpfs", false, false },
        { 0x61756673, "aufs", false, false },
        { 0x00000000, "unknown", false, false },
};

/* Whether new/ or cur/ is a mount point: of what kind it is, and whether mail is there at all, may change. */
static bool
has_other_folder(int maildir)
{
        static const char *const folders[FOLDERS] = { "new", "cur" };
        struct stat own, status;

        if (fstat(maildir, &own) != 0)
                return false;
        for (int i = 0; i < FOLDERS; i++)
                if (fstatat(maildir, folders[i], &status, AT_SYMLINK_NOFOLLOW) == 0 &&
                    status.st_dev != own.st_dev)
                        return true;
        return false;
}

const struct file_system *
file_system_of(int maildir)
{
        const struct file_system *kind = file_systems;
        struct statfs status;

        if (has_other_folder(maildir) || RETRY(fstatfs(maildir, &status)) != 0)
                status.f_type = 0;
        while (kind->type != 0 && kind->type != (uint32_t)status.f_type)
                kind++;
        return kind;
}

bool
file_system_tells_sizes(int maildir)
{
        switch (file_system_of(maildir)->type) {
        case 0x0000ef53: case 0x58465342: case 0x9123683e: case 0x01021994: case 0xf2f52010:
                return true;    /* ext2/3/4, xfs, btrfs, tmpfs, f2fs */
        default:
                return false;
        }
}
