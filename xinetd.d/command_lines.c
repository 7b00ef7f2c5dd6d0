/*
 * command_lines.c - reads the command lines of processes that listen and start pop3d: tcpserver,
 * tcpsvd, socat, systemd-socket-activate, ncat.
 * Runs in:   pop3d-check, as root where it can.
 * May touch: /proc, for reading.
 */
#include "entries.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LEAST_SILENCE = 600 };           /* as pop3d's -t */

/* A process whose command line is being read. */
struct reading {
        const struct process *process;
        struct entry *entry;
        size_t at;                      /* the word that is next */
};

/*
 * The file that a process finds under the name of its program: by its PATH, or from where it stands.
 */
static void
find_program(const struct process *process, char program[VALUE_SIZE])
{
        char path[NAME_SIZE], words[8 * VALUE_SIZE] = "", found[2 * VALUE_SIZE], *list = NULL, *rest;
        size_t length;
        FILE *file;

        if (*program == '/' || *program == '\0' || strchr(program, '/') != NULL)
                return;
        (void)snprintf(path, sizeof(path), "/proc/%d/environ", process->pid);
        file = fopen(path, "re");
        length = file == NULL ? 0 : fread(words, 1, sizeof(words) - 1, file);
        if (file != NULL)
                (void)fclose(file);
        words[length] = '\0';
        for (char *word = words; word < words + length; word += strlen(word) + 1)
                if (strncmp(word, "PATH=", 5) == 0)
                        list = word + 5;
        for (char *one = list == NULL ? NULL : strtok_r(list, ":", &rest); one != NULL;
            one = strtok_r(NULL, ":", &rest)) {
                (void)snprintf(found, sizeof(found), "%s/%s", one, program);
                if (access(found, X_OK) == 0) {
                        (void)snprintf(program, VALUE_SIZE, "%.1000s", found);
                        return;
                }
        }
}

/* What softlimit, chpst and setuidgid, which start the program in their turn, change before. */
static void
take_changes(struct entry *entry)
{
        const char *changer = base_name(entry->value[PROGRAM]);
        bool is_chpst = strcmp(changer, "chpst") == 0;
        char name[NAME_SIZE];

        if (strcmp(changer, "setuidgid") == 0 && entry->argument_count > 1)
                (void)snprintf(entry->value[USER], VALUE_SIZE, "%s", entry->arguments[1]);
        if (!is_chpst && strcmp(changer, "softlimit") != 0)
                return;
        for (size_t i = 1; i + 1 < entry->argument_count && entry->arguments[i][0] == '-'; i++) {
                const char *word = entry->arguments[i], *value = word + 2;

                if (word[1] == '\0' || (is_chpst && strchr("vP012", word[1]) != NULL))
                        continue;
                if (*value == '\0')
                        value = entry->arguments[++i];
                (void)snprintf(name, sizeof(name), "%s -%c", changer, word[1]);
                entry_set(entry, SET, name, value);
                if (is_chpst && word[1] == 'u')
                        (void)snprintf(entry->value[USER], VALUE_SIZE, "%.*s", (int)strcspn(value, ":"), value);
        }
}

/* From here on the words are those of the program that is started. */
static void
take_program(struct reading *reading)
{
        const struct process *process = reading->process;
        struct entry *entry = reading->entry;

        if (reading->at >= process->count)
                return;
        (void)snprintf(entry->value[PROGRAM], VALUE_SIZE, "%s", process->words[reading->at]);
        for (size_t i = reading->at; i < process->count; i++) {
                size_t used = strlen(entry->value[ARGUMENTS]);

                entry_argument(entry, process->words[i]);
                if (i > reading->at)
                        (void)snprintf(entry->value[ARGUMENTS] + used, VALUE_SIZE - used, "%s%s",
                            used > 0 ? " " : "", process->words[i]);
        }
        find_program(process, entry->value[PROGRAM]);
        take_changes(entry);
}

/*
 * Takes options as getopt(3) would, up to the first word that is none. Each is set as a word of the
 * entry; with_value has the letters behind which there is a value.
 */
