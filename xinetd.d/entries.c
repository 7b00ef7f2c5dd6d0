/*
 * entries.c - reads what the launchers' configuration says of POP3.
 * Runs in:   pop3d-check, as root where it can.
 * May touch: the configuration of xinetd, inetd, systemd and stunnel, for reading.
 */
#include "check.h"

#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SYSTEMD_LINKS "/etc/systemd/system/sockets.target.wants/"

const char *const launcher_names[] = { "", "xinetd", "inetd", "systemd", "stunnel" };

static const struct {
        enum launcher launcher;
        const char *pattern;
} sources[] = {
        { XINETD, "/etc/xinetd.conf" }, { XINETD, "/etc/xinetd.d/*[!~]" },
        { INETD, "/etc/inetd.conf" }, { STUNNEL, "/etc/stunnel/*.conf" },
        { SYSTEMD, "/etc/systemd/system/*pop3*" }, { SYSTEMD, "/usr/lib/systemd/system/*pop3*" },
};

/* The words of xinetd, stunnel and systemd. No two of them mean different things by one word. */
static const struct {
        const char *key;
        enum field field;
} keys[] = {
        { "disable", OFF }, { "server", PROGRAM }, { "server_args", ARGUMENTS }, { "user", USER },
        { "wait", WAIT }, { "port", PORT }, { "User", USER }, { "ListenStream", PORT },
        { "exec", PROGRAM }, { "accept", PORT }, { "connect", CONNECT }, { "protocol", PROTOCOL },
        { "instances", LIMIT }, { "MaxConnections", LIMIT }, { "setuid", USER }, { "flags", FLAGS },
};

/* The entry that is being read. */
static struct entry *
current(struct entries *entries)
{
        return &entries->entry[entries->count];
}

/* The port in "110", "pop3", "127.0.0.1:1110"; where the text is empty, that of the service. */
static unsigned
port_of(const char *text, const char *service)
{
        const char *given = *text == '\0' ? service : text;
        const char *colon = strrchr(given, ':'), *name = colon == NULL ? given : colon + 1;

        if (strcmp(name, "pop3") == 0)
                return POP3_PORT;
        return strcmp(name, "pop3s") == 0 ? POP3S_PORT : (unsigned)atoi(name);
}

/* Whether an address that stunnel connects to is one of this machine. */
static bool
is_here(const char *address)
{
        return strchr(address, ':') == NULL || strncmp(address, "127.", 4) == 0 ||
            strncmp(address, "::1:", 4) == 0 || strncmp(address, "localhost:", 10) == 0;
}

/* Cuts the arguments into words, and has them read as pop3d itself would read them. */
static void
split_arguments(struct entry *entry)
{
        size_t count = 1;
        char *rest, *word;

        memcpy(entry->words, entry->value[ARGUMENTS], VALUE_SIZE);
        word = strtok_r(entry->words, " \t", &rest);
        /* with this flag of xinetd the first word is the program's name */
        if (word != NULL && strstr(entry->value[FLAGS], "NAMEINARGS") != NULL)
                word = strtok_r(NULL, " \t", &rest);
        entry->arguments[0] = entry->name;
        while (word != NULL && count < WORDS_MAX) {
                entry->arguments[count++] = word;
                word = strtok_r(NULL, " \t", &rest);
        }
        entry->arguments[count] = NULL;
        entry->problem = options_take(&entry->options, (int)count, entry->arguments);
}

/* Draws from what was read what the rows need. */
static void
finish_entry(const struct entries *entries, struct entry *entry)
{
        const char *off = entry->value[OFF], *connect = entry->value[CONNECT];
        struct stat program;

        entry->is_on = *off == '\0' || strcmp(off, "no") == 0;
        entry->port = port_of(entry->value[PORT], entry->name);
        entry->connects_to = is_here(connect) ? port_of(connect, "") : 0;
        entry->runs_us = stat(entry->value[PROGRAM], &program) == 0 &&
            program.st_dev == entries->self.st_dev && program.st_ino == entries->self.st_ino;
        split_arguments(entry);
}

