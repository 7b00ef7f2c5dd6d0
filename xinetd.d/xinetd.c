/*
 * xinetd.c - reads what xinetd's files say of POP3, as xinetd reads them.
 * Runs in:   pop3d-check, as root where it can.
 * May touch: xinetd's files, /etc/passwd, for reading.
 *
 * xinetd takes an attribute only with the number of values that it expects, takes the first of two
 * that say the same, and drops an entry whole that lacks one it needs or has a wrong value; it
 * logs that once, when it starts. Files of an included folder are passed over if their names have
 * a dot or end in a tilde.
 */
#include "xinetd.h"

#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CONFIGURATION "/etc/xinetd.conf"
#define FOLDER "/etc/xinetd.d"
#define XINETD_PROGRAM "/usr/sbin/xinetd"

enum { INCLUDES_MAX = 16 };

enum place { OUTSIDE, BEFORE_BRACE, IN_SERVICE, IN_DEFAULTS };

/* One file that is being read. */
struct reading {
        struct entries *entries;
        struct entry *defaults;         /* its words are those of the defaults section */
        struct includes *includes;
        const char *path;
        const char *configuration;      /* what xinetd was started with */
        bool is_passed_over;            /* xinetd does not read it */
        enum place place, after_brace;
        struct entry *entry;            /* the service in whose section we are */
};

/* How many files and folders were included, so that a circle of them ends, and whether FOLDER was. */
struct includes {
        size_t count;
        bool has_folder;
};

/* How many values an attribute takes; those that are not here take any number of them. */
static const struct {
        const char *name;
        size_t values;
} attributes[] = {
        { "socket_type", 1 }, { "protocol", 1 }, { "wait", 1 }, { "user", 1 }, { "group", 1 },
        { "server", 1 }, { "instances", 1 }, { "id", 1 }, { "port", 1 }, { "nice", 1 },
        { "banner", 1 }, { "bind", 1 }, { "interface", 1 }, { "per_source", 1 }, { "groups", 1 },
        { "banner_success", 1 }, { "banner_fail", 1 }, { "disable", 1 }, { "max_load", 1 },
        { "rlimit_as", 1 }, { "rlimit_cpu", 1 }, { "rlimit_data", 1 }, { "rlimit_rss", 1 },
        { "rlimit_stack", 1 }, { "rlimit_files", 1 }, { "v6only", 1 }, { "deny_time", 1 },
        { "umask", 1 }, { "redirect", 2 }, { "cps", 2 },
};

/* Those that an entry changes by += and -=; the defaults are what it begins with. */
static const char *const changeable[] = {
        "log_on_success", "log_on_failure", "only_from", "no_access", "env", "passenv",
        "enabled", "disabled",
};

static bool
is_changeable(const char *name)
{
        for (size_t i = 0; i < sizeof(changeable) / sizeof(changeable[0]); i++)
                if (strcmp(changeable[i], name) == 0)
                        return true;
        return false;
}

/* ---- Lines ------------------------------------------------------------------------------- */

static size_t
count_values(const char *value)
{
        size_t count = 0;

        while (*(value += strspn(value, " ")) != '\0') {
                value += strcspn(value, " ");
                count++;
        }
        return count;
}

/* Cuts "name += value value". False if there is no sign between name and values. */
static bool
cut_attribute(char *line, char **name, enum change *change, char **value)
{
        char *sign = strchr(line, '=');

        if (sign == NULL || sign == line)
                return false;
        *value = sign + 1 + strspn(sign + 1, " ");
        *change = sign[-1] == '+' ? ADD : sign[-1] == '-' ? REMOVE : SET;
        *sign = '\0';
        if (*change != SET)
                sign[-1] = '\0';
        *name = strtok(line, " ");
        return *name != NULL;
}

/* An attribute of a service, or of the defaults (where "=" means "+="). */
static void
take_attribute(struct reading *reading, char *line, unsigned number)
{
        struct entry *entry = reading->place == IN_DEFAULTS ? reading->defaults : reading->entry;
        enum change change;
        char *name, *value;

        if (!cut_attribute(line, &name, &change, &value)) {
                entry_refused(entry, "\ncause: line %u has no \"=\", so xinetd drops the whole entry\n"
                    "remedy: end the entry above it with a line that is } alone, or mend the line",
                    number);
                return;
        }
        for (size_t i = 0; i < sizeof(attributes) / sizeof(attributes[0]); i++)
                if (strcmp(attributes[i].name, name) == 0 && count_values(value) != attributes[i].values) {
                        entry_trouble(entry, "fail",
                            "\ncause: line %u: %s takes %zu value%s, so xinetd passes over the line%s\n"
                            "remedy: write there: %s = %.*s", number, name, attributes[i].values,
                            attributes[i].values == 1 ? "" : "s",
                            strchr(value, '#') != NULL ? "; a # within a line begins no comment" : "",
                            name, (int)strcspn(value, "#") - (strchr(value, '#') != NULL), value);
                        return;
                }
        if (is_changeable(name))
                entry_set(entry, reading->place == IN_DEFAULTS && change == SET ? ADD : change, name,
                    value);
        else
                entry_set(entry, SET_ONCE, strcmp(name, "interface") == 0 ? "bind" : name, value);
}