static void
take_options(struct reading *reading, const char *with_value)
{
        const struct process *process = reading->process;

        for (; reading->at < process->count && process->words[reading->at][0] == '-'; reading->at++)
                for (const char *letter = process->words[reading->at] + 1; *letter != '\0'; letter++) {
                        char name[2] = { *letter, '\0' };
                        const char *value = letter + 1;

                        if (strchr(with_value, *letter) == NULL) {
                                entry_set(reading->entry, SET, name, "");
                                continue;
                        }
                        if (*value == '\0' && reading->at + 1 < process->count)
                                value = process->words[++reading->at];
                        entry_set(reading->entry, SET, name, value);
                        break;
                }
}

/* "HOST PORT PROGRAM ARGUMENTS" behind the options of tcpserver and tcpsvd. */
static void
take_host_port(struct reading *reading)
{
        const struct process *process = reading->process;
        struct entry *entry = reading->entry;

        if (reading->at + 2 >= process->count)
                return;
        entry_listens_at(entry, process->words[reading->at]);
        entry->port = service_port(process->words[reading->at + 1]);
        reading->at += 2;
        take_program(reading);
        entry_take(entry, LIMIT, "c");
        if (entry_word(entry, "u") != NULL && strcmp(entry_word(entry, "u"), "0") != 0)
                entry_take(entry, USER, "u");
}

static void
read_tcpserver(struct reading *reading)
{
        take_options(reading, "cxgublBti");
        if (entry_word(reading->entry, "B") != NULL)
                entry_trouble(reading->entry, "fail", "\ncause: -B %s: tcpserver writes that before the "
                    "greeting, and clients take it for the greeting\nremedy: start it without -B",
                    entry_word(reading->entry, "B"));
        if (entry_word(reading->entry, "R") == NULL)
                entry_trouble(reading->entry, "warn", "\ncause: without -R tcpserver asks the client's machine by "
                    "ident (port 113) who connects; where a firewall drops that, the greeting comes half a minute "
                    "late\nremedy: start it with -R -H -l 0 as well");
        take_host_port(reading);
}

static void
read_tcpsvd(struct reading *reading)
{
        take_options(reading, "cCbulixt");
        take_host_port(reading);
}

/* systemd-socket-activate --accept --inetd -l 110 PROGRAM */
static void
read_activate(struct reading *reading)
{
        const struct process *process = reading->process;
        bool accepts = false, is_inetd = false;

        for (; reading->at < process->count && process->words[reading->at][0] == '-'; reading->at++) {
                const char *word = process->words[reading->at], *value = NULL;

                accepts |= strcmp(word, "--accept") == 0 || strcmp(word, "-a") == 0;
                is_inetd |= strcmp(word, "--inetd") == 0;
                if (strncmp(word, "--listen=", 9) == 0)
                        value = word + 9;
                else if ((strcmp(word, "-l") == 0 || strcmp(word, "--listen") == 0 ||
                    strcmp(word, "-E") == 0 || strcmp(word, "--setenv") == 0) &&
                    reading->at + 1 < process->count)
                        value = process->words[++reading->at];
                if (value != NULL && strchr(value, '=') == NULL)
                        entry_listens_on(reading->entry, value);
        }
        take_program(reading);
        if (!accepts || !is_inetd)
                entry_trouble(reading->entry, "fail", "\ncause: without --accept and --inetd pop3d gets the "
                    "listening socket, not a connection\nremedy: systemd-socket-activate --accept --inetd -l "
                    "%u %s %s", reading->entry->port, reading->entry->value[PROGRAM],
                    reading->entry->value[ARGUMENTS]);
}

/* The options of an address of socat's, behind its first comma, as words of the entry. */
static void
take_socat_options(struct entry *entry, const char *address)
{
        char text[VALUE_SIZE], *rest, *value;

        (void)snprintf(text, sizeof(text), "%s", address);
        (void)strtok_r(text, ",", &rest);
        for (char *one; (one = strtok_r(NULL, ",", &rest)) != NULL;) {
                value = strchr(one, '=');
                if (value != NULL)
                        *value++ = '\0';
                entry_set(entry, SET, one, value == NULL ? "" : value);
        }
}

