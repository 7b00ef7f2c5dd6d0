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
#include <sys/utsname.h>

#include "../maildir/maildir.h"

enum {
        PART_SECONDS = 60,              /* of a part, until it is given up */
        CHECK_SECONDS = 300,            /* of all parts */
};

struct check {
        const struct options *options;  /* as given by hand, else the launcher's */
        struct trial trial;
        bool has_wrong_options;         /* pop3d refuses to start with them */
        bool is_good_login;             /* login could be taken apart, and its account looked up: */
        struct login parts;
        struct identity identity;
        struct identity owner;          /* of all maildrops of virtual users */
};

static void
check_pam(struct report *report, void *context)
{
        struct check *check = context;

        auth_check_pam(&check->options->auth, check->is_good_login ? &check->parts : NULL, print_row,
            report);
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

/* Called where what belongs to others is read: it must not be in reach of that. */
static void
forget_password(struct check *check)
{
        explicit_bzero(check->trial.password, sizeof(check->trial.password));
        explicit_bzero(check->parts.password, sizeof(check->parts.password));
}

/* In a process of its own, for it becomes the owner of all maildrops of virtual users. */
static void
check_spelling(struct report *report, void *context)
{
        struct check *check = context;

        forget_password(check);
        become_user(&check->owner);
        maildir_check_spelling(check->options->maildir, check->owner.home, print_row, report);
}

/* In a process of its own, for it becomes the user for ever; that process has seen no shadow file. */
static void
check_maildrop(struct report *report, void *context)
{
        struct check *check = context;
        char path[PATH_MAX], found[PATH_MAX];
        int error;

        forget_password(check);
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
choose_options(struct check *check, struct report *report, char **by_hand)
{
        const struct entry *ours = launchers_check(report);
        const char *problem;

        if (ours == NULL || check->options->are_given)
                return by_hand;
        check->options = &ours->options;
        print_row(report, "ok", "options", "of %s, as none are given here: %s", ours->file,
            ours->arguments[1] == NULL ? "none" : ours->value[ARGUMENTS]);
        problem = ours->problem != NULL ? ours->problem : values_problem(&ours->options);
        check->has_wrong_options = problem != NULL;
        if (problem != NULL)
                print_row(report, "fail", "options", "%s\nremedy: mend %s", problem,
                    ours->file);
        return (char **)(uintptr_t)ours->arguments;
}

/* Copies the options of a command line, without -c, -q and the login. words ends in NULL. */
static void
copy_options(int argc, char **argv, char *words[WORDS_MAX + 1], char letters[WORDS_MAX][3])
{
        size_t count = 1;
        int letter;

        optind = 0;
        words[0] = argv[0];
        while (count + 2 < WORDS_MAX && (letter = getopt(argc, argv, options_letters)) != -1) {
                if (letter == 'c' || letter == 'q')
                        continue;
                (void)snprintf(letters[count], sizeof(letters[count]), "-%c", letter);
                words[count] = letters[count];
                count++;
                if (optarg != NULL)
                        words[count++] = optarg;
        }
        words[count] = NULL;
}

/* Whether anybody listens on POP3S_PORT. */
static void
find_pop3s(void *context, const struct listener *listener)
{
        *(bool *)context |= listener->port == POP3S_PORT;
}

/* The last row: what nobody can see from here, and how to look at it from where it can be seen. */
static void
tell_what_is_outside(const struct check *check, struct report *report)
{
        const char *scheme = "--ssl-reqd pop3";
        struct utsname names;
        bool has_pop3s = false;

        listeners_read(find_pop3s, &has_pop3s);
        if (has_pop3s)
                scheme = "pop3s";
        else if (check->options->allows_clear_text)
                scheme = "pop3";
        print_row(report, "skip", "outside", "what only another machine sees was not looked at: "
            "firewalls and address translation between, what it makes of this machine's name\n"
            "remedy: try there: curl -v %s://%s/ -u %s", scheme,
            uname(&names) == 0 ? names.nodename : "HOST",
            check->trial.login != NULL ? check->trial.login : "USER");
}

/* All rows but one of the check itself. */
static void
check_all(struct report *report, void *context)
{
        struct check *check = context;
        const char *login = check->trial.login;

        check->trial.arguments = choose_options(check, report, check->trial.arguments);
        check->trial.expects_proxy = check->options->auth.expects_proxy;
        auth_check_process(&check->options->auth, print_row, report);
        if (login != NULL)
                check->is_good_login = auth_check_login(&check->options->auth, login, &check->parts,
                    &check->identity, print_row, report);
        else
                print_row(report, "skip", "maildrop", "no login to look at: pop3d -c LOGIN");
        memcpy(check->parts.password, check->trial.password, sizeof(check->parts.password));
        part_run(report, "PAM", NULL, PART_SECONDS, check_pam, check);
        if (check->identity.uid != 0)
                part_run(report, "maildrop", "maildrop", PART_SECONDS, check_maildrop, check);
        if (auth_check_owner(&check->options->auth, &check->owner))
                part_run(report, "maildrop", "maildrop", PART_SECONDS, check_spelling, check);
        if (check->has_wrong_options)
                print_row(report, "skip", "session", "not tried: pop3d refuses its options");
        else
                session_check(report, &check->trial);
        tell_what_is_outside(check, report);
}

/* Whoever waits for a part is interrupted by it, and prints what is known. */
static void
stop_waiting(int number)
{
        (void)number;
}

int
main(int argc, char **argv)
{
        const struct sigaction interrupt = { .sa_handler = stop_waiting };

        static char *words[WORDS_MAX + 1], letters[WORDS_MAX][3];
        static struct report report = { .channel = -1 };
        struct options by_hand;
        struct check check = { .options = &by_hand };
        const char *problem;

        problem = options_take(&by_hand, argc, argv);
        if (problem == NULL)
                problem = values_problem(&by_hand);
        if (problem != NULL || by_hand.wanted != 'c') {
                (void)fprintf(stderr, "pop3d-check is started by pop3d -c [options] [login]\n");
                return END_USAGE;
        }
        copy_options(argc, argv, words, letters);
        check.trial.arguments = words;
        check.trial.login = by_hand.login;
        check.trial.is_told = by_hand.is_detailed;
        (void)signal(SIGPIPE, SIG_IGN);
        log_open(true);
        trial_ask_password(&check.trial);
        (void)sigaction(SIGINT, &interrupt, NULL);
        (void)sigaction(SIGTERM, &interrupt, NULL);
        part_run(&report, "process", NULL, CHECK_SECONDS, check_all, &check);
        report_print(&report, by_hand.is_quiet);
        return report.worst;
}
