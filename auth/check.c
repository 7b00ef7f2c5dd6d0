/*
 * check.c - says what is wrong with the ground that auth/ stands on (-c).
 * Runs in:   pop3d -c alone, as root where it can; never in a session.
 * May touch: PAM's files and modules, the account databases, processes of its own.
 */
#include "auth.h"

#include <ctype.h>
#include <dlfcn.h>
#include <errno.h>
#include <linux/capability.h>
#include <linux/seccomp.h>
#include <pwd.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum { APART_SECONDS = 120, INCLUDES_MAX = 8, HASH_MIN = 13 };

pid_t
apart_start(int (*part)(void *context), void *context, int *client)
{
        int channel[2] = { -1, -1 };
        pid_t child;

        if (client != NULL && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, channel) != 0)
                return -1;
        (void)fflush(stdout);
        child = fork();
        if (child == 0) {
                die_after(APART_SECONDS);
                if (client != NULL && (dup2(channel[1], 0) < 0 || dup2(channel[1], 1) < 0))
                        _exit(END_FAULT);
                _exit(part(context) | fflush(stdout));
        }
        if (client != NULL) {
                (void)close(channel[1]);
                *client = channel[0];
        }
        return child;
}

int
apart_end(pid_t child)
{
        int status;

        if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status))
                return -1;
        return WEXITSTATUS(status);
}

/* One of priority debug; whoever is there but does not read must not hold the check. */
static void
check_log(check_row row, void *context)
{
        static const char line[] = "<23>pop3d: checked";
        const struct sockaddr_un log = { .sun_family = AF_UNIX, .sun_path = "/dev/log" };
        int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

        if (sendto(fd, line, sizeof(line) - 1, MSG_DONTWAIT, (const void *)&log, sizeof(log)) > 0)
                row(context, "ok", "log", "/dev/log takes a line");
        else
                row(context, "warn", "log", "/dev/log: %s\nremedy: start syslog", strerror(errno));
        (void)close(fd);
}

void
auth_check_process(const struct auth *auth, check_row row, void *context)
{
        static const struct {
                unsigned long number;
                const char *name;
        } needed[] = { { CAP_SETUID, "SETUID" }, { CAP_SETGID, "SETGID" },
                { CAP_SYS_CHROOT, "SYS_CHROOT" }, { CAP_KILL, "KILL" } };
        uid_t uid;
        gid_t gid;
        bool is_known = find_account(auth->powerless_account, &uid, &gid);
        bool has_landlock = syscall(SYS_landlock_create_ruleset, NULL, 0, 1) >= 2;
        bool is_root = geteuid() == 0;
        struct statvfs mount;
        bool is_nosuid = statvfs("/proc/self/exe", &mount) == 0 && (mount.f_flag & ST_NOSUID) != 0;
        /* where there are filters, it is the lack of one that is complained of */
        bool has_seccomp = prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, NULL) != 0 && errno == EFAULT;

        for (size_t i = 0; is_root && i < sizeof(needed) / sizeof(needed[0]); i++)
                if (prctl(PR_CAPBSET_READ, needed[i].number) != 1)
                        row(context, "fail", "process", "root lacks CAP_%s\n"
                            "remedy: grant it to this container", needed[i].name);
        row(context, !is_root ? "skip" : has_landlock && has_seccomp ? "ok" : "warn", "process",
            "%s%s; the kernel %s seccomp and %s Landlock", is_root ? "root" : "not root: much is skipped",
            is_nosuid ? ", from a nosuid mount, which does not matter to a launcher that is root" : "",
            has_seccomp ? "has" : "lacks", has_landlock ? "has" : "lacks");
        if (uid == 0 || gid == 0)
                row(context, "fail", "process", "account %s, which listens to strangers, is %s\n"
                    "remedy: create it, or name another with -n", auth->powerless_account,
                    is_known ? "root's" : "unknown");
        check_log(row, context);
}

/* A walk through the rules of a service. */
struct walk {
        const struct auth *auth;
        struct login *login;    /* NULL: none is asked for, as in a first walk */
        const char *refusal;    /* of the account rules together, or NULL */
        bool has_faillock;      /* among the account rules: whoever asks it resets the tally */
        unsigned rules[2];      /* of auth, of account */
        unsigned faults;
        int depth;
        check_row row;
        void *context;
};

struct rule {
        char type[16], control[128], module[256], arguments[256];
};

/*
 * Of auth those that neither want a password nor count tries. Of account, where these refuse, all
 * but pam_deny, which only says what others meant, and pam_faillock; beside that the required.
 */
static bool
may_be_asked(const struct walk *walk, const struct rule *rule)
{
        static const char harmless[] = "pam_listfile.so pam_nologin.so pam_succeed_if.so "
            "pam_access.so pam_shells.so pam_localuser.so", never[] = "pam_deny.so pam_faillock.so";
        bool is_required = strncasecmp(rule->control, "requi", 5) == 0;
        bool is_account = rule->type[1] == 'c';
        bool is_listed = strstr(is_account ? never : harmless, basename(rule->module)) != NULL;

        return is_account ? !is_listed && (walk->has_faillock ? is_required : walk->refusal != NULL)
            : is_listed && is_required;
}

