/*
 * lists.c - why a rule refuses a login that looks at a list or a condition, and what to do about it.
 * Runs in:   the check (-c) alone, as root where it can; never in a session.
 * May touch: the account databases, the lists; ask.c asks PAM about one condition of several.
 */
#include "rules.h"

#include <errno.h>
#include <grp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

void
explain(char words[EXPLANATION_MAX], const char *format, ...)
{
        va_list arguments;

        va_start(arguments, format);
        (void)vsnprintf(words, EXPLANATION_MAX, format, arguments);
        va_end(arguments);
}

/* The value of an argument, or what the module takes without it. */
static const char *
argument(const struct rule *rule, const char *name, const char *otherwise, char value[PATH_MAX])
{
        if (!rule_argument(rule, name, value, PATH_MAX))
                (void)snprintf(value, PATH_MAX, "%s", otherwise);
        return value;
}

/* ---- pam_access ------------------------------------------------------------------------ */

void
list_help_access(struct refusal *refusal)
{
        char file[PATH_MAX], separator[PATH_MAX], other[PATH_MAX];

        argument(refusal->rule, "accessfile", "/etc/security/access.conf", file);
        argument(refusal->rule, "fieldsep", ":", separator);
        if (access(file, R_OK) != 0) {
                explain(refusal->cause, "%s: %s", file, strerror(errno));
                explain(refusal->remedy, "touch %s, which then keeps nobody out; or name another file", file);
                return;
        }
        if (rule_argument(refusal->rule, "listsep", other, sizeof(other)))
                return;
        explain(refusal->cause, "the first line of %s that fits says no", file);
        explain(refusal->remedy, "sed -i '1i + %.1s %s %.1s ALL' %s", separator, refusal->user, separator,
            file);
}

/* ---- pam_listfile ---------------------------------------------------------------------- */

static bool
ends_in_a_line(const char *file)
{
        FILE *list = fopen(file, "re");
        int last = '\n';

        if (list != NULL && fseek(list, -1, SEEK_END) == 0)
                last = fgetc(list);
        if (list != NULL)
                (void)fclose(list);
        return last == '\n';
}

/* The first line of a list. */
static void
read_first(const char *file, char line[128])
{
        FILE *list = fopen(file, "re");

        if (list == NULL || fgets(line, 128, list) == NULL)
                line[0] = '\0';
        line[strcspn(line, "\r\n")] = '\0';
        if (list != NULL)
                (void)fclose(list);
}

/* What to do about a list of users, groups or shells that has, or lacks, what is the user's. */
static void
mend_list(struct refusal *refusal, const char *file, const char *item, bool is_denied)
{
        const struct passwd *entry = account_get(refusal->user);
        const char *what = refusal->user;
        char group[128];

        if (strcmp(item, "group") == 0) {
                read_first(file, group);
                if (!is_denied && group[0] != '\0')
                        explain(refusal->remedy, "usermod -aG %s %s", group, refusal->user);
                return;
        }
        if (strcmp(item, "shell") == 0 && entry != NULL)
                what = entry->pw_shell;
        else if (strcmp(item, "user") != 0)
                return;
        if (is_denied)
                explain(refusal->remedy, "sed -i '\\|^%s[[:space:]]*$|d' %s", what, file);
        else if (ends_in_a_line(file))
                explain(refusal->remedy, "echo %s >>%s", what, file);
        else
                explain(refusal->remedy, "sed -i '$a %s' %s", what, file);
}

