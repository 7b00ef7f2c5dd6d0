/*
 * xinetd_faults.c - what makes xinetd drop an entry, or start pop3d otherwise than is meant.
 * Runs in:   pop3d-check, as root where it can.
 * May touch: /etc/services and the account databases, by asking.
 */
#include "xinetd.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool
xinetd_lists(const char *list, const char *word)
{
        size_t length = strlen(word);

        for (const char *at = list; (at = strstr(at, word)) != NULL; at += length)
                if ((at == list || at[-1] == ' ') && (at[length] == ' ' || at[length] == '\0'))
                        return true;
        return false;
}

static bool
is_listed(const char *list, const char *flag)
{
        return list != NULL && xinetd_lists(list, flag);
}

/* The port: it must be told in one of two ways, or xinetd drops the entry. */
static void
find_port(struct entry *entry)
{
        const char *port = entry_word(entry, "port"), *name = entry->name;
        bool is_unlisted = is_listed(entry_word(entry, "type"), "UNLISTED");
        bool is_secured = strncmp(name, "pop3s", 5) == 0;
        unsigned listed = service_port(name), usual = is_secured ? POP3S_PORT : POP3_PORT;

        entry->port = port != NULL ? service_port(port) : listed;
        if (entry->port == 0 && strncmp(name, "pop", 3) == 0)
                entry->port = usual;    /* so it is meant */
        if (!is_unlisted && port == NULL)
                entry_find_moved_port(entry, name);
        if (is_unlisted && port == NULL)
                entry_refused(entry, "\ncause: type = UNLISTED needs a port, so xinetd drops the entry\n"
                    "remedy: write there: port = %u", usual);
        else if (!is_unlisted && listed == 0 && strcmp(name, is_secured ? "pop3s" : "pop3") == 0)
                entry_refused(entry, "\ncause: /etc/services lacks %s, so xinetd drops the entry\n"
                    "remedy: printf '%s\\t%u/tcp\\n' >>/etc/services; then restart xinetd", name, name,
                    usual);
        else if (!is_unlisted && listed == 0)
                entry_refused(entry, "\ncause: /etc/services has no service name %s, so xinetd drops the "
                    "entry\nremedy: write: service %s (or, in the entry: type = UNLISTED and port = %u)",
                    name, is_secured ? "pop3s" : "pop3", usual);
        else if (!is_unlisted && port != NULL && service_port(port) != listed)
                entry_refused(entry, "\ncause: /etc/services gives %s the port %u, not %s, so xinetd drops "
                    "the entry\nremedy: write there: type = UNLISTED", name, listed, port);
}

/* What xinetd must be told; without it the entry is dropped. */
static void
find_missing(struct entry *entry)
{
        static const char *const needed[][2] = {
                { "socket_type", "stream" }, { "wait", "no" }, { "user", "root" },
        };
        bool has_protocol = entry_word(entry, "protocol") != NULL;

        for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++)
                if (entry_word(entry, needed[i][0]) == NULL && (i > 0 || !has_protocol))
                        entry_refused(entry, "\ncause: the attribute %s is missing, so xinetd drops the "
                            "entry\nremedy: write there: %s = %s", needed[i][0], needed[i][0],
                            needed[i][1]);
        if (!has_protocol && is_listed(entry_word(entry, "type"), "UNLISTED"))
                entry_refused(entry, "\ncause: the attribute protocol is missing, so xinetd drops the entry\n"
                    "remedy: write there: protocol = tcp");
        if (entry->value[PROGRAM][0] == '\0' && entry_word(entry, "redirect") == NULL &&
            !is_listed(entry_word(entry, "type"), "INTERNAL"))
                entry_refused(entry, "\ncause: the attribute server is missing, so xinetd drops the entry\n"
                    "remedy: write there: server = /usr/local/sbin/pop3d");
}

/* An attribute with a value that it must not have here. */
static void
refuse_value(struct entry *entry, const char *name, const char *wanted, const char *why)
{
        const char *value = entry_word(entry, name);

        if (value != NULL && strcasecmp(value, wanted) != 0)
                entry_refused(entry, "\ncause: %s = %s: %s\nremedy: write there: %s = %s", name, value, why,
                    name, wanted);
}

