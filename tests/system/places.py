"""
places.py - how many connections may wait for their login, and how many logins are examined at once.

Runs in:   the test runner, as root; /run is a private one.
May touch: the sessions it starts, the file of the places.
"""
import contextlib
import fcntl
import os
import time

from harness.box import Box
from harness.server import Failure
from harness.world import IS_ROOT, require_root

PARALLEL = False                # the places are there once
FILE = "/run/pop3d/places"
PLACES, OF_A_NETWORK, EXAMINED, EXAMINATIONS = 200, 20, 16, 1000
TOO_MANY = "-ERR [SYS/TEMP] Too many connections wait for a login; please try again"


def first_line(session):
    return session.line().decode("latin-1")


def hinted(box, address, *options, **how):
    """A session whose launcher has told the client's address, as stunnel's exec does."""
    return box.session("-S", *options, transport="socketpair", env={"REMOTE_HOST": address}, **how)


def behind_proxy(box, header, *options):
    """A session behind a PROXY header; when its with begins, the header is sent."""
    stack = contextlib.ExitStack()
    session = stack.enter_context(box.session("-x", "-S", *options, transport="socketpair"))
    session.send(header + b"\r\n")
    return stack, session


def must_be_refused(session):
    answer = first_line(session)
    if answer != TOO_MANY or session.drain():
        raise Failure(f"{answer!r} and not the refusal")
    if session.wait() != 69:
        raise Failure("the exit status is not 69")


@contextlib.contextmanager
def filled(box, address):
    """All places of a network are taken, by silent connections; they are handed out."""
    with contextlib.ExitStack() as stack:
        sessions = [stack.enter_context(hinted(box, address)) for _ in range(OF_A_NETWORK)]
        for session in sessions:
            session.greeting()
        yield sessions


def test_share_of_a_network(world):
    """of one IPv4 address 20 connections wait for their logins, the next is told why it may not; others are greeted"""
    require_root()
    box = Box(world)
    with filled(box, "192.0.2.7") as sessions:
        with hinted(box, "192.0.2.7") as one_more:
            must_be_refused(one_more)
            if "TOO MANY CONNECTIONS, ip=[192.0.2.7]\n" not in one_more.log():
                raise Failure(one_more.log())
        with hinted(box, "192.0.2.8") as other:
            other.greeting()
        sessions[3].finish()
        with hinted(box, "192.0.2.7") as one_more:
            one_more.greeting()


def test_login_gives_its_place_back(world):
    """an office behind one address is not cut: who has logged in waits no more, and is not ended"""
    require_root()
    box, other = Box(world), Box(world, "bob")
    with filled(box, "192.0.2.7") as sessions:
        sessions[0].expect("USER alice", "+OK")
        sessions[0].expect("PASS secret", "+OK")
        with hinted(other, "192.0.2.7") as one_more:
            one_more.greeting()
            sessions[0].expect("STAT", "+OK 0 0")
            with hinted(other, "192.0.2.7") as yet_one_more:
                must_be_refused(yet_one_more)


def test_places_of_all(world):
    """of 200 places that are for all networks the last one is given, and who comes next is told that there is none"""
    require_root()
    make_file(world)
    box = Box(world)
    with locked(range(PLACES - 1)), hinted(box, "192.0.2.7") as session:
        session.greeting()
        with hinted(box, "192.0.2.8") as one_more:
            must_be_refused(one_more)
        session.expect("USER alice", "+OK")
        session.expect("PASS secret", "+OK")
        with hinted(box, "192.0.2.8") as one_more:
            one_more.greeting()


def test_share_of_a_socket(world):
    """it is so for an address that the socket tells, without any launcher's word"""
    require_root()
    box = Box(world)
    with contextlib.ExitStack() as stack:
        for _ in range(OF_A_NETWORK):
            stack.enter_context(box.session(address="127.7.7.7")).greeting()
        with box.session(address="127.7.7.7") as one_more:
            must_be_refused(one_more)


HEADERS = {
    "IPv4": (lambda n: b"PROXY TCP4 192.0.2.9 192.0.2.1 %d 110" % (40000 + n), b"PROXY TCP4 192.0.2.10 192.0.2.1 4711 110"),
    "IPv6": (lambda n: b"PROXY TCP6 2001:db8:0:7::%x 2001:db8::1 4711 110" % (n + 1),
             b"PROXY TCP6 2001:db8:0:8::1 2001:db8::1 4711 110"),
}


