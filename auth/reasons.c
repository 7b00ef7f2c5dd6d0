/*
 * reasons.c - why a login fails: the one list that the log, the client's reply and the check use.
 * Runs in:   PAM, and the check (-c).
 * May touch: nothing; no system call.
 */
#include "internal.h"

static const struct {
        const char *name;
        enum verdict verdict;
        bool is_configuration;
} reasons[REASONS] = {
        [REASON_NONE] = { "", VERDICT_GRANTED, false },
        [REASON_MALFORMED_LOGIN] = { "malformed-login", VERDICT_DENIED, false },
        [REASON_EMPTY_PASSWORD] = { "empty-password", VERDICT_DENIED, false },
        [REASON_FOREIGN_DOMAIN] = { "foreign-domain", VERDICT_DENIED, false },
        [REASON_NO_SUCH_MAILBOX] = { "no-such-mailbox", VERDICT_DENIED, false },
        [REASON_MAILBOX_OF_ANOTHER] = { "mailbox-of-another", VERDICT_DENIED, false },
        [REASON_WRONG_PASSWORD] = { "wrong-password", VERDICT_DENIED, false },
        [REASON_NOT_PERMITTED] = { "not-permitted", VERDICT_DENIED, false },
        [REASON_UNKNOWN_USER] = { "unknown-user", VERDICT_DENIED, false },
        [REASON_TOO_MANY_TRIES] = { "too-many-tries", VERDICT_DENIED, false },
        [REASON_ACCOUNT_LOCKED] = { "account-locked", VERDICT_DENIED, false },
        [REASON_ACCOUNT_EXPIRED] = { "account-expired", VERDICT_DENIED, false },
        [REASON_PASSWORD_EXPIRED] = { "password-expired", VERDICT_DENIED, false },
        [REASON_ROOT_IS_REFUSED] = { "root-is-refused", VERDICT_DENIED, false },
        [REASON_SYSTEM_ACCOUNT] = { "system-account", VERDICT_DENIED, false },
        /* denied, because libpam has asked its service "other" instead, and that refused */
        [REASON_NO_SERVICE_FILE] = { "no-PAM-service-file", VERDICT_DENIED, true },
        /* no name: the log has libpam_problem() in its place */
        [REASON_NO_LIBPAM] = { "", VERDICT_UNAVAILABLE, true },
        [REASON_PAM_DOES_NOT_START] = { "PAM-does-not-start", VERDICT_MISCONFIGURED, true },
        [REASON_PAM_FAILED] = { "PAM-failed", VERDICT_UNAVAILABLE, true },
        [REASON_PAM_CHANGED_THE_NAME] = { "PAM-changed-the-name", VERDICT_MISCONFIGURED, true },
        [REASON_DATABASE_UNAVAILABLE] =
            { "account-database-unavailable", VERDICT_UNAVAILABLE, true },
        [REASON_NAME_SERVICE_DOWN] = { "name-service-unavailable", VERDICT_UNAVAILABLE, true },
        /* the administrator's work, so that a ban does not meet who comes meanwhile */
        [REASON_MAINTENANCE] = { "closed-for-maintenance", VERDICT_UNAVAILABLE, true },
        [REASON_NO_SYSTEM_ACCOUNT] = { "no-such-system-account", VERDICT_MISCONFIGURED, true },
        [REASON_TOO_MANY_GROUPS] = { "too-many-groups", VERDICT_MISCONFIGURED, true },
        [REASON_STARTED_WITHOUT_ROOT] = { "started-without-root", VERDICT_MISCONFIGURED, true },
};

const char *
reason_name(enum reason reason)
{
        return reasons[reason].name;
}

enum verdict
reason_verdict(enum reason reason)
{
        return reasons[reason].verdict;
}

bool
reason_is_configuration(enum reason reason)
{
        return reasons[reason].is_configuration;
}
