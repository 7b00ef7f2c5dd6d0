"""
watchdog.py - whatever a session is stuck in, it ends soon after its clock.

Runs in:   the test runner; as root where a file system is mounted or a process slowed down.
May touch: maildrops of its own; a FUSE file system mounted on one of them.

With -t 1 the kernel kills a session that does not come back to its deadline after 6.2 seconds: a second,
two tenths of it, and five seconds of grace.
"""
import contextlib
import ctypes
import os
import re
import signal
import subprocess
import threading
import time

from harness.box import Box
from harness.server import Failure, says
from harness.world import Skip, require_root

from system.faults import strace

PATIENCE = 30
SECONDS = 120
PARALLEL = False        # a session that cannot be killed is seen by every check on the machine
LIBC = ctypes.CDLL(None, use_errno=True)


def ends_by_kill(session, least=0, began=None):
    """The session is killed, not before so many seconds are over, and not much later."""
    began = began or time.monotonic()
    while session.process.poll() is None and time.monotonic() - began < PATIENCE:
        time.sleep(0.05)
    took = time.monotonic() - began
    if session.process.poll() != -signal.SIGKILL or took < least:
        raise Failure(f"status {session.process.poll()} after {took:.1f} seconds")


def send_login(session):
    session.greeting()
    session.expect("USER alice", "+OK")
    session.send(b"PASS secret\r\n")


def test_stopped_by_its_user(world):
    """a session that its user stops is killed soon after -t, with its client still there"""
    box = Box(world, messages=[b"one\n"])
    with box.session("-t", "1") as session:
        began = time.monotonic()
        session.log_in()
        os.kill(session.pid, signal.SIGSTOP)
        # a second, two tenths of it and the grace, from an answer on that came later than this began
        ends_by_kill(session, 6.1, began)
    box.check(1)


def test_client_that_goes_on(world):
    """a client that says something in time is not killed, however long its session lasts"""
    box = Box(world, messages=[b"one\n"])
    with box.session("-t", "4") as session:
        session.log_in()
        end = time.monotonic() + 14
        while time.monotonic() < end:
            session.expect("NOOP", "+OK")
            time.sleep(0.6)
        session.expect("QUIT", "+OK")
        if session.wait() != 0:
            raise Failure(f"status {session.wait()}")


def mount_silent(box, answers, reads=False):
    """
    A FUSE file system in place of the Maildir, as any user may mount one; the device from which its server
    should read. It reads nothing, with answers just the first request, with reads all of them.
    """
    require_root()
    os.mknod(f"{box.root}/fuse", 0o020600, os.makedev(10, 229))
    try:
        device = os.open(f"{box.root}/fuse", os.O_RDWR)
    except OSError as error:
        raise Skip(f"no FUSE: {error}") from error
    data = f"fd={device},rootmode=40000,user_id={box.uid},group_id={box.uid}"
    if LIBC.mount(b"silent", box.maildir.encode(), b"fuse", 0, data.encode()) != 0:
        os.close(device)
        raise Skip(f"no FUSE: {os.strerror(ctypes.get_errno())}")
    if answers:
        threading.Thread(target=answer_init, args=(device, reads), daemon=True).start()
    return device


def answer_init(device, reads):
    """Says hello to the kernel, so that it asks for more, and leaves all further requests without an answer."""
    request = os.read(device, 65536)
    unique = request[8:16]
    major, minor = request[40:44], request[44:48]
    body = major + minor + request[48:52] + bytes(4) + (1 << 16).to_bytes(4, "little") + (4096).to_bytes(4, "little")
    body = body.ljust(64, b"\0")
    os.write(device, (16 + len(body)).to_bytes(4, "little") + bytes(4) + unique + body)
    with contextlib.suppress(OSError):
        while reads:
            os.read(device, 65536)


def test_home_that_does_not_answer(world):
    """a session is killed while it waits for a file system that does not answer, before it has begun or after"""
    for answers in (False, True):
        box = Box(world, messages=[])
        device = mount_silent(box, answers)
        try:
            with box.session("-t", "1") as session:
                send_login(session)
                ends_by_kill(session, least=2)
        finally:
            LIBC.umount2(box.maildir.encode(), 2)
            os.close(device)


def is_killed_in_vain(pid):
    with open(f"/proc/{pid}/status") as file:
        return any(int(mask, 16) >> (signal.SIGKILL - 1) & 1
                   for mask in re.findall(r"^(?:Sig|Shd)Pnd:\t(\w+)$", file.read(), re.M))


def test_server_that_keeps_a_request(world):
    """a session that the kernel does not let die, for a FUSE server holds its request, is named by the check, and its remedy works"""
    box = Box(world)
    device = mount_silent(box, answers=True, reads=True)
    try:
        with box.session("-t", "1") as session:
            send_login(session)
            end = time.monotonic() + PATIENCE
            while not is_killed_in_vain(session.pid) and time.monotonic() < end:
                time.sleep(0.1)
            said = subprocess.run([world.binary, "-c", "-C", world.configuration], capture_output=True, text=True).stdout
            row = re.search(rf"session {session.pid} of uid {box.uid} was killed and does not end.*"
                            rf"the FUSE file system on {box.maildir} .*umount -fl (\S+)", said, re.S)
            is_there = session.process.poll() is None
            # as the remedy says; in any case, for the process would outlive the test
            subprocess.run(["umount", "-fl", row[1] if row else box.maildir], check=True)
            ends_by_kill(session)
            if not is_there or not row:
                raise Failure(f"there {is_there}, said {said[-2000:]}")
    finally:
        os.close(device)