/* Whether the arguments are some that pam_listfile takes; if not, the refusal is explained. */
static bool
are_known(struct refusal *refusal, const char *item, const char *sense, const char *file)
{
        static const char *const items[] = { "user", "group", "shell", "tty", "rhost", "ruser" };
        bool is_item = false;

        for (size_t i = 0; i < sizeof(items) / sizeof(items[0]); i++)
                is_item |= strcmp(item, items[i]) == 0;
        if (is_item && file[0] == '/' && (strcmp(sense, "deny") == 0 || strcmp(sense, "allow") == 0))
                return true;
        if (!is_item)
                explain(refusal->cause, "item=%s is none that it knows", item);
        else if (file[0] != '/')
                explain(refusal->cause, "it wants file= with the path of a list");
        else
                explain(refusal->cause, "sense=%s is neither allow nor deny", sense);
        if (!is_item)
                explain(refusal->remedy, "write item=user in its place in this line");
        else if (file[0] != '/')
                explain(refusal->remedy, "write file=/etc/pop3.deny sense=deny in this line");
        else
                explain(refusal->remedy, "write sense=allow (only who is in the list) or sense=deny (all "
                    "but those) in this line");
        return false;
}

void
list_help_listfile(struct refusal *refusal)
{
        char file[PATH_MAX], item[PATH_MAX], sense[PATH_MAX];
        struct stat status;
        bool is_denied;

        argument(refusal->rule, "file", "", file);
        argument(refusal->rule, "sense", "", sense);
        argument(refusal->rule, "item", "", item);
        if (!are_known(refusal, item, sense, file))
                return;
        is_denied = strcmp(sense, "deny") == 0;
        if (stat(file, &status) != 0) {
                explain(refusal->cause, "%s: %s", file, strerror(errno));
                if (is_denied)
                        explain(refusal->remedy, "touch %s", file);
                else
                        explain(refusal->remedy, "echo %s >%s", refusal->user, file);
                return;
        }
        if (!S_ISREG(status.st_mode) || (status.st_mode & S_IWOTH) != 0) {
                explain(refusal->cause, "%s is no file, or everybody may write it", file);
                explain(refusal->remedy, "chmod o-w %s", file);
                return;
        }
        explain(refusal->cause, "%s in %s (item=%s)", is_denied ? "found" : "not found", file, item);
        mend_list(refusal, file, item, is_denied);
}

/* ---- pam_pwdfile ----------------------------------------------------------------------- */

int
list_pwdfile_status(const struct rule *rule, const char *user)
{
        char path[PATH_MAX], line[512];
        size_t length = strlen(user);
        bool is_there = false;
        FILE *file;

        if (!rule_argument(rule, "pwdfile", path, sizeof(path)))
                return PAM_AUTHINFO_UNAVAIL;
        file = fopen(path, "re");
        if (file == NULL)
                return PAM_AUTHINFO_UNAVAIL;
        while (!is_there && fgets(line, sizeof(line), file) != NULL)
                is_there = strncmp(line, user, length) == 0 && line[length] == ':';
        (void)fclose(file);
        /* a hash as Dovecot writes it, with its kind in braces, matches nothing */
        if (is_there && line[length + 1] == '{')
                return PAM_CRED_ERR;
        return is_there ? PAM_SUCCESS : PAM_USER_UNKNOWN;
}

void
list_help_pwdfile(struct refusal *refusal)
{
        char file[PATH_MAX];

        argument(refusal->rule, "pwdfile", "", file);
        if (file[0] == '\0') {
                explain(refusal->cause, "it wants pwdfile= with the path of a file");
                explain(refusal->remedy, "write pwdfile=/etc/pop3.passwd in this line");
                return;
        }
        if (refusal->status == PAM_CRED_ERR) {
                explain(refusal->cause, "the hash of %s in %s begins with {, as Dovecot writes it", refusal->user,
                    file);
                explain(refusal->remedy, "sed -i 's/^%s:{[^}]*}/%s:/' %s", refusal->user, refusal->user, file);
                return;
        }
        if (access(file, R_OK) != 0)
                explain(refusal->cause, "%s: %s", file, strerror(errno));
        else
                explain(refusal->cause, "%s has no line for %s", file, refusal->user);
        explain(refusal->remedy, "printf '%%s:%%s\\n' %s \"$(openssl passwd -6)\" >>%s", refusal->user, file);
}

/* ---- pam_succeed_if -------------------------------------------------------------------- */

