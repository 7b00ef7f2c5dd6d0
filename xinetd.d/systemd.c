/*
 * systemd.c - reads systemd's units that listen for POP3, with all that changes them.
 * Runs in:   pop3d-check, as root where it can.
 * May touch: the folders of units, for reading; systemctl, where systemd runs.
 *
 * A unit is the first file of its name in these folders; changes to it lie in folders NAME.d in all
 * of them. NAME.socket starts NAME@.service for each connection if it has Accept=yes, else
 * NAME.service. A unit that is a link to /dev/null, or empty, is masked: systemd refuses to start it.
 */
#include "entries.h"
#include "systemd.h"

#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const folders[] = {
        "/etc/systemd/system.control", "/run/systemd/system.control", "/run/systemd/transient",
        "/etc/systemd/system", "/run/systemd/system", "/run/systemd/generator",
        "/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system",
};

enum { FOLDERS = sizeof(folders) / sizeof(folders[0]), DROP_INS_MAX = 32 };

/* A unit's file that is being read. */
struct reading {
        struct entry *entry;
        const char *path;
        char section[NAME_SIZE];        /* "[Socket]", or "" before the first one */
        bool is_told;                   /* that a word stands in a wrong one */
        char logical[4 * VALUE_SIZE];   /* a line with those that continue it */
};

/* ---- Lines ------------------------------------------------------------------------------- */

/* Words that may be given more than once; an empty value takes back what was said before. */
static bool
is_list(const char *name)
{
        static const char *const lists[] = {
                "ListenStream", "IPAddressAllow", "IPAddressDeny", "ReadWritePaths", "ReadOnlyPaths",
                "InaccessiblePaths", "TemporaryFileSystem", "BindPaths", "BindReadOnlyPaths",
                "NoExecPaths", "ExecPaths", "CapabilityBoundingSet", "ConditionPathExists",
                "AssertPathExists", "ConditionPathIsDirectory", "ConditionPathIsMountPoint", "ExecStartPre",
                "Requires", "Requisite", "BindsTo",
        };

        for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
                if (strcmp(lists[i], name) == 0)
                        return true;
        return false;
}

/*
 * Whether systemd takes the word in this section. What [Unit] and [Install] have, and [Service] and [Socket] do
 * not, is known by its name; of those that it passes over the ones without which nothing works are told.
 */
static bool
is_in_its_section(struct reading *reading, const char *word)
{
        static const char *const needed[][2] = { { "ListenStream", "[Socket]" }, { "Accept", "[Socket]" },
                { "ExecStart", "[Service]" }, { "StandardInput", "[Service]" } };
        const char *section = reading->section, *own = NULL;
        bool is_in_unit = strcmp(section, "[Unit]") == 0 || strcmp(section, "[Install]") == 0;
        bool is_of_unit = strncmp(word, "Condition", 9) == 0 || strncmp(word, "Assert", 6) == 0 ||
            strncmp(word, "Requi", 5) == 0 || strcmp(word, "BindsTo") == 0;

        for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++)
                if (strcmp(needed[i][0], word) == 0)
                        own = needed[i][1];
        if (*section != '\0' && (own != NULL ? strcmp(section, own) == 0 : is_in_unit == is_of_unit))
                return true;
        if (own != NULL && !reading->is_told)
                entry_trouble(reading->entry, "fail", "\ncause: %s= stands %s%s in %s, and systemd takes it in %s "
                    "alone\nremedy: write %s alone on a line before it, then: systemctl daemon-reload; systemctl "
                    "restart %s", word, *section == '\0' ? "before all sections" : "in ", section, reading->path,
                    own, own, reading->entry->name);
        reading->is_told |= own != NULL;
        return false;
}

