/*
 * index.c - no index makes its parser leave the memory that was read.
 *
 * Runs in:   never; Frama-C's Eva reads it.
 * May touch: nothing.
 */
#include "prove.h"

#include "../../maildir/index.c"

enum { TEXT_MAX = 4 };

/* Any header at all, and a file of any size. */
void
prove_header(void)
{
        struct index_header header;
        uint64_t file_size;

        fill((char *)&header, sizeof(header));
        fill((char *)&file_size, sizeof(file_size));
        if (index_header_is_sound(&header, file_size)) {
                //@ assert header.text_length <= 0xFFFFFFFF;
                //@ assert header.count <= 0xFFFFFFFFFFFFFFFF / sizeof(struct record);
        }
}

/* A text of any octets, whose first three NULs lie at three places. */
static void
fill_text(char *text)
{
        fill_without(text, case_length, '\0', '\0');
        choose(case_first, 0, case_length);
        put(text, case_first, '\0');
        choose_after(case_second, case_first);
        put(text, case_second, '\0');
        if (case_second < case_length)
                fill(text + case_second + 1, case_length - case_second - 1);
}

/* The text of up to 4 octets, and one record: any in all its fields, which may be true or not. */
void
prove_record(void)
{
        char text[TEXT_MAX], *start;
        struct index_header header;
        struct record record;

        choose(case_length, 0, TEXT_MAX);
        start = text + TEXT_MAX - case_length;
        fill_text(start);
        fill((char *)&header, sizeof(header));
        fill((char *)&record, sizeof(record));
        choose(case_room, 0, TEXT_MAX + 1);
        record.name_length = (uint8_t)case_room;
        choose(case_third, 0, TEXT_MAX + 1);
        record.id_length = (uint8_t)case_third;
        header.count = 1;
        header.text_length = case_length;
        if (index_body_is_sound(&header, &record, start)) {
                //@ assert case_first == case_room;
                //@ assert case_room > 0;
                //@ assert case_third == 0 ? case_length == case_room + 1 : case_length == case_room + case_third + 2;
        }
}
