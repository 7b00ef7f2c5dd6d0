/*
 * troubles.c - what is wrong with an entry, whichever launcher it is for, and between entries.
 * Runs in:   pop3d-check, as root where it can.
 * May touch: /proc and the programs that entries name, for reading.
 */
#include "troubles.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

/* ---- What it starts ------------------------------------------------------------------------ */

/* How the line is written that names the program. */
static void
write_program_line(const struct entry *entry, char line[2 * VALUE_SIZE])
{
        static const char *const keys[] = { "", "server = ", "", "ExecStart=-", "exec = ", "", "" };
        char path[PATH_MAX] = "/usr/local/sbin/pop3d";

        (void)find_beside("pop3d", path);
        (void)snprintf(line, 2 * VALUE_SIZE, "%s%.1000s", keys[entry->launcher], path);
}

/* Another entry that is on, has the same port and starts this pop3d. */
static const struct entry *
find_better(const struct entries *entries, const struct entry *entry)
{
        for (size_t i = 0; i < entries->count; i++) {
                const struct entry *other = &entries->entry[i];

                if (other != entry && other->is_on && other->runs_us && other->port == entry->port)
                        return other;
        }
        return NULL;
}

static const char *
words_to_switch_off(const struct entry *entry, char words[VALUE_SIZE])
{
        switch (entry->launcher) {
        case XINETD:
                (void)snprintf(words, VALUE_SIZE, "write disable = yes in %.900s, then restart xinetd",
                    entry->file);
                break;
        case SYSTEMD:
                (void)snprintf(words, VALUE_SIZE, "systemctl disable --now %s", entry->name);
                break;
        case COMMAND:
                (void)snprintf(words, VALUE_SIZE, "stop process %d", entry->pid);
                break;
        default:
                (void)snprintf(words, VALUE_SIZE, "put a # before it in %.900s, then restart %s", entry->file,
                    launcher_names[entry->launcher]);
        }
        return words;
}

static bool
is_stunnel(const struct entry *entry)
{
        return strncmp(base_name(entry->value[PROGRAM]), "stunnel", 7) == 0;
}

static void
find_wrong_program(const struct entries *entries, struct entry *entry)
{
        const char *program = entry->value[PROGRAM];
        const struct entry *better = find_better(entries, entry);
        bool is_there = access(program, F_OK) == 0, is_started = access(program, X_OK) == 0;
        char line[2 * VALUE_SIZE], words[VALUE_SIZE];

        if (*program == '\0' || (is_stunnel(entry) && is_started))
                return;
        write_program_line(entry, line);
        if (is_there && !is_started)
                entry_trouble(entry, "fail", "\ncause: %s cannot be started: %s\nremedy: chmod 755 %s",
                    program, strerror(errno), program);
        else if (!entry->runs_us && better != NULL)
                entry_trouble(entry, "fail", "\ncause: that is not this pop3d, or is not there, and %s, which "
                    "is, has the same port\nremedy: switch this one off: %s", better->file,
                    words_to_switch_off(entry, words));
        else if (!entry->runs_us)
                entry_trouble(entry, "fail", "\ncause: that is not this pop3d, or is not there\n"
                    "remedy: name this program: %s", line);
}

static void
find_wrong_user(struct entry *entry)
{
        static const char *const remedies[] = {
                "", "write there: user = root", "write root in its place",
                "write User=root in its [Service], then: systemctl daemon-reload",
                "take out the line with setuid; or, to keep it, see stunnel-socket.conf", "",
                "start it without -u",
        };
        const char *user = entry->value[USER];
        bool tells_unknown = entry->launcher == XINETD || entry->launcher == INETD ||
            entry->launcher == STUNNEL;         /* an account that is not there has its row already */
        uid_t uid = 1;

        if (entry->value[PROGRAM][0] == '\0' || *user == '\0' || is_stunnel(entry) ||
            (account_uid(user, &uid) ? uid == 0 : tells_unknown) || entry->options.auth.virtual_account != NULL)
                return;
        entry_trouble(entry, "fail", "\ncause: without root neither PAM nor the users' mail is in reach\n"
            "remedy: %s; pop3d becomes the mail user by itself", remedies[entry->launcher]);
}

