/*
 * names.c - the names under which clients may know this machine: where do they lead?
 * Runs in:   a process of pop3d-check's, for a name service may hang.
 * May touch: the name service.
 */
#include "check.h"

#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
        NAMES_MAX = 16,
        FOUND_MAX = 16,         /* addresses of a name */
        NAMES_SECONDS = 15,
        SLOW_MILLISECONDS = 800,        /* so long waits who waits for a dead name server */
        LIST_SIZE = 512,
        NAME_OCTETS = 256,
};

struct name {
        char text[NAME_OCTETS];
        bool is_own;                    /* this machine says so, not a certificate */
        int error;                      /* of getaddrinfo(3), 0: none */
        size_t count;
        struct address address[FOUND_MAX];
};

struct names {
        struct report *report;
        const struct survey *survey;
        bool is_slow;                   /* a name server does not answer */
        size_t count;
        struct name name[NAMES_MAX];
};

/* ---- Asking ------------------------------------------------------------------------------- */

static bool
is_address(const char *text)
{
        return strchr(text, ':') != NULL || text[strspn(text, "0123456789.")] == '\0';
}

/* Whether the name stands for no machine in particular. */
static bool
is_general(const char *text)
{
        return *text == '\0' || *text == '*' || strcasecmp(text, "localhost") == 0 ||
            is_address(text);
}

/* Adds a name unless it is there. */
static struct name *
add_name(struct names *names, const char *text, bool is_own)
{
        struct name *name = &names->name[names->count];

        for (size_t i = 0; i < names->count; i++)
                if (strcasecmp(names->name[i].text, text) == 0) {
                        names->name[i].is_own |= is_own;
                        return &names->name[i];
                }
        if (names->count == NAMES_MAX || is_general(text))
                return NULL;
        memset(name, 0, sizeof(*name));
        (void)snprintf(name->text, sizeof(name->text), "%s", text);
        name->is_own = is_own;
        names->count++;
        return name;
}

static bool
has_address(const struct name *name, const struct address *address)
{
        for (size_t i = 0; i < name->count; i++)
                if (address_is(&name->address[i], address))
                        return true;
        return false;
}

/* Asks where a name leads, and by which name that calls itself. */
static void
look_up(struct names *names, struct name *name, char canonical[NAME_OCTETS])
{
        const struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_CANONNAME };
        struct addrinfo *found = NULL;
        int64_t begin = milliseconds_now();

        canonical[0] = '\0';
        name->error = names->is_slow ? EAI_AGAIN : getaddrinfo(name->text, NULL, &hints, &found);
        if (milliseconds_now() - begin > SLOW_MILLISECONDS && name->error != 0)
                names->is_slow = true;
        if (name->error != 0 || found == NULL)
                return;
        if (found->ai_canonname != NULL)
                (void)snprintf(canonical, NAME_OCTETS, "%s", found->ai_canonname);
        for (const struct addrinfo *at = found; at != NULL && name->count < FOUND_MAX;
            at = at->ai_next) {
                struct address address;

                if (address_take(&address, at->ai_addr) && !has_address(name, &address))
                        name->address[name->count++] = address;
        }
        freeaddrinfo(found);
}

/* The machine's own names: what it calls itself, and what its addresses are called. */
static void
take_own_names(struct names *names)
{
        char text[NAME_OCTETS] = "", canonical[NAME_OCTETS];
        struct name *name;

        (void)gethostname(text, sizeof(text) - 1);
        name = add_name(names, text, true);
        if (name == NULL)
                return;
        look_up(names, name, canonical);
        name = name->error == 0 ? add_name(names, canonical, true) : NULL;
        if (name != NULL && name->count == 0)
                look_up(names, name, canonical);
}

static void
take_certificates_names(struct names *names)
{
        for (size_t i = 0; i < names->survey->tls_count; i++) {
                const struct tls *tls = &names->survey->tls[i];

                for (size_t j = 0; j < tls->certificate.name_count; j++) {
                        char canonical[NAME_OCTETS];
                        size_t before = names->count;
                        struct name *name = add_name(names, tls->certificate.name[j], false);

                        if (names->count > before)
                                look_up(names, name, canonical);
                }
        }
}

