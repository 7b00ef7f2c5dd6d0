/*
 * haproxy.c - reads what HAProxy's files say of POP3: where it listens, and where it passes on to.
 * Runs in:   pop3d-check, as root where it can.
 * May touch: /etc/haproxy and the files that HAProxy was started with, for reading.
 *
 * A frontend has bind lines and names a backend, which has server lines; listen is both in one.
 * What a defaults section says counts for those behind it.
 */
#include "entries.h"

#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SECTIONS_MAX = 64, BINDS_MAX = 8, ACLS_MAX = 32, IDLE_SECONDS = 600 };

enum kind { NO_SECTION, OTHER, GLOBAL, DEFAULTS, FRONTEND, BACKEND, LISTEN };

struct section {
        enum kind kind;
        char name[NAME_SIZE], mode[NAME_SIZE], backend[NAME_SIZE], file[VALUE_SIZE];
        char bind[BINDS_MAX][VALUE_SIZE], server[VALUE_SIZE], server_defaults[VALUE_SIZE];
        size_t binds;
        char rules[VALUE_SIZE];         /* "reject if ...;" for each one, in their order */
        char silence[NAME_SIZE];        /* timeout client */
        bool has_tcp_check, is_off;
};

/* A condition with a name: "acl office src 192.0.2.0/24". */
struct acl {
        char name[NAME_SIZE], value[VALUE_SIZE];
};

struct reading {
        struct entries *entries;
        const char *path;
        char jail[VALUE_SIZE], user[VALUE_SIZE];        /* as it is when it has begun */
        struct section defaults, section[SECTIONS_MAX];
        struct section *current;
        size_t count;
        struct acl acl[ACLS_MAX];       /* of the section */
        size_t acls;
};

/* ---- Lines ------------------------------------------------------------------------------- */

static enum kind
kind_of(const char *word)
{
        static const struct {
                const char *word;
                enum kind kind;
        } kinds[] = {
                { "global", GLOBAL }, { "defaults", DEFAULTS }, { "frontend", FRONTEND },
                { "backend", BACKEND }, { "listen", LISTEN }, { "peers", OTHER }, { "userlist", OTHER },
                { "resolvers", OTHER }, { "mailers", OTHER }, { "cache", OTHER }, { "program", OTHER },
                { "http-errors", OTHER }, { "ring", OTHER }, { "log-forward", OTHER },
        };

        for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
                if (strcmp(kinds[i].word, word) == 0)
                        return kinds[i].kind;
        return NO_SECTION;
}

/* Cuts the first word off. */
static char *
cut_word(char **rest)
{
        char *word = *rest + strspn(*rest, " \t");

        *rest = word + strcspn(word, " \t");
        if (**rest != '\0')
                *(*rest)++ = '\0';
        *rest += strspn(*rest, " \t");
        return word;
}

static void
begin_section(struct reading *reading, enum kind kind, const char *name)
{
        struct section *section = &reading->defaults;

        if (kind == DEFAULTS) {
                memset(section, 0, sizeof(*section));
        } else if (reading->count < SECTIONS_MAX) {
                section = &reading->section[reading->count++];
                *section = reading->defaults;
        }
        reading->acls = 0;
        section->kind = kind;
        (void)snprintf(section->name, sizeof(section->name), "%s", name);
        (void)snprintf(section->file, sizeof(section->file), "%s", reading->path);
        reading->current = section;
}

static void
take_acl(struct reading *reading, char *rest)
{
        struct acl *acl = &reading->acl[reading->acls];

        if (reading->acls == ACLS_MAX)
                return;
        (void)snprintf(acl->name, sizeof(acl->name), "%s", cut_word(&rest));
        (void)snprintf(acl->value, sizeof(acl->value), "%s", rest);
        reading->acls++;
}

/*
 * "connection reject if !office": kept with the condition in place of its name. The first rule for which there is
 * not enough room is cut, gets no ";", and is the last.
 */