static void
find_waiting(struct entry *entry)
{
        if (strcmp(entry->value[WAIT], "yes") == 0)
                entry_trouble(entry, "fail", "\ncause: pop3d needs a connection, not a listening socket\n"
                    "remedy: write there: wait = no");
        else if (strcmp(entry->value[WAIT], "wait") == 0)
                entry_trouble(entry, "fail", "\ncause: pop3d needs a connection, no listening socket\n"
                    "remedy: write nowait in place of wait");
}

/* ---- TLS in front -------------------------------------------------------------------------- */

/* stunnel that starts pop3d itself must say that TLS was done. */
static void
find_missing_secured(struct entry *entry)
{
        bool is_lost = entry->argument_count > 0 && *entry->arguments[0] == '-';

        if (entry->launcher == STUNNEL && entry->value[PROGRAM][0] != '\0' && !is_lost &&
            !entry->options.auth.peer.is_secured && !entry->runs_script)
                entry_trouble(entry, "fail", "\ncause: pop3d is not told that TLS was done\nremedy: add -S, "
                    "that is: execArgs = pop3d -S%s%s; then restart stunnel",
                    entry->arguments[1] == NULL ? "" : " ",
                    entry->arguments[1] == NULL ? "" : strstr(entry->value[ARGUMENTS], entry->arguments[1]));
}

/* A header that nobody sends: stunnel does not to what it starts; and users come to POP3's own ports directly. */
static void
find_unsent_header(const struct entries *entries, struct entry *entry)
{
        bool is_before_users = (entry->port == POP3_PORT || entry->port == POP3S_PORT) && *entry->address == '\0' &&
            entry_word(entry, "only_from") == NULL && entry_of_port(entries, entry->port, CONNECT, "") == NULL &&
            !entry->options.auth.peer.is_secured;
        struct holder holder;

        find_holder(POP3S_PORT, &holder);
        /* something that is not known here does TLS, and may well send it */
        if (holder.pid != 0 && entry_of_port(entries, POP3S_PORT, PORT, "") == NULL)
                return;
        if (!entry->options.auth.expects_proxy || !entry->runs_us || (entry->launcher != STUNNEL && !is_before_users))
                return;
        entry_trouble(entry, entry->launcher == STUNNEL ? "fail" : "warn", "\ncause: with -x pop3d waits for a PROXY header, which %s, so it greets "
            "nobody\nremedy: take -x out of its arguments, then restart %s%s", entry->launcher == STUNNEL
            ? "stunnel does not send to a program that it starts" : "users who come to this port do not send",
            launcher_names[entry->launcher], entry->launcher == STUNNEL ? "" : "; or, behind a proxy on another "
            "machine, name that in only_from");
}

/* -S where clients come in clear text: their passwords cross the network, and pop3d does not refuse them. */
static void
find_false_secured(const struct entries *entries, struct entry *entry)
{
        char restart[VALUE_SIZE];

        if (entry->launcher == STUNNEL || entry->port != POP3_PORT || *entry->address != '\0' || !entry->runs_us ||
            !entry->options.auth.peer.is_secured || entry->options.auth.expects_proxy ||
            entry_word(entry, "only_from") != NULL || entry_of_port(entries, POP3_PORT, CONNECT, "") != NULL)
                return;
        entry_trouble(entry, "warn", "\ncause: -S says that TLS was done, but clients come to port %u in clear text, so "
            "passwords are taken that others can read\nremedy: take -S out of its arguments, then %s; or write -p in "
            "its place, if that is meant", POP3_PORT, restart_words(entry, restart));
}

/* -e where standard error is the client's connection. */
static void
find_log_to_client(struct entry *entry)
{
        const char *error = entry_word(entry, "StandardError");
        bool is_client = entry->launcher == XINETD || entry->launcher == INETD ||
            (entry->launcher == SYSTEMD && (error == NULL || strcmp(error, "inherit") == 0 ||
            strcmp(error, "socket") == 0)) || (entry->launcher == COMMAND && entry_word(entry, "stderr") != NULL);
        char restart[VALUE_SIZE];

        if (entry->options.logs_to_stderr && entry->runs_us && is_client)
                entry_trouble(entry, "fail", "\ncause: with -e pop3d writes its log to standard error as well, which is "
                    "the client's connection here\nremedy: take -e out of its arguments, then %s",
                    restart_words(entry, restart));
}

