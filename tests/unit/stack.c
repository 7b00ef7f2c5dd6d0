/*
 * stack.c - stack_follow() comes to the same end as libpam, for rules made at random.
 *
 * Each rule is pam_debug.so, which answers what its argument says, or pam_deny.so; controls are
 * words and [VALUE=ACTION ...], with jumps also beyond the end, and substacks in substacks.
 */
#include "../../auth/libpam.h"
#include "../../auth/rules.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "test.h"

enum { STACKS = 400 };

/* What pam_debug.so calls some of the statuses. */
static const struct {
        const char *name;
        int status;
} answers[] = {
        { "success", PAM_SUCCESS }, { "auth_err", PAM_AUTH_ERR }, { "perm_denied", PAM_PERM_DENIED },
        { "user_unknown", PAM_USER_UNKNOWN }, { "ignore", PAM_IGNORE }, { "maxtries", PAM_MAXTRIES },
        { "new_authtok_reqd", PAM_NEW_AUTHTOK_REQD }, { "success", PAM_SUCCESS },
};

static char folder[] = "/tmp/pop3d-stack.XXXXXX";

static size_t
pick(size_t count)
{
        return (size_t)random() % count;
}

static void
write_control(FILE *file)
{
        static const char *const words[] = { "required", "requisite", "optional", "sufficient" };
        static const char *const actions[] = { "ignore", "ok", "done", "bad", "die", "reset", "1", "2",
                "3" };

        if (pick(2) == 0) {
                fprintf(file, "%s", words[pick(4)]);
                return;
        }
        fprintf(file, "[success=%s", actions[pick(9)]);
        for (size_t i = pick(3); i > 0; i--)
                fprintf(file, " %s=%s", answers[1 + pick(6)].name, actions[pick(9)]);
        if (pick(3) != 0)
                fprintf(file, " default=%s", actions[pick(9)]);
        fprintf(file, "]");
}

/* Writes a file of rules and, at a lower depth, others that it takes as substacks or includes. */
static void
write_rules(const char *name, int depth, int *files)
{
        char path[128], other[128];
        FILE *file;

        snprintf(path, sizeof(path), "%s/%s", folder, name);
        file = fopen(path, "w");
        if (file == NULL)
                exit(1);
        for (size_t i = 1 + pick(5); i > 0; i--) {
                if (depth > 0 && pick(4) == 0) {
                        snprintf(other, sizeof(other), "more%d", ++*files);
                        fprintf(file, "auth %s %s/%s\n", pick(2) == 0 ? "substack" : "include",
                            folder, other);
                        write_rules(other, depth - 1, files);
                        continue;
                }
                fprintf(file, "auth ");
                write_control(file);
                if (pick(6) == 0)
                        fprintf(file, " pam_deny.so\n");
                else
                        fprintf(file, " pam_debug.so auth=%s\n", answers[pick(8)].name);
        }
        fprintf(file, "account required pam_permit.so\n");
        fclose(file);
}

static int
status_of(const struct rule *rule)
{
        char name[32];

        if (rule_is(rule, "pam_deny.so"))
                return PAM_AUTH_ERR;
        rule_argument(rule, "auth", name, sizeof(name));
        for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++)
                if (strcmp(answers[i].name, name) == 0)
                        return answers[i].status;
        return PAM_PERM_DENIED;
}

static void
no_row(void *context, const char *state, const char *what, const char *format, ...)
{
        ++*(int *)context;
}

static int
ask_libpam(const struct auth *auth)
{
        struct login login = { .kind = LOGIN_QUESTION, .account = "nobody" };
        pam_handle_t *pam = NULL;
        int status = libpam_start(auth, &login, &pam);

        if (status == PAM_SUCCESS)
                status = libpam.authenticate(pam, PAM_SILENT);
        if (pam != NULL)
                libpam_end(pam, status);
        return status;
}

static void
forget(const char *name)
{
        char path[128];

        snprintf(path, sizeof(path), "%s/%s", folder, name);
        unlink(path);
}

int
main(void)
{
        static struct rules rules;
        const struct auth auth = { .service = "random", .configuration = folder };
        int statuses[RULES_MAX], unread = 0, wrong = 0, granted = 0;
        const struct rows rows = { no_row, &unread };

        if (!libpam_load() || mkdtemp(folder) == NULL)
                return 1;
        srandom(17);
        for (int i = 0; i < STACKS; i++) {
                struct outcome outcome;
                int files = 0, real;
                char name[16];

                write_rules("random", 3, &files);
                rules_read(&rules, &auth, &rows);
                for (size_t k = 0; k < rules.count; k++)
                        statuses[k] = status_of(&rules.rule[k]);
                stack_follow(&rules, false, statuses, &outcome);
                real = ask_libpam(&auth);
                granted += real == PAM_SUCCESS;
                if (real != outcome.status && ++wrong == 1) {
                        printf("libpam says %d, stack_follow() %d, of %s/random\n", real,
                            outcome.status, folder);
                        return 1;
                }
                for (; files > 0; files--) {
                        snprintf(name, sizeof(name), "more%d", files);
                        forget(name);
                }
        }
        test(wrong == 0, "stack_follow() comes to libpam's own end");
        test(unread == 0, "each rule is read");
        test(granted > STACKS / 50 && granted < STACKS * 9 / 10, "some are granted, others refused");
        forget("random");
        rmdir(folder);
        return test_end();
}
