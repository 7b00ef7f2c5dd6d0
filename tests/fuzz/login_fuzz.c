/*
 * login_fuzz.c - any octets as a login name.
 *
 * Runs in:   a fuzzer, or replay.
 * May touch: memory.
 *
 * What is accepted is compared, part by part, with a second reading of the
 * grammar; it is valid again on the other side of a process border, and
 * written out and read again it is the same.
 */
#include "../../auth/auth.h"
#include "fuzz.h"

struct part {
        const char *text;
        size_t length;
};

static bool
is_good_part(struct part part, bool beside_domain)
{
        if (part.length == 0 || part.length > 64 || part.text[0] == '.' || part.text[0] == '-')
                return false;
        for (size_t i = 0; i < part.length; i++) {
                unsigned char octet = (unsigned char)part.text[i];

                if (octet <= ' ' || octet >= 0x7F || octet == '/' || octet == ':' ||
                    octet == '\\' || (beside_domain && octet == '@'))
                        return false;
        }
        return true;
}

/* "domain\user\mailbox", "domain\user", "user@domain", "user". */
static bool
read_again(const char *text, size_t length, struct part part[3])
{
        size_t backslashes = 0;
        struct part *at = &part[0];

        for (size_t i = 0; i < length; i++)
                backslashes += text[i] == '\\';
        part[0] = part[1] = part[2] = (struct part){ text, 0 };
        if (backslashes > 2)
                return false;
        if (backslashes == 0) {
                const char *sign = memchr(text, '@', length);
                size_t user = sign == NULL ? length : (size_t)(sign - text);

                part[1] = part[2] = (struct part){ text, user };
                if (sign != NULL)
                        part[0] = (struct part){ sign + 1, length - user - 1 };
                return is_good_part(part[1], sign != NULL) &&
                    (sign == NULL || is_good_part(part[0], true));
        }
        for (size_t i = 0; i < length; i++)
                if (text[i] == '\\')
                        *++at = (struct part){ text + i + 1, 0 };
                else
                        at->length++;
        if (backslashes == 1)
                part[2] = part[1];
        return is_good_part(part[0], true) && is_good_part(part[1], true) &&
            is_good_part(part[2], true);
}

static bool
says(const char *string, struct part part, bool ignores_case)
{
        return strlen(string) == part.length &&
            (ignores_case ? strncasecmp(string, part.text, part.length)
                          : memcmp(string, part.text, part.length)) == 0;
}

static void
check_round_trip(const struct login_name *name)
{
        char text[3 * LOGIN_PART_MAX + 3];
        struct login_name again;
        int length;

        if (name->domain[0] != '\0')
                length = snprintf(text, sizeof(text), "%s\\%s\\%s", name->domain, name->user,
                    name->mailbox);
        else
                length = snprintf(text, sizeof(text), "%s", name->user);
        memset(&again, 0xA5, sizeof(again));
        require(login_name_parse(&again, text, (size_t)length));
        require(memcmp(&again, name, sizeof(again)) == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct part part[3];
        struct login_name name;
        char *text = exact_copy(data, size);

        memset(&name, 0xA5, sizeof(name));
        if (login_name_parse(&name, text, size)) {
                require(login_name_is_valid(&name));
                require(read_again(text, size, part));
                require(says(name.domain, part[0], true));
                require(strpbrk(name.domain, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") == NULL);
                require(says(name.user, part[1], false) && says(name.mailbox, part[2], false));
                check_round_trip(&name);
        } else {
                require(!read_again(text, size, part));
        }
        free(text);
        /* as it might come from another process: not even terminated */
        if (size >= sizeof(name)) {
                memcpy(&name, data, sizeof(name));
                if (login_name_is_valid(&name) && name.domain[0] != '\0')
                        require(memchr(name.user, '\0', sizeof(name.user)) != NULL &&
                            memchr(name.domain, '\0', sizeof(name.domain)) != NULL &&
                            memchr(name.mailbox, '\0', sizeof(name.mailbox)) != NULL);
        }
        return 0;
}
