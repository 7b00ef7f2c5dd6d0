"""
stranger.py - what one stranger's octets cost, and what is left of his words, before a login.

Runs in:   the test runner.
May touch: the sessions it starts, and as root their memory.
"""
import base64
import contextlib
import os
import re
import time

from harness.box import Box
from harness.server import Failure, children, family
from harness.world import Skip, require_production, require_root, require_tool

SECRET = "Qx7-unmistakable-Zk3"
LINES = 60


def encoded(text):
    return base64.b64encode(text.encode("latin-1")).decode()


def calls_on_client(world, octets, *options):
    """The system calls by which descriptor 0 was read, for octets that come at once; and the session's log."""
    require_production(world, "needs the production build")
    strace, trace = require_tool("strace"), f"{world.folder()}/trace"
    with Box(world).session("-l", "60", *options, prefix=[strace, "-f", "-o", trace]) as session:
        if "-x" not in options:
            session.greeting()
        session.send(octets)
        session.half_close()
        session.drain()
        session.wait()
    with open(trace) as file:
        calls = re.findall(r"^\d+ +(read|recvfrom)\(0, ", file.read(), re.M)
    if not calls:
        raise Failure("strace saw nothing")
    return len(calls)


def test_two_calls_a_line(world):
    """on a socket a line costs two system calls however long it is, with a PROXY header in front too"""
    for options, header in ((), b""), (("-x", "-p"), b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 110\r\n"):
        for line in b"USER a\r\n", b"USER " + b"a" * 240 + b"\r\n":
            calls = calls_on_client(world, header + line * LINES, *options)
            # the header is three calls, the client's end one or two
            if calls > 2 * LINES + 6:
                raise Failure(f"{LINES} lines of {len(line)} octets took {calls} calls")


def test_endless_line_is_cheap(world):
    """a line without an end is read until the budget is spent, in pieces and not in octets"""
    calls = calls_on_client(world, b"x" * 70000)
    # 64 KiB in pieces of 255 octets, two calls each, and what is left of it at the end
    if not 200 <= calls <= 700:
        raise Failure(f"{calls} calls")


LARGEST = 1 << 30       # octets of an area of memory that is searched


def texts_in_memory(session, texts):
    """Which of the texts lie in the memory of any process of the session."""
    found = set()
    for pid in family(session.pid):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb") as memory:
                for line in maps:
                    start, end = (int(part, 16) for part in line.split()[0].split("-"))
                    if end - start > LARGEST:
                        continue        # a sanitizer's own book-keeping
                    with contextlib.suppress(OSError, ValueError, OverflowError):
                        memory.seek(start)
                        octets = memory.read(end - start)
                        found |= {text for text in texts if text.encode("latin-1") in octets}
    return found


PLAIN = encoded(f"\0alice\0{SECRET}")
WAYS = {
    "before USER": [f"PASS {SECRET}"],
    "refused": ["USER alice", f"PASS {SECRET}"],
    "too long": ["USER alice", f"PASS {SECRET}{'x' * 300}"],
    "too long, at its end": ["USER alice", f"PASS {'x' * 300}{SECRET}"],
    "with a NUL": ["USER alice", f"PASS {SECRET}\0"],
    "as a command": [SECRET],
    "as a command's argument": [f"QUIT {SECRET}"],
    "of a name that cannot be": ["USER .alice", f"PASS {SECRET}"],
    "of another mechanism": [f"AUTH CRAM {PLAIN}"],
    "PLAIN": [f"AUTH PLAIN {PLAIN}"],
    "PLAIN in two steps": ["AUTH PLAIN", PLAIN],
    "PLAIN, cut": [f"AUTH PLAIN {PLAIN[:-1]}"],
    "PLAIN with one NUL": [f"AUTH PLAIN {encoded('alice' + chr(0) + SECRET)}"],
    "PLAIN with a blank behind it": [f"AUTH PLAIN {PLAIN} "],
    "LOGIN": ["AUTH LOGIN", encoded("alice"), encoded(SECRET)],
    "LOGIN with a blank behind it": ["AUTH LOGIN", encoded("alice"), encoded(SECRET) + " "],
}


def look_for_passwords(world, ways, address="127.0.0.1", transport="tcp"):
    for way, lines in ways.items():
        with Box(world).session("-l", "60", transport=transport, address=address) as session:
            session.greeting()
            for line in lines:
                session.command(line)
            time.sleep(0.1)     # what is answered may still be on its way to the next read
            found = texts_in_memory(session, [SECRET, PLAIN[8:-8], encoded(SECRET)[:-4]])
            if found:
                raise Failure(f"a password {way} is still in memory: {found}")


def test_no_password_stays(world):
    """whatever became of a password, once it is answered no process has it in memory"""
    require_root()
    look_for_passwords(world, WAYS)
    look_for_passwords(world, {way: WAYS[way] for way in ("before USER", "as a command", "PLAIN")}, transport="pipes")


def test_no_password_stays_without_tls(world):
    """nor one that was refused for want of TLS"""
    require_root()
    look_for_passwords(world, {"in clear text": ["USER alice", f"PASS {SECRET}"],
                               "of PLAIN in clear text": [f"AUTH PLAIN {PLAIN}"]}, address=world.REMOTE)


def test_no_password_waits(world):
    """while PAM looks at a password, the process that a stranger speaks with has forgotten it already"""
    require_root()
    require_production(world, "a sanitizer keeps copies")
    with Box(world).session() as session:
        session.greeting()
        session.expect("USER alice", "+OK")
        session.send(f"PASS {SECRET}\r\nUSER {SECRET}\r\n".encode())     # the second one is not read yet
        time.sleep(1)
        if len(children(session.pid)) != 2:
            raise Failure("the login is not being examined")
        if texts_in_memory(session, [SECRET]):
            raise Failure("it has the password still")
