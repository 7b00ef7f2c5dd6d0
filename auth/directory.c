/*
 * directory.c - whether accounts can be looked up, and which part of the name service does not answer.
 * Runs in:   the check (-c) alone, as root where it can; what may hang in a process of its own.
 * May touch: the account databases, /etc/nsswitch.conf, the sockets of sssd, nslcd and winbindd.
 */
#include "rules.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <shadow.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LOOK_UP_SECONDS = 5, HANGS = -1 };

/* Daemons that know a directory's accounts, for the name service and for a module of PAM's. */
static const struct directory {
        const char *service;            /* its word in nsswitch.conf */
        const char *module;             /* of PAM */
        const char *unit, *package;     /* of Debian; the latter has its part of the name service */
        const char *socket, *module_socket;
} directories[] = {
        { "sss", "pam_sss.so", "sssd", "libnss-sss", "/var/lib/sss/pipes/nss", "/var/lib/sss/pipes/pam" },
        { "ldap", "pam_ldap.so", "nslcd", "libnss-ldapd", "/run/nslcd/socket", "/run/nslcd/socket" },
        { "winbind", "pam_winbind.so", "winbind", "libnss-winbind", "/run/samba/winbindd/pipe",
            "/run/samba/winbindd/pipe" },
        { "nis", "", "ypbind", "libnss-nis", "", "" },
        { "db", "", "", "libnss-db", "", "" },
        { "extrausers", "", "", "libnss-extrausers", "", "" },
        { "systemd", "", "", "libnss-systemd", "", "" },
};

enum { DIRECTORIES = sizeof(directories) / sizeof(directories[0]) };

/* Why nobody answers on a socket: 0 if somebody does, or that cannot be known. */
static int
socket_error(const char *path)
{
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), error = 0;

        (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
        if (path[0] != '\0' && connect(fd, (const void *)&address, sizeof(address)) != 0)
                error = errno;
        (void)close(fd);
        return error == ENOENT || error == ECONNREFUSED ? error : 0;
}

const char *
directory_unit(const struct rule *rule, bool *is_down, const char **socket)
{
        *is_down = false;
        for (size_t i = 0; i < DIRECTORIES; i++)
                if (directories[i].module[0] != '\0' && rule_is(rule, directories[i].module)) {
                        *socket = directories[i].module_socket;
                        *is_down = socket_error(*socket) != 0;
                        return directories[i].unit;
                }
        return NULL;
}

/* The words behind "passwd:" or the like in nsswitch.conf, or what libc takes without it. */
static void
read_services(const char *database, char services[256])
{
        FILE *file = fopen("/etc/nsswitch.conf", "re");
        char line[512], name[64];
        int end = 0;

        (void)snprintf(services, 256, " files ");
        while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
                line[strcspn(line, "#\n")] = '\0';
                for (char *c = line; *c != '\0'; c++)
                        if (*c == '\t')
                                *c = ' ';
                if (sscanf(line, " %63[a-z] :%n", name, &end) == 1 && strcmp(name, database) == 0)
                        (void)snprintf(services, 256, " %.250s ", line + end);
        }
        if (file != NULL)
                (void)fclose(file);
}

static bool
has_service(const char *services, const char *name)
{
        char word[64];

        (void)snprintf(word, sizeof(word), " %s ", name);
        return strstr(services, word) != NULL;
}

/* The part of a database's name service that does not run, is not installed, or may hang. NULL: none is known. */
static const struct directory *
find_silent(const char *database, bool is_down, bool is_missing)
{
        char services[256], library[64];

        read_services(database, services);
        for (size_t i = 0; i < DIRECTORIES; i++) {
                const struct directory *at = &directories[i];

                (void)snprintf(library, sizeof(library), "libnss_%s.so.2", at->service);
                if (!has_service(services, at->service) ||
                    (is_down && socket_error(at->socket) == 0) ||
                    (is_missing && dlopen(library, RTLD_LAZY) != NULL) ||
                    (!is_down && !is_missing && at->socket[0] == '\0'))
                        continue;
                return at;
        }
        return NULL;
}

void
directory_help_down(char out[512])
{
        const struct directory *down = find_silent("passwd", true, false), *any;

        if (down == NULL)
                down = find_silent("group", true, false);
        any = down == NULL ? find_silent("passwd", false, false) : down;
        if (down != NULL)
                (void)snprintf(out, 512, "%s, which \"%s\" in /etc/nsswitch.conf asks, does not run (%s: %s), so "
                    "logins wait with [SYS/TEMP]\nremedy: systemctl start %s, and see its log", down->unit,
                    down->service, down->socket, strerror(socket_error(down->socket)), down->unit);
        else if (any != NULL)
                (void)snprintf(out, 512, "%s, which \"%s\" in /etc/nsswitch.conf asks, says that it cannot tell, as "
                    "it does when its own server does not answer; logins wait with [SYS/TEMP]\n"
                    "remedy: see the log of %s, and start its server; `getent passwd NAME` asks it",
                    any->unit, any->service, any->unit);
        else
                (void)snprintf(out, 512, "a part of the name service does not answer (see "
                    "/etc/nsswitch.conf), so logins wait with [SYS/TEMP]\n"
                    "remedy: start it; `getent passwd NAME` asks it");
}

