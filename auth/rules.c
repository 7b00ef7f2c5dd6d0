/*
 * rules.c - reads the rules of a PAM service as libpam does.
 * Runs in:   the check (-c) alone, as root where it can; never in a session.
 * May touch: PAM's files.
 */
#include "rules.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char *const status_words[STATUSES] = {
        "success", "open_err", "symbol_err", "service_err", "system_err", "buf_err", "perm_denied",
        "auth_err", "cred_insufficient", "authinfo_unavail", "user_unknown", "maxtries",
        "new_authtok_reqd", "acct_expired", "session_err", "cred_unavail", "cred_expired", "cred_err",
        "no_module_data", "conv_err", "authtok_err", "authtok_recover_err", "authtok_lock_busy",
        "authtok_disable_aging", "try_again", "ignore", "abort", "authtok_expired", "module_unknown",
        "bad_item", "conv_again", "incomplete",
};

/* One reading: of which service, by which file. */
struct reader {
        struct rules *rules;
        const struct rows *rows;
        const char *directory;          /* of the service's own file */
        const char *service;
        int depth, level;               /* of files that include each other; of substacks */
        char paths[LEVELS_MAX][192];    /* the files that are being read, each included by the last */
        int only;                       /* 'a' auth, 'c' account, 0 both */
};

const char *
rule_module(const struct rule *rule)
{
        const char *slash = strrchr(rule->module, '/');

        return slash == NULL ? rule->module : slash + 1;
}

bool
rule_is(const struct rule *rule, const char *module)
{
        return rule->kind == RULE_MODULE && strcmp(rule_module(rule), module) == 0;
}

/* Finds a whole word that begins like this one; with a "=" at its end the value is left to it. */
static const char *
find_word(const char *text, const char *word)
{
        size_t length = strlen(word);

        for (const char *at = text; (at = strstr(at, word)) != NULL; at += length)
                if ((at == text || at[-1] == ' ' || at[-1] == '\t' || at[-1] == '[') &&
                    (word[length - 1] == '=' || strchr(" \t]", at[length]) != NULL))
                        return at + length;
        return NULL;
}

bool
rule_argument(const struct rule *rule, const char *name, char *value, size_t size)
{
        char word[40];
        const char *at;

        (void)snprintf(word, sizeof(word), "%s=", name);
        at = find_word(rule->arguments, word);
        (void)snprintf(value, size, "%.*s", at == NULL ? 0 : (int)strcspn(at, " \t]"),
            at == NULL ? "" : at);
        return at != NULL;
}

bool
rule_has(const struct rule *rule, const char *word)
{
        return find_word(rule->arguments, word) != NULL;
}

static void
set_default(int actions[STATUSES], int action)
{
        for (int i = 0; i < STATUSES; i++)
                if (actions[i] == ACTION_UNSET)
                        actions[i] = action;
}

/* Reads an action's name, or the number of rules to jump over. ACTION_UNSET: it is none. */
static int
parse_action(const char *word)
{
        static const char *const names[] = { "ignore", "ok", "done", "bad", "die", "reset" };
        char *end;
        long number;

        for (int i = 0; i < 6; i++)
                if (strcasecmp(word, names[i]) == 0)
                        return -i;
        number = strtol(word, &end, 10);
        return *end == '\0' && number > 0 && number < RULES_MAX ? (int)number : ACTION_UNSET;
}

/* Sets what [VALUE=ACTION ...] says. False if a word of it is none. */
static bool
parse_pairs(int actions[STATUSES], const char *text)
{
        char value[32], word[32];
        int used = 0, action;

        for (; sscanf(text, " %31[^= \t] = %31[^ \t]%n", value, word, &used) == 2; text += used) {
                int i = 0;

                action = parse_action(word);
                while (i < STATUSES && strcasecmp(value, status_words[i]) != 0)
                        i++;
                if (action == ACTION_UNSET || (i == STATUSES && strcasecmp(value, "default") != 0))
                        return false;
                if (i == STATUSES)
                        set_default(actions, action);
                else
                        actions[i] = action;
        }
        return text[strspn(text, " \t")] == '\0';
}

