/*
 * account.c - looks system accounts up: their numbers, and the hash of a password.
 * Runs in:   pop3d before the first fork; PAM; the check (-c).
 * May touch: the account databases, login.defs.
 */
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <shadow.h>
#include <stdlib.h>
#include <unistd.h>

enum { LINE_SIZE = 512 };       /* of a line's beginning, which is all that is looked at */

/* Reads the two numbers of "name:password:uid:gid:..."; false unless both are there and sound. */
static bool
parse_numbers(const char *line, unsigned long *uid, unsigned long *gid)
{
        const char *colon = strchr(line, ':');
        char *end;

        colon = colon == NULL ? NULL : strchr(colon + 1, ':');
        if (colon == NULL)
                return false;
        *uid = strtoul(colon + 1, &end, 10);
        if (*end != ':')
                return false;
        *gid = strtoul(end + 1, &end, 10);
        return *end == ':' && *uid > 0 && *uid < UINT_MAX && *gid > 0 && *gid < UINT_MAX;
}

/* Appends octets to a line, as many of them as fit. Returns the line's new length. */
static size_t
append_octets(char line[LINE_SIZE], size_t length, const char *octets, size_t count)
{
        size_t free = LINE_SIZE - 1 - length;

        count = count < free ? count : free;
        memcpy(line + length, octets, count);
        line[length + count] = '\0';
        return length + count;
}

/* Whether a line begins with name and one of the characters ends. */
static bool
is_line_of(const char *line, const char *name, const char *ends)
{
        size_t length = strlen(name);

        return strncmp(line, name, length) == 0 && line[length] != '\0' &&
            strchr(ends, line[length]) != NULL;
}

/*
 * Finds the line of a file that begins with name and one of the characters ends, and copies as much
 * of it as fits. The file, which is closed, is in memory a part at a time, and then no more:
 * AUTHORIZATION is forked from this process, and must have no list of accounts in memory.
 */
static bool
find_line(int fd, const char *name, const char *ends, char line[LINE_SIZE])
{
        char part[4096];
        size_t length = 0;
        ssize_t count;
        bool is_found = false;

        line[0] = '\0';
        while (!is_found && (count = read(fd, part, sizeof(part))) > 0)
                for (const char *at = part, *next; !is_found && at < part + count; at = next) {
                        const char *newline = memchr(at, '\n', (size_t)(part + count - at));
                        const char *end = newline != NULL ? newline : part + count;

                        next = end + 1;
                        length = append_octets(line, length, at, (size_t)(end - at));
                        if (newline != NULL) {
                                is_found = is_line_of(line, name, ends);
                                length = 0;
                        }
                }
        /* the last line may lack its end */
        is_found = is_found || (length > 0 && is_line_of(line, name, ends));
        (void)close(fd);
        explicit_bzero(part, sizeof(part));
        if (!is_found)
                explicit_bzero(line, LINE_SIZE);
        return is_found;
}

bool
account_find_plain(const char *name, uid_t *uid, gid_t *gid)
{
        char line[LINE_SIZE];
        unsigned long user = 0, group = 0;
        /* '+', '#' and ':' have a meaning of their own to libc */
        bool is_found = strpbrk(name, "+#:") == NULL &&
            find_line(open("/etc/passwd", O_RDONLY | O_CLOEXEC), name, ":", line) &&
            parse_numbers(line, &user, &group);

        /* numbers that are not sound would be cut here to some that look so */
        *uid = is_found ? (uid_t)user : 0;
        *gid = is_found ? (gid_t)group : 0;
        return is_found;
}

uid_t
account_least_uid(void)
{
        char line[LINE_SIZE];
        unsigned long least = 0;

        if (find_line(open("/etc/login.defs", O_RDONLY | O_CLOEXEC), "UID_MIN", " \t", line))
                least = strtoul(line + strlen("UID_MIN"), NULL, 0);
        return least > 0 && least < UINT_MAX ? (uid_t)least : 1000;
}

const struct passwd *
account_get(const char *name)
{
        errno = 0;
        return getpwnam(name);
}

bool
account_service_is_down(void)
{
        return account_get("pop3d-no-account") == NULL && errno != 0;
}

const char *
account_powerless(const struct auth *auth, uid_t *uid, gid_t *gid)
{
        const char *name = auth->powerless_account != NULL ? auth->powerless_account : "pop3d";

        if (!account_find_plain(name, uid, gid) && auth->powerless_account == NULL) {
                name = "nobody";
                (void)account_find_plain(name, uid, gid);
        }
        return name;
}

bool
account_find(const char *name, uid_t *uid, gid_t *gid)
{
        const struct passwd *entry;

        if (account_find_plain(name, uid, gid))
                return true;
        entry = account_get(name);
        *uid = entry == NULL ? 0 : entry->pw_uid;
        *gid = entry == NULL ? 0 : entry->pw_gid;
        return entry != NULL;
}

const char *
account_hash(const struct auth *auth, const char *user)
{
        const struct spwd *shadow = NULL;

        if (auth->virtual_account == NULL && geteuid() == 0)
                shadow = getspnam(user);
        return shadow == NULL ? NULL : shadow->sp_pwdp;
}
