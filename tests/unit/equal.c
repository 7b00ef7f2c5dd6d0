/*
 * equal.c - which hash of shadow is the dearest; shadow is a list of the test's own.
 *
 * auth/equal.c is included, because what tells the costs is known to that file alone.
 */
#include "../../auth/equal.c"

#include "test.h"

static struct spwd *accounts;   /* one without a name ends them */
static struct spwd *next_account;

/* These stand in for libc's. */

void
setspent(void)
{
        next_account = accounts;
}

struct spwd *
getspent(void)
{
        return next_account->sp_namp == NULL ? NULL : next_account++;
}

void
endspent(void)
{
        next_account = NULL;
}

#define MEDIUM "$6$abcdefgh$0123456789abcdef"
#define DEAR "$6$rounds=600000$abcdefgh$0123456789abcdef"

static void
test_costs(void)
{
        static const struct { const char *hash; unsigned cost; } cases[] = {
                { "$y$j9T$abcdefghijklmnop$0123", 15 }, { "$y$jAT$abcdefghijklmnop$0123", 16 },
                { "$gy$j9T$abcdefghijklmnop$0123", 15 }, { "$gy$jCT$abcdefghijklmnop$0123", 18 },
                { "$y$j9T", 15 }, { "$y$j9", 0 },
                { "$7$CU..../....abcdefgh$0123", 16 }, { "$7$DU..../....abcdefgh$0123", 17 },
                { "$2b$05$abcdefghijklmnopqrstuv", 11 }, { "$2a$12$abcdefghijklmnopqrstuv", 18 }, { "$2b$12", 0 },
                { "$5$abcdefgh$0123", 12 }, { MEDIUM, 12 },
                { "$5$rounds=1000$abcdefgh$0123", 9 }, { "$6$rounds=1023$abcdefgh$0123", 9 },
                { "$6$rounds=1024$abcdefgh$0123", 10 }, { DEAR, 19 },
                { "$1$abcdefgh$0123456789abcdefghijkl", 8 },
                { "abJnggxhB/yWI", 5 }, { "/bJnggxhB/yWI", 5 }, { "abJnggxhB/yW", 0 }, { "abJnggxhB/yWIx", 0 },
                { "!bJnggxhB/yWI", 0 }, { "*", 0 }, { "!", 0 }, { "", 0 }, { "!" DEAR, 0 }, { "$", 0 },
        };

        for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
                if (cost_of(cases[i].hash) != cases[i].cost)
                        printf("# %u\n", cost_of(cases[i].hash));
                test(cost_of(cases[i].hash) == cases[i].cost, cases[i].hash[0] != '\0' ? cases[i].hash : "empty");
        }
}

/* Whether a user of these accounts is to pay for this hash; NULL: for none. */
static bool
pays(const char *user, const char *expected)
{
        char dearest[SETTING_SIZE] = "nothing";
        bool is_due = find_dearest(user, dearest);

        return is_due ? expected != NULL && strcmp(dearest, expected) == 0 : expected == NULL;
}

static void
test_dearest(void)
{
        char longest[SETTING_SIZE + 1] = "$6$rounds=9000000$";
        struct spwd list[] = {
                { .sp_namp = (char[]){ "cheap" }, .sp_pwdp = (char[]){ "$1$abcdefgh$0123456789abcdefghijkl" } },
                { .sp_namp = (char[]){ "dear" }, .sp_pwdp = (char[]){ DEAR } },
                { .sp_namp = (char[]){ "medium" }, .sp_pwdp = (char[]){ MEDIUM } },
                { .sp_namp = (char[]){ "locked" }, .sp_pwdp = (char[]){ "!" DEAR } },
                { .sp_namp = (char[]){ "as dear" }, .sp_pwdp = (char[]){ "$6$rounds=600001$x$0123" } },
                { .sp_namp = NULL, .sp_pwdp = longest },
                { .sp_namp = NULL },
        };

        accounts = list;
        test(pays("cheap", DEAR) && pays("medium", DEAR), "who has a cheaper hash pays for the dearest");
        test(pays("locked", DEAR) && pays("nobody", DEAR) && pays("", DEAR), "so does who has none");
        test(pays("dear", NULL) && pays("as dear", NULL), "who has one that is as dear has paid already");
        memset(longest + strlen(longest), 'x', SETTING_SIZE - strlen(longest));
        list[5].sp_namp = (char[]){ "too long" };
        test(pays("cheap", DEAR), "a hash for which there is no room is none");
        longest[SETTING_SIZE - 1] = '\0';
        test(pays("cheap", longest), "one for which there is just room is one");
        accounts = list + 6;
        test(pays("cheap", NULL), "without any hash nobody pays");
        accounts = list + 3;
        list[4].sp_namp = NULL;
        test(pays("locked", NULL), "nor where all are locked");
}

int
main(void)
{
        test_costs();
        test_dearest();
        return test_end();
}