/* Cuts "EXEC:/usr/local/sbin/pop3d -p,nofork" into program and arguments. */
static void
take_socat_program(const struct reading *reading, const char *address)
{
        struct entry *entry = reading->entry;
        const char *text = strchr(address, ':') + 1;
        char line[VALUE_SIZE], *space;

        (void)snprintf(line, sizeof(line), "%.*s", (int)strcspn(text, ","), text);
        space = strchr(line, ' ');
        if (space != NULL)
                *space++ = '\0';
        (void)snprintf(entry->value[PROGRAM], VALUE_SIZE, "%s", line);
        (void)snprintf(entry->value[ARGUMENTS], VALUE_SIZE, "%s", space == NULL ? "" : space);
        entry_argument(entry, line);
        entry_arguments(entry, true);
        find_program(reading->process, entry->value[PROGRAM]);
        if (entry_word(entry, "pty") != NULL)
                entry_trouble(entry, "fail", "\ncause: pty: a terminal sends the client's own lines back to it\n"
                    "remedy: start socat without pty");
        if (entry_word(entry, "nofork") == NULL)
                entry_trouble(entry, "warn", "\ncause: without nofork a pipe stands between pop3d and the "
                    "client, whose address is hidden\nremedy: end the line of socat with: EXEC:%s,nofork",
                    line);
}

/* What socat's options say of the entry. */
static void
end_socat(struct entry *entry)
{
        static const char *const users[] = { "su", "su-d", "substuser", "setuid" };
        const char *only_six = entry_word(entry, "ipv6only");

        if (only_six == NULL)
                only_six = entry_word(entry, "ipv6-v6only");

        if (entry_word(entry, "bind") != NULL)
                entry_listens_at(entry, entry_word(entry, "bind"));
        for (size_t i = 0; i < sizeof(users) / sizeof(users[0]); i++)
                entry_take(entry, USER, users[i]);
        entry_take(entry, LIMIT, "max-children");
        if (entry_word(entry, "crlf") != NULL || entry_word(entry, "crnl") != NULL || entry_word(entry, "cr") != NULL)
                entry_trouble(entry, "fail", "\ncause: crlf or cr: socat changes the line ends that POP3 has already\n"
                    "remedy: start socat without that option");
        if (only_six != NULL && *only_six != '0')
                entry_trouble(entry, "warn", "\ncause: ipv6only: clients over IPv4 are refused\n"
                    "remedy: start socat with ipv6only=0 in its place");
        entry->serves_one = entry_word(entry, "fork") == NULL;
        if (entry->serves_one)
                entry_trouble(entry, "warn", "\ncause: without fork socat serves one client, and ends with it\n"
                    "remedy: write fork behind its port: TCP6-LISTEN:%u,ipv6only=0,reuseaddr,fork", entry->port);
}

/* "-T 30" or "-T30": a session is cut when nothing was sent for so long. */
static void
take_silence(struct reading *reading, size_t at)
{
        const char *word = reading->process->words[at] + 2;
        double seconds;

        if (*word == '\0' && at + 1 < reading->process->count)
                word = reading->process->words[at + 1];
        seconds = strtod(word, NULL);
        if (seconds > 0 && seconds < LEAST_SILENCE)
                entry_trouble(reading->entry, "warn", "\ncause: -T %s: socat cuts a session that is silent for so many "
                    "seconds, before pop3d would (600)\nremedy: start socat without -T", word);
}

/* socat TCP6-LISTEN:110,fork EXEC:/usr/local/sbin/pop3d,nofork */
static void
read_socat(struct reading *reading)
{
        for (size_t i = reading->at; i < reading->process->count; i++) {
                const char *word = reading->process->words[i], *colon = strchr(word, ':');
                char value[VALUE_SIZE];

                if (strncmp(word, "-T", 2) == 0)
                        take_silence(reading, i);
                if (colon == NULL || *word == '-')
                        continue;
                (void)snprintf(value, sizeof(value), "%.*s", (int)strcspn(colon + 1, ","), colon + 1);
                take_socat_options(reading->entry, word);
                if (strncasecmp(word, "UNIX-L", 6) == 0 || strncasecmp(word, "TCP", 3) == 0 ||
                    strncasecmp(word, "OPENSSL-L", 9) == 0 || strncasecmp(word, "SSL-L", 5) == 0)
                        entry_listens_on(reading->entry, value);
                else if (strncasecmp(word, "EXEC", 4) == 0 || strncasecmp(word, "SYSTEM", 6) == 0)
                        take_socat_program(reading, word);
        }
        end_socat(reading->entry);
}

