/*
 * tls.c - goes through TLS as a client does, by the openssl command, and notes what it meets there.
 * Runs in:   pop3d-check, which starts openssl.
 * May touch: the openssl command, as an account without power; the ports, as a client.
 */
#include "check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
        SAID_SIZE = 65536,
        X509_MANY = 24,         /* blocks of a chain are not looked at beyond */
};

/* The two conversations of a port: with what both sides know best, and with TLS 1.2 alone. */
struct talk {
        struct tool modern, older;
        char where[INET6_ADDRSTRLEN + 16], host[256];
};

/* Starts openssl as a client of the door, who asks for the capabilities and leaves. */
static void
start_client(struct tool *tool, const struct tls *tls, struct talk *talk, bool is_older)
{
        const char *words[16] = { "openssl", "s_client", "-connect", talk->where, "-showcerts",
            "-ign_eof", "-nameopt", "RFC2253" };
        size_t count = 8;

        if (is_older)
                words[count++] = "-tls1_2";
        if (tls->is_stls) {
                words[count++] = "-starttls";
                words[count++] = "pop3";
        }
        if (strchr(talk->host, '.') != NULL) {
                words[count++] = "-servername";
                words[count++] = talk->host;
        }
        words[count] = NULL;
        tool_start(tool, words, TOOL_POWERLESS, "CAPA\r\nQUIT\r\n");
}

static void
start_talk(struct talk *talk, const struct tls *tls)
{
        const struct address *address = &tls->door->address;
        bool is_six = address->family == AF_INET6;

        (void)snprintf(talk->where, sizeof(talk->where), "%s%s%s:%u", is_six ? "[" : "",
            address->text, is_six ? "]" : "", tls->port);
        if (gethostname(talk->host, sizeof(talk->host)) != 0)
                talk->host[0] = '\0';
        talk->host[sizeof(talk->host) - 1] = '\0';
        start_client(&talk->modern, tls, talk, false);
        start_client(&talk->older, tls, talk, true);
}

/* ---- What openssl says -------------------------------------------------------------------- */

/* Copies what stands behind the label to the end of its line; "" where there is no such label. */
static void
take_line(const char *text, const char *label, char *out, size_t size)
{
        const char *at = strstr(text, label);

        out[0] = '\0';
        if (at != NULL)
                (void)snprintf(out, size, "%.*s", (int)strcspn(at + strlen(label), "\r\n"),
                    at + strlen(label));
}

/* "...:error:0A00042E:SSL routines:ssl3_read_bytes:tlsv1 alert protocol version:..." */
static void
take_reason(const char *said, char *out, size_t size)
{
        const char *at = strstr(said, ":SSL routines:");

        out[0] = '\0';
        if (at == NULL)
                return;
        at += strlen(":SSL routines:");
        at += strcspn(at, ":\n");
        at += *at == ':';
        (void)snprintf(out, size, "%.*s", (int)strcspn(at, ":\n"), at);
}

/* "   v:NotBefore: Jan  1 00:00:00 2025 GMT; NotAfter: Nov 29 00:00:00 2025 GMT", in the next lines of a chain's. */
static bool
is_over(const char *at)
{
        const char *next = strstr(at, "-----BEGIN"), *until = strstr(at, "; NotAfter: ");
        struct tm when = { 0 };

        return until != NULL && (next == NULL || until < next) &&
            strptime(until + strlen("; NotAfter: "), "%b %d %H:%M:%S %Y", &when) != NULL && timegm(&when) < time(NULL);
}

/* " 0 s:SUBJECT", "   i:ISSUER" for each certificate that was sent. */
static void
take_chain(struct tls *tls, const char *said)
{
        const char *at = strstr(said, "Certificate chain\n");
        char subject[256], label[16];

        tls->is_ordered = true;
        for (unsigned i = 0; at != NULL && i < X509_MANY; i++) {
                (void)snprintf(label, sizeof(label), "\n%2u s:", i);
                at = strstr(at, label);
                if (at == NULL)
                        break;
                take_line(at, label, subject, sizeof(subject));
                if (i > 0 && strcmp(subject, tls->last_issuer) != 0)
                        tls->is_ordered = false;
                take_line(at, "\n   i:", tls->last_issuer, sizeof(tls->last_issuer));
                if (i > 0 && *tls->expired == '\0' && is_over(at))
                        (void)snprintf(tls->expired, sizeof(tls->expired), "%s", subject);
                tls->sent = i + 1;
        }
}

