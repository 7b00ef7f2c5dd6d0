/*
 * pam_fence.c - a PAM module that looks for the client, and whether its process may be looked into.
 * Runs in:   the PAM helper of the pop3d under test.
 * May touch: the file that its argument names.
 *
 * Notes, a line each: whether the process is dumpable, its core limit, its capabilities and those of
 * a program that it starts, what each descriptor is, and what became of trying to speak to the client through every one of them.
 */
#include <dirent.h>
#include <security/pam_modules.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

static void
note_descriptors(FILE *file)
{
        DIR *directory = opendir("/proc/self/fd");
        const struct dirent *entry;

        while (directory != NULL && (entry = readdir(directory)) != NULL) {
                char path[300], target[300];
                ssize_t length;
                int fd = atoi(entry->d_name);

                (void)snprintf(path, sizeof(path), "/proc/self/fd/%s", entry->d_name);
                length = readlink(path, target, sizeof(target) - 1);
                if (entry->d_name[0] == '.' || length < 0 || fd == fileno(file) ||
                    fd == dirfd(directory))
                        continue;
                target[length] = '\0';
                fprintf(file, "descriptor=%d %s\n", fd, target);
        }
        if (directory != NULL)
                (void)closedir(directory);
}

/* The lines of capabilities in a file of /proc. */
static void
note_capabilities(FILE *file, FILE *status)
{
        char line[256];

        while (status != NULL && fgets(line, sizeof(line), status) != NULL)
                if (strncmp(line, "Cap", 3) == 0)
                        fputs(line, file);
        if (status != NULL)
                (void)fclose(status);
}

/* As pam_exec does: a program that is started as root has what the bounding set leaves it. */
static void
note_program(FILE *file)
{
        FILE *program = popen("exec sed s/^/program-/ /proc/self/status", "r");
        char line[256];

        while (program != NULL && fgets(line, sizeof(line), program) != NULL)
                if (strncmp(line, "program-CapPrm", 14) == 0)
                        fputs(line, file);
        if (program != NULL)
                (void)pclose(program);
}

PAM_EXTERN int
pam_sm_authenticate(pam_handle_t *pam, int flags, int count, const char **arguments)
{
        struct rlimit core = { 1, 1 };
        FILE *file = count == 1 ? fopen(arguments[0], "w") : NULL;

        if (file == NULL)
                return PAM_SYSTEM_ERR;
        (void)getrlimit(RLIMIT_CORE, &core);
        fprintf(file, "dumpable=%d\ncore=%llu\n", prctl(PR_GET_DUMPABLE, 0, 0, 0, 0),
            (unsigned long long)core.rlim_max);
        note_descriptors(file);
        note_capabilities(file, fopen("/proc/self/status", "r"));
        note_program(file);
        (void)fclose(file);
        return PAM_SUCCESS;
}

PAM_EXTERN int
pam_sm_setcred(pam_handle_t *pam, int flags, int count, const char **arguments)
{
        return PAM_SUCCESS;
}
