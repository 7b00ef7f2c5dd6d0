/*
 * elsewhere.c - finds mail that no session shows, because it lies somewhere else (-c).
 * Runs in:   a child of pop3d-check, as the mail user; not in a session.
 * May touch: names and sizes in the Maildir, in the home and where mail commonly lies, and
 *            /etc/fstab and /proc/self/mountinfo. No message is opened.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "command.h"
#include "internal.h"

enum {
        SHOWN_MAX = 3,          /* places that a row names; the rest are counted */
        ENTRIES_MAX = 2000000,  /* of a folder; whoever filled it must not keep the check for ever */
};

/* What the entries of one folder or more are. */
struct entries {
        size_t files, links, folders, hidden;   /* hidden: files whose names begin with a dot */
        bool is_closed;         /* not all of it could be listed */
};

/* The kind of an entry by readdir(3), or where that does not tell by stat(2); a link is not followed. */
static unsigned char
kind_of(int directory, const struct dirent *entry)
{
        struct stat status;

        if (entry->d_type != DT_UNKNOWN)
                return entry->d_type;
        if (fstatat(directory, entry->d_name, &status, AT_SYMLINK_NOFOLLOW) != 0)
                return DT_UNKNOWN;
        if (S_ISLNK(status.st_mode))
                return DT_LNK;
        return S_ISREG(status.st_mode) ? DT_REG : S_ISDIR(status.st_mode) ? DT_DIR : DT_UNKNOWN;
}

/*
 * Adds what is in a folder, but for names that begin with a dot. A link is not followed, because what
 * it leads to is no mail for it.
 */
static void
count(const char *path, const char *folder, struct entries *entries)
{
        char whole[PATH_MAX + 8];
        const struct dirent *entry;
        DIR *list;
        int fd;

        (void)snprintf(whole, sizeof(whole), "%s%s", path, folder);
        fd = open(whole, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        list = fd < 0 ? NULL : fdopendir(fd);
        if (list == NULL && errno != ENOENT)
                entries->is_closed = true;
        for (size_t i = 0; list != NULL && i < ENTRIES_MAX && (entry = readdir(list)) != NULL; i++) {
                unsigned char kind = kind_of(dirfd(list), entry);

                if (entry->d_name[0] == '.') {
                        entries->hidden += kind == DT_REG;
                        continue;
                }
                entries->files += kind == DT_REG;
                entries->links += kind == DT_LNK;
                entries->folders += kind == DT_DIR;
        }
        if (list != NULL)
                (void)closedir(list);
}

static struct entries
count_both(const char *path)
{
        struct entries entries = { 0 };

        count(path, "/new", &entries);
        count(path, "/cur", &entries);
        return entries;
}

/* ---- Other Maildirs -------------------------------------------------------------------- */

/* Maildirs that have mail, as a row tells them. */
struct places {
        size_t count, files, fresh;     /* places; messages in them; of these in new/ */
        char text[SHOWN_MAX * 300], first[PATH_MAX];
};

/* Adds a place if it has mail. */
static void
add_place(struct places *places, const char *path)
{
        struct entries fresh = { 0 }, seen = { 0 };
        size_t used = strlen(places->text);
        char shown[PATH_MAX];

        path_show(shown, path);
        count(path, "/new", &fresh);
        count(path, "/cur", &seen);
        if (fresh.files + seen.files == 0)
                return;
        if (places->count == 0)
                (void)snprintf(places->first, sizeof(places->first), "%s", path);
        if (places->count < SHOWN_MAX)
                (void)snprintf(places->text + used, sizeof(places->text) - used, "%s%.250s (%zu)",
                    used == 0 ? "" : ", ", shown, fresh.files + seen.files);
        else if (places->count == SHOWN_MAX)
                (void)snprintf(places->text + used, sizeof(places->text) - used, ", and others");
        places->count++;
        places->files += fresh.files + seen.files;
        places->fresh += fresh.files;
}

/* Adds each folder below path that has mail, except the one that is the maildrop itself. */
static void
add_places_below(struct places *places, const char *path, const struct stat *own)
{
        char whole[PATH_MAX + NAME_MAX];
        const struct dirent *entry;
        struct stat status;
        DIR *list = opendir(path);

        while (list != NULL && (entry = readdir(list)) != NULL) {
                const char *name = entry->d_name;

                if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 ||
                    snprintf(whole, sizeof(whole), "%s/%s", path, name) >= PATH_MAX)
                        continue;
                if (stat(whole, &status) == 0 && S_ISDIR(status.st_mode) &&
                    (status.st_dev != own->st_dev || status.st_ino != own->st_ino))
                        add_place(places, whole);
        }
        if (list != NULL)
                (void)closedir(list);
}

