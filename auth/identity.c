/*
 * identity.c - as which system account a login is served.
 * Runs in:   PAM, and the check (-c); identity_is_sound() in pop3d.
 * May touch: the account databases.
 */
#include "internal.h"

#include <errno.h>
#include <grp.h>
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

/*
 * Whether the login as typed is just "domain\user" or "user@domain" of its name: no third part, and
 * no mailbox from an authorization identity.
 */
static bool
is_typed_in_two_parts(const struct login *login)
{
        const struct login_name *name = &login->name;
        char two[2][2 * LOGIN_PART_MAX + 2];

        (void)snprintf(two[0], sizeof(two[0]), "%s\\%s", name->domain, name->user);
        (void)snprintf(two[1], sizeof(two[1]), "%s@%s", name->user, name->domain);
        return strcmp(name->mailbox, name->user) == 0 &&
            (strcasecmp(login->typed, two[0]) == 0 || strcasecmp(login->typed, two[1]) == 0);
}

bool
identity_name_account(const struct auth *auth, struct login *login)
{
        struct login_name *name = &login->name;
        bool is_ours = identity_domain_is_ours(auth, name->domain);

        login->is_qualified = !is_ours;
        if (auth->virtual_account != NULL) {
                login_name_lower(name);
                (void)snprintf(login->account, sizeof(login->account), "%s%s%s", name->user,
                    name->domain[0] == '\0' ? "" : "@", name->domain);
                return is_ours;
        }
        /* directories (sssd, winbind) have accounts whose own names hold a domain */
        (void)snprintf(login->account, sizeof(login->account), "%s",
            is_ours ? name->user : login->typed);
        return is_ours || is_typed_in_two_parts(login);
}

/* The system account that is to serve the login, or NULL. */
static const struct passwd *
account_of(const struct auth *auth, const struct login *login)
{
        return account_get(auth->virtual_account != NULL ? auth->virtual_account : login->account);
}

/* Without root a process serves its own account alone. */
static bool
is_out_of_reach(const struct passwd *entry)
{
        return geteuid() != 0 && (entry == NULL || entry->pw_uid != getuid());
}

/*
 * Whether an account is a service's, such as www-data or backup, and no user's: useradd(8) gives
 * people uids from UID_MIN on. Such accounts have passwords by mistake alone. The owner of virtual
 * users' maildrops was named by -v; without root a process serves its own account, whichever.
 */
static bool
is_service(const struct auth *auth, const struct passwd *entry)
{
        return auth->virtual_account == NULL && geteuid() == 0 &&
            entry->pw_uid < account_least_uid();
}

bool
identity_is_out_of_reach(const struct auth *auth, const struct login *login)
{
        return geteuid() != 0 && is_out_of_reach(account_of(auth, login));
}

/*
 * Sets the home of the login's mailbox, or says why there is none. Another's mailbox lies in
 * another's home, and file permissions decide whether the user may open it. They cannot decide that
 * where one account owns all maildrops, so there nobody opens another's.
 */
static enum reason
find_home(const struct auth *auth, const struct passwd *entry, struct identity *identity)
{
        if (strcmp(identity->name.mailbox, identity->name.user) != 0) {
                if (auth->virtual_account != NULL)
                        return REASON_MAILBOX_OF_ANOTHER;
                entry = account_get(identity->name.mailbox);
                if (entry == NULL && errno != 0)
                        return REASON_NAME_SERVICE_DOWN;
        }
        if (entry == NULL || strlen(entry->pw_dir) >= sizeof(identity->home))
                return REASON_NO_SUCH_MAILBOX;
        (void)snprintf(identity->home, sizeof(identity->home), "%s", entry->pw_dir);
        return REASON_NONE;
}

enum reason
identity_find(const struct auth *auth, const struct login *login, struct identity *identity)
{
        const struct passwd *entry;
        int groups = GROUPS_MAX;

        memset(identity, 0, sizeof(*identity));
        entry = account_of(auth, login);
        if (entry == NULL)
                return errno != 0 ? REASON_NAME_SERVICE_DOWN : REASON_NO_SYSTEM_ACCOUNT;
        if (is_never_served(entry->pw_uid) || is_never_served(entry->pw_gid))
                return REASON_ROOT_IS_REFUSED;
        if (is_service(auth, entry))
                return REASON_SYSTEM_ACCOUNT;
        if (is_out_of_reach(entry))
                return REASON_STARTED_WITHOUT_ROOT;
        identity->uid = entry->pw_uid;
        identity->gid = entry->pw_gid;
        identity->name = login->name;
        identity->is_qualified = login->is_qualified;
        identity->mechanism = login->mechanism;
        identity->peer = login->peer;
        if (getgrouplist(entry->pw_name, entry->pw_gid, identity->groups, &groups) < 0)
                return REASON_TOO_MANY_GROUPS;
        identity->group_count = (uint32_t)groups;
        return find_home(auth, entry, identity);
}

bool
identity_is_sound(const struct identity *identity)
{
        return identity->group_count <= GROUPS_MAX && IS_STRING(identity->home) &&
            IS_STRING(identity->peer.address) && login_name_is_valid(&identity->name) &&
            identity->mechanism < MECHANISMS && !is_never_served(identity->uid) &&
            !is_never_served(identity->gid);
}
