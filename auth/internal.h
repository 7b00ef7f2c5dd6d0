/*
 * internal.h - what the files of auth/ share with each other, and nobody else sees.
 *
 * Runs in:   see the file that each part is of.
 * May touch: see there.
 *
 * No two files of auth/ call each other in a circle. From the ground up:
 *
 *     account  login  libpam  log  peer  reasons      call no other file of auth/
 *     must  proxy  identity  connector                one step above
 *     become  filter  processes  pam  places  equal
 *     confine  pam_helper
 *     session                                         what pop3d.c calls
 *
 * check.c and check_pam.c call the lower ones, and check_pam.c what rules.h declares; no other file
 * calls these, because they are linked into the check alone.
 */
#ifndef POP3D_AUTH_INTERNAL_H
#define POP3D_AUTH_INTERNAL_H

#include "auth.h"

#include <pwd.h>

/* Whether an array that came from another process holds a string, with its NUL. */
#define IS_STRING(array) (memchr((array), '\0', sizeof(array)) != NULL)

/* account.c */

/*
 * Finds an account's numbers in /etc/passwd, and leaves nothing else of that file in memory. False,
 * and both are 0: it is not there, or not plain. It also spares getpwnam(3), which takes as long as
 * all else that is done before the greeting.
 */
bool account_find_plain(const char *name, uid_t *uid, gid_t *gid);

/*
 * The same by the whole name service, if need be, which leaves lists of accounts in memory. errno is
 * as getpwnam(3) leaves it.
 */
bool account_find(const char *name, uid_t *uid, gid_t *gid);

/* The least uid of people's accounts: UID_MIN of /etc/login.defs, which useradd(8) obeys; 1000 without it. */
uid_t account_least_uid(void);

/*
 * The account under which strangers are listened to: that of -n, else pop3d where /etc/passwd has
 * it, else nobody. The name service is not asked about pop3d, for that would cost each session. The
 * numbers are as account_find_plain() finds them.
 */
const char *account_powerless(const struct auth *auth, uid_t *uid, gid_t *gid);

/*
 * Asks the name service for an account. NULL with errno 0: there is none. NULL with another errno:
 * a part of the name service does not answer, so that nothing is known.
 */
const struct passwd *account_get(const char *name);

/*
 * Whether a part of the name service does not answer. It is asked about a name that no account has,
 * so that the answer does not depend on who logs in.
 */
bool account_service_is_down(void);

/*
 * The hash in the shadow file of a system account's password. NULL if there is none or it cannot
 * be read. The process has then seen the shadow file, and must not become a mail user.
 */
const char *account_hash(const struct auth *auth, const char *user);

/* reasons.c */

/* Why a login fails. The table in reasons.c has a row for each; pop3d.8 lists their names. */
enum reason {
        REASON_NONE,                    /* it does not fail */
        REASON_MALFORMED_LOGIN,
        REASON_EMPTY_PASSWORD,
        REASON_FOREIGN_DOMAIN,
        REASON_NO_SUCH_MAILBOX,
        REASON_MAILBOX_OF_ANOTHER,
        REASON_WRONG_PASSWORD,
        REASON_NOT_PERMITTED,
        REASON_UNKNOWN_USER,
        REASON_TOO_MANY_TRIES,
        REASON_ACCOUNT_LOCKED,
        REASON_ACCOUNT_EXPIRED,
        REASON_PASSWORD_EXPIRED,
        REASON_ROOT_IS_REFUSED,
        REASON_SYSTEM_ACCOUNT,
        REASON_NO_SERVICE_FILE,
        REASON_NO_LIBPAM,
        REASON_PAM_DOES_NOT_START,
        REASON_PAM_FAILED,
        REASON_PAM_CHANGED_THE_NAME,
        REASON_DATABASE_UNAVAILABLE,
        REASON_NAME_SERVICE_DOWN,
        REASON_MAINTENANCE,
        REASON_NO_SYSTEM_ACCOUNT,
        REASON_TOO_MANY_GROUPS,
        REASON_STARTED_WITHOUT_ROOT,
        REASONS
};

const char *reason_name(enum reason reason);            /* for the log: "wrong-password" */
enum verdict reason_verdict(enum reason reason);        /* for the client */
bool reason_is_configuration(enum reason reason);       /* for the log: the administrator's work */

/* identity.c */

/* Whether logins of this domain ("" when left out) are taken. */
bool identity_domain_is_ours(const struct auth *auth, const char *domain);

/*
 * Sets whom PAM is to be asked about (login->account). False if the login's domain is none that can
 * be served.
 */
bool identity_name_account(const struct auth *auth, struct login *login);

/* Finds as whom login->account would be served: REASON_NONE and its identity, or why it fails. */
enum reason identity_find(const struct auth *auth, const struct login *login,
    struct identity *identity);

/* Whether this process, which is not root, cannot become the account that serves the login. */
bool identity_is_out_of_reach(const struct auth *auth, const struct login *login);

/* Whether a uid or gid is root's, or -1, by which setresuid(2) and setresgid(2) mean none. */
static inline bool
is_never_served(uint32_t number)
{
        return number == 0 || number == UINT32_MAX;
}