/* Conditions, and the options that stand before them. */
struct conditions {
        char options[128];
        const char *words;
        char left[64], operator[64], right[128];        /* the one that is not met */
        bool is_one;                                    /* it is known which */
};

/* Takes the options away, which may stand before a condition. */
static void
skip_options(struct conditions *conditions)
{
        bool goes_on = true;

        while (goes_on) {
                char word[64] = "";
                size_t used = strlen(conditions->options);
                int length = 0;

                (void)sscanf(conditions->words, " %63s%n", word, &length);
                goes_on = strcmp(word, "quiet") == 0 || strncmp(word, "quiet_", 6) == 0 ||
                    strcmp(word, "use_uid") == 0 || strcmp(word, "debug") == 0 ||
                    strcmp(word, "audit") == 0;
                if (!goes_on)
                        break;
                (void)snprintf(conditions->options + used, sizeof(conditions->options) - used, "%s ",
                    word);
                conditions->words += length;
        }
        conditions->words += strspn(conditions->words, " \t");
}

/* Finds the condition that is not met: the only one, or that which is refused when asked alone. */
static void
find_unmet(const struct refusal *refusal, struct conditions *conditions)
{
        const char *at = conditions->words;
        char rest[8];
        int length = 0, count;

        while (!conditions->is_one && sscanf(at, " %63s %63s %127s%n", conditions->left,
            conditions->operator, conditions->right, &length) == 3) {
                struct rule alone = *refusal->rule;

                count = sscanf(at + length, " %7s", rest);
                (void)snprintf(alone.arguments, sizeof(alone.arguments), "%s%s %s %s",
                    conditions->options, conditions->left, conditions->operator, conditions->right);
                conditions->is_one = (at == conditions->words && count != 1) ||
                    ask_rule(refusal->auth, refusal->login, &alone) == refusal->status;
                at += length;
        }
}

/* What to do about an account that is not in a netgroup of /etc/netgroup, or not there. */
static void
mend_netgroup(struct refusal *refusal, const char *name)
{
        char line[256], word[128];
        FILE *file = fopen("/etc/netgroup", "re");
        bool is_there = false;

        while (file != NULL && !is_there && fgets(line, sizeof(line), file) != NULL)
                is_there = sscanf(line, " %127s", word) == 1 && strcmp(word, name) == 0;
        if (file != NULL)
                (void)fclose(file);
        if (is_there)
                explain(refusal->remedy, "sed -i 's/^%s[[:space:]]/&(,%s,) /' /etc/netgroup", name,
                    refusal->user);
        else
                explain(refusal->remedy, "add (,%s,) to netgroup %s, where `getent netgroup %s` finds it "
                    "(netgroup: in /etc/nsswitch.conf), or delete this line", refusal->user, name, name);
}

static void
mend_group(struct refusal *refusal, const char *names)
{
        int length = (int)strcspn(names, ":");
        char name[128];

        (void)snprintf(name, sizeof(name), "%.*s", length, names);
        explain(refusal->remedy, "%s%s%susermod -aG %s %s", getgrnam(name) == NULL ? "groupadd " : "",
            getgrnam(name) == NULL ? name : "", getgrnam(name) == NULL ? "; " : "", name, refusal->user);
}

void
list_help_succeed_if(struct refusal *refusal)
{
        struct conditions unmet = { .words = refusal->rule->arguments };
        const char *right = unmet.right;
        bool is_user;

        skip_options(&unmet);
        find_unmet(refusal, &unmet);
        if (!unmet.is_one) {
                explain(refusal->cause, "%s does not meet the condition \"%s\"", refusal->user,
                    unmet.words);
                return;
        }
        explain(refusal->cause, "%s does not meet the condition \"%s %s %s\"", refusal->user, unmet.left,
            unmet.operator, right);
        is_user = strcmp(unmet.left, "user") == 0;
        if (is_user && strcmp(unmet.operator, "ingroup") == 0)
                mend_group(refusal, right);
        else if (is_user && strcmp(unmet.operator, "notingroup") == 0)
                explain(refusal->remedy, "gpasswd -d %s %.*s", refusal->user, (int)strcspn(right, ":"),
                    right);
        else if (is_user && strcmp(unmet.operator, "innetgr") == 0)
                mend_netgroup(refusal, right);
        else if (strcmp(unmet.operator, "in") == 0 && (is_user || strcmp(unmet.left, "service") == 0))
                explain(refusal->remedy, "write %s:%s in place of %s in this line", right,
                    is_user ? refusal->user : refusal->auth->service, right);
}

