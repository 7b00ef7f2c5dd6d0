/*
 * mount.c - how a file system was mounted.
 * Runs in:   the check (-c) alone, as the mail user.
 * May touch: /proc/self/mountinfo, and the command lines of processes.
 */
#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "command.h"
#include "internal.h"

enum { WORDS_SIZE = 2048 };

/* Reads the words of a process, each of which ends with a NUL; how many octets they are. */
static size_t
read_command(const char *process, char words[WORDS_SIZE])
{
        char path[64];
        size_t length = 0;
        FILE *file;

        (void)snprintf(path, sizeof(path), "/proc/%.20s/cmdline", process);
        file = fopen(path, "re");
        if (file != NULL) {
                length = fread(words, 1, WORDS_SIZE - 1, file);
                (void)fclose(file);
        }
        words[length] = '\0';
        return length;
}

static bool
has_word(const char *words, size_t length, const char *wanted)
{
        for (size_t at = 0; at < length; at += strlen(words + at) + 1)
                if (strcmp(words + at, wanted) == 0)
                        return true;
        return false;
}

/* Adds the words to the options: --name=value, -o name=value,... */
static void
add_words(struct mount *mount, const char *words, size_t length)
{
        for (size_t at = 0; at < length; at += strlen(words + at) + 1) {
                const char *word = words + at;
                size_t used = strlen(mount->options);

                word += strncmp(word, "-o", 2) == 0 ? 2 : strspn(word, "-");
                (void)snprintf(mount->options + used, sizeof(mount->options) - used, "%s,", word);
        }
}

/* Of FUSE's options the kernel tells few. The rest stands in the command line of the server, beside its folder. */
static void
add_server(struct mount *mount)
{
        DIR *processes = opendir("/proc");
        const struct dirent *process;
        char words[WORDS_SIZE];

        while (processes != NULL && (process = readdir(processes)) != NULL) {
                size_t length = isdigit((unsigned char)process->d_name[0])
                    ? read_command(process->d_name, words) : 0;

                if (has_word(words, length, mount->point))
                        add_words(mount, words, length);
        }
        if (processes != NULL)
                (void)closedir(processes);
}

void
mount_find(int directory, struct mount *mount)
{
        char line[4096], wanted[32], *words, *end;
        FILE *mounts = fopen("/proc/self/mountinfo", "re");
        struct stat status = { 0 };

        *mount = (struct mount){ .kind = "" };
        (void)fstat(directory, &status);
        (void)snprintf(wanted, sizeof(wanted), " %u:%u ", major(status.st_dev),
            minor(status.st_dev));
        while (mounts != NULL && fgets(line, sizeof(line), mounts) != NULL) {
                char of_mount[512] = "", of_kind[512] = "";

                words = strstr(line, wanted);
                end = strstr(line, " - ");
                if (words == NULL || end == NULL || words > end ||
                    sscanf(words, "%*s %*s %255s %511s", mount->point, of_mount) != 2 ||
                    sscanf(end, " - %31s %*s %511s", mount->kind, of_kind) < 1)
                        continue;
                (void)snprintf(mount->options, sizeof(mount->options), ",%.510s,%.510s,", of_mount,
                    of_kind);
                break;
        }
        if (mounts != NULL)
                (void)fclose(mounts);
        if (strncmp(mount->kind, "fuse", 4) == 0)
                add_server(mount);
}
