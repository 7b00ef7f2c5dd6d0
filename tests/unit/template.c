/*
 * template.c - where a maildrop lies, and where none may.
 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <stdlib.h>

#include "maildir.h"
#include "test.h"

static const struct maildir_names alice = { "alice", "example.org", "box", "/home/alice" };

static bool
gives(const char *template, const struct maildir_names *names, const char *expected)
{
        char path[64];

        return maildir_path(path, sizeof(path), template, names, false) == 0 && strcmp(path, expected) == 0;
}

static bool
fails(const char *template, const struct maildir_names *names, size_t size, int error)
{
        char path[64];

        errno = 0;
        return maildir_path(path, size, template, names, false) == -1 && errno == error;
}

static void
test_templates(void)
{
        static const char *const valid[] = { "Maildir", "%h/Maildir", "/var/%d/%u", "%m", "100%%", "%%u" };
        static const char *const invalid[] = { "", "%", "Maildir%", "%x", "%U", "%%%", "%d%" };

        for (size_t i = 0; i < sizeof(valid) / sizeof(*valid); i++)
                test(maildir_template_problem(valid[i], false) == NULL, valid[i]);
        for (size_t i = 0; i < sizeof(invalid) / sizeof(*invalid); i++) {
                test(maildir_template_problem(invalid[i], false) != NULL, invalid[i]);
                test(fails(invalid[i], &alice, 64, EINVAL), "a bad template gives no path");
        }
}

static void
test_paths(void)
{
        struct maildir_names names = alice;

        test(gives("Maildir", &alice, "/home/alice/Maildir"), "relative to the home");
        test(gives("%h/mail/%m", &alice, "/home/alice/mail/box"), "%h at the beginning");
        test(gives("/var/vmail/%d/%u", &alice, "/var/vmail/example.org/alice"), "absolute");
        test(gives("a%%b%%%u", &alice, "/home/alice/a%b%alice"), "%% is a %");
        names.domain = "";
        test(gives("/v/%d/%u", &names, "/v//alice"), "no domain");
        names.user = "../root";
        test(fails("/v/%u", &names, 64, EINVAL), "a user with a slash");
        names = alice;
        names.domain = "..";
        test(fails("/v/%d", &names, 64, EINVAL), "a domain of dots");
        names = alice;
        names.mailbox = "a/b";
        test(fails("/v/%m", &names, 64, EINVAL), "a mailbox with a slash");
        names = alice;
        names.home = "relative";
        test(fails("Maildir", &names, 64, EINVAL), "a home that is no path");
}

/* Where all maildrops belong to one account, the path alone tells one user from another. */
static void
test_virtual(void)
{
        struct maildir_names names = alice;
        char path[64];

        test(maildir_template_problem("/v/%d/%u", true) == NULL, "users told apart by %u");
        test(maildir_template_problem("%m", true) == NULL, "users told apart by %m");
        test(maildir_template_problem("/v/%d/%%u", true) != NULL, "%%u is no %u");
        test(maildir_template_problem("%h/Maildir", true) != NULL, "users not told apart");
        test(maildir_path(path, sizeof(path), "/v/%d/%u", &names, true) == 0 &&
            strcmp(path, "/v/example.org/alice") == 0, "domains told apart by %d");
        test(maildir_path(path, sizeof(path), "/v/%%d/%u", &names, true) == -1 && errno == EPERM,
            "domains not told apart");
        names.domain = "";
        test(maildir_path(path, sizeof(path), "/v/%u", &names, true) == 0, "a name without a domain");
        test(maildir_path(path, sizeof(path), "/v/%d/%u", &names, true) == -1 && errno == EPERM,
            "a name without a domain where %d tells them apart");
}

/* No two users of any domains may have one maildrop. */
static void
test_ambiguous(void)
{
        static const char *const clear[] = { "/v/%u@%d", "/v/%d/%u", "/v/%d/%u.%d", "/v/%u/%u.%d",
            "/v/%d:x%u/M", "/v/x%u-%m", "%u", "/v/%d%h%u", "/v/%u%d/%m" };
        static const char *const mixed[] = { "/v/%u.%d", "/v/%d%u", "/v/%u%%%d/Maildir", "%d-%m",
            "/v/x/%u.%d/%d_%u", "/v/%u@%d.%m" };

        for (size_t i = 0; i < sizeof(clear) / sizeof(*clear); i++)
                test(maildir_template_problem(clear[i], true) == NULL, clear[i]);
        for (size_t i = 0; i < sizeof(mixed) / sizeof(*mixed); i++) {
                test(maildir_template_problem(mixed[i], true) != NULL, mixed[i]);
                test(maildir_template_problem(mixed[i], false) == NULL,
                    "which does no harm where the kernel tells users apart");
        }
}

/* Where accounts with the same %u have homes of their own, the way through them tells them apart. */
static void
test_homes(void)
{
        test(maildir_template_has_home("Maildir"), "a relative path starts from the home");
        test(maildir_template_has_home("%h/Maildir"), "%h is the home");
        test(maildir_template_has_home("/v/%u%h"), "%h anywhere tells homes apart");
        test(!maildir_template_has_home("/v/%u"), "an absolute path without %h");
        test(!maildir_template_has_home("/v/%%h"), "%%h is no %h");
}

static void
test_sizes(void)
{
        size_t exact = sizeof("/home/alice/Maildir");
        char path[64];

        test(maildir_path(path, exact, "Maildir", &alice, false) == 0, "a path that just fits");
        for (size_t size = 0; size < exact; size++)
                if (!fails("Maildir", &alice, size, ENAMETOOLONG))
                        test(false, "a path one octet too long");
}

static void
test_not_yet_there(void)
{
        char folder[] = "/tmp/pop3d-template-XXXXXX", path[64], link[64];

        if (mkdtemp(folder) == NULL)
                return;
        snprintf(path, sizeof(path), "%s/Maildir", folder);
        snprintf(link, sizeof(link), "%s/Maildir/", folder);
        test(maildir_is_not_yet_there(path, geteuid()), "nothing in the own folder");
        test(maildir_is_not_yet_there(link, geteuid()), "the same with a slash behind");
        test(!maildir_is_not_yet_there(path, geteuid() + 1), "another's folder");
        test(chmod(folder, 0500) == 0 && !maildir_is_not_yet_there(path, geteuid()) &&
            errno == EACCES && chmod(folder, 0700) == 0, "a folder that cannot be written");
        test(symlink("nowhere", path) == 0 && !maildir_is_not_yet_there(path, geteuid()) &&
            !maildir_is_not_yet_there(link, geteuid()), "a dangling link");
        unlink(path);
        test(mkdir(path, 0700) == 0 && !maildir_is_not_yet_there(path, geteuid()), "a folder");
        rmdir(path);
        snprintf(link, sizeof(link), "%s/a/b", folder);
        test(!maildir_is_not_yet_there(link, geteuid()), "a folder above that is not there");
        rmdir(folder);
}

int
main(void)
{
        test_templates();
        test_paths();
        test_virtual();
        test_ambiguous();
        test_homes();
        test_sizes();
        test_not_yet_there();
        return test_end();
}
