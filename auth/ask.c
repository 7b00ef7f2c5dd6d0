/*
 * ask.c - asks PAM about a login, one rule at a time or all account rules, and not for ever.
 * Runs in:   the check (-c) alone, as root where it can; each question in a process of its own.
 * May touch: PAM and what its modules touch; a folder of its own in /run or /tmp, which is removed.
 *
 * A rule is asked under the name of its service, because rules may look at that (pam_time,
 * pam_succeed_if), and with the client's address. libpam reads the rules of a service from a file of
 * that name, so there is one, with the one rule, in a folder made for the question.
 */
#include "libpam.h"
#include "rules.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ASK_ALL_SECONDS = 2 };   /* then the rules are asked one by one */

struct question {
        const struct auth *auth;
        const struct login *login;
        bool is_account;
};

/* In a process of its own: asks, and writes PAM's status. */
static _Noreturn void
ask(const struct question *question, int answers)
{
        struct login login = *question->login;
        pam_handle_t *pam = NULL;
        int status, null = open("/dev/null", O_RDWR);

        for (int fd = 0; fd < 3; fd++)
                (void)dup2(null, fd);
        (void)setpgid(0, 0);
        status = libpam_start(question->auth, &login, &pam);
        if (status == PAM_SUCCESS)
                status = question->is_account ? libpam.acct_mgmt(pam, PAM_SILENT)
                                              : libpam.authenticate(pam, PAM_SILENT);
        (void)!write(answers, &status, sizeof(status));
        if (pam != NULL)
                libpam_end(pam, status);
        _exit(0);
}

/*
 * Ends the processes that a module has left, as the command of pam_exec: this process is made the
 * parent of what has lost its own. Only called when one hangs, and then no other child is there.
 */
static void
end_children(void)
{
        char path[64], numbers[256];
        ssize_t count = 1;

        (void)snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
        for (int round = 0; round < 8 && count > 0; round++) {
                int fd = open(path, O_RDONLY | O_CLOEXEC);
                char *at = numbers, *end;

                count = fd < 0 ? 0 : read(fd, numbers, sizeof(numbers) - 1);
                (void)close(fd);
                numbers[count > 0 ? count : 0] = '\0';
                for (long child; (child = strtol(at, &end, 10)) > 0; at = end) {
                        (void)kill((pid_t)child, SIGKILL);
                        (void)waitpid((pid_t)child, NULL, 0);
                }
        }
}

/* Asks in a child, and waits for its answer so long. */
static int
ask_apart(const struct question *question, int seconds)
{
        int channel[2], answer = ANSWER_NONE, ready;
        struct pollfd wanted = { .events = POLLIN };
        pid_t parent = getpid(), child;

        if (pipe2(channel, O_CLOEXEC) != 0)
                return ANSWER_NONE;
        (void)prctl(PR_SET_CHILD_SUBREAPER, 1);
        (void)fflush(stdout);
        child = fork();
        if (child == 0) {
                /* the parent does a part of the check, and is killed if nobody waits for that any more */
                process_end_with(parent);
                ask(question, channel[1]);
        }
        (void)close(channel[1]);
        wanted.fd = channel[0];
        ready = child < 0 ? -1 : poll(&wanted, 1, seconds * 1000);
        if (ready == 0)
                answer = ANSWER_HANGS;
        else if (ready < 0 || read(channel[0], &answer, sizeof(answer)) != sizeof(answer))
                answer = ANSWER_NONE;
        (void)close(channel[0]);
        if (child > 0 && answer < 0) {
                (void)kill(-child, SIGKILL);
                (void)kill(child, SIGKILL);
        }
        if (child > 0)
                (void)waitpid(child, NULL, 0);
        if (answer == ANSWER_HANGS)
                end_children();
        return answer;
}

