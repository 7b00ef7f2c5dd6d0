/*
 * entry.c - one entry of a launcher's configuration: its words, and what is drawn from them.
 * Runs in:   pop3d-check, as root where it can.
 * May touch: /etc/services, the programs that entries name, for reading.
 */
#include "entries.h"

#include <netdb.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *const launcher_names[] = {
        "", "xinetd", "inetd", "systemd", "stunnel", "haproxy", "command",
};

const char *
base_name(const char *path)
{
        const char *slash = strrchr(path, '/');

        return slash == NULL ? path : slash + 1;
}

const char *
restart_words(const struct entry *entry, char words[VALUE_SIZE])
{
        if (entry->launcher == SYSTEMD)
                (void)snprintf(words, VALUE_SIZE, "systemctl restart %s", entry->name);
        else if (entry->launcher == COMMAND)
                (void)snprintf(words, VALUE_SIZE, "stop process %d and start it so", entry->pid);
        else
                (void)snprintf(words, VALUE_SIZE, "restart %s", launcher_names[entry->launcher]);
        return words;
}

static char *
copy_text(const char *text)
{
        char *copy = strdup(text);

        must(copy != NULL, "memory for what launchers say");
        return copy;
}

/* ---- Words ----------------------------------------------------------------------------- */

static struct word *
find_word(const struct entry *entry, const char *name)
{
        for (size_t i = 0; i < entry->word_count; i++) {
                const char *own = entry->words[i].name;

                /* stunnel's words count in any case */
                if ((entry->launcher == STUNNEL ? strcasecmp(own, name) : strcmp(own, name)) == 0)
                        return &entry->words[i];
        }
        return NULL;
}

const char *
entry_word(const struct entry *entry, const char *name)
{
        const struct word *word = find_word(entry, name);

        return word == NULL ? NULL : word->value;
}

/* Takes the words of gone out of the list at value. */
static void
remove_words(char *value, const char *gone)
{
        char *rest, *words = copy_text(value), *kept = value;

        *value = '\0';
        for (char *word = strtok_r(words, " \t", &rest); word != NULL;
            word = strtok_r(NULL, " \t", &rest)) {
                const char *at = strstr(gone, word);
                size_t length = strlen(word);

                if (at == NULL || (at > gone && at[-1] != ' ') || (at[length] != '\0' && at[length] != ' '))
                        kept += sprintf(kept, "%s%s", kept == value ? "" : " ", word);
        }
        free(words);
}

void
entry_set(struct entry *entry, enum change change, const char *name, const char *value)
{
        struct word *word = change == LIST ? NULL : find_word(entry, name);
        char *joined = NULL;

        if (word == NULL) {
                entry->words = realloc(entry->words, (entry->word_count + 1) * sizeof(*entry->words));
                must(entry->words != NULL, "memory for what launchers say");
                word = &entry->words[entry->word_count++];
                (void)snprintf(word->name, sizeof(word->name), "%s", name);
                word->value = copy_text(change == REMOVE ? "" : value);
        } else if (change == SET) {
                word->value = copy_text(value);
        } else if (change == ADD) {
                if (asprintf(&joined, "%s%s%s", word->value, *word->value == '\0' ? "" : " ", value) >= 0)
                        word->value = joined;
        } else if (change == REMOVE) {
                remove_words(word->value, value);
        }
}

void
entry_take(struct entry *entry, enum field field, const char *name)
{
        const char *value = entry_word(entry, name);

        if (value != NULL)
                (void)snprintf(entry->value[field], VALUE_SIZE, "%s", value);
}

void
entry_inherit(struct entry *entry, const struct entry *other)
{
        for (size_t i = 0; i < other->word_count; i++)
                entry_set(entry, SET, other->words[i].name, other->words[i].value);
}

/* ---- Arguments ------------------------------------------------------------------------- */

void
entry_argument(struct entry *entry, const char *argument)
{
        if (entry->argument_count < WORDS_MAX)
                entry->arguments[entry->argument_count++] = copy_text(argument);
}

void
entry_arguments(struct entry *entry, bool has_quotes)
{
        const char *at = entry->value[ARGUMENTS];

        while (*(at += strspn(at, " \t")) != '\0') {
                char word[VALUE_SIZE], quote = '\0';
                size_t length = 0;

                for (; *at != '\0' && (quote != '\0' || (*at != ' ' && *at != '\t')); at++) {
                        if (has_quotes && (quote != '\0' ? *at == quote : *at == '"' || *at == '\''))
                                quote = quote != '\0' ? '\0' : *at;
                        else
                                word[length++] = *at;
                }
                word[length] = '\0';
                entry_argument(entry, word);
        }
}

