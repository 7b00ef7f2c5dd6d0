/*
 * trace.c - follows a session from system call to system call, and disturbs one.
 * Runs in:   the sweep, which is the session's tracer.
 * May touch: the traced processes; x86-64 only.
 *
 * A call that is to fail is replaced by one that every filter of pop3d allows
 * and that does nothing; so the filters stay in force while calls fail.
 */
#include "sweep.h"

#include <dirent.h>
#include <elf.h>
#include <err.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>

const char *const file_system_names[FILE_SYSTEMS] = { "plain", "no-flags", "no-locks", "no-sync",
        "elsewhere", "no-types" };
const char *const role_names[ROLES] = { "pop3d", "AUTHORIZATION", "PAM", "TRANSACTION", "another" };

enum { PROCESSES_MAX = 16 };

struct process {
        pid_t pid;
        enum role role;
        bool is_known;          /* its role is */
        bool is_held;           /* until then */
        bool is_inside;         /* of a call */
        bool is_replaced;       /* that call, by one that does nothing */
        bool is_shortened;
        bool is_overruled;      /* done, but told to have failed */
        struct user_regs_struct before;
        long result;            /* of the replaced call */
};

struct tracer {
        const struct point *point;
        enum file_system files;
        struct counts own;
        pid_t main;
        struct process processes[PROCESSES_MAX];
        size_t count;
        bool has_pam;           /* it was forked */
        bool is_done;           /* the point was met */
        bool is_second_done;    /* and the second call of a pair */
};

static struct process *
process_of(struct tracer *tracer, pid_t pid)
{
        for (size_t i = 0; i < tracer->count; i++)
                if (tracer->processes[i].pid == pid)
                        return &tracer->processes[i];
        if (tracer->count == PROCESSES_MAX)
                errx(1, "more processes than a session has");
        tracer->processes[tracer->count] = (struct process){ .pid = pid, .role = ROLE_OTHER };
        return &tracer->processes[tracer->count++];
}

/*
 * Until the point is met all that lead to it are followed. PAM is followed to its end, for it
 * would wait before it refuses; but not when only TRANSACTION is looked at.
 */
static bool
is_of_interest(const struct tracer *tracer, const struct process *process)
{
        const struct point *point = tracer->point;

        if (point->injection == INJECT_NOTHING || process->is_replaced)
                return true;
        if (process->role == ROLE_PAM && point->role != ROLE_TRANSACTION)
                return true;
        /* a file system stays what it is */
        if (tracer->files != FILES_PLAIN)
                return process->role == ROLE_PARENT || process->role == ROLE_TRANSACTION;
        return (!tracer->is_done || (point->second_call != 0 && !tracer->is_second_done)) &&
            (process->role == ROLE_PARENT || process->role == (enum role)point->role);
}

/* TRANSACTION begins after PAM has been forked: no need to stop pop3d at each call before. */
static bool
is_before_it(const struct tracer *tracer, const struct process *process)
{
        return tracer->point->injection != INJECT_NOTHING && process->role == ROLE_PARENT &&
            tracer->point->role == ROLE_TRANSACTION && !tracer->has_pam;
}

static void
go_on(struct tracer *tracer, struct process *process, int number)
{
        process->is_held = false;
        (void)ptrace(!is_of_interest(tracer, process) ? PTRACE_DETACH
                : is_before_it(tracer, process) ? PTRACE_CONT : PTRACE_SYSCALL, process->pid, NULL,
            (long)number);
}

/* The first child of pop3d is AUTHORIZATION, the second PAM; children of PAM's are modules'. */
static void
give_role(struct tracer *tracer, pid_t parent, pid_t child)
{
        static const enum role order[] = { ROLE_AUTHORIZATION, ROLE_PAM };
        size_t helpers = 0;
        struct process *process = process_of(tracer, child);

        for (size_t i = 0; i < tracer->count; i++)
                helpers += tracer->processes[i].role == ROLE_AUTHORIZATION ||
                    tracer->processes[i].role == ROLE_PAM;
        process->role = parent == tracer->main && helpers < 2 ? order[helpers] : ROLE_OTHER;
        process->is_known = true;
        tracer->has_pam |= process->role == ROLE_PAM;
        /* the child may have stopped before its parent told of it */
        if (process->is_held)
                go_on(tracer, process, 0);
}

static void
replace(struct process *process, const struct user_regs_struct *registers, long result)
{
        struct user_regs_struct changed = *registers;

        changed.orig_rax = SYS_clock_gettime;
        changed.rdi = changed.rsi = 0;
        process->is_replaced = true;
        process->before = *registers;
        process->result = result;
        (void)ptrace(PTRACE_SETREGS, process->pid, NULL, &changed);
}