def test_share_behind_a_proxy(world):
    """behind a proxy the header's address counts: an IPv4 address, or 64 bits of an IPv6 address"""
    require_root()
    box = Box(world)
    for kind, (same, other) in HEADERS.items():
        with contextlib.ExitStack() as stack:
            for number in range(OF_A_NETWORK + 1):
                ends, session = behind_proxy(box, same(number))
                stack.enter_context(ends)
                if number < OF_A_NETWORK:
                    session.greeting()
                    continue
                must_be_refused(session)
                if "TOO MANY CONNECTIONS, ip=[" not in session.log() or "end=too-many" not in session.log():
                    raise Failure(f"{kind}: {session.log()}")
            ends, session = behind_proxy(box, other)
            with ends:
                session.greeting()


def test_proxy_is_no_source(world):
    """a header without an address (the proxy's own connections) takes no place, and is served"""
    require_root()
    box = Box(world)
    with contextlib.ExitStack() as stack:
        for _ in range(OF_A_NETWORK + 2):
            ends, session = behind_proxy(box, b"PROXY UNKNOWN")
            stack.enter_context(ends)
            session.greeting()
        session.expect("USER alice", "+OK")
        session.expect("PASS secret", "+OK")


WITHOUT = {
    "no folder": "mount -t tmpfs -o ro none /run",
    "a file for all": "mount -t tmpfs none /run; mkdir /run/pop3d; touch /run/pop3d/places; chmod 644 /run/pop3d/places",
    "another's file": "mount -t tmpfs none /run; mkdir /run/pop3d; touch /run/pop3d/places; chmod 600 /run/pop3d/places;"
                      "chown 4001 /run/pop3d/places",
    "a link": "mount -t tmpfs none /run; mkdir /run/pop3d; touch /run/file; chmod 600 /run/file;"
              "ln -s /run/file /run/pop3d/places",
    "a FIFO": "mount -t tmpfs none /run; mkdir /run/pop3d; mkfifo -m 600 /run/pop3d/places",
}


def test_no_places(world):
    """where the file of the places cannot be had, or is not root's alone, logins are served, and the log says so once"""
    require_root()
    box = Box(world)
    for what, command in WITHOUT.items():
        prefix = ["unshare", "-m", "--propagation", "private", "sh", "-c", f'{command}; exec "$@"', "sh"]
        with hinted(box, "192.0.2.7", prefix=prefix) as session:
            session.log_in()
            session.expect("QUIT", "+OK")
            session.wait()
            if session.log().count("UNLIMITED, file=/run/pop3d/places, error=") != 1:
                raise Failure(f"{what}: {session.log()}")


def test_no_root(world):
    """without root there are no places: the same"""
    box = Box(world)
    with box.session("-v", world.me, run_as=world.virtual_uid if IS_ROOT else 0) as session:
        session.greeting()
        session.expect("QUIT", "+OK")
        session.wait()
        if session.log().count("UNLIMITED, file=/run/pop3d/places, error=EPERM") != 1:
            raise Failure(session.log())


@contextlib.contextmanager
def locked(octets):
    """Some octets of the file are locked, as by so many others."""
    with open(FILE, "r+b") as file:
        for octet in octets:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, octet)
        yield


def make_file(world):
    with hinted(Box(world), "192.0.2.7") as session:
        session.greeting()
    state = os.stat(FILE)
    # its size is no matter: a PAM module, which is root, may have printed to any descriptor
    if (state.st_mode, state.st_uid) != (0o100600, 0):
        raise Failure(f"{FILE}: {state}")


def times_of_silence(world, taken, seconds):
    """How long a silent session lives with so many places taken; one that says something stays."""
    with locked(range(taken)), box_sessions(world) as (silent, busy, slow):
        began, ended = time.monotonic(), None
        while ended is None and time.monotonic() < began + seconds:
            busy.expect("CAPA", "+OK")
            busy.block()
            if time.monotonic() < began + 4:
                slow.expect("USER alice", "+OK")
            time.sleep(1)
            if silent.process.poll() is not None:
                ended = time.monotonic() - began
        busy.expect("CAPA", "+OK")
        if ended is not None and (silent.wait() != 2 or "end=timeout" not in silent.log()):
            raise Failure(f"status {silent.wait()}\n{silent.log()}")
        if ended is not None and slow.process.poll() is not None:
            raise Failure("who spoke later is ended as soon as who did not")
        return ended