/* Sets what a rule's control says. False if libpam does not know it. */
static bool
parse_control(struct rule *rule)
{
        static const struct {
                const char *name;
                int success, ignore, otherwise;
        } words[] = {
                { "required", ACTION_OK, ACTION_IGNORE, ACTION_BAD },
                { "requisite", ACTION_OK, ACTION_IGNORE, ACTION_DIE },
                { "optional", ACTION_OK, ACTION_IGNORE, ACTION_IGNORE },
                { "sufficient", ACTION_DONE, ACTION_IGNORE, ACTION_IGNORE },
        };
        bool is_known = false;

        for (int i = 0; i < STATUSES; i++)
                rule->actions[i] = ACTION_UNSET;
        for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
                if (strcasecmp(rule->control, words[i].name) != 0)
                        continue;
                rule->actions[PAM_SUCCESS] = rule->actions[PAM_NEW_AUTHTOK_REQD] = words[i].success;
                rule->actions[PAM_IGNORE] = words[i].ignore;
                set_default(rule->actions, words[i].otherwise);
                return true;
        }
        if (rule->control[0] == '[')
                is_known = parse_pairs(rule->actions, rule->control + 1);
        set_default(rule->actions, ACTION_BAD);
        return is_known;
}

/*
 * Reads the next rule into line, without its comment, and counts the lines of the file in number. A
 * \ at the end of a line joins it with the next one; a comment ends the rule. False at the end.
 */
static bool
read_rule(FILE *file, char *line, size_t size, unsigned *number)
{
        bool goes_on = true;
        size_t used = 0;

        line[0] = '\0';
        while (goes_on && used + 1 < size && fgets(line + used, (int)(size - used), file) != NULL) {
                ++*number;
                used = strcspn(line, "#\n");
                goes_on = used > 0 && line[used] != '#' && line[used - 1] == '\\';
                if (goes_on)
                        line[used - 1] = ' ';
                else
                        line[used] = '\0';
        }
        return !goes_on || used > 0;
}

/* Takes a line apart into its type, which may have a "-" before it, and the words of a rule. */
static bool
parse_line(const char *line, char type[24], struct rule *rule)
{
        int at = 0, end = 0;

        if (sscanf(line, " %23s %n", type, &at) != 1)
                return false;
        line += at;
        /* the control is a word, or [VALUE=ACTION ...], which may have blanks */
        if (at > 0 && line[0] == '[') {
                (void)sscanf(line, "%158[^]]%n", rule->control, &end);
                end += line[end] == ']';
        } else if (at > 0) {
                (void)sscanf(line, "%158s%n", rule->control, &end);
        }
        (void)sscanf(line + end, " %191s %639[^\n]", rule->module, rule->arguments);
        rule->may_be_missing = type[0] == '-';
        if (rule->may_be_missing)
                memmove(type, type + 1, strlen(type));
        return true;
}

