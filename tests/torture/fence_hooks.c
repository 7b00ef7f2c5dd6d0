/*
 * fence_hooks.c - tries from inside what a process that was taken over would try.
 * Runs in:   AUTHORIZATION, TRANSACTION and the waiting pop3d of a variant, linked with
 *            --wrap for the functions below.
 * May touch: whatever the fences let it.
 *
 * The product is not changed for it: the linker puts these functions in the place of
 * the product's. What to try stands in the environment, PLACE:WHAT:ARGUMENT:
 *
 *     AUTHORIZATION:call:57          a system call by its number, with zeros
 *     TRANSACTION:open:PATH          one of the attempts below
 *
 * The outcome goes to the client as "TRIED result", a negative errno for failure.
 */
#include "../../auth/auth.h"
#include "../../maildir/maildir.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

ssize_t __real_base64_decode(char *out, size_t size, const char *text, size_t length);
ssize_t __wrap_base64_decode(char *out, size_t size, const char *text, size_t length);
bool __real_auth_announce(int pam, const struct peer *peer);
bool __wrap_auth_announce(int pam, const struct peer *peer);
bool __real_identity_is_sound(const struct identity *identity);
bool __wrap_identity_is_sound(const struct identity *identity);
size_t __real_maildrop_unique_id(const struct maildrop *drop, size_t number, char id[UNIQUE_ID_MAX]);
size_t __wrap_maildrop_unique_id(const struct maildrop *drop, size_t number, char id[UNIQUE_ID_MAX]);

static char place[32], what[32], argument[512];
static pid_t above;             /* whoever started this process; not to be asked for later */

__attribute__((constructor)) static void
remember(void)
{
        const char *text = getenv("POP3D_FENCE");

        above = getppid();
        if (text != NULL)
                (void)sscanf(text, "%31[^:]:%31[^:]:%511[^\n]", place, what, argument);
        if (strcmp(place, "AUTHORIZATION") == 0)
                above = getpid();
}

/* The descriptor of the Maildir: the first directory there is. */
static int
maildir_fd(void)
{
        struct stat status;

        for (int fd = 3; fd < 64; fd++)
                if (fstat(fd, &status) == 0 && S_ISDIR(status.st_mode))
                        return fd;
        return -1;
}

static long
try_call(void)
{
        return syscall(atol(argument), 0, 0, 0, 0, 0, 0);
}

/* A way out that leads back to the Maildir, which is the root directory then, leads nowhere: ENOENT. */
static long
unless_maildir(long result, const struct stat *status)
{
        struct stat maildir;

        if (result < 0 || fstat(maildir_fd(), &maildir) != 0 || status->st_ino != maildir.st_ino ||
            status->st_dev != maildir.st_dev)
                return result;
        errno = ENOENT;
        return -1;
}

static long
try_open_at(int directory)
{
        struct stat status = { 0 };
        long fd = openat(directory, argument, O_RDONLY | O_NONBLOCK);

        return fd < 0 || fstat((int)fd, &status) != 0 ? fd : unless_maildir(fd, &status);
}

static long
try_open(void)
{
        return try_open_at(AT_FDCWD);
}

static long
try_open_below(void)
{
        return try_open_at(maildir_fd());
}

/* What Landlock lets through, and a jail does not. */
static long
try_stat(void)
{
        struct stat status;
        long result = fstatat(maildir_fd(), argument, &status, 0);

        return unless_maildir(result, &status);
}

static long
try_chroot(void)
{
        return chroot(".");
}

/* In two steps, by way of a descriptor that may only be walked from. */
static long
try_climb(void)
{
        int up = openat(maildir_fd(), "..", O_PATH | O_DIRECTORY);

        return up < 0 ? up : openat(up, argument, O_RDONLY);
}

static long
try_write_below(void)
{
        return openat(maildir_fd(), argument, O_WRONLY);
}

static long
try_truncate_below(void)
{
        return openat(maildir_fd(), argument, O_WRONLY | O_TRUNC);
}

static long
try_create(void)
{
        return openat(maildir_fd(), argument, O_WRONLY | O_CREAT | O_EXCL, 0600);
}

static long
try_rename(void)
{
        int fd = maildir_fd();

        return renameat2(fd, "new/victim", fd, argument, 0);
}