static void
take_assignment(struct reading *reading, char *line)
{
        struct entry *entry = reading->entry;
        char *sign = strchr(line, '='), *value;

        if (*line == '[')
                (void)snprintf(reading->section, sizeof(reading->section), "%.63s", line);
        if (sign == NULL || *line == '[')
                return;
        *sign = '\0';
        value = sign + 1;
        line[strcspn(line, " \t")] = '\0';
        value += strspn(value, " \t");
        if (!is_in_its_section(reading, line))
                return;
        if (strcmp(line, "SystemCallFilter") == 0) {
                systemd_take_calls(entry, value);
                return;
        }
        /* an empty one takes back what was said before; of two that are not systemd takes none */
        if (strcmp(line, "ExecStart") == 0)
                entry_set(entry, SET, "ExecStart twice", *value != '\0' && entry_word(entry, line) != NULL &&
                    *entry_word(entry, line) != '\0' ? "yes" : "no");
        entry_set(entry, is_list(line) && *value != '\0' ? ADD : SET, line, value);
}

/* A line that ends in a backslash goes on in the next one; comments between them do not count. */
static void
take_unit_line(void *context, char *line, unsigned number)
{
        struct reading *reading = context;
        size_t used = strlen(reading->logical), length = strlen(line);
        bool goes_on = length > 0 && line[length - 1] == '\\';

        (void)number;
        line += strspn(line, " \t");
        if (*line == '#' || *line == ';')
                return;
        if (goes_on)
                line[strlen(line) - 1] = ' ';
        (void)snprintf(reading->logical + used, sizeof(reading->logical) - used, "%s", line);
        if (goes_on)
                return;
        if (reading->logical[0] != '\0')
                take_assignment(reading, reading->logical);
        reading->logical[0] = '\0';
}

/* ---- Files of a unit --------------------------------------------------------------------- */

/* The file of a unit, or false. is_masked: it is a link to /dev/null, or empty. */
static bool
find_unit(const char *name, char path[VALUE_SIZE], bool *is_masked)
{
        struct stat status;

        for (size_t i = 0; i < FOLDERS; i++) {
                (void)snprintf(path, VALUE_SIZE, "%s/%s", folders[i], name);
                if (stat(path, &status) != 0)
                        continue;
                *is_masked = !S_ISREG(status.st_mode) || status.st_size == 0;
                return true;
        }
        return false;
}

/* Adds the changes of one folder NAME.d, unless a file of the same name was found before. */
static void
find_drop_ins(const char *folder, const char *unit, char *found[DROP_INS_MAX], size_t *count)
{
        char pattern[2 * VALUE_SIZE];
        glob_t files;

        (void)snprintf(pattern, sizeof(pattern), "%s/%s.d/*.conf", folder, unit);
        if (glob(pattern, 0, NULL, &files) != 0)
                return;
        for (size_t i = 0; i < files.gl_pathc && *count < DROP_INS_MAX; i++) {
                bool is_known = false;

                for (size_t j = 0; j < *count; j++)
                        if (strcmp(base_name(found[j]), base_name(files.gl_pathv[i])) == 0)
                                is_known = true;
                if (!is_known)
                        found[(*count)++] = strdup(files.gl_pathv[i]);
        }
        globfree(&files);
}

static int
compare_names(const void *one, const void *other)
{
        return strcmp(base_name(*(char *const *)one), base_name(*(char *const *)other));
}

/* Reads a unit and all changes to it, in the order of their names whatever their folder. */
static void
read_unit(struct entries *entries, struct entry *entry, const char *path, const char *name)
{
        struct reading reading = { .entry = entry };
        char *drop_ins[DROP_INS_MAX];
        size_t count = 0;

        reading.path = path;
        (void)file_read(entries, path, take_unit_line, &reading);
        for (size_t i = 0; i < FOLDERS; i++) {
                find_drop_ins(folders[i], name, drop_ins, &count);
                find_drop_ins(folders[i], strrchr(name, '.') + 1, drop_ins, &count);
        }
        qsort(drop_ins, count, sizeof(drop_ins[0]), compare_names);
        for (size_t i = 0; i < count; i++) {
                reading.logical[0] = reading.section[0] = '\0';
                reading.path = drop_ins[i];
                reading.is_told = false;
                (void)file_read(entries, drop_ins[i], take_unit_line, &reading);
                free(drop_ins[i]);
        }
}

/* ---- What it starts ---------------------------------------------------------------------- */

