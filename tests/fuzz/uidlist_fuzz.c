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
                        int length = former_write(&former, &entry, id);
                        size_t base_length = strlen(entry.base);

                        if (entry.base < list || base_length == 0 || base_length > 255 ||
                            entry.base + base_length >= list + size ||
                            strchr(entry.base, ':') != NULL || length < 0 ||
                            (length != 0 && !octets_are_id(id, (size_t)length)))
                                abort();
                }
        free(list);
        return 0;
}