static void
take_rule(const struct reading *reading, struct section *section, char *rest)
{
        bool is_within = false;
        const char *word;
        size_t used = strlen(section->rules);

        (void)cut_word(&rest);          /* connection, content, session */
        if ((strncmp(rest, "reject", 6) != 0 && strncmp(rest, "accept", 6) != 0) || used >= VALUE_SIZE - 1)
                return;
        while (*(word = cut_word(&rest)) != '\0' && used < VALUE_SIZE) {
                const struct acl *found = NULL;

                is_within |= *word == '{' || strncmp(word, "!{", 2) == 0;
                for (size_t i = 0; i < reading->acls && !is_within; i++)
                        if (strcmp(reading->acl[i].name, word + (*word == '!')) == 0)
                                found = &reading->acl[i];
                used += (size_t)snprintf(section->rules + used, VALUE_SIZE - used, found != NULL ? "%s{ %s } " : "%s%s ",
                    found != NULL && *word == '!' ? "!" : "", found != NULL ? found->value : word);
                is_within &= strchr(word, '}') == NULL;
        }
        if (used < VALUE_SIZE)
                section->rules[used - 1] = ';';
}

static void
take_word(struct reading *reading, struct section *section, const char *word, char *rest)
{
        if (section->kind == GLOBAL && strcmp(word, "chroot") == 0)
                (void)snprintf(reading->jail, sizeof(reading->jail), "%s", rest);
        else if (section->kind == GLOBAL && (strcmp(word, "user") == 0 || strcmp(word, "uid") == 0))
                (void)snprintf(reading->user, sizeof(reading->user), "%s", rest);
        else if (strcmp(word, "mode") == 0)
                (void)snprintf(section->mode, sizeof(section->mode), "%s", rest);
        else if (strcmp(word, "default_backend") == 0 || (strcmp(word, "use_backend") == 0 &&
            section->backend[0] == '\0'))
                (void)snprintf(section->backend, sizeof(section->backend), "%s", cut_word(&rest));
        else if (strcmp(word, "bind") == 0 && section->binds < BINDS_MAX)
                (void)snprintf(section->bind[section->binds++], VALUE_SIZE, "%s", rest);
        else if (strcmp(word, "server") == 0 && section->server[0] == '\0')
                (void)snprintf(section->server, VALUE_SIZE, "%s", rest);
        else if (strcmp(word, "default-server") == 0)
                (void)snprintf(section->server_defaults, VALUE_SIZE, "%s", rest);
        else if (strcmp(word, "option") == 0 && strncmp(rest, "tcp-check", 9) == 0)
                section->has_tcp_check = true;
        else if (strcmp(word, "acl") == 0)
                take_acl(reading, rest);
        else if (strcmp(word, "tcp-request") == 0)
                take_rule(reading, section, rest);
        else if (strcmp(word, "timeout") == 0 && strncmp(rest, "client", 6) == 0 && strchr(" \t", rest[6]) != NULL)
                (void)snprintf(section->silence, sizeof(section->silence), "%s", rest + 6 + strspn(rest + 6, " \t"));
        else if (strcmp(word, "disabled") == 0)
                section->is_off = true;
}

static void
take_haproxy_line(void *context, char *line, unsigned number)
{
        struct reading *reading = context;
        enum kind kind;
        char *word;

        (void)number;
        line[strcspn(line, "#")] = '\0';
        word = cut_word(&line);
        kind = kind_of(word);
        if (kind != NO_SECTION)
                begin_section(reading, kind, cut_word(&line));
        else if (*word != '\0' && reading->current != NULL)
                take_word(reading, reading->current, word, line);
}

/* ---- Entries ----------------------------------------------------------------------------- */

/* Words of a bind or server line that have no value behind them. */
static bool
is_flag(const char *word)
{
        static const char *const flags[] = {
                "ssl", "v4v6", "v6only", "accept-proxy", "tfo", "transparent", "defer-accept",
                "strict-sni", "allow-0rtt", "check", "backup", "disabled", "send-proxy", "send-proxy-v2",
                "send-proxy-v2-ssl", "send-proxy-v2-ssl-cn", "check-send-proxy", "check-ssl",
                "no-check", "no-ssl", "no-tls-tickets", "no-sslv3", "no-tlsv10", "no-tlsv11", "no-tlsv12",
                "no-tlsv13", "force-sslv3", "force-tlsv10", "force-tlsv11", "force-tlsv12", "force-tlsv13",
        };

        for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++)
                if (strcmp(flags[i], word) == 0)
                        return true;
        return false;
}

