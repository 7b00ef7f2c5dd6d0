/*
 * limits.c - limits of a launcher that keep clients out: those that are reached, and those that are
 * too tight for POP3.
 * Runs in:   pop3d-check, as root where it can.
 * May touch: /proc, for reading.
 */
#include "access.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
        ESTABLISHED = 1,        /* a state in /proc/net/tcp */
        SOURCES_MAX = 256,
        RATE_LEAST = 3,         /* new connections a second that a mail program may well make */
        PAUSE_MOST = 60,        /* seconds for which a service may be switched off */
        LOST_FILES = 12,        /* with so few open files no session begins */
        MINUTE_LEAST = 60,      /* new connections a minute under inetd */
};

/* A login takes some 20 MB (yescrypt) beside what the program itself takes. */
static const unsigned long long LEAST_MEMORY = 48ULL << 20, LOST_MEMORY = 8ULL << 20;
static const unsigned long long LEAST_STACK = 1ULL << 20;

/* ---- Sessions that are there --------------------------------------------------------------------- */

/* How many connections a port has, and how many of them the busiest source. */
struct crowd {
        unsigned port;
        size_t count, most;
        char source[SOURCES_MAX][40];
        size_t sessions[SOURCES_MAX], sources;
};

static void
count_source(struct crowd *crowd, const char *address)
{
        size_t i = 0;

        while (i < crowd->sources && strcmp(crowd->source[i], address) != 0)
                i++;
        crowd->count++;
        if (i == SOURCES_MAX)
                return;
        if (i == crowd->sources) {
                (void)snprintf(crowd->source[i], sizeof(crowd->source[i]), "%s", address);
                crowd->sources++;
        }
        if (++crowd->sessions[i] > crowd->most)
                crowd->most = crowd->sessions[i];
}

/* A connection that no process holds any more has no inode. */
static void
count_connections(struct crowd *crowd, const char *path)
{
        char line[256], local[40], remote[40];
        unsigned port, state;
        unsigned long inode;
        FILE *table = fopen(path, "re");

        if (table == NULL)
                return;
        while (fgets(line, sizeof(line), table) != NULL)
                if (sscanf(line, " %*d: %39[0-9A-F]:%x %39[0-9A-F]:%*x %x %*s %*s %*s %*s %*s %lu", local, &port,
                    remote, &state, &inode) == 5 && state == ESTABLISHED && port == crowd->port && inode != 0)
                        count_source(crowd, remote);
        (void)fclose(table);
}

/* The number of a word, or 0 if it is not there or has no limit. is_given: it is there. */
static unsigned
number_of(const struct entry *entry, const char *name, bool *is_given)
{
        const char *value = entry_word(entry, name);

        *is_given = value != NULL && *value >= '0' && *value <= '9';
        return *is_given ? (unsigned)strtoul(value, NULL, 10) : 0;
}

/* How a limit is written, as a remedy. */
static const char *
words_for(const struct entry *entry, const char *name, unsigned limit, char words[VALUE_SIZE])
{
        if (entry->launcher != COMMAND)
                (void)snprintf(words, VALUE_SIZE, "write there: %s = %u", name, limit);
        else if (name[1] == '\0')
                (void)snprintf(words, VALUE_SIZE, "start it with -%s %u", name, limit);
        else
                (void)snprintf(words, VALUE_SIZE, "start it with %s=%u", name, limit);
        return words;
}

static void
check_crowd(const struct entries *entries, const struct entry *entry)
{
        static const char *const all[] = { "instances", "MaxConnections", "c", "max-children" };
        static const char *const each[] = { "per_source", "MaxConnectionsPerSource", "C" };
        static struct crowd crowd;
        char words[VALUE_SIZE];
        bool is_given;

        memset(&crowd, 0, sizeof(crowd));
        crowd.port = entry->port;
        count_connections(&crowd, "/proc/net/tcp");
        count_connections(&crowd, "/proc/net/tcp6");
        for (size_t i = 0; i < sizeof(all) / sizeof(all[0]) && entry->port != 0; i++) {
                unsigned limit = number_of(entry, all[i], &is_given);

                if (is_given && crowd.count >= limit)
                        print_row(entries->report, "fail", "access", "%s: port %u has %zu sessions, and %s = %u\n"
                            "cause: all places are taken (limit), so further clients are closed or must wait\n"
                            "remedy: %s, and restart; or end sessions that hang: ss -tnp 'sport "
                            "= :%u'", entry->file, entry->port, crowd.count, all[i], limit,
                            words_for(entry, all[i], limit < 50 ? 100 : 2 * limit, words), entry->port);
        }
        for (size_t i = 0; i < sizeof(each) / sizeof(each[0]) && entry->port != 0; i++) {
                unsigned limit = number_of(entry, each[i], &is_given);

                if (is_given && crowd.most >= limit && (limit > 0 || i == 0))
                        print_row(entries->report, "fail", "access", "%s: one address has %zu sessions on port %u, "
                            "and %s = %u\ncause: it has all places that one may have (limit)\nremedy: %s, and "
                            "restart; or end sessions that hang: ss -tnp 'sport = :%u'", entry->file, crowd.most,
                            entry->port, each[i], limit,
                            words_for(entry, each[i], limit < 10 ? 20 : 2 * limit, words), entry->port);
                else if (is_given && limit > 0 && limit < RATE_LEAST)
                        print_row(entries->report, "warn", "access", "%s: %s = %u\ncause: a mail program opens two "
                            "or three sessions at once, and more people may share an address\nremedy: %s, "
                            "and restart", entry->file, each[i], limit, words_for(entry, each[i], 20, words));
        }
}

