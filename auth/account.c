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

/* Looks an account up in the first 4 KiB of /etc/passwd. False: it is not there, or not plain. */
static bool
find_in_file(const char *name, unsigned long *uid, unsigned long *gid)
{
        const size_t length = strlen(name);
        char text[4096] = "", *rest = text, *line;
        int fd = open("/etc/passwd", O_RDONLY | O_CLOEXEC);
        bool is_found;

        /* the !, because (void) alone does not silence the compiler; what is not read is empty */
        (void)!read(fd, text, sizeof(text) - 1);
        (void)close(fd);
        do
                line = strsep(&rest, "\n");
        while (line != NULL && (strncmp(line, name, length) != 0 || line[length] != ':'));
        is_found = line != NULL && parse_numbers(line, uid, gid);
        /* AUTHORIZATION is forked from this process, and must have no list of accounts in memory */
        explicit_bzero(text, sizeof(text));
        return is_found;
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

/*
 * The powerless account is looked up for each connection. Its line is near the beginning of
 * /etc/passwd, as a rule, so find_in_file() comes first: getpwnam(3) takes as long as all else that
 * is done before the greeting.
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
