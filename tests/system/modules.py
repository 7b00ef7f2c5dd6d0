"""
modules.py - PAM modules that misbehave, and what a module is told.

Runs in:   the test runner.
May touch: a module compiled into the tests' folder, services that name it.
"""
import os
import re
import signal
import subprocess
import threading
import time

from harness.box import Box
from harness.server import Failure, says
from harness.world import HERE, IS_ROOT, Skip, require_root, require_tool

LOCK = threading.Lock()


def service(world, name, argument, source="pam_probe"):
    """A service whose only module is the probe with this argument; its -s option."""
    module = f"{world.root}/{source}.so"
    with LOCK:
        if not os.path.exists(module):
            compiler = require_tool("cc")
            subprocess.run([compiler, "-shared", "-fPIC", "-Wall", "-o", module + ".new",
                            f"{HERE}/harness/{source}.c", "-lpam"], check=True)
            os.rename(module + ".new", module)
    world.service(f"probe-{name}", f"auth required {module} {argument}\naccount required pam_permit.so\n")
    return ["-s", f"probe-{name}"]


def try_login(session, password="secret"):
    session.greeting()
    session.expect("USER alice", "+OK")
    return session.command(f"PASS {password}")


def test_module_that_leaves_a_child(world):
    """a module's child that stays does not hold pop3d for ever"""
    box = Box(world)
    path = world.folder() + "/child"
    os.chmod(os.path.dirname(path), 0o777)
    with box.session("-l", "1", *service(world, "stay", f"stay={path}")) as session:
        try:
            if not says(try_login(session), "-ERR [AUTH]"):
                raise Failure(f"{session.transcript!r}")
            # twice -l, two seconds for the refusal, fifteen for those that have clocks of their own
            session.wait(30)
        finally:
            with open(path) as file:
                os.kill(int(file.read()), signal.SIGKILL)


def lacks_libpam(box, folder, reason):
    """With the libpam in this folder a login is not answered, and the log says why."""
    with box.session(prefix=["env", f"LD_LIBRARY_PATH={folder}"]) as session:
        if not says(try_login(session), "-ERR [SYS/TEMP]"):
            raise Failure(f"{session.transcript!r}")
        session.expect("QUIT", "+OK")
        session.wait()
        if not re.search(rf"LOGIN FAILED, user=alice, .*category=Configuration, reason=\S*libpam.so.0{reason}", session.log()):
            raise Failure(session.log())


def test_no_libpam(world):
    """where libpam cannot be loaded it is our own fault, not a wrong password, and the log has the loader's words"""
    folder = world.folder()
    os.chmod(folder, 0o755)
    with open(f"{folder}/libpam.so.0", "w") as file:
        file.write("no library\n")
    lacks_libpam(Box(world), folder, "%3A")


def test_libpam_of_another_age(world):
    """a libpam that lacks one function is one that cannot be loaded"""
    box = Box(world)
    folder = world.folder()
    os.chmod(folder, 0o755)
    names = ("pam_start_confdir", "pam_set_item", "pam_get_item", "pam_authenticate", "pam_acct_mgmt", "pam_strerror", "pam_end")
    for missing in (names[0], names[-1]):
        code = "".join(f"int {name}(void) {{ return 0; }}\n" for name in names if name != missing)
        subprocess.run([require_tool("cc"), "-shared", "-fPIC", "-x", "c", "-", "-o", f"{folder}/libpam.so.0"],
                       input=code.encode(), check=True)
        lacks_libpam(box, folder, rf"\S*{missing}")


def test_module_that_prints(world):
    """what a module prints reaches neither the client nor the log"""
    box = Box(world)
    with box.session(*service(world, "print", "print"), transport="socketpair") as session:
        answer = try_login(session)
        session.expect("NOOP", "+OK")
        session.expect("QUIT", "+OK")
        session.drain()
        if b"injected" in session.transcript or not says(answer, "+OK User successfully logged on"):
            raise Failure(f"{session.transcript!r}")


def test_module_that_sprays(world):
    """a module that writes into every descriptor it finds grants nothing, and the client sees none of it"""
    box = Box(world)
    with box.session(*service(world, "spray", "spray"), transport="socketpair") as session:
        session.send(b"USER alice\r\nPASS secret\r\nSTAT\r\n")
        session.half_close()
        session.drain()
        # a refusal or a cut connection, as the processes happen to hear of it
        answers = bytes(session.transcript).split(b"\r\n")[2:]
        if any(not answer.startswith(b"-ERR") for answer in answers if answer) or session.wait() == 0:
            raise Failure(f"{session.transcript!r}")


