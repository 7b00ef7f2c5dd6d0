"""
xinetd.py - real xinetd on a loopback port, real users of pam_unix, real clients.

Runs in:   the test runner, as root, in a network of its own.
May touch: the homes of the accounts made for the tests, and its xinetd.
"""
import contextlib
import ctypes
import os
import poplib
import re
import shutil
import signal
import socket
import subprocess
import threading
import time

from harness import wire
from harness.box import SAMPLES, sample
from harness.server import Failure, children, status
from harness.world import ACCOUNTS, require_root, require_tool

PARALLEL = False
PORT = 1110
PR_SET_PDEATHSIG = 1


def die_with_parent():
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


@contextlib.contextmanager
def xinetd(world, **attributes):
    """xinetd with pop3d behind PORT; its own log is a file of the test."""
    require_root()
    program = require_tool("xinetd")
    world.unix_users()
    folder = world.folder()
    settings = {"type": "UNLISTED", "port": PORT, "bind": "127.0.0.1", "socket_type": "stream",
                "protocol": "tcp", "wait": "no", "user": "root", "server": world.binary,
                "disable": "no", "log_type": f"FILE {folder}/log", "log_on_success": "PID HOST EXIT",
                **attributes}
    with open(f"{folder}/conf", "w") as file:
        file.write("service pop3\n{\n" + "".join(f"\t{name} = {value}\n" for name, value in settings.items())
                   + "}\n")
    server = subprocess.Popen([program, "-dontfork", "-f", f"{folder}/conf", "-pidfile", f"{folder}/pid"],
                              stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL, preexec_fn=die_with_parent)
    try:
        await_listener(server)
        yield server
    finally:
        server.terminate()
        server.wait()


def await_listener(server):
    end = time.monotonic() + 10
    while True:
        try:
            # to be answered: a child of the xinetd before may hold its socket a moment longer
            with socket.create_connection(("127.0.0.1", PORT), 5) as probe:
                if probe.recv(1):
                    return
        except OSError:
            pass
        if time.monotonic() > end or server.poll() is not None:
            raise Failure("xinetd does not listen")
        time.sleep(0.05)


def fill(world, name, contents):
    """A home's Maildir with these messages and no others."""
    require_root()
    uid = ACCOUNTS[name][0]
    maildir = f"{world.root}/home/{name}/Maildir"
    shutil.rmtree(maildir, ignore_errors=True)
    for folder in ("", "/new", "/cur", "/tmp"):
        os.mkdir(maildir + folder)
        os.chown(maildir + folder, uid, uid)
    for number, content in enumerate(contents, 1):
        path = f"{maildir}/new/{1700000000 + number}.M{number}P1.sample"
        with open(path, "wb") as file:
            file.write(content)
        os.chown(path, uid, uid)
    return maildir


def unstuffed(content):
    return b"".join(wire.lines_of(content))


def client(name):
    """Logged in by Python's own client."""
    poplib._MAXLINE = 1 << 20
    connection = poplib.POP3("127.0.0.1", PORT, timeout=20)
    connection.user(name)
    connection.pass_(ACCOUNTS[name][1])
    return connection


def test_poplib(world):
    """poplib logs in, fetches every kind of message octet for octet, deletes, and quits"""
    contents = [sample(name) for name in SAMPLES]
    maildir = fill(world, "alice", contents)
    with xinetd(world):
        session = client("alice")
        if session.stat() != (len(contents), sum(map(wire.octets, contents))):
            raise Failure(f"STAT says {session.stat()}")
        for number, content in enumerate(contents, 1):
            _, lines, octets = session.retr(number)
            got = b"".join(line + b"\r\n" for line in lines)
            if got != unstuffed(content):
                raise Failure(f"{SAMPLES[number - 1]} came as {got[:200]!r}")
            if session.list(number) != b"+OK %d %d" % (number, wire.octets(content)):
                raise Failure(f"LIST {number} says {session.list(number)}")
        for number in range(1, len(contents)):
            session.dele(number)
        if not session.quit().startswith(b"+OK"):
            raise Failure("QUIT failed")
    left = os.listdir(f"{maildir}/new") + os.listdir(f"{maildir}/cur")
    if left != [f"{1700000000 + len(contents)}.M{len(contents)}P1.sample:2,S"]:
        raise Failure(f"left over: {left}")