/* ---- Where a name leads ------------------------------------------------------------------- */

static const char *
list_addresses(const struct name *name, char list[LIST_SIZE])
{
        size_t used = 0;

        list[0] = '\0';
        for (size_t i = 0; i < name->count && used < LIST_SIZE; i++)
                used += (size_t)snprintf(list + used, LIST_SIZE - used, "%s%s", i > 0 ? ", " : "",
                    name->address[i].text);
        return list;
}

/* Whether this machine is behind a translation of addresses: it has private ones alone. */
static bool
is_behind_nat(const struct survey *survey, int family)
{
        for (size_t i = 0; i < survey->entries.own.count; i++) {
                const struct address *own = &survey->entries.own.address[i];

                if (own->family == family && !own->is_loopback && !own->is_private)
                        return false;
        }
        return true;
}

/* Of one family: the first foreign address if none is this machine's own, or NULL. */
static const struct address *
find_stranger(const struct survey *survey, const struct name *name, int family)
{
        const struct address *stranger = NULL;

        for (size_t i = 0; i < name->count; i++) {
                const struct address *address = &name->address[i];

                if (address->family != family)
                        continue;
                if (addresses_have(&survey->entries.own, address))
                        return NULL;
                if (stranger == NULL)
                        stranger = address;
        }
        return stranger;
}

/* An address of the name at which nobody listens on a port that is open elsewhere, or NULL. */
static const struct address *
find_closed(const struct survey *survey, const struct name *name, unsigned port)
{
        for (size_t i = 0; i < name->count && port_is_open(survey, port, 0); i++) {
                struct door door = { .address = name->address[i], .port = port };

                if (!door.address.is_loopback && addresses_have(&survey->entries.own, &door.address) &&
                    !door_is_covered(survey, &door))
                        return &name->address[i];
        }
        return NULL;
}

static void
report_closed(const struct names *names, const struct name *name, unsigned port,
    const struct address *address)
{
        bool is_six = address->family == AF_INET6;

        print_row(names->report, "warn", "names", "%s leads to %s too, where nobody listens on %u\n"
            "cause: clients that take that address (%s) are refused\n"
            "remedy: let the launcher listen on :: (all addresses), or take the %s record (or the "
            "line in /etc/hosts) away", name->text, address->text, port, is_six ? "IPv6" : "IPv4",
            is_six ? "AAAA" : "A");
}

static void
report_stranger(const struct names *names, const struct name *name, const struct address *address)
{
        bool may_be_passed_on = !address->is_private && !address->is_loopback &&
            is_behind_nat(names->survey, address->family);

        if (may_be_passed_on)
                print_row(names->report, "skip", "names", "%s leads to %s, not an address of this "
                    "machine's, whose own are private\ncause: as it should be if a router there "
                    "passes ports 110 and 995 on to here\nremedy: try from outside", name->text,
                    address->text);
        else
                print_row(names->report, "warn", "names", "%s leads to %s, which this machine does "
                    "not have\ncause: clients that know it by that name go there\n"
                    "remedy: mend the record (or the line in /etc/hosts), unless what has that "
                    "address passes them on; then: getent ahosts %s", name->text, address->text,
                    name->text);
}

static void
check_name(const struct names *names, const struct name *name)
{
        const struct address *four = find_stranger(names->survey, name, AF_INET);
        const struct address *six = find_stranger(names->survey, name, AF_INET6);
        const unsigned ports[] = { POP3_PORT, POP3S_PORT };
        char list[LIST_SIZE];
        bool is_good = true;

        if (four != NULL)
                report_stranger(names, name, four);
        if (six != NULL)
                report_stranger(names, name, six);
        for (size_t i = 0; i < 2; i++) {
                const struct address *closed = find_closed(names->survey, name, ports[i]);

                if (closed != NULL)
                        report_closed(names, name, ports[i], closed);
                is_good &= closed == NULL;
        }
        if (is_good && four == NULL && six == NULL)
                print_row(names->report, "ok", "names", "%s leads here: %s", name->text,
                    list_addresses(name, list));
}

