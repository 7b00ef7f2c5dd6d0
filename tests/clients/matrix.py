#!/usr/bin/python3
"""
matrix.py - fetches a maildrop with every client that people still use with
POP3, from xinetd and stunnel with the shipped files, and compares what the
client stored with the Maildir, octet for octet. Writes build/clients.md.

Runs in:   namespaces of its own, as root; the clients as an ordinary user.
May touch: see tests/launch/common.py; build/clients.md.

    python3 tests/clients/matrix.py [-v] [CLIENT ...]
"""
import glob
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "launch"))
sys.path.insert(0, HERE)

import common
import corpus
from common import PASSWORD, ROOM, TREE, Failure, check

PORTS = {"clear": 110, "pop3s": 995, "STLS": 1100}
CLIENT_UID = common.ACCOUNTS["bob"]
RESULT = f"{TREE}/build/clients.md"
SECONDS = 150               # for one run of a client, however busy the machine is


class Run:
    """One run of one client: where it lives, where it connects, what it is to do."""

    def __init__(self, client, transport, keep, home):
        self.client, self.transport, self.keep, self.home = client, transport, keep, home
        self.port = PORTS[transport]
        self.host, self.user, self.password = "localhost", "alice", PASSWORD
        self.authority = f"{ROOM}/certificate"
        self.mail = f"{home}/Mail"
        self.is_secured = transport != "clear"

    def file(self, name, text, mode=0o600):
        path = f"{self.home}/{name}"
        common.write(path, text)
        os.chmod(path, mode)
        for folder in (path, os.path.dirname(path)):
            os.chown(folder, CLIENT_UID, CLIENT_UID)
        return path

    def place(self, **more):
        """Where a program runs as the client's user, and what it finds in its environment."""
        environment = {"HOME": self.home, "PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8",
                       "TERM": "xterm", "USER": "bob", "LOGNAME": "bob", "TMPDIR": self.home,
                       "SSL_CERT_FILE": self.authority, **more}
        return {"env": environment, "cwd": self.home, "user": CLIENT_UID, "group": CLIENT_UID,
                "extra_groups": []}

    def command(self, *command, seconds=SECONDS, ok=(0,), env=None, stdin=subprocess.DEVNULL):
        """Runs a program as the client's user; its output."""
        done = subprocess.run(command, stdin=stdin, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=seconds, **self.place(**(env or {})))
        said = done.stdout.decode("utf-8", "replace")
        check(done.returncode in ok,
              f"{command[0]} ended with {done.returncode}: {said[:500]} ... {said[-500:]}")
        return said

    def stored(self, folder=None):
        """The messages of a Maildir or of a folder of numbered files."""
        return [path for pattern in ("new/*", "cur/*", "[0-9]*")
                for path in sorted(glob.glob(f"{folder or self.mail}/{pattern}"))
                if os.path.isfile(path)]

    def fetched(self, folder=None):
        found = []
        for path in self.stored(folder):
            with open(path, "rb") as file:
                found.append(file.read())
        return found

    def folder(self, path):
        os.makedirs(path, exist_ok=True)
        os.chown(path, CLIENT_UID, CLIENT_UID)

    def maildir(self):
        common.maildrop(self.mail, CLIENT_UID)


class Client:
    """What all drivers share. fetch() returns the messages as the client stored them."""

    name = ""
    program = ""
    transports = ("clear", "pop3s", "STLS")
    deletes = keeps = True
    note = ""                   # what the client does to the messages, or cannot do
    distorts = {}               # name of a message: function of its content

    def missing(self):
        """What is not installed, if anything."""
        return "" if shutil.which(self.program) else self.program

    def version(self):
        raise NotImplementedError

    def fetch(self, run):
        raise NotImplementedError

    def stored(self, name, content):
        """What the client is expected to have made of a message."""
        content = self.distorts.get(name, lambda same: same)(corpus.plain_lines(content))
        return self.distorts.get("*", lambda same: same)(content)

    def read(self, content):
        """What the client stored, with line ends as on Unix."""
        return corpus.plain_lines(content)


def fill(messages):
    common.empty("alice")
    shutil.rmtree("/home/alice/Maildir", ignore_errors=True)
    common.maildrop("/home/alice/Maildir", common.ACCOUNTS["alice"])
    for content in messages:
        common.deliver("alice", content)


