/*
 * pam.c - asks PAM whether a login is good.
 * Runs in:   the PAM helper, as root where pop3d is started by root.
 * May touch: PAM and what its modules touch, the account databases; not the client.
 */
#include "libpam.h"

#include <stdio.h>
#include <unistd.h>

/* Without a service file libpam asks its service "other", which mostly refuses. */
static bool
lacks_service_file(const struct auth *auth)
{
        char path[PATH_MAX];

        (void)snprintf(path, sizeof(path), "%s/%s",
            auth->configuration == NULL ? "/etc/pam.d" : auth->configuration, auth->service);
        return access(path, F_OK) != 0;
}

/* Finds what PAM's two general refusals leave open; REASON_NONE if there is nothing to find. */
static enum reason
look_closer(const struct auth *auth, const char *user, int status)
{
        const char *hash = account_hash(auth, user);

        if (lacks_service_file(auth))
                return REASON_NO_SERVICE_FILE;
        /* pam_unix does not tell a locked password from a wrong one */
        if (hash != NULL && hash[0] == '!')
                return REASON_ACCOUNT_LOCKED;
        /* in a stack that ends in pam_deny its PAM_AUTH_ERR hides pam_unix's PAM_USER_UNKNOWN */
        if (status == PAM_AUTH_ERR && auth->virtual_account == NULL && account_get(user) == NULL)
                return REASON_UNKNOWN_USER;
        return REASON_NONE;
}

static enum reason
reason_of_status(const struct auth *auth, const char *user, int status)
{
        static const struct {
                int status;
                enum reason reason;
        } table[] = {
                { PAM_AUTH_ERR, REASON_WRONG_PASSWORD },
                { PAM_PERM_DENIED, REASON_NOT_PERMITTED },
                { PAM_USER_UNKNOWN, REASON_UNKNOWN_USER },
                { PAM_MAXTRIES, REASON_TOO_MANY_TRIES },
                { PAM_ACCT_EXPIRED, REASON_ACCOUNT_EXPIRED },
                { PAM_NEW_AUTHTOK_REQD, REASON_PASSWORD_EXPIRED },
                { PAM_AUTHTOK_EXPIRED, REASON_PASSWORD_EXPIRED },
                { PAM_AUTHINFO_UNAVAIL, REASON_DATABASE_UNAVAILABLE },
        };

        if (status == PAM_AUTH_ERR || status == PAM_PERM_DENIED) {
                enum reason reason = look_closer(auth, user, status);

                if (reason != REASON_NONE)
                        return reason;
        }
        for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
                if (table[i].status == status)
                        return table[i].reason;
        return REASON_PAM_FAILED;
}

/*
 * Takes PAM_USER, which modules may have changed, as the login's account and name. False: it cannot
 * be one, as with a third part.
 */
static bool
take_pam_user(pam_handle_t *pam, const struct auth *auth, struct login *login)
{
        struct login_name found, *name = &login->name;
        const void *item = NULL;

        if (libpam.get_item(pam, PAM_USER, &item) != PAM_SUCCESS || item == NULL ||
            !login_name_parse(&found, item, strlen(item)) || strcmp(found.user, found.mailbox) != 0)
                return false;
        if (strcmp(name->mailbox, name->user) != 0)
                memcpy(found.mailbox, name->mailbox, sizeof(found.mailbox));
        if (auth->virtual_account != NULL) {
                login_name_lower(&found);
                *name = found;
                return identity_domain_is_ours(auth, found.domain);
        }
        (void)snprintf(login->account, sizeof(login->account), "%s", (const char *)item);
        login->is_qualified = found.domain[0] != '\0';
        /* the domain of -d by which an account without one logged in is still told by %d */
        if (!login->is_qualified && identity_domain_is_ours(auth, name->domain))
                memcpy(found.domain, name->domain, sizeof(found.domain));
        *name = found;
        return true;
}

enum reason
pam_ask(const struct auth *auth, struct login *login)
{
        enum reason reason = REASON_NONE;
        pam_handle_t *pam = NULL;
        int status;

        if (!libpam_load())
                return REASON_NO_LIBPAM;
        status = libpam_start(auth, login, &pam);
        if (pam == NULL)
                return REASON_PAM_DOES_NOT_START;
        if (status == PAM_SUCCESS)
                status = libpam.authenticate(pam, PAM_SILENT | PAM_DISALLOW_NULL_AUTHTOK);
        if (status == PAM_SUCCESS) {
                status = libpam.acct_mgmt(pam, PAM_SILENT | PAM_DISALLOW_NULL_AUTHTOK);
                /* the password was right, so this is the no of a rule, as of pam_listfile */
                if (status == PAM_AUTH_ERR)
                        status = PAM_PERM_DENIED;
        }
        if (status != PAM_SUCCESS)
                reason = reason_of_status(auth, login->account, status);
        else if (!take_pam_user(pam, auth, login))
                reason = REASON_PAM_CHANGED_THE_NAME;
        libpam_end(pam, status);
        return reason;
}