bool
directory_help_missing(char out[512])
{
        const struct directory *missing = find_silent("passwd", false, true);

        if (missing != NULL)
                (void)snprintf(out, 512, "there is no such account in the files, and \"%s\" in /etc/nsswitch.conf "
                    "is not installed: libnss_%s.so.2\nremedy: apt install %s (Debian), or take the word out",
                    missing->service, missing->service, missing->package);
        return missing != NULL;
}

/* What is looked up, in a process that may hang. */
struct question {
        const char *name;               /* an account */
        bool has_groups;                /* with the groups that it is in */
};

/* Looks all up that a session does. Returns whether the account is there; HANGS if that does not come to an end. */
static int
look_up(const struct question *question)
{
        struct pollfd answer = { .events = POLLIN };
        int channel[2], found = HANGS, count = GROUPS_MAX;
        pid_t child;

        if (pipe2(channel, O_CLOEXEC) != 0)
                return true;
        child = fork();
        if (child == 0) {
                static gid_t groups[GROUPS_MAX];
                const struct passwd *entry = account_get(question->name);

                found = entry != NULL;
                if (found && question->has_groups)
                        (void)getgrouplist(question->name, entry->pw_gid, groups, &count);
                (void)!write(channel[1], &found, sizeof(found));
                _exit(0);
        }
        (void)close(channel[1]);
        answer.fd = channel[0];
        if (child > 0 && poll(&answer, 1, LOOK_UP_SECONDS * 1000) == 1 &&
            read(channel[0], &found, sizeof(found)) != sizeof(found))
                found = true;
        (void)close(channel[0]);
        if (child > 0) {
                (void)kill(child, SIGKILL);
                (void)waitpid(child, NULL, 0);
        }
        return child < 0 ? true : found;
}

/* The row where a question has no end. */
static void
report_hang(const char *name, check_row row, void *context)
{
        const struct directory *any = find_silent("passwd", false, false);

        if (any == NULL)
                any = find_silent("group", false, false);
        if (any == NULL)
                row(context, "fail", "login", "the name service hangs when asked about %s\n"
                    "cause: it has not answered within %d seconds, so logins wait; see passwd and group in "
                    "/etc/nsswitch.conf\nremedy: start what it asks; `getent passwd %s` asks it", name,
                    LOOK_UP_SECONDS, name);
        else
                row(context, "fail", "login", "the name service hangs when asked about %s\n"
                    "cause: %s, which \"%s\" in /etc/nsswitch.conf asks, has not answered within %d seconds, so "
                    "logins wait\nremedy: systemctl restart %s, and see its log; or take \"%s\" out of "
                    "/etc/nsswitch.conf", name, any->unit, any->service, LOOK_UP_SECONDS, any->unit,
                    any->service);
}

/* Whether a database's services have "files", or what reads the same; if not, a row says so. */
static bool
has_files(const char *database, check_row row, void *context)
{
        char services[256];

        read_services(database, services);
        if (has_service(services, "files"))
                return true;
        row(context, "fail", "login", "/etc/nsswitch.conf has no files for %s:%.200s\n"
            "cause: so nobody sees what is in /etc/%s\nremedy: sed -i 's/^%s:/& files/' /etc/nsswitch.conf",
            database, services, database, database);
        return false;
}

void
auth_check_account(const struct auth *auth, const char *typed, check_row row, void *context)
{
        struct login login = { .kind = LOGIN_QUESTION };
        struct question question = { auth->virtual_account, true };

        (void)snprintf(login.typed, sizeof(login.typed), "%s", typed);
        if (auth->virtual_account == NULL && login_name_parse(&login.name, typed, strlen(typed))) {
                (void)identity_name_account(auth, &login);
                question.name = login.account;
        }
        if (question.name != NULL && look_up(&question) == HANGS)
                report_hang(question.name, row, context);
}

void
auth_check_names(check_row row, void *context)
{
        const struct question question = { "root", false };
        int found = look_up(&question);

        if (found == HANGS)
                report_hang(question.name, row, context);
        else if (found == false && has_files("passwd", row, context))
                /* a machine without an account root has no name service */
                row(context, "fail", "login", "the name service does not find root\n"
                    "cause: what stands before files in the passwd line of /etc/nsswitch.conf ends the search, "
                    "or /etc/passwd cannot be read\nremedy: sed -i 's/^passwd:/& files/' /etc/nsswitch.conf");
        else if (found != false && geteuid() == 0 && getspnam("root") == NULL)
                (void)has_files("shadow", row, context);
}
