/*
 * modules.c - loads the modules that the rules of a PAM service name.
 * Runs in:   the check (-c) alone, as root where it can; never in a session.
 * May touch: PAM's modules.
 */
#include "rules.h"

#include <ctype.h>
#include <dlfcn.h>
#include <stdio.h>
#include <unistd.h>

enum { MODULE_PATH_SIZE = PATH_MAX + 200 };

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
        char path[MODULE_PATH_SIZE], folder[PATH_MAX];

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

/*
 * Finds the module that is meant by one that is not there: by a path in another folder than that of this
 * machine, a name without its end, or one with capitals.
 */
static bool
find_meant(const struct rule *rule, char path[MODULE_PATH_SIZE])
{
        const char *name = rule_module(rule);
        char folder[PATH_MAX];
        bool is_known = modules_folder(folder), is_found = false;

        for (int i = 0; is_known && i < 3 && !is_found; i++) {
                (void)snprintf(path, MODULE_PATH_SIZE, "%s/%s%s", folder, name, i == 1 ? ".so" : "");
                for (char *at = strrchr(path, '/'); i == 2 && *at != '\0'; at++)
                        *at = (char)tolower((unsigned char)*at);
                is_found = access(path, F_OK) == 0 && (rule->module[0] == '/' ||
                    strcmp(strrchr(path, '/') + 1, name) != 0);
        }
        return is_found;
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
        static const char *const others[][2] = { { "pam_sm_open_session", "session" },
                { "pam_sm_chauthtok", "password" }, { "pam_sm_acct_mgmt", "account" },
                { "pam_sm_authenticate", "auth" } };
        char path[MODULE_PATH_SIZE];
        const char *name = rule_module(rule);

        /* it is there, and is for rules of another type */
        for (size_t i = 0; i < 4 && load(rule) != NULL; i++)
                if (rule_function(rule, others[i][0]) != NULL) {
                        (void)snprintf(out, size, "write %s in place of %s in this line, or delete it",
                            others[i][1], rule->is_account ? "account" : "auth");
                        return;
                }

        (void)snprintf(out, size, "install the package that has it, or delete this line");
        for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
                if (strncmp(name, known[i].module, strlen(known[i].module)) == 0)
                        (void)snprintf(out, size, "%s%s", known[i].what,
                            i == 0 ? "" : " (Debian), or delete this line");
        if (find_meant(rule, path))
                (void)snprintf(out, size, "write %s in its place", strrchr(path, '/') + 1);
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
