#!/usr/bin/python3
"""
client.py - a user's mail program: client.py ADDRESS PORT clear|tls|stls USER PASSWORD CERTIFICATE

Runs in:   the machine that the user sits at, as run.py starts it.
May touch: the server, as a client.

Exits with 0 when it has read the first message; else it prints in a line what it met.
"""
import poplib
import ssl
import sys

address, port, how, user, password, certificate = sys.argv[1:]
try:
    context = None if how == "clear" else ssl.create_default_context(cafile=certificate)
    if how == "tls":
        client = poplib.POP3_SSL(address, int(port), context=context, timeout=15)
    else:
        client = poplib.POP3(address, int(port), timeout=15)
    if how == "stls":
        client.stls(context)
    client.user(user)
    client.pass_(password)
    if client.stat()[0] == 0:
        sys.exit("logged in, and there is no message")
    client.retr(1)
    client.quit()
except Exception as trouble:
    sys.exit(f"{type(trouble).__name__}: {trouble}")
