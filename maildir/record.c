/*
 * record.c - what a file name tells of a message, and the memory that messages lie in.
 * Runs in:   the TRANSACTION process, as the mail user.
 * May touch: memory. Pure.
 */
#include <endian.h>
#include <string.h>
#include <sys/mman.h>

#include "internal.h"

/*
 * Makes room for more octets behind those in use. Not by malloc(), because that may keep
 * what is freed, and a session lasts much longer than its largest array.
 */
int
area_reserve(struct area *area, size_t more)
{
        size_t size = area->size > 0 ? area->size : 4096;
        void *data;

        while (size - area->used < more && size <= SIZE_MAX / 4)
                size *= 2;
        if (size - area->used < more) {
                errno = ENOMEM;
                return -1;
        }
        if (size == area->size)
                return 0;
        data = area->data != NULL ? mremap(area->data, area->size, size, MREMAP_MAYMOVE) :
            mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (data == MAP_FAILED)
                return -1;
        area->data = data;
        area->size = size;
        return 0;
}

int
area_append(struct area *area, const void *data, size_t size)
{
        if (area_reserve(area, size) != 0)
                return -1;
        memcpy(area->data + area->used, data, size);
        area->used += size;
        return 0;
}

void
area_free(struct area *area)
{
        if (area->data != NULL)
                munmap(area->data, area->size);
        *area = (struct area){ 0 };
}

int
text_append(struct area *text, const char *octets, size_t length, uint32_t *at)
{
        if (text->used > UINT32_MAX - length) {
                errno = EOVERFLOW;
                return -1;
        }
        if (area_reserve(text, length + 1) != 0)
                return -1;
        *at = (uint32_t)text->used;
        memcpy(text->data + text->used, octets, length);
        text->used += length;
        text->data[text->used++] = '\0';
        return 0;
}

void
record_describe(struct record *record, const char *name)
{
        const char *colon = memchr(name, ':', record->name_length);
        uint64_t number = 0;

        record->base_length = colon != NULL ? (uint8_t)(colon - name) : record->name_length;
        for (; *name >= '0' && *name <= '9' && number < UINT32_MAX; name++)
                number = number * 10 + (uint64_t)(*name - '0');
        record->delivered = number < UINT32_MAX ? (uint32_t)number : UINT32_MAX;
}

int
record_compare(const struct record *a, const char *a_text, const struct record *b,
    const char *b_text)
{
        size_t shorter = a->base_length < b->base_length ? a->base_length : b->base_length;
        int order;

        if (a->delivered != b->delivered)
                return a->delivered < b->delivered ? -1 : 1;
        order = memcmp(a_text + a->name, b_text + b->name, shorter);
        return order != 0 ? order : a->base_length - b->base_length;
}

static bool
is_before(const struct record *a, const struct record *b, const char *text)
{
        int order = record_compare(a, text, b, text);

        return order < 0 || (order == 0 && a->file_hash < b->file_hash);
}

/*
 * Sorts by merging. Two halves that are in order already, as all but new mail is, are left
 * in place.
 */
void
records_sort(struct record *records, size_t count, struct record *spare, const char *text)
{
        size_t first = count / 2, second = count - first;

        if (count < 2)
                return;
        records_sort(records, first, spare, text);
        records_sort(records + first, second, spare, text);
        if (is_before(&records[first - 1], &records[first], text))
                return;
        memcpy(spare, records + first, second * sizeof(*records));
        while (first > 0 && second > 0)
                records[--count] = is_before(&spare[second - 1], &records[first - 1], text) ?
                    records[--first] : spare[--second];
        memcpy(records, spare, second * sizeof(*records));
}

size_t
records_find(const struct area *records, const char *text, const struct record *wanted,
    const char *wanted_text, size_t *first)
{
        const struct record *all = (const void *)records->data;
        size_t low = 0, count = records->used / sizeof(*all), high = count;

        while (low < high) {
                size_t middle = low + (high - low) / 2;

                if (record_compare(&all[middle], text, wanted, wanted_text) < 0)
                        low = middle + 1;
                else
                        high = middle;
        }
        *first = low;
        while (low < count && record_compare(&all[low], text, wanted, wanted_text) == 0)
                low++;
        return low - *first;
}

static void
tell_total(struct maildrop *drop)
{
        drop->totals.octets = drop->octets_high > 0 ? UINT64_MAX : drop->octets_low;
}

void
totals_add(struct maildrop *drop, uint64_t octets)
{
        drop->octets_high += __builtin_add_overflow(drop->octets_low, octets, &drop->octets_low);
        tell_total(drop);
}

void
totals_take(struct maildrop *drop, uint64_t octets)
{
        drop->octets_high -= __builtin_sub_overflow(drop->octets_low, octets, &drop->octets_low);
        tell_total(drop);
}

size_t
record_unique_id(const struct record *record, const char *text, char id[UNIQUE_ID_MAX])
{
        bool is_base_name = record->id_length == 0;
        size_t length = is_base_name ? record->base_length : record->id_length;

        memcpy(id, text + (is_base_name ? record->name : record->id), length);
        return length;
}

bool
octets_are_id(const char *octets, size_t length)
{
        bool is_good = length > 0 && length <= UNIQUE_ID_MAX;

        for (size_t i = 0; i < length; i++)
                is_good &= octets[i] >= 0x21 && octets[i] <= 0x7e;
        return is_good;
}

static uint64_t
word_at(const char *octets)
{
        uint64_t word;

        memcpy(&word, octets, sizeof(word));
        return word;
}

static uint64_t
mix(uint64_t sum, uint64_t word)
{
        sum = (sum ^ word) * UINT64_C(0x9e3779b97f4a7c15);
        return sum ^ sum >> 32;
}

/*
 * Finds damage, but no malice: whoever forges an index can make its checksums, too. It is
 * the same number on machines of either byte order, because unique-ids are made of it.
 */
uint64_t
checksum(uint64_t sum, const void *data, size_t length)
{
        const char *octets = data;
        uint64_t word;

        sum ^= length;
        for (; length >= sizeof(word); length -= sizeof(word), octets += sizeof(word))
                sum = mix(sum, le64toh(word_at(octets)));
        for (word = 0; length > 0; length--)
                word = word << 8 | (unsigned char)octets[length - 1];
        return mix(sum, word);
}

/*
 * Tells other octets from those that were sent; never 0. It is made at each RETR, so it takes
 * four words in a turn, which the processor works on at the same time. checksum() cannot.
 */
uint64_t
digest(const char *data, size_t length)
{
        uint64_t sums[4] = { length, length + 1, length + 2, length + 3 };
        const char *end = data + length;

        for (; end - data >= (ptrdiff_t)sizeof(sums); data += sizeof(sums)) {
                sums[0] = mix(sums[0], word_at(data));
                sums[1] = mix(sums[1], word_at(data + 8));
                sums[2] = mix(sums[2], word_at(data + 16));
                sums[3] = mix(sums[3], word_at(data + 24));
        }
        return checksum(checksum(0, data, (size_t)(end - data)), sums, sizeof(sums)) | 1;
}