/* Ends the entry read so far, which is kept if it has to do with POP3, and begins the next one. */
static struct entry *
begin_entry(struct entries *entries, enum launcher launcher, const char *file, const char *name)
{
        struct entry *entry = current(entries);
        char user[VALUE_SIZE] = "";

        finish_entry(entries, entry);
        /* what stands in stunnel's files before the sections is said for all of them */
        if (launcher == STUNNEL && *name != '\0')
                memcpy(user, entry->value[USER], sizeof(user));
        if (entries->count < ENTRIES_MAX && (entry->port == POP3_PORT || entry->port == POP3S_PORT ||
            entry->runs_us || strstr(entry->value[PROGRAM], "/pop3d") != NULL))
                entries->count++;
        entry = current(entries);
        memset(entry, 0, sizeof(*entry));
        entry->launcher = launcher;
        memcpy(entry->value[USER], user, sizeof(user));
        (void)snprintf(entry->file, sizeof(entry->file), "%s", file);
        (void)snprintf(entry->name, sizeof(entry->name), "%s", name);
        return entry;
}

/* "pop3 stream tcp nowait root /usr/local/sbin/pop3d pop3d -S", also behind "#<off># ". */
static void
take_inetd_line(struct entries *entries, const char *file, const char *line)
{
        struct entry *entry = begin_entry(entries, INETD, file, "");

        (void)sscanf(line + strspn(line, "#<of> "), "%63s %*s %*s %255s %255s %255s %*s %255[^\n]",
            entry->name, entry->value[WAIT], entry->value[USER], entry->value[PROGRAM],
            entry->value[ARGUMENTS]);
        if (entry->value[PROGRAM][0] != '/')
                entry->name[0] = '\0';
        if (line[0] == '#')
                strcpy(entry->value[OFF], "#");
}

/* Cuts "key = value", also with += or -= or without blanks. False if the line is something else. */
static bool
cut_line(const char *line, char key[64], char value[VALUE_SIZE])
{
        memset(value, '\0', VALUE_SIZE);
        return sscanf(line, " %63[A-Za-z_] %*[+=-] %255[^\n]", key, value) == 2;
}

static void
take_value(struct entry *entry, const char *key, const char value[VALUE_SIZE])
{
        for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
                if (strcmp(keys[i].key, key) == 0)
                        memcpy(entry->value[keys[i].field], value, VALUE_SIZE);
}

static void
take_xinetd_line(struct entries *entries, const char *file, const char *line)
{
        char key[64], value[VALUE_SIZE];

        if (sscanf(line, " service %63s", key) == 1)
                (void)begin_entry(entries, XINETD, file, key);
        else if (cut_line(line, key, value))
                take_value(current(entries), key, value);
}

static void
take_stunnel_line(struct entries *entries, const char *file, const char *line)
{
        char key[64], value[VALUE_SIZE];

        if (sscanf(line, " [%63[^]]", key) == 1)
                (void)begin_entry(entries, STUNNEL, file, key);
        else if (!cut_line(line, key, value))
                return;
        else if (strcmp(key, "execArgs") == 0)
                (void)sscanf(value, "%*s %255[^\n]", current(entries)->value[ARGUMENTS]);
        else
                take_value(current(entries), key, value);
}

/* systemd makes one % of two, and expands what stands behind a single one itself. */
static void
take_exec_start(struct entries *entries, const char *file, const char *value)
{
        struct entry *entry = current(entries);
        char *at = entry->value[ARGUMENTS];

        *at = '\0';
        (void)sscanf(value + strspn(value, "-@:+!"), "%255s %255[^\n]", entry->value[PROGRAM], at);
        for (; (at = strchr(at, '%')) != NULL; at++)
                if (at[1] == '%')
                        memmove(at, at + 1, strlen(at));
                else if (at[1] != '\0' && strchr("udmh", at[1]) != NULL)
                        print_row(entries->report, "fail", "launcher",
                            "%s: %.2s is not for pop3d\ncause: systemd expands it itself\n"
                            "remedy: write %%%.2s", file, at, at);
}

static void
take_systemd_line(struct entries *entries, const char *file, const char *line)
{
        char key[64], value[VALUE_SIZE];

        if (!cut_line(line, key, value))
                return;
        if (strcmp(key, "ExecStart") == 0)
                take_exec_start(entries, file, value);
        else
                take_value(current(entries), key, value);
}

static void
take_line(struct entries *entries, enum launcher launcher, const char *file, const char *line)
{
        switch (launcher) {
        case XINETD: take_xinetd_line(entries, file, line); return;
        case INETD: take_inetd_line(entries, file, line); return;
        case SYSTEMD: take_systemd_line(entries, file, line); return;
        case STUNNEL: take_stunnel_line(entries, file, line); return;
        case NO_LAUNCHER: return;
        }
}