/* Asks one rule alone: a service of its own, in memory, so that nothing is written. */
static const char *
ask_alone(const struct walk *walk, const struct rule *rule)
{
        struct auth alone = *walk->auth;
        char name[16];
        int memory;
        const char *refusal;

        if (!may_be_asked(walk, rule))
                return NULL;
        memory = memfd_create("rule", 0);
        /* pam_permit: a rule that has no opinion is no refusal */
        (void)dprintf(memory, "%s required %s %s\n%s required pam_permit.so\n", rule->type,
            rule->module, rule->arguments, rule->type);
        (void)snprintf(name, sizeof(name), "%d", memory);
        alone.service = name;
        alone.configuration = "/proc/self/fd";
        refusal = auth_ask_rules(&alone, walk->login, rule->type[1] == 'c');
        (void)close(memory);
        return refusal;
}

/* Modules lie beside libpam. */
static bool
is_loadable(const char *module)
{
        char path[PATH_MAX];
        Dl_info libpam;
        bool is_found = dladdr(dlsym(RTLD_DEFAULT, "pam_start"), &libpam) != 0;
        const char *slash = is_found ? strrchr(libpam.dli_fname, '/') : NULL;

        if (slash == NULL)
                return true;
        (void)snprintf(path, sizeof(path), "%.*s/security/%s", (int)(slash - libpam.dli_fname),
            libpam.dli_fname, module);
        return dlopen(module[0] == '/' ? module : path, RTLD_LAZY) != NULL;
}

static void
take_rule(struct walk *walk, const char *path, unsigned line, const struct rule *rule)
{
        const char *refusal = walk->login == NULL ? NULL : ask_alone(walk, rule);

        walk->rules[rule->type[1] == 'c'] += walk->login == NULL;
        if (walk->login == NULL && !is_loadable(rule->module)) {
                walk->faults++;
                walk->row(walk->context, "fail", "PAM", "%s line %u: %s cannot be loaded\n"
                    "cause: %s\nremedy: install the package that has it", path, line,
                    rule->module, dlerror());
        } else if (refusal != NULL) {
                walk->faults++;
                walk->row(walk->context, "fail", "PAM", "%s line %u refuses %s: %s %s %s\n"
                    "cause: %s\nremedy: change it, or what it looks at", path, line,
                    walk->login->name.user, rule->type, rule->module, rule->arguments, refusal);
        }
}

/* A rule, less its comment, which ends it; else it goes on behind a \ at the end of a line. */
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
                line[goes_on ? used - 1 : used] = goes_on ? ' ' : '\0';
        }
        return !goes_on || used > 0;
}

static bool
parse_rule(const char *line, struct rule *rule)
{
        int at = 0;

        *rule = (struct rule){ .type = "" };
        (void)sscanf(line, " %15[@a-zA-Z] %n", rule->type, &at);
        for (char *letter = rule->type; *letter != '\0'; letter++)
                *letter = (char)tolower(*letter);
        return rule->type[0] != '\0' &&
            sscanf(line + at, line[at] == '[' ? "[%127[^]]] %255s %255[^\n]"
                                              : "%127s %255s %255[^\n]",
                rule->control, rule->module, rule->arguments) > 0;
}

/* The rules of one file, of one type if given, and of the files that it includes. */
static void
walk_file(struct walk *walk, const char *directory, const char *name, const char *type)
{
        char path[PATH_MAX], line[1024];
        struct rule rule;
        bool is_whole = name[0] == '/';
        unsigned number = 0;
        FILE *file;

        (void)snprintf(path, sizeof(path), "%s/%s", is_whole ? "" : directory, name + is_whole);
        file = walk->depth < INCLUDES_MAX ? fopen(path, "re") : NULL;
        if (file == NULL) {
                walk->faults++;
                walk->row(walk->context, "fail", "PAM", "%s: %s\ncause: without it libpam %s", path,
                    strerror(errno), walk->depth > 0
                    ? "does not start, or refuses\nremedy: install it, or include another"
                    : "asks \"other\": on Debian the same rules, else mostly a refusal\n"
                    "remedy: install it (`make install` does), or name another with -s");
                return;
        }
        walk->depth++;
        while (read_rule(file, line, sizeof(line), &number)) {
                bool is_ours = parse_rule(line, &rule) && (strcmp(rule.type, "auth") == 0 ||
                    strcmp(rule.type, "account") == 0) &&
                    (type == NULL || strcmp(rule.type, type) == 0);

                walk->has_faillock |= strcasestr(line, "account") != NULL &&
                    strstr(line, "pam_faillock") != NULL;
                if (strcmp(rule.type, "@include") == 0)
                        walk_file(walk, "/etc/pam.d", rule.control, type);
                else if (is_ours && (strcasecmp(rule.control, "include") == 0 ||
                    strcasecmp(rule.control, "substack") == 0))
                        walk_file(walk, "/etc/pam.d", rule.module, rule.type);
                else if (is_ours)
                        take_rule(walk, path, number, &rule);
        }
        walk->depth--;
        (void)fclose(file);
}

