/*
 * reports.c - a report of a sanitizer reaches the tests from every process of a session.
 *
 * Runs in:   each process of a pop3d that `make sanitize` built.
 * May touch: the file PROGRAM.reports beside the program, which the tests made.
 *
 * The PAM helper's standard error is /dev/null, and AUTHORIZATION can open no file. So the
 * file is mapped before main() runs. The memory stays shared through fork(), chroot(),
 * setuid() and all fences, and writing to it takes no system call.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { REPORT_SIZE = 4096 };

/* The file: how many reports there were, then the texts of as many as have room. */
static struct {
        uint32_t count;
        char text[][REPORT_SIZE];
} *file;
static size_t room;
static char *own;               /* what this process reports */

/* The sanitizers' interface; the last function of it has no header everywhere. */
void __asan_on_error(void);
void __asan_set_error_report_callback(void (*callback)(const char *report));
const char *__asan_get_report_description(void);
void __ubsan_on_report(void);
void __ubsan_get_current_report_data(const char **kind, const char **message, const char **path,
    unsigned *line, unsigned *column, char **address);

/* A process reports once: it ends then. What it says later replaces what it said first. */
static void
report(const char *kind, const char *text, const char *path, unsigned line)
{
        uint32_t number;

        if (file == NULL)
                return;
        if (own == NULL) {
                number = __atomic_fetch_add(&file->count, 1, __ATOMIC_SEQ_CST);
                own = number < room ? file->text[number] : NULL;
        }
        if (own != NULL)
                (void)snprintf(own, REPORT_SIZE, "process %d: %s: %s %s:%u", (int)getpid(), kind, text,
                    path, line);
}

static void
take_whole_report(const char *text)
{
        report("AddressSanitizer", text, "", 0);
}

/* Called before the address sanitizer says anything, which might fail. */
void
__asan_on_error(void)
{
        report("AddressSanitizer", __asan_get_report_description(), "", 0);
}

void
__ubsan_on_report(void)
{
        const char *kind, *message, *path;
        unsigned line, column;
        char *address;

        __ubsan_get_current_report_data(&kind, &message, &path, &line, &column, &address);
        report(kind, message, path, line);
}

__attribute__((constructor)) static void
map_reports(void)
{
        char path[4096] = "";
        ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - 16);
        struct stat status;
        void *memory;
        int fd;

        if (length <= 0)
                return;
        (void)snprintf(path + length, sizeof(path) - (size_t)length, ".reports");
        fd = open(path, O_RDWR | O_CLOEXEC);
        if (fd < 0)
                return;
        if (fstat(fd, &status) == 0 && status.st_size > REPORT_SIZE) {
                memory = mmap(NULL, (size_t)status.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
                file = memory == MAP_FAILED ? NULL : memory;
                room = (size_t)(status.st_size - (off_t)sizeof(file->count)) / REPORT_SIZE;
        }
        (void)close(fd);
        __asan_set_error_report_callback(take_whole_report);
}