/* systemd makes one % of two, and expands what stands behind a single one itself. */
static void
take_percents(struct entry *entry)
{
        for (char *at = entry->value[ARGUMENTS]; (at = strchr(at, '%')) != NULL; at++)
                if (at[1] == '%')
                        memmove(at, at + 1, strlen(at));
                else if (at[1] != '\0' && strchr("udmh", at[1]) != NULL)
                        entry_trouble(entry, "fail", "\ncause: %.2s is not for pop3d: systemd expands it "
                            "itself\nremedy: write %%%.2s in ExecStart=, then: systemctl daemon-reload", at, at);
}

static void
take_exec_start(struct entry *entry)
{
        const char *line = entry_word(entry, "ExecStart");
        bool has_name = false;

        if (line == NULL)
                return;
        for (; *line != '\0' && strchr("-@:+!|", *line) != NULL; line++)
                has_name |= *line == '@';
        (void)sscanf(line, "%1023s %1023[^\n]", entry->value[PROGRAM], entry->value[ARGUMENTS]);
        take_percents(entry);
        if (!has_name)
                entry_argument(entry, base_name(entry->value[PROGRAM]));
        entry_arguments(entry, true);
}

static bool
is_yes(const char *value)
{
        return value != NULL && (strcasecmp(value, "yes") == 0 || strcasecmp(value, "true") == 0 ||
            strcasecmp(value, "on") == 0 || strcmp(value, "1") == 0);
}

/* A socket of another program's is told of by its port alone. */
static bool
is_anothers(const struct entry *entry)
{
        return entry->value[PROGRAM][0] != '\0' && strcmp(base_name(entry->value[PROGRAM]), "pop3d") != 0 &&
            strstr(entry->name, "pop3d") == NULL;
}

/* Units that the service cannot be started without, and that are not there, or are masked. */
static void
find_requirements(struct entry *entry, const char *service)
{
        static const char *const words[] = { "Requires", "Requisite", "BindsTo" };

        for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
                char text[VALUE_SIZE], path[VALUE_SIZE], *rest;
                const char *value = entry_word(entry, words[i]);
                bool is_masked = false;

                (void)snprintf(text, sizeof(text), "%s", value == NULL ? "" : value);
                for (char *one = strtok_r(text, " ", &rest); one != NULL; one = strtok_r(NULL, " ", &rest)) {
                        const char *kind = strrchr(one, '.');

                        /* the other kinds may be there without a file */
                        if (strpbrk(one, "@%") != NULL || kind == NULL || (strcmp(kind, ".service") != 0 &&
                            strcmp(kind, ".socket") != 0 && strcmp(kind, ".target") != 0) ||
                            (find_unit(one, path, &is_masked) && !is_masked))
                                continue;
                        entry_trouble(entry, "fail", "\ncause: %s=%s in %s, or in what changes it: %s, so systemd "
                            "starts no session\nremedy: take out that line (systemctl edit --full %s), or bring %s "
                            "back; then: systemctl daemon-reload; systemctl restart %s", words[i], one, service,
                            is_masked ? "that unit is masked" : "there is no such unit", service, one, entry->name);
                }
        }
}

