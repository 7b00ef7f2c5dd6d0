/*
 * spelling.c - folders that virtual users do not reach, because their names have capitals.
 * Runs in:   the TRANSACTION process, before its fences; the check (-c), as the maildrops' owner.
 * May touch: the folders that a template leads through, for reading.
 *
 * Virtual users log in in small letters. A folder whose name has capitals was made by a program
 * that kept a user's own spelling, and may hold that user's mail.
 */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "maildir.h"

static bool
is_folder(const char *path)
{
        struct stat status;

        return stat(path, &status) == 0 && S_ISDIR(status.st_mode);
}

/*
 * Looks in the folder that path begins with, used octets with its slash, for a folder of this name
 * in another spelling, and puts it into path.
 */
static bool
find_spelling(char *path, size_t size, size_t used, const char *name, size_t length)
{
        struct dirent *entry;
        bool is_found = false;
        DIR *folder;

        path[used] = '\0';
        folder = opendir(path);
        while (folder != NULL && !is_found && (entry = readdir(folder)) != NULL) {
                if (strlen(entry->d_name) != length || strncasecmp(entry->d_name, name, length) != 0)
                        continue;
                (void)snprintf(path + used, size - used, "%s", entry->d_name);
                is_found = is_folder(path);
        }
        if (folder != NULL)
                (void)closedir(folder);
        return is_found;
}

bool
maildir_is_spelt_otherwise(const char *path, char *found, size_t size)
{
        struct stat status;
        size_t used = 1, length;

        if (strlen(path) >= size)
                return false;
        for (; path[used - 1] != '\0'; used += length + 1) {
                length = strcspn(path + used, "/");
                (void)snprintf(found, size, "%.*s", (int)(used + length), path);
                if (lstat(found, &status) != 0)
                        return errno == ENOENT &&
                            find_spelling(found, size, used, path + used, length);
        }
        return false;
}

/* From here on: for the check alone. */

enum { ROWS_MAX = 5 };

struct walk {
        check_row row;
        void *context;
        char path[PATH_MAX];
        size_t found;           /* folders with capitals */
};

static bool
has_capitals(const char *text, size_t length)
{
        for (size_t i = 0; i < length; i++)
                if (text[i] >= 'A' && text[i] <= 'Z')
                        return true;
        return false;
}

/* Whether a part of a template stands for users: it has a % other than %h and %%. */
static bool
has_users(const char *part, size_t length)
{
        for (size_t i = 0; i + 1 < length; i++)
                if (part[i] == '%' && strchr("udm", part[++i]) != NULL)
                        return true;
        return false;
}

static void
tell(struct walk *walk)
{
        if (++walk->found <= ROWS_MAX)
                walk->row(walk->context, "warn", "maildrop", "%s has capitals, so nobody is served "
                    "from it\ncause: virtual users log in in small letters\n"
                    "remedy: rename it to small letters; if that folder is there too, move the "
                    "mail over", walk->path);
}

static void walk_template(struct walk *walk, size_t used, const char *template);

/* Goes on in each folder that lies in the one of path, as if it were a user's. */
static void
walk_folders(struct walk *walk, size_t used, const char *part, size_t length)
{
        bool is_small = !has_capitals(part, length);
        DIR *folder = opendir(walk->path);
        struct dirent *entry;

        while (folder != NULL && (entry = readdir(folder)) != NULL) {
                int more = snprintf(walk->path + used, sizeof(walk->path) - used, "%s",
                    entry->d_name);

                if (entry->d_name[0] == '.' || (size_t)more >= sizeof(walk->path) - used ||
                    !is_folder(walk->path))
                        continue;
                if (is_small && has_capitals(entry->d_name, (size_t)more))
                        tell(walk);
                if (part[length] == '/')
                        walk_template(walk, used + (size_t)more, part + length + 1);
        }
        if (folder != NULL)
                (void)closedir(folder);
}

/* Follows the rest of a template below path, which is used octets without a slash at its end. */
static void
walk_template(struct walk *walk, size_t used, const char *template)
{
        size_t length = strcspn(template, "/");
        int more;

        if (used + 2 >= sizeof(walk->path) || strlen(template) == 0)
                return;
        walk->path[used++] = '/';
        walk->path[used] = '\0';
        if (has_users(template, length)) {
                walk_folders(walk, used, template, length);
                return;
        }
        more = snprintf(walk->path + used, sizeof(walk->path) - used, "%.*s", (int)length, template);
        if ((size_t)more < sizeof(walk->path) - used && template[length] == '/')
                walk_template(walk, used + (size_t)more, template + length + 1);
}

void
maildir_check_spelling(const char *template, const char *home, check_row row, void *context)
{
        struct walk walk = { .row = row, .context = context };
        bool is_absolute = template[0] == '/';
        size_t used = 0;

        if (!is_absolute)
                used = (size_t)snprintf(walk.path, sizeof(walk.path), "%s", home);
        if (used >= sizeof(walk.path))
                return;
        if (strncmp(template, "%h/", 3) == 0)
                template += 3;
        walk_template(&walk, used, template + is_absolute);
        if (walk.found > ROWS_MAX)
                row(context, "warn", "maildrop", "%zu more folders have capitals",
                    walk.found - ROWS_MAX);
}