/* ---- What is wrong ---------------------------------------------------------------------- */

void
entry_switch_off(struct entry *entry, const char *format, ...)
{
        va_list arguments;

        va_start(arguments, format);
        if (entry->off[0] == '\0')
                (void)vsnprintf(entry->off, sizeof(entry->off), format, arguments);
        va_end(arguments);
}

static void
add_trouble(struct entry *entry, const char *state, const char *format, va_list arguments)
    __attribute__((format(printf, 3, 0)));

static void
add_trouble(struct entry *entry, const char *state, const char *format, va_list arguments)
{
        struct trouble *trouble = &entry->trouble[entry->trouble_count];

        if (entry->trouble_count == TROUBLES_MAX)
                return;
        entry->trouble_count++;
        trouble->state = state;
        (void)vsnprintf(trouble->text, sizeof(trouble->text), format, arguments);
}

void
entry_trouble(struct entry *entry, const char *state, const char *format, ...)
{
        va_list arguments;

        va_start(arguments, format);
        add_trouble(entry, state, format, arguments);
        va_end(arguments);
}

void
entry_refused(struct entry *entry, const char *format, ...)
{
        va_list arguments;

        entry->cannot_listen = true;
        va_start(arguments, format);
        add_trouble(entry, "fail", format, arguments);
        va_end(arguments);
}

bool
account_uid(const char *name, uid_t *uid)
{
        bool is_number = *name != '\0' && name[strspn(name, "0123456789")] == '\0';
        char home[PATH_MAX];
        gid_t gid;

        if (is_number)
                *uid = (uid_t)strtoul(name, NULL, 10);
        return is_number || auth_look_up(name, uid, &gid, home);
}

/* ---- Ports ------------------------------------------------------------------------------ */

unsigned
service_port(const char *name)
{
        const struct servent *service;

        if (*name != '\0' && name[strspn(name, "0123456789")] == '\0')
                return (unsigned)atoi(name);
        service = getservbyname(name, "tcp");
        return service == NULL ? 0 : ntohs((uint16_t)service->s_port);
}

void
entry_find_moved_port(struct entry *entry, const char *service)
{
        unsigned usual = strcmp(service, "pop3") == 0 ? POP3_PORT : strcmp(service, "pop3s") == 0 ? POP3S_PORT : 0;
        unsigned listed = service_port(service);
        char restart[VALUE_SIZE];

        if (usual != 0 && listed != 0 && listed != usual)
                entry_trouble(entry, "fail", "\ncause: /etc/services gives %s the port %u, and clients come to %u\n"
                    "remedy: sed -i 's|^%s[[:space:]].*/tcp|%s %u/tcp|' /etc/services; then %s", service, listed,
                    usual, service, service, usual, restart_words(entry, restart));
}

/* All addresses are none in particular. */
static bool
is_any_address(const char *text)
{
        static const unsigned char nothing[16];
        struct address address;

        return strcmp(text, "*") == 0 || strcmp(text, "0") == 0 ||
            (address_read(&address, text) && memcmp(address.octets, nothing, sizeof(nothing)) == 0);
}

void
entry_listens_at(struct entry *entry, const char *address)
{
        (void)snprintf(entry->address, sizeof(entry->address), "%s", is_any_address(address) ? "" : address);
}

/* Cuts "ADDRESS:PORT" into both, and tells the port. Brackets are left out. */
static unsigned
cut_address(const char *text, char address[NAME_SIZE])
{
        const char *colon = strrchr(text, ':'), *port = colon == NULL ? text : colon + 1;
        size_t length = colon == NULL ? 0 : (size_t)(colon - text);

        if (length > 0 && *text == '[') {
                text++;
                length -= length > 1 ? 2 : 1;
        }
        (void)snprintf(address, NAME_SIZE, "%.*s", (int)length, text);
        return service_port(port);
}

void
entry_listens_on(struct entry *entry, const char *text)
{
        char address[NAME_SIZE];

        if (*text == '/') {
                (void)snprintf(entry->socket, sizeof(entry->socket), "%s", text);
                return;
        }
        entry->port = cut_address(text, address);
        entry_listens_at(entry, address);
}

/* Whether what something connects to is this machine. Other names than its own are not looked up. */
static bool
is_here(const struct entries *entries, const char *text)
{
        struct address address;
        char host[VALUE_SIZE] = "";

        (void)gethostname(host, sizeof(host) - 1);
        return *text == '\0' || is_any_address(text) || strcmp(text, "localhost") == 0 ||
            strcasecmp(text, host) == 0 ||
            (address_read(&address, text) && addresses_have(&entries->own, &address));
}

