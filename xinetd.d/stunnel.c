/*
 * stunnel.c - reads what stunnel's files say of POP3, and what there keeps clients out.
 * Runs in:   pop3d-check, as root where it can.
 * May touch: /etc/stunnel and the files that stunnel was started with, for reading.
 *
 * What stands before the first section counts for all of them. A file without a section is for a
 * stunnel that xinetd or inetd starts. Words are the same in any case.
 */
#include "entries.h"

#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FILES_MAX = 32 };

struct reading {
        struct entries *entries;
        struct entry global;            /* the words before the first section */
        struct entry *section;          /* the one that is being read, or NULL */
        const char *path, *top;         /* this file, and the one that included it */
        char *read[FILES_MAX];          /* files that were read, each once */
        size_t read_count;
};

static bool
says(const struct entry *entry, const char *name, const char *value)
{
        const char *own = entry_word(entry, name);

        return own != NULL && strcasecmp(own, value) == 0;
}

/* ---- What is wrong in it ----------------------------------------------------------------- */

static void
find_wrong_end(struct entry *entry)
{
        if (says(entry, "client", "yes"))
                entry_trouble(entry, "fail", "\ncause: client = yes: stunnel expects clear text here and "
                    "speaks TLS to pop3d\nremedy: take out the line client = yes, then restart stunnel");
        if (says(entry, "pty", "yes"))
                entry_trouble(entry, "fail", "\ncause: pty = yes: a terminal sends the client's own lines "
                    "back to it\nremedy: take out the line pty = yes, then restart stunnel");
}

/* The words that ask clients for a certificate of theirs. */
static void
find_verify(struct entry *entry)
{
        static const char *const words[] = { "verifyChain", "verifyPeer", "requireCert" };
        const char *level = entry_word(entry, "verify"), *found = NULL;

        for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
                if (says(entry, words[i], "yes"))
                        found = words[i];
        if (level != NULL && atoi(level) >= 2)
                found = "verify";
        if (found != NULL)
                entry_trouble(entry, "warn", "\ncause: %s = %s: a client without a certificate of its own is "
                    "refused, and few mail programs have one\nremedy: take out the line with %s, then restart "
                    "stunnel", found, entry_word(entry, found), found);
}

/* Versions of TLS that today's clients do not speak any more. */
static void
find_versions(struct entry *entry)
{
        static const char *const old[] = { "SSLv2", "SSLv3", "TLSv1", "TLSv1.0", "TLSv1.1" };
        static const char *const words[] = { "sslVersion", "sslVersionMax" };
        const char *options = entry_word(entry, "options");

        for (size_t i = 0; i < 2 * sizeof(old) / sizeof(old[0]); i++)
                if (says(entry, words[i % 2], old[i / 2]))
                        entry_trouble(entry, "fail", "\ncause: %s = %s: today's clients refuse that\n"
                            "remedy: write sslVersionMin = TLSv1.2 in its place, then restart stunnel",
                            words[i % 2], old[i / 2]);
        if (options != NULL && strstr(options, "NO_TLSv1.2") != NULL && strstr(options, "NO_TLSv1.3") != NULL)
                entry_trouble(entry, "fail", "\ncause: options = NO_TLSv1.2 and NO_TLSv1.3: today's clients "
                    "speak nothing else\nremedy: take out these two lines, then restart stunnel");
}

/* STLS is for port 110, TLS from the first octet for 995. */
static void
find_wrong_protocol(struct entry *entry)
{
        const char *protocol = entry->value[PROTOCOL];

        if (entry->port == POP3S_PORT && strcasecmp(protocol, "pop3") == 0)
                entry_trouble(entry, "fail", "\ncause: protocol = pop3 greets in clear text, but on port 995 a "
                    "client begins with TLS\nremedy: take out the line protocol = pop3, then restart stunnel");
        else if (entry->port == POP3_PORT && strcasecmp(protocol, "pop3") != 0 &&
            !says(entry, "client", "yes"))
                entry_trouble(entry, "fail", "\ncause: on port 110 a client begins in clear text, but stunnel "
                    "waits for TLS\nremedy: write protocol = pop3 there, then restart stunnel");
        else if (*protocol != '\0' && strcasecmp(protocol, "pop3") != 0 && strcasecmp(protocol, "proxy") != 0)
                entry_trouble(entry, "fail", "\ncause: protocol = %s is not for POP3\n"
                    "remedy: take out that line, then restart stunnel", protocol);
}