static long
try_rename_in(void)
{
        int fd = maildir_fd();

        return renameat2(fd, argument, fd, "new/planted", 0);
}

static long
try_link(void)
{
        int fd = maildir_fd();

        return linkat(fd, "new/victim", fd, argument, 0);
}

static long
try_link_in(void)
{
        int fd = maildir_fd();

        return linkat(fd, argument, fd, "new/planted", 0);
}

static long
try_unlink(void)
{
        return unlinkat(maildir_fd(), argument, 0);
}

/* What serving a Maildir never takes, where it lies: a right too many would let it be done. */

static long
try_mkdir(void)
{
        return mkdirat(maildir_fd(), "new/folder", 0700);
}

static long
try_rmdir(void)
{
        return unlinkat(maildir_fd(), "tmp/empty", AT_REMOVEDIR);
}

static long
try_fifo(void)
{
        return mknodat(maildir_fd(), "new/fifo", S_IFIFO | 0600, 0);
}

static long
try_symlink(void)
{
        return symlinkat("/etc/passwd", maildir_fd(), "new/link");
}

static long
try_execute(void)
{
        static char *const none[] = { NULL };

        return syscall(SYS_execveat, maildir_fd(), "tmp/program", none, none, 0);
}

static long
try_bind_below(void)
{
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        int fd = socket(AF_UNIX, SOCK_DGRAM, 0);

        (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", argument);
        return fd < 0 ? -1 : bind(fd, (struct sockaddr *)&address, sizeof(address));
}

/* To a name that is no file; the argument is that name. */
static long
try_abstract(void)
{
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
        int length = snprintf(address.sun_path + 1, sizeof(address.sun_path) - 1, "%s", argument);

        return fd < 0 ? -1 : connect(fd, (struct sockaddr *)&address,
            (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)length));
}

static long
try_tcp(int (*function)(int, const struct sockaddr *, socklen_t))
{
        struct sockaddr_in address = { .sin_family = AF_INET,
                .sin_port = htons((in_port_t)atoi(argument)),
                .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        int fd = socket(AF_INET, SOCK_STREAM, 0);

        return fd < 0 ? -1 : function(fd, (struct sockaddr *)&address, sizeof(address));
}

static long
try_tcp_bind(void)
{
        return try_tcp(bind);
}

static long
try_tcp_connect(void)
{
        return try_tcp(connect);
}

/* Another process of the same user; the argument is its number. */
static long
try_signal(void)
{
        return kill((pid_t)atoi(argument), 0);
}

static long
try_executable_memory(void)
{
        void *memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
            MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        return memory == MAP_FAILED ? -1 : 0;
}

static long
try_executable_later(void)
{
        void *memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        return memory == MAP_FAILED ? -1 : mprotect(memory, 4096, PROT_READ | PROT_EXEC);
}

/* Through whatever socket is there: the log's, the client's. */
static long
try_send_to(void)
{
        struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = "/dev/log" };

        return sendto(0, "x", 1, 0, (struct sockaddr *)&address, sizeof(address));
}

/* By its name, where futimens(3) may set the times of what is open. */
static long
try_set_times(void)
{
        return utimensat(AT_FDCWD, ".", NULL, 0);
}

/* What fcntl() may do beside locking: to copy a descriptor. */
static long
try_copy_descriptor(void)
{
        return syscall(SYS_fcntl, maildir_fd(), F_DUPFD, 40);
}

/* A file of the user's own, given to another, or made to run as him. */
static long
try_give_away(void)
{
        return fchown(openat(maildir_fd(), argument, O_RDONLY), 1, (gid_t)-1);
}

static long
try_set_id(void)
{
        return fchmod(openat(maildir_fd(), argument, O_RDONLY), 04700);
}

static long
try_socket(void)
{
        return socket(AF_INET, SOCK_DGRAM, 0);
}

/* TRANSACTION may ask how much of what it wrote is not taken yet, and nothing else of ioctl(2). */
static long
try_control(void)
{
        int octets = 0;

        return ioctl(0, FIONREAD, &octets);
}

static long
try_connect(void)
{
        struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = "/dev/log" };

        return connect(0, (struct sockaddr *)&address, sizeof(address));
}

static long
try_fork(void)
{
        long child = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);

        if (child == 0)
                _exit(0);
        return child;
}