/* Folders as IMAP servers have them: .Junk (Maildir++), or a Maildir in the Maildir. */
static void
check_folders(const char *path, const struct stat *own, bool by_root, check_row row, void *context)
{
        struct places places = { 0 };
        char command[COMMAND_SIZE], remedy[COMMAND_SIZE] = "";

        add_places_below(&places, path, own);
        if (places.count == 0)
                return;
        if (path_is_plain(path) && path_is_plain(places.first)) {
                (void)snprintf(command, sizeof(command), "for d in new cur; do mv %s/$d/* %s/$d/; done",
                    places.first, path);
                command_as_owner(remedy, by_root, command);
        }
        row(context, places.fresh > 0 ? "warn" : "skip", "maildrop", "the inbox is empty, and "
            "%zu messages lie in folders of it: %s\n"
            "cause: POP3 serves the inbox alone, and a filter or an IMAP client put them there\n"
            "remedy: if they belong to the inbox, mend the filter and move them%s%s", places.files,
            places.text, remedy[0] != '\0' ? ": " : "", remedy);
}

/*
 * Writes what a path is as a template: its parts that are the user's, the domain's and the home's as %u, %d and, as a
 * relative one, nothing. It is the way that -m would name it.
 */
static void
write_template(const char *path, const struct maildir_names *names, char *out, size_t size)
{
        size_t home = strlen(names->home), used = 0, length;
        char both[PATH_MAX];

        (void)snprintf(both, sizeof(both), "%s@%s", names->user, names->domain);

        if (strcmp(path, names->home) == 0) {
                (void)snprintf(out, size, "%%h");
                return;
        }
        if (home > 1 && strncmp(path, names->home, home) == 0 && path[home] == '/') {
                (void)snprintf(out, size, "%s", path + home + 1);
                return;
        }
        for (out[0] = '\0'; *path != '\0' && used < size; path += length) {
                const char *what;

                path++;
                length = strcspn(path, "/");
                what = length == strlen(names->user) && strncmp(path, names->user, length) == 0 ? "%u"
                    : names->domain[0] != '\0' && length == strlen(names->domain) &&
                    strncmp(path, names->domain, length) == 0 ? "%d" : length == strlen(both) &&
                    strncmp(path, both, length) == 0 ? "%u@%d" : NULL;
                used += (size_t)snprintf(out + used, size - used, "/%.*s", what == NULL ? (int)length : 5,
                    what == NULL ? path : what);
        }
}

/* Adds the places that another template would lead to, below the folder with all of them. */
static void
add_places_of_templates(struct places *places, const char *root, const struct maildir_names *names)
{
        static const char *const ends[] = { "", "/Maildir" };
        const char *user = names->user, *domain = names->domain;
        char whole[PATH_MAX];

        for (int i = 0; i < 2; i++) {
                if (snprintf(whole, sizeof(whole), "%s/%s%s", root, user, ends[i]) < PATH_MAX)
                        add_place(places, whole);
                if (domain[0] == '\0')
                        continue;
                if (snprintf(whole, sizeof(whole), "%s/%s/%s%s", root, domain, user, ends[i]) < PATH_MAX)
                        add_place(places, whole);
                if (snprintf(whole, sizeof(whole), "%s/%s@%s%s", root, user, domain, ends[i]) < PATH_MAX)
                        add_place(places, whole);
        }
}