def test_module_that_leaves_a_file_open(world):
    """a file that a module left open is not in the user's process"""
    if not IS_ROOT:
        raise Skip("needs root to look")
    box = Box(world)
    with box.session(*service(world, "open", "open=/etc/shadow")) as session:
        answer = try_login(session)
        fds = [os.readlink(f"/proc/{session.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{session.pid}/fd")]
        if not says(answer, "+OK") or any("shadow" in path for path in fds):
            raise Failure(f"{answer} {fds}")


def gives_up(world, name, argument, within, reason):
    box = Box(world)
    with box.session("-l", "1", *service(world, name, argument)) as session:
        began = time.monotonic()
        answer = try_login(session)
        took = time.monotonic() - began
        if not says(answer, "-ERR [SYS/TEMP]") or took > within:
            raise Failure(f"{answer} after {took:.1f} seconds")
        session.close()
        session.wait()
        if re.search(reason, session.log()) is None:
            raise Failure(f"no {reason} in\n{session.log()}")


def test_module_that_hangs(world):
    """a module that hangs is ended by the clock: [SYS/TEMP], and the log knows why"""
    gives_up(world, "hang", "hang", 8, "process=PAM, signal=14, reason=took-too-long")


def test_module_that_hangs_before_a_batch(world):
    """STAT and QUIT behind PASS: the client hears of the module that hung, though -l is long over"""
    box = Box(world)
    with box.session("-l", "1", *service(world, "hang-batch", "hang"), transport="socketpair") as session:
        session.send(b"USER alice\r\nPASS secret\r\nSTAT\r\nQUIT\r\n")
        if b"\r\n-ERR [SYS/TEMP]" not in session.drain():
            raise Failure(f"{session.transcript!r}")


def test_module_that_disarms_the_clock(world):
    """a module that hangs and has taken the alarm away is ended all the same, with all processes"""
    box = Box(world)
    with box.session("-l", "1", *service(world, "alarm", "alarm")) as session:
        session.greeting()
        session.expect("USER alice", "+OK")
        session.send(b"PASS secret\r\n")
        if not session.drain().startswith(b"-ERR [SYS/TEMP]"):
            raise Failure(f"{session.transcript!r}")
        session.wait()


def test_module_that_crashes(world):
    """a module that crashes takes its own process along: [SYS/TEMP]"""
    gives_up(world, "crash", "crash", 4, "process=PAM, signal=11, reason=died")


def test_module_that_exits(world):
    """a module that calls exit: no identity, no login"""
    gives_up(world, "exit", "exit", 4, "")


SPOILT = ("uid-is-root", "gid-is-root", "too-many-groups", "far-too-many-groups", "home-without-end", "address-without-end",
          "user-without-end", "user-is-empty", "mailbox-is-dots", "mailbox-is-path", "domain-is-path", "mechanism",
          "no-mechanism-at-all")


def tell_identity(world, what):
    """A session whose PAM process tells pop3d itself whom it let in: what the client heard, the status, the log."""
    box = Box(world, messages=[b"one\n"])
    options = service(world, f"identity-{what}", f"{box.uid} {what}", "pam_identity")
    with box.session(*options, transport="socketpair") as session:
        session.send(b"USER alice\r\nPASS secret\r\nSTAT\r\nQUIT\r\n")
        session.half_close()
        session.drain()
        return bytes(session.transcript), session.wait(), session.log()


def test_identity_that_is_none(world):
    """PAM's process is believed in nothing: an identity that breaks one rule is no login, and the log has it"""
    said, status, log = tell_identity(world, "sound")
    if b"\r\n+OK 1 5\r\n" not in said or status != 0:
        raise Failure(f"a sound identity is not served: {said!r}, {status}\n{log}")
    for what in SPOILT:
        said, status, log = tell_identity(world, what)
        # AUTHORIZATION may still say that PAM is away
        if b"logged on" in said or b"\r\n+OK 1 5" in said or status != 70 or "LOGIN," in log or "FAULT, category=General" not in log:
            raise Failure(f"{what}: the client heard {said!r}, status {status}\n{log}")
    # one that is of another size is none at all
    for what in ("short", "long"):
        said, status, log = tell_identity(world, what)
        if not says(said.split(b"\r\n")[2].decode(), "-ERR [SYS/TEMP]") or "LOGIN," in log:
            raise Failure(f"{what}: the client heard {said!r}, status {status}\n{log}")


def test_module_that_renames(world):
    """the user that PAM hands back is the one that counts"""
    if not IS_ROOT:
        raise Skip("needs root for two accounts")
    box = Box(world, "bob", [b"bob's\n"])
    with box.session(*service(world, "user", "user=bob")) as session:
        answer = try_login(session)
        if not says(answer, "+OK"):
            raise Failure(answer)
        session.expect("STAT", "+OK 1 7")
        session.expect("QUIT", "+OK")
        session.wait()
        if "LOGIN, user=bob, " not in session.log():
            raise Failure(session.log())


