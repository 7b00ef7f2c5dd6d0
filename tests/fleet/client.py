"""
client.py - what the scenarios share: maildrops in the shared tree, deliveries, sessions over pop3s.

Runs in:   tests/fleet/run.py.
May touch: the Maildirs of the fleet, through its nodes.
"""
import hashlib
import itertools
import os
import poplib
import shutil
import socket
import ssl
import time

from place import BALANCER, FIRST_UID, MAIL, ONLY, PASSWORD

PATIENCE = 100          # seconds until a session counts as one that hangs
IN_USE = "[IN-USE]"


class Refused(Exception):
    """A login, or the way to it, did not work; the text tells how."""


class From(poplib.POP3_SSL):
    """A client at one of the addresses that this side has."""

    def __init__(self, port, address=None):
        self.address = address
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        super().__init__(BALANCER, port, timeout=PATIENCE, context=context)

    def _create_socket(self, timeout):
        plain = socket.create_connection((self.host, self.port), timeout,
                                         (self.address, 0) if self.address else None)
        return self.context.wrap_socket(plain)


def log_in(user, node=None, address=None):
    """A session, on this node alone or on whichever the balancer takes."""
    try:
        client = From(ONLY + node if node else 995, address)
        client.user(user)
        client.pass_(PASSWORD)
        return client
    except (poplib.error_proto, OSError, EOFError) as error:
        raise Refused(str(error)) from error


def attempt(user, node=None, address=None):
    """What came of a login that is given back at once: "ok" or how it was refused; seconds."""
    began = time.monotonic()
    try:
        log_in(user, node, address).quit()
        result = "ok"
    except Refused as error:
        result = str(error)
    except (poplib.error_proto, OSError, EOFError) as error:
        result = f"QUIT: {error}"
    return result, time.monotonic() - began


def unique_ids(client):
    return [line.split()[1].decode() for line in client.uidl()[1]]


def content(client, number):
    return hashlib.sha256(b"\r\n".join(client.retr(number)[1])).hexdigest()


def look(user, node):
    """unique-id: digest of what RETR sends, and the ids in their order."""
    client = log_in(user, node)
    ids = unique_ids(client)
    found = {one: content(client, number) for number, one in enumerate(ids, 1)}
    client.quit()
    return ids, found


def number_of(user):
    return FIRST_UID + int(user[1:])


def maildir(node, user):
    """Where it lies, seen from here through the node's own mount."""
    return f"/proc/{node.first}/root{MAIL}/{user}/Maildir"


def text(subject, octets, letter):
    """A message of so many octets, and its head."""
    lines, rest = divmod(octets, 70)
    return f"Subject: {subject}\n\n" + (letter * 70 + "\n") * lines + letter * rest + "\n"


def put(path, content, owner):
    with open(path, "w") as file:
        file.write(content)
    os.chown(path, owner, owner)


def make_maildrop(fleet, user, messages, octets=2000):
    """A Maildir with so many messages, made on node 1."""
    owner, folder = number_of(user), maildir(fleet.node(1), user)
    shutil.rmtree(os.path.dirname(folder), ignore_errors=True)
    for path in (os.path.dirname(folder), folder):
        os.mkdir(path, 0o700)
        os.chown(path, owner, owner)
    fill_maildir(folder, owner, messages, octets)


def fill_maildir(folder, owner, messages, octets=2000):
    """What belongs into a folder that is to be a Maildir."""
    for name in ("new", "cur", "tmp"):
        os.mkdir(f"{folder}/{name}", 0o700)
        os.chown(f"{folder}/{name}", owner, owner)
    for number in range(1, messages + 1):
        put(f"{folder}/new/17000000{number:02d}.M{number}P1.host", text(f"message {number}", octets, "x"), owner)


deliveries = itertools.count(1)


def deliver(node, user, octets=300):
    """One message more, as an MDA on this node brings it; its name."""
    name = f"{int(time.time())}.M{time.time_ns() // 1000 % 1000000}P{next(deliveries)}.{node.name}"
    folder = maildir(node, user)
    put(f"{folder}/tmp/{name}", text(name, octets, "y"), number_of(user))
    os.rename(f"{folder}/tmp/{name}", f"{folder}/new/{name}")
    return name


def names(node, user):
    """Base names of what lies in the two folders."""
    folder = maildir(node, user)
    return sorted(name.split(":")[0] for part in ("new", "cur") for name in os.listdir(f"{folder}/{part}"))