def disk():
    """The contents of the maildrop, whatever the names are."""
    return sorted(open(path, "rb").read() for path in common.messages("alice"))


def compare(client, got, wanted):
    got = [client.read(content) for content in got]
    problems = []
    for name, content in wanted.items():
        stored = client.stored(name, content)
        if stored in got:
            got.remove(stored)
            continue
        alike = [content for content in got if f"Subject: {name}\n".encode() in content]
        problems.append(f"{name}: {difference(stored, alike[0]) if alike else 'not fetched'}")
        if alike:
            got.remove(alike[0])
    problems += [f"a message too many: {content[:100]!r}" for content in got]
    check(not problems, "; ".join(problems))


def difference(wanted, got):
    at = next((i for i, (a, b) in enumerate(zip(wanted, got)) if a != b), min(len(wanted), len(got)))
    return (f"{len(wanted)} octets wanted, {len(got)} stored, different at {at}: "
            f"{wanted[max(0, at - 20):at + 40]!r} is {got[max(0, at - 20):at + 40]!r}")


def new_home(name):
    home = f"{ROOM}/home-{name}"
    shutil.rmtree(home, ignore_errors=True)
    os.makedirs(home)
    os.chown(home, CLIENT_UID, CLIENT_UID)
    return home


def overtake_nothing(world, mark):
    """Waits until the log has been read as far as it was written when this began."""
    word = f"matrix: {time.monotonic_ns()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
        one.sendto(f"<22>{word}".encode(), "/dev/log")
    world.log.wait(word, mark, SECONDS)


def sessions(world, mark, run):
    """The LOGOUT lines of all sessions since the mark, none of which goes on."""
    wanted = "yes" if run.is_secured else "no"
    # a LOGIN was logged before the client heard of it
    overtake_nothing(world, mark)
    world.log.wait(rf"LOGIN, user=alice, .*secured={wanted}$", mark, SECONDS)
    end = time.monotonic() + SECONDS
    while True:
        lines = world.log.lines[mark:]
        logins, logouts = ([line for line in lines if f": {word}, user=alice, " in line]
                           for word in ("LOGIN", "LOGOUT"))
        if len(logins) == len(logouts):
            break
        check(time.monotonic() < end, f"{len(logins) - len(logouts)} sessions do not end")
        time.sleep(0.02)
    faults = [line for line in lines if re.search(r"FAULT|LOGIN FAILED", line)]
    check(not faults, "the log has faults: " + "; ".join(faults))
    clear = [line for line in logins if f"secured={wanted}" not in line]
    check(not clear, "not as it should be secured: " + "; ".join(clear))
    return logouts


def retrieved(logouts, what):
    return sum(int(re.search(rf" {what}=(\d+)", line)[1]) for line in logouts)


def deleting(world, client, transport):
    """Fetches all, and deletes if it can; the maildrop is as it should be afterwards."""
    fill(corpus.CORPUS.values())
    run = Run(client, transport, not client.deletes, new_home(client.name.replace(" ", "-")))
    mark = world.log.mark()
    compare(client, client.fetch(run), corpus.CORPUS)
    sessions(world, mark, run)
    left = [] if client.deletes else sorted(corpus.CORPUS.values())
    check(disk() == left, f"{len(disk())} messages are left, not {len(left)}")


def keeping(world, client):
    """Two runs with a delivery between: the second fetches what is new and nothing else."""
    fill(corpus.CORPUS.values())
    home = new_home(client.name.replace(" ", "-"))
    run = Run(client, "clear", True, home)
    mark = world.log.mark()
    compare(client, client.fetch(run), corpus.CORPUS)
    sessions(world, mark, run)
    common.deliver("alice", corpus.LATER)
    run = Run(client, "clear", True, home)
    mark = world.log.mark()
    got = client.fetch(run)
    everything = {**corpus.CORPUS, "later": corpus.LATER}
    compare(client, got, {"later": corpus.LATER} if len(got) == 1 else everything)
    logouts = sessions(world, mark, run)
    retr, top = retrieved(logouts, "retr"), retrieved(logouts, "top")
    check(retr == 1 or (retr == 0 and top >= 1), f"the second run retrieved {retr} messages, not 1")
    check(disk() == sorted(everything.values()), "the maildrop has changed")


