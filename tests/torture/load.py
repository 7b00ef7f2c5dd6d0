#!/usr/bin/python3
"""
load.py - hundreds of sessions at once through a real xinetd.

Silent clients, clients that hardly read, and in the middle of them clients that
work: what the first two cost, and that the third are served as if alone. Then
what a client sees where xinetd's own limits are reached.

Runs in:   the test runner, as root, in a network of its own.
May touch: a private world, an xinetd of its own.
"""
import concurrent.futures
import os
import re
import select
import socket
import statistics
import sys
import threading
import time

import common

from harness import wire
from harness.server import Failure, children
from harness.world import Skip
from system.xinetd import PORT, xinetd

# Fewer than 100 wait for a login at once, beyond which places are short; and 20 of one address at most.
SILENT, SLOW, WORKERS, ROUNDS = 30, 150, 60, 10
LOGIN_SECONDS, IDLE_SECONDS = 25, 60
# What a session may cost, in KiB of proportional memory.
BEFORE_LOGIN_MAX, SERVING_MAX = 700, 900

LARGE = b"Subject: large\n\n" + b"a line of a message that takes a slow reader long\n" * 40000
SMALL = b"Subject: small\n\n.small\n"


def must(condition, why):
    if not condition:
        raise Failure(why)


class Client:
    """A client by hand, so that it may be slow, silent and rude."""

    def __init__(self, address="127.0.0.1", receive_buffer=None, timeout=60):
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(timeout)
        self.socket.bind((address, 0))
        self.socket.connect(("127.0.0.1", PORT))
        self.received = b""

    def read(self, size=65536):
        got = self.socket.recv(size)
        self.received += got
        return got

    def line(self):
        while b"\r\n" not in self.received:
            if not self.read():
                raise Failure(f"closed after {self.received!r}")
        line, self.received = self.received.split(b"\r\n", 1)
        return line.decode("latin-1")

    def exactly(self, size):
        while len(self.received) < size:
            if not self.read(1 << 18):
                raise Failure(f"closed {size - len(self.received)} octets before the end")
        taken, self.received = self.received[:size], self.received[size:]
        return taken

    def expect(self, command, prefix="+OK"):
        if command:
            self.socket.sendall(command.encode() + b"\r\n")
        line = self.line()
        must(line.startswith(prefix), f"{command}: {line}")
        return line

    def log_in(self, user):
        self.expect("", "+OK pop3d ")
        self.expect(f"USER {user}")
        self.expect("PASS secret", "+OK User successfully logged on")

    def at_end(self):
        """What still comes until the server closes."""
        try:
            while self.read():
                continue
        except ConnectionResetError:
            pass
        return self.received

    def close(self):
        self.socket.close()


def make_maildrop(root, user, uid):
    maildir = f"{root}/{user}/Maildir"
    for folder in ("", "/new", "/cur", "/tmp"):
        os.makedirs(maildir + folder, exist_ok=True)
        os.chown(maildir + folder, uid, uid)
    for number, content in enumerate((LARGE, SMALL, SMALL), 1):
        path = f"{maildir}/cur/{1700000000 + number}.M{number}P1.load:2,S"
        with open(path, "wb") as file:
            file.write(content)
        os.chown(path, uid, uid)


def sessions_of(server):
    """The processes of each session."""
    return {pid: [pid, *children(pid)] for pid in children(server.pid)}


def memory_of(pids):
    """KiB of memory that would be free without them."""
    total = 0
    for pid in pids:
        with open(f"/proc/{pid}/smaps_rollup") as file:
            total += int(re.search(r"^Pss:\s+(\d+)", file.read(), re.MULTILINE)[1])
    return total


