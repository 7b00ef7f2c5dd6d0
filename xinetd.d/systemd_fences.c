/*
 * systemd_fences.c - what the service of a unit forbids its sessions although they need it.
 * Runs in:   pop3d-check, as root where it can.
 * May touch: nothing but what systemd.c has read.
 *
 * The fences of the shipped unit leave a session all it needs: the homes, shadow, and to become the
 * mail user. Drop-ins that harden it further may take that away; sessions then see no mail, and
 * their log speaks of "No such file or directory" or "Read-only file system" where all is there.
 */
#include "systemd.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FILES_LEAST = 32 };

static bool
is_yes(const char *value)
{
        return value != NULL && (strcasecmp(value, "yes") == 0 || strcasecmp(value, "true") == 0 ||
            strcasecmp(value, "on") == 0 || strcmp(value, "1") == 0);
}

/* The folder below which all mail lies, as far as -m and -v tell it. */
static void
find_mail(const struct entry *entry, char folder[VALUE_SIZE])
{
        struct options options = entry->options;
        char *words[WORDS_MAX + 1];
        char home[PATH_MAX] = "/home";
        size_t length;
        uid_t uid;
        gid_t gid;

        memcpy(words, entry->arguments, sizeof(words));
        words[entry->argument_count] = NULL;
        (void)options_take(&options, (int)entry->argument_count, words);
        if (options.auth.virtual_account != NULL)
                (void)auth_look_up(options.auth.virtual_account, &uid, &gid, home);
        if (*options.maildir == '/') {
                length = strcspn(options.maildir, "%");
                while (length > 1 && options.maildir[length - 1] != '/')
                        length--;
                (void)snprintf(folder, VALUE_SIZE, "%.*s", (int)length, options.maildir);
        } else {
                (void)snprintf(folder, VALUE_SIZE, "%.1000s", home);
        }
}

/* How many octets of the path the longest of these folders covers; 0: none of them has it in it. */
static size_t
covers(const char *list, const char *path)
{
        char text[4 * VALUE_SIZE], *rest;
        size_t best = 0;

        (void)snprintf(text, sizeof(text), "%s", list == NULL ? "" : list);
        for (char *one = strtok_r(text, " \t", &rest); one != NULL; one = strtok_r(NULL, " \t", &rest)) {
                size_t length;

                one += strspn(one, "-+");
                one[strcspn(one, ":")] = '\0';
                length = strlen(one);
                while (length > 1 && one[length - 1] == '/')
                        length--;
                if (strncmp(one, path, length) == 0 && length > best &&
                    (path[length] == '/' || path[length] == '\0' || length == 1))
                        best = length;
        }
        return best;
}

static void
forbid(struct entry *entry, const char *service, const char *name, const char *what, const char *remedy)
{
        entry_trouble(entry, "fail", "\ncause: %s=%s in %s, or in what changes it: %s\n"
            "remedy: write %s in [Service] by: systemctl edit %s", name, entry_word(entry, name), service,
            what, remedy, service);
}

/* Whether nothing can be written but what ReadWritePaths= names; that has a row of its own. */
static bool
is_strict(const struct entry *entry)
{
        const char *system = entry_word(entry, "ProtectSystem");

        return system != NULL && strcmp(system, "strict") == 0;
}

/* The homes behind ProtectHome=. */
static void
find_protected_home(struct entry *entry, const char *service, const char *mail)
{
        const char *value = entry_word(entry, "ProtectHome");

        if (value == NULL || covers("/home /root /run/user", mail) == 0)
                return;
        if (is_yes(value) || strcmp(value, "tmpfs") == 0) {
                if (covers(entry_word(entry, "BindPaths"), mail) == 0)
                        forbid(entry, service, "ProtectHome", "sessions see no homes", "ProtectHome=no");
        } else if (strcmp(value, "read-only") == 0 && !is_strict(entry) &&
            covers(entry_word(entry, "ReadWritePaths"), mail) == 0) {
                forbid(entry, service, "ProtectHome", "sessions cannot remove mail", "ProtectHome=no");
        }
}

/* What all of PAM and pop3d read, where it is hidden. */
static void
find_closed_files(struct entry *entry, const char *service)
{
        static const char *const words[] = { "InaccessiblePaths", "TemporaryFileSystem" };
        static const char *const needed[] = { "/etc/shadow", "/etc/passwd", "/etc/pam.d", "/dev/log", "/lib" };

        for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
                for (size_t j = 0; j < sizeof(needed) / sizeof(needed[0]); j++)
                        if (covers(entry_word(entry, words[i]), needed[j]) > 0) {
                                char why[NAME_SIZE + 32], remedy[NAME_SIZE];

                                (void)snprintf(why, sizeof(why), "sessions do not see %s", needed[j]);
                                (void)snprintf(remedy, sizeof(remedy), "%s=", words[i]);
                                forbid(entry, service, words[i], why, remedy);
                                break;
                        }
}

