/*
 * inetd.c - reads what /etc/inetd.conf says of POP3, as openbsd-inetd, GNU's and busybox's inetd read it.
 * Runs in:   pop3d-check, as root where it can.
 * May touch: /etc/inetd.conf, /etc/inetd.d or the file that inetd was started with, for reading.
 */
#include "entries.h"

#include <glob.h>
#include <stdio.h>
#include <string.h>

#define CONFIGURATION "/etc/inetd.conf"
#define FOLDER "/etc/inetd.d"

struct reading {
        struct entries *entries;
        const char *path;
        const char *other;              /* the file that inetd reads, if it is not this one; or NULL */
        char address[NAME_SIZE];        /* of a line "ADDRESS:", for the lines behind it */
        char rate[NAME_SIZE];           /* the most connections a minute that inetd was started with, or "" */
};

/* The fields of a line, up to the program; the arguments are what is behind them. */
struct line {
        char service[NAME_SIZE], type[NAME_SIZE], protocol[NAME_SIZE], wait[NAME_SIZE];
        char user[NAME_SIZE], program[VALUE_SIZE], arguments[VALUE_SIZE];
        int count;
};

/* "root", "root.wheel", "root:wheel", "root/daemon": the user alone. */
static void
take_user(struct entry *entry, const char *text)
{
        int length = (int)strcspn(text, ":/");
        char user[NAME_SIZE];
        uid_t uid;

        (void)snprintf(user, sizeof(user), "%.*s", length, text);
        if (!account_uid(user, &uid))
                user[strcspn(user, ".")] = '\0';
        (void)snprintf(entry->value[USER], VALUE_SIZE, "%s", user);
        if (text[strlen(user)] != '\0' && !auth_has_group(text + strlen(user) + 1) &&
            strspn(text + strlen(user) + 1, "0123456789") != strlen(text + strlen(user) + 1))
                entry_trouble(entry, "fail", "\ncause: there is no group %s, so inetd closes each connection at once\n"
                    "remedy: write root in place of %s", text + strlen(user) + 1, text);
        if (!account_uid(user, &uid))
                entry_refused(entry, "\ncause: there is no account %s, so inetd leaves the line out\n"
                    "remedy: write root in its place", user);
}

/* "pop3", "110", "192.0.2.1:pop3". */
static void
take_service(struct reading *reading, struct entry *entry, const char *text)
{
        entry_listens_on(entry, text);
        if (strchr(text, ':') == NULL && reading->address[0] != '\0')
                entry_listens_at(entry, reading->address);
        entry_find_moved_port(entry, text);
        if (entry->port != 0)
                return;
        entry->port = strstr(text, "pop3s") != NULL ? POP3S_PORT : POP3_PORT;
        entry_refused(entry, "\ncause: /etc/services has no service name %s, so inetd leaves the line out\n"
            "remedy: write the number %u in its place", text, entry->port);
}

/* What inetd makes of the words behind the path: the first of them is the program's name. */
static void
take_arguments(struct entry *entry, const struct line *line)
{
        (void)snprintf(entry->value[ARGUMENTS], VALUE_SIZE, "%s", line->arguments);
        entry_arguments(entry, false);
        if (entry->argument_count > 0 && *entry->arguments[0] == '-')
                entry_trouble(entry, "fail", "\ncause: the first word behind the path, %s, is taken for the "
                    "name of the program\nremedy: write: %s %s %s %s %s %s pop3d %s", entry->arguments[0],
                    line->service, line->type, line->protocol, line->wait, line->user, line->program,
                    line->arguments);
}

