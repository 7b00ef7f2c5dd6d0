/*
 * haproxy_rows.c - the rows of what lies between HAProxy and pop3d: the PROXY header, the backend.
 * Runs in:   pop3d-check.
 * May touch: nothing but what entries and survey have found.
 */
#include "check.h"

#include <stdio.h>
#include <string.h>

/* What HAProxy sends first to the server: nothing, that tells of TLS or does not. */
enum header { NO_HEADER, HEADER_WITHOUT_TLS, HEADER_WITH_TLS };

static enum header
header_of(const struct entry *entry)
{
        if (entry_word(entry, "server.send-proxy-v2-ssl") != NULL ||
            entry_word(entry, "server.send-proxy-v2-ssl-cn") != NULL)
                return HEADER_WITH_TLS;
        return entry_word(entry, "server.send-proxy") != NULL ||
            entry_word(entry, "server.send-proxy-v2") != NULL ? HEADER_WITHOUT_TLS : NO_HEADER;
}

/* The entry of the pop3d to which HAProxy passes sessions on, or NULL. */
static const struct entry *
inner_of(const struct survey *survey, const struct entry *entry)
{
        if (entry->connects_socket[0] != '\0')
                return entry_of_socket(&survey->entries, entry->connects_socket);
        return entry_of_port(&survey->entries, entry->connects_to, PORT, "");
}

/* Whether what HAProxy sends is what pop3d expects. */
static void
check_header(const struct survey *survey, const struct entry *entry, const struct entry *inner)
{
        bool is_expected = inner->options.auth.expects_proxy;
        bool is_secured = inner->options.auth.peer.is_secured;
        enum header header = header_of(entry);

        if (inner->launcher == STUNNEL && header != NO_HEADER)
                print_row(survey->report, "fail", "TLS", "%s: HAProxy sends a PROXY header to stunnel (%s), which takes "
                    "none\ncause: it comes before TLS, so the handshake fails\nremedy: take send-proxy out of the "
                    "server line, then: systemctl reload haproxy", entry->file, inner->file);
        else if (entry_word(entry, "server.ssl") != NULL && inner->runs_us && inner->launcher != STUNNEL)
                print_row(survey->report, "fail", "TLS", "%s: HAProxy speaks TLS to pop3d (ssl in the server line)\n"
                    "cause: pop3d takes clear text, and takes that for wrong commands\nremedy: take ssl and verify out "
                    "of the server line, then: systemctl reload haproxy", entry->file);
        else if (is_expected && header == NO_HEADER)
                print_row(survey->report, "fail", "TLS", "%s: HAProxy sends no PROXY header, and %s "
                    "wants one (-x)\ncause: so pop3d ends each session before its greeting\n"
                    "remedy: add send-proxy-v2-ssl to the server line, then: systemctl reload "
                    "haproxy", entry->file, inner->file);
        else if (!is_expected && header != NO_HEADER)
                print_row(survey->report, "fail", "TLS", "%s: HAProxy sends a PROXY header "
                    "(send-proxy), and %s has no -x\ncause: pop3d takes it for a wrong command, and "
                    "knows no client's address\nremedy: server_args = -x in %s (-x behind pop3d), "
                    "then restart that launcher", entry->file, inner->file, inner->file);
        else if (header == HEADER_WITHOUT_TLS && entry_word(entry, "ssl") != NULL && !is_secured)
                print_row(survey->report, "fail", "TLS", "%s: HAProxy does not tell pop3d of TLS\n"
                    "cause: send-proxy (version 1) and send-proxy-v2 do not say so, and pop3d "
                    "refuses passwords in clear text\nremedy: send-proxy-v2-ssl in the server line, "
                    "then: systemctl reload haproxy", entry->file);
}

/* A check that goes elsewhere than the sessions: if it fails, HAProxy sends nobody on. */
static void
check_health(const struct survey *survey, const struct entry *entry)
{
        const char *port = entry_word(entry, "server.port");
        bool is_taken = false;

        if (port == NULL || entry_word(entry, "server.check") == NULL || entry->connects_to == 0)
                return;
        for (size_t i = 0; i < survey->listeners.count; i++) {
                char number[16];

                (void)snprintf(number, sizeof(number), "%u", survey->listeners.listener[i].port);
                is_taken |= strcmp(number, port) == 0;
        }
        if (!is_taken)
                print_row(survey->report, "warn", "TLS", "%s: HAProxy asks port %s whether pop3d is "
                    "there (check port), where nothing known listens\ncause: if that fails it "
                    "closes each session\nremedy: take `port %s` out of the server line, then: "
                    "systemctl reload haproxy", entry->file, port, port);
}

void
haproxy_check(struct survey *survey)
{
        const struct entry *told = NULL;

        for (size_t i = 0; i < survey->entries.count; i++) {
                const struct entry *entry = &survey->entries.entry[i], *inner;

                if (!entry->is_on || entry->launcher != HAPROXY)
                        continue;
                /* of the binds of one frontend the first stands for all */
                if (told != NULL && strcmp(told->name, entry->name) == 0)
                        continue;
                told = entry;
                inner = inner_of(survey, entry);
                if (inner != NULL)
                        check_header(survey, entry, inner);
                check_health(survey, entry);
        }
}
