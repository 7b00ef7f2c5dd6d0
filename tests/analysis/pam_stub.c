/*
 * pam_stub.c - a PAM that knows one password, for C libraries without libpam.
 *
 * Runs in:   the PAM helper of a build for musl, in a test.
 * May touch: memory.
 */
#include <security/pam_appl.h>
#include <stdlib.h>
#include <string.h>

struct pam_handle {
        const struct pam_conv *conversation;
        char *user;
};

int
pam_start(const char *service, const char *user, const struct pam_conv *conversation,
    pam_handle_t **handle)
{
        *handle = calloc(1, sizeof(**handle));
        if (*handle == NULL || ((*handle)->user = strdup(user)) == NULL)
                return PAM_BUF_ERR;
        (*handle)->conversation = conversation;
        return PAM_SUCCESS;
}

int
pam_start_confdir(const char *service, const char *user, const struct pam_conv *conversation,
    const char *directory, pam_handle_t **handle)
{
        return pam_start(service, user, conversation, handle);
}

int
pam_authenticate(pam_handle_t *handle, int flags)
{
        const struct pam_message message = { PAM_PROMPT_ECHO_OFF, "Password: " };
        const struct pam_message *messages = &message;
        struct pam_response *responses = NULL;
        int is_good;

        if (handle->conversation->conv(1, &messages, &responses,
            handle->conversation->appdata_ptr) != PAM_SUCCESS || responses == NULL)
                return PAM_CONV_ERR;
        is_good = responses->resp != NULL && strcmp(responses->resp, "secret") == 0;
        free(responses->resp);
        free(responses);
        return is_good ? PAM_SUCCESS : PAM_AUTH_ERR;
}

int
pam_acct_mgmt(pam_handle_t *handle, int flags)
{
        return PAM_SUCCESS;
}

int
pam_setcred(pam_handle_t *handle, int flags)
{
        return PAM_SUCCESS;
}

int
pam_set_item(pam_handle_t *handle, int item, const void *value)
{
        return PAM_SUCCESS;
}

int
pam_get_item(const pam_handle_t *handle, int item, const void **value)
{
        *value = item == PAM_USER ? handle->user : NULL;
        return PAM_SUCCESS;
}

int
pam_end(pam_handle_t *handle, int status)
{
        free(handle->user);
        free(handle);
        return PAM_SUCCESS;
}

const char *
pam_strerror(pam_handle_t *handle, int status)
{
        return "stub";
}