class Load:
    def __init__(self, world, server, root, report):
        self.world, self.server, self.root, self.report = world, server, root, report
        self.wire = wire.whole(LARGE)

    def be_silent(self, number):
        """Connects and says nothing."""
        client = Client(f"127.0.2.{1 + number % 4}")
        client.expect("", "+OK pop3d ")
        return client

    def be_slow(self, number):
        """Asks for a large message and takes a few octets of it."""
        client = Client(f"127.0.3.{1 + number % 100}", receive_buffer=4096)
        client.log_in(f"slow{number}")
        client.socket.sendall(b"RETR 1\r\n")
        must(client.line().startswith("+OK"), "RETR")
        return client

    def work(self, number):
        """Whole sessions, one after another; how long each took."""
        times = []
        for _ in range(ROUNDS):
            began = time.monotonic()
            client = Client(f"127.0.4.{1 + number}")
            client.log_in(f"work{number}")
            must(client.expect("STAT") == f"+OK 3 {sum(map(wire.octets, (LARGE, SMALL, SMALL)))}", "STAT")
            client.expect("RETR 1")
            must(client.exactly(len(self.wire)) == self.wire, "other octets than the message's")
            client.expect("RETR 2")
            must(client.exactly(len(wire.whole(SMALL))) == wire.whole(SMALL), "RETR 2")
            client.expect("DELE 3")
            client.expect("RSET")
            client.expect("QUIT")
            must(client.at_end() == b"", "more than was asked for")
            client.close()
            times.append(time.monotonic() - began)
        return times

    def run(self):
        with concurrent.futures.ThreadPoolExecutor(32) as pool:
            silent = list(pool.map(self.be_silent, range(SILENT)))
            silent_since = time.monotonic()
            slow = list(pool.map(self.be_slow, range(SLOW)))
        self.measure()
        with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
            began = time.monotonic()
            times = sorted(sum(pool.map(self.work, range(WORKERS)), []))
            seconds = time.monotonic() - began
        octets = WORKERS * ROUNDS * len(self.wire)
        self.report.check(f"{WORKERS} clients work among {SILENT} silent and {SLOW} slow ones", True,
                          f"{len(times)} sessions in {seconds:.1f} s, median {statistics.median(times) * 1000:.0f} "
                          f"ms, the slowest {times[-1] * 1000:.0f} ms, {octets / seconds / 1e6:.0f} MB/s")
        self.finish_slow(slow)
        self.finish_silent(silent, silent_since)
        self.look_back()

    def measure(self):
        sessions = sessions_of(self.server)
        silent = {pid: pids for pid, pids in sessions.items() if len(pids) == 2}
        slow = {pid: pids for pid, pids in sessions.items() if len(pids) == 1}
        self.report.check("processes: two before the login, one after it",
                          len(silent) == SILENT and len(slow) == SLOW,
                          f"{len(silent)} sessions of two, {len(slow)} of one, {len(sessions)} in all")
        for name, group, limit in (("before the login", silent, BEFORE_LOGIN_MAX),
                                   ("while a message is sent", slow, SERVING_MAX)):
            costs = sorted(memory_of(pids) for pids in group.values())
            self.report.check(f"memory of a session {name}", costs and costs[-1] <= limit,
                              f"{statistics.median(costs):.0f} KiB, {costs[-1]} KiB at most, PSS of all its "
                              f"processes, {len(costs)} at once")

    def finish_slow(self, slow):
        """Half of them read on, and get all of it; half go away in the middle."""
        for client in slow[::2]:
            client.close()
        for client in slow[1::2]:
            must(client.exactly(len(self.wire)) == self.wire, "a slow reader got something else")
            client.expect("QUIT")
            client.close()
        self.report.check("slow readers get every octet in the end", True, f"{len(slow) // 2} of them, {len(self.wire)} octets each")

    def finish_silent(self, silent, since):
        poll = select.poll()
        for client in silent:
            poll.register(client.socket, select.POLLIN)
        left = since + LOGIN_SECONDS - 3 - time.monotonic()
        must(not poll.poll(max(0, left) * 1000) or left < 0, "a silent client was ended too early")
        said = {client.at_end() for client in silent}
        took = time.monotonic() - since
        self.report.check("silent clients are ended by the clock", said == {b""} and took < LOGIN_SECONDS + 15,
                          f"all of {len(silent)} after {took:.0f} s of -l {LOGIN_SECONDS}, told {said}")
        for client in silent:
            client.close()

    def look_back(self):
        end = time.monotonic() + 10
        while sessions_of(self.server) and time.monotonic() < end:
            time.sleep(0.05)
        left = sessions_of(self.server)
        lost = [user for user in os.listdir(self.root)
                if sorted(os.listdir(f"{self.root}/{user}/Maildir/cur")) !=
                [f"{1700000000 + n}.M{n}P1.load:2,S" for n in (1, 2, 3)]]
        self.report.check("afterwards no process is left, and no message is lost", not left and not lost,
                          f"processes {left}, maildrops {lost}" if left or lost
                          else f"{len(os.listdir(self.root))} maildrops whole")


# xinetd's limits

def is_closed_without_a_word(client):
    try:
        return client.at_end() == b""
    finally:
        client.close()


