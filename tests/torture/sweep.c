/*
 * sweep.c - runs a session once for each point at which it can be disturbed.
 * Runs in:   the sweep: one process that counts the points, workers that try them.
 * May touch: the folder given, the sessions it starts on loopback connections.
 *
 * usage: sweep faults|pairs|kills|memory [-j workers] [-s situation] [-c call] [-w file-system]
 *              [-l library] -u uid -d folder
 *              -p real-PAM-service -q quick-PAM-service -- pop3d option ...
 */
#include "failing_memory.h"
#include "sweep.h"

#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
        POINTS_MAX = 200000,
        SHOWN_MAX = 40,                 /* failures told in full for each situation */
        GONE_SECONDS = 4,               /* after the client: a refused login takes two */
        ARGUMENTS_MAX = 32,
};

enum mode { MODE_FAULTS, MODE_PAIRS, MODE_KILLS, MODE_MEMORY, MODES };
static const char *const mode_names[MODES] = { "faults", "pairs", "kills", "memory" };

struct figures {
        uint32_t tried, unmet, granted, losses, false_replies, hangs, survivors, bad_logins, shown;
};

/* What workers and their parent share. */
struct shared {
        uint32_t next, count;
        struct figures figures[SITUATIONS];
        struct point points[POINTS_MAX];
};

static struct {
        enum mode mode;
        unsigned jobs;
        int only;                       /* situation, or -1 */
        const char *call;               /* system call, or NULL for all */
        enum file_system files;
        uid_t uid;
        const char *folder, *library;
        const char *services[2];        /* PAM's: a quick one, a real one */
        char **command;
        struct shared *shared;
        struct failing_memory *page;
        char page_path[PATH_SIZE];
} sweep = { .jobs = 48, .only = -1 };

/* Starting pop3d */

/* The way to the login is the same in most situations, and swept in these. */
static bool
is_login_of_interest(const struct drop *drop)
{
        return drop->situation == NO_INDEX || drop->situation == WRONG_PASSWORD;
}

static void
run_pop3d(const struct drop *drop, int fd, bool is_watched)
{
        char *arguments[ARGUMENTS_MAX], *environment[4] = { NULL };
        char path[PATH_SIZE + 8], preload[PATH_SIZE + 16], page[PATH_SIZE + 64];
        size_t count = 0;

        for (; sweep.command[count] != NULL && count < ARGUMENTS_MAX - 9; count++)
                arguments[count] = sweep.command[count];
        (void)snprintf(path, sizeof(path), "%s", drop->path);
        arguments[count++] = (char *)(uintptr_t)"-m";
        arguments[count++] = path;
        arguments[count++] = (char *)(uintptr_t)"-s";
        arguments[count++] = (char *)(uintptr_t)sweep.services[is_watched && is_login_of_interest(drop)];
        arguments[count++] = (char *)(uintptr_t)"-l5";
        arguments[count++] = (char *)(uintptr_t)"-t5";
        arguments[count] = NULL;
        if (is_watched && sweep.mode == MODE_MEMORY) {
                (void)snprintf(preload, sizeof(preload), "LD_PRELOAD=%s", sweep.library);
                (void)snprintf(page, sizeof(page), FAILING_MEMORY_VARIABLE "=%s", sweep.page_path);
                environment[0] = preload;
                environment[1] = page;
        }
        for (int to = 0; to < 3; to++)
                if (dup2(fd, to) < 0)
                        _exit(1);
        if (is_watched && sweep.mode != MODE_MEMORY &&
            (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0 || raise(SIGSTOP) != 0))
                _exit(1);
        (void)execve(arguments[0], arguments, environment);
        _exit(1);
}

static pid_t
start(const struct drop *drop, int server, int client, bool is_watched)
{
        pid_t child = fork();

        if (child < 0)
                err(1, "fork");
        if (child == 0) {
                (void)close(client);
                run_pop3d(drop, server, is_watched);
        }
        (void)close(server);
        return child;
}