def start_servers(world):
    world.reset()
    common.shipped("stunnel-exec.conf", "/etc/stunnel/pop3s.conf")
    common.shipped("stunnel-stls.conf", "/etc/stunnel/pop3-stls.conf",
                   [("accept = :::110", f"accept = :::{PORTS['STLS']}")])
    world.certificate()
    os.chmod(f"{ROOM}/certificate", 0o644)
    # no limit is to be met by a client that connects for each message
    common.write("/etc/xinetd.d/pop3", re.sub(r"cps\s+= .*", "cps = 10000 1",
                                              common.read_text("/etc/xinetd.d/pop3")))
    world.start("xinetd", "-dontfork", "-f", "/etc/xinetd.conf", port=110)
    world.start("stunnel", "/etc/stunnel/pop3s.conf", port=995)
    world.start("stunnel", "/etc/stunnel/pop3-stls.conf", port=PORTS["STLS"])


def attempt(name, function, *arguments):
    """One cell of the table."""
    try:
        started = time.monotonic()
        function(*arguments)
        print(f"ok {name} ({time.monotonic() - started:.1f} s)", flush=True)
        return "yes"
    except Exception as failure:
        where = "" if isinstance(failure, (Failure, subprocess.TimeoutExpired)) else \
            "\n" + traceback.format_exc()
        print(f"not ok {name} - {failure}{where}", flush=True)
        return "NO"


def row(world, client):
    cells = []
    for transport in PORTS:
        cells.append(attempt(f"{client.name}, {transport}", deleting, world, client, transport)
                     if transport in client.transports else "–")
    deletes = "NO" if "NO" in cells else "yes" if client.deletes else "–"
    keeps = attempt(f"{client.name}, keeps", keeping, world, client) if client.keeps else "–"
    return [client.name, client.version(), *cells, deletes, keeps, client.note]


def write_table(rows, missing):
    lines = ["| client | version | clear | pop3s | STLS | deletes | keeps its place | |",
             "|---|---|---|---|---|---|---|---|"]
    lines += ["| " + " | ".join(cells) + " |" for cells in rows]
    lines += [f"\nNot driven: {name}: {why}." for name, why in missing]
    os.makedirs(os.path.dirname(RESULT), exist_ok=True)
    with open(RESULT, "w") as file:
        file.write("\n".join(lines) + "\n")


def main(world):
    import desktop
    import drivers
    wanted = [word for word in sys.argv[1:] if not word.startswith("-")]
    clients = [client for client in drivers.CLIENTS + desktop.CLIENTS
               if not wanted or any(word.lower() in client.name.lower() for word in wanted)]
    start_servers(world)
    rows, missing, skipped = [], [], 0
    for client in clients:
        if lacks := client.missing():
            print(f"{'not ok' if os.environ.get('CI') else 'ok'} {client.name}"
                  f" # skipped: {lacks} is not installed", flush=True)
            skipped += 1
            missing.append((client.name, f"{lacks} is not installed"))
            continue
        rows.append(row(world, client))
    if not wanted:
        write_table(rows, missing)
    cells = [cell for cells in rows for cell in cells[2:7]]
    failed = cells.count("NO") + (skipped if os.environ.get("CI") else 0)
    print(f"{cells.count('yes')} passed, {failed} failed, "
          f"{0 if os.environ.get('CI') else skipped} skipped")
    return 1 if failed else 0


def install_node_client():
    """While there is a network: the one client that is no Debian package, new and old."""
    if os.path.isdir(f"{TREE}/build/node_modules/node-pop3-old") or not shutil.which("npm"):
        return
    os.makedirs(f"{TREE}/build", exist_ok=True)
    try:
        subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--silent", "--prefix",
                        f"{TREE}/build", "node-pop3@0.11.0", "node-pop3-old@npm:node-pop3@0.8.0"],
                       stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        print("npm does not come to an end", flush=True)


if __name__ == "__main__":
    if os.geteuid() != 0:
        print("0 passed, 0 failed, 1 skipped")
        sys.exit(0)
    if common.INSIDE not in os.environ:
        install_node_client()
    common.enter_world(main)
