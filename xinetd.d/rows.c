/*
 * rows.c - keeps the rows of the check, and prints them: at a terminal to be read, else as a table.
 * Runs in:   pop3d-check, in each of its processes; only the first one prints.
 * May touch: standard output.
 *
 * Nothing is printed before all is known, because the first line is the sum: it is what a person
 * reads first, and all that a monitor takes.
 */
#include "check.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
        INDENT = 17,            /* columns before a row's text */
        WIDTH = 79,             /* columns of a line */
        SUM_SIZE = 400,
        CAUSE_FIELD = 3,        /* of a line of the table, counted from 0; the text is before it */
        REMEDY_FIELD = 4,
};

/* One that is in no such list comes from a process that does not keep to what check.h says. */
static int
severity(const char *state)
{
        static const struct {
                const char *state;
                int severity;
        } known[] = { { "ok", CHECK_OK }, { "skip", CHECK_OK }, { "warn", CHECK_WARNINGS },
                { "fail", CHECK_FAULTS } };

        for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
                if (strcmp(state, known[i].state) == 0)
                        return known[i].severity;
        return CHECK_FAULTS;
}

/* Parts of the text come from files and from other programs: a terminal must not obey them. */
static void
make_printable(char *text)
{
        for (; *text != '\0'; text++)
                if (*text != '\n' && (*text < ' ' || *text > '~'))
                        *text = '?';
}

void
report_add(struct report *report, const struct row *row)
{
        struct row *kept;

        if (severity(row->state) > report->worst)
                report->worst = severity(row->state);
        if (report->channel >= 0) {
                /* whoever reads is gone only if he was killed: then nothing is left to be done */
                if (write(report->channel, row, sizeof(*row)) != (ssize_t)sizeof(*row))
                        _exit(END_FAULT);
                return;
        }
        kept = report->count == ROWS_MAX ? NULL : malloc(sizeof(*kept));
        if (kept == NULL)
                return;
        *kept = *row;
        make_printable(kept->state);
        make_printable(kept->what);
        make_printable(kept->text);
        report->rows[report->count++] = kept;
}

void
report_append(struct report *report, const struct report *other)
{
        for (size_t i = 0; i < other->count; i++)
                report_add(report, other->rows[i]);
}

void
print_row(void *context, const char *state, const char *what, const char *format, ...)
{
        struct row row = { .state = "" };
        va_list arguments;

        (void)snprintf(row.state, sizeof(row.state), "%s", state);
        (void)snprintf(row.what, sizeof(row.what), "%s", what);
        va_start(arguments, format);
        (void)vsnprintf(row.text, sizeof(row.text), format, arguments);
        va_end(arguments);
        report_add(context, &row);
}

/* ---- The sum -------------------------------------------------------------------------- */

/* Adds to a text as much as fits. */
static void
append(char sum[SUM_SIZE], const char *separator, const char *text)
{
        size_t used = strlen(sum);

        (void)snprintf(sum + used, SUM_SIZE - used, "%s%s", separator, text);
}

/* Adds what a row says, with the cause and without the remedy. No '|', which ends a plugin's text. */
static void
append_row(char sum[SUM_SIZE], const char *text)
{
        const char *remedy = strstr(text, "\nremedy: ");
        size_t used = strlen(sum);

        (void)snprintf(sum + used, SUM_SIZE - used, "%.*s",
            remedy == NULL ? (int)strlen(text) : (int)(remedy - text), text);
        for (char *at = sum + used; *at != '\0'; at++)
                if (*at == '\n' || *at == '|')
                        *at = *at == '\n' ? ' ' : '/';
}

/* Whether the sum names the same thing for another row: one that is worse, or the first as bad. */
static bool
is_told(const struct report *report, size_t index)
{
        const struct row *row = report->rows[index];

        for (size_t i = 0; i < report->count; i++) {
                const struct row *other = report->rows[i];
                int worse = severity(other->state) - severity(row->state);

                if (strcmp(other->what, row->what) == 0 && (worse > 0 || (worse == 0 && i < index)))
                        return true;
        }
        return false;
}

/*
 * How many faults and warnings there are, of what, and the words of the first. width: columns that
 * it may take.
 */
static void
print_sum(const struct report *report, size_t width)
{
        char sum[SUM_SIZE];
        const char *separator = ": ", *first = NULL;
        size_t count[CHECK_FAULTS + 1] = { 0 };

        for (size_t i = 0; i < report->count; i++)
                count[severity(report->rows[i]->state)]++;
        (void)snprintf(sum, sizeof(sum), "%zu fault%s, %zu warning%s", count[CHECK_FAULTS],
            count[CHECK_FAULTS] == 1 ? "" : "s", count[CHECK_WARNINGS],
            count[CHECK_WARNINGS] == 1 ? "" : "s");
        for (int wanted = CHECK_FAULTS; wanted >= CHECK_WARNINGS; wanted--)
                for (size_t i = 0; i < report->count; i++) {
                        if (severity(report->rows[i]->state) != wanted || is_told(report, i))
                                continue;
                        append(sum, separator, report->rows[i]->what);
                        separator = ", ";
                        if (first == NULL)
                                first = report->rows[i]->text;
                }
        append(sum, first != NULL ? "; first: " : ": all is well", "");
        append_row(sum, first != NULL ? first : "");
        (void)printf("%.*s%s\n", (int)(strlen(sum) > width ? width - 3 : width), sum,
            strlen(sum) > width ? "..." : "");
}

/* ---- Rows ----------------------------------------------------------------------------- */

/* Prints words up to a line's end; a word that does not fit begins a new line. */
static void
print_words(const char *text, int column)
{
        while (*(text += strspn(text, " ")) != '\0') {
                int length = (int)strcspn(text, " \n"), room = WIDTH - INDENT;

                length = length > room ? room : length;
                if (length > 0 && column + 1 + length > WIDTH)
                        column = printf("\n%*s", INDENT - 1, "") - 1;
                if (length > 0)
                        column += printf(" %.*s", length, text);
                text += length;
                if (*text == '\n') {
                        column = WIDTH; /* so that the next word begins a new line */
                        text++;
                }
        }
}

/* One line: state, row, text, cause, remedy, and a tab between two of them; for programs. */
static void
print_fields(const struct row *row)
{
        int field = 2;

        (void)printf("%s\t%s\t", row->state, row->what);
        for (const char *line = row->text; *line != '\0'; line += *line == '\n') {
                int length = (int)strcspn(line, "\n"), of_line = field;

                if (strncmp(line, "cause: ", 7) == 0)
                        of_line = CAUSE_FIELD;
                else if (strncmp(line, "remedy: ", 8) == 0)
                        of_line = REMEDY_FIELD;
                if (line != row->text && of_line <= field)
                        (void)printf(" ");
                for (; field < of_line; field++)
                        (void)printf("\t");
                (void)printf("%.*s", length, line);
                line += length;
        }
        (void)printf("\n");
}

void
report_print(const struct report *report, bool is_quiet)
{
        bool is_read = isatty(1) == 1;
        size_t width = is_read ? WIDTH : SUM_SIZE;

        if (is_quiet && report->worst == CHECK_OK)
                return;
        print_sum(report, width);
        for (size_t i = 0; i < report->count; i++) {
                const struct row *row = report->rows[i];

                if (is_quiet && severity(row->state) == CHECK_OK)
                        continue;
                if (!is_read) {
                        print_fields(row);
                        continue;
                }
                print_words(row->text, printf("%-5s %-*s", row->state, INDENT - 7, row->what));
                (void)printf("\n");
        }
        print_sum(report, width);
}