static long
try_root(void)
{
        return setuid(0);
}

static long
try_trace_parent(void)
{
        return ptrace(PTRACE_SEIZE, above, NULL, NULL);
}

static long
try_kill_parent(void)
{
        return kill(above, SIGTERM);
}

static long
try_exit(void)
{
        _exit(atoi(argument));
}

/* The same word for another kind of machine: its numbers mean other calls. */
static long
try_other_machine(void)
{
#ifdef __x86_64__
        long result;

        __asm__ volatile("int $0x80" : "=a"(result) : "a"(20L) : "memory");
        if (result < 0)
                errno = (int)-result;
        return result < 0 ? -1 : result;
#else
        errno = ENOSYS;
        return -1;
#endif
}

/* What PAM is sent instead of a login */

static void
forge_octets(char *message, size_t size, unsigned seed)
{
        unsigned state = seed * 2654435761U + 1;

        for (size_t i = 0; i < size; i++) {
                state = state * 1103515245U + 12345U;
                message[i] = (char)(state >> 16);
        }
}

static size_t
forge_login(struct login *login)
{
        memset(login, 0, sizeof(*login));
        login->kind = LOGIN_QUESTION;
        login->is_acceptable = 1;
        memcpy(login->typed, "alice", 6);
        memcpy(login->name.user, "alice", 6);
        memcpy(login->name.mailbox, "alice", 6);
        memcpy(login->password, "secret", 7);
        return sizeof(*login);
}

static size_t
forge(struct login *login, size_t room)
{
        size_t size = forge_login(login);
        unsigned seed;

        if (strcmp(argument, "short") == 0)
                return 1;
        if (strcmp(argument, "nearly") == 0)
                return size - 1;
        if (strcmp(argument, "long") == 0)
                return room;
        if (strcmp(argument, "kind") == 0)
                login->kind = 77;
        if (strcmp(argument, "mechanism") == 0)
                login->mechanism = 77;
        if (strcmp(argument, "typed-without-end") == 0)
                memset(login->typed, 'x', sizeof(login->typed));
        if (strcmp(argument, "user-without-end") == 0)
                memset(login->name.user, 'x', sizeof(login->name.user));
        if (strcmp(argument, "password-without-end") == 0)
                memset(login->password, 'x', sizeof(login->password));
        if (strcmp(argument, "user-is-path") == 0)
                memcpy(login->name.user, "../bob", 7);
        if (strcmp(argument, "mailbox-is-path") == 0)
                memcpy(login->name.mailbox, "../bob", 7);
        if (strcmp(argument, "mailbox-is-dots") == 0)
                memcpy(login->name.mailbox, "..", 3);
        if (strcmp(argument, "user-is-empty") == 0)
                memset(login->name.user, 0, sizeof(login->name.user));
        if (strcmp(argument, "user-is-root") == 0) {
                memcpy(login->name.user, "root", 5);
                memcpy(login->name.mailbox, "root", 5);
        }
        if (strcmp(argument, "domain-is-foreign") == 0)
                memcpy(login->name.domain, "elsewhere.example", 18);
        if (strcmp(argument, "user-has-domain") == 0)
                memcpy(login->name.user, "alice@elsewhere.example", 24);
        if (strcmp(argument, "password-is-empty") == 0)
                memset(login->password, 0, sizeof(login->password));
        if (strcmp(argument, "address-is-another") == 0)
                memcpy(login->peer.address, "1.2.3.4", 8);
        if (strcmp(argument, "address-is-none") == 0)
                memcpy(login->peer.address, "1.2.3.4, user=root", 19);
        if (sscanf(argument, "random-%u", &seed) == 1)
                forge_octets((char *)login, size, seed);
        /* a whole login but for some octets */
        if (sscanf(argument, "nudged-%u", &seed) == 1)
                for (unsigned i = 0; i < 4; i++)
                        ((char *)login)[(seed * 7919U + i * 104729U) % size] = (char)(seed + i * 31U);
        return size;
}

/* Returns the verdict that came back; -3 if none did. */
static long
try_forge(void)
{
        static union {
                struct login login;
                char octets[16384];
        } message;
        size_t size = forge(&message.login, sizeof(message));
        uint32_t verdict = 0;
        ssize_t got;

        for (int fd = 3; fd < 64; fd++) {
                if (write(fd, &message, size) < 0)
                        continue;
                do
                        got = read(fd, &verdict, sizeof(verdict));
                while (got < 0 && errno == EINTR);
                return got == sizeof(verdict) ? (long)verdict : -3;
        }
        return -2;
}