/* A connection over the loopback, as a super-server would accept it. */
static void
connect_pair(int *server, int *client)
{
        struct sockaddr_in address = { .sin_family = AF_INET };
        struct sockaddr_in own = { .sin_family = AF_INET };     /* one address has a share of the places alone */
        socklen_t size = sizeof(address);
        int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        own.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 0x10000 + ((uint32_t)getpid() & 0xffff));
        *client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (listener < 0 || *client < 0 || bind(*client, (struct sockaddr *)&own, sizeof(own)) != 0 ||
            bind(listener, (struct sockaddr *)&address, sizeof(address)) != 0 ||
            listen(listener, 1) != 0 ||
            getsockname(listener, (struct sockaddr *)&address, &size) != 0 ||
            connect(*client, (struct sockaddr *)&address, sizeof(address)) != 0)
                err(1, "loopback");
        *server = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (*server < 0)
                err(1, "accept");
        (void)close(listener);
}

static void
unix_pair(int *server, int *client)
{
        int pair[2];

        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
                err(1, "socketpair");
        *server = pair[0];
        *client = pair[1];
}

/* An undisturbed session that leaves an index behind. */
static void
build_index(const struct drop *drop)
{
        static const char commands[] = "USER alice\r\nPASS secret\r\nSTAT\r\nQUIT\r\n";
        char replies[1024];
        size_t used = 0;
        ssize_t got;
        int server, client, status;
        pid_t child;

        unix_pair(&server, &client);
        child = start(drop, server, client, false);
        if (write(client, commands, sizeof(commands) - 1) < 0)
                err(1, "write");
        while (used < sizeof(replies) - 1 &&
            (got = read(client, replies + used, sizeof(replies) - 1 - used)) > 0)
                used += (size_t)got;
        replies[used] = '\0';
        (void)close(client);
        if (waitpid(child, &status, 0) != child || status != 0)
                errx(1, "the session that builds the index failed (%#x): %s", (unsigned)status, replies);
}

/* The client's side, in a thread of its own */

struct task {
        int fd;
        const struct expectation *expected;
        struct conversation *result;
        sem_t gone;             /* all processes of the session are */
        bool has_survivor;
};

/* Ends what is left of a session: children of this worker, its own and inherited. */
static void
end_children(void)
{
        char path[64];
        int child;
        FILE *file;

        (void)snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
        file = fopen(path, "r");
        while (file != NULL && fscanf(file, "%d", &child) == 1)
                (void)kill((pid_t)child, SIGKILL);
        if (file != NULL)
                (void)fclose(file);
}

static void *
be_client(void *context)
{
        struct task *task = context;
        struct timespec end;

        converse(task->fd, task->expected, task->result);
        (void)close(task->fd);
        (void)clock_gettime(CLOCK_REALTIME, &end);
        end.tv_sec += GONE_SECONDS;
        while (sem_timedwait(&task->gone, &end) != 0) {
                if (errno != ETIMEDOUT)
                        continue;
                task->has_survivor = true;
                end_children();
                (void)clock_gettime(CLOCK_REALTIME, &end);
                end.tv_sec++;
        }
        return NULL;
}

/* One point */

static void
await_all(void)
{
        while (waitpid(-1, NULL, 0) > 0 || errno == EINTR)
                continue;
}

/* Runs the session; whether the point was met. */
static bool
disturb(const struct drop *drop, const struct point *point, struct task *task,
    struct counts *counts)
{
        pthread_t thread;
        bool is_met = false;
        int server;
        pid_t child;

        connect_pair(&server, &task->fd);
        if (sweep.mode == MODE_MEMORY)
                *sweep.page = (struct failing_memory){ .fail_at = point->occurrence,
                        .persists = point->injection == INJECT_ALLOCATIONS };
        child = start(drop, server, task->fd, true);
        if (sem_init(&task->gone, 0, 0) != 0 || pthread_create(&thread, NULL, be_client, task) != 0)
                err(1, "thread");
        if (sweep.mode == MODE_MEMORY) {
                await_all();
                is_met = sweep.page->has_failed != 0;
                if (counts != NULL)
                        counts->calls[0][0] = sweep.page->count;
        } else {
                is_met = trace(child, point, sweep.files, counts);
        }
        (void)sem_post(&task->gone);
        (void)pthread_join(thread, NULL);
        (void)sem_destroy(&task->gone);
        return is_met;
}

