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

/* What follows a % in an id format: "08Xu" is the uid in hexadecimal, padded to 8 digits. */
struct conversion {
        char letter;            /* '%' or one of letters[] */
        bool pads, is_hex;
        size_t width;           /* 0: as long as it is */
};

/* u: the uid; v: the list's validity; g and f: the base name, g unless the list has a GUID. */
static const char letters[] = "uvgf";

/* Takes a conversion off the front of *at, where its % was. False if we cannot make it. */
static bool
take_conversion(const char **at, struct conversion *conversion)
{
        *conversion = (struct conversion){ .pads = **at == '0' };
        for (; **at >= '0' && **at <= '9' && conversion->width <= UNIQUE_ID_MAX; ++*at)
                conversion->width = conversion->width * 10 + (size_t)(**at - '0');
        if (**at == 'X' || **at == 'x') {
                conversion->is_hex = true;
                ++*at;
        }
        conversion->letter = **at;
        if (conversion->letter == '\0')
                return false;
        ++*at;
        if (conversion->letter == 'u' || conversion->letter == 'v')
                return conversion->width <= UNIQUE_ID_MAX;
        return (conversion->letter == '%' || strchr(letters, conversion->letter) != NULL) &&
            conversion->width == 0 && !conversion->pads && !conversion->is_hex;
}

const char *
maildir_id_format_problem(const char *format)
{
        struct conversion conversion = { .letter = '%' };
        bool differs = false;

        if (format == NULL || strcmp(format, ID_FORMAT_NONE) == 0)
                return NULL;
        while (*format != '\0') {
                if (*format < 0x21 || *format > 0x7e ||
                    (*format++ == '%' && !take_conversion(&format, &conversion)))
                        return "-u takes %u, %v, %g, %f, as Dovecot does, or none";
                differs |= conversion.letter != 'v' && conversion.letter != '%';
        }
        return differs ? NULL : "-u needs %u, %g or %f";
}

/* Appends octets to an id; they are cut where it is full, which makes it UNIQUE_ID_MAX + 1 long. */
static void
append(char id[UNIQUE_ID_MAX + 2], const char *octets, size_t length)
{
        size_t used = strlen(id), room = UNIQUE_ID_MAX + 1 - used;

        length = length < room ? length : room;
        memcpy(id + used, octets, length);
        id[used + length] = '\0';
}

/* Appends a number as Dovecot does: padded with zeros it is never cut, else to its width. */
static void
append_number(char id[UNIQUE_ID_MAX + 2], uint64_t number, const struct conversion *conversion)
{
        char digits[24];
        size_t length = (size_t)sprintf(digits, conversion->is_hex ? "%" PRIx64 : "%" PRIu64,
            number), width = conversion->width;

        if (conversion->pads)
                for (size_t i = length; i < width; i++)
                        append(id, "0", 1);
        else if (width > 0 && width < length)
                length = width;
        append(id, digits, length);
}

/* What one line of Dovecot's list says of a message. */
struct entry {
        uint64_t number;
        char *name;             /* the base name */
        const char *given;      /* field P: a unique-id that another server gave; or NULL */
        const char *guid;       /* field G, or NULL */
};

/* Makes the unique-id that Dovecot told, by the format. False if it can be none with us. */
static bool
make_id(const struct former *former, const struct entry *entry, char made[UNIQUE_ID_MAX + 1])
{
        const char *at = former->format != NULL ? former->format : ID_FORMAT_DEFAULT;
        const char *given = entry->given;
        char id[UNIQUE_ID_MAX + 2] = "";
        struct conversion conversion;

        /* to Dovecot a field P that is empty stands for the base name */
        if (given != NULL)
                append(id, given, strlen(given));
        if (given != NULL && given[0] == '\0')
                append(id, entry->name, strlen(entry->name));
        while (given == NULL && *at != '\0') {
                const char *guid = entry->guid;

                if (*at++ != '%') {
                        append(id, at - 1, 1);
                        continue;
                }
                if (!take_conversion(&at, &conversion))
                        return false;
                if (conversion.letter == '%')
                        append(id, "%", 1);
                else if (conversion.letter == 'u' || conversion.letter == 'v')
                        append_number(id, conversion.letter == 'u' ? entry->number :
                            former->validity, &conversion);
                else if (conversion.letter == 'g' && guid != NULL && guid[0] != '\0')
                        append(id, guid, strlen(guid));
                else
                        append(id, entry->name, strlen(entry->name));
        }
        if (!octets_are_id(id, strlen(id)))
                return false;
        memcpy(made, id, strlen(id) + 1);
        return true;
}

/* The first line is "3 V1795472669 N25 ..." of Dovecot's list, "/3 4 1795472344" of Courier's. */
bool
former_begin(struct former *former, const char *format, char *text, size_t length)
{
        uint64_t version;
        char *at;

        *former = (struct former){ .at = text, .end = text + length, .format = format };
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
 * "25006 W1394 Pid Gguid :name" is a number, fields that begin with a letter, and the name.
 * The unique-id is field P, else what the format makes of number, validity, name and GUID.
 */
static char *
parse_dovecot(const struct former *former, char *at, char id[UNIQUE_ID_MAX + 1])
{
        char *name = strstr(at, " :"), *field;
        struct entry entry = { 0 };

        if (name == NULL || !take_number(&at, &entry.number) || *at != ' ')
                return NULL;
        *name = '\0';
        entry.name = name + 2;
        entry.name[strcspn(entry.name, ":")] = '\0';
        while ((field = strsep(&at, " ")) != NULL) {
                if (field[0] == 'P')
                        entry.given = field + 1;
                else if (field[0] == 'G')
                        entry.guid = field + 1;
        }
        return make_id(former, &entry, id) ? entry.name : NULL;
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
