/*
 * command.c - commands that the check (-c) tells, about what a user has named or linked.
 * Runs in:   a child of pop3d-check, as the mail user; not in a session.
 * May touch: owners of folders, and whether they can be written to.
 *
 * Who reads a remedy is root, and pastes it into a shell. A user who has seen the rows of the check
 * can lay a trap for that: a folder whose name is a command, a link to /etc that is to be moved into
 * his Maildir, a folder that he replaces by a link in between. So a name stands in a command only if
 * it is one word of it whatever the shell does, and a command that moves what a user can exchange
 * is one for that user to run.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "command.h"

bool
path_is_plain(const char *path)
{
        static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                    "0123456789/._@%+=:,-";

        return path[0] == '/' && path[strspn(path, plain)] == '\0';
}

void
path_show(char out[PATH_MAX], const char *path)
{
        (void)snprintf(out, PATH_MAX, "%s", path);
        /* a line of its own would look like a cause or a remedy */
        for (char *at = out; *at != '\0'; at++)
                if (*at < ' ' || *at > '~')
                        *at = '?';
}

bool
path_is_exchangeable(const char *path)
{
        char folder[PATH_MAX];
        struct stat status;

        (void)snprintf(folder, sizeof(folder), "%s", path);
        for (char *slash = strrchr(folder, '/'); slash != NULL; slash = strrchr(folder, '/')) {
                slash[slash == folder] = '\0';
                if (stat(folder, &status) != 0 || status.st_uid == geteuid() ||
                    access(folder, W_OK) == 0)
                        return true;
                if (slash == folder)
                        break;
        }
        return false;
}

void
command_as_owner(char out[COMMAND_SIZE], bool by_root, const char *command)
{
        if (by_root)
                (void)snprintf(out, COMMAND_SIZE, "setpriv --reuid=%u --regid=%u --clear-groups sh -c '%.16000s'",
                    (unsigned)geteuid(), (unsigned)getegid(), command);
        else
                (void)snprintf(out, COMMAND_SIZE, "%s", command);
}

void
command_to_move(char out[COMMAND_SIZE], const char *link, const char *target, bool by_root)
{
        char from[PATH_MAX], command[COMMAND_SIZE];
        struct stat status;

        if (realpath(link, from) == NULL || stat(from, &status) != 0 || status.st_uid != geteuid() ||
            !S_ISDIR(status.st_mode) || strcmp(from, target) != 0 || !path_is_plain(from) ||
            !path_is_plain(link)) {
                (void)snprintf(out, COMMAND_SIZE, "put a folder of uid %u in its place, and the messages into "
                    "that", (unsigned)geteuid());
                return;
        }
        (void)snprintf(command, sizeof(command), "rm %s; mv %s %s", link, from, link);
        command_as_owner(out, by_root && path_is_exchangeable(from), command);
}