/* Root believes no file that somebody else may have written. */
static bool
is_trusted(const struct stat *status)
{
        mode_t others = status->st_gid != 0 ? S_IWGRP | S_IWOTH : S_IWOTH;

        return (status->st_uid == 0 || status->st_uid == geteuid()) &&
            (status->st_mode & others) == 0;
}

static void
read_file(struct entries *entries, enum launcher launcher, const char *path)
{
        int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
        FILE *file = fd < 0 ? NULL : fdopen(fd, "r");
        struct stat status;
        char line[1024];

        if (file == NULL)
                return;
        if (fstat(fd, &status) != 0 || !is_trusted(&status))
                print_row(entries->report, "warn", "launcher",
                    "%s is not read: others than root may write it", path);
        else
                while (S_ISREG(status.st_mode) && fgets(line, sizeof(line), file) != NULL) {
                        size_t end = strlen(line);

                        while (end > 0 && strchr(" \t\r\n", line[end - 1]) != NULL)
                                line[--end] = '\0';
                        take_line(entries, launcher, path, line);
                }
        (void)fclose(file);
}

static void read_files(struct entries *entries, enum launcher launcher, const char *pattern);

/*
 * systemd has NAME.socket, which is on if a link to it lies in SYSTEMD_LINKS; NAME@.service, whose
 * lines count for the socket read before; and beside either a folder NAME.d of changes to it.
 */
static void
read_unit(struct entries *entries, const char *path, const char *name, const char *suffix)
{
        char other[VALUE_SIZE];

        if (strcmp(suffix, ".socket") == 0) {
                struct entry *entry = begin_entry(entries, SYSTEMD, path, name);

                (void)snprintf(other, sizeof(other), SYSTEMD_LINKS "%s", name);
                if (access(other, F_OK) != 0)
                        strcpy(entry->value[OFF], "yes");
        }
        read_file(entries, SYSTEMD, path);
        (void)snprintf(other, sizeof(other), "%s/*.conf", path);
        if (strcmp(suffix, ".d") == 0)
                read_files(entries, SYSTEMD, other);
}

static void
read_files(struct entries *entries, enum launcher launcher, const char *pattern)
{
        glob_t found;

        if (glob(pattern, 0, NULL, &found) != 0)
                return;
        for (size_t i = 0; i < found.gl_pathc; i++) {
                const char *path = found.gl_pathv[i], *name = strrchr(path, '/') + 1;
                const char *dot = strrchr(name, '.'), *suffix = dot == NULL ? "" : dot;

                /* xinetd passes over names with a dot in its folder */
                if (strstr(path, "/xinetd.d/") != NULL && dot != NULL)
                        continue;
                if (launcher == SYSTEMD) {
                        read_unit(entries, path, name, suffix);
                } else {
                        (void)begin_entry(entries, launcher, path, "");
                        read_file(entries, launcher, path);
                }
        }
        globfree(&found);
}

void
entries_read(struct entries *entries, struct report *report)
{
        char path[PATH_MAX];

        memset(entries, 0, sizeof(*entries));
        entries->report = report;
        if (find_beside("pop3d", path))
                (void)stat(path, &entries->self);
        for (size_t i = 0; i < sizeof(sources) / sizeof(sources[0]); i++)
                read_files(entries, sources[i].launcher, sources[i].pattern);
        /* ends the last entry */
        (void)begin_entry(entries, NO_LAUNCHER, "", "");
        for (size_t i = 0; i < entries->count; i++) {
                entries->is_any_on |= entries->entry[i].is_on;
                entries->is_proxied |= entries->entry[i].is_on &&
                    entries->entry[i].options.auth.expects_proxy;
        }
}

bool
entry_is_by(const struct entry *entry, const char *process)
{
        /* inetd may be called inetutils-inetd, but not xinetd */
        return strstr(process, launcher_names[entry->launcher]) != NULL &&
            (entry->launcher != INETD || *process != 'x');
}

const struct entry *
entry_of_port(const struct entries *entries, unsigned port, enum field field, const char *holder)
{
        const struct entry *found = NULL;

        for (size_t i = 0; i < entries->count && port != 0; i++) {
                const struct entry *entry = &entries->entry[i];
                unsigned own = field == PORT ? entry->port : entry->connects_to;

                if (entry->is_on && own == port && (found == NULL || entry_is_by(entry, holder)))
                        found = entry;
        }
        return found;
}
