"""
accounts.py - real system accounts through real pam_unix, with the system's own folders.

Runs in:   the test runner, as root; /etc is a private one.
May touch: the homes of the accounts made for the tests.
"""
import concurrent.futures
import contextlib
import os
import re
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import processes
import proxy
from harness.box import Box
from harness.server import Failure, Session, status
from harness.world import ACCOUNTS, require_root, require_tool

UNIFORM = "-ERR [AUTH] Logon failure: unknown user name or bad password."
PARALLEL = False                # homes and /etc/shadow are there once


def launch(world, *options, prefix=()):
    """As a super-server would: the system's PAM folder, the Maildir at home."""
    return Session(world, "tcp", ["-e", *options], prefix=prefix)


def make_home_maildir(world, name):
    maildir, uid = f"{world.root}/home/{name}/Maildir", ACCOUNTS[name][0]
    for folder in ("", "/new", "/cur", "/tmp"):
        os.makedirs(maildir + folder, exist_ok=True)
        os.chown(maildir + folder, uid, uid)
    return maildir


def answer_to(world, user, password, prefix=()):
    """The reply to a login, and the whole log."""
    session = launch(world, prefix=prefix)
    try:
        answer = session.try_to_log_in(user, password)
        session.wait()
        return answer, session.log()
    finally:
        session.finish()


def test_login_at_home(world):
    """a user of the system, by pam_unix and a hash of shadow, in the Maildir at home"""
    world.unix_users()
    maildir = make_home_maildir(world, "alice")
    with open(f"{maildir}/new/1.M1P1.host", "w") as file:
        file.write("Subject: at home\n\ntext\n")
    os.chown(file.name, *[ACCOUNTS["alice"][0]] * 2)
    session = launch(world)
    try:
        session.log_in("alice", "secret")
        session.expect("STAT", "+OK 1 26")
        if status(session.pid)["Uid"].split() != [str(ACCOUNTS["alice"][0])] * 4:
            raise Failure("not alice's process")
        session.expect("DELE 1", "+OK")
        session.expect("QUIT", "+OK")
        session.wait()
    finally:
        session.finish()
    if os.listdir(f"{maildir}/new"):
        raise Failure("the message is still there")


def test_reasons(world):
    """locked, expired and stale accounts are told apart in the log, and by nobody else"""
    world.unix_users()
    reasons = {
        ("alice", "guess77"): "wrong-password",
        ("nobody-here", "secret"): "(unknown-user|wrong-password)",
        ("locked", "secret"): "account-locked",
        ("expired", "secret"): "account-expired",
        ("stale", "secret"): "password-expired",
        ("forced", "secret"): "password-expired",
        ("vmail", "secret"): "(wrong-password|account-locked|no-password)",
    }
    with concurrent.futures.ThreadPoolExecutor(len(reasons)) as pool:
        answers = list(pool.map(lambda who: answer_to(world, *who), reasons))
    for ((user, password), reason), (answer, log) in zip(reasons.items(), answers):
        if answer != UNIFORM:
            raise Failure(f"{user} was answered {answer!r}")
        wanted = rf"LOGIN FAILED, user={user}, ip=\[127\.0\.0\.1\], category=Authentication, reason={reason}"
        if re.search(wanted, log) is None:
            raise Failure(f"for {user} the log says {log}")
        if password in log:
            raise Failure(f"a password in the log: {log}")


def test_wrong_password_of_locked(world):
    """who does not know the password does not learn that an account has expired"""
    world.unix_users()
    for user in ("expired", "stale"):
        answer, log = answer_to(world, user, "wrong")
        if answer != UNIFORM or "reason=wrong-password" not in log:
            raise Failure(f"{answer}\n{log}")


def test_launched_without_root(world):
    """a launcher that is not root is our fault, for a right password, a wrong one and an unknown user alike"""
    world.unix_users()
    setpriv = [require_tool("setpriv"), "--reuid=65534", "--regid=65534", "--clear-groups"]
    logins = [("alice", "secret"), ("alice", "guess77"), ("nobody-here", "secret"), ("locked", "secret")]
    with concurrent.futures.ThreadPoolExecutor(len(logins)) as pool:
        answers = list(pool.map(lambda login: answer_to(world, *login, setpriv), logins))
    for (user, _), (answer, log) in zip(logins, answers):
        if answer != answers[0][0] or not answer.startswith("-ERR [SYS/PERM]"):
            raise Failure(f"{user} was answered {answer!r}")
        if f"LOGIN FAILED, user={user}, ip=[127.0.0.1], category=Configuration, reason=started-without-root" not in log:
            raise Failure(f"for {user} the log says {log}")
    _, log = answer_to(world, "nobody", "guess77", setpriv)
    if "LOGIN FAILED, user=nobody" not in log or "started-without-root" in log:
        raise Failure(f"of its own account, which it may serve, the log says {log}")


def test_root_by_group(world):
    """an account of root's group is refused like root: by PAM's answer and in its reasons, not by a fault behind it; so
    is one whose uid or gid is -1, which the kernel takes for none"""
    world.unix_users()
    passwd, uid = f"{world.folder()}/passwd", ACCOUNTS["alice"][0]
    place = ["unshare", "-m", "/bin/sh", "-c", f'mount --bind {passwd} /etc/passwd && exec "$@"', "sh"]
    with open("/etc/passwd") as file:
        text = file.read()
    for numbers in (f"{uid}:0", f"4294967295:{uid}", f"{uid}:4294967295"):
        with open(passwd, "w") as file:
            file.write(text.replace(f":{uid}:{uid}:", f":{numbers}:"))
        answer, log = answer_to(world, "alice", "secret", place)
        if answer != UNIFORM or "LOGIN FAILED, user=alice" not in log or "reason=root-is-refused" not in log or \
                "FAULT" in log:
            raise Failure(f"{numbers}: {answer}\n{log}")


