/*
 * survey.c - surveys the machine: which ports count, who listens, what clients meet at each door.
 * Runs in:   pop3d-check, as root where it can.
 * May touch: what ports.c and doors.c touch.
 */
#include "access.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum {
        DOORS_OF_PORT = 10,     /* so many addresses are tried on a port */
        DOORS_OF_FAMILY = 5,
        INETD_LIMIT = 40,       /* new sessions a minute, of inetutils-inetd, which has the least */
};

/* ---- Which ports -------------------------------------------------------------------------- */

static bool
is_wanted(const void *context, unsigned port)
{
        const struct survey *survey = context;

        for (size_t i = 0; i < survey->port_count; i++)
                if (survey->port[i] == port)
                        return true;
        return false;
}

static void
want(struct survey *survey, unsigned port)
{
        if (port != 0 && survey->port_count < PORTS_MAX && !is_wanted(survey, port))
                survey->port[survey->port_count++] = port;
}

static int
compare_ports(const void *one, const void *other)
{
        return (int)*(const unsigned *)one - (int)*(const unsigned *)other;
}

/* Those of POP3, of the entries that are on, and those to which such an entry connects. */
static void
choose_ports(struct survey *survey)
{
        want(survey, POP3_PORT);
        want(survey, POP3S_PORT);
        for (size_t i = 0; i < survey->entries.count; i++) {
                const struct entry *entry = &survey->entries.entry[i];

                if (!entry->is_on)
                        continue;
                want(survey, entry->port);
                want(survey, entry->connects_to);
        }
        qsort(survey->port, survey->port_count, sizeof(survey->port[0]), compare_ports);
}

/* ---- Which doors -------------------------------------------------------------------------- */

bool
port_begins_with_tls(const struct survey *survey, unsigned port)
{
        const struct entry *entry = entry_of_port(&survey->entries, port, PORT, "");

        if (port == POP3_PORT || port == POP3S_PORT || entry == NULL)
                return port == POP3S_PORT;
        return entry->launcher == HAPROXY ? entry_word(entry, "ssl") != NULL
            : entry->launcher == STUNNEL && strcmp(entry->value[PROTOCOL], "pop3") != 0;
}

/* How a client has to begin on this port. A proxy's header is sent where pop3d itself awaits it. */
static enum manner
manner_of(const struct survey *survey, unsigned port)
{
        const struct entry *entry = entry_of_port(&survey->entries, port, PORT, "");
        const struct entry *before = entry_of_port(&survey->entries, port, CONNECT, "");

        /* on an inner address another proxy is expected, elsewhere that is a fault */
        if (port_begins_with_tls(survey, port))
                return entry != NULL && entry_word(entry, "accept-proxy") != NULL && *entry->address != '\0'
                    ? WITH_PROXY_AND_TLS : WITH_TLS;
        if (entry != NULL)
                return entry->options.auth.expects_proxy ? WITH_PROXY : IN_CLEAR_TEXT;
        return before != NULL && strcmp(before->value[PROTOCOL], "proxy") == 0 ? WITH_PROXY
            : IN_CLEAR_TEXT;
}

/*
 * How many doors of a port are tried: a small limit of new sessions must not be reached by looking
 * ("cps = 100 2" of xinetd, "nowait.60000" of inetd).
 */
static unsigned
doors_of_port(const struct survey *survey, unsigned port)
{
        const struct entry *entry = entry_of_port(&survey->entries, port, PORT, "");
        unsigned limit = 0, doors;

        /* to look would be its end */
        if (entry != NULL && entry->serves_one)
                return 0;
        if (entry != NULL && entry->launcher == XINETD && entry_word(entry, "cps") != NULL)
                (void)sscanf(entry_word(entry, "cps"), "%u", &limit);
        else if (entry != NULL && entry->launcher == INETD &&
            sscanf(entry->value[WAIT], "nowait.%u", &limit) != 1)
                limit = INETD_LIMIT;
        doors = limit == 0 ? DOORS_OF_PORT : limit / 4;
        return doors < 1 ? 1 : doors > DOORS_OF_PORT ? DOORS_OF_PORT : doors;
}

