/*
 * launchers.c - what launches pop3d and surrounds it: the order in which it is looked at.
 * Runs in:   pop3d-check, as root where it can.
 * May touch: what the files of xinetd.d/ touch that it calls.
 */
#include "check.h"

const struct entry *
launchers_check(struct report *report)
{
        static struct survey survey;

        survey.report = report;
        entries_read(&survey.entries, report);
        for (size_t i = 0; i < survey.entries.count; i++) {
                const struct entry *entry = &survey.entries.entry[i];

                if (entry->runs_us && (survey.ours == NULL || !survey.ours->is_on))
                        survey.ours = entry;
        }
        firewall_start();
        survey_machine(&survey);
        tls_look(&survey);
        entries_check(&survey.entries);
        haproxy_check(&survey);
        certificate_files_check(&survey);
        tls_check(&survey);
        ports_check(&survey);
        names_check(&survey);
        firewall_check(&survey);
        return survey.ours;
}
