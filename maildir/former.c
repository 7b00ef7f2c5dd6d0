/*
 * former.c - the lists in which Dovecot and Courier keep unique-ids, line by line.
 * Runs in:   the TRANSACTION process, as the mail user.
 * May touch: memory it is given. Pure.
 *
 * Another program wrote these lists. A line that is not clear is passed over, so that its
 * message gets a unique-id of ours instead of a wrong one.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

/* Takes a number of at most 32 bits off the front of *at; false if there is none. */
static bool
take_number(char **at, uint64_t *number)
{
        bool is_number = **at >= '0' && **at <= '9';

        *number = strtoull(*at, at, 10);
        return is_number && *number <= UINT32_MAX;
}

/* The next line, or NULL. A last line without a line feed is left out: it was cut off. */
static char *
take_line(struct former *former)
{
        char *line = former->at, *end = memchr(line, '\n', (size_t)(former->end - line));

        if (end == NULL)
                return NULL;
        *end = '\0';
        former->at = end + 1;
        return line;
}

/* The first line is "3 V1795472669 N25 ..." of Dovecot's list, "/3 4 1795472344" of Courier's. */
bool
former_begin(struct former *former, char *text, size_t length)
{
        uint64_t version;
        char *at;

        *former = (struct former){ .at = text, .end = text + length };
        at = take_line(former);
        if (at == NULL)
                return false;
        if (*at == '/') {
                former->is_courier = true;
                at++;
        }
        if (!take_number(&at, &version) || *at++ != ' ')
                return false;
        if (former->is_courier)
                return version == 2 || version == 3;
        return version == 3 && *at++ == 'V' && take_number(&at, &former->validity);
}

/*
 * "25006 W1394 Pid :name" is a number, fields that begin with a letter, and the name. The
 * unique-id is field P, else number and validity as Dovecot's default %08Xu%08Xv writes them.
 */
static char *
parse_dovecot(const struct former *former, char *at, char id[UNIQUE_ID_MAX + 1])
{
        char *name = strstr(at, " :"), *field;
        uint64_t number;

        if (name == NULL || !take_number(&at, &number) || *at != ' ')
                return NULL;
        *name = '\0';
        (void)sprintf(id, "%08" PRIx64 "%08" PRIx64, number, former->validity);
        while ((field = strsep(&at, " ")) != NULL) {
                if (field[0] != 'P' || field[1] == '\0')
                        continue;
                if (!octets_are_id(field + 1, strlen(field + 1)))
                        return NULL;
                (void)sprintf(id, "%s", field + 1);
        }
        return name + 2;
}

/*
 * "name 1355 17:1795472344:0" is the name, its octets, number and validity, and since
 * version 3 a flag. Number 0 means that the unique-id is the base name, as it is with us.
 */
static char *
parse_courier(char *line, char id[UNIQUE_ID_MAX + 1])
{
        char *numbers = strrchr(line, ' '), *octets;
        uint64_t number, validity;

        if (numbers == NULL)
                return NULL;
        *numbers++ = '\0';
        octets = strrchr(line, ' ');
        if (octets == NULL || !take_number(&numbers, &number) || *numbers++ != ':' ||
            !take_number(&numbers, &validity) || (*numbers != '\0' && *numbers != ':'))
                return NULL;
        *octets = '\0';
        if (number == 0)
                return NULL;
        if (validity != 0)
                (void)sprintf(id, "UID%" PRIu64 "-%" PRIu64, number, validity);
        else
                (void)sprintf(id, "UID%" PRIu64, number);
        return line;
}

char *
former_next(struct former *former, char id[UNIQUE_ID_MAX + 1])
{
        char *line;

        while ((line = take_line(former)) != NULL) {
                char *base = former->is_courier ? parse_courier(line, id) :
                    parse_dovecot(former, line, id);

                if (base == NULL)
                        continue;
                base[strcspn(base, ":")] = '\0';
                if (base[0] != '\0' && strlen(base) <= NAME_LIMIT)
                        return base;
        }
        return NULL;
}
