/*
 * pam_probe.c - a PAM module that does what no module should, and notes what it is told.
 * Runs in:   the PAM helper of the pop3d under test, named by a service file of the tests.
 * May touch: what its argument says.
 *
 *     pam_probe.so print               writes to descriptors 0, 1 and 2
 *     pam_probe.so spray               writes to every descriptor there is
 *     pam_probe.so open=PATH           leaves a file open
 *     pam_probe.so hang | crash | exit never answers
 *     pam_probe.so user=NAME           changes the name of the user
 *     pam_probe.so delay=MICROSECONDS  asks for a delay of failures, and fails
 *     pam_probe.so talk                asks and tells all that a conversation knows
 *     pam_probe.so note=PATH           writes down the items of PAM
 *     pam_probe.so alarm               takes the alarm and its signal away, and hangs
 *     pam_probe.so stay=PATH           fails, and leaves a child for a minute, its process id in the file
 *     pam_probe.so twice               fails, and lets a child return, too
 *     pam_probe.so log                 takes the system log for itself, and fails
 *     pam_probe.so slow=MICROSECONDS   takes so long to fail
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <security/pam_appl.h>
#include <security/pam_modules.h>
#include <security/pam_ext.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

static void
print(int last)
{
        static const char text[] = "+OK injected\r\n";

        for (int fd = 0; fd <= last; fd++)
                if (write(fd, text, sizeof(text) - 1) < 0)
                        continue;
        printf("%s", text);
        fflush(stdout);
}

static void
note(pam_handle_t *pam, const char *path)
{
        static const int items[] = { PAM_SERVICE, PAM_USER, PAM_TTY, PAM_RHOST, PAM_RUSER };
        static const char *const names[] = { "service", "user", "tty", "rhost", "ruser" };
        FILE *file = fopen(path, "w");

        if (file == NULL)
                return;
        for (size_t i = 0; i < 5; i++) {
                const void *value = NULL;

                (void)pam_get_item(pam, items[i], &value);
                fprintf(file, "%s=%s\n", names[i], value == NULL ? "(none)" : (const char *)value);
        }
        for (char **variable = environ; variable != NULL && *variable != NULL; variable++)
                fprintf(file, "environment=%s\n", *variable);
        fclose(file);
}

/* A conversation of every style at once: the answers must fit the questions. */
static int
talk(pam_handle_t *pam)
{
        static const int styles[] = { PAM_TEXT_INFO, PAM_PROMPT_ECHO_ON, PAM_ERROR_MSG,
                PAM_PROMPT_ECHO_OFF };
        struct pam_message texts[4];
        const struct pam_message *messages[4];
        struct pam_response *answers = NULL;
        const struct pam_conv *conversation = NULL;
        const void *item = NULL;
        const char *password = NULL;

        if (pam_get_item(pam, PAM_CONV, &item) != PAM_SUCCESS || item == NULL)
                return PAM_SYSTEM_ERR;
        conversation = item;
        for (int i = 0; i < 4; i++) {
                texts[i].msg_style = styles[i];
                texts[i].msg = "+OK injected\r\n";
                messages[i] = &texts[i];
        }
        if (conversation->conv(0, messages, &answers, conversation->appdata_ptr) == PAM_SUCCESS)
                return PAM_SYSTEM_ERR;
        if (conversation->conv(100000, messages, &answers, conversation->appdata_ptr) == PAM_SUCCESS)
                return PAM_SYSTEM_ERR;
        if (conversation->conv(4, messages, &answers, conversation->appdata_ptr) != PAM_SUCCESS ||
            answers == NULL || answers[1].resp == NULL || answers[3].resp == NULL)
                return PAM_SYSTEM_ERR;
        password = answers[3].resp;
        return strcmp(answers[1].resp, "alice") == 0 && strcmp(password, "secret") == 0
            ? PAM_SUCCESS : PAM_AUTH_ERR;
}

static _Noreturn void
hang(void)
{
        for (;;)
                pause();
}

static void
stay(const char *path)
{
        FILE *file;

        if (fork() != 0)
                return;
        file = fopen(path, "w");
        if (file != NULL)
                fprintf(file, "%ld\n", (long)getpid()), fclose(file);
        sleep(60);
        _exit(0);
}

int
pam_sm_authenticate(pam_handle_t *pam, int flags, int argc, const char **argv)
{
        const char *what = argc > 0 ? argv[0] : "";

        (void)flags;
        if (strcmp(what, "print") == 0)
                print(2);
        else if (strcmp(what, "spray") == 0)
                print(63);
        else if (strncmp(what, "open=", 5) == 0)
                return open(what + 5, O_RDONLY) < 0 ? PAM_SYSTEM_ERR : PAM_SUCCESS;
        else if (strcmp(what, "hang") == 0)
                hang();
        else if (strcmp(what, "alarm") == 0)
                alarm(0), signal(SIGALRM, SIG_IGN), hang();
        else if (strcmp(what, "crash") == 0)
                raise(SIGSEGV);
        else if (strcmp(what, "exit") == 0)
                exit(0);
        else if (strncmp(what, "user=", 5) == 0)
                return pam_set_item(pam, PAM_USER, what + 5);
        else if (strncmp(what, "delay=", 6) == 0)
                return pam_fail_delay(pam, (unsigned)atoi(what + 6)), PAM_AUTH_ERR;
        else if (strcmp(what, "talk") == 0)
                return talk(pam);
        else if (strncmp(what, "note=", 5) == 0)
                note(pam, what + 5);
        else if (strncmp(what, "stay=", 5) == 0)
                return stay(what + 5), PAM_AUTH_ERR;
        else if (strcmp(what, "twice") == 0)
                return fork() == 0 ? PAM_SYSTEM_ERR : PAM_AUTH_ERR;
        else if (strcmp(what, "log") == 0)
                return openlog("probe", 0, LOG_LOCAL0), syslog(LOG_NOTICE, "mine"), PAM_AUTH_ERR;
        else if (strncmp(what, "slow=", 5) == 0)
                return usleep((unsigned)atoi(what + 5)), PAM_AUTH_ERR;
        return PAM_SUCCESS;
}

int
pam_sm_setcred(pam_handle_t *pam, int flags, int argc, const char **argv)
{
        (void)pam, (void)flags, (void)argc, (void)argv;
        return PAM_SUCCESS;
}

int
pam_sm_acct_mgmt(pam_handle_t *pam, int flags, int argc, const char **argv)
{
        (void)pam, (void)flags, (void)argc, (void)argv;
        return PAM_SUCCESS;
}
