/*
 * beside.c - starts the other program of the project: pop3d starts pop3d-check, and that pop3d.
 * Runs in:   pop3d -c, and pop3d-check; never in a session.
 * May touch: the program that lies in the folder of this one.
 */
#include "auth.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

bool
find_beside(const char *name, char path[PATH_MAX])
{
        ssize_t length = readlink("/proc/self/exe", path, PATH_MAX - 1);
        char *slash;

        if (length < 0)
                return false;
        path[length] = '\0';
        slash = strrchr(path, '/');
        if (slash == NULL || (size_t)(slash + 1 - path) + strlen(name) >= PATH_MAX)
                return false;
        memcpy(slash + 1, name, strlen(name) + 1);
        return true;
}

/* A row like the check's, in its columns: what prints those is in pop3d-check. */
static void
say_missing(const char *path, const char *why)
{
        (void)printf("fail  process    not beside this program:\n");
        while (*path != '\0') {
                (void)printf("                 %.62s\n", path);
                path += strnlen(path, 62);
        }
        (void)printf("                 cause: %s\n"
            "                 remedy: make install\n", why);
}

int
start_beside(const char *name, char **arguments)
{
        char path[PATH_MAX];

        if (find_beside(name, path)) {
                arguments[0] = path;
                (void)execv(path, arguments);
        } else {
                (void)snprintf(path, sizeof(path), "%s", name);
        }
        say_missing(path, strerror(errno));
        return 2;
}
