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
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <sys/utsname.h>

#include "../maildir/maildir.h"

/* What the part that looks at launchers leaves for those behind it. */
struct launched {
        bool is_found;                  /* there is an entry for us, and its options are taken: */
        bool has_wrong_options;         /* pop3d refuses to start with them */
        uint32_t count;
        char words[2 * VALUE_SIZE];     /* its argv, each word with its NUL */
};

/* What the part that looks at a login leaves. */
struct found {
        bool is_good;                   /* it could be taken apart, and its account looked up: */
        struct login login;
        struct identity identity;
        bool has_owner;                 /* there is one account for all maildrops: */
        struct identity owner;
        /* with -v: the home of the machine's account that has the user's name; "" where there is none */
        char own_home[PATH_MAX];
};

_Static_assert(sizeof(struct launched) < PART_MESSAGE_MAX &&
    sizeof(struct found) < PART_MESSAGE_MAX, "these are messages");

struct check {
        const struct options *options;  /* as given by hand, else the launcher's */
        struct trial trial;
        struct launched launched;
        struct found found;
};

static void
check_pam(struct report *report, void *context)
{
        struct check *check = context;

        auth_check_pam(&check->options->auth, check->found.is_good ? &check->found.login : NULL, print_row,
            report);
}

/* Whose maildrop it is, as a template names it. */
static struct maildir_names
names_of(const struct check *check, char domain[LOGIN_PART_MAX + 1])
{
        const struct identity *identity = &check->found.identity;

        auth_domain(&check->options->auth, &identity->name, domain);
        return (struct maildir_names){ identity->name.user, domain, identity->name.mailbox,
            identity->home };
}

/* Where the maildrop lies: 0, or an error, which is about the template. */
static int
find_maildrop(const struct check *check, char path[PATH_MAX])
{
        const struct options *options = check->options;
        char domain[LOGIN_PART_MAX + 1];
        const struct maildir_names names = names_of(check, domain);

        return maildir_path(path, PATH_MAX, options->maildir, &names,
            auth_tells_domains(&options->auth, &check->found.identity,
                maildir_template_has_home(options->maildir))) != 0 ? errno : 0;
}

/* In a process of its own, for it becomes the owner of all maildrops of virtual users. */
static void
check_spelling(struct report *report, void *context)
{
        struct check *check = context;

        become_user(&check->found.owner);
        maildir_check_spelling(check->options->maildir, check->found.owner.home, print_row, report);
}

static bool
is_below(const char *path, const char *folder)
{
        size_t length = strlen(folder);

        return strncmp(path, folder, length) == 0 && path[length] == '/';
}

/* The row where a maildrop's path cannot be made. */
static void
report_no_path(struct report *report, const struct check *check, int error)
{
        const struct identity *identity = &check->found.identity;
        const char *template = check->options->maildir;

        if (error == EPERM && identity->name.domain[0] == '\0')
                print_row(report, "fail", "maildrop", "%s: %s\ncause: the login has no domain, and -m wants one\n"
                    "remedy: log in as %s@DOMAIN, or take %%d out of -m", template, strerror(error),
                    identity->name.user);
        else if (error == EPERM)
                print_row(report, "fail", "maildrop", "%s: %s\ncause: -m does not tell domains apart\n"
                    "remedy: put %%d into -m, as -m /var/vmail/%%d/%%u", template, strerror(error));
        else if (error == ENAMETOOLONG)
                print_row(report, "fail", "maildrop", "%s: %s", template, strerror(error));
        else if (identity->home[0] != '/')
                print_row(report, "fail", "maildrop", "the home of %s in passwd is \"%s\", which is no path\n"
                    "remedy: usermod -d /home/%s %s", identity->name.mailbox, identity->home,
                    identity->name.mailbox, identity->name.mailbox);
        /* what is no template has a row among the options */
}

/* The row of a template that is written as other programs, or shells, take it; false if it is none. */
static bool
report_foreign_template(struct report *report, const char *template)
{
        static const char *const starts[] = { "~/", "$HOME/", "${HOME}/", "maildir:~/", "maildir:%h/", "maildir:" };
        const char *rest = NULL;

        for (size_t i = sizeof(starts) / sizeof(starts[0]); i-- > 0; )
                if (strncmp(template, starts[i], strlen(starts[i])) == 0)
                        rest = template + strlen(starts[i]);
        if (rest == NULL)
                return false;
        print_row(report, "fail", "maildrop", "-m %s is taken as it stands\n"
            "cause: pop3d is no shell and no Dovecot; a path that does not begin with / begins in the home\n"
            "remedy: write -m %s in its place in the launcher's entry", template,
            rest[0] == '\0' ? "Maildir" : rest);
        return true;
}

