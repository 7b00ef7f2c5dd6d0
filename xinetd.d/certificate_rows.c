/*
 * certificate_rows.c - the rows of a certificate's own faults: dates, key, signature.
 * Runs in:   pop3d-check.
 * May touch: the clock.
 */
#include "check.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

enum {
        DAY_SECONDS = 86400,
        SOON_DAYS = 14,
        SHORT_DAYS = 7,         /* certificates that live less are renewed by a program, late */
        WEAK_RSA_BITS = 2048,   /* less is refused by the security level of today's clients */
};

const char *
date_words(time_t when, char date[DATE_SIZE])
{
        struct tm parts;

        if (gmtime_r(&when, &parts) == NULL || strftime(date, DATE_SIZE, "%Y-%m-%d", &parts) == 0)
                (void)snprintf(date, DATE_SIZE, "?");
        return date;
}

/* How long before its end a certificate should have been renewed. */
static time_t
soon_seconds(const struct certificate *certificate)
{
        time_t life = certificate->until - certificate->from;

        return life < (time_t)SHORT_DAYS * DAY_SECONDS ? life / 3 : (time_t)SOON_DAYS * DAY_SECONDS;
}

static void
check_dates(struct report *report, const struct certificate *certificate, const char *where,
    const char *remedy)
{
        time_t now = time(NULL), left = certificate->until - now;
        char date[DATE_SIZE];

        if (certificate->until == 0)
                print_row(report, "warn", "TLS", "%s: the certificate's dates cannot be read", where);
        else if (left < 0)
                print_row(report, "fail", "TLS", "%s: the certificate expired on %s\n"
                    "cause: clients refuse it since then\nremedy: renew it, then %s", where,
                    date_words(certificate->until, date), remedy);
        else if (certificate->from > now)
                print_row(report, "fail", "TLS", "%s: the certificate is not valid before %s\n"
                    "cause: clients refuse it until then; or the clock is wrong: it is %s here\n"
                    "remedy: set the clock (timedatectl), or make a new one, then %s", where,
                    date_words(certificate->from, date), date_words(now, (char[DATE_SIZE]){ "" }), remedy);
        else if (left < soon_seconds(certificate))
                print_row(report, "warn", "TLS", "%s: the certificate expires on %s, in %d days\n"
                    "remedy: renew it (does certbot.timer run?), then %s", where,
                    date_words(certificate->until, date), (int)(left / DAY_SECONDS), remedy);
}

void
certificate_check(struct report *report, const struct certificate *certificate, const char *where,
    const char *remedy)
{
        const char *signature = certificate->signature;

        check_dates(report, certificate, where, remedy);
        if (certificate->has_no_names)
                print_row(report, "fail", "TLS", "%s: the certificate has no subjectAltName\n"
                    "cause: it names %s as CN alone, and today's clients do not look there\nremedy: make one with: "
                    "openssl req -x509 -newkey rsa:2048 -nodes -days 365 -subj /CN=%s -addext "
                    "subjectAltName=DNS:%s -keyout KEY -out CERTIFICATE; then %s", where, certificate->name[0],
                    certificate->name[0], certificate->name[0], remedy);
        if (!certificate->is_for_servers)
                print_row(report, "fail", "TLS", "%s: the certificate is not for servers (extendedKeyUsage without "
                    "serverAuth, as clientAuth alone)\ncause: clients refuse it\n"
                    "remedy: make one with extendedKeyUsage=serverAuth, or without it, then %s", where, remedy);
        if (certificate->is_rsa && certificate->bits < WEAK_RSA_BITS)
                print_row(report, "fail", "TLS", "%s: its key is weak: RSA of %u bits\n"
                    "cause: today's clients and OpenSSL itself refuse less than %d\n"
                    "remedy: make a key of 2048 bits and a certificate with it, then %s", where,
                    certificate->bits, WEAK_RSA_BITS, remedy);
        if (strncasecmp(signature, "md5", 3) == 0 || strncasecmp(signature, "sha1", 4) == 0 ||
            strcasecmp(signature, "ecdsa-with-SHA1") == 0)
                print_row(report, "fail", "TLS", "%s: the certificate is signed by %s\n"
                    "cause: today's clients refuse that\nremedy: make one that is signed by "
                    "SHA-256, then %s", where, signature, remedy);
}
