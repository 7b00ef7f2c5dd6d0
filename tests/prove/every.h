/*
 * every.h - for a proof that tries all inputs: memory with an end, and what runs the proofs.
 *
 * Runs in:   make prove, with the object that is shipped and under the sanitizers.
 * May touch: memory.
 */
#ifndef POP3D_PROVE_EVERY_H
#define POP3D_PROVE_EVERY_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { PAGE = 65536 };

/* Under the sanitizers each octet costs more, so words are shorter by one. */
#ifdef __SANITIZE_ADDRESS__
enum { LESS = 1 };
#else
enum { LESS = 0 };
#endif

static bool is_second_time;
static unsigned long tried, taken;

static inline _Noreturn void
fail(const char *what, const char *octets, size_t length)
{
        printf("%s:", what);
        for (size_t i = 0; i < length; i++)
                printf(" %02x", (unsigned char)octets[i]);
        printf("\n");
        exit(1);
}

/* Memory that ends where nothing may be touched; the address of its end. */
static inline char *
guarded(void)
{
        char *memory = mmap(NULL, 3 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        if (memory == MAP_FAILED || mprotect(memory + PAGE, PAGE, PROT_READ | PROT_WRITE) != 0)
                exit(2);
        return memory + 2 * PAGE;
}

struct proof {
        const char *name;
        void (*run)(void);
        int times;              /* 2: again, with is_second_time set */
        bool takes_none;        /* what is tried is not taken by anyone: taken stays 0 */
};

/* Runs the proof that the one argument names, and says how much was tried. */
static inline int
run_proof(int argc, char **argv, const struct proof *proofs, size_t count)
{
        for (size_t i = 0; i < count; i++) {
                if (argc != 2 || strcmp(argv[1], proofs[i].name) != 0)
                        continue;
                for (int time = 0; time < proofs[i].times; time++) {
                        is_second_time = time > 0;
                        proofs[i].run();
                }
                printf("%lu tried\n", tried);
                return tried > 0 && (taken > 0 || proofs[i].takes_none) ? 0 : 1;
        }
        return 2;
}

#endif