/* The service that the socket starts. */
static void
read_service(struct entries *entries, struct entry *entry)
{
        bool accepts = is_yes(entry_word(entry, "Accept")), is_masked = false;
        const char *given = entry_word(entry, "Service");
        char name[NAME_SIZE + 16], path[VALUE_SIZE], template[NAME_SIZE + 16];
        int length = (int)(strrchr(entry->name, '.') - entry->name);

        (void)snprintf(template, sizeof(template), "%.*s@.service", length, entry->name);
        (void)snprintf(name, sizeof(name), "%.*s%s.service", length, entry->name, accepts ? "@" : "");
        if (given != NULL)
                (void)snprintf(name, sizeof(name), "%s", given);
        if (!accepts && !find_unit(name, path, &is_masked))
                (void)snprintf(name, sizeof(name), "%s", template);
        if (!find_unit(name, path, &is_masked))
                entry_refused(entry, "\ncause: there is no %s for it to start\n"
                    "remedy: cp /usr/local/share/doc/pop3d/pop3d@.service /etc/systemd/system/%s; "
                    "systemctl daemon-reload; systemctl restart %s", name, name, entry->name);
        else if (is_masked)
                entry_refused(entry, "\ncause: %s, which it starts, is masked: %s\n"
                    "remedy: systemctl unmask %s; systemctl restart %s", name, path, name, entry->name);
        else
                read_unit(entries, entry, path, name);
        take_exec_start(entry);
        find_requirements(entry, name);
        if (is_anothers(entry))
                return;
        if (!accepts)
                entry_trouble(entry, "fail", "\ncause: without Accept=yes systemd hands over the listening "
                    "socket, not a connection\nremedy: write Accept=yes in its [Socket], then: systemctl "
                    "daemon-reload; systemctl restart %s", entry->name);
        else if (entry->value[PROGRAM][0] != '\0' && (entry_word(entry, "StandardInput") == NULL ||
            strcmp(entry_word(entry, "StandardInput"), "socket") != 0))
                entry_trouble(entry, "fail", "\ncause: without StandardInput=socket pop3d does not get the "
                    "connection\nremedy: write StandardInput=socket in the [Service] of %s, then: systemctl "
                    "daemon-reload", name);
        systemd_find_fences(entry, name);
        systemd_find_bars(entry, name);
}

/* ---- On or off --------------------------------------------------------------------------- */

/* Whether a link in a folder TARGET.wants (or the like) has it started at boot. */
static bool
is_enabled(const char *name)
{
        char pattern[VALUE_SIZE];
        bool is_found = false;

        for (size_t i = 0; i < 2 * FOLDERS && !is_found; i++) {
                glob_t links;

                (void)snprintf(pattern, sizeof(pattern), "%s/*.%s/%s", folders[i / 2],
                    i % 2 == 0 ? "wants" : "requires", name);
                is_found = glob(pattern, 0, NULL, &links) == 0;
                if (is_found)
                        globfree(&links);
        }
        return is_found;
}

struct search {
        unsigned port;
        bool is_found;
};

static void
take_listener(void *context, const struct listener *listener)
{
        struct search *search = context;
        char name[64];

        if (listener->port == search->port && listener_holder(listener, name) > 0 &&
            strcmp(name, "systemd") == 0)
                search->is_found = true;
}

/* It is on if it is started at boot; or if systemd listens already, though it will not next time. */
static void
find_whether_on(struct entry *entry, bool is_masked)
{
        struct search search = { .port = entry->port };

        if (is_masked)
                entry_switch_off(entry, "\ncause: it is masked (%s is empty, or a link to /dev/null)\n"
                    "remedy: systemctl unmask %s; systemctl enable --now %s", entry->file, entry->name,
                    entry->name);
        if (is_masked || is_enabled(entry->name))
                return;
        if (entry->port != 0 && !is_anothers(entry))
                listeners_read(take_listener, &search);
        if (search.is_found)
                entry_trouble(entry, "warn", "\ncause: it was started, but is not enabled, and will not be "
                    "there after the next boot\nremedy: systemctl enable %s", entry->name);
        else
                entry_switch_off(entry, "\ncause: it is a socket not enabled\n"
                    "remedy: systemctl enable --now %s", entry->name);
}

static void
take_answer(struct entry *entry, const char *line)
{
        if (strcmp(line, "NeedDaemonReload=yes") == 0)
                entry_trouble(entry, "warn", "\ncause: its files are newer than what systemd has read\n"
                    "remedy: systemctl daemon-reload; systemctl restart %s", entry->name);
        else if (strcmp(line, "Result=trigger-limit-hit") == 0)
                entry_trouble(entry, "fail", "\ncause: too many connections at once, so systemd has switched "
                    "it off (trigger-limit-hit)\nremedy: write TriggerLimitIntervalSec=0 in its [Socket]; "
                    "then: systemctl daemon-reload; systemctl restart %s", entry->name);
        else if (strcmp(line, "ActiveState=failed") == 0)
                entry_trouble(entry, "fail", "\ncause: systemd says that it failed: see systemctl status %s\n"
                    "remedy: systemctl reset-failed %s; systemctl restart %s", entry->name, entry->name,
                    entry->name);
}