/* The folder above a maildrop that is not a user's or domain's own, as /var/vmail. */
static void
find_root(const char *path, const struct maildir_names *names, char root[PATH_MAX])
{
        bool is_own = true;

        (void)snprintf(root, PATH_MAX, "%s", path);
        while (is_own && strrchr(root, '/') > root) {
                const char *last = strrchr(root, '/') + 1;

                is_own = strstr(last, names->user) != NULL || strcmp(last, names->domain) == 0 ||
                    strcmp(last, "Maildir") == 0;
                if (is_own)
                        *strrchr(root, '/') = '\0';
        }
}

/* Another Maildir: in the home, or where mail commonly lies. */
static void
check_others(const char *path, const struct stat *own, const struct maildir_names *names,
    check_row row, void *context)
{
        static const char *const common[] = { "/var/mail", "/var/spool/mail", "/var/vmail" };
        struct places places = { 0 };
        char whole[PATH_MAX], root[PATH_MAX] = "", template[PATH_MAX] = "";
        struct stat known = { 0 };

        add_places_below(&places, names->home, own);
        if (names->home[1] != '\0')
                add_place(&places, names->home);
        if (strncmp(path, names->home, strlen(names->home)) != 0 || names->domain[0] != '\0') {
                find_root(path, names, root);
                add_places_of_templates(&places, root, names);
        }
        for (size_t i = 0; i < sizeof(common) / sizeof(common[0]); i++) {
                struct stat status;

                if (names->domain[0] != '\0' && strcmp(common[i], root) != 0)
                        add_places_of_templates(&places, common[i], names);
                (void)snprintf(whole, sizeof(whole), "%s/%s", common[i], names->mailbox);
                /* the second is often a link to the first */
                if (stat(whole, &status) != 0 || !S_ISDIR(status.st_mode) ||
                    (status.st_dev == own->st_dev && status.st_ino == own->st_ino) ||
                    (status.st_dev == known.st_dev && status.st_ino == known.st_ino))
                        continue;
                known = status;
                add_place(&places, whole);
                add_places_below(&places, whole, own);
        }
        if (places.count > 0 && path_is_plain(places.first))
                write_template(places.first, names, template, sizeof(template));
        if (places.count > 0)
                row(context, "warn", "maildrop", "%s has no mail, and %zu messages lie in %s\n"
                    "cause: mail is delivered there, or was before\n"
                    "remedy: have it delivered to %s and move what is there, or name that place by "
                    "-m in the launcher's entry%s%s", path, places.files, places.text, path,
                    template[0] == '\0' ? "" : ": -m ", template);
}

/* ---- What is no Maildir ---------------------------------------------------------------- */

/* A file of mail, an mbox: where programs deliver that nobody told of a Maildir. */
static void
check_mbox(const char *path, const struct maildir_names *names, check_row row, void *context)
{
        const char *const from[][2] = { { "/var/mail", names->mailbox },
                { "/var/spool/mail", names->mailbox }, { names->home, "mbox" },
                { names->home, "Mailbox" }, { names->home, "mail" }, { names->home, "Mail" },
                { names->home, "mail/inbox" } };
        char whole[PATH_MAX];
        struct stat status;

        for (size_t i = 0; i < sizeof(from) / sizeof(from[0]); i++) {
                if (snprintf(whole, sizeof(whole), "%s/%s", from[i][0], from[i][1]) >= PATH_MAX ||
                    stat(whole, &status) != 0 || !S_ISREG(status.st_mode) || status.st_size == 0)
                        continue;
                row(context, "warn", "maildrop", "%s has no mail, and %s has %ju octets\n"
                    "cause: mail is delivered to that file, an mbox, which is not read\n"
                    "remedy: have it delivered to the Maildir (postfix: home_mailbox = Maildir/; "
                    "procmail: DEFAULT=$HOME/Maildir/), and convert the file once (mb2md -s %s)",
                    path, whole, (uintmax_t)status.st_size, whole);
                return;
        }
}

