/*
 * equal.c - the work of a password's hash, for a refused login that has not cost it yet.
 * Runs in:   PAM.
 * May touch: shadow; libcrypt, which pam_unix loads as well.
 *
 * pam_unix computes a hash for an account that has one, and none for a name that nobody has or an
 * account that is locked. On a busy machine, or where hashes are dear, that would tell them apart:
 * refusals wait for the next two seconds, but a hash may take longer than that. So each refusal is
 * to cost as much as one for the account with the dearest hash. Hashes that are cheaper are of no
 * matter beside it: whoever has one pays for both.
 *
 * login.defs(5) is not asked. What it says holds for passwords set from now on, but what has to be
 * equalled is the work for those that are there.
 */
#include "internal.h"

#include <dlfcn.h>
#include <shadow.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { SETTING_SIZE = 256 };

/* The value of a digit of crypt(5)'s base 64, or 0. */
static unsigned
digit_of(char digit)
{
        static const char digits[] = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        const char *found = digit == '\0' ? NULL : strchr(digits, digit);

        return found == NULL ? 0 : (unsigned)(found - digits);
}

static unsigned
logarithm(unsigned long number)
{
        unsigned result = 0;

        while ((number >>= 1) > 0)
                result++;
        return result;
}

static bool
is_yescrypt(const char *hash)
{
        return strncmp(hash, "$y$", 3) == 0 || strncmp(hash, "$gy$", 4) == 0;
}

/*
 * About how long a hash takes to be computed: the logarithm, to base 2, of microseconds. 0: it is
 * none, as that of an account that is locked or has no password.
 */
static unsigned
cost_of(const char *hash)
{
        if (is_yescrypt(hash))
                return strlen(hash) < 6 ? 0 : digit_of(hash[hash[1] == 'y' ? 4 : 5]) + 4;
        if (strncmp(hash, "$7$", 3) == 0)
                return digit_of(hash[3]) + 2;
        if (strncmp(hash, "$2", 2) == 0 && strlen(hash) > 6)
                return (unsigned)strtoul(hash + 4, NULL, 10) + 6;
        if (strncmp(hash, "$5$", 3) == 0 || strncmp(hash, "$6$", 3) == 0)
                return logarithm(strncmp(hash + 3, "rounds=", 7) == 0 ? strtoul(hash + 10, NULL, 10) : 5000);
        if (strncmp(hash, "$1$", 3) == 0)
                return 8;
        /* the method of old, which has no mark */
        return strlen(hash) == 13 && digit_of(hash[0]) != 0 ? 5 : 0;
}

/* Finds the dearest hash of all accounts. False if there is none, or the user's own is as dear. */
static bool
find_dearest(const char *user, char dearest[SETTING_SIZE])
{
        unsigned most = 0, own = 0;
        const struct spwd *entry;

        setspent();
        while ((entry = getspent()) != NULL) {
                unsigned cost = cost_of(entry->sp_pwdp);

                if (strcmp(entry->sp_namp, user) == 0)
                        own = cost;
                if (cost > most && strlen(entry->sp_pwdp) < SETTING_SIZE) {
                        most = cost;
                        memcpy(dearest, entry->sp_pwdp, strlen(entry->sp_pwdp) + 1);
                }
        }
        endspent();
        return own < most;
}

/* Loads crypt(3). It is not linked with, because only this process needs it, and seldom. */
static char *
(*load_crypt(void))(const char *password, const char *setting)
{
        char *(*crypt)(const char *, const char *) = NULL;
        void *library = dlopen("libcrypt.so.1", RTLD_NOW), *found;

        if (library == NULL)
                library = dlopen("libcrypt.so.2", RTLD_NOW);
        found = library == NULL ? NULL : dlsym(library, "crypt");
        memcpy(&crypt, &found, sizeof(found));
        return crypt;
}

void
equal_work(const struct auth *auth, const struct login *login)
{
        char dearest[SETTING_SIZE], *(*crypt)(const char *, const char *), *hash;

        if (auth->virtual_account != NULL || geteuid() != 0 || !libpam_met_unix() ||
            !find_dearest(login->account, dearest) || (crypt = load_crypt()) == NULL)
                return;
        /* pam_unix of Debian 12 computes a hash twice before it refuses */
        for (int left = 2; left > 0; left--) {
                hash = crypt(login->password, dearest);
                if (hash != NULL)
                        explicit_bzero(hash, strlen(hash));
        }
}
