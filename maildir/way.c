/*
 * way.c - says what is wrong with the folders on the way to the mail (-c): missing, closed, no folders, links.
 * Runs in:   a child of pop3d-check, as the mail user; not in a session.
 * May touch: the Maildir's folders and those above it, whose names and rights it asks for.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "command.h"
#include "internal.h"

/* One part of the way: a folder. */
struct part {
        const char *path, *maildir;     /* of the part; of the Maildir */
        const struct maildir_names *names;
        int needed;             /* the access(2) rights that a session must have there, */
        int wanted;             /* and those that it should have */
        bool by_root;           /* root will do what the rows say */
        check_row row;
        void *context;
};

/* Whether a part of the path is a link that leads nowhere; where it leads to. */
static bool
is_dangling(const char *part, char target[PATH_MAX])
{
        struct stat status;
        ssize_t length = readlink(part, target, PATH_MAX - 1);

        target[length < 0 ? 0 : length] = '\0';
        return length >= 0 && stat(part, &status) != 0 && errno == ENOENT;
}

static bool
is_maildir(const struct part *part)
{
        return strcmp(part->path, part->maildir) == 0;
}

/*
 * Writes the command that makes a folder, or all those of a Maildir. Where the user could put a link in their place,
 * it is one that the user runs.
 */
static void
write_install(const struct part *part, char out[COMMAND_SIZE])
{
        bool is_above = strncmp(part->path, part->maildir, strlen(part->maildir)) != 0;
        char command[COMMAND_SIZE], folders[COMMAND_SIZE];
        const char *maildir = part->maildir;

        if (is_above)
                (void)snprintf(command, sizeof(command), "mkdir -m 700 -p %s", part->path);
        else
                (void)snprintf(command, sizeof(command), "mkdir -m 700 -p %s/new %s/cur %s/tmp", maildir,
                    maildir, maildir);
        if (path_is_exchangeable(part->path)) {
                command_as_owner(out, part->by_root, command);
                return;
        }
        command_as_owner(folders, part->by_root, command);
        (void)snprintf(out, COMMAND_SIZE, "install -d -o %u -g %u -m 700 %.4000s%s%.8000s", (unsigned)geteuid(),
            (unsigned)getegid(), part->path, is_above ? "" : "; ", is_above ? "" : folders);
}

/* What is wrong with a part that is not there. */
static void
report_missing(const struct part *part, const char *state, const char *but)
{
        char target[PATH_MAX], shown[PATH_MAX], command[COMMAND_SIZE];

        write_install(part, command);
        path_show(shown, is_dangling(part->path, target) ? target : "");
        if (shown[0] != '\0')
                part->row(part->context, state, "maildrop", "%s is a link to %s, which is not there%s\n"
                    "cause: that disk is not mounted, or what the link led to was moved\n"
                    "remedy: mount it, or set the link anew: ln -sfn FOLDER %s", part->path, shown,
                    but, part->path);
        else
                part->row(part->context, state, "maildrop", "%s: %s%s\n"
                    "remedy: create it as uid %u, or see -m: %s", part->path, strerror(ENOENT), but,
                    (unsigned)geteuid(), command);
}

/* What is no folder: where the Maildir should be mostly an mbox. */
static void
report_no_folder(const struct part *part, const char *state, const char *but)
{
        char command[COMMAND_SIZE], remedy[COMMAND_SIZE];

        (void)snprintf(command, sizeof(command), "mv %s %s.old", part->path, part->path);
        command_as_owner(remedy, part->by_root && path_is_exchangeable(part->path), command);
        write_install(part, command);
        if (is_maildir(part))
                part->row(part->context, state, "maildrop", "%s is no folder%s\n"
                    "cause: an mbox file is not read\n"
                    "remedy: convert it and deliver to a Maildir, or see -m", part->path, but);
        else
                part->row(part->context, state, "maildrop", "%s is no folder%s\n"
                    "cause: a file lies in its place\n"
                    "remedy: %s; %s", part->path, but, remedy, command);
}

/* Whether the user is a guest, in another's mailbox. */
static bool
is_guest(const struct part *part)
{
        return strcmp(part->names->user, part->names->mailbox) != 0;
}

static bool
is_below(const char *path, const char *folder)
{
        size_t length = strlen(folder);

        return strncmp(path, folder, length) == 0 && path[length] == '/';
}

/* Writes the command that opens a part to this user. Nobody is told to give away a folder above the Maildir that is
 * another account's. */
