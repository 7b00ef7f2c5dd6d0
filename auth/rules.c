/*
 * rules.c - reads the rules of a PAM service as libpam does, and loads their modules.
 * Runs in:   the check (-c) alone, as root where it can; never in a session.
 * May touch: PAM's files and modules.
 */
#include "rules.h"

#include <ctype.h>
#include <dlfcn.h>
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

static void read_file(struct reader *reader, const char *name, int only);

/* What a rule names in place of a module is read in its place; without it libpam refuses. */
static void
include(struct reader *reader, const struct rule *rule, bool is_substack)
{
        if (is_substack && reader->rules->count < RULES_MAX) {
                reader->rules->rule[reader->rules->count] = *rule;
                reader->rules->rule[reader->rules->count++].kind = RULE_SUBSTACK;
        }
        reader->level += is_substack;
        read_file(reader, rule->module, rule->is_account ? 'c' : 'a');
        reader->level -= is_substack;
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
                report(reader, "%s line %u: %s%s%s\n"
                    "cause: libpam refuses every login for it\nremedy: %s in this line", rule->file,
                    rule->line, wrong == NULL ? "there is no module" : "\"",
                    wrong == NULL ? "" : wrong, wrong == NULL ? "" : "\" is no word of PAM's",
                    wrong == NULL ? "name one, as pam_unix.so," : wrong == type
                    ? "write auth or account" : "write required, requisite, sufficient or optional");
        }
        if (reader->rules->count < RULES_MAX)
                reader->rules->rule[reader->rules->count++] = *rule;
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

/* Opens a file to be read; NULL, and there is a row, if it cannot be, or is being read already. */
static FILE *
open_included(struct reader *reader, const char *name, char path[192])
{
        FILE *file = open_rules(reader, name, path);
        bool is_endless = reader->depth == LEVELS_MAX;

        for (int i = 0; i < reader->depth; i++)
                is_endless |= strcmp(reader->paths[i], path) == 0;
        if (file == NULL)
                report(reader, "%s: %s\ncause: without it libpam does not start, or refuses\n"
                    "remedy: install it, or include another", path, strerror(errno));
        else if (is_endless)
                report(reader, "%s includes %s, which is being read already\n"
                    "cause: libpam gives up, and refuses\nremedy: delete the line that does",
                    reader->paths[reader->depth - 1], path);
        else
                return file;
        if (file != NULL)
                (void)fclose(file);
        return NULL;
}

/* Reads one file, of one type unless it is 0, and what it includes. */
static void
read_file(struct reader *reader, const char *name, int only)
{
        struct rule rule;
        char line[1200], type[24], path[192];
        unsigned number = 0;
        int before = reader->only;
        FILE *file = open_included(reader, name, path);

        if (file == NULL)
                return;
        memcpy(reader->paths[reader->depth++], path, sizeof(path));
        reader->only = only;
        while (read_rule(file, line, sizeof(line), &number)) {
                rule = (struct rule){ .level = reader->level, .line = number };
                (void)snprintf(rule.file, sizeof(rule.file), "%s", path);
                if (!parse_line(line, type, &rule))
                        continue;
                /* Debian's own: the file is read as if it stood here */
                if (strcasecmp(type, "@include") == 0)
                        read_file(reader, rule.control, only);
                else
                        take_rule(reader, &rule, type);
        }
        reader->only = before;
        reader->depth--;
        (void)fclose(file);
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
        struct reader reader = { .rules = rules, .rows = rows, .directory = auth->configuration };
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
                read_file(&reader, service, 0);
        }
        for (int is_account = 0; is_account < 2; is_account++) {
                rules->is_other[is_account] = !has_type(rules, is_account != 0);
                file = rules->is_other[is_account] ? open_rules(&reader, "other", path) : NULL;
                if (file == NULL)
                        continue;
                (void)fclose(file);
                read_file(&reader, "other", is_account != 0 ? 'c' : 'a');
        }
}

