/*
 * tls_rows.c - the rows of what a client meets inside TLS.
 * Runs in:   pop3d-check.
 * May touch: nothing but what tls.c has found.
 */
#include "check.h"

#include <stdio.h>
#include <string.h>

enum { LIST_SIZE = 512 };

/* ---- What came of TLS --------------------------------------------------------------------- */

static bool
has(const char *text, const char *words)
{
        return strcasestr(text, words) != NULL;
}

/* What a reason of OpenSSL's comes from: cause and remedy, with the words of the file behind. */
static const char *
cause_of_reason(const char *reason)
{
        if (has(reason, "protocol version") || has(reason, "unsupported protocol") ||
            has(reason, "no protocols") || has(reason, "version too low") ||
            has(reason, "legacy sigalg"))
                return "no version of TLS in common: clients of today want TLS 1.2 or 1.3\n"
                       "remedy: take sslVersion, sslVersionMax (stunnel), ssl-max-ver (HAProxy) out";
        if (has(reason, "certificate required") || has(reason, "alert bad certificate") ||
            has(reason, "alert unknown ca"))
                return "clients are asked for a certificate of their own\n"
                       "remedy: take verify, verifyChain, verifyPeer, requireCert (stunnel) or "
                       "`verify required` (HAProxy) out";
        if (has(reason, "handshake failure") || has(reason, "no shared cipher") ||
            has(reason, "no ciphers"))
                return "no cipher or curve in common\nremedy: take ciphers, ciphersuites and curves out";
        if (has(reason, "unrecognized name"))
                return "clients that do not tell the name of the certificate are refused\n"
                       "remedy: take strict-sni (HAProxy), or the sections with sni (stunnel), out";
        if (has(reason, "dh key too small") || has(reason, "key too small"))
                return "its key is too small for today's clients\n"
                       "remedy: make one of 2048 bits";
        return "see its log\nremedy: mend what that tells";
}

/* The words of the entry's file that decide about versions and ciphers: " (sslVersionMax = ...)". */
static const char *
tls_words(const struct entry *entry, char list[LIST_SIZE])
{
        static const char *const names[] = { "sslVersion", "sslVersionMin", "sslVersionMax",
            "options", "ciphers", "ciphersuites", "curves", "verify", "verifyChain", "verifyPeer",
            "requireCert", "client", "ssl-min-ver", "ssl-max-ver", "force-tlsv13" };
        size_t used = 0;

        list[0] = '\0';
        for (size_t i = 0; entry != NULL && i < sizeof(names) / sizeof(names[0]); i++) {
                const char *value = entry_word(entry, names[i]);

                if (value != NULL && used < LIST_SIZE)
                        used += (size_t)snprintf(list + used, LIST_SIZE - used, "; %s = %s",
                            names[i], value);
        }
        return list;
}

/* Whoever has the port, in words for a remedy. */
static const char *
restart_of(const struct survey *survey, unsigned port, char words[VALUE_SIZE])
{
        const struct entry *entry = entry_of_port(&survey->entries, port, PORT, "");

        if (entry == NULL || entry->launcher == XINETD || entry->launcher == INETD)
                return "restart what does TLS, unless it starts for each session";
        return restart_words(entry, words);
}

static void
report_no_handshake(struct survey *survey, const struct tls *tls, const struct entry *entry)
{
        char words[LIST_SIZE];

        if (tls->is_late)
                print_row(survey->report, "fail", "TLS", "port %u begins TLS, and then hangs\n"
                    "cause: see its log\nremedy: restart it", tls->port);
        else
                print_row(survey->report, "fail", "TLS", "port %u has no TLS for today's clients: %s"
                    "%s\ncause: %s, in %s; then restart it", tls->port,
                    *tls->reason != '\0' ? tls->reason : "it breaks off", tls_words(entry, words),
                    cause_of_reason(tls->reason), entry != NULL ? entry->file : "its file");
}

/* TLS is there; is pop3d behind it, and does it know that it is behind TLS? */
static void
report_behind(struct survey *survey, const struct tls *tls, const struct entry *entry)
{
        bool is_alike = strncmp(tls->heard, GREETING, strlen(GREETING)) == 0;
        char words[LIST_SIZE], what[16];

        (void)snprintf(what, sizeof(what), "port %u", tls->port);
        if (*tls->reason != '\0' && *tls->heard == '\0')
                print_row(survey->report, "fail", "TLS", "port %u breaks off: %s%s\ncause: %s, in "
                    "%s; then restart it", tls->port, tls->reason, tls_words(entry, words),
                    cause_of_reason(tls->reason), entry != NULL ? entry->file : "its file");
        else if (*tls->heard == '\0')
                print_row(survey->report, "fail", what, "another greeting than ours, in TLS:\n"
                    "heard: (nothing: %s)\nours: %s\ncause: what does TLS cannot start pop3d "
                    "(exec, chroot), or not connect to it, or pop3d waits for a PROXY header that "
                    "does not come (-x)\nremedy: see its log and pop3d's",
                    tls->is_late ? "timed out" : "closed at once", GREETING);
        else if (!is_alike && !tls->is_stls)
                print_row(survey->report, "fail", what, "another greeting than ours, in TLS:\n"
                    "heard: %s\nours: %s\ncause: something else is behind it\n"
                    "remedy: let it start or reach this pop3d", tls->heard, GREETING);
        else if (!tls->takes_passwords)
                print_row(survey->report, "fail", "TLS", "port %u: passwords are refused in TLS\n"
                    "cause: pop3d is not told of TLS\nremedy: -S for a pop3d that only TLS leads "
                    "to; from HAProxy send-proxy-v2-ssl, for version 1 does not tell of TLS",
                    tls->port);
        else
                print_row(survey->report, "ok", what, "greets in TLS%s: %s",
                    tls->is_stls ? ", after STLS" : "", tls->is_stls ? GREETING : tls->heard);
}

