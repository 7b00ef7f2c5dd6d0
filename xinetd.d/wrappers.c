/*
 * wrappers.c - what hosts.allow and hosts.deny say to an address, as tcp wrappers read them.
 * Runs in:   pop3d-check, as root where it can.
 * May touch: /etc/hosts.allow, /etc/hosts.deny and the files that they name, for reading.
 *
 * The first line of hosts.allow that names daemon and client lets in, then the first one of
 * hosts.deny keeps out; who is named in neither is let in. An option behind them (allow, deny,
 * twist) says otherwise. See hosts_access(5) and hosts_options(5).
 */
#include "access.h"

#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FIELDS_MAX = 8 };

/* What is asked, and the answer. */
struct question {
        const struct entries *entries;
        const char *daemon;
        const struct address *own;
        const char *path;
        bool is_answered, is_refused;
        char logical[4 * VALUE_SIZE];   /* a line with those that continue it */
        unsigned number;                /* of its first line */
        char *where;
};

/* ---- Clients ------------------------------------------------------------------------------- */

static bool matches_client(const struct question *question, const char *pattern);

/* One pattern of a file of patterns. */
struct lookup {
        const struct question *question;
        bool is_found;
};

static void
take_pattern_line(void *context, char *line, unsigned number)
{
        struct lookup *lookup = context;
        char *rest;

        (void)number;
        for (char *word = strtok_r(line, ", \t", &rest); word != NULL; word = strtok_r(NULL, ", \t", &rest))
                /* a file that names a file could name itself */
                lookup->is_found |= *word != '/' && matches_client(lookup->question, word);
}

static bool
matches_name(const struct question *question, const char *pattern)
{
        char name[VALUE_SIZE];
        size_t length, wanted = strlen(pattern);
        bool is_known = *name_of(question->own, name) != '\0';

        if (strcmp(pattern, "KNOWN") == 0)
                return is_known;
        if (strcmp(pattern, "UNKNOWN") == 0)
                return !is_known;
        if (strcmp(pattern, "LOCAL") == 0)
                return is_known && strchr(name, '.') == NULL;
        length = strlen(name);
        if (*pattern == '.')
                return length > wanted && strcasecmp(name + length - wanted, pattern) == 0;
        return is_known && (strcasecmp(name, pattern) == 0 ||
            fnmatch(pattern, name, FNM_CASEFOLD) == 0);
}

/* A pattern of hosts_access(5) for a client. */
static bool
matches_client(const struct question *question, const char *pattern)
{
        const struct address *own = question->own;
        char text[VALUE_SIZE], *bracket;
        struct lookup lookup = { .question = question };
        const char *at = strchr(pattern, '@');
        size_t length;

        /* a user before it is asked of the client's ident, and as good as any */
        (void)snprintf(text, sizeof(text), "%s", at != NULL && at > pattern ? at + 1 : pattern);
        length = strlen(text);
        if (strcmp(text, "ALL") == 0)
                return true;
        if (*text == '@' || length == 0)
                return false;           /* a netgroup */
        if (*text == '/') {
                (void)file_read(question->entries, text, take_pattern_line, &lookup);
                return lookup.is_found;
        }
        if (*text == '[' && (bracket = strchr(text, ']')) != NULL) {
                memmove(bracket, bracket + 1, strlen(bracket + 1) + 1);
                return is_in_network(own, text + 1);
        }
        if (text[length - 1] == '.')
                return own->family == AF_INET && strncmp(own->text, text, length) == 0;
        if (strchr(text, '/') != NULL || strspn(text, "0123456789.") == length)
                return is_in_network(own, text);
        return fnmatch(text, own->text, 0) == 0 || matches_name(question, text);
}

/* ---- Lists --------------------------------------------------------------------------------- */

static bool
matches_daemon(const struct question *question, const char *pattern)
{
        char text[VALUE_SIZE];

        (void)snprintf(text, sizeof(text), "%.*s", (int)strcspn(pattern, "@"), pattern);
        return strcmp(text, "ALL") == 0 || strcasecmp(text, question->daemon) == 0;
}

/* "a, b EXCEPT c EXCEPT d": a match counts unless what is behind EXCEPT matches as well. */
static bool
matches_list(const struct question *question, char *words,
    bool (*matches)(const struct question *, const char *))
{
        char *rest;
        bool is_found = false;

        for (char *word = strtok_r(words, ", \t", &rest); word != NULL; word = strtok_r(NULL, ", \t", &rest)) {
                if (strcasecmp(word, "EXCEPT") == 0)
                        return is_found && !matches_list(question, rest, matches);
                is_found |= matches(question, word);
        }
        return is_found;
}

/* Cuts a line at its colons; not at those within brackets. Returns how many fields there are. */
static size_t
cut_fields(char *line, char *fields[FIELDS_MAX])
{
        size_t count = 1;
        bool is_within = false;

        fields[0] = line;
        for (char *at = line; *at != '\0' && count < FIELDS_MAX; at++) {
                if (*at == '[' || *at == ']')
                        is_within = *at == '[';
                if (*at != ':' || is_within || (at > line && at[-1] == '\\'))
                        continue;
                *at = '\0';
                fields[count++] = at + 1;
        }
        return count;
}

/* What the options say, or what the file says without any. */
static bool
is_refused_by(char *const fields[], size_t count, bool is_deny)
{
        bool is_refused = is_deny;

        for (size_t i = 2; i < count; i++) {
                const char *option = fields[i] + strspn(fields[i], " \t");

                if (strncasecmp(option, "allow", 5) == 0)
                        is_refused = false;
                else if (strncasecmp(option, "deny", 4) == 0 || strncasecmp(option, "twist", 5) == 0)
                        is_refused = true;
        }
        return is_refused;
}

static void
take_rule(struct question *question)
{
        char *fields[FIELDS_MAX];
        size_t count = cut_fields(question->logical, fields);

        if (count < 2 || !matches_list(question, fields[0], matches_daemon) ||
            !matches_list(question, fields[1], matches_client))
                return;
        question->is_answered = true;
        question->is_refused = is_refused_by(fields, count, strstr(question->path, "deny") != NULL);
        (void)snprintf(question->where, VALUE_SIZE, "%s line %u", question->path, question->number);
}

static void
take_wrappers_line(void *context, char *line, unsigned number)
{
        struct question *question = context;
        size_t used = strlen(question->logical), length = strlen(line);
        bool goes_on = length > 0 && line[length - 1] == '\\';

        if (question->is_answered || (used == 0 && *line == '#'))
                return;
        if (used == 0)
                question->number = number;
        (void)snprintf(question->logical + used, sizeof(question->logical) - used, "%.*s",
            (int)(length - goes_on), line);
        if (goes_on)
                return;
        take_rule(question);
        question->logical[0] = '\0';
}

bool
wrappers_refuse(const struct entries *entries, const char *daemon, const struct address *own,
    char where[VALUE_SIZE])
{
        static const char *const files[] = { "/etc/hosts.allow", "/etc/hosts.deny" };
        struct question question = { .entries = entries, .daemon = daemon, .own = own, .where = where };

        *where = '\0';
        for (size_t i = 0; i < sizeof(files) / sizeof(files[0]) && !question.is_answered; i++) {
                question.path = files[i];
                question.logical[0] = '\0';
                (void)file_read(entries, files[i], take_wrappers_line, &question);
        }
        return question.is_refused;
}
