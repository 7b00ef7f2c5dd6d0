"""
locks.py - one session at a time, and a lock that goes with its holder.

Runs in:   the test runner.
May touch: maildrops of its own.
"""
import time

from harness.box import Box
from harness.server import Failure, says


def knock(session):
    """Logs in as alice; the answer and how long it took."""
    session.greeting()
    session.expect("USER alice", "+OK")
    began = time.monotonic()
    answer = session.command("PASS secret")
    return answer, time.monotonic() - began


def test_second_session_is_refused(world):
    """a second login waits two seconds, then gets [IN-USE] in place of its +OK"""
    box = Box(world, messages=[b"one\n"])
    with box.session() as first:
        first.log_in()
        with box.session() as second:
            answer, seconds = knock(second)
            if not says(answer, "-ERR [IN-USE]"):
                raise Failure(answer)
            if not 1.8 <= seconds <= 3.5:
                raise Failure(f"refused after {seconds:.2f} seconds")
            if second.drain() or second.wait() != 75:
                raise Failure(f"exit status {second.wait()}")
            if "maildrop-in-use" not in second.log() or "LOGIN FAILED" in second.log():
                raise Failure(second.log())
        first.expect("STAT", "+OK 1 5")
        first.expect("QUIT", "+OK")


def test_second_session_waits(world):
    """a first session that ends within two seconds lets the second in"""
    box = Box(world, messages=[b"one\n", b"two\n"])
    with box.session() as first, box.session() as second:
        first.log_in()
        first.expect("DELE 1", "+OK")
        second.greeting()
        second.expect("USER alice", "+OK")
        second.send(b"PASS secret\r\n")
        time.sleep(0.7)
        first.expect("QUIT", "+OK")
        answer = second.line().decode()
        if not says(answer, "+OK"):
            raise Failure(answer)
        second.expect("STAT", "+OK 1 5")


def test_lock_goes_with_its_holder(world):
    """a killed session leaves no lock behind"""
    box = Box(world, messages=[b"one\n"])
    with box.session() as first:
        first.log_in()
        first.process.kill()
        first.process.wait()
    with box.session() as second:
        answer, seconds = knock(second)
        if not says(answer, "+OK") or seconds > 1:
            raise Failure(f"{answer} after {seconds:.2f} seconds")
        second.expect("STAT", "+OK 1 5")


def test_quit_frees_at_once(world):
    """the next login after QUIT's reply does not wait"""
    box = Box(world, messages=[b"one\n"])
    for _ in range(5):
        with box.session() as session:
            answer, seconds = knock(session)
            if not says(answer, "+OK") or seconds > 1:
                raise Failure(f"{answer} after {seconds:.2f} seconds")
            session.expect("QUIT", "+OK")


def test_different_maildrops(world):
    """two users at once do not meet"""
    alice, bob = Box(world, "alice", [b"one\n"]), Box(world, "bob", [b"one\n", b"two\n"])
    with alice.session() as first, bob.session() as second:
        first.log_in()
        second.log_in("bob", "two  words ")
        first.expect("STAT", "+OK 1 5")
        second.expect("STAT", "+OK 2 10")
        first.expect("DELE 1", "+OK")
        second.expect("QUIT", "+OK")
        first.expect("QUIT", "+OK")
    alice.check(0)
    bob.check(2)