/* Folders of mail in the formats of MH and of Dovecot, which are no Maildirs. */
static void
check_formats(const char *path, const struct maildir_names *names, bool by_root, check_row row,
    void *context)
{
        static const struct {
                const char *root, *folder, *format;
        } known[] = { { "Mail", "/inbox", "mh" }, { "mdbox", "/storage", "mdbox" },
                { "Maildir", "/storage", "mdbox" }, { "mail", "/storage", "mdbox" },
                { "sdbox", "/mailboxes/INBOX/dbox-Mails", "sdbox" },
                { "Maildir", "/mailboxes/INBOX/dbox-Mails", "sdbox" },
                { "mail", "/mailboxes/INBOX/dbox-Mails", "sdbox" } };
        char root[PATH_MAX], command[COMMAND_SIZE], remedy[COMMAND_SIZE];

        for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
                struct entries entries = { 0 };

                if (snprintf(root, sizeof(root), "%s/%s", names->home, known[i].root) >= PATH_MAX)
                        continue;
                count(root, known[i].folder, &entries);
                if (entries.files == 0)
                        continue;
                if (strcmp(known[i].format, "mh") == 0)
                        (void)snprintf(command, sizeof(command), "mv %s%s/[0-9]* %s/new/", root,
                            known[i].folder, path);
                command_as_owner(remedy, by_root, command);
                if (strcmp(known[i].format, "mh") != 0)
                        (void)snprintf(remedy, sizeof(remedy), "doveadm -o mail_location=maildir:%s "
                            "backup -R -u %s %s:%s", path, names->user, known[i].format, root);
                row(context, "warn", "maildrop", "%s has no mail, and %zu files lie in %s%s\n"
                    "cause: mail is delivered there, in the format %s, which is no Maildir\n"
                    "remedy: have it delivered to the Maildir, and move what is there: %s", path,
                    entries.files, root, known[i].folder, known[i].format, remedy);
                return;
        }
}

