/*
 * options.c - the command line, for pop3d and for pop3d-check.
 * Runs in:   both programs, at their start; the check reads launchers' lines with it too.
 * May touch: the memory it is given.
 */
#include "auth.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

const char options_letters[] = ":C:SVcd:ehi:l:m:n:pqs:t:u:v:x";

const char options_usage[] =
    "usage: pop3d [-ehpSVx] [-C dir] [-d domain] [-i seconds] [-l seconds] [-m maildir]\n"
    "             [-n account] [-s service] [-t seconds] [-u format] [-v account]\n"
    "       pop3d -c [-cq] [options] [login]       (what is wrong, and how to mend it)\n";

/* A number of seconds in a range: digits only; none make 0. False for any other text. */
static bool
parse_seconds(const char *text, unsigned least, unsigned most, unsigned *seconds)
{
        unsigned number = 0;

        for (; *text >= '0' && *text <= '9' && number <= most; text++)
                number = number * 10 + (unsigned)(*text - '0');
        *seconds = number;
        return *text == '\0' && number >= least && number <= most;
}

/* Takes a flag, an option without a value. False if the letter is none. */
static bool
take_flag(struct options *options, int letter)
{
        switch (letter) {
        case 'S': options->auth.peer.is_secured = true; return true;
        case 'e': options->logs_to_stderr = true; return true;
        case 'p': options->allows_clear_text = true; return true;
        case 'q': options->is_quiet = true; return true;
        case 'x': options->auth.expects_proxy = true; return true;
        case 'c': options->is_detailed = options->wanted == 'c'; options->wanted = 'c'; return true;
        case 'V': case 'h': options->wanted = letter; return true;
        default: return false;
        }
}

/* Takes an option and its value. Returns what is wrong with it, or NULL. */
static const char *
take_value(struct options *options, int letter, const char *value)
{
        struct auth *auth = &options->auth;
        unsigned seconds;

        switch (letter) {
        case 'C': auth->configuration = value; return NULL;
        case 'd':
                if (auth->our_domain_count == OUR_DOMAINS_MAX)
                        return "there are too many -d";
                auth->our_domains[auth->our_domain_count++] = value;
                return NULL;
        case 'i':
                if (*value == '\0' || !parse_seconds(value, 0, OPTION_INDEX_MAX, &seconds))
                        return "-i takes 0 to 604800 seconds";
                options->index_seconds = (int)seconds;
                return NULL;
        case 'l':
                return parse_seconds(value, 1, OPTION_SECONDS_MAX, &auth->login_seconds)
                    ? NULL : "-l takes 1 to 86400 seconds";
        case 'm': options->maildir = value; return NULL;
        case 'n': auth->powerless_account = value; return NULL;
        case 's': auth->service = value; return NULL;
        case 't':
                return parse_seconds(value, 1, OPTION_SECONDS_MAX, &options->idle_seconds)
                    ? NULL : "-t takes 1 to 86400 seconds";
        case 'u': options->id_format = value; return NULL;
        case 'v': auth->virtual_account = value; return NULL;
        default: __builtin_trap();       /* options_letters names one that nobody takes */
        }
}

/* Takes what getopt(3) returned for one option. Returns what is wrong with it, or NULL. */
static const char *
take_option(struct options *options, int letter, const char *value)
{
        if (letter == '?' || letter == ':') {
                (void)snprintf(options->problem, sizeof(options->problem), "-%c %s",
                    optopt > ' ' && optopt <= '~' ? optopt : '?',
                    letter == ':' ? "lacks its value" : "is no option");
                return options->problem;
        }
        return take_flag(options, letter) ? NULL : take_value(options, letter, value);
}

const char *
options_take(struct options *options, int argc, char **argv)
{
        const char *problem = NULL;
        int letter;

        *options = (struct options){
                .auth = { .service = "pop3", .login_seconds = 60 },
                .maildir = "Maildir",
                .idle_seconds = 600,
                .index_seconds = OPTION_INDEX_UNSET,
        };
        opterr = 0;
        optind = 0;     /* getopt(3) of glibc and musl begin anew: this is not the first line read */
        while ((letter = getopt(argc, argv, options_letters)) != -1) {
                const char *wrong = take_option(options, letter, optarg);

                options->are_given |= letter != 'c' && letter != 'q';
                problem = problem == NULL ? wrong : problem;
        }
        if (optind < argc)
                options->login = argv[optind];
        if (problem == NULL && argc - optind > (options->wanted == 'c'))
                problem = "there is an argument too many";
        if (problem == NULL && options->is_quiet && options->wanted != 'c')
                problem = "-q goes with -c";
        return problem;
}

bool
auth_tells_domains(const struct auth *auth, const struct identity *identity, bool has_home)
{
        return (auth->virtual_account != NULL && auth->our_domain_count != 1) ||
            (identity->is_qualified && !has_home);
}

void
auth_domain(const struct auth *auth, const struct login_name *name,
    char domain[LOGIN_PART_MAX + 1])
{
        bool is_left_out = auth->virtual_account != NULL && auth->our_domain_count == 1 &&
            name->domain[0] == '\0';

        (void)snprintf(domain, LOGIN_PART_MAX + 1, "%s",
            is_left_out ? auth->our_domains[0] : name->domain);
        for (char *c = domain; *c != '\0'; c++)
                if (*c >= 'A' && *c <= 'Z')
                        *c = (char)(*c - 'A' + 'a');
}
