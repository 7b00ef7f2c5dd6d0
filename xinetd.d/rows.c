/*
 * rows.c - prints the rows of the check.
 * Runs in:   pop3d-check, in each of its processes.
 * May touch: standard output.
 */
#include "check.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum {
        INDENT = 17,            /* columns before a row's text */
        WIDTH = 79,             /* columns of a line */
        TEXT_SIZE = 5120,
};

static int
severity(const char *state)
{
        if (strcmp(state, "fail") == 0)
                return CHECK_FAULTS;
        return strcmp(state, "warn") == 0 ? CHECK_WARNINGS : CHECK_OK;
}

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

void
print_row(void *context, const char *state, const char *what, const char *format, ...)
{
        struct report *report = context;
        char text[TEXT_SIZE];
        va_list arguments;

        if (severity(state) > report->worst)
                report->worst = severity(state);
        va_start(arguments, format);
        (void)vsnprintf(text, sizeof(text), format, arguments);
        va_end(arguments);
        /* parts of the text come from files and from other programs: a terminal must not obey them */
        for (char *at = text; *at != '\0'; at++)
                if (*at != '\n' && (*at < ' ' || *at > '~'))
                        *at = '?';
        print_words(text, printf("%-5s %-*s", state, INDENT - 7, what));
        (void)printf("\n");
}
