/*
 * libpam.h - libpam as auth/ uses it: loaded when it is needed, and asked in one way.
 *
 * Runs in:   the PAM helper, and the check (-c).
 * May touch: libpam, and what it loads.
 *
 * Only the files that speak with PAM itself include this: libpam.c, pam.c, and the check's ask.c.
 */
#ifndef POP3D_AUTH_LIBPAM_H
#define POP3D_AUTH_LIBPAM_H

#include "internal.h"

#include <security/pam_appl.h>

/* The functions that libpam_load() has found, and why not all if it returned false. */
struct libpam {
        __typeof__(pam_start_confdir) *start_confdir;
        __typeof__(pam_set_item) *set_item;
        __typeof__(pam_get_item) *get_item;
        __typeof__(pam_authenticate) *authenticate;
        __typeof__(pam_acct_mgmt) *acct_mgmt;
        __typeof__(pam_strerror) *strerror;
        __typeof__(pam_end) *end;
        const char *problem;
        bool has_warned;        /* a module sent a message of errors before it wanted the password */
        bool has_asked;         /* a module wanted the password */
        bool met_nologin, met_unix;
};
extern struct libpam libpam;

/*
 * Begins a PAM transaction about login->account that answers PAM's questions from the login.
 * Returns PAM's status. If *pam is not NULL afterwards, libpam_end() is due.
 */
int libpam_start(const struct auth *auth, struct login *login, pam_handle_t **pam);
void libpam_end(pam_handle_t *pam, int status);

#endif
