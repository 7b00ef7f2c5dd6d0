/*
 * replay.c - gives the files that are named to a harness, one after the other.
 *
 * Runs in:   make check, in place of a fuzzer's own main().
 * May touch: the files named; it reads them.
 */
#include "fuzz.h"

enum { INPUT_MAX = 1 << 20 };

int
main(int argc, char **argv)
{
        static uint8_t input[INPUT_MAX];

        for (int i = 1; i < argc; i++) {
                FILE *file = fopen(argv[i], "rb");
                size_t size;
                char *copy;

                if (file == NULL) {
                        perror(argv[i]);
                        return 2;
                }
                size = fread(input, 1, sizeof(input), file);
                (void)fclose(file);
                copy = exact_copy(input, size);
                (void)LLVMFuzzerTestOneInput((const uint8_t *)copy, size);
                free(copy);
        }
        printf("%d inputs\n", argc - 1);
        return 0;
}