/*
 * The row where -v is given, and the user is an account of this machine, into whose home -m leads, and
 * which the owner of all maildrops may not enter; false if it is not so.
 */
static bool
report_no_virtual(struct report *report, const struct check *check, const char *path)
{
        const char *owner = check->options->auth.virtual_account, *home = check->found.own_home;

        if (!is_below(path, home) || access(home, X_OK) == 0 || errno != EACCES)
                return false;
        print_row(report, "fail", "maildrop", "%s: %s, as -v %s\n"
            "cause: %s is an account of this machine, and -v is for users that PAM alone knows\n"
            "remedy: take -v %s out of the options, so that each account's mail is read as that account", path,
            strerror(EACCES), owner, check->found.identity.name.user, owner);
        return true;
}

/* In a process of its own, for it becomes the user for ever; that process has seen no shadow file. */
static void
check_place(struct report *report, void *context)
{
        struct check *check = context;
        bool is_virtual = check->options->auth.virtual_account != NULL;
        char path[PATH_MAX], found[PATH_MAX], domain[LOGIN_PART_MAX + 1];
        const struct maildir_names names = names_of(check, domain);
        int error = find_maildrop(check, path);
        bool by_root = geteuid() == 0;

        become_user(&check->found.identity);
        if (error != 0)
                report_no_path(report, check, error);
        else if (report_foreign_template(report, check->options->maildir) || report_no_virtual(report, check, path))
                return;
        else if (is_virtual && maildir_is_spelt_otherwise(path, found, sizeof(found)))
                print_row(report, "fail", "maildrop", "%s is not there, but %s is\n"
                    "cause: virtual users log in in small letters\n"
                    "remedy: rename it to small letters", path, found);
        else if (!is_virtual && is_below(path, names.home) &&
            !maildir_check_home(path, &names, print_row, report))
                return;
        else if (maildir_is_not_yet_there(path, check->found.identity.uid))
                print_row(report, "warn", "maildrop", "%s is not there yet, and served as empty\n"
                    "remedy: none before the first mail comes; if mail goes elsewhere, as to "
                    "/var/mail, have it delivered here, or see -m", path);
        else
                maildir_check_place(path, &names, check->options->index_seconds, by_root,
                    print_row, report);
        if (error == 0)
                maildir_check_elsewhere(path, &names, by_root, print_row, report);
}

/* In one more, which keeps the fences of a session: what a user put there is read as there. */
static void
check_mail(struct report *report, void *context)
{
        struct check *check = context;
        char path[PATH_MAX];
        int directory;

        become_user(&check->found.identity);
        if (find_maildrop(check, path) != 0 || (directory = maildir_open(path)) < 0)
                return;
        confine_transaction(directory, maildir_memory(directory));
        maildir_check_mail(directory, path, check->options->id_format,
            check->options->index_seconds, print_row, report);
}

/* What is wrong with -m or -u, at which options_take() does not look, or NULL. */
static const char *
values_problem(const struct options *options)
{
        const char *problem = maildir_template_problem(options->maildir,
            options->auth.virtual_account != NULL);

        return problem != NULL ? problem : maildir_id_format_problem(options->id_format);
}

/* Leaves the words of an entry's command line. */
static void
leave_words(struct launched *launched, char *const *arguments)
{
        size_t used = 0;

        for (; *arguments != NULL && used < sizeof(launched->words); arguments++) {
                used += (size_t)snprintf(launched->words + used, sizeof(launched->words) - used,
                    "%s", *arguments) + 1;
                launched->count++;
        }
        launched->is_found = true;
}

static void
check_names(struct report *report, void *context)
{
        (void)auth_check_names(print_row, report);
}

static void
check_account(struct report *report, void *context)
{
        struct check *check = context;

        if (check->trial.login != NULL)
                (void)auth_check_account(&check->options->auth, check->trial.login, print_row, report);
}

/* Options as the launcher gives them, unless some were given by hand. */
static void
check_launchers(struct report *report, void *context)
{
        struct check *check = context;
        const struct entry *ours = launchers_check(report);
        const char *problem;

        if (ours == NULL || check->options->are_given)
                return;
        leave_words(&check->launched, ours->arguments);
        print_row(report, "ok", "options", "of %s, as none are given here: %s", ours->file,
            ours->arguments[1] == NULL ? "none" : ours->value[ARGUMENTS]);
        problem = ours->problem != NULL ? ours->problem : values_problem(&ours->options);
        check->launched.has_wrong_options = problem != NULL;
        if (problem != NULL)
                print_row(report, "fail", "options", "%s\nremedy: mend %s", problem, ours->file);
}

