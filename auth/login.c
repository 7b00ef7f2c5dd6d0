/*
 * login.c - takes apart what a client logs in with: names, base64, the PLAIN response.
 * Runs in:   AUTHORIZATION; PAM and pop3d, which check each name that they receive once more.
 * May touch: nothing; no system call.
 */
#include "internal.h"

const char *
mechanism_name(enum mechanism mechanism)
{
        static const char *const names[MECHANISMS] = { "PASS", "PLAIN", "LOGIN" };

        return names[mechanism];
}

static bool
part_is_valid(const char *part)
{
        size_t length = strnlen(part, LOGIN_PART_MAX + 1);

        if (length < 1 || length > LOGIN_PART_MAX || part[0] == '.' || part[0] == '-')
                return false;
        /*
         * '@' is refused, because PAM is given user@domain: user a@b with domain c could not be
         * told from user a with domain b@c, nor user a@b without a domain from user a of domain b.
         */
        for (size_t i = 0; i < length; i++)
                if (part[i] < 0x21 || part[i] > 0x7E || strchr("/:\\@", part[i]) != NULL)
                        return false;
        return true;
}

bool
login_name_is_valid(const struct login_name *name)
{
        return part_is_valid(name->user) && part_is_valid(name->mailbox) &&
            (name->domain[0] == '\0' || part_is_valid(name->domain));
}

/* Copies a part that was given. False also for an empty one, because that is not left out. */
static bool
take_part(char part[LOGIN_PART_MAX + 1], const char *text)
{
        if (!part_is_valid(text))
                return false;
        memcpy(part, text, strlen(text) + 1);
        return true;
}

static void
lower(char *part)
{
        for (; *part != '\0'; part++)
                if (*part >= 'A' && *part <= 'Z')
                        *part = (char)(*part - 'A' + 'a');
}

void
login_name_lower(struct login_name *name)
{
        lower(name->user);
        lower(name->domain);
        lower(name->mailbox);
}

bool
login_name_parse(struct login_name *name, const char *text, size_t length)
{
        char copy[3 * LOGIN_PART_MAX + 3] = "", *mailbox = copy, *domain, *user;

        memset(name, 0, sizeof(*name));
        if (length >= sizeof(copy) || memchr(text, '\0', length) != NULL)
                return false;
        memcpy(copy, text, length);
        domain = strsep(&mailbox, "\\");
        user = mailbox != NULL ? strsep(&mailbox, "\\") : strsep(&domain, "@");
        if (!take_part(name->user, user) ||
            (domain != NULL && !take_part(name->domain, domain)) ||
            !take_part(name->mailbox, mailbox != NULL ? mailbox : user))
                return false;
        lower(name->domain);
        return true;
}

ssize_t
base64_decode(char *out, size_t size, const char *text, size_t length)
{
        static const char alphabet[] =
            "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        size_t used = 0, padding = 0;
        uint32_t group = 0;

        if (length % 4 != 0 || length / 4 * 3 > size)
                return -1;
        while (padding < 2 && padding < length && text[length - 1 - padding] == '=')
                padding++;
        for (size_t i = 0; i < length; i++) {
                /* padding counts as the digit of value 0 */
                const char *digit = i < length - padding ? memchr(alphabet, text[i], 64) : alphabet;

                if (digit == NULL)
                        return -1;
                group = group << 6 | (uint32_t)(digit - alphabet);
                if (i % 4 == 3)
                        for (int shift = 16; shift >= 0; shift -= 8)
                                out[used++] = (char)(group >> shift & 0xFF);
        }
        /* the bits that padding cuts off must be zero, so that each value has one spelling */
        for (size_t i = used - padding; i < used; i++)
                if (out[i] != 0)
                        return -1;
        return (ssize_t)(used - padding);
}

bool
sasl_plain_parse(struct sasl_plain *plain, char *message, size_t length)
{
        char *end = message + length, *first = memchr(message, '\0', length);
        char *second = first == NULL ? NULL : memchr(first + 1, '\0', (size_t)(end - first - 1));

        if (second == NULL)
                return false;
        *end = '\0';
        *plain = (struct sasl_plain){ message, first + 1, second + 1 };
        /* a NUL in the password is refused, because as a string the password would end there */
        return strlen(plain->password) == (size_t)(end - plain->password);
}
