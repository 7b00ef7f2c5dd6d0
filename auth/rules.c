/*
 * rules.c - reads the rules of a PAM service as libpam does, and tries them one by one.
 * Runs in:   the check (-c) alone, as root where it can; never in a session.
 * May touch: PAM's files and modules.
 */
#include "rules.h"

#include "libpam.h"

#include <ctype.h>
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

enum { INCLUDES_MAX = 8 };

/* One rule of a file, as its words. */
struct rule {
        char type[16], control[128], module[256], arguments[256];
};

static bool
is_account(const struct rule *rule)
{
        return strcmp(rule->type, "account") == 0;
}

/*
 * Which rules can be asked on their own without side effects.
 * auth: those that are required, with a module that wants no password and counts no failures.
 * account: only after all account rules together have refused, to find the one that did; and never
 * pam_deny, which only ends a list of rules, or pam_faillock. With pam_faillock among them they
 * must not be asked together, so only those that are required are asked.
 */
static bool
may_be_asked(const struct rules_walk *walk, const struct rule *rule)
{
        static const char harmless[] = "pam_listfile.so pam_nologin.so pam_succeed_if.so "
            "pam_access.so pam_shells.so pam_localuser.so", never[] = "pam_deny.so pam_faillock.so";
        const char *module = basename(rule->module);
        bool is_required = strncasecmp(rule->control, "requi", 5) == 0; /* or requisite */

        if (!is_account(rule))
                return is_required && strstr(harmless, module) != NULL;
        if (strstr(never, module) != NULL)
                return false;
        return walk->has_faillock ? is_required : walk->refusal != NULL;
}

const char *
rules_ask(const struct auth *auth, struct login *login, bool are_account)
{
        pam_handle_t *pam = NULL;
        int status = libpam_start(auth, login, &pam);

        if (status == PAM_SUCCESS)
                status = are_account ? libpam.acct_mgmt(pam, PAM_SILENT)
                                     : libpam.authenticate(pam, PAM_SILENT);
        if (pam != NULL)
                libpam_end(pam, status);
        return status == PAM_SUCCESS ? NULL : libpam.strerror(NULL, status);
}

/*
 * Asks one rule alone, as a service that has only this rule. Its file is in memory, so that the
 * check writes nothing.
 */
static const char *
ask_alone(const struct rules_walk *walk, const struct rule *rule)
{
        struct auth alone = *walk->auth;
        int memory = memfd_create("rule", 0);
        char name[16];
        const char *refusal;

        /* pam_permit, because libpam takes it for a refusal if the only rule has no opinion */
        (void)dprintf(memory, "%s required %s %s\n%s required pam_permit.so\n", rule->type,
            rule->module, rule->arguments, rule->type);
        (void)snprintf(name, sizeof(name), "%d", memory);
        alone.service = name;
        alone.configuration = "/proc/self/fd";
        refusal = rules_ask(&alone, walk->login, is_account(rule));
        (void)close(memory);
        return refusal;
}

/* Tries to load a module. A name without a folder is looked for in security/ beside libpam. */
static bool
is_loadable(const char *module)
{
        char path[PATH_MAX];
        Dl_info library;
        bool is_found = dladdr(dlsym(RTLD_DEFAULT, "pam_start"), &library) != 0;
        const char *slash = is_found ? strrchr(library.dli_fname, '/') : NULL;

        if (slash == NULL)
                return true;
        (void)snprintf(path, sizeof(path), "%.*s/security/%s", (int)(slash - library.dli_fname),
            library.dli_fname, module);
        return dlopen(module[0] == '/' ? module : path, RTLD_LAZY) != NULL;
}

/* What the first walk does with a rule. */
static void
count_and_load(struct rules_walk *walk, const char *path, unsigned line, const struct rule *rule)
{
        if (is_account(rule))
                walk->account_rules++;
        else
                walk->auth_rules++;
        if (is_loadable(rule->module))
                return;
        walk->faults++;
        walk->row(walk->context, "fail", "PAM", "%s line %u: %s cannot be loaded\n"
            "cause: %s\nremedy: install the package that has it", path, line, rule->module,
            dlerror());
}