def check_instances(server_arguments, world, report):
    """instances: the next one is closed without a word, or told by banner_fail; those inside do not notice."""
    banner = f"{world.folder()}/banner"
    with open(banner, "w") as file:
        file.write("-ERR [SYS/TEMP] Too many sessions; please try later\r\n")
    for attributes, told in (({}, b""), ({"banner_fail": banner}, open(banner, "rb").read())):
        with xinetd(world, instances=20, server_args=server_arguments, **attributes) as server:
            inside = []
            await_no_sessions(server)
            for number in range(20):
                client = Client()
                client.log_in(f"work{number}")
                inside.append(client)
            outside = [Client() for _ in range(10)]
            said = {client.at_end() for client in outside}
            report.check(f"xinetd: beyond instances a client is told {told.decode().strip() or 'nothing'}",
                         said == {told}, f"ten were told {said}")
            for client in inside:
                client.expect("STAT", "+OK 3")
                client.expect("QUIT")
                client.close()
            await_no_sessions(server)
            client = Client()
            client.log_in("work0")
            client.expect("QUIT")
            report.check("xinetd: with a place free again a client is served", True)


def await_no_sessions(server):
    """xinetd has seen the end of them all, the one that asked whether it listens included."""
    time.sleep(0.3)
    end = time.monotonic() + 10
    while children(server.pid):
        must(time.monotonic() < end, f"sessions {children(server.pid)} do not end")
        time.sleep(0.02)
    time.sleep(0.3)


def check_per_source(server_arguments, world, report):
    """per_source: one address may not take all places."""
    with xinetd(world, per_source=5, server_args=server_arguments) as server:
        await_no_sessions(server)
        inside = [Client() for _ in range(5)]
        for client in inside:
            client.expect("", "+OK pop3d ")
        refused = [is_closed_without_a_word(Client()) for _ in range(5)]
        other = Client(address="127.0.0.77")
        other.log_in("work1")
        other.expect("QUIT")
        report.check("xinetd: beyond per_source a client is closed without a word, others are served",
                     all(refused), f"{refused.count(True)} of 5")
        for client in inside:
            client.close()


def check_rate(server_arguments, world, report):
    """cps: too many within a second, and nobody is served for a while; sessions go on."""
    with xinetd(world, cps="10 2", server_args=server_arguments) as server:
        await_no_sessions(server)
        time.sleep(1.1)
        inside = Client()
        inside.log_in("work2")
        outcome = {"served": 0, "closed": 0, "refused": 0}
        for _ in range(40):
            try:
                client = Client()
                outcome["closed" if client.read() == b"" else "served"] += 1
                client.close()
            except ConnectionRefusedError:
                outcome["refused"] += 1
            except ConnectionResetError:
                outcome["closed"] += 1
        inside.expect("STAT", "+OK 3")
        time.sleep(3)
        client = Client()
        client.log_in("work3")
        client.expect("QUIT")
        inside.expect("QUIT")
        report.check("xinetd: beyond cps clients are refused for a while, sessions go on, then all is well",
                     outcome["served"] <= 25 and outcome["refused"] > 0, str(outcome))


def main():
    world = common.enter()
    report = common.Report()
    uid = common.ACCOUNTS["vmail"][0]
    root = f"{world.root}/load"
    for name, count in (("slow", SLOW), ("work", WORKERS)):
        for number in range(count):
            make_maildrop(root, f"{name}{number}", uid)
    for place in [root] + [f"{root}/{user}" for user in os.listdir(root)]:
        os.chmod(place, 0o755)
    world.service("permit", "auth required pam_permit.so\naccount required pam_permit.so\n")
    arguments = (f"-C {world.configuration} -s permit -v vmail -m {root}/%u/Maildir "
                 f"-l {LOGIN_SECONDS} -t {IDLE_SECONDS}")
    try:
        # xinetd notices the end of a session somewhat late: room for those that are over
        with xinetd(world, instances=SILENT + SLOW + 4 * WORKERS, per_source="UNLIMITED",
                    cps="10000 1", server_args=arguments) as server:
            Load(world, server, root, report).run()
        check_instances(arguments, world, report)
        check_per_source(arguments, world, report)
        check_rate(arguments, world, report)
    except Skip as skip:
        report.skip("load", str(skip))
    except (Failure, OSError) as failure:
        report.check("load", False, f"{type(failure).__name__}: {failure}")
    report.end()


if __name__ == "__main__":
    main()
