/*
 * wrong.c - pop3d with a fault on purpose, which the sanitizers must report and the tests notice.
 *
 * Runs in:   build/COMPILER-sanitize/pop3d-wrong, linked with --wrap for the functions below.
 * May touch: memory that is not its own.
 *
 * POP3D_WRONG says in which process and which kind: PAM:memory, AUTHORIZATION:overflow, ...
 */
#include "../../auth/internal.h"
#include "../../maildir/maildir.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

ssize_t __real_base64_decode(char *out, size_t size, const char *text, size_t length);
ssize_t __wrap_base64_decode(char *out, size_t size, const char *text, size_t length);
bool __real_channel_send(int channel, const void *message, size_t size);
bool __wrap_channel_send(int channel, const void *message, size_t size);
void __real_become_session_user(const struct identity *identity);
void __wrap_become_session_user(const struct identity *identity);
size_t __real_maildrop_unique_id(const struct maildrop *drop, size_t number, char id[UNIQUE_ID_MAX]);
size_t __wrap_maildrop_unique_id(const struct maildrop *drop, size_t number, char id[UNIQUE_ID_MAX]);

static char place[32], kind[32];

/* The environment is not there for long. */
__attribute__((constructor)) static void
remember(void)
{
        const char *text = getenv("POP3D_WRONG");

        if (text != NULL)
                (void)sscanf(text, "%31[^:]:%31s", place, kind);
}

/*
 * Everything is volatile, so that the compiler neither foresees the fault nor leaves it out. The
 * memory is not freed, for the process ends here.
 */
static void
go_wrong(const char *process)
{
        volatile int number = INT_MAX;
        volatile char *volatile octets;

        if (strcmp(place, process) != 0)
                return;
        if (strcmp(kind, "overflow") == 0)
                number++;
        octets = malloc(8);
        if (strcmp(kind, "memory") == 0 && octets != NULL)
                octets[8] = 1;
}

ssize_t
__wrap_base64_decode(char *out, size_t size, const char *text, size_t length)
{
        go_wrong("AUTHORIZATION");
        return __real_base64_decode(out, size, text, length);
}

/* The helper has done its work, so that nobody misses it. */
bool
__wrap_channel_send(int channel, const void *message, size_t size)
{
        bool is_sent = __real_channel_send(channel, message, size);

        if (size == sizeof(struct identity))
                go_wrong("PAM");
        return is_sent;
}

void
__wrap_become_session_user(const struct identity *identity)
{
        go_wrong("pop3d");
        __real_become_session_user(identity);
}

size_t
__wrap_maildrop_unique_id(const struct maildrop *drop, size_t number, char id[UNIQUE_ID_MAX])
{
        go_wrong("TRANSACTION");
        return __real_maildrop_unique_id(drop, number, id);
}