/* Adds what is in the folders of a folder. No link is followed. */
static void
count_below(const char *path, const char *folder, struct entries *entries)
{
        char whole[PATH_MAX + 8], below[NAME_MAX + 2];
        const struct dirent *entry;
        DIR *list;
        int fd;

        (void)snprintf(whole, sizeof(whole), "%s%s", path, folder);
        fd = open(whole, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        list = fd < 0 ? NULL : fdopendir(fd);
        while (list != NULL && (entry = readdir(list)) != NULL)
                if (entry->d_name[0] != '.' && kind_of(dirfd(list), entry) == DT_DIR) {
                        (void)snprintf(below, sizeof(below), "/%s", entry->d_name);
                        count(whole, below, entries);
                }
        if (list != NULL)
                (void)closedir(list);
}

/* Files that servers name as messages (1764500000.M1P2.host), in the Maildir itself. */
static size_t
count_beside(const char *path)
{
        const struct dirent *entry;
        DIR *list = opendir(path);
        size_t found = 0;

        while (list != NULL && (entry = readdir(list)) != NULL)
                found += entry->d_name[0] >= '0' && entry->d_name[0] <= '9' &&
                    strchr(entry->d_name, '.') != NULL && kind_of(dirfd(list), entry) == DT_REG;
        if (list != NULL)
                (void)closedir(list);
        return found;
}

/* Files in the Maildir that are no messages for where or how they lie: beside new/, below it, hidden in it. */
static void
check_misplaced(const char *path, size_t hidden, bool by_root, check_row row, void *context)
{
        char command[COMMAND_SIZE], remedy[COMMAND_SIZE];
        struct entries below = { 0 };
        size_t beside = count_beside(path);

        count_below(path, "/new", &below);
        count_below(path, "/cur", &below);
        (void)snprintf(command, sizeof(command), "mv %s/[0-9]*.* %s/new/", path, path);
        command_as_owner(remedy, by_root, command);
        if (beside > 0)
                row(context, "warn", "maildrop", "%s has no mail, and %zu files lie beside its new/\n"
                    "cause: whoever delivered them took the folder for new/ itself\n"
                    "remedy: mend that, and move them: %s", path, beside, remedy);
        (void)snprintf(command, sizeof(command), "find %s/new %s/cur -mindepth 2 -type f -exec mv -t %s/new {} +",
            path, path, path);
        command_as_owner(remedy, by_root, command);
        if (below.files > 0)
                row(context, "warn", "maildrop", "%s has no mail, and %zu files lie in folders of its new/ and "
                    "cur/\ncause: what lies there is no message of a Maildir\n"
                    "remedy: move them up: %s", path, below.files, remedy);
        (void)snprintf(command, sizeof(command), "cd %s/new; for f in .[!.]*; do mv \"$f\" \"${f#.}\"; done",
            path);
        command_as_owner(remedy, by_root, command);
        if (hidden > 0)
                row(context, "warn", "maildrop", "%s has no mail, and the names of %zu files in its new/ and cur/ "
                    "begin with a dot\ncause: such files are no messages of a Maildir\n"
                    "remedy: take the dot away: %s", path, hidden, remedy);
}

/* Other ways by which mail does not get here: it is sent on, or its delivery does not end. */
static void
check_ways(const char *path, const struct maildir_names *names, bool by_root, check_row row,
    void *context)
{
        struct entries unfinished = { 0 };
        char whole[PATH_MAX], command[COMMAND_SIZE], remedy[COMMAND_SIZE] = "move them to new/";
        struct stat status;

        count(path, "/tmp", &unfinished);
        (void)snprintf(command, sizeof(command), "mv %s/tmp/* %s/new/", path, path);
        if (path_is_plain(path))
                command_as_owner(remedy, by_root, command);
        if (unfinished.files > 0)
                row(context, "warn", "maildrop", "%s has no mail, and %zu files lie in its tmp/\n"
                    "cause: whoever delivers does not come to its end, or may not write in new/\n"
                    "remedy: see the log of that program; then %s", path, unfinished.files, remedy);
        if (snprintf(whole, sizeof(whole), "%s/.forward", names->home) < PATH_MAX &&
            stat(whole, &status) == 0 && status.st_size > 0)
                row(context, "skip", "maildrop", "%s sends mail on, perhaps all of it", whole);
}

void
maildir_check_elsewhere(const char *path, const struct maildir_names *names, bool by_root,
    check_row row, void *context)
{
        struct entries entries = count_both(path);
        struct stat own = { 0 };

        if (entries.links > 0)
                row(context, "warn", "maildrop", "%zu of the entries in %s/new and cur are links\n"
                    "cause: pop3d follows no link in a Maildir, whoever set it\n"
                    "remedy: put the files themselves there, as cp -L does", entries.links, path);
        if (entries.folders > 0)
                row(context, "skip", "maildrop", "%zu of the entries in %s/new and cur are folders, "
                    "which are no messages", entries.folders, path);
        /* a Maildir that may not be read is not empty for that */
        if (entries.files > 0 || entries.is_closed)
                return;
        (void)stat(path, &own);
        check_folders(path, &own, by_root, row, context);
        check_others(path, &own, names, row, context);
        check_mbox(path, names, row, context);
        check_formats(path, names, by_root, row, context);
        check_misplaced(path, entries.hidden, by_root, row, context);
        check_ways(path, names, by_root, row, context);
}