def test_module_that_renames_to_a_path(world):
    """a name from PAM obeys the same rules as one from the client"""
    box = Box(world)
    for number, name in enumerate(("../alice", "-x", "root")):
        with box.session(*service(world, f"bad-user-{number}", f"user={name}")) as session:
            answer = try_login(session)
            if answer.startswith("+OK") and not (name == "root" and not IS_ROOT):
                raise Failure(f"{name}: {answer}")


def test_module_that_renames_to_a_domain(world):
    """a domain that PAM puts into the name must be one of -d"""
    box = Box(world, "erin")
    options = ("-v", world.me, "-d", "example.org", *service(world, "domain", "user=erin@example.net"))
    with box.session(*options) as session:
        session.greeting()
        session.expect("USER alice@example.org", "+OK")
        session.expect("PASS secret", "-ERR [SYS/PERM]")
        session.expect("QUIT", "+OK")
        session.wait()
        if "LOGIN FAILED, user=alice@example.org, " not in session.log() or "PAM-changed-the-name" not in session.log():
            raise Failure(session.log())


def test_module_that_returns_twice(world):
    """a module's child that comes back is no second PAM process"""
    box = Box(world)
    with box.session(*service(world, "twice", "twice")) as session:
        answer = try_login(session)
        session.expect("QUIT", "+OK")
        session.wait()
        if not says(answer, "-ERR [AUTH]") or session.log().count("LOGIN FAILED") != 1:
            raise Failure(f"{answer}\n{session.log()}")


def test_module_that_logs(world):
    """a module that opens the log for itself, and is gone then: the refusal is in the mail log, and pop3d's"""
    require_root()                      # who else hears syslog?
    box = Box(world)
    heard = len(world.syslog.lines)
    with box.session(*service(world, "log", "log")) as session:
        session.greeting()
        session.expect("USER silenced", "+OK")
        session.expect("PASS secret", "-ERR [AUTH]")
        session.expect("QUIT", "+OK")
        session.wait()
    text = world.syslog.since(heard, r"LOGIN FAILED, user=silenced", 20)
    if re.search(r"<21>.* pop3d\[\d+\]: LOGIN FAILED, user=silenced, ", text) is None:
        raise Failure(text)


def refused_within(world, name, argument, least, most):
    box = Box(world)
    with box.session(*service(world, name, argument)) as session:
        began = time.monotonic()
        answer = try_login(session)
        took = time.monotonic() - began
        if not says(answer, "-ERR [AUTH]") or not least <= took <= most:
            raise Failure(f"{answer} after {took:.2f} seconds")


def test_module_that_is_slow(world):
    """a refusal that PAM took 2.5 seconds for comes after 4"""
    refused_within(world, "slow", "slow=2500000", 3.98, 5.5)


def test_module_that_delays(world):
    """a module's own delay of failures is not ours: two seconds, always"""
    refused_within(world, "delay", "delay=5000000", 1.98, 3.9)


def test_module_that_talks(world):
    """a conversation answers just what it was asked, and no message reaches the client"""
    box = Box(world)
    with box.session(*service(world, "talk", "talk")) as session:
        answer = try_login(session)
        if not says(answer, "+OK User successfully logged on") or b"injected" in session.transcript:
            raise Failure(f"{session.transcript!r}")


def test_items(world):
    """a module is told the service, the user, the terminal and the client's address; no variable of the launcher"""
    box = Box(world)
    path = world.folder() + "/items"
    variables = {"PATH": "/tmp", "LD_LIBRARY_PATH": "/tmp", "TZ": "UTC", "REMOTE_HOST": "127.0.0.1"}
    with box.session(*service(world, "note", f"note={path}"), env=variables) as session:
        if not says(try_login(session), "+OK"):
            raise Failure("no login")
    with open(path) as file:
        items = dict(line.rstrip("\n").split("=", 1) for line in file)
    wanted = {"service": "probe-note", "user": "alice", "tty": "pop3d", "rhost": "127.0.0.1", "ruser": "(none)"}
    if items != wanted:
        raise Failure(f"{items}")


def test_items_from_proxy(world):
    """with -x the address is the one of the PROXY header"""
    box = Box(world)
    path = world.folder() + "/items"
    with box.session("-x", "-p", *service(world, "note-proxy", f"note={path}")) as session:
        session.send(b"PROXY TCP4 192.0.2.7 192.0.2.1 1 2\r\n")
        if not says(try_login(session), "+OK"):
            raise Failure("no login")
    with open(path) as file:
        if "rhost=192.0.2.7\n" not in file.read():
            raise Failure("another rhost")
