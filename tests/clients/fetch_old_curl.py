#!/usr/bin/python3
"""
fetch_old_curl.py - the commands that curl sent before 7.21.7, each session as it held it:
HOST PORT TRANSPORT AUTHORITY USER PASSWORD FOLDER SEEN KEEP
"""
import socket
import ssl
import sys

host, port, transport, authority, user, password, folder, seen_file, keep = sys.argv[1:]
context = ssl.create_default_context(cafile=authority)


def session(command):
    """One URL: the login, one command with an answer of many lines, QUIT."""
    client = socket.create_connection((host, int(port)))
    if transport == "pop3s":
        client = context.wrap_socket(client, server_hostname=host)
    file = client.makefile("rb")

    def ask(line):
        client.sendall(line.encode() + b"\r\n")
        return check(file.readline())

    def check(reply):
        assert reply.startswith(b"+OK"), reply
        return reply

    check(file.readline())
    if transport == "STLS":
        ask("STLS")
        client = context.wrap_socket(client, server_hostname=host)
        file = client.makefile("rb")
    ask(f"USER {user}")
    ask(f"PASS {password}")
    ask(command)
    lines = []
    while (line := file.readline()) != b".\r\n":
        assert line, "the server closed"
        lines.append(line.removeprefix(b"."))
    ask("QUIT")
    assert file.read() == b""
    return lines


# without a message in its URL it sent the blank all the same
for listed in session("LIST "):
    number, octets = listed.decode().split()
    content = b"".join(session(f"RETR {number}"))
    assert len(content) == int(octets), f"LIST is wrong for {number}"
    with open(f"{folder}/{number}", "wb") as out:
        out.write(content)