static void report(struct reader *reader, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void
report(struct reader *reader, const char *format, ...)
{
        char text[1024];
        va_list arguments;

        va_start(arguments, format);
        (void)vsnprintf(text, sizeof(text), format, arguments);
        va_end(arguments);
        reader->rules->faults++;
        reader->rows->row(reader->rows->context, "fail", "PAM", "%s", text);
}

static bool read_file(struct reader *reader, const char *name, int only, const struct rule *from);

static void
keep(struct reader *reader, const struct rule *rule)
{
        if (reader->rules->count < RULES_MAX)
                reader->rules->rule[reader->rules->count++] = *rule;
}

/* What a rule names in place of a module is read in its place; without it libpam refuses. */
static void
include(struct reader *reader, struct rule *rule, bool is_substack)
{
        bool is_read;

        rule->kind = RULE_SUBSTACK;
        if (is_substack)
                keep(reader, rule);
        reader->level += is_substack;
        is_read = read_file(reader, rule->module, rule->is_account ? 'c' : 'a', rule);
        reader->level -= is_substack;
        rule->kind = RULE_MUST_FAIL;
        if (!is_read)
                keep(reader, rule);
}

/* Makes the row of a line that libpam cannot read: wrong is the word it does not know, NULL if a module is missing. */
static void
report_word(struct reader *reader, const struct rule *rule, const char *wrong, bool is_type)
{
        char help[320];

        if (wrong == NULL)
                (void)snprintf(help, sizeof(help), "name one, as pam_unix.so, in this line");
        else if (is_type && strcasecmp(wrong, reader->service) == 0)
                (void)snprintf(help, sizeof(help), "such lines are of /etc/pam.conf; take the word out: "
                    "sed -i 's/^[[:space:]]*%.60s[[:space:]]*//' %.100s", wrong, rule->file);
        else
                (void)snprintf(help, sizeof(help), "write %s in this line", is_type ? "auth or account"
                    : "required, requisite, sufficient or optional");
        report(reader, "%s line %u: %s%s%s\ncause: libpam refuses every login for it\nremedy: %s",
            rule->file, rule->line, wrong == NULL ? "there is no module" : "\"",
            wrong == NULL ? "" : wrong, wrong == NULL ? "" : "\" is no word of PAM's", help);
}

/* Keeps a rule of a type that counts. */
static void
take_rule(struct reader *reader, struct rule *rule, const char *type)
{
        bool is_known = true, is_substack = strcasecmp(rule->control, "substack") == 0;
        const char *wrong = NULL;

        if (strcasecmp(type, "session") == 0 || strcasecmp(type, "password") == 0)
                return;
        rule->is_account = strcasecmp(type, "account") == 0;
        if (!rule->is_account && strcasecmp(type, "auth") != 0) {
                wrong = type;
                rule->is_account = reader->only == 'c';
        }
        if (reader->only != 0 && rule->is_account != (reader->only == 'c'))
                return;
        if (wrong == NULL && (is_substack || strcasecmp(rule->control, "include") == 0)) {
                include(reader, rule, is_substack);
                return;
        }
        is_known = parse_control(rule);
        if (wrong == NULL && !is_known)
                wrong = rule->control;
        if (wrong != NULL || rule->module[0] == '\0') {
                rule->kind = RULE_MUST_FAIL;
                report_word(reader, rule, wrong, wrong == type);
        }
        keep(reader, rule);
}

/* Opens a file of rules and sets its path, which is that of the first place if it is nowhere. */
static FILE *
open_rules(const struct reader *reader, const char *name, char path[192])
{
        static const char *const places[] = { "/etc/pam.d", "/usr/lib/pam.d" };
        bool is_own = reader->depth == 0 && reader->directory != NULL;
        FILE *file = NULL;

        if (name[0] == '/' || is_own) {
                (void)snprintf(path, 192, "%s%s%s", is_own ? reader->directory : "",
                    is_own ? "/" : "", name);
                return fopen(path, "re");
        }
        for (size_t i = 2; i-- > 0 && file == NULL; ) {
                (void)snprintf(path, 192, "%s/%s", places[1 - i], name);
                file = fopen(path, "re");
        }
        if (file == NULL)
                (void)snprintf(path, 192, "%s/%s", places[0], name);
        return file;
}

/* What to do about a file of rules that another names and that is not there. */
static void
help_include(const char *name, const struct rule *from, char help[240])
{
        static const char *const usual[][4] = { { "common-auth", "system-auth", "password-auth" },
                { "common-account", "system-auth", "password-auth", "system-account" } };
        bool is_at = strcmp(from->control, name) == 0;  /* Debian's @include, of any type */
        bool is_account = is_at ? strstr(name, "account") != NULL : from->is_account;
        char path[64];

        (void)snprintf(help, 240, "install it, or include another in line %u of %.100s", from->line,
            from->file);
        for (size_t i = 0; i < 4 && usual[is_account][i] != NULL &&
            (!is_at || is_account || strstr(name, "auth") != NULL); i++) {
                (void)snprintf(path, sizeof(path), "/etc/pam.d/%s", usual[is_account][i]);
                if (strcmp(name, usual[is_account][i]) == 0 || access(path, R_OK) != 0)
                        continue;
                (void)snprintf(help, 240, "write %s in place of %.60s in line %u of %.100s",
                    usual[is_account][i], name, from->line, from->file);
                return;
        }
}

/*
 * Opens a file to be read, which a rule names or, if it is NULL, the service. NULL, and there is a row, if it
 * cannot be, or is being read already.
 */
static FILE *
open_included(struct reader *reader, const char *name, char path[192], const struct rule *from)
{
        FILE *file = open_rules(reader, name, path);
        bool is_endless = reader->depth == LEVELS_MAX;
        char help[240] = "";

        for (int i = 0; i < reader->depth; i++)
                is_endless |= strcmp(reader->paths[i], path) == 0;
        if (file == NULL) {
                const char *error = strerror(errno);

                if (from != NULL)
                        help_include(name, from, help);
                report(reader, "%s: %s\ncause: without it libpam does not start, or refuses\n"
                    "remedy: %s", path, error, help);
        } else if (is_endless) {
                report(reader, "%s includes %s, which is being read already\n"
                    "cause: libpam gives up, and refuses\nremedy: delete the line that does",
                    reader->paths[reader->depth - 1], path);
        } else {
                return file;
        }
        if (file != NULL)
                (void)fclose(file);
        return NULL;
}

/*
 * Takes from a line what programs of other systems leave in it, and which libpam takes for a part of its first or
 * last word: a mark of UTF-8 at the file's beginning, a carriage return. Makes a row of it; of carriage returns one a
 * file, and none where an argument is the last word, which modules read all the same.
 */
static void
clean_line(struct reader *reader, const struct rule *rule, char *line, bool *is_told)
{
        static const char mark[] = "\357\273\277";
        size_t length = strlen(line);
        struct rule words = { .kind = RULE_MODULE };
        char type[24];

        if (rule->line == 1 && strncmp(line, mark, strlen(mark)) == 0) {
                memmove(line, line + strlen(mark), length + 1 - strlen(mark));
                length -= strlen(mark);
                report(reader, "%s begins with a byte order mark, as editors of Windows write it\n"
                    "cause: libpam takes it for a part of the first word\n"
                    "remedy: sed -i '1s/^\\xEF\\xBB\\xBF//' %s", rule->file, rule->file);
        }
        if (length == 0 || line[length - 1] != '\r')
                return;
        line[length - 1] = '\0';
        if (*is_told || !parse_line(line, type, &words) || words.control[0] == '\0' ||
            words.arguments[0] != '\0')
                return;
        *is_told = true;
        report(reader, "%s line %u ends in a carriage return, as editors of Windows write it\n"
            "cause: libpam takes it for a part of the last word, %s\nremedy: sed -i 's/\\r$//' %s",
            rule->file, rule->line, words.module[0] == '\0' ? words.control : words.module, rule->file);
}

/* Reads one file, of one type unless it is 0, and what it includes. False if it cannot be read. */
static bool
read_file(struct reader *reader, const char *name, int only, const struct rule *from)
{
        struct rule rule;
        char line[1200], type[24], path[192];
        unsigned number = 0;
        bool is_told = false;
        int before = reader->only;
        FILE *file = open_included(reader, name, path, from);

        if (file == NULL)
                return false;
        memcpy(reader->paths[reader->depth++], path, sizeof(path));
        reader->only = only;
        while (read_rule(file, line, sizeof(line), &number)) {
                rule = (struct rule){ .level = reader->level, .line = number };
                (void)snprintf(rule.file, sizeof(rule.file), "%s", path);
                clean_line(reader, &rule, line, &is_told);
                if (!parse_line(line, type, &rule))
                        continue;
                /* Debian's own: the file is read as if it stood here */
                if (strcasecmp(type, "@include") == 0)
                        (void)read_file(reader, rule.control, only, &rule);
                else
                        take_rule(reader, &rule, type);
        }
        reader->only = before;
        reader->depth--;
        (void)fclose(file);
        return true;
}

static bool
has_type(const struct rules *rules, bool is_account)
{
        for (size_t i = 0; i < rules->count; i++)
                if (rules->rule[i].is_account == is_account)
                        return true;
        return false;
}

void
rules_read(struct rules *rules, const struct auth *auth, const struct rows *rows)
{
        struct reader reader = { .rules = rules, .rows = rows, .directory = auth->configuration,
                .service = auth->service };
        char service[128], path[192];
        FILE *file;

        *rules = (struct rules){ .count = 0 };
        /* libpam makes it small, too */
        (void)snprintf(service, sizeof(service), "%s", auth->service);
        for (char *c = service; *c != '\0'; c++)
                *c = (char)tolower((unsigned char)*c);
        file = open_rules(&reader, service, path);
        rules->lacks_file = file == NULL;
        if (file != NULL) {
                (void)fclose(file);
                (void)read_file(&reader, service, 0, NULL);
        }
        for (int is_account = 0; is_account < 2; is_account++) {
                rules->is_other[is_account] = !has_type(rules, is_account != 0);
                file = rules->is_other[is_account] ? open_rules(&reader, "other", path) : NULL;
                if (file == NULL)
                        continue;
                (void)fclose(file);
                (void)read_file(&reader, "other", is_account != 0 ? 'c' : 'a', NULL);
        }
}
