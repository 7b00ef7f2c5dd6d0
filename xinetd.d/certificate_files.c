/*
 * certificate_files.c - the certificates and keys that the entries of stunnel and HAProxy name.
 * Runs in:   pop3d-check, as root where it can.
 * May touch: those files, and others of their folders, for reading; the openssl command.
 */
#include "check.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { FILES_BESIDE = 8 };         /* of a folder are looked at, for an issuer */

/* What an entry names, and what is in it. */
struct files {
        struct survey *survey;
        const struct entry *entry;
        const char *certificate_path, *key_path;
        char text[TOOL_INPUT_MAX], key_text[TOOL_INPUT_MAX];
        struct certificate certificate;
        char restart[VALUE_SIZE];
};

/* Reads a file as far as it fits. False with errno; EISDIR: it is something else than a file. */
static bool
read_text(const char *path, char text[TOOL_INPUT_MAX], mode_t *mode)
{
        int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC), error;
        ssize_t count = -1;
        struct stat status;

        text[0] = '\0';
        if (fd < 0)
                return false;
        if (fstat(fd, &status) == 0 && !S_ISREG(status.st_mode))
                errno = EISDIR;
        else
                count = read(fd, text, TOOL_INPUT_MAX - 1);
        error = errno;
        (void)close(fd);
        errno = error;
        text[count < 0 ? 0 : count] = '\0';
        *mode = status.st_mode;
        return count >= 0;
}

/* A fault of one of the two files. */
static void
file_row(const struct files *files, const char *path, const char *what, const char *remedy)
{
        print_row(files->survey->report, "fail", "TLS", "%s: %s\ncause: so it cannot do TLS, as %s "
            "wants it to\nremedy: %s; then %s", path, what, files->entry->file, remedy,
            files->restart);
}

/* A file that is named and cannot be opened; without root that may be as it should be. */
static void
report_unread(const struct files *files, const char *path)
{
        char what[512], target[PATH_MAX];
        int error = errno;
        ssize_t length;

        if (error == EACCES && geteuid() != 0) {
                print_row(files->survey->report, "skip", "TLS", "%s is for root to read", path);
                return;
        }
        length = readlink(path, target, sizeof(target) - 1);
        target[length < 0 ? 0 : length] = '\0';
        (void)snprintf(what, sizeof(what), "the certificate or key cannot be read: %s%s%.300s%s", strerror(error),
            length < 0 ? "" : ": it is a link to ", target, length < 0 ? "" : ", which is not there");
        file_row(files, path, what, "make it, as stunnel-exec.conf shows, or name the file that "
            "there is");
}

/* ---- The key ------------------------------------------------------------------------------ */

static bool
has_key(const char *text)
{
        return strstr(text, " PRIVATE KEY-----") != NULL;
}

static void
check_key(const struct files *files, mode_t mode)
{
        const char *path = files->key_path, *text = files->key_text;
        char remedy[VALUE_SIZE + 64];

        (void)snprintf(remedy, sizeof(remedy), "openssl pkey -in %s -out /root/key, and put that in "
            "its place", path);
        if (!has_key(text))
                file_row(files, path, "there is no private key in it",
                    "put the key that the certificate was made with in there, or name its file");
        else if (strstr(text, "ENCRYPTED") != NULL)
                file_row(files, path, "the private key has a passphrase, which nobody types at a "
                    "start", remedy);
        else if (certificate_fits(&files->certificate, text) == CERTIFICATE_WRONG)
                file_row(files, path, "the private key cannot be read", "make another, and a "
                    "certificate with it");
        else if (certificate_fits(&files->certificate, text) == CERTIFICATE_OTHER)
                file_row(files, path, "the private key does not belong to the certificate: key "
                    "values mismatch", "put the key that the certificate was made with in there");
        else if ((mode & S_IROTH) != 0)
                print_row(files->survey->report, "warn", "TLS", "%s: every user may read the "
                    "private key\nremedy: chmod 600 %s", path, path);
}

/* ---- The certificate ---------------------------------------------------------------------- */

/* What was met at the entry's port, or NULL. */
static const struct tls *
find_served(const struct files *files)
{
        const struct survey *survey = files->survey;

        for (size_t i = 0; i < survey->tls_count; i++)
                if (survey->tls[i].port == files->entry->port &&
                    survey->tls[i].state == CERTIFICATE_READ)
                        return &survey->tls[i];
        return NULL;
}

/* Whether clients at some port are shown this certificate: then it is looked at there. */
static bool
is_served(const struct files *files)
{
        for (size_t i = 0; i < files->survey->tls_count; i++)
                if (strcmp(files->survey->tls[i].certificate.pem, files->certificate.pem) == 0)
                        return true;
        return false;
}

static void
check_certificate(struct files *files)
{
        const struct tls *served = find_served(files);
        char dates[2][DATE_SIZE];

        if (!is_served(files))
                certificate_check(files->survey->report, &files->certificate,
                    files->certificate_path, files->restart);
        if (served != NULL && !is_served(files))
                print_row(files->survey->report, "warn", "TLS", "port %u shows another certificate "
                    "(until %s) than %s has (until %s)\ncause: it was renewed, and %s read it when "
                    "it started\nremedy: %s", served->port,
                    date_words(served->certificate.until, dates[0]), files->certificate_path,
                    date_words(files->certificate.until, dates[1]),
                    launcher_names[files->entry->launcher], files->restart);
}

