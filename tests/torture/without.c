/*
 * without.c - runs a program on a kernel that lacks a layer of confinement.
 * Runs in:   the process that becomes pop3d.
 * May touch: nothing; an outer filter answers in the kernel's place.
 *
 * usage: without landlock|landlock-1|landlock-off|seccomp|both program argument ...
 */
#include <err.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ANSWER(error) BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (error))
#define IF_CALL(number, skip) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (number), 0, (skip))

static void
install(struct sock_filter *code, size_t count)
{
        struct sock_fprog whole = { (unsigned short)count, code };

        if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &whole) != 0)
                err(1, "the outer filter");
}

static void
lack_landlock(unsigned error)
{
        struct sock_filter code[] = {
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
                IF_CALL(SYS_landlock_create_ruleset, 1),
                ANSWER(error),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        };

        install(code, sizeof(code) / sizeof(code[0]));
}

static void
lack_seccomp(void)
{
        struct sock_filter code[] = {
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
                IF_CALL(SYS_seccomp, 1),
                ANSWER(ENOSYS),
                IF_CALL(SYS_prctl, 3),
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])),
                IF_CALL(PR_SET_SECCOMP, 1),
                ANSWER(EINVAL),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        };

        install(code, sizeof(code) / sizeof(code[0]));
}

int
main(int argc, char **argv)
{
        if (argc < 3)
                errx(1, "usage: without landlock|landlock-off|seccomp|both program ...");
        if (strcmp(argv[1], "landlock") == 0 || strcmp(argv[1], "both") == 0)
                lack_landlock(ENOSYS);
        if (strcmp(argv[1], "landlock-off") == 0)
                lack_landlock(EOPNOTSUPP);
        /* last: it forbids further filters */
        if (strcmp(argv[1], "seccomp") == 0 || strcmp(argv[1], "both") == 0)
                lack_seccomp();
        (void)execv(argv[2], argv + 2);
        err(1, "%s", argv[2]);
}
