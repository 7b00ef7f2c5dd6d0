/*
 * identity.c - as which system account a login is served.
 * Runs in:   PAM, and the check (-c); identity_is_sound() in pop3d.
 * May touch: the account databases.
 */
#include "internal.h"

#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <unistd.h>

bool
identity_domain_is_ours(const struct auth *auth, const char *domain)
{
        if (domain[0] == '\0')
                return true;
        for (size_t i = 0; i < auth->our_domain_count; i++)
                if (strcasecmp(auth->our_domains[i], domain) == 0)
                        return true;
        /* virtual users may have any domain, unless -d says which */
        return auth->virtual_account != NULL && auth->our_domain_count == 0;
}

/* The system account that is to serve the login, or NULL. */
static const struct passwd *
account_of(const struct auth *auth, const struct login *login)
{
        return getpwnam(auth->virtual_account != NULL ? auth->virtual_account : login->name.user);
}

/* Without root a process serves its own account alone. */
static bool
is_out_of_reach(const struct passwd *entry)
{
        return geteuid() != 0 && (entry == NULL || entry->pw_uid != getuid());
}

bool
identity_is_out_of_reach(const struct auth *auth, const struct login *login)
{
        return geteuid() != 0 && is_out_of_reach(account_of(auth, login));
}

/*
 * Sets the home of the login's mailbox. Another's mailbox lies in another's home, and file
 * permissions decide whether the user may open it. They cannot decide that where one account owns
 * all maildrops, so there nobody opens another's.
 */
static void
find_home(const struct auth *auth, const struct passwd *entry, struct identity *identity)
{
        if (strcmp(identity->name.mailbox, identity->name.user) != 0) {
                if (auth->virtual_account != NULL)
                        return;
                entry = getpwnam(identity->name.mailbox);
        }
        identity->has_mailbox = entry != NULL && strlen(entry->pw_dir) < sizeof(identity->home);
        if (identity->has_mailbox)
                (void)snprintf(identity->home, sizeof(identity->home), "%s", entry->pw_dir);
}

enum reason
identity_find(const struct auth *auth, const struct login *login, struct identity *identity)
{
        const struct passwd *entry = account_of(auth, login);
        int groups = GROUPS_MAX;

        memset(identity, 0, sizeof(*identity));
        if (entry == NULL)
                return REASON_NO_SYSTEM_ACCOUNT;
        if (entry->pw_uid == 0 || entry->pw_gid == 0)
                return REASON_ROOT_IS_REFUSED;
        if (is_out_of_reach(entry))
                return REASON_STARTED_WITHOUT_ROOT;
        identity->uid = entry->pw_uid;
        identity->gid = entry->pw_gid;
        identity->name = login->name;
        identity->mechanism = login->mechanism;
        identity->peer = login->peer;
        if (getgrouplist(entry->pw_name, entry->pw_gid, identity->groups, &groups) < 0)
                return REASON_TOO_MANY_GROUPS;
        identity->group_count = (uint32_t)groups;
        find_home(auth, entry, identity);
        return REASON_NONE;
}

bool
identity_is_sound(const struct identity *identity)
{
        return identity->group_count <= GROUPS_MAX && IS_STRING(identity->home) &&
            IS_STRING(identity->peer.address) && login_name_is_valid(&identity->name) &&
            identity->mechanism < MECHANISMS && identity->uid != 0 && identity->gid != 0;
}