bool
door_is_covered(const struct survey *survey, const struct door *door)
{
        for (size_t i = 0; i < survey->listeners.count; i++) {
                const struct listener *listener = &survey->listeners.listener[i];
                bool is_of_family = listener->family == door->address.family;

                if (listener->port != door->port)
                        continue;
                if (strcmp(listener->text, door->address.text) == 0)
                        return true;
                /* one on :: takes IPv4 as well, unless told not to; who connects will see */
                if (listener_is_wild(listener) && (is_of_family || listener->family == AF_INET6))
                        return true;
        }
        return false;
}

bool
port_is_open(const struct survey *survey, unsigned port, int family)
{
        for (size_t i = 0; i < survey->entries.own.count; i++) {
                struct door door = { .address = survey->entries.own.address[i], .port = port };

                if (!door.address.is_loopback && door_is_covered(survey, &door) &&
                    (family == 0 || door.address.family == family))
                        return true;
        }
        return false;
}

/* Adds a door, unless enough of its port and family are there. */
static void
add_door(struct survey *survey, unsigned port, const struct address *address, unsigned most)
{
        struct door *door = &survey->door[survey->door_count];
        unsigned of_port = 0, of_family = 0;

        for (size_t i = 0; i < survey->door_count; i++) {
                of_port += survey->door[i].port == port;
                of_family += survey->door[i].port == port &&
                    survey->door[i].address.family == address->family;
        }
        if (survey->door_count == DOORS_MAX || of_port >= most || of_family >= DOORS_OF_FAMILY)
                return;
        memset(door, 0, sizeof(*door));
        door->address = *address;
        door->port = port;
        door->manner = manner_of(survey, port);
        if (door_is_covered(survey, door))
                survey->door_count++;
}

/*
 * The doors of a port at which somebody listens. Where few may be tried, loopback comes first, then
 * the machine's own address.
 */
static void
add_doors(struct survey *survey, unsigned port)
{
        unsigned most = doors_of_port(survey, port);

        for (int is_loopback = 1; is_loopback >= 0; is_loopback--)
                for (size_t i = 0; i < survey->entries.own.count; i++)
                        if (survey->entries.own.address[i].is_loopback == (is_loopback == 1))
                                add_door(survey, port, &survey->entries.own.address[i], most);
}

/* Notes of each door at which nobody greeted whether what restricts its entry turns us away there. */
static void
note_refusals(struct survey *survey)
{
        for (size_t i = 0; i < survey->door_count; i++) {
                struct door *door = &survey->door[i];
                const struct entry *entry = entry_of_port(&survey->entries, door->port, PORT, "");
                struct refusal refusal;

                if ((door->outcome == CLOSED || door->outcome == SILENT) && entry != NULL &&
                    access_refusal(&survey->entries, entry, &door->address, &refusal))
                        (void)snprintf(door->refused_by, REFUSED_SIZE, "%.*s", REFUSED_SIZE - 1, refusal.cause);
        }
}

/* Notes that all silent doors of a port speak TLS. */
static void
mark_tls(struct survey *survey, unsigned port)
{
        for (size_t i = 0; i < survey->door_count; i++)
                if (survey->door[i].port == port && survey->door[i].outcome == SILENT)
                        survey->door[i].speaks_tls = true;
}

/* A port that says nothing may speak TLS, where clients begin in clear text. */
static void
try_again_with_tls(struct survey *survey)
{
        for (size_t i = 0; i < survey->door_count; i++) {
                struct door other = survey->door[i];

                if (other.manner != IN_CLEAR_TEXT || other.outcome != SILENT)
                        continue;
                other.manner = WITH_TLS;
                doors_try(&other, 1, SECOND_MILLISECONDS);
                if (other.speaks_tls)
                        mark_tls(survey, other.port);
                return;
        }
}

void
survey_machine(struct survey *survey)
{
        choose_ports(survey);
        survey->listeners.is_wanted = is_wanted;
        survey->listeners.context = survey;
        listeners_take(&survey->listeners);
        for (size_t i = 0; i < survey->port_count; i++)
                add_doors(survey, survey->port[i]);
        doors_try(survey->door, survey->door_count, PATIENCE_MILLISECONDS);
        try_again_with_tls(survey);
        note_refusals(survey);
}