/* Where passwords lie elsewhere, as in LDAP, '*' is seen here; '!' is somebody's no. */
static void
check_password(const char *hash, const char *user, check_row row, void *context)
{
        const char *own = hash + strspn(hash, "!");
        bool is_set = own[0] != '*' && strlen(own) >= HASH_MIN;

        if (own != hash || !is_set)
                row(context, own != hash ? "fail" : "warn", "login", is_set
                    ? "the password is locked\nremedy: passwd -u %s"
                    : "no password is set\nremedy: passwd %s, unless it lies elsewhere", user);
}

void
auth_check_pam(const struct auth *auth, struct login *login, check_row row, void *context)
{
        const char *directory = auth->configuration == NULL ? "/etc/pam.d" : auth->configuration;
        const char *hash = login == NULL ? NULL : auth_hash(auth, login->name.user);
        const char *problem = auth_load_pam();
        struct walk walk = { .auth = auth, .row = row, .context = context };

        if (problem != NULL) {
                row(context, "fail", "PAM", "libpam cannot be loaded\ncause: %s\n"
                    "remedy: install libpam, 1.4.0 or later", problem);
                return;
        }
        if (hash != NULL)
                check_password(hash, login->name.user, row, context);
        walk_file(&walk, directory, auth->service, NULL);
        if (login != NULL && walk.faults == 0 && walk.rules[0] > 0 && walk.rules[1] > 0) {
                walk.login = login;
                walk.refusal = walk.has_faillock ? NULL : auth_ask_rules(auth, login, true);
                walk_file(&walk, directory, auth->service, NULL);
        }
        if (walk.faults > 0)
                return;
        if (walk.rules[0] == 0 || walk.rules[1] == 0)
                row(context, "fail", "PAM", "service %s has no %s rule\ncause: so libpam asks \"other\"\n"
                    "remedy: add one, as in xinetd.d/pop3.pam",
                    auth->service, walk.rules[0] == 0 ? "auth" : "account");
        else if (walk.refusal != NULL)
                row(context, "fail", "PAM", "the account rules refuse %s\ncause: %s\n"
                    "remedy: see `chage -l %s`", login->name.user, walk.refusal, login->name.user);
        else
                row(context, login != NULL && walk.has_faillock ? "skip" : "ok", "PAM",
                    "service %s: %u rules, all modules there%s", auth->service,
                    walk.rules[0] + walk.rules[1], login == NULL ? "" : !walk.has_faillock
                    ? "; the account rules accept the user" : "; not all are asked\n"
                    "cause: pam_faillock would forget failed tries: see `faillock --user NAME`");
}

bool
auth_check_login(const struct auth *auth, const char *typed, struct login *login,
    struct identity *identity, check_row row, void *context)
{
        static const struct {
                const char *reason, *state, *help;
        } table[] = {
                { "", "ok", "" },
                { "foreign-domain", "fail", "the domain is not ours\nremedy: leave it out, or add -d" },
                { "no-such-system-account", "fail", "there is no such account; the mailbox's name is no "
                    "help\nremedy: log in by the account's name, or, with -d DOMAIN, as DOMAIN\\USER\\MAILBOX" },
                { "-v", "fail", "the account of -v is not there\nremedy: create it, or change -v" },
                { "root-is-refused", "fail", "root's uid or gid is never served" },
                { "started-without-root", "skip", "only root may look at another's account" },
                { "too-many-groups", "fail", "more groups than pop3d takes on" },
        };
        const struct login_name *name = &login->name;
        const char *reason;
        bool is_own;
        size_t i = 0;

        if (!login_name_parse(&login->name, typed, strlen(typed))) {
                row(context, "fail", "login", "%s is no login\ncause: see pop3d(8), Login names", typed);
                return false;
        }
        is_own = strcmp(name->user, name->mailbox) == 0;
        reason = auth_foresee(auth, login, identity);
        if (auth->virtual_account != NULL && strcmp(reason, "no-such-system-account") == 0)
                reason = "-v";
        while (strcmp(table[i].reason, reason) != 0)
                i++;
        row(context, i == 0 && !is_own ? "warn" : table[i].state, "login",
            "user %s, domain %s, mailbox %s, %s%s%s", name->user,
            name->domain[0] == '\0' ? "none (left out)" : name->domain, name->mailbox,
            !is_own ? "another's: the user's rights must reach it"
                : strchr(typed, '\\') == strrchr(typed, '\\') ? "left out, so the user's own" : "given",
            i == 0 ? "" : "\ncause: ", table[i].help);
        return i == 0;
}
