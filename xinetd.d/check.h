/*
 * check.h - the contract of xinetd.d/'s one piece of code: what launches pop3d, and is it so?
 * Runs in:   pop3d -c alone, as root where it can; never in a session.
 * May touch: the launchers' configuration and /proc, for reading; the ports, as a client.
 */
#ifndef POP3D_XINETD_CHECK_H
#define POP3D_XINETD_CHECK_H

/* As in auth/auth.h: the folders do not know each other. */
typedef void (*check_row)(void *context, const char *state, const char *what, const char *format,
    ...) __attribute__((format(printf, 4, 5)));

/*
 * The rows of launchers, ports and TLS. greeting is how this pop3d greets. Returns the
 * arguments that a launcher gives it, in one string of static storage, and in file where they
 * stand, or NULL: none does. Of several launchers it is the one that has the port.
 */
char *launcher_check(const char *greeting, check_row row, void *context, const char **file);

#endif
