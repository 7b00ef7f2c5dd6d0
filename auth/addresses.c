/*
 * addresses.c - the addresses as from which PAM's rules are asked.
 * Runs in:   the check (-c) alone.
 * May touch: the list of this machine's addresses.
 */
#include "rules.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <stdio.h>
#include <stdlib.h>

bool
address_is_loopback(const char *text)
{
        return strncmp(text, "127.", 4) == 0 || strcmp(text, "::1") == 0;
}

static void
add(struct addresses *addresses, const char *text)
{
        size_t most = sizeof(addresses->text) / sizeof(addresses->text[0]);

        for (size_t i = 0; i < addresses->count; i++)
                if (strcmp(addresses->text[i], text) == 0)
                        return;
        if (addresses->count < most)
                (void)snprintf(addresses->text[addresses->count++], ADDRESS_SIZE, "%s", text);
}

void
addresses_own(struct addresses *addresses)
{
        struct ifaddrs *list = NULL;
        char text[INET6_ADDRSTRLEN];

        addresses->count = 0;
        if (getifaddrs(&list) != 0)
                list = NULL;
        for (int family = AF_INET; family != 0; family = family == AF_INET ? AF_INET6 : 0)
                for (const struct ifaddrs *at = list; at != NULL; at = at->ifa_next) {
                        const void *octets = &((const struct sockaddr_in *)at->ifa_addr)->sin_addr;
                        const struct in6_addr *six =
                            &((const struct sockaddr_in6 *)(const void *)at->ifa_addr)->sin6_addr;

                        if (at->ifa_addr == NULL || at->ifa_addr->sa_family != family ||
                            (family == AF_INET6 && IN6_IS_ADDR_LINKLOCAL(six)))
                                continue;
                        (void)inet_ntop(family, family == AF_INET ? octets : six, text, sizeof(text));
                        if (addresses->count < 6 && !address_is_loopback(text))
                                add(addresses, text);
                }
        if (list != NULL)
                freeifaddrs(list);
        add(addresses, "127.0.0.1");
}

/* Adds an address of the network that a word names; nothing if it names none. */
static void
add_network(struct addresses *addresses, const char *word)
{
        unsigned char octets[16];
        char text[INET6_ADDRSTRLEN + 8];
        size_t length = strcspn(word, "/");
        bool is_network = word[length] == '/';
        int family = memchr(word, ':', length) != NULL ? AF_INET6 : AF_INET;
        int dots = 0;

        if (length == 0 || length >= INET6_ADDRSTRLEN)
                return;
        (void)snprintf(text, sizeof(text), "%.*s", (int)length, word);
        for (const char *c = text; *c != '\0'; c++)
                dots += *c == '.';
        /* "192.0.2." stands for all that begin so */
        if (family == AF_INET && text[length - 1] == '.' && dots < 4)
                (void)snprintf(text + length, sizeof(text) - length, "%s",
                    dots == 3 ? "1" : dots == 2 ? "0.1" : "0.0.1");
        if (inet_pton(family, text, octets) != 1)
                return;
        if (is_network && atoi(word + length + 1) < (family == AF_INET ? 32 : 128))
                octets[family == AF_INET ? 3 : 15] |= 1;
        (void)inet_ntop(family, octets, text, sizeof(text));
        if (!address_is_loopback(text))
                add(addresses, text);
}

void
addresses_of_text(struct addresses *addresses, const char *text)
{
        char word[64];
        size_t length;

        /* the colon that separates fields of access.conf has blanks beside it, or follows a word */
        for (; *(text += strspn(text, " \t,;=[]()")) != '\0'; text += length) {
                length = strcspn(text, " \t,;=[]()\r\n");
                length += length == 0;
                (void)snprintf(word, sizeof(word), "%.*s", (int)length, text);
                word[strcspn(word, "\n")] = '\0';
                add_network(addresses, word);
                /* "+:alice:192.0.2.", where all is one word */
                for (char *rest = word; (rest = strchr(rest, ':')) != NULL; )
                        add_network(addresses, ++rest);
        }
}