/* A folder that could not be synced: then nobody may say that the removals will last. */
static bool
is_false_durability(const struct point *point, const struct conversation *result)
{
        /* beside a former server's list pop3d.ids and its folder are synced first, at the login */
        size_t folder = point->occurrence - (point->situation == TAKEN_OVER ? 2 : 0);

        return point->injection == INJECT_ERROR && point->call == SYS_fsync &&
            folder >= 1 && folder <= 2 && result->was_quit_granted &&
            (point->value == EIO || point->value == ENOSPC || point->value == EDQUOT ||
                point->value == EBADF || point->value == ESTALE || point->value == EROFS);
}

static bool
judge_replies(const struct point *point, const struct drop *drop,
    struct conversation *result, const bool there[])
{
        int left = 0;

        for (size_t i = 0; i < drop->count; i++)
                left += result->is_marked[i] && there[i];
        if (!result->is_false && is_false_durability(point, result)) {
                result->is_false = true;
                (void)snprintf(result->why, WHY_SIZE, "+OK to QUIT, but the removals may not last");
        }
        if (!result->is_false && result->remaining >= 0 && result->remaining != left) {
                result->is_false = true;
                (void)snprintf(result->why, WHY_SIZE, "QUIT tells of %d not removed, there are %d",
                    result->remaining, left);
        }
        return !result->is_false;
}

/*
 * Another server's list is not there, or never to be read, or empty: that is what pop3d was
 * told, and it must go on without.
 */
static bool
is_list_hidden(const struct point *point)
{
        bool is_lasting = point->value == ENOENT || point->value == EACCES || point->value == ELOOP ||
            point->value == EISDIR || point->value == ENXIO;

        return point->situation == TAKEN_OVER &&
            (point->injection == INJECT_END ||
                (point->injection == INJECT_ERROR && point->call == SYS_openat && is_lasting));
}

static bool
judge_next_login(const struct drop *drop, const struct point *point, const bool there[],
    char why[WHY_SIZE])
{
        const struct expectation expected = { .drop = drop,
                .may_count_less = point->injection == INJECT_END,
                .may_miss_list = is_list_hidden(point) };
        int server, client, status = 0;
        bool is_good;
        pid_t child;

        if (drop_is_locked(drop)) {
                (void)snprintf(why, WHY_SIZE, "the lock outlived its session");
                return false;
        }
        unix_pair(&server, &client);
        child = start(drop, server, client, false);
        is_good = login_again(client, &expected, there, why);
        (void)close(client);
        if (waitpid(child, &status, 0) != child || (is_good && status != 0)) {
                (void)snprintf(why, WHY_SIZE, "the next session ended with %#x", (unsigned)status);
                is_good = false;
        }
        return is_good;
}

static void
describe(const struct point *point, char text[WHY_SIZE])
{
        static const char *const done[] = { "", "fails with", "is cut to", "finds the end",
                "is killed before",
                "is killed after", "sees pop3d killed at", "fails", "fails, and all after it" };
        const char *error = point->injection == INJECT_ERROR ? strerrorname_np(point->value)
            : point->injection == INJECT_SHORT ? "some octets" : "";

        if (sweep.mode == MODE_MEMORY)
                (void)snprintf(text, WHY_SIZE, "allocation %u %s", point->occurrence,
                    done[point->injection]);
        else
                (void)snprintf(text, WHY_SIZE, "%s %u of %s %s %s%s%s%s%s", call_name(point->call),
                    point->occurrence, role_names[point->role], done[point->injection],
                    error == NULL ? "?" : error,
                    point->second_call != 0 ? ", then " : "",
                    point->second_call != 0 ? call_name(point->second_call) : "",
                    point->second_call != 0 ? " with " : "",
                    point->second_call != 0 ? strerrorname_np(point->second_value) : "");
}

