/*
 * command.h - what command.c, way.c and mount.c give to check.c and elsewhere.c.
 * Runs in:   a child of pop3d-check, as the mail user; not in a session.
 * May touch: see there.
 */
#ifndef POP3D_MAILDIR_COMMAND_H
#define POP3D_MAILDIR_COMMAND_H

#include <limits.h>
#include <stdbool.h>

#include "maildir.h"

enum { COMMAND_SIZE = 4 * PATH_MAX };

/* Whether an absolute path is one word of a command, and the same one, whatever a shell does. */
bool path_is_plain(const char *path);

/* Writes a name for a row: whatever is not printable ASCII, as a line's end, becomes a question mark. */
void path_show(char out[PATH_MAX], const char *path);

/* Whether this user can put something else in the place of a path, or of a folder on the way there. */
bool path_is_exchangeable(const char *path);

/* Writes a command, without quotes in it, as root has to give it so that it runs as this user. */
void command_as_owner(char out[COMMAND_SIZE], bool by_root, const char *command);

/*
 * Writes how the folder to which a link leads gets into the place of the link: a command, if it is
 * this user's own, else words.
 */
void command_to_move(char out[COMMAND_SIZE], const char *link, const char *target, bool by_root);

/* way.c: for the check (-c) alone */

/* Checks the folders above the Maildir, then those in it; false if a session would fail. Rows say what is wrong. */
bool way_check(const char *path, const struct maildir_names *names, bool by_root, check_row row,
    void *context);

/* mount.c: for the check (-c) alone */

/* How a file system was mounted; "" for what the kernel does not say. */
struct mount {
        char point[256];        /* where it is mounted */
        char kind[32];          /* its type, as mount(8) calls it */
        char options[2048];     /* of the mount, of the file system, of FUSE's server, each after a comma */
};

/* Finds the mount that this directory is in. */
void mount_find(int directory, struct mount *mount);

#endif
