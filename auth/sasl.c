/*
 * sasl.c - decodes what AUTH carries: base64, and the PLAIN response.
 * Runs in:   AUTHORIZATION.
 * May touch: nothing; no system call.
 */
#include "auth.h"

#include <string.h>

ssize_t base64_decode(char *out, size_t size, const char *text, size_t length)
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
                const char *digit = i < length - padding ? memchr(alphabet, text[i], 64) : alphabet;

                if (digit == NULL)
                        return -1;
                group = group << 6 | (uint32_t)(digit - alphabet);
                if (i % 4 == 3)
                        for (int shift = 16; shift >= 0; shift -= 8)
                                out[used++] = (char)(group >> shift & 0xFF);
        }
        /* bits that padding cuts off must be zero: one spelling for one value */
        for (size_t i = used - padding; i < used; i++)
                if (out[i] != 0)
                        return -1;
        return (ssize_t)(used - padding);
}

bool sasl_plain_parse(struct sasl_plain *plain, char *message, size_t length)
{
        char *end = message + length, *first = memchr(message, '\0', length);
        char *second = first == NULL ? NULL : memchr(first + 1, '\0', (size_t)(end - first - 1));

        if (second == NULL)
                return false;
        *end = '\0';
        *plain = (struct sasl_plain){ message, first + 1, second + 1 };
        /* a third NUL would hide octets from whoever takes the password as a string */
        return strlen(plain->password) == (size_t)(end - plain->password);
}
