/*
 * account.c - looks system accounts up: their numbers, and the hash of a password.
 * Runs in:   pop3d before the first fork; PAM; the check (-c).
 * May touch: the account databases.
 */
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <shadow.h>
#include <stdlib.h>
#include <unistd.h>

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

/* Whether the line is the account's; then its numbers are set, to 0 where they are not sound. */
static bool
take_line(const char *line, const char *name, unsigned long *uid, unsigned long *gid)
{
        const size_t length = strlen(name);

        if (strncmp(line, name, length) != 0 || line[length] != ':')
                return false;
        if (!parse_numbers(line, uid, gid))
                *uid = *gid = 0;
        return true;
}

/*
 * Looks an account up in /etc/passwd, of which a part at a time is in memory. False: it is not
 * there, or not plain. A line that is longer than a part is passed over.
 */
static bool
find_in_file(const char *name, unsigned long *uid, unsigned long *gid)
{
        char text[4096];
        size_t length = 0;              /* of text: the line that the last part ended in */
        ssize_t count;
        bool is_found = false, is_passed_over = false;
        int fd = open("/etc/passwd", O_RDONLY | O_CLOEXEC);

        while (!is_found && (count = read(fd, text + length, sizeof(text) - 1 - length)) > 0) {
                char *line = text, *end;

                length += (size_t)count;
                for (; !is_found && (end = memchr(line, '\n', length)) != NULL; line = end + 1) {
                        *end = '\0';
                        is_found = !is_passed_over && take_line(line, name, uid, gid);
                        is_passed_over = false;
                        length -= (size_t)(end + 1 - line);
                }
                memmove(text, line, length);
                if (length == sizeof(text) - 1) {
                        is_passed_over = true;
                        length = 0;
                }
        }
        (void)close(fd);
        /* the last line may lack its end */
        text[length] = '\0';
        is_found = is_found || (!is_passed_over && take_line(text, name, uid, gid));
        /* AUTHORIZATION is forked from this process, and must have no list of accounts in memory */
        explicit_bzero(text, sizeof(text));
        return is_found && *uid != 0;
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
account_powerless(const struct auth *auth)
{
        unsigned long uid = 0, gid = 0;

        if (auth->powerless_account != NULL)
                return auth->powerless_account;
        return find_in_file("pop3d", &uid, &gid) ? "pop3d" : "nobody";
}

/*
 * The powerless account is looked up for each connection. find_in_file() comes first, because
 * getpwnam(3) takes as long as all else that is done before the greeting, and leaves what it read
 * in memory.
 */
bool
account_find(const char *name, uid_t *uid, gid_t *gid)
{
        unsigned long user = 0, group = 0;
        const struct passwd *entry = NULL;
        /* '+', '#' and ':' have a meaning of their own to libc */
        bool is_found = strpbrk(name, "+#:") == NULL && find_in_file(name, &user, &group);

        if (!is_found) {
                entry = account_get(name);
                is_found = entry != NULL;
                user = is_found ? entry->pw_uid : 0;
                group = is_found ? entry->pw_gid : 0;
        }
        *uid = (uid_t)user;
        *gid = (gid_t)group;
        return is_found;
}

const char *
account_hash(const struct auth *auth, const char *user)
{
        const struct spwd *shadow = NULL;

        if (auth->virtual_account == NULL && geteuid() == 0)
                shadow = getspnam(user);
        return shadow == NULL ? NULL : shadow->sp_pwdp;
}
