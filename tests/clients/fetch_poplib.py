#!/usr/bin/python3
"""fetch_poplib.py - HOST PORT TRANSPORT AUTHORITY USER PASSWORD FOLDER SEEN KEEP"""
import os
import poplib
import ssl
import sys

host, port, transport, authority, user, password, folder, seen_file, keep = sys.argv[1:]
poplib._MAXLINE = 10000         # it takes no longer line than 2,048 octets otherwise
context = ssl.create_default_context(cafile=authority)
if transport == "pop3s":
    client = poplib.POP3_SSL(host, int(port), context=context)
else:
    client = poplib.POP3(host, int(port))
    if transport == "STLS":
        client.stls(context)
client.user(user)
client.pass_(password)
count, octets = client.stat()
seen = open(seen_file).read().split() if os.path.exists(seen_file) else []
assert sum(int(line.split()[1]) for line in client.list()[1]) == octets
for line in client.uidl()[1]:
    number, unique_id = line.decode().split()
    if unique_id in seen:
        continue
    _, lines, size = client.retr(int(number))
    assert size == int(client.list(int(number)).split()[2]), f"LIST is wrong for {number}"
    with open(f"{folder}/{number}", "wb") as file:
        file.write(b"".join(line + b"\n" for line in lines))
    with open(seen_file, "a") as file:
        file.write(f"{unique_id}\n")
    if keep == "no":
        client.dele(int(number))
client.quit()