static void
shorten(struct process *process, const struct user_regs_struct *registers,
    unsigned long long octets)
{
        struct user_regs_struct changed = *registers;

        if (registers->rdx <= octets)
                return;
        changed.rdx = octets;
        process->is_shortened = true;
        process->before = *registers;
        (void)ptrace(PTRACE_SETREGS, process->pid, NULL, &changed);
}

/* Does at the point what is to be done when the call begins. */
static void
inject(struct tracer *tracer, struct process *process,
    const struct user_regs_struct *registers)
{
        const struct point *point = tracer->point;

        switch ((enum injection)point->injection) {
        case INJECT_ERROR:
                /* the kernel's brk has no error: it answers with where the end is */
                if (point->call == SYS_close) {
                        /* Linux closes the descriptor even where it says that it failed */
                        process->is_overruled = true;
                        process->result = -point->value;
                } else if (point->call == SYS_brk) {
                        struct user_regs_struct changed = *registers;

                        changed.rdi = 0;
                        process->is_shortened = true;
                        process->before = *registers;
                        (void)ptrace(PTRACE_SETREGS, process->pid, NULL, &changed);
                } else {
                        replace(process, registers, -point->value);
                }
                break;
        case INJECT_END: replace(process, registers, 0); break;
        case INJECT_SHORT: shorten(process, registers, (unsigned long long)point->value); break;
        case INJECT_KILL_BEFORE: (void)kill(process->pid, SIGKILL); break;
        case INJECT_KILL_PARENT: (void)kill(tracer->main, SIGKILL); break;
        default: break;
        }
        if (!process->is_replaced && !process->is_shortened && !process->is_overruled &&
            point->injection != INJECT_KILL_AFTER)
                tracer->is_done = true;
}

static bool
is_point(const struct tracer *tracer, const struct process *process, long call)
{
        const struct point *point = tracer->point;

        return point->injection != INJECT_NOTHING && !tracer->is_done &&
            process->role == (enum role)point->role && call == (long)point->call &&
            tracer->own.calls[process->role][call] == point->occurrence;
}

static bool
is_directory(const struct process *process, unsigned long long fd)
{
        char path[64];
        struct stat status;

        (void)snprintf(path, sizeof(path), "/proc/%d/fd/%llu", (int)process->pid, fd);
        return stat(path, &status) == 0 && S_ISDIR(status.st_mode);
}

/* What this kind of file system answers to the call; 0: whatever the real one does. */
static int
answer_of(enum file_system files, const struct process *process,
    const struct user_regs_struct *registers)
{
        switch (files) {
        case FILES_NO_FLAGS:
                return registers->orig_rax == SYS_renameat2 && registers->r8 != 0 ? EINVAL : 0;
        case FILES_NO_LOCKS:
                return registers->orig_rax == SYS_flock && is_directory(process, registers->rdi) ?
                    ENOLCK : 0;
        case FILES_ELSEWHERE:
                return registers->orig_rax == SYS_fstatfs ? ENOSYS : 0;
        case FILES_NO_SYNC:
                return registers->orig_rax == SYS_fsync && is_directory(process, registers->rdi) ?
                    EINVAL : 0;
        default:
                return 0;
        }
}

/* Takes the types out of what getdents64 told. */
static void
forget_types(const struct process *process, unsigned long long count)
{
        static char data[1 << 18];
        struct iovec here = { data, (size_t)count };
        struct iovec there = { (void *)(uintptr_t)process->before.rsi, (size_t)count };

        if (count > sizeof(data) ||
            process_vm_readv(process->pid, &here, 1, &there, 1, 0) != (ssize_t)count)
                errx(1, "cannot see what getdents64 told");
        for (size_t at = 0; at < count;) {
                struct dirent64 *entry = (void *)(data + at);

                entry->d_type = DT_UNKNOWN;
                at += entry->d_reclen;
        }
        if (process_vm_writev(process->pid, &here, 1, &there, 1, 0) != (ssize_t)count)
                errx(1, "cannot change what getdents64 told");
}

/* The second of two calls that belong together, once the first has failed. */
static bool
is_second(const struct tracer *tracer, const struct process *process, long call)
{
        const struct point *point = tracer->point;

        return point->second_call != 0 && tracer->is_done && !tracer->is_second_done &&
            process->role == (enum role)point->role && call == (long)point->second_call;
}