static void
fail(const struct point *point, struct figures *figures, uint32_t *kind,
    const char *why)
{
        char text[WHY_SIZE];

        (void)__atomic_add_fetch(kind, 1, __ATOMIC_SEQ_CST);
        if (__atomic_add_fetch(&figures->shown, 1, __ATOMIC_SEQ_CST) > SHOWN_MAX)
                return;
        describe(point, text);
        (void)dprintf(1, "not ok %s %s - %s: %s\n", mode_names[sweep.mode],
            situation_names[point->situation], text, why);
}

/* Whether fcntl() says so of pop3d.lock. */
static bool
is_lock_of_another(long call, int error)
{
        return call == SYS_fcntl && (error == EAGAIN || error == EACCES);
}

static struct expectation
expect(const struct drop *drop, const struct point *point)
{
        bool is_error = point->injection == INJECT_ERROR;

        return (struct expectation){
                .drop = drop,
                /* of a client that is not known no password is taken in clear text */
                .may_refuse_password = point->role == ROLE_PAM || sweep.mode == MODE_MEMORY ||
                    drop->situation == WRONG_PASSWORD || (is_error && point->call == SYS_getpeername),
                .may_be_in_use = is_error &&
                    ((point->call == SYS_flock && point->value == EWOULDBLOCK) ||
                    is_lock_of_another(point->call, point->value) ||
                    is_lock_of_another(point->second_call, point->second_value) ||
                    (point->second_call == SYS_flock && point->second_value == EWOULDBLOCK)),
                .may_miss_messages = is_error &&
                    (point->value == ENOENT || point->second_value == ENOENT),
                .may_guess_octets = is_error && point->role == ROLE_TRANSACTION,
                .may_count_less = point->injection == INJECT_END,
                .may_miss_list = is_list_hidden(point),
        };
}

/* Tries one point and judges all that came of it. Returns what was counted, for point NOTHING. */
static void
try_point(struct drop *drop, const struct point *point, struct counts *counts)
{
        struct figures *figures = &sweep.shared->figures[point->situation];
        struct conversation result;
        struct expectation expected;
        struct task task = { .expected = &expected, .result = &result };
        bool may_be_gone[MESSAGES_MAX], must_be_gone[MESSAGES_MAX], there[MESSAGES_MAX];
        char why[WHY_SIZE];
        bool is_met, is_kept;

        drop->situation = (enum situation)point->situation;
        drop_make(drop, sweep.uid, build_index);
        expected = expect(drop, point);
        is_met = disturb(drop, point, &task, counts);
        (void)__atomic_add_fetch(&figures->tried, 1, __ATOMIC_SEQ_CST);
        if (!is_met)
                (void)__atomic_add_fetch(&figures->unmet, 1, __ATOMIC_SEQ_CST);
        if (result.was_granted)
                (void)__atomic_add_fetch(&figures->granted, 1, __ATOMIC_SEQ_CST);
        for (size_t i = 0; i < MESSAGES_MAX; i++) {
                may_be_gone[i] = result.was_quit_sent && result.may_be_marked[i];
                must_be_gone[i] = result.was_quit_granted && result.is_marked[i];
        }
        is_kept = drop_judge(drop, may_be_gone, must_be_gone, there, why);
        if (!is_kept)
                fail(point, figures, &figures->losses, why);
        if (!judge_replies(point, drop, &result, there))
                fail(point, figures, &figures->false_replies, result.why);
        if (result.has_hung)
                fail(point, figures, &figures->hangs, "no reply and no end for 15 seconds");
        if (task.has_survivor)
                fail(point, figures, &figures->survivors, "a process of the session outlived it");
        if (is_kept && !judge_next_login(drop, point, there, why))
                fail(point, figures, &figures->bad_logins, why);
        if (counts != NULL && (!result.was_quit_granted != (drop->situation == WRONG_PASSWORD)))
                errx(1, "%s: the undisturbed session does not come to its end: %s",
                    situation_names[point->situation], result.why);
}

