"""
proxy.py - headers of the PROXY protocol at each of their bounds, and one beyond; and who may send one.

Runs in:   the test runner.
May touch: the sessions it starts.
"""
import concurrent.futures
import contextlib
import os
import re
import socket
import struct
import subprocess
import sys
import time

from harness.box import Box
from harness.server import Failure
from harness.world import IS_ROOT, require_root, require_tool

REFUSED = 77
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
ADDRESSES = bytes([192, 0, 2, 7, 192, 0, 2, 1, 0xDC, 4, 0, 110])
NOOP, TLS = 4, 0x20


def version_2(tail):
    """A header of TCP over IPv4, with these octets behind the addresses."""
    return SIGNATURE + b"\x21\x11" + struct.pack(">H", len(ADDRESSES + tail)) + ADDRESSES + tail


def tlv(kind, value, more=0):
    """A TLV, whose length says so many octets more than it has."""
    return struct.pack(">BH", kind, len(value) + more) + value


def version_1(octets, end=b"\r\n"):
    """A header of so many octets with its end."""
    head = b"PROXY UNKNOWN "
    return head + b"x" * (octets - len(head) - len(end)) + end


def answer(world, header, options):
    """What comes within the time, and the exit status; the client is silent behind the header."""
    box = Box(world)
    with box.session("-x", "-l", "20", *options, transport="socketpair") as session:
        session.send(header)
        began = time.monotonic()
        try:
            line = session.line(9.5)
        except Failure:
            line = b""
        # of what is not refused at once the server waits ten seconds for the rest
        took = time.monotonic() - began
        session.send(b"USER alice\r\nPASS secret\r\nQUIT\r\n")
        session.half_close()
        session.drain()
        return line, session.wait(), took, session.log()


def judge(world, headers, options=(), is_good=False):
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = pool.map(lambda header: answer(world, header, options), headers.values())
        for (name, header), (line, status, took, log) in zip(headers.items(), answers):
            told = f"{name}: {line!r}, status {status}, {took:.1f} seconds\n{log}"
            if is_good and (not line.startswith(b"+OK") or status != 0):
                raise Failure(f"a sound header was refused: {told}")
            if not is_good and (line or status != REFUSED or took > 9 or "signal=" in log):
                raise Failure(f"not refused at once: {told}")


def test_version_1_bounds(world):
    """version 1: 107 octets are served; 108 are not, and 107 without their line's end are not waited for"""
    judge(world, {"107": version_1(107)}, is_good=True)
    judge(world, {"108": version_1(108), "109": version_1(109), "107 without an end": version_1(107, b""),
                  "108 without an end": version_1(108, b"")})


def test_lengths_of_tlvs(world):
    """version 2: a TLV that says 1, 2 or 3 octets more than there are is malformed, wherever it stands"""
    headers = {}
    for more in (1, 2, 3, 4, 255, 60000):
        for size in (0, 1, 2, 3, 100):
            last = tlv(NOOP, b"v" * size, more)
            headers[f"{size} octets, {more} more"] = version_2(last)
            headers[f"another, {size} octets, {more} more"] = version_2(tlv(NOOP, b"abc") + last)
    for rest in (b"\x04", b"\x04\0", b"\0", b"\0\0"):
        headers[f"no whole TLV {rest}"] = version_2(rest)
    judge(world, headers)


def test_tls_of_few_octets(world):
    """version 2: a TLV of TLS has five octets or more, and one of fewer secures nothing"""
    judge(world, {f"{size}": version_2(tlv(TLS, b"\x01\0\0\0\0"[:size])) for size in range(5)})
    judge(world, {f"{size}": version_2(tlv(TLS, b"\x01" + b"\0" * (size - 1))) for size in (5, 6)}, is_good=True)


def test_size_of_a_header(world):
    """version 2: 8,192 octets are served, and not one more"""
    fixed = len(version_2(tlv(NOOP, b"")))
    judge(world, {"8192": version_2(tlv(NOOP, b"x" * (8192 - fixed)))}, ["-p"], is_good=True)
    judge(world, {"8193": version_2(tlv(NOOP, b"x" * (8193 - fixed))),
                  "65535": version_2(tlv(NOOP, b"x" * (65535 - len(ADDRESSES) - 3)))})


# Who connects

HEADER = b"PROXY TCP4 192.0.2.66 192.0.2.2 40000 995\r\n"
CONNECT = """
import os, socket, sys
if os.geteuid() == 0:
    os.setgroups([])
    os.setresgid(*[{uid}] * 3)
    os.setresuid(*[{uid}] * 3)
client = socket.socket({family})
if {device!r}:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, {device!r})
client.connect({address!r})
socket.send_fds(socket.socket(fileno=int(sys.argv[1])), [b"x"], [client.fileno()])
"""


