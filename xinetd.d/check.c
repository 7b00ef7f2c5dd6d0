/*
 * check.c - what launches pop3d, who has its ports, what does TLS in front (-c).
 * Runs in:   pop3d -c alone, as root where it can; never in a session.
 * May touch: the launchers' configuration and /proc, for reading; the ports, as a client.
 */
#include "check.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

enum { ENTRIES_MAX = 24, VALUE_SIZE = 256, POP3_PORT = 110, POP3S_PORT = 995, LISTENING = 10 };

#define SYSTEMD_LINKS "/etc/systemd/system/sockets.target.wants/"
#define ROW(survey, ...) (survey)->row((survey)->context, __VA_ARGS__)
#define RESTART(entry) (entry)->launcher == systemd ? "systemctl restart" : "restart", \
        (entry)->launcher == systemd ? (entry)->name : (entry)->launcher

static const char xinetd[] = "xinetd", inetd[] = "inetd", systemd[] = "systemd",
    stunnel[] = "stunnel";

static const struct {
        const char *launcher, *pattern;
} sources[] = {
        { xinetd, "/etc/xinetd.conf" }, { xinetd, "/etc/xinetd.d/*[!~]" },
        { inetd, "/etc/inetd.conf" }, { stunnel, "/etc/stunnel/*.conf" },
        { systemd, "/etc/systemd/system/*pop3*" }, { systemd, "/usr/lib/systemd/system/*pop3*" },
};

/* What a configuration says of a service, whatever its launcher calls it. */
enum field { OFF, PROGRAM, ARGUMENTS, USER, WAIT, LIMIT, PORT, CONNECT, PROTOCOL, FLAGS, FIELDS };

static const struct {
        const char *key;
        enum field field;
} keys[] = {
        { "disable", OFF }, { "server", PROGRAM }, { "server_args", ARGUMENTS }, { "user", USER },
        { "wait", WAIT }, { "port", PORT }, { "User", USER }, { "ListenStream", PORT },
        { "exec", PROGRAM }, { "accept", PORT }, { "connect", CONNECT }, { "protocol", PROTOCOL },
        { "instances", LIMIT }, { "MaxConnections", LIMIT }, { "setuid", USER }, { "flags", FLAGS },
};

struct entry {
        const char *launcher;
        char file[VALUE_SIZE], name[64], value[FIELDS][VALUE_SIZE];
};

struct survey {
        check_row row;
        void *context;
        const char *greeting;
        struct stat self;               /* this program's file */
        struct entry entries[ENTRIES_MAX + 1];
        size_t count;                   /* the entry behind these is being read */
        struct entry *ours;             /* what starts us, if anything does */
        bool is_proxied;                /* something is on, and with -x */
};

struct listener {
        unsigned port;
        int family;
        uint32_t address[4];            /* one word or four, as in a socket address */
        unsigned long inode;
};

/* Of entries */

/* The port in "110", "pop3", "127.0.0.1:1110", or else of the service so named. */
static unsigned
port_of(const char *text, const char *service)
{
        const char *given = *text == '\0' ? service : text;
        const char *name = strrchr(given, ':') == NULL ? given : strrchr(given, ':') + 1;

        if (strcmp(name, "pop3") == 0)
                return POP3_PORT;
        return strcmp(name, "pop3s") == 0 ? POP3S_PORT : (unsigned)atoi(name);
}

static bool
is_on(const struct entry *entry)
{
        return entry->value[OFF][0] == '\0' || strcmp(entry->value[OFF], "no") == 0;
}

static bool
runs_us(const struct survey *survey, const struct entry *entry)
{
        struct stat program;

        return stat(entry->value[PROGRAM], &program) == 0 &&
            program.st_dev == survey->self.st_dev && program.st_ino == survey->self.st_ino;
}