def uids_of(pid):
    with open(f"/proc/{pid}/status") as file:
        return set(map(int, re.search(r"^Uid:(.*)$", file.read(), re.M)[1].split()))


def test_no_more_than_twenty(world):
    """who has twenty such sessions gets no further one, and is told so by a process of his own; others are served"""
    box, other = Box(world), Box(world, "bob")
    device = mount_silent(box, answers=True, reads=True)
    try:
        with contextlib.ExitStack() as stack:
            stuck = [stack.enter_context(box.session("-t", "1")) for _ in range(20)]
            # whatever fails, they end at once
            stack.callback(subprocess.run, ["umount", "-fl", box.maildir], stderr=subprocess.DEVNULL)
            for session in stuck:
                send_login(session)
            end = time.monotonic() + PATIENCE
            while not all(is_killed_in_vain(session.pid) for session in stuck) and time.monotonic() < end:
                time.sleep(0.1)
            with box.session("-t", "1") as late:
                send_login(late)
                answer, uids = late.line().decode(), uids_of(late.pid)
                status = late.wait()
                if answer != "-ERR [SYS/TEMP] Too many sessions of yours are stuck in your file system" or \
                        status != 69 or uids != {box.uid} or "TOO MANY STUCK, user=alice" not in late.log():
                    raise Failure(f"{answer}, status {status}, uids {uids}\n{late.log()}")
            with other.session() as session:
                session.log_in("bob", "two  words ")
                session.expect("QUIT", "+OK")
                if "STUCK" in session.log():
                    raise Failure(session.log())
            subprocess.run(["umount", "-fl", box.maildir], check=True)
            for session in stuck:
                ends_by_kill(session)
    finally:
        LIBC.umount2(box.maildir.encode(), 2)
        os.close(device)


def test_next_session_says_it(world):
    """such a session stands in the log once its user logs in again, and not while it is merely there"""
    box = Box(world)
    device = mount_silent(box, answers=True, reads=True)
    try:
        with box.session("-t", "1") as stuck, box.session("-t", "1") as early, box.session("-t", "1") as late:
            send_login(stuck)
            end = time.monotonic() + PATIENCE
            send_login(early)
            while not is_killed_in_vain(stuck.pid) and time.monotonic() < end:
                time.sleep(0.1)
            send_login(late)
            while "STUCK" not in late.log() and time.monotonic() < end:
                time.sleep(0.1)
            logs = early.log(), late.log()
            subprocess.run(["umount", "-fl", box.maildir], check=True)
            ends_by_kill(stuck)
        if "STUCK" in logs[0] or not re.search(rf"STUCK, user=alice, .*pid=({stuck.pid}|{early.pid})\n", logs[1]):
            raise Failure(f"{stuck.pid}: {logs}")
    finally:
        LIBC.umount2(box.maildir.encode(), 2)
        os.close(device)


def slow_box(world, count):
    """A maildrop of so many messages, and a trace that makes the reading of each take a fiftieth of a second."""
    box = Box(world, messages=[b"Subject: %d\n\n" % number for number in range(count)])
    prefix, path = strace(world, "openat,read")
    return box, [*prefix, "-P", box.maildir + "/new", "-e", "inject=openat:delay_enter=20000"], path


def openings(path):
    """Which messages were opened."""
    with open(path, errors="replace") as file:
        return set(re.findall(r"openat\(\d+<[^>]*/new>, \"(17[^\"]*)\"", file.read()))


def test_count_that_takes_too_long(world):
    """a first count that lasts longer than -t is cut, and each session goes on where the last one stopped"""
    box, prefix, _ = slow_box(world, 1000)
    seen = []
    answer = ""
    # on a busy machine a session comes less far, so there are more of them
    while not answer:
        path = world.folder() + "/trace"
        prefix[prefix.index("-o") + 1] = path
        began = time.monotonic()
        with box.session("-t", "1", prefix=prefix) as session:
            send_login(session)
            try:
                answer = session.line().decode()
            except Failure:
                answer = ""
            if answer:
                session.expect("QUIT", "+OK")
        took = time.monotonic() - began
        new = openings(path).difference(*seen)
        seen.append(openings(path))
        if not answer and took > 12:
            raise Failure(f"a session lasted {took:.1f} seconds")
        if not answer and not new:
            raise Failure(f"session {len(seen)} came no further: {[len(names) for names in seen]} opened")
    if not says(answer, "+OK") or len(seen) < 2:
        raise Failure(f"session {len(seen)}: {answer!r}, {[len(names) for names in seen]} opened")
    # what is counted is not opened again; a third of each session's count may be lost
    if sum(len(names) for names in seen) > 1700 or len(set.union(*seen)) != 1000:
        raise Failure(f"{[len(names) for names in seen]} opened")
    with box.session() as session:
        session.log_in()
        octets = sum(len(content) + content.count(b"\n") for content in box.contents)
        session.expect("STAT", f"+OK 1000 {octets}")
        session.expect("QUIT", "+OK")
