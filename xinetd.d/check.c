/*
 * check.c - the check (pop3d -c): what is wrong with an installation, and how to mend it.
 * Runs in:   pop3d-check, as root where it can; parts of it in processes of their own.
 * May touch: what each part says of itself. It changes nothing.
 *
 * The rows come from the ground up: what launches pop3d (launchers.c), the process and its
 * kernel, the login, PAM (auth/), the maildrop as its user sees it (maildir/), and a session.
 */
#include "check.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "../maildir/maildir.h"

struct check {
        struct report report;
        const struct options *options;  /* as given by hand, else the launcher's */
        const char *login;              /* the operand, or NULL */
        bool has_wrong_options;         /* pop3d refuses to start with them */
        bool is_good_login;             /* login could be taken apart, and its account looked up: */
        struct login parts;
        struct identity identity;
        struct identity owner;          /* of all maildrops of virtual users */
};

static int
check_pam(void *context)
{
        struct check *check = context;

        auth_check_pam(&check->options->auth, check->is_good_login ? &check->parts : NULL, print_row,
            &check->report);
        return check->report.worst;
}

/* Where the maildrop lies: 0, or an error, which is about the template. */
static int
find_maildrop(const struct check *check, char path[PATH_MAX])
{
        const struct options *options = check->options;
        const struct identity *identity = &check->identity;
        char domain[LOGIN_PART_MAX + 1];
        const struct maildir_names names = { identity->name.user, domain, identity->name.mailbox,
            identity->home };

        auth_domain(&options->auth, &identity->name, domain);
        return maildir_path(path, PATH_MAX, options->maildir, &names,
            auth_tells_domains(&options->auth, identity,
                maildir_template_has_home(options->maildir))) != 0 ? errno : 0;
}

/* In a process of its own, for it becomes the owner of all maildrops of virtual users. */
static int
check_spelling(void *context)
{
        struct check *check = context;

        become_user(&check->owner);
        maildir_check_spelling(check->options->maildir, check->owner.home, print_row,
            &check->report);
        return check->report.worst;
}

/* In a process of its own, for it becomes the user for ever; that process has seen no shadow file. */
static int
check_maildrop(void *context)
{
        struct check *check = context;
        struct report *report = &check->report;
        char path[PATH_MAX], found[PATH_MAX];
        int error;

        become_user(&check->identity);
        error = find_maildrop(check, path);
        if (error != 0)
                print_row(report, "fail", "maildrop", "%s: %s\n"
                    "cause: -m does not tell domains apart", check->options->maildir,
                    strerror(error));
        else if (check->options->auth.virtual_account != NULL &&
            maildir_is_spelt_otherwise(path, found, sizeof(found)))
                print_row(report, "fail", "maildrop", "%s is not there, but %s is\n"
                    "cause: virtual users log in in small letters\n"
                    "remedy: rename it to small letters", path, found);
        else if (maildir_is_not_yet_there(path, check->identity.uid))
                print_row(report, "warn", "maildrop", "%s is not there yet, and served as empty\n"
                    "remedy: none before the first mail comes; if mail goes elsewhere, as to "
                    "/var/mail, have it delivered here, or see -m", path);
        else
                maildir_check(path, check->options->id_format, check->options->index_seconds,
                    print_row, report);
        return report->worst;
}

/* Runs a part in a process of its own, and takes over how bad it was. */
static void
check_apart(struct check *check, int (*part)(void *context), const char *what)
{
        int worst = apart_end(apart_start(part, check, NULL));

        if (worst < CHECK_OK || worst > CHECK_FAULTS)
                print_row(&check->report, "fail", what, "the check did not come to its end\n"
                    "cause: the log may say");
        else
                check->report.worst = worst;
}

/* What is wrong with -m or -u, at which options_take() does not look, or NULL. */
static const char *
values_problem(const struct options *options)
{
        const char *problem = maildir_template_problem(options->maildir,
            options->auth.virtual_account != NULL);

        return problem != NULL ? problem : maildir_id_format_problem(options->id_format);
}

/* Options as the launcher gives them, unless some were given by hand. Returns argv for pop3d. */
static char **
choose_options(struct check *check, char **by_hand)
{
        const struct entry *ours = launchers_check(&check->report);
        const char *problem;

        if (ours == NULL || check->options->are_given)
                return by_hand;
        check->options = &ours->options;
        print_row(&check->report, "ok", "options", "of %s, as none are given here: %s", ours->file,
            ours->arguments[1] == NULL ? "none" : ours->value[ARGUMENTS]);
        problem = ours->problem != NULL ? ours->problem : values_problem(&ours->options);
        check->has_wrong_options = problem != NULL;
        if (problem != NULL)
                print_row(&check->report, "fail", "options", "%s\nremedy: mend %s", problem,
                    ours->file);
        return (char **)(uintptr_t)ours->arguments;
}

/* Copies the options of a command line, without -c and the login. words ends in NULL. */
static void
copy_options(int argc, char **argv, char *words[WORDS_MAX + 1], char letters[WORDS_MAX][3])
{
        size_t count = 1;
        int letter;

        optind = 0;
        words[0] = argv[0];
        while (count + 2 < WORDS_MAX && (letter = getopt(argc, argv, options_letters)) != -1) {
                if (letter == 'c')
                        continue;
                (void)snprintf(letters[count], sizeof(letters[count]), "-%c", letter);
                words[count] = letters[count];
                count++;
                if (optarg != NULL)
                        words[count++] = optarg;
        }
        words[count] = NULL;
}

int
main(int argc, char **argv)
{
        static char *words[WORDS_MAX + 1], letters[WORDS_MAX][3];
        struct options by_hand;
        struct check check = { .options = &by_hand };
        const char *problem;
        char **arguments;

        problem = options_take(&by_hand, argc, argv);
        if (problem == NULL)
                problem = values_problem(&by_hand);
        if (problem != NULL || by_hand.wanted != 'c') {
                (void)fprintf(stderr, "pop3d-check is started by pop3d -c [options] [login]\n");
                return END_USAGE;
        }
        copy_options(argc, argv, words, letters);
        check.login = by_hand.login;
        (void)signal(SIGPIPE, SIG_IGN);
        log_open(true);
        arguments = choose_options(&check, words);
        auth_check_process(&check.options->auth, print_row, &check.report);
        if (check.login != NULL)
                check.is_good_login = auth_check_login(&check.options->auth, check.login, &check.parts,
                    &check.identity, print_row, &check.report);
        else
                print_row(&check.report, "skip", "maildrop", "no login to look at: pop3d -c LOGIN");
        check_apart(&check, check_pam, "PAM");
        if (check.identity.uid != 0)
                check_apart(&check, check_maildrop, "maildrop");
        if (auth_check_owner(&check.options->auth, &check.owner))
                check_apart(&check, check_spelling, "maildrop");
        if (check.has_wrong_options)
                print_row(&check.report, "skip", "session", "not tried: pop3d refuses its options");
        else
                session_check(&check.report, arguments, check.options->auth.expects_proxy,
                    check.login);
        return check.report.worst;
}