/* Takes what that part has left. It is root's own process, but what it read is checked all the same. */
static void
take_launched(struct check *check)
{
        static char *arguments[WORDS_MAX + 1];
        static struct options options;
        struct launched *launched = &check->launched;
        char *word = launched->words, *end = launched->words + sizeof(launched->words) - 1;
        int count = 0;

        if (!launched->is_found)
                return;
        *end = '\0';
        for (; count < WORDS_MAX && (uint32_t)count < launched->count && word < end; count++) {
                arguments[count] = word;
                word += strlen(word) + 1;
        }
        (void)options_take(&options, count, arguments);
        check->options = &options;
        check->trial.arguments = arguments;
}

static void
check_login(struct report *report, void *context)
{
        struct check *check = context;
        struct found *found = &check->found;
        const char *login = check->trial.login;
        uid_t uid;
        gid_t gid;

        auth_check_process(&check->options->auth, print_row, report);
        stuck_check(report);
        if (login != NULL)
                found->is_good = auth_check_login(&check->options->auth, login, &found->login,
                    &found->identity, print_row, report);
        else
                print_row(report, "skip", "maildrop", "no login to look at: pop3d -c LOGIN");
        found->has_owner = auth_check_owner(&check->options->auth, &found->owner);
        if (!found->is_good || !found->has_owner || !auth_look_up(found->identity.name.user, &uid, &gid, found->own_home) ||
            uid == found->owner.uid)
                found->own_home[0] = '\0';
}

static void
check_session(struct report *report, void *context)
{
        struct check *check = context;

        check->trial.expects_proxy = check->options->auth.expects_proxy;
        if (check->launched.has_wrong_options)
                print_row(report, "skip", "session", "not tried: pop3d refuses its options");
        else
                session_check(report, &check->trial);
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

/* All parts, each a child of this process, which looks at nothing itself: it is not to hang. */
static void
check_all(struct report *report, struct check *check)
{
        static struct report of_maildrop = { .channel = -1 };
        static const struct part names = { "login", false, 20, "the name service", check_names, NULL, 0 };
        static const struct part account = { "login", false, 20, "the name service", check_account,
                NULL, 0 };
        const struct part launchers = { "launcher", false, 120, "a launcher", check_launchers,
                &check->launched, sizeof(check->launched) };
        const struct part login = { "login", false, 30, "the name service", check_login,
                &check->found, sizeof(check->found) };
        static const struct part pam = { "PAM", false, 60, "a module", check_pam, NULL, 0 };
        static const struct part place = { "maildrop", true, 20, "its file system", check_place,
                NULL, 0 };
        static const struct part mail = { "maildrop", true, 300, "its file system", check_mail,
                NULL, 0 };
        static const struct part spelling = { "maildrop", true, 60, "its file system",
                check_spelling, NULL, 0 };
        static const struct part session = { "session", false, 60, "pop3d", check_session, NULL, 0 };

        bool is_stuck = part_run(report, &names, check) >= CHECK_FAULTS;

        if (!is_stuck) {
                (void)part_run(report, &launchers, check);
                take_launched(check);
                is_stuck = part_run(report, &account, check) >= CHECK_FAULTS;
        }
        if (is_stuck) {
                print_row(report, "skip", "login", "what asks the name service was not looked at");
                return;
        }
        (void)part_run(report, &login, check);
        /* before the password is asked for, so that what reads a user's files does not have it */
        if (check->found.identity.uid != 0 &&
            part_run(&of_maildrop, &place, check) < CHECK_FAULTS)
                (void)part_run(&of_maildrop, &mail, check);
        if (check->found.has_owner)
                (void)part_run(&of_maildrop, &spelling, check);
        if (!parts_are_interrupted())
                trial_ask_password(&check->trial);
        memcpy(check->found.login.password, check->trial.password, PASSWORD_MAX + 1);
        (void)part_run(report, &pam, check);
        report_append(report, &of_maildrop);
        (void)part_run(report, &session, check);
        tell_what_is_outside(check, report);
}

int
main(int argc, char **argv)
{
        static char *words[WORDS_MAX + 1], letters[WORDS_MAX][3];
        static struct report report = { .channel = -1 };
        static struct check check;
        struct options by_hand;
        const char *problem;

        problem = options_take(&by_hand, argc, argv);
        if (problem == NULL)
                problem = values_problem(&by_hand);
        if (problem != NULL || by_hand.wanted != 'c') {
                (void)fprintf(stderr, "pop3d-check is started by pop3d -c [options] [login]\n");
                return END_USAGE;
        }
        copy_options(argc, argv, words, letters);
        check.options = &by_hand;
        check.trial.arguments = words;
        check.trial.login = by_hand.login;
        check.trial.is_told = by_hand.is_detailed;
        log_open(true);
        parts_begin();
        check_all(&report, &check);
        report_print(&report, by_hand.is_quiet);
        return report.worst;
}
