"""
limits.py - how much memory a session may take, in proportion to what its maildrop holds.

Runs in:   the test runner; as root where folders lie on a file system of a known kind.
May touch: maildrops of its own.
"""
import os
import re

from harness.box import Box
from harness.server import Failure, says
from harness.world import require_production, require_root, require_tool

MIB = 1 << 20
FACTOR = 128            # octets of memory for each octet of folders and lists


def limit_of(pid):
    with open(f"/proc/{pid}/limits") as file:
        return [int(word) for word in re.search(r"Max data size +(\d+) +(\d+)", file.read()).groups()]


def fill(box, count):
    for number in range(count):
        path = f"{box.maildir}/cur/{1700000000 + number}.M{number}P1.sample:2,S"
        with open(path, "wb"):
            pass
        os.chown(path, box.uid, box.uid)


def test_memory_is_bounded(world):
    """a session's memory has a limit that it cannot raise: 64 MiB, and so much for each octet of folders and lists"""
    require_root()
    require_production(world, "a sanitizer maps all of the address space")
    box = Box(world)
    for count in (0, 3000):
        fill(box, count)
        held = sum(os.stat(f"{box.maildir}/{name}").st_size for name in ("new", "cur", "pop3d.index", "dovecot-uidlist")
                   if os.path.exists(f"{box.maildir}/{name}"))
        with box.session() as session:
            session.log_in()
            limits = limit_of(session.pid)
            session.expect("STAT", f"+OK {count} {2 * count}")
            session.expect("QUIT", "+OK")
        if limits != [64 * MIB + FACTOR * held] * 2:
            raise Failure(f"{limits} with {held} octets")


def test_hole_gives_no_memory(world):
    """a list that is one large hole does not raise the limit"""
    require_root()
    require_production(world, "a sanitizer maps all of the address space")
    box = Box(world)
    with open(f"{box.maildir}/pop3d.index", "wb") as file:
        file.write(b"x" * 200)
        file.truncate(1 << 40)
    os.chown(f"{box.maildir}/pop3d.index", box.uid, box.uid)
    with box.session() as session:
        session.log_in()
        limits = limit_of(session.pid)
        session.expect("QUIT", "+OK")
    if limits[1] > 256 * MIB:
        raise Failure(f"{limits}")


def test_end_of_memory(world):
    """a maildrop for which the memory does not suffice is refused for now, and nothing is lost"""
    require_root()
    require_production(world, "a sanitizer maps all of the address space")
    box = Box(world)
    fill(box, 20000)
    with box.session(prefix=[require_tool("prlimit"), f"--data={2 * MIB}"]) as session:
        session.greeting()
        session.expect("USER alice", "+OK")
        answer = session.command("PASS secret")
        session.drain()
        if not says(answer, "-ERR [SYS/TEMP]") or "error=ENOMEM" not in session.log() or session.wait() != 77:
            raise Failure(f"{answer} {session.wait()} {session.log()}")
    with box.session() as session:
        session.log_in()
        session.expect("STAT", "+OK 20000 40000")
        session.expect("QUIT", "+OK")