/* The programs of qmail that ask for a password stand before pop3d, which asks for it itself. */
static void
find_qmail(struct entry *entry)
{
        if (strcmp(base_name(entry->value[PROGRAM]), "qmail-popup") == 0)
                entry_trouble(entry, "fail", "\ncause: qmail-popup and checkpassword ask for the password, and start what "
                    "serves mail behind that; pop3d does both\nremedy: name pop3d in their place, without Maildir behind "
                    "it: see /usr/local/share/doc/pop3d/commands");
}

/* What stands between stunnel and the pop3d that it connects to. */
static void
find_proxy_trouble(const struct entries *entries, struct entry *entry)
{
        bool sends_proxy = strcasecmp(entry->value[PROTOCOL], "proxy") == 0;
        const struct entry *inner = entry_of_port(entries, entry->connects_to, PORT, "");

        if (entry->connects_socket[0] != '\0')
                inner = entry_of_socket(entries, entry->connects_socket);
        if (entry->launcher != STUNNEL || inner == NULL || !inner->runs_us ||
            (inner->options.auth.expects_proxy == sends_proxy &&
            (!sends_proxy || inner->options.auth.peer.is_secured)))
                return;
        entry_trouble(entry, "fail", "\ncause: stunnel's `protocol = proxy` and pop3d's -x -S are not all there\n"
            "remedy: add what is missing: protocol = proxy here, -x -S in %s", inner->file);
}

/*
 * Whether a name that the kernel has of a socket in use means this file. Who listens may see other folders
 * (chroot, a unit's own /run): where the name leads nowhere here, its last part has to do.
 */
static bool
is_name_of(const char *name, const char *path, const struct stat *socket)
{
        struct stat named;

        if (stat(name, &named) == 0)
                return named.st_ino == socket->st_ino && named.st_dev == socket->st_dev;
        return strcmp(base_name(name), base_name(path)) == 0;
}

/* Whether the file of a socket is there, and nobody listens on it. The kernel's list is read; nobody is called. */
static bool
is_deserted(const char *path, const struct stat *socket)
{
        FILE *table = fopen("/proc/net/unix", "re");
        char line[VALUE_SIZE], *own;
        bool is_held = table == NULL;

        while (table != NULL && !is_held && fgets(line, sizeof(line), table) != NULL) {
                line[strcspn(line, "\n")] = '\0';
                own = strchr(line, '/');
                is_held = own != NULL && is_name_of(own, path, socket);
        }
        if (table != NULL)
                (void)fclose(table);
        return !is_held;
}

/* The Unix socket behind stunnel or HAProxy: is it there, and may that account connect to it? */
static void
find_socket_trouble(const struct entries *entries, struct entry *entry)
{
        const char *path = entry->connects_socket, *user = entry->value[USER];
        const struct entry *inner = entry_of_socket(entries, path);
        struct stat status;
        char home[PATH_MAX];
        uid_t uid;
        gid_t gid;

        if (*path == '\0')
                return;
        if (stat(path, &status) != 0)
                entry_trouble(entry, "fail", "\ncause: it connects to %s, which is not there\n"
                    "remedy: %s%s", path, inner != NULL && inner->launcher == SYSTEMD
                    ? "systemctl restart " : "start what listens there",
                    inner != NULL && inner->launcher == SYSTEMD ? inner->name : "");
        else if (!S_ISSOCK(status.st_mode))
                entry_trouble(entry, "fail", "\ncause: it connects to %s, which is no socket\n"
                    "remedy: rm %s; then start what listens there", path, path);
        else if (is_deserted(path, &status))
                entry_trouble(entry, "fail", "\ncause: nobody listens on %s any more: who made it has ended\n"
                    "remedy: %s%s", path, inner != NULL && inner->launcher == SYSTEMD
                    ? "systemctl restart " : "start what listens there",
                    inner != NULL && inner->launcher == SYSTEMD ? inner->name : "");
        else if (auth_look_up(user, &uid, &gid, home) && uid != 0 &&
            uid != status.st_uid && (status.st_mode & S_IWOTH) == 0 && (gid != status.st_gid || (status.st_mode & S_IWGRP) == 0))
                entry_trouble(entry, "fail", "\ncause: %s belongs to uid %u (mode %04o), and %s may not "
                    "connect to it\nremedy: write SocketUser=%s in the [Socket] of what listens there, then: "
                    "systemctl daemon-reload; systemctl restart it", path, (unsigned)status.st_uid,
                    (unsigned)status.st_mode & 07777, user, user);
}

