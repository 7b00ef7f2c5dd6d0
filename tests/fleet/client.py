"""
client.py - what the scenarios share: maildrops in the shared tree, deliveries, sessions over pop3s.

Runs in:   tests/fleet/run.py.
May touch: the Maildirs of the fleet, through its nodes.
"""
import hashlib
import itertools
import poplib
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


def make_maildrop(fleet, user, messages, octets=2000):
    """A Maildir with so many messages, made on node 1."""
    owner = number_of(user)
    fleet.node(1).run(f"""
        rm -rf {MAIL}/{user}
        mkdir -p {MAIL}/{user}/Maildir/new {MAIL}/{user}/Maildir/cur {MAIL}/{user}/Maildir/tmp
        cd {MAIL}/{user}/Maildir
        for n in $(seq {messages}); do
            {{ printf 'Subject: message %s\\n\\n' $n; head -c {octets} /dev/zero | tr '\\0' x | fold -w 70; echo; }} \
                >new/17000000$(printf %02d $n).M${{n}}P1.host
        done
        chown -R {owner}:{owner} {MAIL}/{user}; chmod 700 {MAIL}/{user} {MAIL}/{user}/Maildir""")


deliveries = itertools.count(1)


def deliver(node, user, octets=300):
    """One message more, as an MDA on this node brings it; its name."""
    name = f"{int(time.time())}.M{time.time_ns() // 1000 % 1000000}P{next(deliveries)}.{node.name}"
    owner = number_of(user)
    node.run(f"""cd {MAIL}/{user}/Maildir
        {{ printf 'Subject: {name}\\n\\n'; head -c {octets} /dev/zero | tr '\\0' y | fold -w 70; echo; }} >tmp/{name}
        chown {owner}:{owner} tmp/{name}; mv tmp/{name} new/{name}""")
    return name


def names(node, user):
    """Base names of what lies in the two folders."""
    text = node.run(f"cd {MAIL}/{user}/Maildir; ls new cur")
    return sorted(line.split(":")[0] for line in text.splitlines() if "." in line)
