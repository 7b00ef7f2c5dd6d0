/*
 * floor_pam.c - the floor of a login: one process, PAM, the user's ids, and
 * the entries of the Maildir read once.
 *
 *     floor_pam SERVICE MAILDIR STAT-REPLY
 *
 * Runs in:   the benchmark, as root, then as the user.
 * May touch: what PAM modules need, the Maildir's directories.
 */
#include <grp.h>
#include <pwd.h>
#include <security/pam_appl.h>
#include <stdlib.h>
#include <string.h>

#include "floor_answers.h"

struct login {
        const char *service, *maildir;
};

static int
converse(int count, const struct pam_message **messages, struct pam_response **responses, void *data)
{
        struct pam_response *answers = calloc((size_t)count, sizeof(*answers));

        (void)messages;
        if (answers == NULL)
                return PAM_BUF_ERR;
        for (int i = 0; i < count; i++)
                answers[i].resp = strdup(data);
        *responses = answers;
        return PAM_SUCCESS;
}

static void
read_maildir(const char *maildir)
{
        struct floor_folder folder;

        if (chdir(maildir) != 0)
                floor_die(maildir);
        for (int i = 0; i < 2; i++)
                floor_read(&folder, floor_folders[i], 0);
}

static void
log_in(void *context, const char *user, const char *password)
{
        const struct login *login = context;
        char *secret = strdup(password);
        struct pam_conv conversation = { converse, secret };
        struct passwd *account;
        pam_handle_t *pam;

        if (secret == NULL || pam_start(login->service, user, &conversation, &pam) != PAM_SUCCESS ||
            pam_set_item(pam, PAM_RHOST, "127.0.0.1") != PAM_SUCCESS ||
            pam_authenticate(pam, PAM_SILENT | PAM_DISALLOW_NULL_AUTHTOK) != PAM_SUCCESS ||
            pam_acct_mgmt(pam, PAM_SILENT | PAM_DISALLOW_NULL_AUTHTOK) != PAM_SUCCESS ||
            pam_setcred(pam, PAM_ESTABLISH_CRED | PAM_SILENT) != PAM_SUCCESS ||
            pam_end(pam, PAM_SUCCESS) != PAM_SUCCESS)
                floor_die("PAM");
        account = getpwnam(user);
        if (account == NULL || initgroups(user, account->pw_gid) != 0 ||
            setgid(account->pw_gid) != 0 || setuid(account->pw_uid) != 0)
                floor_die(user);
        read_maildir(login->maildir);
}

int
main(int argc, char **argv)
{
        struct login login;

        if (argc != 4)
                return 64;
        login.service = argv[1];
        login.maildir = argv[2];
        floor_answer(argv[3], log_in, &login);
        return 0;
}
