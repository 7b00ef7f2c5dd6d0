"""
locks.py - one session at a time, and a lock that goes with its holder.

Runs in:   the test runner.
May touch: maildrops of its own.
"""
import contextlib
import errno
import os
import stat
import subprocess
import sys
import time

from harness.box import Box
from harness.server import Failure, says
from harness.world import HERE, require_root, require_tool

DRIVE = os.environ.get("POP3D_TEST_PROGRAMS", os.path.dirname(HERE) + "/build/tests")
NOBODY = 65534
# Holds a folder open, with a lock of flock(2), until its standard input ends.
HOLD = """
import fcntl, os, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
fcntl.flock(fd, fcntl.LOCK_SH if sys.argv[2] == "shared" else fcntl.LOCK_EX)
try:
    os.open(sys.argv[1] + "/pop3d.lock", os.O_RDONLY)
except PermissionError:
    print("closed", flush=True)
except FileNotFoundError:
    print("none", flush=True)
else:
    print("open", flush=True)
sys.stdin.read()
"""

# Holds a file under a lease until its standard input ends. The kernel asks for it by a signal.
LEASE = """
import fcntl, os, signal, sys
signal.signal(signal.SIGIO, signal.SIG_IGN)
fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o600)
os.chown(fd, int(sys.argv[2]), int(sys.argv[2]))
fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
print("held", flush=True)
sys.stdin.read()
"""


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


def as_user(uid, gid, *command):
    return [require_tool("setpriv"), f"--reuid={uid}", f"--regid={gid}", "--clear-groups", "--", *command]


@contextlib.contextmanager
def stranger(path, kind):
    """Another local user who may read the Maildir, and locks it; what pop3d.lock is to him."""
    process = subprocess.Popen(as_user(NOBODY, NOBODY, sys.executable, "-c", HOLD, path, kind), stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, text=True)
    try:
        yield process.stdout.readline().strip()
    finally:
        process.communicate("")