/* The folder of PAM's modules: security/ beside libpam. */
static bool
modules_folder(char folder[PATH_MAX])
{
        Dl_info library;
        bool is_found = dladdr(dlsym(RTLD_DEFAULT, "pam_start"), &library) != 0;
        const char *slash = is_found ? strrchr(library.dli_fname, '/') : NULL;

        if (slash != NULL)
                (void)snprintf(folder, PATH_MAX, "%.*s/security",
                    (int)(slash - library.dli_fname), library.dli_fname);
        return slash != NULL;
}

/* Loads a module, for good: libpam's own loading then finds it. NULL if that fails. */
static void *
load(const struct rule *rule)
{
        char path[PATH_MAX + 192], folder[PATH_MAX];

        if (rule->module[0] == '/')
                return dlopen(rule->module, RTLD_LAZY);
        if (!modules_folder(folder))
                return NULL;
        (void)snprintf(path, sizeof(path), "%s/%s", folder, rule->module);
        return dlopen(path, RTLD_LAZY);
}

void *
rule_function(const struct rule *rule, const char *name)
{
        void *module = load(rule);

        return module == NULL ? NULL : dlsym(module, name);
}

/* Writes what to do about a module that is not there. */
static void
help_missing(const struct rule *rule, char *out, size_t size)
{
        static const struct {
                const char *module, *what;
        } known[] = {
                { "pam_tally", "delete this line: PAM has it no longer since 1.4; "
                    "pam_faillock.so is in its place (pop3-faillock.pam)" },
                { "pam_sss.so", "apt install libpam-sss" }, { "pam_ldap.so", "apt install libpam-ldapd" },
                { "pam_winbind.so", "apt install libpam-winbind" },
                { "pam_krb5.so", "apt install libpam-krb5" },
                { "pam_pwquality.so", "apt install libpam-pwquality" },
                { "pam_mysql.so", "apt install libpam-mysql" },
                { "pam_radius_auth.so", "apt install libpam-radius-auth" },
                { "pam_google_authenticator.so", "apt install libpam-google-authenticator" },
                { "pam_cap.so", "apt install libpam-cap" },
        };
        char folder[PATH_MAX], path[PATH_MAX + 200];
        const char *name = rule_module(rule);
        bool has_folder = modules_folder(folder);

        (void)snprintf(out, size, "install the package that has it, or delete this line");
        for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
                if (strncmp(name, known[i].module, strlen(known[i].module)) == 0)
                        (void)snprintf(out, size, "%s%s", known[i].what,
                            i == 0 ? "" : " (Debian), or delete this line");
        /* another folder than that of this machine, or a name without its end */
        for (int i = 0; i < 2 && has_folder; i++) {
                (void)snprintf(path, sizeof(path), "%s/%s%s", folder, name, i == 0 ? "" : ".so");
                if (access(path, F_OK) == 0 && (i == 1 || rule->module[0] == '/'))
                        (void)snprintf(out, size, "write %s in its place", strrchr(path, '/') + 1);
        }
}

void
rules_load(struct rules *rules, const struct rows *rows)
{
        for (size_t i = 0; i < rules->count; i++) {
                struct rule *rule = &rules->rule[i];
                char help[160];

                if (rule->kind != RULE_MODULE)
                        continue;
                rule->is_loaded = rule_function(rule, rule->is_account ? "pam_sm_acct_mgmt"
                    : "pam_sm_authenticate") != NULL;
                if (rule->is_loaded || rule->may_be_missing)
                        continue;
                rules->faults++;
                help_missing(rule, help, sizeof(help));
                /* the call failed just now, so there is a message of the loader's */
                (void)rule_function(rule, rule->is_account ? "pam_sm_acct_mgmt"
                    : "pam_sm_authenticate");
                rows->row(rows->context, "fail", "PAM", "%s line %u: %s cannot be loaded\n"
                    "cause: %s\nremedy: %s", rule->file, rule->line, rule->module, dlerror(), help);
        }
}