static void
find_wrong_values(struct entry *entry)
{
        const char *user = entry_word(entry, "user"), *group = entry_word(entry, "group");
        const char *redirect = entry_word(entry, "redirect"), *type = entry_word(entry, "type");
        const char *wait = entry_word(entry, "wait"), *flags = entry_word(entry, "flags");
        uid_t uid;

        refuse_value(entry, "socket_type", "stream", "POP3 is a stream of octets");
        refuse_value(entry, "protocol", "tcp", "POP3 is spoken over TCP");
        if (wait != NULL && strcasecmp(wait, "yes") != 0)
                refuse_value(entry, "wait", "no", "xinetd knows yes and no alone");
        if (user != NULL && !account_uid(user, &uid))
                entry_refused(entry, "\ncause: there is no account %s, so xinetd drops the entry\n"
                    "remedy: write there: user = root", user);
        if (group != NULL && !auth_has_group(group))
                entry_refused(entry, "\ncause: there is no group %s, so xinetd drops the entry\n"
                    "remedy: take out there the line with group", group);
        if (is_listed(type, "INTERNAL"))
                entry_refused(entry, "\ncause: type = INTERNAL: xinetd looks for a service of its own\n"
                    "remedy: take INTERNAL out there");
        if (is_listed(flags, "SENSOR"))
                entry_refused(entry, "\ncause: flags = SENSOR: xinetd starts nothing and shuts out who "
                    "connects\nremedy: take SENSOR out there");
        if (redirect != NULL)
                entry_trouble(entry, "fail", "\ncause: redirect = %s: xinetd passes each connection on, and "
                    "does not start the server\nremedy: take out there the line with redirect", redirect);
}

/* A log file of its own that cannot be made, for which xinetd gives up the service. */
static void
find_log(struct entry *entry)
{
        const char *type = entry_word(entry, "log_type");
        char path[VALUE_SIZE] = "";
        int length;

        if (type == NULL || sscanf(type, "FILE %1023s", path) != 1 || *path != '/')
                return;
        length = (int)(base_name(path) - path);
        path[length] = '\0';
        if (access(path, F_OK) != 0)
                entry_refused(entry, "\ncause: log_type = %s: the folder %s is not there, so xinetd gives the service "
                    "up\nremedy: mkdir -p %s; then restart xinetd", type, path, path);
}

/* What xinetd itself writes to the client comes before the greeting. */
static void
find_banner(struct entry *entry)
{
        static const char *const banners[] = { "banner", "banner_success" };

        for (size_t i = 0; i < sizeof(banners) / sizeof(banners[0]); i++) {
                const char *file = entry_word(entry, banners[i]);

                if (file != NULL)
                        entry_trouble(entry, "fail", "\ncause: %s = %s: xinetd writes that before the greeting, "
                            "and clients take its first line for the greeting\n"
                            "remedy: take out there, or in the defaults, the line with %s", banners[i], file,
                            banners[i]);
        }
}

/* Whether one word stands behind another in the file. */
static bool
is_behind(const struct entry *entry, const char *name, const char *other)
{
        bool has_other = false;

        for (size_t i = 0; i < entry->word_count; i++) {
                if (strcmp(entry->words[i].name, name) == 0)
                        return has_other;
                has_other |= strcmp(entry->words[i].name, other) == 0;
        }
        return false;
}

/* The arguments, as xinetd makes them of server and server_args. */
static void
find_arguments(struct entry *entry)
{
        bool has_name = is_listed(entry->value[FLAGS], "NAMEINARGS");

        if (!has_name)
                entry_argument(entry, base_name(entry->value[PROGRAM]));
        entry_arguments(entry, false);
        if (has_name && entry->argument_count == 0)
                entry_refused(entry, "\ncause: flags = NAMEINARGS, but there are no server_args\n"
                    "remedy: write there: server_args = pop3d");
        else if (has_name && is_behind(entry, "flags", "server_args"))
                entry_trouble(entry, "fail", "\ncause: flags = NAMEINARGS stands behind server_args, for which it "
                    "then comes too late\nremedy: put the line with flags before the one with server_args, then "
                    "restart xinetd");
        else if (has_name && *entry->arguments[0] == '-')
                entry_trouble(entry, "fail", "\ncause: flags = NAMEINARGS takes the first word of server_args, "
                    "%s, for the name of the program\nremedy: write there: server_args = pop3d %s",
                    entry->arguments[0], entry->value[ARGUMENTS]);
}

void
xinetd_find_faults(struct entry *entry)
{
        find_port(entry);
        find_missing(entry);
        find_wrong_values(entry);
        find_log(entry);
        find_banner(entry);
        find_arguments(entry);
}