static void
on_entry(struct tracer *tracer, struct process *process)
{
        struct user_regs_struct registers;
        long call;

        if (ptrace(PTRACE_GETREGS, process->pid, NULL, &registers) != 0)
                return;
        call = (long)registers.orig_rax;
        process->before = registers;
        if (call < 0 || call >= SYSTEM_CALLS)
                return;
        tracer->own.calls[process->role][call]++;
        if (is_point(tracer, process, call)) {
                inject(tracer, process, &registers);
        } else if (is_second(tracer, process, call)) {
                replace(process, &registers, -tracer->point->second_value);
                tracer->is_second_done = true;
        } else if (process->role == ROLE_TRANSACTION &&
            answer_of(tracer->files, process, &registers) != 0) {
                replace(process, &registers, -answer_of(tracer->files, process, &registers));
        } else if (process->role == ROLE_PAM && call == SYS_clock_nanosleep) {
                replace(process, &registers, 0);
        }
}

static void
on_exit_of_call(struct tracer *tracer, struct process *process)
{
        struct user_regs_struct registers;
        long call = (long)process->before.orig_rax;
        bool is_met;

        if (ptrace(PTRACE_GETREGS, process->pid, NULL, &registers) != 0)
                return;
        is_met = call >= 0 && call < SYSTEM_CALLS && is_point(tracer, process, call);
        if (process->is_replaced || process->is_shortened || process->is_overruled) {
                if (!process->is_shortened)
                        registers.rax = (unsigned long long)process->result;
                registers.rdi = process->before.rdi;
                registers.rsi = process->before.rsi;
                registers.rdx = process->before.rdx;
                (void)ptrace(PTRACE_SETREGS, process->pid, NULL, &registers);
                process->is_replaced = process->is_shortened = process->is_overruled = false;
        } else if (call == SYS_getdents64 && tracer->files == FILES_NO_TYPES &&
            process->role == ROLE_TRANSACTION && (long long)registers.rax > 0) {
                forget_types(process, registers.rax);
        } else if (call == SYS_setresuid && registers.rax == 0 && process->role == ROLE_PARENT) {
                process->role = ROLE_TRANSACTION;
                return;
        }
        if (is_met && tracer->point->injection == INJECT_KILL_AFTER)
                (void)kill(process->pid, SIGKILL);
        tracer->is_done |= is_met;
}

/* A stop at the beginning or end of a call. */
static void
on_call(struct tracer *tracer, struct process *process)
{
        struct __ptrace_syscall_info info;

        if (ptrace(PTRACE_GET_SYSCALL_INFO, process->pid, (void *)sizeof(info), &info) <= 0)
                return;
        if (info.op == PTRACE_SYSCALL_INFO_ENTRY) {
                process->is_inside = true;
                on_entry(tracer, process);
        } else if (info.op == PTRACE_SYSCALL_INFO_EXIT) {
                if (process->is_inside)
                        on_exit_of_call(tracer, process);
                process->is_inside = false;
        }
}

static void
on_stop(struct tracer *tracer, pid_t pid, int status)
{
        struct process *process = process_of(tracer, pid);
        int number = WSTOPSIG(status), event = status >> 16;
        unsigned long child;

        if (event == PTRACE_EVENT_FORK || event == PTRACE_EVENT_VFORK || event == PTRACE_EVENT_CLONE) {
                if (ptrace(PTRACE_GETEVENTMSG, pid, NULL, &child) == 0)
                        give_role(tracer, pid, (pid_t)child);
                number = 0;
        } else if (!process->is_known) {
                process->is_held = true;
                return;
        } else if (number == (SIGTRAP | 0x80)) {
                on_call(tracer, process);
                number = 0;
        } else if (event != 0 || number == SIGSTOP || number == SIGTRAP) {
                /* a new process stops by itself; an exec traps */
                number = 0;
        }
        go_on(tracer, process, number);
}

bool
trace(pid_t main, const struct point *point, enum file_system files, struct counts *counts)
{
        static struct tracer tracer;
        const long options = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK |
            PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL;
        int status;
        pid_t pid;

        memset(&tracer, 0, sizeof(tracer));
        tracer.point = point;
        tracer.files = files;
        tracer.main = main;
        process_of(&tracer, main)->role = ROLE_PARENT;
        process_of(&tracer, main)->is_known = true;
        if (waitpid(main, &status, 0) != main || !WIFSTOPPED(status) ||
            ptrace(PTRACE_SETOPTIONS, main, NULL, options) != 0 ||
            ptrace(PTRACE_SYSCALL, main, NULL, NULL) != 0)
                err(1, "cannot trace");
        while ((pid = waitpid(-1, &status, __WALL)) > 0 || errno == EINTR) {
                if (pid > 0 && WIFSTOPPED(status))
                        on_stop(&tracer, pid, status);
        }
        if (counts != NULL)
                *counts = tracer.own;
        return tracer.is_done;
}