void
entry_connects_to(const struct entries *entries, struct entry *entry, const char *text)
{
        char address[NAME_SIZE];
        unsigned port;

        if (*text == '/') {
                (void)snprintf(entry->connects_socket, VALUE_SIZE, "%s", text);
                return;
        }
        port = cut_address(text, address);
        entry->connects_to = is_here(entries, address) ? port : 0;
}

/* ---- The whole -------------------------------------------------------------------------- */

struct entry *
entry_begin(struct entries *entries, enum launcher launcher, const char *file, const char *name)
{
        struct entry *entry = &entries->entry[entries->count];

        memset(entry, 0, sizeof(*entry));
        entry->launcher = launcher;
        (void)snprintf(entry->file, sizeof(entry->file), "%s", file);
        (void)snprintf(entry->name, sizeof(entry->name), "%s", name);
        return entry;
}

static bool
is_us(const struct entries *entries, const char *path)
{
        struct stat program;

        return stat(path, &program) == 0 && program.st_dev == entries->self.st_dev &&
            program.st_ino == entries->self.st_ino;
}

/* Whether a program is a script that names a pop3d. */
static bool
is_script_for_us(const char *path)
{
        char line[VALUE_SIZE];
        bool is_script, names_us = false;
        FILE *file = fopen(path, "re");

        if (file == NULL)
                return false;
        is_script = fgets(line, sizeof(line), file) != NULL && strncmp(line, "#!", 2) == 0;
        while (is_script && !names_us && fgets(line, sizeof(line), file) != NULL)
                names_us = *line != '#' && strstr(line, "/pop3d") != NULL;
        (void)fclose(file);
        return names_us;
}

/*
 * Finds pop3d in what the entry starts: the program itself, or one that starts it (tcpd, env) and
 * has it as an argument. The arguments are then those of pop3d.
 */
static void
find_us(const struct entries *entries, struct entry *entry)
{
        char path[VALUE_SIZE];

        entry->runs_us = is_us(entries, entry->value[PROGRAM]);
        for (size_t i = 0; !entry->runs_us && i < entry->argument_count; i++) {
                /* tcpd looks for a bare name in the folder of daemons */
                (void)snprintf(path, sizeof(path), "%s%s", *entry->arguments[i] == '/' ? "" : "/usr/sbin/",
                    entry->arguments[i]);
                entry->runs_us = is_us(entries, path);
                if (!entry->runs_us)
                        continue;
                entry->argument_count -= i;
                memmove(entry->arguments, entry->arguments + i,
                    entry->argument_count * sizeof(entry->arguments[0]));
        }
        if (!entry->runs_us && is_script_for_us(entry->value[PROGRAM]))
                entry->runs_us = entry->runs_script = true;
}

/* Whether another entry, which was read before, is what this one connects to. */
static bool
leads_to_us(const struct entries *entries, const struct entry *entry)
{
        for (size_t i = 0; i < entries->count; i++) {
                const struct entry *inner = &entries->entry[i];

                if (inner->runs_us && ((entry->connects_to != 0 && inner->port == entry->connects_to) ||
                    (*entry->connects_socket != '\0' && strcmp(inner->socket, entry->connects_socket) == 0)))
                        return true;
        }
        return false;
}

/* Whether an entry has to do with POP3. A command line is looked at only if it starts a pop3d. */
static bool
is_about_pop3(const struct entries *entries, const struct entry *entry)
{
        return entry->runs_us || strcmp(base_name(entry->value[PROGRAM]), "pop3d") == 0 ||
            (entry->launcher != COMMAND && (entry->port == POP3_PORT || entry->port == POP3S_PORT ||
            leads_to_us(entries, entry)));
}

struct entry *
entry_end(struct entries *entries)
{
        struct entry *entry = &entries->entry[entries->count];

        find_us(entries, entry);
        if (entry->argument_count == 0)
                entry_argument(entry, base_name(entry->value[PROGRAM]));
        entry->arguments[entry->argument_count] = NULL;
        if (entry->runs_script)
                entry->arguments[1] = NULL;
        entry->problem = options_take(&entry->options,
            entry->runs_script ? 1 : (int)entry->argument_count, entry->arguments);
        entry->is_on = entry->off[0] == '\0';
        if (entries->count == ENTRIES_MAX || !is_about_pop3(entries, entry))
                return NULL;
        entries->count++;
        return entry;
}