static void begin_service(struct reading *reading, const char *name);
static void end_service(struct reading *reading);
static void read_include(const struct reading *reading, const char *path, bool is_folder);

/* "service pop3", "defaults", "include FILE" or "includedir FOLDER". */
static void
take_keyword(struct reading *reading, char *line)
{
        char *rest, *word = strtok_r(line, " ", &rest), *operand = strtok_r(NULL, " ", &rest);

        if (strcmp(word, "defaults") == 0) {
                reading->place = BEFORE_BRACE;
                reading->after_brace = IN_DEFAULTS;
        } else if (operand != NULL && strcmp(word, "service") == 0) {
                begin_service(reading, operand);
                reading->place = BEFORE_BRACE;
                reading->after_brace = IN_SERVICE;
        } else if (operand != NULL && (strcmp(word, "include") == 0 || strcmp(word, "includedir") == 0)) {
                read_include(reading, operand, strcmp(word, "includedir") == 0);
        }
}

static void
take_xinetd_line(void *context, char *line, unsigned number)
{
        struct reading *reading = context;
        bool is_brace;

        for (char *tab = line; (tab = strchr(tab, '\t')) != NULL;)
                *tab = ' ';
        line += strspn(line, " ");
        if (*line == '\0' || *line == '#')
                return;
        is_brace = strcmp(line, "{") == 0;
        if (reading->place == BEFORE_BRACE) {
                reading->place = reading->after_brace;
                if (is_brace)
                        return;
                if (reading->place == IN_SERVICE)
                        entry_refused(reading->entry, "\ncause: line %u: the brace that opens the entry is "
                            "missing, so xinetd passes over all of it\nremedy: write { alone on a line "
                            "before line %u", number, number);
        }
        if (reading->place == OUTSIDE) {
                take_keyword(reading, line);
        } else if (strcmp(line, "}") != 0) {
                take_attribute(reading, line, number);
        } else {
                if (reading->place == IN_SERVICE)
                        end_service(reading);
                reading->place = OUTSIDE;
        }
}

/* ---- An entry ---------------------------------------------------------------------------- */

static void
begin_service(struct reading *reading, const char *name)
{
        struct entry *entry = entry_begin(reading->entries, XINETD, reading->path, name);
        const struct entry *defaults = reading->defaults;

        for (size_t i = 0; i < defaults->word_count; i++)
                if (is_changeable(defaults->words[i].name))
                        entry_set(entry, SET, defaults->words[i].name, defaults->words[i].value);
        reading->entry = entry;
}

/* Why xinetd leaves the entry out although nothing is wrong with it. */
static void
find_why_off(const struct reading *reading, struct entry *entry)
{
        const char *disable = entry_word(entry, "disable"), *id = entry_word(entry, "id");
        const char *enabled = entry_word(reading->defaults, "enabled");
        const char *disabled = entry_word(reading->defaults, "disabled");
        const char *name = base_name(entry->file);

        if (id == NULL)
                id = entry->name;
        entry->is_stray = reading->is_passed_over;
        if (entry->is_stray && strpbrk(name, ".~") == NULL)
                entry_switch_off(entry, "\ncause: xinetd does not read %s: no includedir in %s names "
                    "its folder\nremedy: echo 'includedir " FOLDER "' >>%s; then restart xinetd", entry->file,
                    reading->configuration, reading->configuration);
        else if (entry->is_stray)
                entry_switch_off(entry, "\ncause: xinetd does not read %s, for its name has a dot or ends in ~\n"
                    "remedy: mv %s " FOLDER "/%.*s; then restart xinetd", entry->file, entry->file,
                    (int)strcspn(name, ".~"), name);
        else if (disable != NULL && strcasecmp(disable, "no") != 0)
                entry_switch_off(entry, "\ncause: it is switched off (disable = %s)\n"
                    "remedy: write disable = no there, then: systemctl reload xinetd, or kill -HUP "
                    "its process", disable);
        else if (enabled != NULL && !xinetd_lists(enabled, id))
                entry_switch_off(entry, "\ncause: it is switched off, for the list enabled in the defaults "
                    "of " CONFIGURATION " lacks it: %s\nremedy: write there: enabled += %s; then restart "
                    "xinetd", enabled, id);
        else if (disabled != NULL && xinetd_lists(disabled, id))
                entry_switch_off(entry, "\ncause: it is switched off, for the list disabled in the defaults "
                    "of " CONFIGURATION " has it: %s\nremedy: take %s out there; then restart xinetd",
                    disabled, id);
}