/* Whether an identity that came from another process keeps all that this header promises of it. */
bool identity_is_sound(const struct identity *identity);

/* log.c */

/*
 * Descriptors first to 2 become /dev/null; a log on descriptor 2 goes on with a copy of it. False,
 * with errno, if that fails.
 */
bool log_leave_standard(int first);
void log_learn_zone(void);              /* makes libc read its file of the time zone, before fences hide it */
void log_leave(void);                   /* closes the log in this process */
void log_own_again(void);               /* after PAM modules, which may have used syslog(3) */
void log_close_others(int keep);        /* all descriptors but 0, 1, 2, the log's, keep */
void log_violation(const char *process, int call);      /* a forbidden system call was tried */

/* become.c */

/* become_user() for a session, which keeps the right to enter its jail until it has done so. */
void become_session_user(const struct identity *identity);

/*
 * Makes a directory, which is open, the root directory (-1: an empty one), gives up the right to
 * do so again, and proves it. False if it cannot be entered, for want of that right or because
 * its file system forbids it; nothing but the right is changed then.
 */
bool become_prisoner(int directory);

/*
 * PAM keeps the capabilities that the shipped systemd unit leaves it, and what its modules start
 * can get no other.
 */
void become_bounded(void);

/* AUTHORIZATION leaves root, the file system, the log and all descriptors but 0, 1, 2 and pam. */
void become_powerless(uid_t uid, gid_t gid, int pam);

/* confine.c; auth.h has the rest */

/*
 * For pop3d, once PAM has been forked: it still may become the user, but not start anything, open
 * sockets, mount or trace. This fence, too, holds until the process ends.
 */
void confine_waiting(void);

/* filter.c */

/*
 * The runtime of sanitizers maps all of the address space and makes system calls of its own, so there
 * are no filters and no limit of memory under them.
 */
#ifndef __has_feature
#define __has_feature(name) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
#define IS_SANITIZED 1
#else
#define IS_SANITIZED 0
#endif

/* Whether this kernel filters system calls, and pop3d has a filter for this machine. */
bool filter_is_possible(void);

/*
 * Sets the filter of AUTHORIZATION, whose channel to PAM this is, or of TRANSACTION if it is -1. False,
 * with errno, if there is none here.
 */
bool filter_calls(int channel);

/* Sets the filter of pop3d while it waits for an identity, where there is one. */
void filter_waiting(void);

/* places.c */

#define PLACES_FOLDER "/run/pop3d"

/*
 * Opens a file of PLACES_FOLDER, which is made if it is not there. -1, with errno, without root, or if
 * it cannot be had or is not root's alone.
 */
int places_open(const char *path, int flags);

/*
 * Waits until there is something to be received, and tells AUTHORIZATION meanwhile, again and again,
 * when places are short.
 */
void places_wait(int channel, pid_t authorization);

/*
 * Around the examination of a login, in the PAM process: no more of them at once than the machine has
 * memory for; the others wait.
 */
void places_begin_examination(void);
void places_end_examination(void);

/* sessions.c */

/*
 * Takes a place for a session of this user, until this process ends. False if too many of his were killed
 * and are there still; this is logged, and so is one such. True where there are no places.
 */
bool sessions_admit(const struct auth *auth, const struct identity *identity);

/* processes.c */

/* From then on the kernel kills this process after so many seconds, whatever it does. */
void process_die_after(unsigned seconds);

/* In a child: the kernel kills it when its parent has ended; it ends at once if that has ended already. */
void process_end_with(pid_t parent);

/*
 * Forks. Parent and child each get their own end of a channel. The child dies when its parent
 * does, or after seconds. Returns the child's process id, 0 in the child.
 */
pid_t process_fork(int *channel, unsigned seconds);

/*
 * Waits for a child and returns its status, as waitpid(2). If a signal ended it, this is logged
 * under name, unless name is NULL.
 */
int process_await(pid_t child, const char *name);

/* One whole message, as write(2) and recv(2), but not interrupted; false if it did not go. */
bool channel_send(int channel, const void *message, size_t size);
ssize_t channel_receive(int channel, void *message, size_t size, int flags);

/* libpam.c; libpam.h has the rest */

/*
 * Loads libpam, for good. False if it cannot be loaded: libpam_problem() then says why, in the
 * loader's words.
 */
bool libpam_load(void);
const char *libpam_problem(void);

/*
 * Whether the last login met pam_nologin(8) and its file, which closes the server. Known once
 * pam_ask() has returned.
 */
bool libpam_met_nologin(void);

/* Whether it was pam_unix(8) that examined the last login, or one of several; known like that. */
bool libpam_met_unix(void);

/* equal.c */

/* Spends the work of a hash on a login that PAM has refused, unless PAM has done it. */
void equal_work(const struct auth *auth, const struct login *login);

/* pam.c, pam_helper.c */

/*
 * Asks PAM whether the login's password is right and its account may log in. With REASON_NONE the
 * login's name is as PAM hands it back.
 */
enum reason pam_ask(const struct auth *auth, struct login *login);

/* The PAM process: answers logins until one is granted. */
_Noreturn void pam_helper(const struct auth *auth, int logins, int identities);

#endif