static void
write_opening(const struct part *part, const struct stat *status, char *out, size_t size)
{
        unsigned uid = geteuid(), gid = getegid();
        bool is_above = part->wanted == X_OK;
        char own[PATH_MAX + 20], command[COMMAND_SIZE];

        (void)snprintf(own, sizeof(own), "chmod u+rwx %s", part->path);
        command_as_owner(command, part->by_root, own);
        if (status->st_uid == uid && (status->st_mode & S_IRWXU) == S_IRWXU)
                (void)snprintf(out, size, "the mode would do, so a security module (SELinux, AppArmor) forbids "
                    "it, and the audit log says so; with SELinux: restorecon -R %s", part->path);
        else if (status->st_uid == uid)
                (void)snprintf(out, size, "%s", command);
        else if (is_guest(part))
                (void)snprintf(out, size, "setfacl %s-m u:%u:%s %s", is_above ? "" : "-R ", uid,
                    is_above ? "x" : "rwX", is_above ? part->path : part->maildir);
        else if (!is_above)
                (void)snprintf(out, size, "chown -hR %u:%u %s", uid, gid, part->maildir);
        else if (strcmp(part->path, part->names->home) == 0 && status->st_uid != 0)
                (void)snprintf(out, size, "chown -hR %u:%u %s if uid %u is a former one of this account; "
                    "else chmod o+x %s", uid, gid, part->path, (unsigned)status->st_uid, part->path);
        /* the folder of all virtual users' maildrops, as /var/vmail, is their account's own */
        else if (part->names->domain[0] != '\0' && strchr(part->path + 1, '/') != NULL &&
            !is_below(part->maildir, part->names->home) &&
            (status->st_mode & (S_IRWXG | S_IRWXO)) == 0)
                (void)snprintf(out, size, "chown -hR %u:%u %s if all below it is mail that this account serves; "
                    "else chmod o+x %s", uid, gid, part->path, part->path);
        else
                (void)snprintf(out, size, "chmod o+x %s", part->path);
}

static void
report_closed(const struct part *part, const struct stat *status, int error, const char *state,
    const char *but)
{
        char command[COMMAND_SIZE];
        bool is_above = part->wanted == X_OK;

        write_opening(part, status, command, sizeof(command));
        part->row(part->context, state, "maildrop", "%s: %s%s\n"
            "cause: it belongs to uid %u, gid %u and has mode %04o; uid %u may not %s it\n"
            "remedy: %s: %s", part->path, strerror(error), but, (unsigned)status->st_uid,
            (unsigned)status->st_gid, (unsigned)(status->st_mode & 07777), (unsigned)geteuid(),
            but[0] != '\0' ? "change" : is_above ? "pass" : "read", is_above
            ? "let that uid pass it (chmod, group)"
            : "give it to that user (chown), or open it (chmod)", command);
}

/*
 * Checks a part of the path. Returns whether it has the rights that are needed; a row says what is
 * wrong, and is a warning if only a wanted right is missing.
 */
static bool
check_part(const struct part *part)
{
        struct stat status = { 0 };
        const char *state, *but;
        int error = 0;
        bool will_do;

        if (stat(part->path, &status) != 0 ||
            (S_ISDIR(status.st_mode) && access(part->path, part->wanted) != 0))
                error = errno;
        else if (!S_ISDIR(status.st_mode))
                error = ENOTDIR;
        will_do = part->needed == 0 || (error != ENOTDIR && access(part->path, part->needed) == 0);
        state = will_do ? "warn" : "fail";
        but = will_do ? "; logins work, but delivery, removal or the index does not" : "";
        if (error == ENOTDIR)
                report_no_folder(part, state, but);
        else if (error == ENOENT)
                report_missing(part, state, but);
        else if (error == ELOOP)
                part->row(part->context, state, "maildrop", "%s: %s%s\n"
                    "cause: a link that leads to itself\n"
                    "remedy: set it anew: ln -sfn FOLDER %s", part->path, strerror(error), but,
                    part->path);
        else if (error != 0 && error != EROFS)
                report_closed(part, &status, error, state, but);
        return will_do;
}

/* new/ and cur/ themselves are opened without following a link: a user could set one anywhere. */
static bool
check_is_no_link(const struct part *part)
{
        char target[PATH_MAX], shown[PATH_MAX], remedy[COMMAND_SIZE];
        ssize_t length = readlink(part->path, target, sizeof(target) - 1);

        if (length < 0)
                return true;
        target[length] = '\0';
        path_show(shown, target);
        command_to_move(remedy, part->path, target, part->by_root);
        part->row(part->context, "fail", "maildrop", "%s is a link, to %s\n"
            "cause: pop3d follows no link in a Maildir; the Maildir itself may be one\n"
            "remedy: %s", part->path, shown, remedy);
        return false;
}

bool
way_check(const char *path, const struct maildir_names *names, bool by_root, check_row row,
    void *context)
{
        static const char *const folders[] = { "", "/new", "/cur", "/tmp" };
        char name[PATH_MAX + 8];
        struct part part = { name, path, names, X_OK, X_OK, by_root, row, context };
        bool is_good = true;

        for (size_t end = 1; end < strlen(path); end++)
                if (path[end] == '/') {
                        (void)snprintf(name, sizeof(name), "%.*s", (int)end, path);
                        if (!check_part(&part))
                                return false;
                }
        part.wanted = R_OK | W_OK | X_OK;
        /* a session does not need tmp/, the last one; delivery does */
        for (size_t i = 0; i < 4 && is_good; i++) {
                (void)snprintf(name, sizeof(name), "%s%s", path, folders[i]);
                part.needed = i < 3 ? R_OK | X_OK : 0;
                is_good = check_part(&part) && (i == 0 || i == 3 || check_is_no_link(&part));
        }
        return is_good;
}
