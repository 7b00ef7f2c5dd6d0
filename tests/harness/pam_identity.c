/*
 * pam_identity.c - a PAM module that tells pop3d itself whom it let in.
 * Runs in:   the PAM helper of the pop3d under test, named by a service file of the tests.
 * May touch: the channel to pop3d.
 *
 *     pam_identity.so UID WHAT         WHAT is how the identity differs from a sound one of alice
 */
#define _GNU_SOURCE
#include "../../auth/auth.h"

#include <security/pam_modules.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* The channel to pop3d is the one that was made last. */
static int
last_channel(void)
{
        int found = -1;

        for (int fd = 3; fd < 64; fd++) {
                int type = 0;
                socklen_t size = sizeof(type);

                if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 &&
                    type == SOCK_SEQPACKET)
                        found = fd;
        }
        return found;
}

static size_t
spoil(struct identity *identity, const char *what)
{
        if (strcmp(what, "uid-is-root") == 0)
                identity->uid = 0;
        if (strcmp(what, "gid-is-root") == 0)
                identity->gid = 0;
        if (strcmp(what, "too-many-groups") == 0)
                identity->group_count = GROUPS_MAX + 1;
        if (strcmp(what, "far-too-many-groups") == 0)
                identity->group_count = UINT32_MAX;
        if (strcmp(what, "home-without-end") == 0)
                memset(identity->home, '/', sizeof(identity->home));
        if (strcmp(what, "address-without-end") == 0)
                memset(identity->peer.address, '1', sizeof(identity->peer.address));
        if (strcmp(what, "user-without-end") == 0)
                memset(identity->name.user, 'x', sizeof(identity->name.user));
        if (strcmp(what, "user-is-empty") == 0)
                identity->name.user[0] = '\0';
        if (strcmp(what, "mailbox-is-dots") == 0)
                memcpy(identity->name.mailbox, "..", 3);
        if (strcmp(what, "mailbox-is-path") == 0)
                memcpy(identity->name.mailbox, "x/../bob", 9);
        if (strcmp(what, "domain-is-path") == 0)
                memcpy(identity->name.domain, "../x", 5);
        if (strcmp(what, "mechanism") == 0)
                identity->mechanism = MECHANISMS;
        if (strcmp(what, "no-mechanism-at-all") == 0)
                identity->mechanism = 77777;
        return strcmp(what, "short") == 0 ? sizeof(*identity) - 1 : sizeof(*identity);
}

int
pam_sm_authenticate(pam_handle_t *pam, int flags, int argc, const char **argv)
{
        static union {
                struct identity identity;
                char octets[sizeof(struct identity) + 1];
        } told;
        struct identity *identity = &told.identity;
        size_t size;
        bool is_told;

        (void)pam, (void)flags;
        if (argc != 2)
                return PAM_SYSTEM_ERR;
        identity->uid = identity->gid = (uid_t)atoi(argv[0]);
        memcpy(identity->name.user, "alice", 6);
        memcpy(identity->name.mailbox, "alice", 6);
        memcpy(identity->home, "/", 2);
        size = spoil(identity, argv[1]) + (strcmp(argv[1], "long") == 0);
        is_told = write(last_channel(), &told, size) == (ssize_t)size;
        /* pop3d ends AUTHORIZATION for a sound one, before that can find out that PAM has left it */
        if (strcmp(argv[1], "sound") == 0)
                sleep(2);
        _exit(!is_told);
}

int
pam_sm_setcred(pam_handle_t *pam, int flags, int argc, const char **argv)
{
        (void)pam, (void)flags, (void)argc, (void)argv;
        return PAM_SUCCESS;
}