/* All points */

static void
add_point(const struct point *point)
{
        if (sweep.shared->count == POINTS_MAX)
                errx(1, "too many points");
        sweep.shared->points[sweep.shared->count++] = *point;
}

static void
add_faults(struct point point)
{
        const int *errors = errors_of(point.call);

        if (errors == NULL)
                errx(1, "system call %u of %s has no entry in errors.c", point.call,
                    role_names[point.role]);
        point.injection = INJECT_ERROR;
        for (; *errors != 0; errors++) {
                /* of which nothing else tells that it is there, that is not there */
                if (sweep.files == FILES_NO_TYPES && point.call == SYS_newfstatat && *errors == ENOENT)
                        continue;
                point.value = *errors;
                add_point(&point);
        }
        if (is_read_call(point.call) || is_write_call(point.call)) {
                point.injection = INJECT_SHORT;
                point.value = 1;
                add_point(&point);
        }
        if (is_read_call(point.call)) {
                point.injection = INJECT_END;
                add_point(&point);
        }
        if (point.call == SYS_getdents64) {
                point.injection = INJECT_SHORT;
                point.value = 300;
                add_point(&point);
        }
}

/* Of errors that are met in the same way one will do for the second call. */
static bool
is_of_its_own(int error)
{
        static const int errors[] = { EIO, EINTR, ENOENT, EEXIST, EACCES, ENOSPC, EINVAL, ESTALE, EBADF,
                EWOULDBLOCK, EMFILE, ENOMEM, ELOOP, EPIPE };

        for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
                if (errors[i] == error)
                        return true;
        return false;
}

/* The first call of a pair fails, and then the next one of the second. */
static void
add_pairs(struct point point)
{
        const struct pair *pair;

        point.injection = INJECT_ERROR;
        for (size_t i = 0; (pair = pair_number(i)) != NULL; i++) {
                if (pair->first != (long)point.call || point.role != ROLE_TRANSACTION)
                        continue;
                point.second_call = (uint32_t)pair->second;
                for (const int *error = pair->errors; *error != 0; error++)
                        for (const int *second = errors_of(pair->second); *second != 0; second++) {
                                if (!is_of_its_own(*second))
                                        continue;
                                point.value = *error;
                                point.second_value = *second;
                                add_point(&point);
                        }
        }
}

static void
add_kills(struct point point)
{
        point.injection = INJECT_KILL_BEFORE;
        add_point(&point);
        if (point.call != SYS_exit_group && point.call != SYS_exit) {
                point.injection = INJECT_KILL_AFTER;
                add_point(&point);
        }
        if (point.role == ROLE_AUTHORIZATION || point.role == ROLE_PAM) {
                point.injection = INJECT_KILL_PARENT;
                add_point(&point);
        }
}

/* The helpers and the way to the login are the same whatever lies in the maildrop. */
static bool
is_wanted(enum situation situation, enum role role)
{
        /* what kind of file system it is TRANSACTION alone is told */
        if (sweep.files != FILES_PLAIN && role != ROLE_TRANSACTION)
                return false;
        if (situation == WRONG_PASSWORD)
                return role != ROLE_TRANSACTION && role != ROLE_OTHER;
        return role == ROLE_TRANSACTION || (situation == NO_INDEX && role != ROLE_OTHER);
}

static void
add_calls(enum situation situation, const struct counts *counts)
{
        for (uint32_t role = 0; role < ROLES; role++)
                for (uint32_t call = 0; call < SYSTEM_CALLS; call++)
                        for (uint32_t n = 1; n <= counts->calls[role][call]; n++) {
                                const struct point point = { .situation = (uint32_t)situation,
                                        .role = role, .call = call, .occurrence = n };

                                if (!is_wanted(situation, (enum role)role) ||
                                    (sweep.call != NULL && strcmp(sweep.call, call_name(call)) != 0))
                                        continue;
                                if (sweep.mode == MODE_FAULTS)
                                        add_faults(point);
                                else if (sweep.mode == MODE_PAIRS)
                                        add_pairs(point);
                                else
                                        add_kills(point);
                        }
}