static const struct attempt {
        const char *name;
        long (*function)(void);
} attempts[] = {
        { "abstract", try_abstract },
        { "bind-below", try_bind_below },
        { "call", try_call },
        { "chroot", try_chroot },
        { "climb", try_climb },
        { "connect", try_connect },
        { "create", try_create },
        { "execute", try_execute },
        { "executable-later", try_executable_later },
        { "copy-descriptor", try_copy_descriptor },
        { "executable-memory", try_executable_memory },
        { "exit", try_exit },
        { "forge", try_forge },
        { "control", try_control },
        { "give-away", try_give_away },
        { "set-id", try_set_id },
        { "fifo", try_fifo },
        { "fork", try_fork },
        { "kill-parent", try_kill_parent },
        { "link", try_link },
        { "link-in", try_link_in },
        { "mkdir", try_mkdir },
        { "open", try_open },
        { "open-below", try_open_below },
        { "other-machine", try_other_machine },
        { "rename", try_rename },
        { "rename-in", try_rename_in },
        { "rmdir", try_rmdir },
        { "root", try_root },
        { "send-to", try_send_to },
        { "set-times", try_set_times },
        { "signal", try_signal },
        { "socket", try_socket },
        { "stat", try_stat },
        { "symlink", try_symlink },
        { "tcp-bind", try_tcp_bind },
        { "tcp-connect", try_tcp_connect },
        { "trace-parent", try_trace_parent },
        { "truncate-below", try_truncate_below },
        { "unlink", try_unlink },
        { "write-below", try_write_below },
};

static void
attempt(const char *here)
{
        char line[64];

        if (strcmp(here, place) != 0)
                return;
        place[0] = '\0';
        for (size_t i = 0; i < sizeof(attempts) / sizeof(attempts[0]); i++)
                if (strcmp(attempts[i].name, what) == 0) {
                        long result;
                        int length;

                        errno = 0;
                        result = attempts[i].function();
                        length = snprintf(line, sizeof(line), "TRIED %ld\r\n",
                            result == -1 ? (long)-errno : result);
                        /* no login of its own behind a forged one */
                        if (write(1, line, (size_t)length) < 0 || strcmp(what, "forge") == 0)
                                _exit(99);
                        return;
                }
        _exit(98);
}

/* What pop3d is sent instead of an announcement, or beside it; the place is ANNOUNCEMENT. */
bool
__wrap_auth_announce(int pam, const struct peer *peer)
{
        struct announcement message = { LOGIN_ANNOUNCEMENT, *peer };
        size_t size = sizeof(message);
        uint32_t verdict = 0;

        if (strcmp(place, "ANNOUNCEMENT") != 0)
                return __real_auth_announce(pam, peer);
        if (strcmp(what, "none") == 0)
                return true;
        if (strcmp(what, "twice") == 0 && !__real_auth_announce(pam, peer))
                return false;
        if (strcmp(what, "short") == 0)
                size--;
        if (strcmp(what, "kind") == 0)
                message.kind = 77;
        if (strcmp(what, "without-end") == 0)
                memset(message.peer.address, '1', sizeof(message.peer.address));
        if (strcmp(what, "no-address") == 0)
                memcpy(message.peer.address, "1.2.3.4, user=root", 19);
        return write(pam, &message, size) == (ssize_t)size && read(pam, &verdict, sizeof(verdict)) > 0;
}

/* pop3d calls this one when it has received an identity, still as root. */
bool
__wrap_identity_is_sound(const struct identity *identity)
{
        attempt("WAITING");
        return __real_identity_is_sound(identity);
}

ssize_t
__wrap_base64_decode(char *out, size_t size, const char *text, size_t length)
{
        attempt("AUTHORIZATION");
        return __real_base64_decode(out, size, text, length);
}

size_t
__wrap_maildrop_unique_id(const struct maildrop *drop, size_t number, char id[UNIQUE_ID_MAX])
{
        attempt("TRANSACTION");
        return __real_maildrop_unique_id(drop, number, id);
}