/* Paths that must be there when stunnel starts, or when it starts pop3d. */
static void
find_places(struct entry *entry)
{
        static const char *const files[] = { "pid", "output" };
        const char *jail = entry_word(entry, "chroot");
        const char *user = entry_word(entry, "setuid");
        char path[2 * VALUE_SIZE], folder[2 * VALUE_SIZE];
        uid_t uid;

        (void)snprintf(path, sizeof(path), "%s%s", jail == NULL ? "" : jail, entry->value[PROGRAM]);
        if (jail != NULL && entry->value[PROGRAM][0] != '\0' && access(path, X_OK) != 0)
                entry_trouble(entry, "fail", "\ncause: chroot = %s, and pop3d is not in there\n"
                    "remedy: take out the line with chroot, then restart stunnel", jail);
        for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
                const char *file = entry_word(entry, files[i]);

                /* the log is opened before stunnel enters its jail */
                (void)snprintf(folder, sizeof(folder), "%s%s", jail == NULL || file == NULL || i > 0 ? "" : jail,
                    file == NULL ? "" : file);
                *strrchr(*folder == '/' ? folder : strcpy(folder, "/"), '/') = '\0';
                if (*folder != '\0' && access(folder, F_OK) != 0)
                        entry_refused(entry, "\ncause: %s = %s: there is no folder %s, so stunnel does not start\n"
                            "remedy: mkdir -p %s; then restart stunnel", files[i], file, folder, folder);
        }
        if (user != NULL && !account_uid(user, &uid))
                entry_refused(entry, "\ncause: setuid = %s: there is no such account, so stunnel does not "
                    "start\nremedy: useradd --system --shell /usr/sbin/nologin %s; then restart stunnel", user,
                    user);
}

/* The address that stunnel itself connects from. */
static void
find_local(const struct entries *entries, struct entry *entry)
{
        const char *local = entry_word(entry, "local");

        if (local != NULL && !addresses_have_name(&entries->own, local))
                entry_trouble(entry, "fail", "\ncause: local = %s, which is no address of this machine, so stunnel "
                    "cannot connect to what is behind it\nremedy: take out the line with local, then restart stunnel",
                    local);
}

static void
find_short_idle(struct entry *entry)
{
        const char *seconds = entry_word(entry, "TIMEOUTidle");

        if (seconds != NULL && (unsigned)atoi(seconds) < entry->options.idle_seconds)
                entry_trouble(entry, "warn", "\ncause: TIMEOUTidle = %s: stunnel cuts a session that is silent "
                    "before pop3d would (%u seconds)\nremedy: take out that line, then restart stunnel",
                    seconds, entry->options.idle_seconds);
}

/* ---- An entry ---------------------------------------------------------------------------- */

/* The first word of execArgs is the program's name. */
static void
take_arguments(struct entry *entry)
{
        char *blank = strchr(entry->value[PROGRAM], ' ');

        entry_take(entry, ARGUMENTS, "execArgs");
        if (blank != NULL) {
                *blank++ = '\0';
                entry_trouble(entry, "fail", "\ncause: exec = %s %s: it takes a path alone, so stunnel finds no such "
                    "program\nremedy: write there: exec = %s and, in a line of its own, execArgs = %s %s; then "
                    "restart stunnel", entry->value[PROGRAM], blank, entry->value[PROGRAM],
                    base_name(entry->value[PROGRAM]), blank);
                (void)snprintf(entry->value[ARGUMENTS], VALUE_SIZE, "%s %.1000s", base_name(entry->value[PROGRAM]),
                    entry_word(entry, "exec") + strlen(entry->value[PROGRAM]) + 1);
        }
        entry_arguments(entry, false);
        if (entry->argument_count > 0 && *entry->arguments[0] == '-')
                entry_trouble(entry, "fail", "\ncause: the first word of execArgs, %s, is taken for the name of "
                    "the program\nremedy: write there: execArgs = pop3d %s; then restart stunnel",
                    entry->arguments[0], entry->value[ARGUMENTS]);
}

