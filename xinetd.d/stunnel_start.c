/*
 * stunnel_start.c - why a stunnel that nobody sees listening may not have started: its log says so, if any.
 * Runs in:   pop3d-check, as root where it can.
 * May touch: the openssl command, as an account without power; the port's holder in /proc.
 */
#include "entries.h"

#include <stdio.h>
#include <string.h>

enum { CIPHERS_MILLISECONDS = 3000 };

/* Whether stunnel 5 knows an option of this name. */
static bool
is_known(const char *name)
{
        static const char known[] = " accept caengine capath cafile cert checkemail checkhost checkip chroot ciphers "
            "ciphersuites client compression config connect crlpath crlfile curve curves debug delay egd engine "
            "enginectrl enginedefault engineid enginenum exec execargs failover fips foreground iconactive iconerror "
            "iconidle ident include key libwrap local log logid ocsp ocspaia ocspflag ocspnonce ocsprequire options "
            "output pid protocol protocolauthentication protocoldomain protocolheader protocolhost protocolpassword "
            "protocolusername provider providerparameter pskidentity psksecrets pty redirect renegotiation "
            "requirecert reset retry rndbytes rndfile rndoverwrite securitylevel service session sessioncachesize "
            "sessioncachetimeout sessionresume setenv setgid setuid sni socket sslversion sslversionmax "
            "sslversionmin stack syslog taskbar ticketkeysecret ticketmacsecret timeoutbusy timeoutclose "
            "timeoutconnect timeoutidle timeoutinit timeoutocsp transparent verify verifychain verifypeer ";
        char word[NAME_SIZE + 3];

        (void)snprintf(word, sizeof(word), " %s ", name);
        return strcasestr(known, word) != NULL;
}

/* Whether OpenSSL has a cipher for each of them at all. */
static bool
are_ciphers(const char *list)
{
        const char *words[] = { "openssl", "ciphers", list, NULL };
        char said[VALUE_SIZE];
        struct tool tool;
        int status;

        if (*list == '-')
                return false;
        tool_start(&tool, words, TOOL_POWERLESS, "");
        status = tool_end(&tool, CIPHERS_MILLISECONDS, said, sizeof(said));
        return status == 0 || status == TOOL_MISSING || status == TOOL_LATE;
}

void
stunnel_find_bars(struct entry *entry)
{
        const char *fips = entry_word(entry, "fips"), *ciphers = entry_word(entry, "ciphers");
        struct holder holder;

        find_holder(entry->port, &holder);
        if (entry->port == 0 || holder.pid != 0 || *holder.name != '\0')
                return;
        for (size_t i = 0; i < entry->word_count; i++)
                if (!is_known(entry->words[i].name))
                        entry_refused(entry, "\ncause: there is a word that stunnel does not know, so it does not "
                            "start: %s\nremedy: take out the line with %s, then restart stunnel",
                            entry->words[i].name, entry->words[i].name);
        if (fips != NULL && strcasecmp(fips, "yes") == 0)
                entry_refused(entry, "\ncause: fips = yes, and OpenSSL here may have no FIPS module, so stunnel does "
                    "not start\nremedy: take out the line with fips, then restart stunnel");
        if (ciphers != NULL && !are_ciphers(ciphers))
                entry_refused(entry, "\ncause: ciphers = %s: OpenSSL has none of them, so stunnel does not start\n"
                    "remedy: take out the line with ciphers, then restart stunnel", ciphers);
}