/* Whether the arguments set a flag, alone or among others. */
static bool
has_flag(const struct entry *entry, char flag)
{
        for (const char *at = entry->value[ARGUMENTS]; *at != '\0'; at += strcspn(at, " ")) {
                at += strspn(at, " ");
                if (*at == '-' && memchr(at, flag, strcspn(at, " Cdlmnst")) != NULL)
                        return true;
        }
        return false;
}

/* inetd may be called inetutils-inetd, but not xinetd. */
static bool
is_by(const struct entry *entry, const char *process)
{
        return strstr(process, entry->launcher) != NULL &&
            (entry->launcher != inetd || *process != 'x');
}

static bool
is_here(const char *address)
{
        return strchr(address, ':') == NULL || strncmp(address, "127.", 4) == 0 ||
            strncmp(address, "::1:", 4) == 0 || strncmp(address, "localhost:", 10) == 0;
}

/* The entry that is on and has this PORT, or CONNECTs to it, or NULL; rather the holder's own. */
static struct entry *
entry_of_port(struct survey *survey, unsigned port, enum field field,
    const char *holder)
{
        struct entry *found = NULL, *end = survey->entries + survey->count;

        for (struct entry *entry = survey->entries; entry < end; entry++)
                if (is_on(entry) && (field == PORT || is_here(entry->value[field])) &&
                    port_of(entry->value[field], field == PORT ? entry->name : "") == port &&
                    (found == NULL || is_by(entry, holder)))
                        found = entry;
        return found;
}

/* Reading them */

/* The entry read so far is kept if it has to do with POP3; then the next one begins. */
static struct entry *
begin_entry(struct survey *survey, const char *launcher, const char *file,
    const char *name)
{
        struct entry *entry = &survey->entries[survey->count];
        unsigned port = port_of(entry->value[PORT], entry->name);
        struct entry next = { .launcher = launcher };

        /* what stands before the sections is said for all of them */
        if (launcher == stunnel && *name != '\0')
                memcpy(next.value[USER], entry->value[USER], VALUE_SIZE);
        if (survey->count < ENTRIES_MAX && (port == POP3_PORT || port == POP3S_PORT ||
            runs_us(survey, entry) || strstr(entry->value[PROGRAM], "/pop3d") != NULL))
                entry = &survey->entries[++survey->count];
        *entry = next;
        (void)snprintf(entry->file, sizeof(entry->file), "%s", file);
        (void)snprintf(entry->name, sizeof(entry->name), "%s", name);
        return entry;
}

/* "pop3 stream tcp nowait root /usr/local/sbin/pop3d pop3d -S", also behind "#<off># ". */
static void
take_inetd_line(struct survey *survey, const char *file, const char *line)
{
        struct entry *entry = begin_entry(survey, inetd, file, "");

        (void)sscanf(line + strspn(line, "#<of> "), "%63s %*s %*s %255s %255s %255s %*s %255[^\n]",
            entry->name, entry->value[WAIT], entry->value[USER], entry->value[PROGRAM],
            entry->value[ARGUMENTS]);
        if (entry->value[PROGRAM][0] != '/')
                entry->name[0] = '\0';
        entry->value[OFF][0] = line[0] == '#' ? '#' : '\0';
}

/* systemd makes one % of two, and expands what stands behind a single one itself. */
static void
take_exec_start(struct survey *survey, const char *file, const char *value)
{
        struct entry *entry = &survey->entries[survey->count];
        char *at = entry->value[ARGUMENTS];

        *at = '\0';
        (void)sscanf(value + strspn(value, "-@:+!"), "%255s %255[^\n]", entry->value[PROGRAM], at);
        for (; (at = strchr(at, '%')) != NULL; at++)
                if (at[1] == '%')
                        memmove(at, at + 1, strlen(at));
                else if (strchr("udmh", at[1]) != NULL)
                        ROW(survey, "fail", "launcher", "%s: %.2s is not for pop3d\n"
                            "cause: systemd expands it itself\nremedy: write %%%.2s", file, at, at);
}