/* What the second walk does with a rule. */
static void
ask_about_login(struct rules_walk *walk, const char *path, unsigned line, const struct rule *rule)
{
        const char *refusal = may_be_asked(walk, rule) ? ask_alone(walk, rule) : NULL;

        if (refusal == NULL)
                return;
        walk->faults++;
        walk->row(walk->context, "fail", "PAM", "%s line %u refuses %s: %s %s %s\n"
            "cause: %s\nremedy: change this rule, or the file or account that it looks at", path,
            line, walk->login->account, rule->type, rule->module, rule->arguments, refusal);
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

/* Takes a line apart; rule->type is "" and the result false if it is none. */
static bool
parse_rule(const char *line, struct rule *rule)
{
        int at = 0;

        *rule = (struct rule){ .type = "" };
        (void)sscanf(line, " %15[@a-zA-Z] %n", rule->type, &at);
        if (rule->type[0] == '\0')
                return false;
        for (char *letter = rule->type; *letter != '\0'; letter++)
                *letter = (char)tolower(*letter);
        /* the control is a word, or [VALUE=ACTION ...], which may have blanks */
        if (line[at] == '[')
                return sscanf(line + at, "[%127[^]]] %255s %255[^\n]", rule->control, rule->module,
                    rule->arguments) > 0;
        return sscanf(line + at, "%127s %255s %255[^\n]", rule->control, rule->module,
            rule->arguments) > 0;
}

/* Opens a file of rules and sets its path; NULL, and there is a row, if it cannot be opened. */
static FILE *
open_rules(struct rules_walk *walk, const char *directory, const char *name, char path[PATH_MAX])
{
        FILE *file = NULL;

        if (name[0] == '/')
                (void)snprintf(path, PATH_MAX, "%s", name);
        else
                (void)snprintf(path, PATH_MAX, "%s/%s", directory, name);
        if (walk->depth < INCLUDES_MAX)
                file = fopen(path, "re");
        if (file != NULL)
                return file;
        walk->faults++;
        walk->row(walk->context, "fail", "PAM", "%s: %s\ncause: without it libpam %s", path,
            strerror(errno), walk->depth > 0
            ? "does not start, or refuses\nremedy: install it, or include another"
            : "asks its service \"other\", which on Debian has the same rules, and elsewhere "
            "refuses\nremedy: install it (`make install` does), or name another with -s");
        return NULL;
}

/* Walks through the rules of one file, of one type unless it is NULL, and of what it includes. */
static void
walk_file(struct rules_walk *walk, const char *directory, const char *name, const char *type)
{
        char path[PATH_MAX], line[1024];
        struct rule rule;
        unsigned number = 0;
        FILE *file = open_rules(walk, directory, name, path);

        if (file == NULL)
                return;
        walk->depth++;
        while (read_rule(file, line, sizeof(line), &number)) {
                bool is_wanted = parse_rule(line, &rule) &&
                    (is_account(&rule) || strcmp(rule.type, "auth") == 0) &&
                    (type == NULL || strcmp(rule.type, type) == 0);

                /* by its words, so that a rule is found however it is written */
                walk->has_faillock |= strcasestr(line, "account") != NULL &&
                    strstr(line, "pam_faillock") != NULL;
                if (strcmp(rule.type, "@include") == 0)
                        walk_file(walk, "/etc/pam.d", rule.control, type);
                else if (!is_wanted)
                        continue;
                else if (strcasecmp(rule.control, "include") == 0 ||
                    strcasecmp(rule.control, "substack") == 0)
                        walk_file(walk, "/etc/pam.d", rule.module, rule.type);
                else if (walk->login == NULL)
                        count_and_load(walk, path, number, &rule);
                else
                        ask_about_login(walk, path, number, &rule);
        }
        walk->depth--;
        (void)fclose(file);
}

void
rules_walk(struct rules_walk *walk)
{
        const char *directory = walk->auth->configuration;

        walk_file(walk, directory == NULL ? "/etc/pam.d" : directory, walk->auth->service, NULL);
}