/* The words of a line, each with its value, as words of the entry behind a prefix. */
static void
take_options(struct entry *entry, const char *prefix, const char *line)
{
        char text[VALUE_SIZE], name[2 * NAME_SIZE], *rest = text;

        (void)snprintf(text, sizeof(text), "%s", line);
        while (*rest != '\0') {
                const char *word = cut_word(&rest);

                (void)snprintf(name, sizeof(name), "%s%.63s", prefix, word);
                entry_set(entry, SET, name, is_flag(word) ? "" : cut_word(&rest));
        }
}

/* The first server of the backend: its address, and the words that say how it is spoken to. */
static void
take_server(const struct reading *reading, struct entry *entry, const struct section *backend)
{
        char text[VALUE_SIZE], path[2 * VALUE_SIZE], *rest = text;
        const char *address;

        entry_set(entry, SET, "server.mode", backend->mode);
        if (backend->has_tcp_check)
                entry_set(entry, SET, "server.tcp-check", "");
        (void)snprintf(text, sizeof(text), "%s", backend->server);
        (void)cut_word(&rest);  /* its name */
        address = cut_word(&rest);
        entry_set(entry, SET, "server.address", address);
        take_options(entry, "server.", backend->server_defaults);
        take_options(entry, "server.", rest);
        (void)snprintf(entry->value[CONNECT], VALUE_SIZE, "%s", address);
        if (strncmp(address, "unix@", 5) == 0 || *address == '/') {
                address += *address == '/' ? 0 : 5;
                (void)snprintf(path, sizeof(path), "%s%s", reading->jail, address);
                entry_connects_to(reading->entries, entry, path);
        } else {
                entry_connects_to(reading->entries, entry, strncmp(address, "ipv4@", 5) == 0 ||
                    strncmp(address, "ipv6@", 5) == 0 ? address + 5 : address);
        }
}

static const struct section *
backend_of(const struct reading *reading, const struct section *front)
{
        if (front->kind == LISTEN && front->server[0] != '\0')
                return front;
        for (size_t i = 0; i < reading->count; i++)
                if (reading->section[i].kind == BACKEND &&
                    strcmp(reading->section[i].name, front->backend) == 0)
                        return &reading->section[i];
        return NULL;
}

/* "5s", "50000" (milliseconds), "11m": in seconds; 0 for none. */
static unsigned long
seconds_of(const char *text)
{
        char *end;
        unsigned long number = strtoul(text, &end, 10);

        if (*end == '\0' || strcmp(end, "ms") == 0)
                return number == 0 ? 0 : number / 1000 + 1;
        return number * (*end == 'm' ? 60 : *end == 'h' ? 3600 : *end == 'd' ? 86400 : 1);
}

/* What in a frontend itself keeps clients from it. */
static void
find_faults(const struct section *front, struct entry *entry)
{
        unsigned long seconds = seconds_of(front->silence);

        if (entry_word(entry, "accept-proxy") != NULL && *entry->address == '\0')
                entry_trouble(entry, "fail", "\ncause: accept-proxy: HAProxy waits for the PROXY header of another "
                    "proxy, which no client sends, and closes\nremedy: take accept-proxy out of its bind line; or let "
                    "it listen on the inner address alone to which that proxy connects. Then: systemctl reload haproxy");
        if (entry_word(entry, "strict-sni") != NULL)
                entry_trouble(entry, "warn", "\ncause: strict-sni: clients that know this machine by its address, or "
                    "do not tell the name, are refused\nremedy: take strict-sni out of its bind line, then: systemctl "
                    "reload haproxy");
        if (seconds != 0 && seconds < IDLE_SECONDS)
                entry_trouble(entry, "warn", "\ncause: timeout client %s: HAProxy cuts a session that is silent before "
                    "pop3d would (%d seconds)\nremedy: write timeout client 11m and timeout server 11m there, then: "
                    "systemctl reload haproxy", front->silence, IDLE_SECONDS);
}