/* The lines behind the greeting are answers to CAPA. */
static void
take_words(struct tls *tls, const char *said)
{
        const char *at = strstr(said, "\n+OK");
        const char *error = strstr(said, "\n-ERR");

        if (at == NULL || (error != NULL && error < at))
                at = error;
        if (at == NULL)
                return;
        take_line(at, "\n", tls->heard, sizeof(tls->heard));
        tls->takes_passwords = strstr(at, "\nUSER") != NULL || strstr(at, "\nSASL ") != NULL;
}

static bool
is_agreed(const char *said)
{
        return strstr(said, "\nNew, TLS") != NULL || strstr(said, "\nNew, SSL") != NULL ||
            strstr(said, "\nReused, TLS") != NULL;
}

static void
end_talk(struct tls *tls, struct talk *talk)
{
        static char said[SAID_SIZE];
        char number[16];
        int status = tool_end(&talk->modern, PATIENCE_MILLISECONDS, said, sizeof(said));

        tls->has_openssl = status != TOOL_MISSING;
        tls->is_late = status == TOOL_LATE;
        tls->is_done = is_agreed(said);
        take_reason(said, tls->reason, sizeof(tls->reason));
        take_line(said, "\nNew, ", tls->version, sizeof(tls->version));
        tls->version[strcspn(tls->version, ",")] = '\0';
        take_line(said, "Verify return code: ", number, sizeof(number));
        tls->verify = atoi(number);
        take_chain(tls, said);
        take_words(tls, said);
        tls->state = tls->is_done ? certificate_read(&tls->certificate, said) : CERTIFICATE_UNSEEN;
        (void)tool_end(&talk->older, PATIENCE_MILLISECONDS, said, sizeof(said));
        tls->takes_older = is_agreed(said);
}

/* ---- Which ports -------------------------------------------------------------------------- */

/*
 * The door of a port through which a client best looks into TLS, or NULL: one of other machines'
 * rather than loopback, because on loopback pop3d takes passwords without TLS as well.
 */
static const struct door *
choose_door(const struct survey *survey, unsigned port, bool is_stls)
{
        const struct door *found = NULL;

        for (size_t i = 0; i < survey->door_count; i++) {
                const struct door *door = &survey->door[i];

                if (door->port == port && door->outcome == HEARD && door->manner != WITH_PROXY_AND_TLS && door->speaks_tls == !is_stls &&
                    (found == NULL || found->address.is_loopback))
                        found = door;
        }
        return found;
}

/* Whether the port's entry turns to TLS by STLS. */
static bool
has_stls(const struct survey *survey, unsigned port)
{
        const struct entry *entry = entry_of_port(&survey->entries, port, PORT, "");

        return entry != NULL && entry->launcher == STUNNEL &&
            strcmp(entry->value[PROTOCOL], "pop3") == 0;
}

void
tls_look(struct survey *survey)
{
        struct talk talk[TLS_MAX];

        for (size_t i = 0; i < survey->port_count && survey->tls_count < TLS_MAX; i++) {
                struct tls *tls = &survey->tls[survey->tls_count];

                memset(tls, 0, sizeof(*tls));
                tls->port = survey->port[i];
                tls->is_stls = has_stls(survey, tls->port);
                tls->door = choose_door(survey, tls->port, tls->is_stls);
                if (tls->door != NULL)
                        start_talk(&talk[survey->tls_count++], tls);
        }
        for (size_t i = 0; i < survey->tls_count; i++)
                end_talk(&survey->tls[i], &talk[i]);
}
