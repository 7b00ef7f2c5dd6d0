/*
 * command_access.c - whom a command line keeps out: the rules of tcpserver and tcpsvd, socat's range.
 * Runs in:   pop3d-check, as root where it can.
 * May touch: the files and folders of rules that command lines name, for reading.
 *
 * Rules are looked up by an address and, where it is not in them, by what it begins with: the longest
 * beginning that is found decides. tcpserver -x has them in a cdb file (see tcprules(1)), with the dot
 * at the end of a beginning, and "" for all others. tcpsvd has them in such a file (-x) or as the files
 * of a folder (-i, see ipsvd-instruct(5)), without that dot, and "0" for all others. Who is not found
 * at all is let in; where the file cannot be read, nobody is.
 */
#include "access.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { CDB_SLOTS_MAX = 1 << 20 };

static uint32_t
take_number(const unsigned char octets[4])
{
        return (uint32_t)octets[0] | (uint32_t)octets[1] << 8 | (uint32_t)octets[2] << 16 |
            (uint32_t)octets[3] << 24;
}

static bool
read_pair(FILE *file, uint64_t place, uint32_t pair[2])
{
        unsigned char octets[8];

        if (fseek(file, (long)place, SEEK_SET) != 0 || fread(octets, sizeof(octets), 1, file) != 1)
                return false;
        pair[0] = take_number(octets);
        pair[1] = take_number(octets + 4);
        return true;
}

/* Looks a key up in a cdb file: whether it is there, and the first octet of what it stands for. */
static bool
find_in_cdb(FILE *file, const char *key, char *first)
{
        uint32_t hash = 5381, table[2], slot[2], record[2];
        size_t length = strlen(key);
        char found[NAME_SIZE];

        for (const char *at = key; *at != '\0'; at++)
                hash = ((hash << 5) + hash) ^ (unsigned char)*at;
        if (!read_pair(file, 8ULL * (hash % 256), table) || table[1] == 0 || table[1] > CDB_SLOTS_MAX)
                return false;
        for (uint32_t i = 0; i < table[1]; i++) {
                uint32_t index = (hash / 256 + i) % table[1];

                if (!read_pair(file, table[0] + 8ULL * index, slot) || slot[1] == 0)
                        return false;
                if (slot[0] != hash || !read_pair(file, slot[1], record) || record[0] != length ||
                    length >= sizeof(found) || fread(found, 1, length, file) != length ||
                    memcmp(found, key, length) != 0)
                        continue;
                *first = '\0';
                return record[1] == 0 || fread(first, 1, 1, file) == 1;
        }
        return false;
}

/* Whether a file of a folder of instructions says no: its owner may do nothing with it. */
static bool
find_in_folder(const char *folder, const char *key, char *first)
{
        char path[2 * VALUE_SIZE];
        struct stat status;

        (void)snprintf(path, sizeof(path), "%s/%s", folder, key);
        if (stat(path, &status) != 0)
                return false;
        *first = (status.st_mode & S_IRWXU) == 0 ? 'D' : '\0';
        return true;
}

/* Where rules are, and how what an address begins with is written in them. */
struct place {
        const char *path;
        FILE *cdb;                      /* or NULL: path is a folder */
        bool has_dot;
        const char *rest;               /* the key for all others */
};

static bool
has_rule(const struct place *place, const char *key, char *first)
{
        return place->cdb != NULL ? find_in_cdb(place->cdb, key, first)
            : find_in_folder(place->path, key, first);
}

/* Whether the rule that counts for this address says no. */
static bool
is_denied(const struct place *place, const struct address *address)
{
        char key[INET6_ADDRSTRLEN], first = '\0', *dot;

        (void)snprintf(key, sizeof(key), "%s", address->text);
        if (has_rule(place, key, &first))
                return first == 'D';
        while ((dot = strrchr(key, '.')) != NULL) {
                dot[place->has_dot ? 1 : 0] = '\0';
                if (has_rule(place, key, &first))
                        return first == 'D';
                *dot = '\0';
        }
        return has_rule(place, place->rest, &first) && first == 'D';
}

/* "192.0.2." or "192.0.2": what the addresses of its network begin with. */
static const char *
beginning_of(const struct address *address, bool has_dot, char text[NETWORK_SIZE])
{
        unsigned octets = address->network / 8;
        char *at = text;

        (void)snprintf(text, NETWORK_SIZE, "%s", address->text);
        if (address->family != AF_INET || octets >= 4 || octets == 0)
                return text;
        for (unsigned i = 0; i < octets; i++)
                at = strchr(at, '.') + 1;
        at[has_dot ? 0 : -1] = '\0';
        return text;
}

static void
explain(const struct entry *entry, const struct place *place, const struct address *address,
    struct refusal *refusal)
{
        char beginning[NETWORK_SIZE];

        (void)snprintf(refusal->cause, VALUE_SIZE, "%.900s (%s -%c)", place->path, entry->name,
            place->cdb == NULL ? 'i' : 'x');
        (void)beginning_of(address, place->has_dot, beginning);
        if (place->cdb == NULL)
                (void)snprintf(refusal->remedy, VALUE_SIZE, "touch %.400s/%s; chmod 600 %.400s/%s", place->path,
                    beginning, place->path, beginning);
        else
                (void)snprintf(refusal->remedy, VALUE_SIZE, "write a line %s%s into what it is made of, then: %s",
                    beginning, place->has_dot ? ":allow" : "", place->has_dot
                    ? "tcprules FILE.cdb FILE.tmp <RULES" : "ipsvd-cdb FILE.cdb FILE.tmp FOLDER");
}

static bool
rules_refuse(const struct entry *entry, const struct address *address, struct refusal *refusal)
{
        bool is_tcpserver = strcmp(entry->name, "tcpserver") == 0, is_refused;
        const char *file = entry_word(entry, "x"), *folder = is_tcpserver ? NULL : entry_word(entry, "i");
        struct place place = { .path = file != NULL ? file : folder, .has_dot = is_tcpserver,
                .rest = is_tcpserver ? "" : "0" };

        if (place.path == NULL)
                return false;
        refusal->is_for_others = true;
        if (file != NULL && (place.cdb = fopen(file, "re")) == NULL) {
                (void)snprintf(refusal->cause, VALUE_SIZE, "%.900s: %s (%s -x)", file, strerror(errno),
                    entry->name);
                (void)snprintf(refusal->remedy, VALUE_SIZE, "echo %s | tcprules %.400s %.400s.tmp",
                    is_tcpserver ? ":allow" : "''", file, file);
                refusal->is_for_others = false;
                return true;
        }
        is_refused = is_denied(&place, address);
        if (is_refused)
                explain(entry, &place, address, refusal);
        if (place.cdb != NULL)
                (void)fclose(place.cdb);
        return is_refused;
}

bool
command_refuses(const struct entry *entry, const struct address *address, struct refusal *refusal)
{
        const char *range = entry_word(entry, "range");
        char network[NETWORK_SIZE];

        if (strcmp(entry->name, "tcpserver") == 0 || strcmp(entry->name, "tcpsvd") == 0)
                return rules_refuse(entry, address, refusal);
        if (range == NULL || is_in_network(address, range))
                return false;
        refusal->is_for_others = true;
        (void)snprintf(refusal->cause, VALUE_SIZE, "range = %.900s", range);
        (void)snprintf(refusal->remedy, VALUE_SIZE, "write range=%s in its command line",
            address_network(address, network));
        return true;
}
