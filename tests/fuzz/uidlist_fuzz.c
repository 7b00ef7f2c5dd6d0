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
        char id[UNIQUE_ID_MAX + 1], *list = malloc(size + 1), *base;

        memcpy(list, data, size);
        if (former_begin(&former, NULL, list, size))
                while ((base = former_next(&former, id)) != NULL) {
                        size_t base_length = strlen(base);

                        if (base < list || base_length == 0 || base_length > 255 ||
                            base + base_length >= list + size || strchr(base, ':') != NULL ||
                            !octets_are_id(id, strlen(id)))
                                abort();
                }
        free(list);
        return 0;
}