class Guest:
    """A session of another user's with a Maildir, by maildir/ alone."""

    def __init__(self, uid, gid=NOBODY):
        self.process = subprocess.Popen(as_user(uid, gid, f"{DRIVE}/property/drive.bin"), stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)

    def ask(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().split()

    def end(self):
        self.process.communicate()


def is_refused(box):
    with box.session() as session:
        answer, _ = knock(session)
        if says(answer, "+OK"):
            session.expect("QUIT", "+OK")
        return says(answer, "-ERR [IN-USE]")


def mode_of(path):
    status = os.stat(path)
    return stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid


def test_reader_keeps_nobody_out(world):
    """whoever may only read a Maildir cannot lock its owner out; two sessions of the owner exclude each other"""
    require_root()
    box = Box(world, messages=[b"one\n"])
    lock = box.maildir + "/pop3d.lock"
    for kind in ("shared", "exclusive"):
        os.chmod(box.maildir, 0o755)
        with stranger(box.maildir, kind), box.session() as first:
            first.log_in()
            if not is_refused(box):
                raise Failure("a second session has the maildrop as well")
            first.expect("QUIT", "+OK")
        with stranger(box.maildir, kind) as to_him:
            if to_him != "closed" or is_refused(box):
                raise Failure(f"pop3d.lock is {to_him} to a stranger, or the owner is locked out")
    if mode_of(lock) != (0o600, box.uid, box.uid):
        raise Failure(f"{mode_of(lock)}")
    # where nobody else may open it no file is needed
    box = Box(world, messages=[b"one\n"])
    with box.session() as first:
        first.log_in()
        if not is_refused(box) or os.path.exists(box.maildir + "/pop3d.lock"):
            raise Failure("the folder was to be locked")


def test_lock_has_the_rights_of_the_maildir(world):
    """who may write to the Maildir may lock it, whoever made the lock; the rights follow the Maildir's"""
    require_root()
    box = Box(world, messages=[b"one\n"])
    os.chmod(box.maildir, 0o770)
    os.chown(box.maildir, box.uid, NOBODY)
    for folder in ("new", "cur"):
        os.chmod(f"{box.maildir}/{folder}", 0o777)
    guest = Guest(NOBODY)
    if guest.ask(f"open {box.maildir}")[0] != "ok" or not is_refused(box):
        raise Failure("a guest who may write does not keep the owner out")
    guest.ask("close")
    with box.session() as session:
        session.log_in()
        if guest.ask(f"open {box.maildir}")[:2] != ["error", str(errno.EWOULDBLOCK)]:
            raise Failure("the owner does not keep out a guest who may write")
        session.expect("QUIT", "+OK")
    lock = box.maildir + "/pop3d.lock"
    if mode_of(lock) != (0o660, NOBODY, NOBODY):
        raise Failure(f"{mode_of(lock)}")
    # its maker follows the Maildir's mode of now
    for mode, wanted in ((0o777, 0o666), (0o770, 0o660)):
        os.chmod(box.maildir, mode)
        guest.ask(f"open {box.maildir}")
        guest.ask("close")
        if mode_of(lock) != (wanted, NOBODY, NOBODY):
            raise Failure(f"{mode_of(lock)}")
    guest.end()


def test_guest_who_may_only_read(world):
    """a guest who may only read locks nothing, hinders nobody, removes nothing, and QUIT tells him so"""
    require_root()
    box = Box(world, messages=[b"one\n", b"two\n"])
    for folder, mode in (("", 0o755), ("/new", 0o777), ("/cur", 0o777)):
        os.chmod(box.maildir + folder, mode)
    for path in box.listing():
        os.chmod(f"{box.maildir}/{path}", 0o644)
    guest = Guest(NOBODY)
    if guest.ask(f"open {box.maildir}")[:3] != ["ok", "2", "10"] or guest.ask("load") != ["ok"] or is_refused(box):
        raise Failure("the guest has no session, or the owner has none beside it")
    guest.ask("dele 1")
    answer = guest.ask("quit")
    guest.end()
    if answer != ["ok", "1", "1", str(errno.EACCES)]:
        raise Failure(f"{answer}")
    box.check(2)


def test_lease_is_no_session(world):
    """a program that holds a lease on pop3d.lock, as a file server may, is told as a fault and not as another session"""
    require_root()
    box = Box(world, messages=[b"one\n"])
    os.chmod(box.maildir, 0o755)
    holder = subprocess.Popen([sys.executable, "-c", LEASE, box.maildir + "/pop3d.lock", str(box.uid)],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        if holder.stdout.readline() != "held\n":
            raise Failure("the file system knows no lease")
        with box.session() as session:
            answer, seconds = knock(session)
            if not says(answer, "-ERR [SYS/TEMP]") or "error=EIO" not in session.log():
                raise Failure(f"{answer} after {seconds:.2f} seconds: {session.log()}")
    finally:
        holder.communicate("")
    if is_refused(box):
        raise Failure("a lease that is given back keeps the owner out")


def test_lock_where_no_file_can_be_made(world):
    """where pop3d.lock cannot be made the folder is locked, and nothing else is different"""
    require_root()
    box = Box(world, messages=[b"one\n"])
    os.chmod(box.maildir, 0o555)
    with box.session() as first:
        first.log_in()
        if not is_refused(box):
            raise Failure("a second session has the maildrop as well")
        first.expect("DELE 1", "+OK")
        first.expect("QUIT", "+OK")
    box.check(0)


def test_file_where_others_see_it(world):
    """on a file system of which nothing is known pop3d.lock is locked, though nobody else may open the Maildir"""
    require_root()
    box = Box(world, messages=[b"Subject: one\n\n"])
    os.chmod(box.maildir, 0o700)
    with box.session() as session:
        session.log_in()
        if os.path.exists(f"{box.maildir}/pop3d.lock"):
            raise Failure("made where the folder is enough")
        session.expect("QUIT", "+OK")
    # a folder that is a mount point makes the whole one of no known kind
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"mode=700,uid={box.uid}", "tmpfs", f"{box.maildir}/new"], check=True)
    try:
        with box.session() as session:
            session.log_in()
            if not is_refused(box):
                raise Failure("a second session has the maildrop as well")
            if not os.path.exists(f"{box.maildir}/pop3d.lock"):
                raise Failure("the folder alone is locked")
            session.expect("QUIT", "+OK")
    finally:
        subprocess.run(["umount", f"{box.maildir}/new"], check=True)


def test_no_maildrop_yet(world):
    """a maildrop that is not there yet has one session at a time, and another one beside it is another"""
    alice, bob = Box(world, "alice"), Box(world, "bob")
    for box in (alice, bob):
        subprocess.run(["rm", "-r", box.maildir], check=True)
    # two in one folder
    one, two = (["-m", f"{alice.root}/%u/{name}"] for name in ("one", "two"))
    with alice.session(*one) as first, alice.session(*two) as second:
        for session in (first, second):
            session.log_in()
        for session in (first, second):
            session.expect("QUIT", "+OK")
    with alice.session() as first, bob.session() as second:
        first.log_in()
        second.log_in("bob", "two  words ")
        if not is_refused(alice):
            raise Failure("a second session has the maildrop as well")
        first.expect("STAT", "+OK 0 0")
        first.expect("QUIT", "+OK")
        first.wait()
        if is_refused(alice):
            raise Failure("the lock outlives its session")