/* What is in the file in place of a certificate. */
static void
report_no_certificate(const struct files *files)
{
        const char *path = files->certificate_path, *text = files->text;
        bool is_binary = (unsigned char)text[0] == 0x30 && (unsigned char)text[1] == 0x82;
        char remedy[2 * VALUE_SIZE];

        (void)snprintf(remedy, sizeof(remedy), "openssl x509 -inform DER -in %s -out /root/certificate, or of a PKCS#12 "
            "openssl pkcs12 -in %s -nodes -out /root/certificate; and put that in its place, with the key", path, path);
        if (is_binary)
                file_row(files, path, "it is in binary form (DER, or PKCS#12), not in PEM", remedy);
        else if (strstr(text, "BEGIN CERTIFICATE-----") != NULL)
                file_row(files, path, "the certificate in it is damaged: it was cut, or changed",
                    "put the certificate there anew, with its chain");
        else if (strstr(text, " CERTIFICATE REQUEST-----") != NULL)
                file_row(files, path, "there is a request for a certificate in it, and no certificate",
                    "put there what the authority sent back, with its chain");
        else
                file_row(files, path, has_key(text) ? "there is a private key in it, and no certificate"
                    : "there is no certificate in it (in PEM)", "put the certificate there, with its chain");
}

static void
check_files(struct files *files)
{
        enum certificate_state state;
        mode_t mode = 0;

        if (!read_text(files->certificate_path, files->text, &mode)) {
                /* of HAProxy's it may be a folder of them */
                if (errno != EISDIR)
                        report_unread(files, files->certificate_path);
                return;
        }
        state = certificate_read(&files->certificate, files->text);
        if (state == CERTIFICATE_WRONG)
                report_no_certificate(files);
        if (state != CERTIFICATE_READ)
                return;
        check_certificate(files);
        if (!read_text(files->key_path, files->key_text, &mode))
                report_unread(files, files->key_path);
        else
                check_key(files, mode);
}

/* ---- All of them -------------------------------------------------------------------------- */

/* PKCS#12 and keys in hardware are not looked at. */
static bool
is_pem(const char *path)
{
        const char *end = strrchr(path, '.');

        return strchr(path, ':') == NULL &&
            (end == NULL || (strcmp(end, ".p12") != 0 && strcmp(end, ".pfx") != 0));
}

/* Whether an entry before this one names the same file. */
static bool
is_repeated(const struct survey *survey, const struct entry *entry, const char *path)
{
        for (size_t i = 0; &survey->entries.entry[i] != entry; i++) {
                const struct entry *other = &survey->entries.entry[i];
                const char *word = other->launcher == HAPROXY ? "crt" : "cert";

                if (other->is_on && entry_word(other, word) != NULL &&
                    strcmp(entry_word(other, word), path) == 0)
                        return true;
        }
        return false;
}

void
certificate_files_check(struct survey *survey)
{
        static struct files files;

        for (size_t i = 0; i < survey->entries.count; i++) {
                const struct entry *entry = &survey->entries.entry[i];
                bool is_haproxy = entry->launcher == HAPROXY;
                const char *path = entry_word(entry, is_haproxy ? "crt" : "cert");
                const char *key = is_haproxy ? NULL : entry_word(entry, "key");

                if (!entry->is_on || (!is_haproxy && entry->launcher != STUNNEL) || path == NULL ||
                    !is_pem(path) || is_repeated(survey, entry, path))
                        continue;
                files.survey = survey;
                files.entry = entry;
                files.certificate_path = path;
                files.key_path = key != NULL ? key : path;
                (void)restart_words(entry, files.restart);
                check_files(&files);
        }
}

enum issuer
certificate_issuer(const struct entry *entry, const struct certificate *certificate,
    char path[PATH_MAX])
{
        static struct certificate other;
        static char text[TOOL_INPUT_MAX];
        const char *own = entry == NULL ? NULL
            : entry_word(entry, entry->launcher == HAPROXY ? "crt" : "cert");
        enum issuer found = ISSUER_IS_UNKNOWN;
        mode_t mode;
        glob_t files;

        if (own == NULL || strrchr(own, '/') == NULL)
                return ISSUER_IS_UNKNOWN;
        (void)snprintf(path, PATH_MAX, "%.*s/*.[pc][er][mrt]", (int)(strrchr(own, '/') - own), own);
        if (glob(path, 0, NULL, &files) != 0)
                return ISSUER_IS_UNKNOWN;
        for (size_t i = 0; i < files.gl_pathc && i < FILES_BESIDE && found == ISSUER_IS_UNKNOWN; i++)
                if (read_text(files.gl_pathv[i], text, &mode) &&
                    certificate_read(&other, text) == CERTIFICATE_READ &&
                    strcmp(other.subject, certificate->issuer) == 0) {
                        (void)snprintf(path, PATH_MAX, "%s", files.gl_pathv[i]);
                        found = strcmp(other.subject, other.issuer) == 0 ? ISSUER_IS_ROOT
                            : ISSUER_IS_BESIDE;
                }
        globfree(&files);
        return found;
}
