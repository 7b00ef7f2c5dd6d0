/*
 * uidlist_fuzz.c - any octets as another server's list of unique-ids.
 */
#include <stdlib.h>
#include <string.h>

#include "internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct former former;
        struct former_id entry;
        char id[UNIQUE_ID_MAX + 1], *list = malloc(size + 1);

        memcpy(list, data, size);
        if (former_begin(&former, list, size))
                while (former_next(&former, &entry)) {
                        size_t length = former_write(&former, &entry, id);

                        if (entry.base < list || entry.base_length == 0 || entry.base_length > 255 ||
                            entry.base + entry.base_length >= list + size ||
                            memchr(entry.base, ':', entry.base_length) != NULL ||
                            (length != 0 && !octets_are_id(id, length)))
                                abort();
                }
        free(list);
        return 0;
}