/* Whether it goes on to listen when a client has left: ncat -k, busybox nc -ll. */
static bool
keeps_open(const struct process *process)
{
        unsigned listens = 0;

        for (size_t i = 1; i < process->count; i++) {
                const char *word = process->words[i];

                if (strcmp(word, "--keep-open") == 0)
                        return true;
                if (word[0] != '-' || word[1] == '-')
                        continue;
                for (const char *letter = word + 1; *letter != '\0'; letter++) {
                        listens += *letter == 'l';
                        if (*letter == 'k')
                                return true;
                }
        }
        return listens > 1;
}

/* ncat -l -k 110 -e PROGRAM: always by pipes. */
static void
read_ncat(struct reading *reading)
{
        struct entry *entry = reading->entry;
        const struct process *process = reading->process;

        for (size_t i = reading->at; i < process->count; i++) {
                const char *word = process->words[i], *next = i + 1 < process->count ? process->words[i + 1] : "";

                if (strcmp(word, "-e") == 0 || strcmp(word, "-c") == 0 || strcmp(word, "--exec") == 0 ||
                    strcmp(word, "--sh-exec") == 0) {
                        (void)snprintf(entry->value[ARGUMENTS], VALUE_SIZE, "%s", next);
                        (void)sscanf(next, "%1023s", entry->value[PROGRAM]);
                        entry_arguments(entry, true);
                        i++;
                } else if (isdigit((unsigned char)*word)) {
                        entry->port = service_port(word);
                }
        }
        entry_trouble(entry, "warn", "\ncause: %s puts a pipe between pop3d and the client, whose address is "
            "hidden, and a crowd is not limited\nremedy: take another launcher: see "
            "/usr/local/share/doc/pop3d/commands", entry->name);
        entry->serves_one = !keeps_open(process);
        if (entry->serves_one)
                entry_trouble(entry, "warn", "\ncause: %s serves one client, and ends with it\nremedy: take "
                    "another launcher: see /usr/local/share/doc/pop3d/commands", entry->name);
}

static const struct {
        const char *program;
        void (*read)(struct reading *reading);
} readers[] = {
        { "tcpserver", read_tcpserver }, { "tcpsvd", read_tcpsvd },
        { "systemd-socket-activate", read_activate }, { "socat", read_socat }, { "socat1", read_socat },
        { "ncat", read_ncat }, { "nc", read_ncat }, { "nc.traditional", read_ncat },
};

/* Whether this process is the child of one that was read, with the same command line. */
static bool
is_known(const struct entries *entries, const struct entry *entry)
{
        for (size_t i = 0; i < entries->count; i++) {
                const struct entry *other = &entries->entry[i];

                if (other->launcher == COMMAND && strcmp(other->name, entry->name) == 0 &&
                    other->port == entry->port && strcmp(other->socket, entry->socket) == 0)
                        return true;
        }
        return false;
}

static void
take_process(void *context, const struct process *process)
{
        struct entries *entries = context;
        struct reading reading = { .process = process };
        char what[NAME_SIZE + 32];

        /* busybox has the name of its part as its first word or as its second */
        if (strcmp(base_name(process->words[0]), "busybox") == 0)
                reading.at = 1;
        (void)snprintf(what, sizeof(what), "process %d", process->pid);
        for (size_t i = 0; i < sizeof(readers) / sizeof(readers[0]) && reading.at < process->count; i++) {
                if (strcmp(base_name(process->words[reading.at]), readers[i].program) != 0)
                        continue;
                reading.entry = entry_begin(entries, COMMAND, what, process->name);
                reading.entry->pid = process->pid;
                reading.at++;
                readers[i].read(&reading);
                if ((reading.entry->port != 0 || reading.entry->socket[0] != '\0') &&
                    !is_known(entries, reading.entry))
                        (void)entry_end(entries);
                return;
        }
}

void
commands_read(struct entries *entries)
{
        processes_read(take_process, entries);
}