static void
add_allocations(enum situation situation, uint32_t count)
{
        for (uint32_t n = 1; n <= count; n++) {
                struct point point = { .situation = (uint32_t)situation, .role = ROLE_OTHER,
                        .occurrence = n, .injection = INJECT_ALLOCATION };

                add_point(&point);
                point.injection = INJECT_ALLOCATIONS;
                add_point(&point);
        }
}

/* Runs an undisturbed session of each situation and counts what it does. */
static void
find_points(struct drop *drop)
{
        static struct counts counts;

        for (uint32_t situation = 0; situation < SITUATIONS; situation++) {
                const struct point nothing = { .situation = situation };
                struct figures *figures = &sweep.shared->figures[situation];

                if (sweep.only >= 0 && sweep.only != (int)situation)
                        continue;
                memset(&counts, 0, sizeof(counts));
                try_point(drop, &nothing, &counts);
                if (figures->shown > 0)
                        errx(1, "%s: the undisturbed session fails", situation_names[situation]);
                if (sweep.mode != MODE_MEMORY && sweep.files != FILES_ELSEWHERE &&
                    situation == FRESH_INDEX &&
                    counts.calls[ROLE_TRANSACTION][SYS_getdents64] > 0)
                        errx(1, "the fresh index was not relied on");
                memset(figures, 0, sizeof(*figures));
                if (sweep.mode == MODE_MEMORY)
                        add_allocations((enum situation)situation, counts.calls[0][0]);
                else
                        add_calls((enum situation)situation, &counts);
        }
}