def connected(listener, uid, device=b""):
    """A connection to a listener, which another user made, perhaps bound to a device; the client's end and the server's."""
    ours, theirs = socket.socketpair()
    code = CONNECT.format(uid=uid, family=int(listener.family), address=listener.getsockname(), device=device)
    subprocess.run([sys.executable, "-c", code, str(theirs.fileno())], pass_fds=[theirs.fileno()], check=True)
    _, (client,), _, _ = socket.recv_fds(ours, 1, 1)
    ours.close()
    theirs.close()
    server, _ = listener.accept()
    return socket.socket(fileno=client), server


def conversation(world, client, server, said, *options, run_as=0):
    """What pop3d says over a connection to one who sends these octets; its exit status and its log."""
    box = Box(world)
    log = world.folder() + "/log"
    with open(log, "wb") as file, client, server:
        process = subprocess.Popen([world.binary, *box.options(*options)], stdin=server, stdout=server, stderr=file,
                                   env=dict(world.sanitizer_options), **world.run_as(run_as))
        server.close()
        client.settimeout(30)
        heard = b""
        with contextlib.suppress(ConnectionError):
            client.sendall(said)
            while (octets := client.recv(65536)):
                heard += octets
    status = process.wait(30)
    with open(log) as file:
        return heard, status, file.read()


@contextlib.contextmanager
def listening(family, address, owner=None):
    with socket.socket(family) as listener:
        listener.bind(address)
        if family == socket.AF_UNIX:
            os.chmod(address, 0o666)
            os.chown(address, owner or 0, -1)
        listener.listen(8)
        yield listener


def as_proxy(world, listener, uid, device=b"", **how):
    """Whether a PROXY header of this user's is taken."""
    client, server = connected(listener, uid, device)
    heard, status, log = conversation(world, client, server, HEADER + b"QUIT\r\n", "-x", **how)
    is_taken = heard.startswith(b"+OK pop3d") and status == 0
    if not is_taken and (heard or status != REFUSED or f"PROXY REFUSED, uid={uid}\n" not in log):
        raise Failure(f"uid {uid}: {heard!r}, status {status}\n{log}")
    return is_taken


def test_ordinary_users_are_no_proxies(world):
    """over TCP on this machine root and services may say who the client is, people may not, whatever the address"""
    require_root()
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET, world.REMOTE), (socket.AF_INET6, "::1"),
                            (socket.AF_INET6, "::ffff:127.0.0.1")):
        try:
            with listening(family, (address, 0)) as listener:
                taken = {uid: as_proxy(world, listener, uid) for uid in (0, 33, 999, 1000, 4001, 65534)}
        except OSError:
            if family == socket.AF_INET:
                raise
            continue    # no IPv6 here
        if taken != {0: True, 33: True, 999: True, 1000: False, 4001: False, 65534: False}:
            raise Failure(f"{address}: {taken}")
    with listening(socket.AF_INET, ("127.0.0.1", 0)) as listener:
        if not as_proxy(world, listener, 4001, run_as=4001) or as_proxy(world, listener, 4002, run_as=4001):
            raise Failure("who started pop3d is to be believed, and no other")


def test_sockets_bound_to_a_device(world):
    """nor one whose socket is bound to a device, without which the kernel does not find it"""
    require_root()
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET, world.REMOTE), (socket.AF_INET6, "::1")):
        try:
            with listening(family, (address, 0)) as listener:
                taken = {uid: as_proxy(world, listener, uid, b"lo") for uid in (0, 4001)}
        except OSError:
            if family == socket.AF_INET:
                raise
            continue    # no IPv6 here
        if taken != {0: True, 4001: False}:
            raise Failure(f"{address}: {taken}")


def test_proxies_over_unix_sockets(world):
    """over a Unix socket root, whoever started pop3d and the owner of the socket's file are believed, nobody else"""
    require_root()
    path = world.folder() + "/socket"
    with listening(socket.AF_UNIX, path, 33) as listener:
        taken = {uid: as_proxy(world, listener, uid) for uid in (0, 33, 34, 4001)}
        if taken != {0: True, 33: True, 34: False, 4001: False}:
            raise Failure(str(taken))
        if not as_proxy(world, listener, 4001, run_as=4001):
            raise Failure("who started pop3d is not believed")