static void
take_line(struct survey *survey, const char *launcher, const char *file,
    const char *line)
{
        struct entry *entry = &survey->entries[survey->count];
        char key[64], value[VALUE_SIZE] = "";

        if (launcher == inetd)
                take_inetd_line(survey, file, line);
        else if (sscanf(line, " service %63s", key) == 1 ||
            (launcher == stunnel && sscanf(line, " [%63[^]]", key) == 1))
                (void)begin_entry(survey, launcher, file, key);
        else if (sscanf(line, " %63[A-Za-z_] %*[+=-] %255[^\n]", key, value) < 2)
                return;
        else if (strcmp(key, "ExecStart") == 0)
                take_exec_start(survey, file, value);
        else if (strcmp(key, "execArgs") == 0)
                (void)sscanf(value, "%*s %255[^\n]", entry->value[ARGUMENTS]);
        for (size_t i = 0; launcher != inetd && i < sizeof(keys) / sizeof(keys[0]); i++)
                if (strcmp(keys[i].key, key) == 0)
                        memcpy(entry->value[keys[i].field], value, sizeof(value));
}

/* Root believes no file that somebody else may have written. */
static void
read_file(struct survey *survey, const char *launcher, const char *path)
{
        int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
        FILE *file = fd < 0 ? NULL : fdopen(fd, "r");
        struct stat status;
        char line[1024];

        if (file == NULL)
                return;
        if (fstat(fd, &status) != 0 || (status.st_uid != 0 && status.st_uid != geteuid()) ||
            (status.st_mode & (status.st_gid != 0 ? S_IWGRP | S_IWOTH : S_IWOTH)) != 0)
                ROW(survey, "warn", "launcher", "%s is not read: others than root may write it", path);
        else
                while (S_ISREG(status.st_mode) && fgets(line, sizeof(line), file) != NULL) {
                        size_t end = strlen(line);

                        while (end > 0 && strchr(" \t\r\n", line[end - 1]) != NULL)
                                line[--end] = '\0';
                        take_line(survey, launcher, path, line);
                }
        (void)fclose(file);
}

/* xinetd passes over names with a dot; systemd has NAME.socket, on by a link, NAME@.service, and
 * next to either a folder of changes to it. */
static void
read_files(struct survey *survey, const char *launcher, const char *pattern)
{
        glob_t found;

        if (glob(pattern, 0, NULL, &found) != 0)
                return;
        for (size_t i = 0; i < found.gl_pathc; i++) {
                const char *path = found.gl_pathv[i], *name = strrchr(path, '/') + 1;
                const char *suffix = strchr(name, '.') == NULL ? "" : strrchr(name, '.');
                bool is_socket = strcmp(suffix, ".socket") == 0;
                char other[VALUE_SIZE];

                if (strstr(path, "/xinetd.d/") != NULL && *suffix != '\0')
                        continue;
                if (launcher != systemd || is_socket)
                        (void)begin_entry(survey, launcher, path, is_socket ? name : "");
                (void)snprintf(other, sizeof(other), SYSTEMD_LINKS "%s", name);
                if (is_socket && access(other, F_OK) != 0)
                        strcpy(survey->entries[survey->count].value[OFF], "yes");
                read_file(survey, launcher, path);
                (void)snprintf(other, sizeof(other), "%s/*.conf", path);
                if (strcmp(suffix, ".d") == 0)
                        read_files(survey, launcher, other);
        }
        globfree(&found);
}

/* Of ports */