static void
take_entry(struct reading *reading, const struct line *line, bool is_commented, unsigned number)
{
        struct entry *entry = entry_begin(reading->entries, INETD, reading->path, line->service);
        const char *wait = line->wait;

        (void)snprintf(entry->value[PROGRAM], VALUE_SIZE, "%s", line->program);
        entry_set(entry, SET, "protocol", line->protocol);
        entry_set(entry, SET, "wait", wait);
        (void)snprintf(entry->value[WAIT], VALUE_SIZE, "%.*s", (int)strcspn(wait, "./"), wait);
        if (is_commented)
                entry_switch_off(entry, "\ncause: it is switched off (a # before the line)\n"
                    "remedy: take the # away there, then: kill -HUP the process of inetd");
        entry->is_stray = reading->other != NULL;
        if (entry->is_stray)
                entry_switch_off(entry, "\ncause: inetd does not read %s: it was started with %s\n"
                    "remedy: write this line there, or start inetd with %s", reading->path, reading->other,
                    reading->path);
        if (!is_commented && file_has_returns(reading->path) && line->program[0] != '\0')
                entry_trouble(entry, "fail", "\ncause: its lines end in CR LF, as on Windows, and the CR is a part "
                    "of the last argument\nremedy: sed -i 's/\\r$//' %s; then restart inetd", reading->path);
        if (number == 1 && file_has_mark(reading->path))
                entry_refused(entry, "\ncause: the line begins with a byte order mark, as editors of Windows write it, "
                    "so inetd does not know the service\nremedy: sed -i '1s/^\\xef\\xbb\\xbf//' %s; then restart inetd",
                    reading->path);
        if (reading->rate[0] != '\0')
                entry_set(entry, SET, "-R", reading->rate);
        take_service(reading, entry, line->service);
        take_user(entry, line->user);
        take_arguments(entry, line);
        if (strcmp(line->type, "stream") != 0)
                entry_refused(entry, "\ncause: %s: POP3 is a stream of octets\n"
                    "remedy: write stream in its place", line->type);
        if (strncmp(line->protocol, "tcp", 3) != 0)
                entry_refused(entry, "\ncause: %s: POP3 is spoken over TCP\n"
                    "remedy: write tcp in its place", line->protocol);
        if (strcmp(entry->value[WAIT], "wait") != 0 && strcmp(entry->value[WAIT], "nowait") != 0)
                entry_refused(entry, "\ncause: %s is neither wait nor nowait, so inetd leaves the line out\n"
                    "remedy: write nowait in its place", wait);
        (void)entry_end(reading->entries);
}

static void
take_inetd_line(void *context, char *text, unsigned number)
{
        struct reading *reading = context;
        struct line line = { .count = 0 };
        size_t comment = strspn(text, "#<of> \t");
        bool is_commented = *text == '#';

        if (*text == '#')
                text += comment;
        line.count = sscanf(text, "%63s %63s %63s %63s %63s %1023s %1023[^\n]", line.service, line.type,
            line.protocol, line.wait, line.user, line.program, line.arguments);
        if (!is_commented && line.count == 1 && line.service[strlen(line.service) - 1] == ':')
                (void)snprintf(reading->address, sizeof(reading->address), "%.*s",
                    (int)strlen(line.service) - 1, line.service);
        else if (line.count >= 6 && (line.program[0] == '/' || !is_commented))
                take_entry(reading, &line, is_commented, number);
        else if (!is_commented && strncmp(line.service, "pop", 3) == 0)
                print_row(reading->entries->report, "fail", "launcher", "%s: line %u is not whole\n"
                    "cause: a field is missing, so inetd leaves the line out\n"
                    "remedy: write: pop3 stream tcp nowait root /usr/local/sbin/pop3d pop3d",
                    reading->path, number);
}

/* How the inetd that runs was started. */
struct started {
        char path[VALUE_SIZE], rate[NAME_SIZE];
        bool reads_folder;              /* GNU's, which reads FOLDER as well unless it is told of files */
};

static void
take_process(void *context, const struct process *process)
{
        struct started *started = context;
        const char *last = process->words[process->count - 1];
        size_t length = strlen(process->name);
        bool is_busybox = strcmp(process->name, "busybox") == 0 && process->count > 1 &&
            strcmp(process->words[1], "inetd") == 0;

        if (!is_busybox && (length < 5 || strcmp(process->name + length - 5, "inetd") != 0 || *process->name == 'x'))
                return;
        started->reads_folder = strncmp(process->name, "inetutils", 9) == 0 &&
            (*last != '/' || process->count == 1 || strcmp(last, FOLDER) == 0);
        if (*last == '/' && process->count > 1 && strcmp(last, FOLDER) != 0)
                (void)snprintf(started->path, sizeof(started->path), "%s", last);
        for (size_t i = 1; i + 1 < process->count; i++)
                if (strcmp(process->words[i], "-R") == 0)
                        (void)snprintf(started->rate, sizeof(started->rate), "%.60s", process->words[i + 1]);
}

static void
read_folder(struct reading *reading)
{
        glob_t files;

        if (glob(FOLDER "/*", 0, NULL, &files) != 0)
                return;
        for (size_t i = 0; i < files.gl_pathc; i++) {
                reading->path = files.gl_pathv[i];
                (void)file_read(reading->entries, reading->path, take_inetd_line, reading);
        }
        globfree(&files);
}

void
inetd_read(struct entries *entries)
{
        static struct started started = { .path = CONFIGURATION };
        struct reading reading = { .entries = entries, .path = started.path };

        processes_read(take_process, &started);
        (void)snprintf(reading.rate, sizeof(reading.rate), "%s", started.rate);
        (void)file_read(entries, started.path, take_inetd_line, &reading);
        if (started.reads_folder)
                read_folder(&reading);
        if (strcmp(started.path, CONFIGURATION) != 0) {
                reading.other = started.path;
                reading.path = CONFIGURATION;
                (void)file_read(entries, CONFIGURATION, take_inetd_line, &reading);
        }
}