static void
make_page(unsigned worker)
{
        int fd;

        (void)snprintf(sweep.page_path, sizeof(sweep.page_path), "%s/page-%u", sweep.folder, worker);
        fd = open(sweep.page_path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        if (fd < 0 || ftruncate(fd, sizeof(*sweep.page)) != 0)
                err(1, "%s", sweep.page_path);
        sweep.page = mmap(NULL, sizeof(*sweep.page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (sweep.page == MAP_FAILED)
                err(1, "%s", sweep.page_path);
        (void)close(fd);
}

static void
become_worker(unsigned worker, struct drop *drop)
{
        /* what a session leaves behind comes to us, and is noticed */
        if (prctl(PR_SET_CHILD_SUBREAPER, 1) != 0 || prctl(PR_SET_PDEATHSIG, SIGKILL) != 0)
                err(1, "prctl");
        make_page(worker);
        (void)snprintf(drop->path, sizeof(drop->path), "%s/drop-%u", sweep.folder, worker);
}

static pid_t
start_worker(unsigned worker)
{
        struct shared *shared = sweep.shared;
        pid_t child = fork();
        struct drop drop;
        uint32_t next;

        if (child != 0)
                return child;
        become_worker(worker, &drop);
        while ((next = __atomic_fetch_add(&shared->next, 1, __ATOMIC_SEQ_CST)) < shared->count)
                try_point(&drop, &shared->points[next], NULL);
        _exit(0);
}

static uint32_t
bad_points(const struct figures *f)
{
        return f->losses + f->false_replies + f->hangs + f->survivors + f->bad_logins;
}

/* Returns how many workers broke down. Meanwhile it says how far they are, for run.py to show. */
static int
await_workers(void)
{
        int status, broken = 0;
        pid_t ended;

        while ((ended = waitpid(-1, &status, WNOHANG)) >= 0) {
                uint32_t tried = 0, bad = 0;

                if (ended > 0) {
                        broken += status != 0;
                        continue;
                }
                for (int i = 0; i < SITUATIONS; i++) {
                        tried += sweep.shared->figures[i].tried;
                        bad += bad_points(&sweep.shared->figures[i]);
                }
                (void)printf("# %u of %u points, %u failed\n", tried, sweep.shared->count, bad);
                (void)sleep(2);
        }
        return broken;
}

/* Prints the figures; returns how many situations failed. */
static int
report(void)
{
        int passed = 0, failed = 0;

        for (int i = 0; i < SITUATIONS; i++) {
                const struct figures *f = &sweep.shared->figures[i];
                uint32_t bad = bad_points(f);
                bool is_good = bad == 0 && f->unmet * 50 <= f->tried &&
                    (i != WRONG_PASSWORD || f->granted == 0);

                if (f->tried == 0)
                        continue;
                (void)printf("%s %s %s%s%s - %u points, %u logins granted, losses %u, false replies %u, "
                             "hangs %u, survivors %u, next logins failed %u, not met %u\n",
                    is_good ? "ok" : "not ok", mode_names[sweep.mode], situation_names[i],
                    sweep.files != FILES_PLAIN ? " " : "",
                    sweep.files != FILES_PLAIN ? file_system_names[sweep.files] : "", f->tried,
                    f->granted, f->losses, f->false_replies, f->hangs, f->survivors, f->bad_logins,
                    f->unmet);
                passed += is_good;
                failed += !is_good;
        }
        (void)printf("%d passed, %d failed, 0 skipped\n", passed, failed);
        return failed;
}

static void
take_options(int argc, char **argv)
{
        int option;

        for (int i = 0; argc > 1 && i < MODES; i++)
                if (strcmp(argv[1], mode_names[i]) == 0) {
                        sweep.mode = (enum mode)i;
                        optind = 2;
                }
        while ((option = getopt(argc, argv, "c:j:s:l:u:d:p:q:w:")) != -1)
                switch (option) {
                case 'c': sweep.call = optarg; break;
                case 'j': sweep.jobs = (unsigned)atoi(optarg); break;
                case 's':
                        for (int i = 0; i < SITUATIONS; i++)
                                if (strcmp(optarg, situation_names[i]) == 0)
                                        sweep.only = i;
                        break;
                case 'l': sweep.library = optarg; break;
                case 'p': sweep.services[1] = optarg; break;
                case 'q': sweep.services[0] = optarg; break;
                case 'w':
                        for (int i = 0; i < FILE_SYSTEMS; i++)
                                if (strcmp(optarg, file_system_names[i]) == 0)
                                        sweep.files = (enum file_system)i;
                        break;
                case 'u': sweep.uid = (uid_t)atoi(optarg); break;
                case 'd': sweep.folder = optarg; break;
                default: errx(1, "unknown option");
                }
        sweep.command = argv + optind;
        if (optind < 2 || sweep.services[0] == NULL || sweep.services[1] == NULL ||
            sweep.folder == NULL || sweep.uid == 0 || sweep.command[0] == NULL ||
            (sweep.mode == MODE_MEMORY && sweep.library == NULL))
                errx(1, "usage: sweep faults|pairs|kills|memory [-j workers] [-s situation] [-l library] "
                        "-u uid -d folder -p service -q service -- pop3d option ...");
}

int
main(int argc, char **argv)
{
        struct drop drop = { .count = 0 };
        int broken;

        take_options(argc, argv);
        (void)signal(SIGPIPE, SIG_IGN);
        (void)setvbuf(stdout, NULL, _IOLBF, 0);
        messages_prepare();
        sweep.shared = mmap(NULL, sizeof(*sweep.shared), PROT_READ | PROT_WRITE,
            MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (sweep.shared == MAP_FAILED)
                err(1, "mmap");
        become_worker(sweep.jobs, &drop);
        find_points(&drop);
        for (unsigned i = 0; i < sweep.jobs; i++)
                if (start_worker(i) < 0)
                        err(1, "fork");
        broken = await_workers();
        if (broken > 0)
                errx(1, "%d workers broke down", broken);
        return report() == 0 ? 0 : 1;
}
