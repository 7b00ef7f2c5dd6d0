/*
 * inetd.c - reads what /etc/inetd.conf says of POP3, as openbsd-inetd and inetutils-inetd read it.
 * Runs in:   pop3d-check, as root where it can.
 * May touch: /etc/inetd.conf or the file that inetd was started with, for reading.
 */
#include "entries.h"

#include <stdio.h>
#include <string.h>

#define CONFIGURATION "/etc/inetd.conf"

struct reading {
        struct entries *entries;
        const char *path;
        const char *other;              /* the file that inetd reads, if it is not this one; or NULL */
        char address[NAME_SIZE];        /* of a line "ADDRESS:", for the lines behind it */
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
take_entry(struct reading *reading, const struct line *line, bool is_commented)
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
                take_entry(reading, &line, is_commented);
        else if (!is_commented && strncmp(line.service, "pop", 3) == 0)
                print_row(reading->entries->report, "fail", "launcher", "%s: line %u is not whole\n"
                    "cause: a field is missing, so inetd leaves the line out\n"
                    "remedy: write: pop3 stream tcp nowait root /usr/local/sbin/pop3d pop3d",
                    reading->path, number);
}

/* The file that the inetd that runs was started with. */
static void
take_process(void *context, const struct process *process)
{
        char *path = context;
        const char *last = process->words[process->count - 1];
        size_t length = strlen(process->name);

        if (length >= 5 && strcmp(process->name + length - 5, "inetd") == 0 &&
            *process->name != 'x' && *last == '/' && process->count > 1)
                (void)snprintf(path, VALUE_SIZE, "%s", last);
}

void
inetd_read(struct entries *entries)
{
        char path[VALUE_SIZE] = CONFIGURATION;
        struct reading reading = { .entries = entries, .path = path };

        processes_read(take_process, path);
        (void)file_read(entries, path, take_inetd_line, &reading);
        if (strcmp(path, CONFIGURATION) != 0) {
                reading.other = path;
                reading.path = CONFIGURATION;
                (void)file_read(entries, CONFIGURATION, take_inetd_line, &reading);
        }
}