/* ---- The chain ---------------------------------------------------------------------------- */

/*
 * One certificate was sent, and its issuer's is not known here. That is as it should be where the
 * issuer is a CA of one's own, which lies beside it and which clients know.
 */
static void
report_no_issuer(struct survey *survey, const struct tls *tls, const struct entry *entry,
    const char *restart)
{
        char path[PATH_MAX];
        enum issuer issuer = certificate_issuer(entry, &tls->certificate, path);

        if (issuer == ISSUER_IS_ROOT)
                return;
        print_row(survey->report, "warn", "TLS", "port %u: the chain is not whole: the certificate "
            "of the issuer is not sent (%s)\ncause: clients know the issuers of issuers alone; or "
            "it is a CA of your own, which this machine does not know\nremedy: put %s behind the "
            "server's certificate in the file (Let's Encrypt: take fullchain.pem), then %s; a CA "
            "of your own: update-ca-certificates", tls->port, tls->certificate.issuer,
            issuer == ISSUER_IS_BESIDE ? path : "that certificate", restart);
}

static void
check_chain(struct survey *survey, const struct tls *tls, const struct entry *entry,
    const char *restart)
{
        bool is_own = strcmp(tls->certificate.subject, tls->certificate.issuer) == 0;

        if (*tls->expired != '\0')
                print_row(survey->report, "fail", "TLS", "port %u: a certificate of the chain has expired: %s\n"
                    "cause: clients refuse the chain, though the server's own certificate is good\n"
                    "remedy: put the issuer's present one in its place in the file (Let's Encrypt: renew, and take "
                    "fullchain.pem), then %s", tls->port, tls->expired, restart);
        if (!tls->is_ordered)
                print_row(survey->report, "warn", "TLS", "port %u: the chain is out of order\n"
                    "cause: each certificate is to be followed by its issuer's, or some clients "
                    "refuse it\nremedy: in the file first the server's own, then its issuer's, and "
                    "so on (as in Let's Encrypt's fullchain.pem); then %s", tls->port, restart);
        else if (tls->sent == 1 && !is_own && tls->verify != 0)
                report_no_issuer(survey, tls, entry, restart);
}

static void
report_agreed(struct survey *survey, const struct tls *tls, const struct entry *entry)
{
        const struct certificate *certificate = &tls->certificate;
        bool is_own = strcmp(certificate->subject, certificate->issuer) == 0;
        char words[LIST_SIZE], restart[VALUE_SIZE], where[32], date[DATE_SIZE];

        (void)snprintf(where, sizeof(where), "port %u", tls->port);
        (void)restart_of(survey, tls->port, restart);
        if (tls->state == CERTIFICATE_READ) {
                print_row(survey->report, "ok", "TLS", "%s: %s%s, certificate of %s until %s, %s",
                    where, tls->version, tls->takes_older && strcmp(tls->version, "TLSv1.2") != 0
                    ? " and TLSv1.2" : "", certificate->name_count > 0 ? certificate->name[0]
                    : "nobody", date_words(certificate->until, date),
                    is_own ? "signed by itself" : certificate->issuer);
                certificate_check(survey->report, certificate, where, restart);
                check_chain(survey, tls, entry, restart);
        }
        if (!tls->takes_older)
                print_row(survey->report, "warn", "TLS", "%s refuses TLS 1.2, and so older "
                    "clients%s\ncause: its file asks for more\nremedy: sslVersionMin = TLSv1.2 "
                    "(HAProxy: ssl-min-ver TLSv1.2), and no ciphers; then %s", where,
                    tls_words(entry, words), restart);
}

static void
check_tls(struct survey *survey, const struct tls *tls)
{
        const struct entry *entry = entry_of_port(&survey->entries, tls->port, PORT, "");

        if (!tls->has_openssl) {
                print_row(survey->report, "skip", "TLS", "port %u: what is inside TLS was not looked "
                    "at: no openssl command\nremedy: apt-get install openssl, then again", tls->port);
        } else if (!tls->is_done) {
                report_no_handshake(survey, tls, entry);
        } else {
                report_agreed(survey, tls, entry);
                report_behind(survey, tls, entry);
        }
}

void
tls_check(struct survey *survey)
{
        for (size_t i = 0; i < survey->tls_count; i++)
                check_tls(survey, &survey->tls[i]);
}
