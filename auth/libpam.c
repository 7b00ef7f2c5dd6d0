/*
 * libpam.c - loads libpam, and begins PAM transactions that answer from a login.
 * Runs in:   the PAM helper, as root where pop3d is started by root; the check (-c).
 * May touch: libpam.
 *
 * The program is not linked with libpam, because then its code would be in the memory of all
 * processes: also of the one that a stranger speaks with, and of the one that serves mail. And each
 * connection would wait for it to be loaded, also one without a login.
 */
#include "libpam.h"

#include <dlfcn.h>
#include <link.h>
#include <stdlib.h>
#include <unistd.h>

struct libpam libpam;

bool
libpam_load(void)
{
        static const struct {
                const char *name;
                void *function;
        } wanted[] = {
                { "pam_start_confdir", &libpam.start_confdir }, { "pam_end", &libpam.end },
                { "pam_set_item", &libpam.set_item }, { "pam_get_item", &libpam.get_item },
                { "pam_authenticate", &libpam.authenticate },
                { "pam_acct_mgmt", &libpam.acct_mgmt }, { "pam_strerror", &libpam.strerror },
        };
        /* RTLD_GLOBAL, because modules may look for libpam's names among all that is loaded */
        void *library = dlopen("libpam.so.0", RTLD_NOW | RTLD_GLOBAL);

        for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
                void *found = library == NULL ? NULL : dlsym(library, wanted[i].name);

                if (found == NULL) {
                        libpam.problem = dlerror();
                        return false;
                }
                memcpy(wanted[i].function, &found, sizeof(found));
        }
        return true;
}

const char *
libpam_problem(void)
{
        return libpam.problem;
}

/* Overwrites and frees the answers, because they may hold the password. */
static void
forget(struct pam_response *answers, int count)
{
        for (int i = 0; i < count; i++)
                if (answers[i].resp != NULL) {
                        explicit_bzero(answers[i].resp, strlen(answers[i].resp));
                        free(answers[i].resp);
                }
        free(answers);
}

/*
 * PAM's conversation function: the password for a hidden prompt, the user's name for a visible one,
 * nothing for a message. Any other question fails. PAM frees the answers.
 */
static int
converse(int count, const struct pam_message **messages,
    struct pam_response **responses, void *context)
{
        const struct login *login = context;
        struct pam_response *answers;
        bool is_answered = true;

        if (count < 1 || count > PAM_MAX_NUM_MSG)
                return PAM_CONV_ERR;
        answers = calloc((size_t)count, sizeof(*answers));
        if (answers == NULL)
                return PAM_BUF_ERR;
        for (int i = 0; i < count && is_answered; i++) {
                int style = messages[i]->msg_style;

                if (style == PAM_PROMPT_ECHO_OFF)
                        answers[i].resp = strdup(login->password);
                else if (style == PAM_PROMPT_ECHO_ON)
                        answers[i].resp = strdup(login->account);
                libpam.has_asked |= style == PAM_PROMPT_ECHO_OFF;
                libpam.has_warned |= style == PAM_ERROR_MSG && !libpam.has_asked;
                is_answered = answers[i].resp != NULL || style == PAM_ERROR_MSG ||
                    style == PAM_TEXT_INFO;
        }
        if (!is_answered) {
                forget(answers, count);
                return PAM_CONV_ERR;
        }
        *responses = answers;
        return PAM_SUCCESS;
}

/* Takes PAM's delay after a failure away, because pam_helper() waits for a time of its own. */
static void
no_delay(int status, unsigned microseconds, void *context)
{
}

int
libpam_start(const struct auth *auth, struct login *login, pam_handle_t **pam)
{
        const struct pam_conv conversation = { converse, login };
        int status;

        libpam.has_warned = libpam.has_asked = false;
        status = libpam.start_confdir(auth->service, login->account, &conversation,
            auth->configuration, pam);
        if (status == PAM_SUCCESS)
                /* __extension__, because ISO C has no cast from a function to the object pointer */
                status = libpam.set_item(*pam, PAM_FAIL_DELAY,
                    __extension__ (const void *)no_delay);
        if (status == PAM_SUCCESS)
                status = libpam.set_item(*pam, PAM_TTY, "pop3d");
        if (status == PAM_SUCCESS && login->peer.address[0] != '\0')
                status = libpam.set_item(*pam, PAM_RHOST, login->peer.address);
        return status;
}

/* For dl_iterate_phdr(3): whether a loaded object is the module that context names. */
static int
is_module(struct dl_phdr_info *object, size_t size, void *context)
{
        const char *slash = strrchr(object->dlpi_name, '/');

        return slash != NULL && strcmp(slash, context) == 0;
}

static bool
is_loaded(char *module)
{
        return dl_iterate_phdr(is_module, module) != 0;
}

/*
 * pam_nologin's refusal looks like that of a wrong password, and it refuses unknown users and root
 * in ways of its own. So all that is asked is whether the stack has it, and whether its file is
 * there: where it is by default; elsewhere (file=) the module has said so before the password.
 */
void
libpam_end(pam_handle_t *pam, int status)
{
        libpam.met_nologin = (libpam.has_warned || access("/var/run/nologin", F_OK) == 0 ||
            access("/etc/nologin", F_OK) == 0) && is_loaded((char[]){ "/pam_nologin.so" });
        libpam.met_unix = is_loaded((char[]){ "/pam_unix.so" });
        (void)libpam.end(pam, status);
}

bool
libpam_met_nologin(void)
{
        return libpam.met_nologin;
}

bool
libpam_met_unix(void)
{
        return libpam.met_unix;
}