/* One address of a bind line: "ADDRESS:PORT", "*:PORT", "/run/socket". */
static void
take_bind(struct reading *reading, const struct section *front, const char *address, const char *options)
{
        struct entry *entry = entry_begin(reading->entries, HAPROXY, front->file, front->name);
        const struct section *backend = backend_of(reading, front);

        take_options(entry, "", options);
        entry_set(entry, SET, "mode", front->mode);
        entry_set(entry, SET, "rules", front->rules);
        (void)snprintf(entry->value[PORT], VALUE_SIZE, "%s", address);
        (void)snprintf(entry->value[USER], VALUE_SIZE, "%s", reading->user);
        entry_listens_on(entry, address);
        if (front->is_off)
                entry_switch_off(entry, "\ncause: it is switched off (the word disabled)\n"
                    "remedy: take out that line, then: systemctl reload haproxy");
        find_faults(front, entry);
        if (backend != NULL)
                take_server(reading, entry, backend);
        if (strcmp(front->mode, "http") == 0 || (backend != NULL && strcmp(backend->mode, "http") == 0))
                entry_trouble(entry, "fail", "\ncause: mode http, but POP3 is not HTTP\n"
                    "remedy: write mode tcp in frontend %s and in its backend, then: systemctl reload haproxy",
                    front->name);
        if (backend == NULL)
                entry_trouble(entry, "fail", "\ncause: it has no backend with that name: %s\n"
                    "remedy: write default_backend with the name of one there, then: systemctl reload haproxy",
                    front->backend);
        (void)entry_end(reading->entries);
}

static void
take_front(struct reading *reading, const struct section *front)
{
        for (size_t i = 0; i < front->binds; i++) {
                char text[VALUE_SIZE], *options = text, *rest, *addresses;

                (void)snprintf(text, sizeof(text), "%s", front->bind[i]);
                addresses = cut_word(&options);
                for (char *one = strtok_r(addresses, ",", &rest); one != NULL;
                    one = strtok_r(NULL, ",", &rest))
                        take_bind(reading, front, one, options);
        }
}

/* ---- Files ------------------------------------------------------------------------------- */

static void
read_files(struct reading *reading, const char *pattern)
{
        glob_t found;

        if (glob(pattern, 0, NULL, &found) != 0)
                return;
        for (size_t i = 0; i < found.gl_pathc; i++) {
                reading->path = found.gl_pathv[i];
                (void)file_read(reading->entries, found.gl_pathv[i], take_haproxy_line, reading);
        }
        globfree(&found);
}

struct started {
        char files[4][VALUE_SIZE];
        size_t count;
};

/* The files that the HAProxy that runs was started with: "-f FILE", more than once. */
static void
take_process(void *context, const struct process *process)
{
        struct started *started = context;

        for (size_t i = 1; i + 1 < process->count && started->count < 4; i++) {
                bool is_known = false;

                if (strcmp(process->name, "haproxy") != 0 || strcmp(process->words[i], "-f") != 0)
                        continue;
                for (size_t j = 0; j < started->count; j++)
                        is_known |= strcmp(started->files[j], process->words[i + 1]) == 0;
                if (!is_known)
                        (void)snprintf(started->files[started->count++], VALUE_SIZE, "%s",
                            process->words[i + 1]);
        }
}

void
haproxy_read(struct entries *entries)
{
        static struct reading reading;
        struct started started = { .count = 0 };
        char pattern[2 * VALUE_SIZE];

        reading.entries = entries;
        processes_read(take_process, &started);
        if (started.count == 0)
                (void)snprintf(started.files[started.count++], VALUE_SIZE, "/etc/haproxy/haproxy.cfg");
        for (size_t i = 0; i < started.count; i++) {
                read_files(&reading, started.files[i]);
                (void)snprintf(pattern, sizeof(pattern), "%s/*.cfg", started.files[i]);
                read_files(&reading, pattern);
        }
        for (size_t i = 0; i < reading.count; i++)
                if (reading.section[i].kind == FRONTEND || reading.section[i].kind == LISTEN)
                        take_front(&reading, &reading.section[i]);
}