def test_syslog(world):
    """the lines go to syslog, facility mail, with the tag that fail2ban's filters look for"""
    require_root()
    box = Box(world, messages=[b"one\n"])
    heard = len(world.syslog.lines)
    with box.session() as session:
        session.log_in()
        session.expect("QUIT", "+OK")
        session.wait()
    text = world.syslog.since(heard, rf"pop3d\[{session.pid}\]: LOGOUT", 20)
    lines = [line for line in text.split("\n")
             if f"pop3d[{session.pid}]:" in line and "UNCONFINED" not in line]
    events = [re.fullmatch(r"<(\d+)>.*pop3d\[\d+\]: (LOGIN|LOGOUT), user=alice, ip=\[127\.0\.0\.1\], .*", line)
              for line in lines]
    if len(events) != 2 or not all(events) or [event[2] for event in events] != ["LOGIN", "LOGOUT"]:
        raise Failure(f"syslog heard {lines}")
    if {int(event[1]) >> 3 for event in events} != {2}:
        raise Failure(f"the facility is not mail: {lines}")


def test_pam_from_the_system(world):
    """without -C the service file of /etc/pam.d decides, whatever -s names"""
    world.unix_users()
    world.system_service("pop3-closed", "auth required pam_deny.so\naccount required pam_deny.so\n")
    session = launch(world, "-s", "pop3-closed")
    try:
        session.greeting()
        session.expect("USER alice", "+OK")
        session.expect("PASS secret", UNIFORM)
    finally:
        session.finish()


def test_missing_service_named(world):
    """a service file that is missing is named by the log"""
    world.unix_users()
    session = launch(world, "-s", "nosuchservice")
    try:
        session.greeting()
        session.expect("USER alice", "+OK")
        if not session.command("PASS wrong").startswith("-ERR"):
            raise Failure("got in")
        if "category=Configuration, reason=no-PAM-service-file" not in session.log():
            raise Failure(session.log())
    finally:
        session.finish()


def test_new_account_at_home(world):
    """an account without a Maildir is served as empty, and none is made"""
    world.unix_users()
    session = launch(world)
    try:
        session.log_in("dave", "secret")
        session.expect("STAT", "+OK 0 0")
        session.expect("QUIT", "+OK")
    finally:
        session.finish()
    if os.listdir(f"{world.root}/home/dave"):
        raise Failure("something was made in the home")


@contextlib.contextmanager
def least_uid(text):
    """/etc/login.defs with this text in place of its own."""
    with open("/etc/login.defs") as file:
        before = file.read()
    with open("/etc/login.defs", "w") as file:
        file.write(text)
    try:
        yield
    finally:
        with open("/etc/login.defs", "w") as file:
            file.write(before)


DEFINITIONS = (("#UID_MIN 7\n UID_MIN 8\nUID_MINIMUM 9\nUID_MIN\t 4002\nUID_MAX 60000\n", 4002),
               ("UID_MIN 0xFA2", 4002), ("", 1000), ("UID_MIN\n", 1000))


def test_services_do_not_log_in(world):
    """accounts with uids below UID_MIN of login.defs are refused like a wrong password, and the log says why"""
    world.unix_users()
    for text, least in DEFINITIONS:
        with least_uid(text):
            for name in ("alice", "bob"):       # 4001 and 4002
                answer, log = answer_to(world, name, ACCOUNTS[name][1])
                is_served = ACCOUNTS[name][0] >= least
                if answer.startswith("+OK User") != is_served or ("reason=system-account" in log) == is_served or \
                        not is_served and answer != UNIFORM:
                    raise Failure(f"{text!r}, {name}: {answer}\n{log}")


def test_owner_of_virtual_users_may_be_a_service(world):
    """but the account of -v is served, whatever its uid"""
    require_root()
    box = Box(world, "alice")
    with least_uid("UID_MIN 60000\n"), box.session("-v", "alice") as session:
        session.log_in()
        session.expect("QUIT", "+OK")


def test_floor_of_proxies(world):
    """and who may not speak for others in a PROXY header is told by the same number"""
    require_root()
    with proxy.listening(proxy.socket.AF_INET, ("127.0.0.1", 0)) as listener:
        for text, least in DEFINITIONS:
            with least_uid(text):
                taken = [proxy.as_proxy(world, listener, uid) for uid in (least - 1, least)]
            if taken != [True, False]:
                raise Failure(f"{text!r}: {taken}")


def test_powerless_account_of_the_name_service(world):
    """an account of -n that getpwnam(3) alone finds leaves no list of accounts in the process of strangers"""
    require_root()
    with open("/etc/passwd") as file:
        before = file.read()
    many = "".join(f"unlikely{number:04}:x:{20000 + number}:9::/:/bin/sh\n" for number in range(300))
    try:
        with open("/etc/passwd", "w") as file:
            # its own line begins with a blank, which libc passes over
            file.write(before + many + " far:x:4042:4043::/:/bin/sh\n")
        with Box(world).session("-n", "far") as session:
            session.greeting()
            authorization, = processes.await_children(session.pid, 1)
            processes.has_no_power(authorization, 4042, 4043, [])
            for octets in (b"root:x:0:0:", b"unlikely"):
                if processes.memory_has(authorization, octets):
                    raise Failure(f"it has {octets}")
            session.expect("QUIT", "+OK")
    finally:
        with open("/etc/passwd", "w") as file:
            file.write(before)