/* Copies a small file, if it is there. */
static void
copy(const char *from, const char *to)
{
        int source = open(from, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
        int target = source < 0 ? -1 : open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

        if (target >= 0)
                (void)sendfile(target, source, NULL, 1 << 20);
        (void)close(target);
        (void)close(source);
}

void
faillock_folder(const struct rule *rule, char folder[PATH_MAX])
{
        char settings[PATH_MAX], line[512];
        FILE *file;

        if (rule_argument(rule, "dir", folder, PATH_MAX))
                return;
        (void)snprintf(folder, PATH_MAX, "/var/run/faillock");
        if (!rule_argument(rule, "conf", settings, sizeof(settings)))
                (void)snprintf(settings, sizeof(settings), "/etc/security/faillock.conf");
        file = fopen(settings, "re");
        while (file != NULL && fgets(line, sizeof(line), file) != NULL)
                (void)sscanf(line, " dir = %511[^ \t\r\n#]", folder);
        if (file != NULL)
                (void)fclose(file);
}

/* The folder that a question is asked in: a file of rules, and a tally of pam_faillock. */
struct place {
        char folder[40], rules[200], other[60], tally[LOGIN_TYPED_MAX + 60];
};

static bool
make_place(struct place *place, const char *service, const char *user)
{
        static const char *const parents[] = { "/run", "/tmp", "/dev/shm" };
        bool is_made = false;

        for (size_t i = 0; i < sizeof(parents) / sizeof(parents[0]) && !is_made; i++) {
                (void)snprintf(place->folder, sizeof(place->folder), "%s/pop3d-check.XXXXXX",
                    parents[i]);
                is_made = mkdtemp(place->folder) != NULL;
        }
        (void)snprintf(place->rules, sizeof(place->rules), "%s/%.128s", place->folder, service);
        for (char *c = place->rules + strlen(place->folder); *c != '\0'; c++)
                *c = (char)tolower((unsigned char)*c);
        (void)snprintf(place->other, sizeof(place->other), "%s/other", place->folder);
        (void)snprintf(place->tally, sizeof(place->tally), "%s/tally/%s", place->folder, user);
        return is_made;
}

static void
remove_place(struct place *place)
{
        (void)unlink(place->rules);
        (void)unlink(place->other);
        (void)unlink(place->tally);
        *strrchr(place->tally, '/') = '\0';
        (void)rmdir(place->tally);
        (void)rmdir(place->folder);
}

int
ask_rule(const struct auth *auth, const struct login *login, const struct rule *rule)
{
        struct auth alone = *auth;
        struct place place;
        struct question question = { &alone, login, rule->is_account };
        char folder[PATH_MAX], from[PATH_MAX + LOGIN_TYPED_MAX + 2];
        bool has_tally = rule_is(rule, "pam_faillock.so");
        int status = ANSWER_NONE;
        FILE *file = make_place(&place, auth->service, login->account)
            ? fopen(place.rules, "wxe") : NULL;

        if (file != NULL) {
                /* so that whatever the module answers is what libpam returns */
                (void)fprintf(file, "%s [default=done] %s %s", rule->is_account ? "account" : "auth",
                    rule->module, rule->arguments);
                if (has_tally) {
                        *strrchr(place.tally, '/') = '\0';
                        (void)mkdir(place.tally, 0700);
                        (void)fprintf(file, " dir=%s", place.tally);
                        place.tally[strlen(place.tally)] = '/';
                        faillock_folder(rule, folder);
                        (void)snprintf(from, sizeof(from), "%s/%s", folder, login->account);
                        copy(from, place.tally);
                }
                (void)fprintf(file, "\n");
                (void)fclose(file);
                copy("/dev/null", place.other);
                alone.configuration = place.folder;
                status = ask_apart(&question, ASK_SECONDS);
        }
        remove_place(&place);
        return status;
}

int
ask_account(const struct auth *auth, const struct login *login)
{
        const struct question question = { auth, login, true };

        return ask_apart(&question, ASK_ALL_SECONDS);
}

const char *
status_text(int status)
{
        return libpam.strerror(NULL, status);
}
