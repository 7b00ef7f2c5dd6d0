/*
 * session.c - a session with pop3d itself, and what was said in it.
 * Runs in:   pop3d-check.
 * May touch: the pop3d beside this program, as its client; the terminal, for a password.
 */
#include "check.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* In a process of its own: becomes pop3d, with the client's end of a socket on 0 and 1. */
static int
become_pop3d(void *arguments)
{
        return start_beside("pop3d", arguments);
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

/* Reads until the server closes, or has said more than fits. Ends in NUL. */
static void
hear_all(int server, char *heard, size_t size)
{
        size_t used = 0;
        ssize_t count;

        while ((count = read(server, heard + used, size - 1 - used)) > 0)
                used += (size_t)count;
        heard[used] = '\0';
}

void
session_check(struct report *report, char **arguments, bool expects_proxy, const char *login)
{
        char heard[2048], dialogue[4096], user[300], *password = NULL;
        const char *const without_login[] = { "CAPA", "QUIT", NULL };
        const char *const with_login[] = { "CAPA", user, "PASS", "STAT", "QUIT", NULL };
        const char *const *commands = without_login;
        int server = -1;
        pid_t session = apart_start(become_pop3d, arguments, &server);
        bool is_good;

        if (login != NULL && isatty(0))
                password = getpass("Password to try (none: just Enter): ");
        (void)dprintf(server, "%sCAPA\r\n", expects_proxy ? "PROXY UNKNOWN\r\n" : "");
        if (password != NULL && *password != '\0') {
                (void)snprintf(user, sizeof(user), "USER %s", login);
                (void)dprintf(server, "%s\r\nPASS %s\r\nSTAT\r\n", user, password);
                explicit_bzero(password, strlen(password));
                commands = with_login;
        }
        (void)dprintf(server, "QUIT\r\n");
        hear_all(server, heard, sizeof(heard));
        (void)close(server);
        is_good = apart_end(session) == END_QUIT;
        is_good &= write_dialogue(dialogue, sizeof(dialogue), heard, commands);
        print_row(report, is_good ? "ok" : "fail", "session",
            "what a client is told:%s%s", dialogue, is_good ? "" : "\ncause: see the log");
}