static void
report_unknown(const struct names *names, const struct name *name)
{
        bool is_down = names->is_slow || (name->error == EAI_AGAIN && !name->is_own);

        if (is_down)
                print_row(names->report, "skip", "names", "%s was not looked up: no name server "
                    "answers\nremedy: see /etc/resolv.conf; then: getent ahosts %s", name->text,
                    name->text);
        else
                print_row(names->report, "warn", "names", "%s does not resolve: %s\n"
                    "cause: %s\nremedy: a line in /etc/hosts (ADDRESS %s), and a record in the DNS "
                    "for clients", name->text, gai_strerror(name->error), name->is_own
                    ? "this machine does not know its own name, nor may clients"
                    : "its certificate is for that name, under which nobody can reach it",
                    name->text);
}

/* ---- Certificates and names --------------------------------------------------------------- */

/* RFC 6125: the star stands for one whole label, the first. */
static bool
is_covered(const char *pattern, const char *name)
{
        const char *dot = strchr(name, '.');

        if (strncmp(pattern, "*.", 2) == 0)
                return dot != NULL && strcasecmp(pattern + 1, dot) == 0;
        return strcasecmp(pattern, name) == 0;
}

/* Whether clients can reach this machine under a name that the certificate is for. */
static bool
is_for_us(const struct names *names, const char *pattern)
{
        for (size_t i = 0; i < names->count; i++) {
                const struct name *name = &names->name[i];
                bool is_known = name->is_own || (name->error == 0 && name->count > 0);

                if (is_known && is_covered(pattern, name->text))
                        return true;
        }
        for (size_t i = 0; i < names->survey->entries.own.count; i++)
                if (strcasecmp(pattern, names->survey->entries.own.address[i].text) == 0)
                        return true;
        return strcasecmp(pattern, "localhost") == 0;
}

static void
check_certificate(const struct names *names, const struct tls *tls)
{
        char list[LIST_SIZE] = "", own[LIST_SIZE] = "";
        size_t used = 0, own_used = 0;

        for (size_t i = 0; i < tls->certificate.name_count && used < LIST_SIZE; i++) {
                if (is_for_us(names, tls->certificate.name[i]))
                        return;
                used += (size_t)snprintf(list + used, LIST_SIZE - used, "%s%s", i > 0 ? ", " : "",
                    tls->certificate.name[i]);
        }
        for (size_t i = 0; i < names->count && own_used < LIST_SIZE; i++)
                if (names->name[i].is_own)
                        own_used += (size_t)snprintf(own + own_used, LIST_SIZE - own_used, "%s%s",
                            own_used > 0 ? ", " : "", names->name[i].text);
        print_row(names->report, "warn", "TLS", "port %u: the certificate is for %s; this machine "
            "is %s\ncause: clients refuse a certificate that has not the name they connect to\n"
            "remedy: make one with the name that clients use, or let that name lead here",
            tls->port, *list != '\0' ? list : "no name", *own != '\0' ? own : "without a name");
}

static void
check_all_names(struct report *report, void *context)
{
        static struct names names;

        names.report = report;
        names.survey = context;
        /* a name server that is gone costs a second, and not the half minute of the defaults */
        (void)setenv("RES_OPTIONS", "timeout:1 attempts:1", 1);
        take_own_names(&names);
        take_certificates_names(&names);
        for (size_t i = 0; i < names.count; i++)
                if (names.name[i].error != 0)
                        report_unknown(&names, &names.name[i]);
                else
                        check_name(&names, &names.name[i]);
        for (size_t i = 0; i < names.survey->tls_count; i++)
                if (names.survey->tls[i].state == CERTIFICATE_READ)
                        check_certificate(&names, &names.survey->tls[i]);
}

void
names_check(struct survey *survey)
{
        static const struct part names = { "names", false, NAMES_SECONDS, "a name server",
                check_all_names, NULL, 0 };

        (void)part_run(survey->report, &names, survey);
}
