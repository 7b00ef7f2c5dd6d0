/*
 * floor_answers.h - the dialogue of the floors: a line in, pop3d's octets out.
 *
 * Runs in:   the benchmark's floors.
 * May touch: the client on descriptors 0 and 1.
 */
#ifndef POP3D_BENCH_FLOOR_ANSWERS_H
#define POP3D_BENCH_FLOOR_ANSWERS_H

#include <string.h>
#include <strings.h>

#include "floor.h"

/* Answers until QUIT. Called at PASS: the login, with user and password. */
static inline void
floor_answer(const char *stat, void (*login)(void *, const char *, const char *), void *context)
{
        char line[512], user[512] = "", reply[600];
        ssize_t count;

        floor_say("+OK pop3d 1.1 server ready\r\n");
        while ((count = read(0, line, sizeof(line) - 1)) > 0) {
                line[count] = '\0';
                line[strcspn(line, "\r\n")] = '\0';
                if (strncasecmp(line, "USER ", 5) == 0) {
                        memcpy(user, line + 5, strlen(line + 5) + 1);
                        floor_say("+OK Password, please\r\n");
                } else if (strncasecmp(line, "PASS ", 5) == 0) {
                        if (login != NULL)
                                login(context, user, line + 5);
                        floor_say("+OK User successfully logged on\r\n");
                } else if (strcasecmp(line, "STAT") == 0) {
                        (void)snprintf(reply, sizeof(reply), "+OK %s\r\n", stat);
                        floor_say(reply);
                } else if (strcasecmp(line, "QUIT") == 0) {
                        floor_say("+OK pop3d 1.1 server signing off\r\n");
                        return;
                } else {
                        floor_say("-ERR\r\n");
                }
        }
}

#endif