/* Folders that are hidden, or can be read alone. */
static void
find_closed_paths(struct entry *entry, const char *service, const char *mail)
{
        size_t writable = covers(entry_word(entry, "ReadWritePaths"), mail);
        size_t bound = covers(entry_word(entry, "BindPaths"), mail);
        size_t hidden = covers(entry_word(entry, "InaccessiblePaths"), mail);
        size_t closed = covers(entry_word(entry, "ReadOnlyPaths"), mail);
        size_t bound_closed = covers(entry_word(entry, "BindReadOnlyPaths"), mail);
        char remedy[2 * VALUE_SIZE];

        (void)snprintf(remedy, sizeof(remedy), "ReadWritePaths=%s", mail);
        /* of two that name one folder the stricter one counts */
        if (hidden > 0 && hidden >= bound)
                forbid(entry, service, "InaccessiblePaths", "sessions see no mail", "InaccessiblePaths=");
        if (covers(entry_word(entry, "TemporaryFileSystem"), mail) > bound)
                forbid(entry, service, "TemporaryFileSystem", "sessions see an empty folder",
                    "TemporaryFileSystem=");
        if (closed > 0 && closed >= writable && closed >= bound)
                forbid(entry, service, "ReadOnlyPaths", "sessions cannot remove mail", "ReadOnlyPaths=");
        else if (bound_closed > 0 && bound_closed >= writable && bound_closed > bound)
                forbid(entry, service, "BindReadOnlyPaths", "sessions cannot remove mail", "BindReadOnlyPaths=");
        else if (is_strict(entry) && writable == 0 && bound == 0)
                forbid(entry, service, "ProtectSystem", "sessions cannot write where the mail lies", remedy);
        if (covers(entry_word(entry, "NoExecPaths"), entry->value[PROGRAM]) >
            covers(entry_word(entry, "ExecPaths"), entry->value[PROGRAM])) {
                (void)snprintf(remedy, sizeof(remedy), "ExecPaths=%s", entry->value[PROGRAM]);
                forbid(entry, service, "NoExecPaths", "pop3d cannot be started", remedy);
        }
}

/* Whether the list of capabilities lets this one through; one that begins with ~ names the others. */
static bool
has_capability(const char *list, const char *capability)
{
        bool is_named = strstr(list, capability) != NULL;

        return *list == '~' ? !is_named : is_named;
}

/* What root in the service may not do any more. */
static void
find_lost_powers(struct entry *entry, const char *service)
{
        const char *list = entry_word(entry, "CapabilityBoundingSet");
        const char *user = entry_word(entry, "User");

        if (is_yes(entry_word(entry, "PrivateUsers")))
                forbid(entry, service, "PrivateUsers", "there are no other users than root in it",
                    "PrivateUsers=no");
        if (entry_word(entry, "RootDirectory") != NULL && *entry_word(entry, "RootDirectory") != '\0')
                forbid(entry, service, "RootDirectory", "sessions see neither mail nor accounts",
                    "RootDirectory=");
        if (is_yes(entry_word(entry, "DynamicUser")))
                forbid(entry, service, "DynamicUser", "without root neither PAM nor the users' mail is in reach",
                    "DynamicUser=no");
        if (list != NULL && (user == NULL || strcmp(user, "root") == 0) &&
            (!has_capability(list, "CAP_SETUID") || !has_capability(list, "CAP_SETGID")))
                forbid(entry, service, "CapabilityBoundingSet", "pop3d cannot become the mail user",
                    "CapabilityBoundingSet=CAP_SETUID CAP_SETGID");
}

/* Octets of a size as systemd writes it, or 0 if there is no limit. */
static unsigned long long
octets_of(const char *value)
{
        static const char units[] = "KMGT";
        char *end;
        unsigned long long size = value == NULL ? 0 : strtoull(value, &end, 10);
        const char *unit = size == 0 || *end == '\0' ? NULL : strchr(units, *end);

        if (size != 0 && *end == '%')
                return 0;
        return unit == NULL ? size : size << (10 * (unit - units + 1));
}

/* Limits below what one session needs: a login takes some 20 MB (yescrypt), and three processes. */
static void
find_tight_limits(struct entry *entry, const char *service)
{
        static const char *const sizes[] = { "MemoryMax", "MemoryHigh", "LimitAS", "LimitDATA" };
        const char *tasks = entry_word(entry, "TasksMax"), *files = entry_word(entry, "LimitNOFILE");

        if (files != NULL && atoi(files) > 0 && atoi(files) < FILES_LEAST)
                forbid(entry, service, "LimitNOFILE", "a session opens more files, and PAM's modules do",
                    "LimitNOFILE=256");
        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
                unsigned long long limit = octets_of(entry_word(entry, sizes[i]));
                char remedy[NAME_SIZE];

                (void)snprintf(remedy, sizeof(remedy), "%s=64M", sizes[i]);
                if (limit != 0 && limit < 32ULL << 20)
                        forbid(entry, service, sizes[i], "a login takes 20 MB and more", remedy);
        }
        if (tasks != NULL && atoi(tasks) > 0 && atoi(tasks) < 4 && strchr(tasks, '%') == NULL)
                forbid(entry, service, "TasksMax", "a session has three processes until login",
                    "TasksMax=16");
}

void
systemd_find_fences(struct entry *entry, const char *service)
{
        char mail[VALUE_SIZE];

        find_mail(entry, mail);
        find_protected_home(entry, service, mail);
        find_closed_paths(entry, service, mail);
        find_closed_files(entry, service);
        find_lost_powers(entry, service);
        find_tight_limits(entry, service);
}
