/*
 * proxy.c - no PROXY header makes the parser leave its memory.
 *
 * Runs in:   never; Frama-C's Eva reads it.
 * May touch: nothing.
 */
#include <arpa/inet.h>
#include <string.h>

#include "../../auth/auth.h"
#include "prove.h"

enum { LINE_MAX_OCTETS = 107, TLVS_MAX = 8 };

/* Stand-ins for what is the C library's, or not pure: any answer they may give. */

int
inet_pton(int family, const char *text, void *address)
{
        (void)strlen(text);
        fill(address, family == AF_INET ? 4 : 16);
        return any_bit ? 1 : 0;
}

const char *
inet_ntop(int family, const void *address, char *text, socklen_t size)
{
        for (size_t i = 0; i < (family == AF_INET ? 4U : 16U); i++)
                (void)((const volatile unsigned char *)address)[i];
        if (any_bit)
                return NULL;
        fill(text, size - 1);
        text[size - 1] = '\0';
        return text;
}

char *
strpbrk(const char *text, const char *octets)
{
        (void)strlen(text);
        return any_bit ? (char *)text : NULL;
}

char *
strsep(char **rest, const char *blank)
{
        char *word = *rest, *end = word == NULL ? NULL : strchr(word, *blank);

        if (word != NULL)
                *rest = end == NULL ? NULL : end + 1;
        if (end != NULL)
                *end = '\0';
        return word;
}

bool
peer_set_address(struct peer *peer, const char *text)
{
        (void)strlen(text);
        return any_bit;
}

/* Octets that do not end a line yet, or can be no header: each length up to two too many. */
void
prove_unfinished(void)
{
        unsigned char data[LINE_MAX_OCTETS + 2];
        struct peer peer = { "", 0, 0 };
        unsigned char *start;
        int wanted;

        choose(case_length, 1, LINE_MAX_OCTETS + 2);
        start = data + sizeof(data) - case_length;
        fill((char *)start, case_length);
        fill_without((char *)start, 1, '\r', '\n');
        fill_without((char *)start + case_length - 1, 1, '\n', case_length == 1 ? '\r' : '\n');
        wanted = proxy_parse(start, case_length, &peer);
        //@ assert wanted == -1 || wanted == 1;
        //@ assert case_length >= 107 ==> wanted == -1;
}

/*
 * Whole lines: one to eight words, all of one octet but one, which has 0, 4, 5, 6, 7 or
 * 40 octets; any octets in them.
 */
void
prove_line(void)
{
        static const size_t lengths[] = { 0, 4, 5, 6, 7, 40 };
        unsigned char data[6 + 8 * 2 + 40 + 2];
        struct peer peer = { "", 0, 0 };
        size_t used = 6;
        int wanted;

        memcpy(data, "PROXY ", 6);
        choose(case_length, 1, 8);
        choose(case_first, 0, case_length - 1);
        choose(case_second, 0, 5);
        //@ loop unroll 8;
        for (size_t word = 0; word < case_length; word++) {
                size_t length = word == case_first ? lengths[case_second] : 1;

                fill_without((char *)data + used, length, ' ', '\0');
                used += length;
                data[used++] = ' ';
        }
        used--;
        data[used++] = any_bit ? '\r' : '\n';
        data[used++] = '\n';
        wanted = proxy_parse(data, used, &peer);
        //@ assert wanted == 0 || wanted == -1;
}

/* The fixed part of version 2, of each length up to 16 octets, and any length of the rest. */
void
prove_fixed(void)
{
        unsigned char data[16];
        struct peer peer = { "", 0, 0 };
        int wanted;

        choose(case_length, 0, 15);
        fill((char *)data + sizeof(data) - case_length, case_length);
        if (case_length > 0)
                data[sizeof(data) - case_length] = '\r';
        wanted = proxy_parse(data + sizeof(data) - case_length, case_length, &peer);
        //@ assert -1 <= wanted <= 16;
        //@ assert case_length > 0 ==> wanted <= 15;
}

/*
 * Addresses, and TLVs of up to 8 octets together: each way they may be laid out, and
 * each that goes wrong.
 */
void
prove_tlvs(void)
{
        unsigned char data[16 + 36 + TLVS_MAX];
        struct peer peer = { "", 0, 0 };
        size_t addresses, rest, at;
        int wanted;

        choose(case_length, 0, TLVS_MAX);
        choose(case_room, 0, 1);
        addresses = case_room == 0 ? 12 : 36;
        rest = addresses + case_length;
        memcpy(data, "\r\n\r\n\0\r\nQUIT\n", 12);
        data[12] = any_octet;
        data[13] = case_room == 0 ? 0x11 : 0x21;
        data[14] = 0;
        data[15] = (unsigned char)rest;
        fill((char *)data + 16, rest);
        at = 16 + addresses;
        /* the lengths of the first two TLVs; a third does not fit */
        choose(case_first, 0, TLVS_MAX);
        choose(case_second, 0, TLVS_MAX);
        for (size_t number = 0; number < 2 && at + 3 <= 16 + rest; number++) {
                size_t length = number == 0 ? case_first : case_second;

                data[at + 1] = length == TLVS_MAX ? any_octet : 0;
                data[at + 2] = length == TLVS_MAX ? any_octet | TLVS_MAX : (unsigned char)length;
                at += 3 + length;
        }
        wanted = proxy_parse(data, 16 + rest, &peer);
        //@ assert wanted == 0 || wanted == -1;
}