def test_curl(world):
    """curl fetches every kind of message octet for octet"""
    curl = require_tool("curl")
    contents = [sample(name) for name in SAMPLES]
    fill(world, "alice", contents)
    with xinetd(world):
        for number, content in enumerate(contents, 1):
            done = subprocess.run([curl, "-sS", "--max-time", "20", "-u", "alice:secret",
                                   f"pop3://127.0.0.1:{PORT}/{number}"], capture_output=True)
            if done.returncode != 0 or done.stdout != unstuffed(content):
                raise Failure(f"{SAMPLES[number - 1]}: status {done.returncode}, {done.stderr!r}, "
                              f"{done.stdout[:200]!r}")
        done = subprocess.run([curl, "-sS", "--max-time", "20", "-u", "alice:wrong",
                               f"pop3://127.0.0.1:{PORT}/1"], capture_output=True)
        if done.returncode != 67:       # CURLE_LOGIN_DENIED
            raise Failure(f"a wrong password: status {done.returncode}, {done.stderr!r}")


def test_two_users_at_once(world):
    """two users at once, each with a process of one's own uid and the mail of one's own"""
    homes = {name: fill(world, name, [f"{name} {n}\n".encode() for n in range(50)])
             for name in ("alice", "bob")}
    failures = []
    meeting = threading.Barrier(2, timeout=20)

    def use(name):
        try:
            session = client(name)
            meeting.wait()              # both are logged in
            for number in range(1, 51):
                if session.retr(number)[1] != [f"{name} {number - 1}".encode()]:
                    failures.append(f"{name} got {session.retr(number)}")
            meeting.wait()
            for number in range(1, 26):
                session.dele(number)
            meeting.wait()
            session.quit()
        except Exception as error:
            failures.append(f"{name}: {error!r}")
            meeting.abort()

    with xinetd(world) as server:
        threads = [threading.Thread(target=use, args=(name,)) for name in homes]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    if failures:
        raise Failure("; ".join(failures))
    for name, maildir in homes.items():
        left = len(os.listdir(f"{maildir}/new") + os.listdir(f"{maildir}/cur"))
        if left != 25:
            raise Failure(f"{name} has {left} messages left")


def test_sessions_are_processes(world):
    """each session is one process of its user below xinetd, which hears when it ends"""
    fill(world, "alice", [b"one\n"])
    fill(world, "bob", [b"one\n"])
    with xinetd(world) as server:
        sessions = {name: client(name) for name in ("alice", "bob")}
        wanted = {"\t".join([str(ACCOUNTS[name][0])] * 4) for name in sessions}
        end = time.monotonic() + 10
        while True:
            # who knocked to see whether xinetd listens may be on its way out yet
            running = children(server.pid)
            try:
                uids = {status(pid)["Uid"] for pid in running}
            except OSError:
                continue
            if uids == wanted and len(running) == 2:
                break
            if time.monotonic() > end:
                raise Failure(f"processes of uids {uids}")
            time.sleep(0.05)
        for session in sessions.values():
            session.quit()
        while any(os.path.exists(f"/proc/{pid}") for pid in running):
            if time.monotonic() > end + 10:
                raise Failure("a session stays after QUIT")
            time.sleep(0.02)


def test_log_has_the_client(world):
    """the log names the client's address, and nothing is written into the client's stream"""
    fill(world, "alice", [b"one\n"])
    heard = len(world.syslog.lines)
    with xinetd(world):
        connection = socket.create_connection(("127.0.0.1", PORT), 20)
        connection.sendall(b"USER alice\r\nPASS wrong\r\nUSER alice\r\nPASS secret\r\nSTAT\r\nQUIT\r\n")
        stream = b""
        while piece := connection.recv(65536):
            stream += piece
        connection.close()
    lines = [line for line in stream.split(b"\r\n") if line]
    if [line.split()[0] for line in lines] != [b"+OK", b"+OK", b"-ERR", b"+OK", b"+OK", b"+OK", b"+OK"]:
        raise Failure(f"the client saw {lines}")
    log = world.syslog.since(heard, "LOGOUT.*end=quit", 20)
    for wanted in (r"pop3d\[\d+\]: LOGIN FAILED, user=alice, ip=\[127\.0\.0\.1\], ",
                   r"pop3d\[\d+\]: LOGIN, user=alice, ip=\[127\.0\.0\.1\], ",
                   r"pop3d\[\d+\]: LOGOUT, user=alice, ip=\[127\.0\.0\.1\], .*end=quit"):
        if re.search(wanted, log) is None:
            raise Failure(f"no {wanted} in the log:\n{log}")


def test_bad_usage_is_heard(world):
    """a launcher's wrong arguments reach the client and the log"""
    require_root()
    heard = len(world.syslog.lines)
    with xinetd(world, server_args="-Q"):
        connection = socket.create_connection(("127.0.0.1", PORT), 20)
        stream = b""
        while piece := connection.recv(65536):
            stream += piece
        connection.close()
    if not re.fullmatch(rb"-ERR \[SYS/PERM\] [^\r\n]+\r\n", stream):
        raise Failure(f"the client saw {stream!r}")
    if "category=Configuration" not in world.syslog.since(heard, "category=Configuration", 20):
        raise Failure("the log does not know")
