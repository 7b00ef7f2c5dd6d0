/*
 * kept_fuzz.c - any octets as pop3d.ids.
 *
 * A second reader, which is written for clearness, says what each message must be told by: the
 * last sound line of its base name. What is added for the message must be read back as it was.
 */
#include <ctype.h>

#include "fuzz.h"
#include "internal.h"

struct sound {
        char name[3 * NAME_LIMIT + 1], id[UNIQUE_ID_MAX + 1];
        bool tells_content;
};

static struct maildrop drop;    /* no Maildir: what would open a message is not asked */

static bool
is_hexadecimal(char c)
{
        return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
}

/* The name that a line ends in, without its escapes; false if it is none. */
static bool
read_name(const char *at, char *name)
{
        size_t length = 0;

        for (; *at != '\0'; length++) {
                char digits[3] = "", octet = *at++;

                if (!isgraph((unsigned char)octet) || length == NAME_LIMIT)
                        return false;
                if (octet == '%') {
                        if (!is_hexadecimal(at[0]) || !is_hexadecimal(at[1]))
                                return false;
                        memcpy(digits, at, 2);
                        at += 2;
                        octet = (char)strtoul(digits, NULL, 16);
                }
                if (octet == '\0')
                        return false;
                name[length] = octet;
        }
        name[length] = '\0';
        return length > 0;
}

/* Reads a line, which ends in a NUL; false if it is not sound. */
static bool
read_line(const char *line, struct sound *sound)
{
        const char *content = strchr(line, ' '), *name = content != NULL ? strchr(content + 1, ' ') : NULL;
        size_t length;

        if (name == NULL || !octets_are_id(line, (size_t)(content - line)))
                return false;
        memcpy(sound->id, line, (size_t)(content - line));
        sound->id[content++ - line] = '\0';
        length = (size_t)(name - content);
        sound->tells_content = length != 1 || *content != '-';
        for (size_t i = 0; sound->tells_content && i < length; i++)
                if (!is_hexadecimal(content[i]))
                        return false;
        return (!sound->tells_content || length == 16) && read_name(name + 1, sound->name);
}

/* The last sound line of this base name. */
static struct sound
last_line(const char *text, size_t size, const char *name)
{
        struct sound last = { .name = "" }, sound;
        char line[4096];

        for (const char *end; (end = memchr(text, '\n', size)) != NULL;) {
                size_t length = (size_t)(end - text);

                if (length < sizeof(line) && memchr(text, '\0', length) == NULL) {
                        memcpy(line, text, length);
                        line[length] = '\0';
                        if (read_line(line, &sound) && strcmp(sound.name, name) == 0)
                                last = sound;
                }
                size -= length + 1;
                text = end + 1;
        }
        return last;
}

/* What kept_add() writes for a message that has another unique-id by now. */
static void
check_added(struct kept *kept, struct record *record)
{
        struct kept again = { .is_new = true };
        const char *id;

        record->id_length = 3;
        require(text_append(&drop.text, "new", 3, &record->id) == 0);
        kept->added.used = 0;
        require(kept_add(&drop, kept, record, false) == 0);
        require(kept->added.used > 0 && kept->added.data[kept->added.used - 1] == '\n');
        require(area_append(&again.text, kept->added.data, kept->added.used) == 0);
        require(kept_cut(&again) == 0 && again.lines == 1 && !again.is_torn);
        id = kept_find(&drop, &again, record, false);
        require(id != NULL && strcmp(id, "new") == 0);
        kept_free(&again);
}

static void
check_name(struct kept *kept, const char *name, const struct sound *last)
{
        struct record record = { .name_length = (uint8_t)strlen(name),
            .base_length = (uint8_t)strlen(name) };
        const char *id;

        if (last->tells_content)
                return;
        drop.text.used = 0;
        require(text_append(&drop.text, name, strlen(name), &record.name) == 0);
        id = kept_find(&drop, kept, &record, false);
        require(id != NULL && strcmp(id, last->id) == 0);
        if (strcmp(id, "new") != 0)
                check_added(kept, &record);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct kept kept = { .is_new = false };
        const char *text = (const char *)data;
        size_t left = size, lines = 0;
        struct sound sound, last;
        char line[4096];

        if (size == 0 || area_append(&kept.text, data, size) != 0)
                return 0;
        require(kept_cut(&kept) == 0);
        require(kept.is_torn == (data[size - 1] != '\n'));
        for (const char *end; (end = memchr(text, '\n', left)) != NULL;) {
                size_t length = (size_t)(end - text);

                if (length < sizeof(line) && memchr(text, '\0', length) == NULL) {
                        memcpy(line, text, length);
                        line[length] = '\0';
                        if (read_line(line, &sound)) {
                                lines++;
                                last = last_line((const char *)data, size, sound.name);
                                check_name(&kept, sound.name, &last);
                        }
                }
                left -= length + 1;
                text = end + 1;
        }
        require(lines == kept.lines);
        kept_free(&kept);
        return 0;
}
