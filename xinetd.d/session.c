/*
 * session.c - a session with pop3d itself, and what was said in it.
 * Runs in:   pop3d-check; the password is asked for in its first process, the only one with a terminal.
 * May touch: the pop3d beside this program, as its client; the terminal, for a password.
 */
#include "check.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <termios.h>
#include <unistd.h>

enum { PATIENCE_SECONDS = 20 }; /* for a reply; a wrong password takes two */

/*
 * Reads a line, without what ends it; octet by octet, because what is behind it is not ours.
 * patience: milliseconds for each, -1: without end.
 */
static void
read_line(char *line, size_t size, int patience)
{
        struct pollfd input = { .fd = 0, .events = POLLIN };
        size_t used = 0;

        while (used < size - 1 && poll(&input, 1, patience) == 1 && read(0, line + used, 1) == 1 &&
            line[used] != '\n')
                used++;
        line[used] = '\0';
        line[strcspn(line, "\r")] = '\0';
}

void
trial_ask_password(struct trial *trial)
{
        struct termios usual, silent;

        if (trial->login == NULL)
                return;
        if (tcgetattr(0, &usual) == 0) {
                silent = usual;
                silent.c_lflag &= ~(tcflag_t)(ECHO | ISIG);
                (void)tcsetattr(0, TCSAFLUSH, &silent);
                (void)fprintf(stderr, "Password to try (none: just Enter): ");
                read_line(trial->password, sizeof(trial->password), -1);
                (void)tcsetattr(0, TCSAFLUSH, &usual);
                (void)fprintf(stderr, "\n");
        } else {
                read_line(trial->password, sizeof(trial->password), 0);
        }
}

/*
 * Writes the dialogue in the order of its turns, as people know it from telnet; of a session gone
 * wrong as much as fits. All commands were sent at once (PIPELINING). Cuts heard into lines. True
 * if each reply was good and each command was answered.
 */
static bool
write_dialogue(char *out, size_t size, char *heard, const char *const *commands)
{
        bool is_listing = false, is_good = true;
        size_t used = 0;
        char *rest;

        out[0] = '\0';
        for (char *line = strtok_r(heard, "\r\n", &rest); line != NULL && used < size;
            line = strtok_r(NULL, "\r\n", &rest)) {
                if (!is_listing && line[0] != '+')
                        is_good = false;
                used += (size_t)snprintf(out + used, size - used, "\nS: %s", line);
                if (is_listing)
                        is_listing = strcmp(line, ".") != 0;
                else
                        is_listing = strstr(line, "list follows") != NULL;
                if (!is_listing && *commands != NULL && used < size)
                        used += (size_t)snprintf(out + used, size - used, "\nC: %s", *commands++);
        }
        return is_good && *commands == NULL;
}

/*
 * Reads until the server closes, is silent for too long, or has said more than fits. Ends in NUL.
 * True if it closed.
 */
static bool
hear_all(int server, char *heard, size_t size)
{
        const struct timeval patience = { .tv_sec = PATIENCE_SECONDS };
        size_t used = 0;
        ssize_t count;

        (void)setsockopt(server, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
        while ((count = read(server, heard + used, size - 1 - used)) > 0)
                used += (size_t)count;
        heard[used] = '\0';
        return count == 0;
}

/* Why a session failed, by what was heard in it. */
static const char *
cause_of(const char *heard)
{
        if (strstr(heard, "-ERR [AUTH]") != NULL)
                return "the password is wrong, or the login is refused whatever it is\n"
                    "remedy: see the rows of login and PAM, then the log";
        if (strstr(heard, "-ERR [IN-USE]") != NULL)
                return "another session has the maildrop\nremedy: see the rows of maildrop";
        if (strstr(heard, "-ERR [SYS/") != NULL)
                return "a fault of this machine's\nremedy: see the rows above, then the log";
        return "see the log";
}

static void
report_session(struct report *report, const struct trial *trial, char *heard, bool has_quit)
{
        char user[LOGIN_TYPED_MAX + 8], dialogue[4096];
        const char *const without_login[] = { "CAPA", "QUIT", NULL };
        const char *const with_login[] = { "CAPA", user, "PASS", "STAT", "QUIT", NULL };
        bool logs_in = trial->password[0] != '\0';
        const char *cause = cause_of(heard);    /* which write_dialogue() cuts into lines */
        bool is_good;

        (void)snprintf(user, sizeof(user), "USER %s", trial->login);
        is_good = write_dialogue(dialogue, sizeof(dialogue), heard,
            logs_in ? with_login : without_login) && has_quit;

        if (!is_good)
                print_row(report, "fail", "session", "what a client is told:%s\ncause: %s",
                    dialogue, cause);
        else if (trial->is_told)
                print_row(report, "ok", "session", "what a client is told:%s", dialogue);
        else
                print_row(report, "ok", "session", "a client is greeted%s, and told what pop3d can "
                    "do; -c -c shows the dialogue", logs_in ? ", logged in with that password" : "");
}

void
session_check(struct report *report, const struct trial *trial)
{
        char heard[2048];
        char path[PATH_MAX];
        int server = -1;
        pid_t session = -1;
        bool has_closed;

        if (find_beside("pop3d", path)) {
                trial->arguments[0] = path;
                session = program_start(path, trial->arguments, &server);
        }
        (void)dprintf(server, "%sCAPA\r\n", trial->expects_proxy ? "PROXY UNKNOWN\r\n" : "");
        if (trial->password[0] != '\0')
                (void)dprintf(server, "USER %s\r\nPASS %s\r\nSTAT\r\n", trial->login,
                    trial->password);
        (void)dprintf(server, "QUIT\r\n");
        has_closed = hear_all(server, heard, sizeof(heard));
        (void)close(server);
        report_session(report, trial, heard, program_end(session, has_closed) == END_QUIT);
}