def test_who_connected_and_left(world):
    """one who has closed already is not believed: the kernel gives out his socket as root's"""
    require_root()
    with listening(socket.AF_INET, ("127.0.0.1", 0)) as listener:
        client, server = connected(listener, 4001)
        client.sendall(HEADER + b"USER alice\r\nPASS wrong\r\n")
        client.close()
        _, status, log = conversation(world, socket.socket(), server, b"", "-x")
        if status != 1 or "192.0.2.66" in log or "LOGIN" in log:
            raise Failure(f"status {status}\n{log}")


def told_by_kernel(world, questions):
    """What pop3d says in the log of a connection on this machine, and its exit status, if these questions are answered ENOENT."""
    prefix = [require_tool("strace"), "-f", "-qq", "-o", "/dev/null", "-e", "trace=sendto",
              "-e", f"inject=sendto:error=ENOENT:when={questions}"]
    with Box(world).session("-x", "-p", prefix=prefix) as session:
        with contextlib.suppress(ConnectionError):
            session.send(HEADER + b"QUIT\r\n")
            session.drain()
        return session.log(), session.wait()


def test_kernel_does_not_tell(world):
    """where the kernel tells of no socket the header is taken, and the log says so; where it tells of ours alone it is not"""
    require_root()
    if world.is_sanitized:
        return
    log, status = told_by_kernel(world, "1+")
    if "PROXY UNKNOWN, error=ENOENT" not in log or status != 0:
        raise Failure(f"status {status}\n{log}")
    log, status = told_by_kernel(world, "1..2")
    if "PROXY REFUSED, error=ENOENT" not in log or status != REFUSED:
        raise Failure(f"status {status}\n{log}")


def test_who_has_reset(world):
    """one whose connection is reset is not believed, though what he sent can be read still"""
    require_root()
    with listening(socket.AF_INET, ("127.0.0.1", 0)) as listener:
        client, server = connected(listener, 4001)
        client.sendall(HEADER + b"USER alice\r\nPASS wrong\r\n")
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        _, status, log = conversation(world, socket.socket(), server, b"", "-x")
        # no word of it: the header was not even read
        if status != 1 or "DISCONNECTED" in log:
            raise Failure(f"status {status}\n{log}")


# Whose client is unknown


def test_unknown_client_of_a_socket(world):
    """over a Unix socket that somebody listened on nothing is known of the client: no password in clear text"""
    path = world.folder() + "/socket"
    said = b"USER alice\r\nPASS secret\r\nQUIT\r\n"
    me = 4001 if IS_ROOT else os.getuid()
    with listening(socket.AF_UNIX, path, me) as listener:
        for options, is_taken in (([], False), (["-S"], True), (["-p"], True)):
            heard, _, log = conversation(world, *connected(listener, me), said, *options)
            if (b"User successfully logged on" in heard) != is_taken or ("end=refused" in log) == is_taken:
                raise Failure(f"{options}: {heard!r}\n{log}")


def through_socat(world, port, address, options):
    """The reply to a login through socat, and what pop3d wrote to the log until then."""
    server = subprocess.Popen([require_tool("socat"), f"TCP4-LISTEN:{port},bind={world.REMOTE},reuseaddr",
                               address.format(f"{world.binary} {' '.join(options)}")], stderr=subprocess.PIPE, text=True)
    for _ in range(100):
        with contextlib.suppress(OSError):
            client = socket.create_connection((world.REMOTE, port), 10, (world.REMOTE, 0))
            break
        time.sleep(0.05)
    with client, client.makefile("rb") as lines:
        lines.readline()
        client.sendall(b"USER alice\r\nPASS secret\r\n")
        answers = [lines.readline(), lines.readline()]
    return answers[1], server.communicate(timeout=30)[1]


def test_socat_hides_nobody(world):
    """socat starts pop3d with its client at a pair of sockets or at pipes: its variable tells who he is"""
    require_root()
    box = Box(world)
    for port, address in enumerate(("EXEC:{}", "SYSTEM:{}", "EXEC:{},pipes", "EXEC:{},nofork"), 4711):
        answer, log = through_socat(world, port, address, box.options())
        if not answer.startswith(b"-ERR [AUTH] Passwords are not taken"):
            raise Failure(f"{address}: {answer!r}\n{log}")
        answer, log = through_socat(world, port + 10, address, box.options("-p"))
        if not answer.startswith(b"+OK User") or f"LOGIN, user=alice, ip=[{world.REMOTE}]," not in log:
            raise Failure(f"{address}: {answer!r}\n{log}")