static void
end_service(struct reading *reading)
{
        struct entry *entry = reading->entry;
        const struct entry *defaults = reading->defaults;

        for (size_t i = 0; i < defaults->word_count; i++)
                if (!is_changeable(defaults->words[i].name))
                        entry_set(entry, SET_ONCE, defaults->words[i].name, defaults->words[i].value);
        entry_take(entry, PROGRAM, "server");
        entry_take(entry, ARGUMENTS, "server_args");
        entry_take(entry, USER, "user");
        entry_take(entry, WAIT, "wait");
        entry_take(entry, LIMIT, "instances");
        entry_take(entry, FLAGS, "flags");
        entry_take(entry, PORT, "port");
        if (entry_word(entry, "bind") != NULL)
                entry_listens_at(entry, entry_word(entry, "bind"));
        find_why_off(reading, entry);
        if (file_has_returns(reading->path))
                entry_refused(entry, "\ncause: its lines end in CR LF, as on Windows, and the CR is a part of each "
                    "value for xinetd, so it drops the entry\nremedy: sed -i 's/\\r$//' %s; then restart xinetd",
                    reading->path);
        if (file_has_mark(reading->path) && strcmp(reading->path, reading->configuration) != 0)
                entry_refused(entry, "\ncause: its first line begins with a byte order mark, as editors of Windows "
                    "write it, so xinetd takes nothing of the file\n"
                    "remedy: sed -i '1s/^\\xef\\xbb\\xbf//' %s; then restart xinetd", reading->path);
        if (access(reading->configuration, F_OK) != 0 && access(XINETD_PROGRAM, X_OK) == 0)
                entry_refused(entry, "\ncause: %s is not there, and xinetd does not start without it\nremedy: "
                    "printf 'defaults\\n{\\n}\\nincludedir " FOLDER "\\n' >%s; then restart xinetd",
                    reading->configuration, reading->configuration);
        xinetd_find_faults(entry);
        (void)entry_end(reading->entries);
}

/* ---- Files ------------------------------------------------------------------------------- */

static void
read_one(const struct reading *above, const char *path, bool is_passed_over)
{
        struct reading reading = *above;

        reading.path = path;
        reading.is_passed_over = is_passed_over;
        reading.place = OUTSIDE;
        (void)file_read(reading.entries, path, take_xinetd_line, &reading);
        if (reading.place == IN_SERVICE) {
                entry_refused(reading.entry, "\ncause: the brace that closes the entry is missing, so xinetd "
                    "drops it\nremedy: write } alone on a line behind it");
                end_service(&reading);
        }
}

/* In the order of their names; those with a dot or a tilde as files that xinetd passes over. */
static void
read_folder(const struct reading *above, const char *folder, bool is_passed_over)
{
        char pattern[VALUE_SIZE];
        glob_t found;

        (void)snprintf(pattern, sizeof(pattern), "%s/*", folder);
        if (glob(pattern, 0, NULL, &found) != 0)
                return;
        for (size_t i = 0; i < found.gl_pathc; i++) {
                const char *path = found.gl_pathv[i], *name = base_name(path);
                bool has_odd_name = strchr(name, '.') != NULL || name[strlen(name) - 1] == '~';

                read_one(above, path, is_passed_over || has_odd_name);
        }
        globfree(&found);
}

static void
read_include(const struct reading *reading, const char *path, bool is_folder)
{
        struct includes *includes = reading->includes;

        if (includes->count == INCLUDES_MAX)
                return;
        includes->count++;
        includes->has_folder |= strncmp(path, FOLDER, strlen(FOLDER)) == 0;
        if (is_folder)
                read_folder(reading, path, false);
        else
                read_one(reading, path, false);
}

struct started {
        const char *configuration;
        bool reads_inetd;
};

/* How the xinetd that runs was started. */
static void
take_process(void *context, const struct process *process)
{
        struct started *started = context;

        if (strcmp(process->name, "xinetd") != 0)
                return;
        for (size_t i = 1; i < process->count; i++) {
                if (strcmp(process->words[i], "-f") == 0 && i + 1 < process->count)
                        started->configuration = strdup(process->words[i + 1]);
                if (strcmp(process->words[i], "-inetd_compat") == 0)
                        started->reads_inetd = true;
        }
}

void
xinetd_read(struct entries *entries)
{
        static struct entry defaults;
        /* none is needed where no xinetd is here yet */
        struct includes includes = { .has_folder = access(CONFIGURATION, F_OK) != 0 };
        struct reading reading = { .entries = entries, .defaults = &defaults, .includes = &includes };
        struct started started = { .configuration = CONFIGURATION };

        processes_read(take_process, &started);
        entries->xinetd_reads_inetd = started.reads_inetd;
        reading.configuration = started.configuration;
        read_one(&reading, started.configuration, false);
        if (!includes.has_folder || includes.count == 0)
                read_folder(&reading, FOLDER, !includes.has_folder);
}