static void
end_section(struct reading *reading, bool is_section)
{
        struct entry *entry = reading->section;
        const char *jail;

        if (entry == NULL)
                return;
        reading->section = NULL;
        entry_take(entry, PROGRAM, "exec");
        entry_take(entry, CONNECT, "connect");
        entry_take(entry, PROTOCOL, "protocol");
        entry_take(entry, USER, "setuid");
        if (is_section)
                entry_take(entry, PORT, "accept");
        jail = entry_word(entry, "chroot");
        if (entry->value[PORT][0] != '\0')
                entry_listens_on(entry, entry->value[PORT]);
        entry_connects_to(reading->entries, entry, entry->value[CONNECT]);
        if (jail != NULL && entry->connects_socket[0] != '\0')
                (void)snprintf(entry->connects_socket, VALUE_SIZE, "%s%s", jail, entry->value[CONNECT]);
        take_arguments(entry);
        find_wrong_end(entry);
        find_verify(entry);
        find_versions(entry);
        if (is_section)
                find_wrong_protocol(entry);
        find_places(entry);
        find_local(reading->entries, entry);
        stunnel_find_bars(entry);
        entry = entry_end(reading->entries);
        if (entry != NULL)
                find_short_idle(entry);
}

static void read_one(struct reading *reading, const char *path);

/* A file, or all files of a folder in the order of their names. */
static void
read_include(struct reading *reading, const char *path)
{
        const char *const above = reading->path;
        char pattern[VALUE_SIZE];
        glob_t found;

        (void)snprintf(pattern, sizeof(pattern), "%s/*", path);
        if (glob(pattern, 0, NULL, &found) != 0) {
                read_one(reading, path);
        } else {
                for (size_t i = 0; i < found.gl_pathc; i++)
                        read_one(reading, found.gl_pathv[i]);
                globfree(&found);
        }
        reading->path = above;
}

static void
take_stunnel_line(void *context, char *line, unsigned number)
{
        struct reading *reading = context;
        char *sign, *value;

        (void)number;
        line += strspn(line, " \t\xef\xbb\xbf");
        if (*line == '[') {
                line[strcspn(line, "]")] = '\0';
                end_section(reading, true);
                reading->section = entry_begin(reading->entries, STUNNEL, reading->path, line + 1);
                entry_inherit(reading->section, &reading->global);
                return;
        }
        sign = strchr(line, '=');
        if (*line == ';' || *line == '#' || sign == NULL)
                return;
        value = sign + 1 + strspn(sign + 1, " \t");
        *sign = '\0';
        line[strcspn(line, " \t")] = '\0';
        if (strcasecmp(line, "include") == 0)
                read_include(reading, value);
        else
                entry_set(reading->section != NULL ? reading->section : &reading->global,
                    strcasecmp(line, "options") == 0 ? ADD : SET, line, value);
}

static void
read_one(struct reading *reading, const char *path)
{
        for (size_t i = 0; i < reading->read_count; i++)
                if (strcmp(reading->read[i], path) == 0)
                        return;
        if (reading->read_count == FILES_MAX)
                return;
        reading->read[reading->read_count++] = strdup(path);
        reading->path = path;
        (void)file_read(reading->entries, path, take_stunnel_line, reading);
}

/* A file that a stunnel is started with, and what it includes. */
static void
read_top(struct reading *reading, const char *path)
{
        size_t before = reading->read_count;

        memset(&reading->global, 0, sizeof(reading->global));
        reading->global.launcher = STUNNEL;
        read_one(reading, path);
        if (reading->section != NULL) {
                end_section(reading, true);
        } else if (reading->read_count > before) {
                reading->section = entry_begin(reading->entries, STUNNEL, path, "");
                entry_inherit(reading->section, &reading->global);
                end_section(reading, false);
        }
}

static void
take_process(void *context, const struct process *process)
{
        const char *last = process->words[process->count - 1];

        if (strncmp(process->name, "stunnel", 7) == 0 && process->count > 1 && *last == '/')
                read_top(context, last);
}

void
stunnel_read(struct entries *entries)
{
        static struct reading reading;
        glob_t found;

        reading.entries = entries;
        if (glob("/etc/stunnel/*.conf", 0, NULL, &found) == 0) {
                for (size_t i = 0; i < found.gl_pathc; i++)
                        read_top(&reading, found.gl_pathv[i]);
                globfree(&found);
        }
        processes_read(take_process, &reading);
}