/* What systemd itself says of a unit that it runs. */
static void
ask_systemd(struct entry *entry)
{
        const char *const words[] = { "systemctl", "show", "-pActiveState", "-pResult", "-pNeedDaemonReload",
                entry->name, NULL };
        char line[VALUE_SIZE];
        FILE *answer;
        int channel;
        pid_t program;

        if (access("/run/systemd/private", F_OK) != 0)
                return;
        program = program_start("/usr/bin/systemctl", (char *const *)(uintptr_t)words, &channel);
        answer = channel < 0 ? NULL : fdopen(channel, "r");
        while (answer != NULL && fgets(line, sizeof(line), answer) != NULL) {
                line[strcspn(line, "\n")] = '\0';
                take_answer(entry, line);
        }
        if (answer != NULL)
                (void)fclose(answer);
        (void)program_end(program, true);
}

/* ---- A socket ----------------------------------------------------------------------------- */

/* One entry for each address that the socket listens on. */
static void
take_address(struct entries *entries, const struct entry *draft, const char *address, bool is_masked)
{
        struct entry *entry = &entries->entry[entries->count];

        *entry = *draft;
        (void)snprintf(entry->value[PORT], VALUE_SIZE, "%s", address);
        entry_listens_on(entry, address);
        find_whether_on(entry, is_masked);
        if (entry_word(entry, "BindIPv6Only") != NULL && entry->address[0] == '\0' &&
            strcmp(entry_word(entry, "BindIPv6Only"), "ipv6-only") == 0 && entry->socket[0] == '\0')
                entry_trouble(entry, "warn", "\ncause: BindIPv6Only=ipv6-only: clients over IPv4 are refused\n"
                    "remedy: write BindIPv6Only=both in its [Socket], then: systemctl daemon-reload; systemctl "
                    "restart %s", entry->name);
        if (entry_end(entries) != NULL && !is_masked)
                ask_systemd(entry);
}

static void
read_socket(struct entries *entries, const char *name)
{
        static struct entry draft;
        char path[VALUE_SIZE], *rest, *addresses;
        bool is_masked = false;

        if (!find_unit(name, path, &is_masked))
                return;
        draft = *entry_begin(entries, SYSTEMD, path, name);
        if (is_masked && strstr(name, "pop3") == NULL)
                return;
        if (is_masked)
                (void)snprintf(draft.value[PROGRAM], VALUE_SIZE, "pop3d");
        else
                read_unit(entries, &draft, path, name);
        if (!is_masked)
                read_service(entries, &draft);
        entry_take(&draft, USER, "User");
        entry_take(&draft, LIMIT, "MaxConnections");
        if (is_masked)
                entry_set(&draft, SET, "ListenStream", "110");
        addresses = entry_word(&draft, "ListenStream") == NULL ? NULL
            : strdup(entry_word(&draft, "ListenStream"));
        for (char *one = addresses == NULL ? NULL : strtok_r(addresses, " ", &rest); one != NULL;
            one = strtok_r(NULL, " ", &rest))
                take_address(entries, &draft, one, is_masked);
        free(addresses);
}

void
systemd_read(struct entries *entries)
{
        char pattern[VALUE_SIZE];

        for (size_t i = 0; i < FOLDERS; i++) {
                glob_t units;

                (void)snprintf(pattern, sizeof(pattern), "%s/*.socket", folders[i]);
                if (glob(pattern, 0, NULL, &units) != 0)
                        continue;
                for (size_t j = 0; j < units.gl_pathc; j++) {
                        const char *name = base_name(units.gl_pathv[j]);
                        char first[VALUE_SIZE];
                        bool is_masked;

                        /* the file of that name in an earlier folder has been read */
                        if (find_unit(name, first, &is_masked) && strcmp(first, units.gl_pathv[j]) == 0)
                                read_socket(entries, name);
                }
                globfree(&units);
        }
}
