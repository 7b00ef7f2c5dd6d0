"""
tls.py - polls over TLS: what a whole road costs a session, from the daemon that
does TLS to the process that reads the Maildir.

A road is one way to serve pop3s. Its daemons' processor time, and that of every child they
have waited for, is read from /proc before and after some sessions; the client's is not in it.
So what other work the machine has does not count, and a daemon that keeps processes ready is
charged for what these do.

Runs in:   the benchmark, in its own root.
May touch: configuration files and run-time folders in that root.
"""
import os
import signal
import socket
import ssl
import statistics
import subprocess
import time

from place import BIN, PASSWORD, PEERS, write
from servers import Dovecot, Pop3d, wait_for_port

CERTIFICATE = "/etc/bench.pem"
TICK = os.sysconf("SC_CLK_TCK")
OURS, STUNNEL, FLOOR = "pop3d, HAProxy", "pop3d, stunnel", "fork, exec, PAM, HAProxy"
QUIET_SECONDS = 0.3     # after the last session, for children that are yet to be waited for

XINETD_FILE = """
defaults
{{
        instances = UNLIMITED
        cps = 10000 1
}}
service {name}
{{
        type = UNLISTED
        port = {port}
        bind = 127.0.0.1
        socket_type = stream
        protocol = tcp
        wait = no
        user = root
        server = {program}
        server_args = {arguments}
}}
"""

HAPROXY_FILE = """
global
        maxconn 2000
defaults
        mode tcp
        timeout connect 10s
        timeout client 11m
        timeout server 11m
frontend pop3s
        bind 127.0.0.1:{port} ssl crt {certificate} ssl-min-ver TLSv1.2
        default_backend inner
backend inner
        server node1 127.0.0.1:{inner} {header}
"""

STUNNEL_FILE = """
foreground = quiet
pid =
[pop3s]
accept = 127.0.0.1:{port}
connect = 127.0.0.1:{inner}
protocol = proxy
cert = {certificate}
"""

DOVECOT_TLS = """
ssl = yes
ssl_cert = <{certificate}
ssl_key = <{certificate}
service pop3-login {{
  inet_listener pop3s {{
    port = {port}
    ssl = yes
  }}
}}
"""


def tool(path):
    """The machine's own, else the one that was fetched."""
    return path if os.access(path, os.X_OK) else PEERS + path


def make_certificate():
    if not os.path.exists(CERTIFICATE):
        write("/etc/bench.cnf", "[req]\ndistinguished_name = name\n[name]\n")
        subprocess.run(["openssl", "req", "-config", "/etc/bench.cnf", "-x509", "-newkey", "rsa:2048", "-nodes",
                        "-days", "30", "-subj", "/CN=localhost", "-keyout", "/etc/bench.key", "-out", "/etc/bench.crt"],
                       check=True, capture_output=True)
        parts = [open(f"/etc/bench.{part}").read() for part in ("key", "crt")]
        write(CERTIFICATE, "".join(parts), 0o600)