/* ---- Limits that are too tight --------------------------------------------------------------------- */

/* "cps = 100 2": above so many new ones a second xinetd switches the service off for so long. */
static void
check_rate(const struct entries *entries, const struct entry *entry)
{
        const char *cps = entry_word(entry, "cps"), *wait = entry_word(entry, "wait");
        const char *most = wait == NULL ? NULL : strpbrk(wait, "./");
        const char *started = entry_word(entry, "-R");
        unsigned rate, pause;

        if (cps != NULL && sscanf(cps, "%u %u", &rate, &pause) == 2 && rate != 0 &&
            (rate < RATE_LEAST || pause > PAUSE_MOST))
                print_row(entries->report, "warn", "access", "%s: cps = %u %u\ncause: above %u new connections a "
                    "second xinetd refuses everybody for %u seconds\nremedy: write there: cps = 100 2, then "
                    "restart xinetd", entry->file, rate, pause, rate, pause);
        if (entry->launcher == INETD && started != NULL && strtoul(started, NULL, 10) > 0 &&
            strtoul(started, NULL, 10) < MINUTE_LEAST && most == NULL)
                print_row(entries->report, "warn", "access", "%s: inetd runs with -R %s\ncause: above so many new "
                    "connections a minute inetd calls the service looping, and closes the port to everybody for ten "
                    "minutes\nremedy: start inetd with -R 1000", entry->file, started);
        if (entry->launcher == INETD && most != NULL && strtoul(most + 1, NULL, 10) < MINUTE_LEAST)
                print_row(entries->report, "warn", "access", "%s: %s\ncause: above so many new connections a "
                    "minute inetd calls the service looping, and closes the port to everybody for ten minutes\n"
                    "remedy: write there nowait.60000 in place of %s, then restart inetd", entry->file, wait, wait);
}

/* Octets of "20M", or 0 for no limit. */
static unsigned long long
octets_of(const char *value)
{
        char *end;
        unsigned long long size = value == NULL ? 0 : strtoull(value, &end, 10);

        if (size == 0)
                return 0;
        return *end == 'M' || *end == 'm' ? size << 20 : *end == 'K' || *end == 'k' ? size << 10 : size;
}

static void
check_resources(const struct entries *entries, const struct entry *entry)
{
        static const char *const sizes[] = { "rlimit_as", "rlimit_data", "softlimit -m", "softlimit -a",
            "softlimit -d", "chpst -m", "chpst -d" };
        char words[VALUE_SIZE];
        bool has_time, has_files;
        unsigned seconds = number_of(entry, "rlimit_cpu", &has_time);
        unsigned files = number_of(entry, "rlimit_files", &has_files);

        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
                unsigned long long size = octets_of(entry_word(entry, sizes[i]));

                (void)snprintf(words, sizeof(words), entry->launcher == COMMAND ? "start it with %s 128000000"
                    : "write there: %s = 128M, then restart xinetd", sizes[i]);
                if (size != 0 && size < LEAST_MEMORY)
                        print_row(entries->report, size < LOST_MEMORY ? "fail" : "warn", "access", "%s: %s = %s\n"
                            "cause: a login takes 20 MB and more where passwords are hashed by yescrypt, and "
                            "fails without\nremedy: %s", entry->file, sizes[i], entry_word(entry, sizes[i]), words);
        }
        if (octets_of(entry_word(entry, "rlimit_stack")) != 0 &&
            octets_of(entry_word(entry, "rlimit_stack")) < LEAST_STACK)
                print_row(entries->report, "fail", "access", "%s: rlimit_stack = %s\ncause: with so small a stack no "
                    "program begins, or it dies in PAM\nremedy: write there: rlimit_stack = 8M, then restart xinetd",
                    entry->file, entry_word(entry, "rlimit_stack"));
        if (has_time && seconds < 10)
                print_row(entries->report, "warn", "access", "%s: rlimit_cpu = %u\ncause: to read a large maildrop "
                    "may take longer\nremedy: take out there the line with rlimit_cpu, then restart xinetd",
                    entry->file, seconds);
        if (has_files && files < 32)
                print_row(entries->report, files < LOST_FILES ? "fail" : "warn", "access", "%s: rlimit_files = %u\ncause: PAM's modules and a "
                    "session may need more\nremedy: write there: rlimit_files = 256, then restart xinetd",
                    entry->file, files);
}

static void
check_load(const struct entries *entries, const struct entry *entry)
{
        const char *most = entry_word(entry, "max_load");
        double now = 0, limit = most == NULL ? 0 : strtod(most, NULL);

        if (limit <= 0)
                return;
        (void)getloadavg(&now, 1);
        if (now >= limit || limit < 1)
                print_row(entries->report, now >= limit ? "fail" : "warn", "access", "%s: max_load = %s; the load is "
                    "%.2f\ncause: xinetd refuses everybody while the load is not below that\nremedy: take out "
                    "there the line with max_load, then restart xinetd", entry->file, most, now);
}

void
limits_check(const struct entries *entries, const struct entry *entry)
{
        check_crowd(entries, entry);
        check_rate(entries, entry);
        check_resources(entries, entry);
        check_load(entries, entry);
}
