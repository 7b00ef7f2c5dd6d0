/*
 * certificate.c - what a certificate says, as the openssl command reads it.
 * Runs in:   pop3d-check, which starts openssl.
 * May touch: the openssl command, as an account without power.
 */
#include "check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SAID_SIZE = 32768, OPENSSL_MILLISECONDS = 5000 };

/* Copies what stands behind the label to the end of its line; "" where there is no such label. */
static void
take_line(const char *text, const char *label, char *out, size_t size)
{
        const char *at = strstr(text, label);

        out[0] = '\0';
        if (at == NULL)
                return;
        at += strlen(label);
        at += strspn(at, " \t\n");
        (void)snprintf(out, size, "%.*s", (int)strcspn(at, "\n"), at);
}

/* "Nov 30 16:38:24 2026 GMT"; 0 if it is something else. */
static time_t
take_time(const char *text, const char *label)
{
        char words[64];
        struct tm when = { 0 };

        take_line(text, label, words, sizeof(words));
        return strptime(words, "%b %d %H:%M:%S %Y", &when) == NULL ? 0 : timegm(&when);
}

/* The names of hosts in "DNS:a, IP Address:b, email:c"; without any the subject's own, CN. */
static void
take_names(struct certificate *certificate, const char *said)
{
        const char *at = strstr(said, "X509v3 Subject Alternative Name:");
        char line[2048] = "", *rest;

        /* behind the label may stand "critical"; the names are on the next line */
        if (at != NULL)
                take_line(at, "\n", line, sizeof(line));
        for (char *word = strtok_r(line, ",", &rest); word != NULL &&
            certificate->name_count < CERTIFICATE_NAMES; word = strtok_r(NULL, ",", &rest)) {
                char *name = certificate->name[certificate->name_count];

                if (sscanf(word, " DNS:%127s", name) == 1 || sscanf(word, " IP Address:%127s", name) == 1)
                        certificate->name_count++;
        }
        if (certificate->name_count > 0)
                return;
        take_line(certificate->subject, "CN=", line, sizeof(line));
        (void)snprintf(certificate->name[0], sizeof(certificate->name[0]), "%.*s",
            (int)strcspn(line, ","), line);
        certificate->name_count = *line != '\0';
        certificate->has_no_names = true;
}

bool
pem_cut(const char *text, const char *what, char out[PEM_SIZE])
{
        char begin[64], end[64];
        const char *from, *to;
        size_t used = 0;

        (void)snprintf(begin, sizeof(begin), "-----BEGIN %s-----", what);
        (void)snprintf(end, sizeof(end), "-----END %s-----", what);
        from = strstr(text, begin);
        to = from == NULL ? NULL : strstr(from, end);
        out[0] = '\0';
        if (to == NULL)
                return false;
        /* line ends differ between files; what they hold does not */
        for (const char *at = from; at < to && used + sizeof(end) < PEM_SIZE; at++)
                if (*at != '\r')
                        out[used++] = *at;
        (void)snprintf(out + used, PEM_SIZE - used, "%s\n", end);
        return true;
}

/* Takes what openssl said of it. */
static void
take_facts(struct certificate *certificate, const char *said)
{
        const char *purposes;
        char line[256];

        take_line(said, "\nsubject=", certificate->subject, sizeof(certificate->subject));
        take_line(said, "\nissuer=", certificate->issuer, sizeof(certificate->issuer));
        take_line(said, "Signature Algorithm: ", certificate->signature,
            sizeof(certificate->signature));
        take_line(said, "Public Key Algorithm: ", line, sizeof(line));
        certificate->is_rsa = strncmp(line, "rsa", 3) == 0;
        take_line(said, "Public-Key: (", line, sizeof(line));
        certificate->bits = (unsigned)atoi(line);
        certificate->from = take_time(said, "\nnotBefore=");
        certificate->until = take_time(said, "\nnotAfter=");
        certificate->is_public = strstr(said, "CA Issuers - URI:") != NULL;
        /* behind the label may stand "critical"; the purposes are on the next line */
        purposes = strstr(said, "X509v3 Extended Key Usage:");
        take_line(purposes == NULL ? "" : purposes, "\n", line, sizeof(line));
        certificate->is_for_servers = purposes == NULL ||
            strstr(line, "TLS Web Server") != NULL || strstr(line, "Any Extended Key Usage") != NULL;
        (void)pem_cut(said, "PUBLIC KEY", certificate->key);
        take_names(certificate, said);
}

enum certificate_state
certificate_read(struct certificate *certificate, const char *text)
{
        const char *words[] = { "openssl", "x509", "-noout", "-text", "-subject", "-issuer", "-dates",
            "-pubkey", "-nameopt", "RFC2253", NULL };
        static char said[SAID_SIZE];
        struct tool tool;
        int status;

        memset(certificate, 0, sizeof(*certificate));
        if (!pem_cut(text, "CERTIFICATE", certificate->pem))
                return CERTIFICATE_WRONG;
        tool_start(&tool, words, TOOL_POWERLESS, certificate->pem);
        status = tool_end(&tool, OPENSSL_MILLISECONDS, said, sizeof(said));
        if (status == TOOL_MISSING || status == TOOL_LATE)
                return CERTIFICATE_UNSEEN;
        if (status != 0)
                return CERTIFICATE_WRONG;
        take_facts(certificate, said);
        return CERTIFICATE_READ;
}

enum certificate_state
certificate_fits(const struct certificate *certificate, const char *private_key)
{
        const char *words[] = { "openssl", "pkey", "-pubout", "-passin", "pass:", NULL };
        static char said[SAID_SIZE];
        char key[PEM_SIZE];
        struct tool tool;
        int status;

        tool_start(&tool, words, TOOL_POWERLESS, private_key);
        status = tool_end(&tool, OPENSSL_MILLISECONDS, said, sizeof(said));
        if (status == TOOL_MISSING || status == TOOL_LATE)
                return CERTIFICATE_UNSEEN;
        if (status != 0 || !pem_cut(said, "PUBLIC KEY", key))
                return CERTIFICATE_WRONG;
        return strcmp(key, certificate->key) == 0 ? CERTIFICATE_READ : CERTIFICATE_OTHER;
}