/* The process that holds the socket, and its name; 0 if none is seen. */
static int
find_holder(unsigned long inode, char name[64])
{
        char path[64], wanted[64], held[64] = "";
        glob_t links;
        int pid = 0;
        FILE *file;

        (void)snprintf(wanted, sizeof(wanted), "socket:[%lu]", inode);
        (void)glob("/proc/[0-9]*/fd/*", GLOB_NOSORT, NULL, &links);
        for (size_t i = 0; i < links.gl_pathc && pid == 0; i++) {
                ssize_t length = readlink(links.gl_pathv[i], held, sizeof(held) - 1);

                held[length < 0 ? 0 : length] = '\0';
                pid = strcmp(held, wanted) == 0 ? atoi(links.gl_pathv[i] + strlen("/proc/")) : 0;
        }
        globfree(&links);
        (void)snprintf(path, sizeof(path), "/proc/%d/comm", pid);
        file = fopen(path, "re");
        if (file == NULL || fgets(name, 64, file) == NULL)
                (void)snprintf(name, 64, "a process that only root sees");
        name[strcspn(name, "\n")] = '\0';
        if (file != NULL)
                (void)fclose(file);
        return pid;
}

/* What whoever listens says first. Behind -x that takes a PROXY header, one that says nothing. */
static void
hear(const struct listener *listener, bool expects_proxy, char heard[128])
{
        const struct timeval patience = { .tv_sec = 4 };
        const in_port_t port = htons((uint16_t)listener->port);
        struct sockaddr_in6 six = { .sin6_family = AF_INET6, .sin6_port = port };
        struct sockaddr_in four = { .sin_family = AF_INET, .sin_port = port };
        bool is_six = listener->family == AF_INET6;
        int fd = socket(listener->family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        ssize_t count;

        /* where it listens on no address in particular, this connects to loopback */
        memcpy(&six.sin6_addr, listener->address, sizeof(six.sin6_addr));
        memcpy(&four.sin_addr, listener->address, sizeof(four.sin_addr));
        (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
        (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
        if (connect(fd, is_six ? (void *)&six : &four, is_six ? sizeof(six) : sizeof(four)) == 0 &&
            expects_proxy)
                (void)send(fd, "PROXY UNKNOWN\r\n", 15, MSG_NOSIGNAL);
        count = recv(fd, heard, 127, 0);
        if (count <= 0)
                count = snprintf(heard, 128, "(nothing: %s)", count == 0 ? "closed at once"
                    : strerror(errno == EAGAIN ? ETIMEDOUT : errno));
        heard[count] = '\0';
        heard[strcspn(heard, "\r\n")] = '\0';
        (void)close(fd);
}

static void
check_listener(struct survey *survey, const struct listener *listener)
{
        char name[64], heard[128] = "", what[16], address[INET6_ADDRSTRLEN];
        int pid = find_holder(listener->inode, name);
        struct entry *entry = entry_of_port(survey, listener->port, PORT, name);
        const struct entry *before = entry_of_port(survey, listener->port, CONNECT, "");
        bool is_tls = listener->port == POP3S_PORT || (entry != NULL && entry->launcher == stunnel);
        bool is_alike, is_foreign = pid > 0 &&
            (entry == NULL ? is_tls && !survey->is_proxied : !is_by(entry, name));

        if (listener->port == POP3_PORT && entry != NULL && !is_foreign && runs_us(survey, entry))
                survey->ours = entry;
        if (!is_tls)
                hear(listener, entry != NULL ? has_flag(entry, 'x') : before != NULL &&
                    strcmp(before->value[PROTOCOL], "proxy") == 0, heard);
        is_alike = strncmp(heard, survey->greeting, strlen(survey->greeting)) == 0;
        (void)snprintf(what, sizeof(what), "port %u", listener->port);
        (void)inet_ntop(listener->family, listener->address, address, sizeof(address));
        if (is_foreign && entry != NULL)
                ROW(survey, "fail", what, "%s (process %d) listens on %s\n"
                    "cause: it was first, so %s cannot: EADDRINUSE, \"Address already in use\"\n"
                    "remedy: stop it for good, then %s %s, for %s%s", name, pid, address,
                    entry->launcher, RESTART(entry), entry->file, is_alike
                    ? ";\nor, if it is to stay, set disable = yes (or a #) there" : "");
        else
                ROW(survey, is_foreign ? "warn" : pid > 0 ? "ok" : "skip", what,
                    "%s (process %d) listens on %s%s", name, pid, address,
                    is_foreign ? "; nothing known leads from it to pop3d" : "");
        if (is_alike)
                ROW(survey, is_foreign ? "warn" : "ok", what, "greets: %s", heard);
        else if (!is_tls)
                ROW(survey, "fail", what, "another greeting than ours:\nheard: %s\nours: %s\n"
                    "cause: %s", heard, survey->greeting,
                    strstr(heard, "pop3d was started wrongly") != NULL
                    ? "the launcher's arguments\nremedy: mend them"
                    : is_foreign ? "another program answers in our place"
                    : "the launcher starts something else, or refuses; see its log");
}

/* All who listen on a port, in both families; if nobody does, is that meant? */
static void
check_port(struct survey *survey, unsigned port)
{
        static const char *const tables[] = { "/proc/net/tcp", "/proc/net/tcp6" };
        const struct entry *entry = entry_of_port(survey, port, PORT, "");
        const struct entry *before = entry_of_port(survey, port, CONNECT, "");
        bool is_bare = survey->count == 0 && port == POP3_PORT;
        struct listener listener;
        unsigned state, count = 0;
        char line[256], address[33];

        if (entry == NULL && before == NULL && port != POP3_PORT && port != POP3S_PORT)
                return;
        for (int six = 0; six < 2; six++) {
                FILE *table = fopen(tables[six], "re");
                uint32_t *words = listener.address;

                listener.family = six ? AF_INET6 : AF_INET;
                while (table != NULL && fgets(line, sizeof(line), table) != NULL) {
                        if (sscanf(line, " %*d: %32[0-9A-F]:%x %*s %x %*s %*s %*s %*s %*s %lu",
                                address, &listener.port, &state, &listener.inode) != 4 ||
                            state != LISTENING || listener.port != port)
                                continue;
                        (void)sscanf(address, "%8x%8x%8x%8x", words, words + 1, words + 2,
                            words + 3);
                        check_listener(survey, &listener);
                        count++;
                }
                if (table != NULL)
                        (void)fclose(table);
        }
        if (count == 0 && entry != NULL)
                ROW(survey, "fail", "port", "nobody listens on %u, in spite of %s\nremedy: %s %s and "
                    "see its log, or switch it off there", port, entry->file, RESTART(entry));
        else if (count == 0 && before != NULL)
                ROW(survey, "fail", "port", "nobody listens on %u, where %s connects\nremedy: mend "
                    "that, or switch on what is to listen, as pop3-inner", port, before->file);
        else if (count == 0)
                ROW(survey, is_bare ? "warn" : "skip", "port",
                    "nobody listens on %u, nor is anything set to%s", port,
                    is_bare ? "\nremedy: choose a launcher from xinetd.d/" : "");
}

/* What is wrong with an entry, cause and remedy, or "". */
static const char *
trouble(struct survey *survey, const struct entry *entry)
{
        unsigned to = port_of(entry->value[CONNECT], "");
        const struct entry *inner = entry_of_port(survey, to, PORT, "");
        const char *program = entry->value[PROGRAM], *user = entry->value[USER];
        const char *wait = entry->value[WAIT];
        bool sends_proxy = strcmp(entry->value[PROTOCOL], "proxy") == 0;

        if (!is_on(entry))
                return entry->launcher == systemd
                    ? "\ncause: it is a socket not enabled\nremedy: systemctl enable --now "
                    : "\ncause: it is switched off (disable = yes, a #)\n"
                      "remedy: switch it on there, then reload the launcher";
        if (*program != '\0' && !runs_us(survey, entry) && strstr(program, "/stunnel") == NULL)
                return "\ncause: that is not this pop3d, or is not there\nremedy: name this program";
        if (*program != '\0' && *user != '\0' && strncmp(user, "root", 4) != 0 &&
            !has_flag(entry, 'v'))
                return "\ncause: without root neither PAM nor the users' mail is in reach\n"
                       "remedy: user = root; pop3d becomes the mail user by itself";
        if (strcmp(wait, "yes") == 0 || strcmp(wait, "wait") == 0)
                return "\ncause: pop3d wants a connection, no listening socket\nremedy: wait = no";
        if (entry->launcher == stunnel && *program != '\0' && !has_flag(entry, 'S'))
                return "\ncause: pop3d is not told that TLS was done\nremedy: add -S";
        if (inner != NULL && (has_flag(inner, 'x') != sends_proxy ||
            (sends_proxy && !has_flag(inner, 'S'))))
                return "\ncause: stunnel's `protocol = proxy` and pop3d's -x -S are not all there\n"
                       "remedy: add what is missing, and bind that port of pop3d's to loopback";
        return "";
}

/* A row for each entry; one that is off where another is on is no fault. */
static void
check_entries(struct survey *survey, bool is_any_on)
{
        bool has_tls = false, is_open = false;

        for (size_t i = 0; i < survey->count; i++) {
                const struct entry *entry = &survey->entries[i];
                const char *wrong = trouble(survey, entry), *program = entry->value[PROGRAM];
                const char *limit = entry->value[LIMIT];
                bool is_stunnel = entry->launcher == stunnel, is_spare = is_any_on && !is_on(entry);

                ROW(survey, *wrong == '\0' ? "ok" : is_spare ? "skip" : "fail",
                    is_stunnel ? "TLS" : "launcher", "%s: %s, %s %s as %s%s%s%s%s", entry->file,
                    entry->launcher, *program != '\0' ? program : "to",
                    entry->value[*program != '\0' ? ARGUMENTS : CONNECT],
                    entry->value[USER][0] != '\0' ? entry->value[USER] : "root",
                    *limit != '\0' ? "; sessions at once: " : "", limit,
                    is_spare ? ": switched off, unlike others" : wrong,
                    !is_any_on && entry->launcher == systemd ? entry->name : "");
                has_tls |= is_on(entry) && (is_stunnel || strstr(program, "/stunnel") != NULL);
                is_open |= is_on(entry) && has_flag(entry, 'p');
        }
        if (survey->count == 0)
                ROW(survey, "skip", "launcher", "no entry in xinetd, inetd, systemd or stunnel");
        if (!has_tls)
                ROW(survey, is_any_on && !survey->is_proxied && !is_open ? "warn" : "skip", "TLS",
                    survey->is_proxied ? "the proxy in front tells of it (-x)" : is_open
                    ? "nothing known does it in front, and passwords are taken in clear text (-p)"
                    : "nothing known does it in front\ncause: so users on other machines are refused\n"
                      "remedy: set up pop3s, unless all are on this one");
}

char *
launcher_check(const char *greeting, check_row row, void *context, const char **file)
{
        static struct survey survey;
        bool is_any_on = false;

        survey.row = row;
        survey.context = context;
        survey.greeting = greeting;
        (void)stat("/proc/self/exe", &survey.self);
        for (size_t i = 0; i < sizeof(sources) / sizeof(sources[0]); i++)
                read_files(&survey, sources[i].launcher, sources[i].pattern);
        (void)begin_entry(&survey, "", "", "");
        for (struct entry *entry = survey.entries; entry < survey.entries + survey.count; entry++) {
                is_any_on |= is_on(entry);
                survey.is_proxied |= is_on(entry) && has_flag(entry, 'x');
                if (runs_us(&survey, entry) && (survey.ours == NULL || !is_on(survey.ours)))
                        survey.ours = entry;
        }
        check_entries(&survey, is_any_on);
        for (unsigned port = 1; port <= UINT16_MAX; port++)
                check_port(&survey, port);
        if (survey.ours == NULL)
                return NULL;
        *file = survey.ours->file;
        /* with that flag the first word is the program's name */
        return survey.ours->value[ARGUMENTS] + (strstr(survey.ours->value[FLAGS], "NAMEINARGS")
            ? strcspn(survey.ours->value[ARGUMENTS], " ") : 0);
}