/* ---- pam_time -------------------------------------------------------------------------- */

/* Whether a word of time.conf means this name: "*" stands for any end, "!" says that not. */
static bool
word_means(const char *word, size_t length, const char *name)
{
        bool is_not = length > 0 && word[0] == '!', means;
        const char *star;

        word += is_not;
        length -= is_not;
        star = memchr(word, '*', length);
        means = star != NULL ? strncmp(word, name, (size_t)(star - word)) == 0
            : strlen(name) == length && strncmp(word, name, length) == 0;
        return means != is_not;
}

/* Whether a field of time.conf means this name: words joined by | and &, from left to right. */
static bool
field_means(const char *field, const char *name)
{
        size_t length = strcspn(field, "|&");
        bool means = word_means(field, length, name);

        while (field[length] != '\0') {
                char join = field[length];
                bool next;

                field += length + 1;
                length = strcspn(field, "|&");
                next = word_means(field, length, name);
                means = join == '|' ? means || next : means && next;
        }
        return means;
}

/* Copies a field of time.conf without its blanks; returns where the next one begins, or NULL. */
static const char *
copy_field(const char *line, char *out, size_t size)
{
        size_t used = 0;

        for (; *line != '\0' && *line != ';'; line++)
                if (strchr(" \t\n", *line) == NULL && used + 1 < size)
                        out[used++] = *line;
        out[used] = '\0';
        return *line == ';' ? line + 1 : NULL;
}

/* Whether a line of time.conf, which may be one of several that a \ joins, is about a login. */
static bool
is_about(const struct refusal *refusal, const char *line)
{
        char service[256], user[256], other[256];

        line = copy_field(line, service, sizeof(service));
        line = line == NULL ? NULL : copy_field(line, other, sizeof(other));
        return line != NULL && copy_field(line, user, sizeof(user)) != NULL &&
            field_means(service, refusal->auth->service) && field_means(user, refusal->user);
}

void
list_help_time(struct refusal *refusal)
{
        char file[PATH_MAX], line[1024], found[200] = "";
        unsigned number = 0, first = 0, lines = 0;
        size_t used = 0, length;
        FILE *rules;

        argument(refusal->rule, "conffile", "/etc/security/time.conf", file);
        rules = fopen(file, "re");
        while (rules != NULL && fgets(line + used, (int)(sizeof(line) - used), rules) != NULL) {
                number++;
                first = used == 0 ? number : first;
                length = strcspn(line, "#\n");
                line[length] = '\0';
                used = length > 0 && line[length - 1] == '\\' ? length - 1 : 0;
                if (used > 0 || !is_about(refusal, line))
                        continue;
                length = strlen(found);
                (void)snprintf(found + length, sizeof(found) - length, first == number ? "%s%u" :
                    "%s%u to %u", length > 0 ? ", " : "", first, number);
                lines += first == number ? 1 : 2;
        }
        if (rules != NULL)
                (void)fclose(rules);
        explain(refusal->cause, "not at this hour, says %s", file);
        if (lines > 0)
                explain(refusal->remedy, "delete line%s %s of %s, or give %s other hours",
                    lines == 1 ? "" : "s", found, file, lines == 1 ? "it" : "them");
        else
                explain(refusal->remedy, "put a # before the lines of %s that name %s and %s, or give "
                    "them other hours", file, refusal->auth->service, refusal->user);
}