@contextlib.contextmanager
def box_sessions(world):
    box = Box(world)
    # without an address they take no places, so that it does not matter which are locked
    with contextlib.ExitStack() as stack:
        sessions = [stack.enter_context(box.session(transport="socketpair")) for _ in range(3)]
        for session in sessions:
            session.greeting()
        yield sessions


def test_silence_when_places_are_short(world):
    """with half of the places taken who says nothing for ten seconds is ended, and with fewer he is not"""
    require_root()
    make_file(world)
    ended = times_of_silence(world, PLACES // 2, 25)
    if ended is None or not 9 <= ended <= 18:
        raise Failure(f"ended after {ended} seconds")
    if times_of_silence(world, PLACES // 2 - 1, 14) is not None:
        raise Failure("ended though there are places")


def last_answer(world, octets, service):
    """When the last of three logins that are sent at once is answered, with these octets taken."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(locked(octets))
        sessions = [stack.enter_context(Box(world).session("-s", service, transport="socketpair")) for _ in range(3)]
        for session in sessions:
            session.greeting()
            session.expect("USER alice", "+OK")
        began = time.monotonic()
        for session in sessions:
            session.send(b"PASS secret\r\n")
        for session in sessions:
            answer = first_line(session)
            if not answer.startswith("+OK User"):
                raise Failure(answer)
        return time.monotonic() - began


def test_queue_of_examinations(world):
    """logins are examined in a bounded number at once, so that their memory is; the others wait for their turn"""
    require_root()
    make_file(world)
    world.service("slow", "auth required pam_exec.so quiet /bin/sleep 2\naccount required pam_permit.so\n")
    one_left = last_answer(world, range(EXAMINATIONS, EXAMINATIONS + EXAMINED - 1), "slow")
    free = last_answer(world, [], "slow")
    if one_left < 6 or free > one_left - 2:
        raise Failure(f"at once after {free:.1f} s, one after the other after {one_left:.1f} s")


def test_full_queue(world):
    """while none may be examined logins wait, and are answered when there is room, one after the other"""
    require_root()
    make_file(world)
    with contextlib.ExitStack() as stack:
        sessions = [stack.enter_context(Box(world).session(transport="socketpair")) for _ in range(3)]
        for session in sessions:
            session.greeting()
            session.expect("USER alice", "+OK")
        with locked(range(EXAMINATIONS, EXAMINATIONS + EXAMINED)):
            for session in sessions:
                session.send(b"PASS secret\r\n")
            time.sleep(2)
            for session in sessions:
                with contextlib.suppress(Failure):
                    raise AssertionError(f"answered: {session.line(0.1)}")
        for session in sessions:
            if not first_line(session).startswith("+OK User"):
                raise Failure("not logged in")


def test_refused_login_leaves_the_queue(world):
    """who was refused, and may try again, holds up nobody: neither in the queue nor at its head"""
    require_root()
    make_file(world)
    with locked(range(EXAMINATIONS, EXAMINATIONS + EXAMINED - 1)), contextlib.ExitStack() as stack:
        refused, other = (stack.enter_context(Box(world).session("-l", "600", transport="socketpair")) for _ in range(2))
        refused.greeting()
        refused.expect("USER alice", "+OK")
        refused.expect("PASS wrong", "-ERR [AUTH]")
        other.log_in()
        refused.expect("USER alice", "+OK")
        refused.expect("PASS wrong", "-ERR [AUTH]")


SESSIONS = "/run/pop3d/sessions"


def test_sessions_of_a_user(world):
    """a session's place is no open file of its own; sixty of one user's are served, and nothing is said to be stuck"""
    require_root()
    with contextlib.ExitStack() as stack:
        sessions = [stack.enter_context(Box(world).session(transport="socketpair")) for _ in range(60)]
        for session in sessions:
            session.log_in()
        kept = [os.readlink(f"/proc/{sessions[0].pid}/fd/{fd}") for fd in os.listdir(f"/proc/{sessions[0].pid}/fd")]
        if SESSIONS in kept:
            raise Failure(f"{kept}")
        for session in sessions:
            session.expect("QUIT", "+OK")
            if session.wait() != 0 or "STUCK" in session.log():
                raise Failure(session.log())