/* A stunnel that xinetd or inetd starts must not listen itself. */
static void
find_inner_stunnel(const struct entries *entries, struct entry *entry)
{
        bool is_inetd = entry->launcher == XINETD || entry->launcher == INETD;
        const char *file = entry->argument_count == 0 ? "" : entry->arguments[entry->argument_count - 1];
        const char *user = entry->value[USER];
        uid_t uid;

        if (!is_inetd || !is_stunnel(entry))
                return;
        if (*user != '\0' && account_uid(user, &uid) && uid != 0)
                entry_trouble(entry, "fail", "\ncause: user = %s: neither the certificate's key nor root, whom pop3d needs, "
                    "is in its reach\nremedy: write root in place of %s; then restart %s", user, user,
                    launcher_names[entry->launcher]);
        if (*file != '/' || access(file, F_OK) != 0)
                entry_trouble(entry, "fail", "\ncause: stunnel is not told of a file that is there\nremedy: cp "
                    "/usr/local/share/doc/pop3d/stunnel-inetd.conf /etc/stunnel/pop3s-inetd.conf, and name "
                    "that as its argument");
        for (size_t i = 0; i < entries->count; i++)
                if (entries->entry[i].launcher == STUNNEL && strcmp(entries->entry[i].file, file) == 0 &&
                    entries->entry[i].value[PORT][0] != '\0')
                        entry_trouble(entry, "fail", "\ncause: %s has a section with accept, so stunnel wants "
                            "to listen itself\nremedy: take out accept and the line in brackets there: see "
                            "stunnel-inetd.conf", file);
}

/* ---- Two entries for one port ---------------------------------------------------------------- */

/* Whether both would take the same address. An address of their own, or families, part them. */
static bool
is_same_place(const struct entry *one, const struct entry *other)
{
        const char *flags = one->value[FLAGS], *others = other->value[FLAGS];
        const char *protocol = entry_word(one, "protocol"), *theirs = entry_word(other, "protocol");
        bool is_one_file = one->launcher == other->launcher && strcmp(one->file, other->file) == 0;

        if (one->port != other->port || one->port == 0 || one->connects_to == one->port)
                return false;
        if (*one->address != '\0' && *other->address != '\0' && strcmp(one->address, other->address) != 0)
                return false;
        if (one->launcher == XINETD && other->launcher == XINETD &&
            ((strstr(flags, "IPv4") != NULL) != (strstr(others, "IPv4") != NULL)))
                return false;
        if (one->launcher == INETD && other->launcher == INETD && protocol != NULL && theirs != NULL &&
            strcmp(protocol, theirs) != 0)
                return false;
        return !is_one_file || one->launcher == XINETD || one->launcher == INETD || one->launcher == STUNNEL;
}

/* Whether a process of the entry's launcher is seen at all; systemd is where its socket is. */
static bool
runs(const struct entries *entries, const struct entry *entry)
{
        if (entry->launcher == INETD && entries->xinetd_reads_inetd)
                return true;
        return entry->launcher == COMMAND || entries->is_running[entry->launcher];
}

static void
find_twin(const struct entries *entries, struct entry *entry)
{
        struct holder holder;
        char words[VALUE_SIZE];

        for (size_t i = 0; i < entries->count; i++) {
                const struct entry *other = &entries->entry[i];
                bool is_first = other < entry;

                if (is_first && entry->launcher == STUNNEL && other->launcher == STUNNEL && other->is_on &&
                    is_same_place(entry, other)) {
                        entry_trouble(entry, "fail", "\ncause: [%s] and [%s] accept on the same port, %u, so stunnel does "
                            "not start\nremedy: take one of the two out, then restart stunnel", other->name, entry->name,
                            entry->port);
                        return;
                }

                /* one that starts another program has a row of its own */
                if (other == entry || !other->is_on || other->cannot_listen || entry->cannot_listen ||
                    (entry->runs_us && !other->runs_us && other->value[PROGRAM][0] != '\0' && !is_stunnel(other)) ||
                    !is_same_place(entry, other) || !runs(entries, entry) || !runs(entries, other))
                        continue;
                find_holder(entry->port, &holder);
                if (other->launcher != entry->launcher)
                        is_first = entry_is_by(entries, other, holder.name);
                if (!is_first)
                        continue;
                entry_trouble(entry, "warn", "\ncause: two entries have port %u, this one and the one in %s: "
                    "only one of both can have it, and which one may change\nremedy: %s", entry->port,
                    other->file, words_to_switch_off(entry, words));
                return;
        }
}

