"""
timing.py - nothing before a login tells an account that exists from one that does not.

Runs in:   the test runner.
May touch: the sessions it starts.
"""
import base64
import concurrent.futures
import time

from harness.box import Box
from harness.server import Failure, Session
from harness.world import IS_ROOT

PARALLEL = False                # it measures time


def encoded(text):
    return base64.b64encode(text.encode()).decode()


def conversations(name):
    """Inputs that name an account; each line of one is answered before the next is sent."""
    return [
        [f"USER {name}", "PASS wrong", "STAT", "QUIT"],
        [f"USER {name}", "PASS ", f"USER {name}", "PASS  x", "QUIT"],
        [f"USER {name}", f"USER {name}", "CAPA", "NOOP", "QUIT"],
        [f"USER {name}", "PASS " + "x" * 240, "QUIT"],
        [f"AUTH PLAIN {encoded(chr(0) + name + chr(0) + 'wrong')}", "QUIT"],
        [f"AUTH PLAIN {encoded(name + chr(0) + name + chr(0) + 'wrong')}", "QUIT"],
        [f"AUTH PLAIN {encoded(chr(0) + name + chr(0))}", "QUIT"],
        ["AUTH LOGIN", encoded(name), encoded("wrong"), "QUIT"],
        ["AUTH LOGIN", encoded(name), "*", "QUIT"],
        [f"USER {name}\\{name}", "PASS wrong", "QUIT"],
        [f"USER {name}@example.org", "PASS wrong", "QUIT"],
    ]


def play(world, options, lines):
    """Everything that comes back, and the seconds until each answer."""
    session = Session(world, "tcp", options)
    seconds = []
    try:
        session.greeting()
        for line in lines:
            began = time.monotonic()
            answer = session.command(line)
            seconds.append(time.monotonic() - began)
            if line == "CAPA":
                session.block()
        session.drain()
        return bytes(session.transcript), session.wait(), seconds
    finally:
        session.finish()


def differs(some, others):
    return any(abs(mine - other) > 0.3 for mine, other in zip(some, others))


def lasting_difference(world, options, some, others):
    """The seconds of both, if they differ three times more; nothing if the machine was busy once."""
    again = []
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        while len(again) < 3:
            again.append([played[2] for played in pool.map(lambda lines: play(world, options, lines), (some, others))])
            if not differs(*again[-1]):
                return []
    return again


def compare(world, options, names):
    jobs = [(name, number, lines) for name in names for number, lines in enumerate(conversations(name))]
    # a processor busy with hashes would blur what is measured: few at a time
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        results = list(pool.map(lambda job: play(world, options, job[2]), jobs))
    by_number = {}
    for (name, number, lines), (transcript, status, seconds) in zip(jobs, results):
        by_number.setdefault(number, []).append((name, lines, transcript, status, seconds))
    for versions in by_number.values():
        first = versions[0]
        for name, lines, transcript, status, seconds in versions[1:]:
            if (transcript, status) != first[2:4]:
                raise Failure(f"{first[1]} was answered\n{first[2]!r}\n{lines}\n{transcript!r}")
            if differs(seconds, first[4]):
                again = lasting_difference(world, options, lines, first[1])
                if again:
                    raise Failure(f"{lines} took {seconds} seconds for {name}, {first[4]} for {first[0]}; "
                                  f"again {again}")


def test_transcripts_are_equal(world):
    """existing, missing and impossible names: the same answers in the same order after the same time"""
    box = Box(world)
    names = ["alice", "nobody-here", "root", "vmail"]
    compare(world, box.options(), names)


def test_transcripts_of_system_accounts(world):
    """the same for accounts of the system, well, locked and expired, by pam_unix"""
    world.unix_users()
    compare(world, ["-e"], ["alice", "nobody-here", "locked", "expired"])


def test_two_seconds(world):
    """a failed login is answered two seconds after it came, for any user and any reason"""
    box = Box(world)
    if IS_ROOT:
        world.unix_users()
        options = ["-e"]
        names = ["alice", "nobody-here", "locked"]
    else:
        options, names = box.options(), ["alice", "nobody-here"]
    names += ["-malformed", "empty"]
    jobs = [[f"USER {name}", "PASS " if name == "empty" else "PASS wrong", "QUIT"] for name in names]
    with concurrent.futures.ThreadPoolExecutor(len(jobs)) as pool:
        rounds = [list(pool.map(lambda lines: play(world, options, lines)[2][1], jobs)) for _ in range(4)]
    tries = dict(zip(names, zip(*rounds)))
    # what a busy machine adds is not the server's: the quickest of each counts
    quickest = {name: min(several) for name, several in tries.items()}
    if not all(1.98 <= seconds <= 2.3 for seconds in quickest.values()):
        raise Failure(f"the answers came after {tries}")
    if max(quickest.values()) - min(quickest.values()) > 0.1:
        raise Failure(f"the answers came after {tries}")


def test_granted_login_is_fast(world):
    """a good login does not wait"""
    box = Box(world)
    with box.session() as session:
        began = time.monotonic()
        session.log_in()
        took = time.monotonic() - began
        if took > 1:
            raise Failure(f"{took:.2f} seconds")