def times(pid):
    """Seconds of a process and of the children that it waited for."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / TICK


def family(pid):
    found = [pid]
    for parent in found:
        for task in os.listdir(f"/proc/{parent}/task"):
            with open(f"/proc/{parent}/task/{task}/children") as file:
                found += [int(child) for child in file.read().split()]
    return found


class Road:
    """Some daemons, the last of which listens for TLS."""

    def __init__(self, name, port, commands, inner=()):
        self.name, self.port, self.commands, self.inner = name, port, commands, inner
        self.daemons, self.samples = [], []

    def start(self):
        make_certificate()
        for command in self.commands:
            self.daemons.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                                 stderr=subprocess.DEVNULL))
        for port in [*self.inner, self.port]:
            wait_for_port(port)

    def stop(self):
        for daemon in self.daemons:
            daemon.send_signal(signal.SIGTERM)
        for daemon in self.daemons:
            daemon.wait()

    def seconds(self):
        return sum(times(pid) for daemon in self.daemons for pid in family(daemon.pid))


def behind_xinetd(name, inner, program, arguments, front):
    """Commands of xinetd with a program, and of what does TLS in front of it."""
    path = f"/etc/{name.replace(' ', '-')}"
    write(f"{path}.xinetd", XINETD_FILE.format(name=f"inner{inner}", port=inner, program=program, arguments=arguments))
    return [[tool("/usr/sbin/xinetd"), "-dontfork", "-f", f"{path}.xinetd", "-pidfile", f"/run/{inner}.pid"],
            front(path)]


def by_haproxy(port, inner, header):
    def front(path):
        write(f"{path}.cfg", HAPROXY_FILE.format(port=port, inner=inner, certificate=CERTIFICATE, header=header))
        return [tool("/usr/sbin/haproxy"), "-db", "-q", "-f", f"{path}.cfg"]
    return front


def by_stunnel(port, inner):
    def front(path):
        write(f"{path}.stunnel", STUNNEL_FILE.format(port=port, inner=inner, certificate=CERTIFICATE), 0o600)
        return [tool("/usr/bin/stunnel4"), f"{path}.stunnel"]
    return front


class DovecotRoad(Road):
    def __init__(self, peer, port):
        super().__init__(peer.name, port, [])
        self.peer = Dovecot(f"{peer.name} tls", port + 1000, peer.login, peer.pop3,
                            peer.more + DOVECOT_TLS.format(certificate=CERTIFICATE, port=port))

    def start(self):
        make_certificate()
        self.peer.start()
        wait_for_port(self.port)

    def stop(self):
        os.kill(self.peer.daemon, signal.SIGTERM)
        os.waitpid(self.peer.daemon, 0)

    def seconds(self):
        return sum(times(pid) for pid in family(self.peer.daemon))


def roads(bench, user):
    pop3d = Pop3d().binary
    floor = f"pop3 /data/{user}/floor 10"
    ours = "-x -m pop3d"
    found = [
        Road(OURS, 2001, behind_xinetd("pop3d haproxy", 2101, pop3d, ours, by_haproxy(2001, 2101, "send-proxy-v2-ssl")), [2101]),
        Road(STUNNEL, 2002, behind_xinetd("pop3d stunnel", 2102, pop3d, ours + " -S",
             by_stunnel(2002, 2102)), [2102]),
        Road(FLOOR, 2003, behind_xinetd("floor haproxy", 2103, f"{BIN}/floor_pam", floor,
             by_haproxy(2003, 2103, "")), [2103]),
    ]
    return found + [DovecotRoad(peer, 2010 + number) for number, peer in enumerate(bench.peers)
                    if isinstance(peer, Dovecot)]


class Client:
    """A POP3 client over TLS, which believes any certificate."""

    def __init__(self, port):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self.socket = context.wrap_socket(socket.create_connection(("127.0.0.1", port), 60))
        self.file = self.socket.makefile("rb")
        self.line()

    def line(self):
        line = self.file.readline()
        if not line.startswith(b"+OK"):
            raise OSError(f"answered {line!r}")

    def say(self, text):
        self.socket.sendall(text.encode() + b"\r\n")

    def ask(self, text):
        self.say(text)
        self.line()

    def rest(self):
        while self.file.readline() != b".\r\n":
            pass

    def session(self, user, messages):
        """What a mail program does that looks for new mail, and fetches so many."""
        self.ask(f"USER {user}")
        self.ask(f"PASS {PASSWORD}")
        self.ask("STAT")
        if messages:
            self.say("\r\n".join(f"RETR {number}" for number in range(1, messages + 1)))
            for _ in range(messages):
                self.line()
                self.rest()
        self.ask("QUIT")
        self.file.read()
        self.socket.close()


def take(road, user, messages, count):
    before = road.seconds()
    for _ in range(count):
        Client(road.port).session(user, messages)
    time.sleep(QUIET_SECONDS)
    road.samples.append((road.seconds() - before) / count)


def measure(bench, user, messages, count, rounds):
    """Seconds of processor time a session, by road; the roads take turns. The floor can send no message."""
    wanted = [road for road in roads(bench, user) if not messages or road.name != FLOOR]
    taking = []
    try:
        for road in wanted:
            road.start()
            taking.append(road)
            Client(road.port).session(user, 0)
        for turn in range(rounds):
            for road in taking if turn % 2 == 0 else taking[::-1]:
                take(road, user, messages, count)
    finally:
        for road in taking:
            road.stop()
    return {road.name: statistics.median(road.samples) for road in taking}