/* ---- Older than its file --------------------------------------------------------------------- */

/* When a process was started, or 0. */
static time_t
start_of(int pid)
{
        char path[NAME_SIZE], line[VALUE_SIZE];
        unsigned long long ticks = 0, boot = 0;
        const char *behind;
        FILE *file;

        (void)snprintf(path, sizeof(path), "/proc/%d/stat", pid);
        file = fopen(path, "re");
        if (file != NULL && fgets(line, sizeof(line), file) != NULL &&
            (behind = strrchr(line, ')')) != NULL)
                (void)sscanf(behind, ") %*c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s "
                    "%*s %*s %*s %llu", &ticks);
        if (file != NULL)
                (void)fclose(file);
        file = fopen("/proc/stat", "re");
        while (file != NULL && boot == 0 && fgets(line, sizeof(line), file) != NULL)
                (void)sscanf(line, "btime %llu", &boot);
        if (file != NULL)
                (void)fclose(file);
        return ticks == 0 || boot == 0 ? 0 : (time_t)(boot + ticks / (unsigned long long)sysconf(_SC_CLK_TCK));
}

/* Whether nobody has read the file since it was changed. Not where times of reading are not kept. */
static bool
is_unread(const char *path, const struct stat *status)
{
        const struct timespec *read = &status->st_atim, *changed = &status->st_mtim;
        struct statvfs place;

        if (statvfs(path, &place) != 0 || (place.f_flag & ST_NOATIME) != 0)
                return false;
        return read->tv_sec < changed->tv_sec ||
            (read->tv_sec == changed->tv_sec && read->tv_nsec <= changed->tv_nsec);
}

static void
find_old_daemon(const struct entries *entries, struct entry *entry)
{
        struct holder holder;
        struct stat status;
        time_t start;

        if (entry->launcher == SYSTEMD || entry->launcher == COMMAND || stat(entry->file, &status) != 0)
                return;
        find_holder(entry->port, &holder);
        start = start_of(holder.pid);
        if (holder.pid == 0 || start == 0 || !entry_is_by(entries, entry, holder.name) ||
            status.st_mtim.tv_sec <= start + 1 || !is_unread(entry->file, &status))
                return;
        entry_trouble(entry, "warn", "\ncause: it was changed after %s (process %d) was started, and not read "
            "since\nremedy: kill -HUP %d, or restart %s", holder.name, holder.pid, holder.pid, holder.name);
}

/* Switched off in its file, but its launcher still has the port. */
static void
find_still_on(const struct entries *entries, struct entry *entry)
{
        struct holder holder;

        if (entry_of_port(entries, entry->port, PORT, "") != NULL || entry->launcher == STUNNEL)
                return;
        find_holder(entry->port, &holder);
        if (holder.pid != 0 && entry_is_by(entries, entry, holder.name))
                entry_trouble(entry, "warn", "\ncause: it is switched off, but %s (process %d) has not read that "
                    "yet and still has port %u\nremedy: kill -HUP %d, or restart %s", holder.name, holder.pid,
                    entry->port, holder.pid, holder.name);
}

/* ---- The whole --------------------------------------------------------------------------------- */

void
entry_find_troubles(const struct entries *entries, struct entry *entry)
{
        if (!entry->is_on) {
                find_still_on(entries, entry);
                return;
        }
        find_wrong_program(entries, entry);
        find_wrong_user(entry);
        find_waiting(entry);
        find_missing_secured(entry);
        find_unsent_header(entries, entry);
        find_false_secured(entries, entry);
        find_log_to_client(entry);
        find_qmail(entry);
        find_proxy_trouble(entries, entry);
        find_socket_trouble(entries, entry);
        find_inner_stunnel(entries, entry);
        find_twin(entries, entry);
        find_old_daemon(entries, entry);
}
