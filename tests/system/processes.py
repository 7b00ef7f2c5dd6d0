"""
processes.py - what /proc says of each process of a session.

Runs in:   the test runner, as root.
May touch: the sessions it starts.
"""
import base64
import concurrent.futures
import contextlib
import ctypes
import os
import re
import select
import socket
import time

from harness.box import Box
from harness.server import Failure, Session, children, family, status
from harness.world import ACCOUNTS, IS_ROOT, Skip, require_production, require_root

PASSWORD = "secret"
NO_POWER = "0" * 16
PIDFD_OPEN, PIDFD_GETFD = 434, 438
PAM_LIBRARIES = r"libpam|libaudit|libcap-ng|pam_"
TCP_NOTSENT_LOWAT = 25          # Python before 3.12 does not know it


def descriptors(pid):
    """What each descriptor of a process is, as readlink tells it."""
    folder, found = f"/proc/{pid}/fd", {}
    for fd in os.listdir(folder):
        with contextlib.suppress(FileNotFoundError):            # closed meanwhile
            found[int(fd)] = os.readlink(f"{folder}/{fd}")
    return found


def must(condition, what):
    if not condition:
        raise Failure(what)


def has_no_power(pid, uid, gid, groups):
    """All four ids, the groups, no capability, no way back."""
    state = status(pid)
    must(state["Uid"].split() == [str(uid)] * 4, f"uids {state['Uid']}")
    must(state["Gid"].split() == [str(gid)] * 4, f"gids {state['Gid']}")
    must(sorted(map(int, state["Groups"].split())) == sorted(groups), f"groups {state['Groups']}")
    for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        must(state[name] == NO_POWER, f"{name} {state[name]}")


def is_fenced(world, pid):
    state = status(pid)
    must(state["NoNewPrivs"] == "1", "new privileges are possible")
    if not world.is_sanitized:
        must(state["Seccomp"] == "2", "no filter of system calls")


def mapped(pid):
    with open(f"/proc/{pid}/maps") as file:
        return {line.split()[5].split("/")[-1] for line in file if len(line.split()) > 5}


def memory_has(pid, octets):
    """Whether a process holds these octets anywhere that it can write."""
    with open(f"/proc/{pid}/maps") as file:
        ranges = [line.split()[0] for line in file if " rw" in line and "[v" not in line]
    with open(f"/proc/{pid}/mem", "rb") as memory:
        for span in ranges:
            start, end = (int(part, 16) for part in span.split("-"))
            if end - start > 1 << 30:
                continue                # a sanitizer's shadow
            try:
                memory.seek(start)
                if octets in memory.read(end - start):
                    return True
            except OSError:
                continue                # guard pages of the same
    return False


def await_children(pid, count):
    end = time.monotonic() + 10
    while len(children(pid)) != count:
        must(time.monotonic() < end, f"children {children(pid)}, and not {count}")
        time.sleep(0.005)
    return children(pid)


def test_before_login(world):
    """before a login: root that waits and never reads, and one powerless process that talks"""
    require_root()
    box = Box(world)
    # a launcher may have groups of its own: they must not come along
    with box.session(prefix=["setpriv", "--groups=0,27,4100"]) as session:
        session.greeting()
        authorization, = await_children(session.pid, 1)
        client = descriptors(session.pid)[0]
        session.expect("CAPA", "+OK")
        session.block()

        state = status(session.pid)
        must(state["Uid"].split() == ["0"] * 4, "the waiting process is root")
        end = time.monotonic() + 5
        while not status(session.pid)["State"].startswith("S"):
            must(time.monotonic() < end, "the waiting process does not sleep")
        with open(f"/proc/{session.pid}/syscall") as file:
            call, first = file.read().split()[:2]
        # poll(2) over one channel, or a read of it: never of the client
        must(call not in ("0", "45") or int(first, 16) > 1, f"root reads descriptor {first}")

        has_no_power(authorization, 65534, 65534, [])
        is_fenced(world, authorization)
        fds = descriptors(authorization)
        must(fds[0] == fds[1] == client, f"its client is {fds}")
        must(fds[2] == "/dev/null", "it has no stderr to write to")
        others = {fd: what for fd, what in fds.items() if fd > 2}
        must(len(others) == 1 and list(others.values())[0].startswith("socket:"),
             f"one channel to PAM, and not {others}")
        root = os.readlink(f"/proc/{authorization}/root")
        must(root != "/", "it is in a jail")
        must(not os.path.exists(f"/proc/{authorization}/root/etc"), "the jail is empty")
        must(os.readlink(f"/proc/{authorization}/cwd") == root, "it stands in the jail")


def test_powerless_account(world):
    """-n names the account of the process that talks"""
    require_root()
    box = Box(world)
    with box.session("-n", "parsers") as session:
        session.greeting()
        authorization, = await_children(session.pid, 1)
        uid = ACCOUNTS["parsers"][0]
        has_no_power(authorization, uid, uid, [])


def test_powerless_account_anywhere(world):
    """that account is found wherever in the list it stands: behind namesakes, across 4 KiB, far behind"""
    require_root()
    box = Box(world)
    uid = ACCOUNTS["parsers"][0]
    with open("/etc/passwd") as file:
        others = "".join(line for line in file if not line.startswith("parsers:"))
    line = f"parsers:x:{uid}:{uid}::/:/bin/false\n"
    alike = "parser:x:1:1::/:/bin/false\nparsers2:3:4:5::/:/bin/false\nxparsers:x:3:3::/:/bin/false\n"
    texts = [line + others, others + alike + line, others + alike + line[:-1]]
    # so many octets of the line lie before the first 4,095 end
    for kept in (0, 3, 8, 12, len(f"parsers:x:{uid}:4"), len(f"parsers:x:{uid}:{uid}"), len(line), -5000):
        filler = 4095 - kept - len(others)
        texts.append(others + "filler:x:9:9:".ljust(filler - 1, "x") + "\n" + line)
    path = f"{world.folder()}/passwd"
    place = ["unshare", "-m", "/bin/sh", "-c", f'mount --bind {path} /etc/passwd && exec "$@"', "sh"]
    for text in texts:
        with open(path, "w") as file:
            file.write(text)
        with box.session("-n", "parsers", prefix=place) as session:
            session.greeting()
            authorization, = await_children(session.pid, 1)
            has_no_power(authorization, uid, uid, [])


def test_powerless_account_of_odd_lines(world):
    """a line that libc reads in another way is libc's to read: numbers are not cut, signs and comments are no names"""
    require_root()
    box = Box(world)
    path = f"{world.folder()}/passwd"
    place = ["unshare", "-m", "/bin/sh", "-c", f'mount --bind {path} /etc/passwd && exec "$@"', "sh"]
    with open("/etc/passwd") as file:
        others = file.read()
    for name, line in (("foo", "foo:x:4294967297:5::/:"), ("foo", "foo:x:5:4294967301::/:"), ("foo", "foo:x:4294967296:5::/:"),
                       ("foo", "foo:x:-1:-1::/:"), ("foo:x", "foo:x:5:6:9::/:"), ("#foo", "#foo:x:7:7::/:"),
                       ("foo", "foo:x:0:7::/:"), ("foo", "foo:x:7:0::/:")):
        with open(path, "w") as file:
            file.write(line + "/bin/false\n" + others)
        with box.session("-n", name, prefix=place) as session:
            session.drain()
            session.wait()
            must(session.transcript == b"", f"{line} serves: {session.transcript!r}")
            must(re.search(r"FAULT, category=General, reason=.*(unknown|numbers)", session.log()), session.log())


PASSWD = "/bin/sh", "-c", 'mount --bind "$0" /etc/passwd && exec "$@"'


def with_passwd(world, text):
    """What goes before a command that is to see this /etc/passwd."""
    path = f"{world.folder()}/passwd"
    with open(path, "w") as file:
        file.write(text)
    return ["unshare", "-m", *PASSWD, path]


def test_account_of_its_own(world):
    """without -n the account is pop3d where it exists, and nobody where it does not; a tail of a long line is none"""
    require_root()
    box = Box(world)
    with open("/etc/passwd") as file:
        others = file.read()
    own = "pop3d:x:4042:4043::/:/bin/false\n"
    # where the part that is read at a time ends, the rest of this line looks like the account
    long = "filler:x:9:9:"
    cut = long.ljust(4095, "x") + own
    for text, uid, gid in ((others + own, 4042, 4043), (own + others, 4042, 4043), (others + cut, 65534, 65534),
                           (others + long.ljust(3 * 4095, "x") + own + own, 4042, 4043), (others, 65534, 65534)):
        with box.session(prefix=with_passwd(world, text)) as session:
            session.greeting()
            authorization, = await_children(session.pid, 1)
            has_no_power(authorization, uid, gid, [])


def test_no_list_of_accounts(world):
    """the process that talks to strangers has no list of accounts in its memory, however long that is"""
    require_root()
    box = Box(world)
    with open("/etc/passwd") as file:
        others = file.read()
    many = "".join(f"unlikely{number:04}:x:{20000 + number}:9::/:/bin/sh\n" for number in range(300))
    for text, options in ((others, []), (others + many + "pop3d:x:4042:4042::/:\n", []), (others + many, []),
                          (many + others, []), (others + many + "far:x:4042:4042::/:\n", ["-n", "far"])):
        with box.session(*options, prefix=with_passwd(world, text)) as session:
            session.greeting()
            authorization, = await_children(session.pid, 1)
            must(memory_has(authorization, b"server ready"), "its memory cannot be seen")
            for octets in (b"root:x:0:0:", b"unlikely"):
                must(not memory_has(authorization, octets), f"it has the list of accounts: {octets}")


def test_zone_of_the_launcher(world):
    """log lines bear the time of the launcher's TZ, before a login, at it and after it"""
    require_root()
    box = Box(world)
    heard = len(world.syslog.lines)
    with box.session(env={"TZ": "XYZ-13:37"}) as served:
        served.log_in()
        served.expect("QUIT", "+OK")
        served.wait()
    with box.session(env={"TZ": "XYZ-13:37"}) as other:
        other.greeting()
        other.expect("QUIT", "+OK")
        other.wait()
    for session, event in ((served, "LOGIN,"), (served, "LOGOUT,"), (other, "DISCONNECTED,")):
        # many sessions log at once: the line of this process alone counts
        line = rf"<\d+>\w+ +\d+ (\d+):(\d+):\d+ pop3d\[{session.pid}\]: {event}"
        text = world.syslog.since(heard, line, 20)
        lines = re.findall(line, text)
        now = time.time() + (13 * 60 + 37) * 60
        times = {time.strftime("%H:%M", time.gmtime(now - ago)) for ago in range(0, 240, 30)}
        must(len(lines) == 1 and ":".join(lines[0]) in times, f"{event} not at {sorted(times)} in\n{text}")


def test_dead_clients_are_noticed(world):
    """a dead peer does not hold its lock, for keepalive finds it; a slow one has what -t says"""
    require_root()
    box = Box(world)
    with box.session() as session:
        session.log_in()
        libc = ctypes.CDLL(None, use_errno=True)
        pid = libc.syscall(PIDFD_OPEN, session.pid, 0)
        fd = libc.syscall(PIDFD_GETFD, pid, 0, 0)
        must(fd >= 0, os.strerror(ctypes.get_errno()))
        os.close(pid)
        with socket.socket(fileno=fd) as client:
            must(client.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1, "no keepalive")
            must(client.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1, "Nagle's delay is on")
            idle, interval, probes = (client.getsockopt(socket.IPPROTO_TCP, name) for name in
                                      (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT))
            must(idle + interval * probes <= 300, f"keepalive after {idle} + {probes} * {interval} seconds")
            timeout = client.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
            must(timeout == 0 or timeout >= 600000, f"user timeout {timeout} ms, shorter than -t")
            # what waits in the socket looks like idle time of the client
            unsent = client.getsockopt(socket.IPPROTO_TCP, TCP_NOTSENT_LOWAT)
            must(0 < unsent <= 1 << 20, f"{unsent} octets may wait to be sent")


def test_without_login_no_pam(world):
    """a connection that never logs in costs two processes, not three"""
    box = Box(world)
    with box.session() as session:
        session.greeting()
        session.expect("USER alice", "+OK")
        session.expect("NOOP", "-ERR")
        must(len(family(session.pid)) == 2, f"processes {family(session.pid)}")
        # whose memory is whose business, the kernel says: root's
        for pid in family(session.pid) if IS_ROOT else ():
            must(not any(re.match(PAM_LIBRARIES, name) for name in mapped(pid)), f"mapped: {mapped(pid)}")


def test_pam_helper(world):
    """while PAM is asked: its process is root, and the client is out of its reach; the one that waits is fenced"""
    require_root()
    box = Box(world)
    with box.session() as session:
        session.greeting()
        client = descriptors(session.pid)[0]
        session.expect("USER alice", "+OK")
        # a wrong password keeps it waiting for two seconds: time to look
        session.send(b"PASS wrong\r\n")
        helpers = await_children(session.pid, 2)
        pam, = [pid for pid in helpers if status(pid)["Uid"].split()[0] == "0"]
        end = time.monotonic() + 1.5
        while True:
            fds = descriptors(pam)
            has_libpam = any(name.startswith("libpam.so") for name in mapped(pam))
            if [fds.get(fd) for fd in (0, 1, 2)] == ["/dev/null"] * 3 and has_libpam:
                break
            must(time.monotonic() < end, f"its descriptors 0 to 2: {fds}; libpam: {has_libpam}")
            time.sleep(0.05)
        must(client not in fds.values(), "it holds the client's connection")
        must(not memory_has(pam, b"PASS wrong"), "it has seen the client's line")
        must(session.line().startswith(b"-ERR [AUTH]"), "the login fails")
        is_fenced(world, session.pid)


def sasl(*parts):
    """The response of a SASL exchange, as a line."""
    return base64.b64encode(b"\0".join(parts)) + b"\r\n"


# Each way in which a password comes: lines, each sent when the one before was answered.
WAYS = {
    "PASS": lambda secret: [b"USER alice\r\n", b"PASS " + secret + b"\r\n"],
    "PLAIN on one line": lambda secret: [b"AUTH PLAIN " + sasl(b"", b"alice", secret)],
    "PLAIN on two lines": lambda secret: [b"AUTH PLAIN\r\n", sasl(b"", b"alice", secret)],
    "LOGIN": lambda secret: [b"AUTH LOGIN\r\n", sasl(b"alice"), sasl(secret)],
    "LOGIN with its name": lambda secret: [b"AUTH LOGIN " + sasl(b"alice"), sasl(secret)],
}
# What is refused without PAM's being asked, though a password came with it.
UNASKED = {
    "a name that is none": lambda secret: [b"AUTH PLAIN " + sasl(b"", b"-alice", secret)],
    "PLAIN with a third NUL": lambda secret: [b"AUTH PLAIN " + sasl(b"", b"alice", secret, b"x")],
    "PLAIN that is no base64": lambda secret: [b"AUTH PLAIN " + sasl(b"", b"alice", secret)[:-2] + b"!\r\n"],
    "LOGIN with a NUL": lambda secret: [b"AUTH LOGIN\r\n", sasl(b"alice"), sasl(secret, b"x")],
}


def spellings(secret):
    """Pieces of a password as it is, and of what base64 makes of it, wherever it stands."""
    found = [secret[:16], secret[-16:]]
    for skipped in range(3):
        encoded = base64.b64encode(b"?" * skipped + secret)
        found += [encoded[8:20], encoded[-14:-4]]
    return found


def holds(pid, secret):
    """Which spelling of the password a process has in its memory; what has ended has none."""
    try:
        return [text for text in spellings(secret) if memory_has(pid, text)]
    except (ProcessLookupError, FileNotFoundError):
        return []


def refuse(session, lines):
    for line in lines:
        session.send(line)
        answer = session.line()
    must(answer.startswith(b"-ERR"), f"answered {answer!r}")


def look_for_password(world, name, way):
    """Refuses a login that came in this way; then the password must be nowhere."""
    box = Box(world)
    secret = os.urandom(24).hex().encode()
    with box.session() as session:
        session.greeting()
        # the control: a name stays where its line was, so that the search can find
        session.expect("USER alice-" + secret.decode()[::-1], "+OK")
        authorization, = await_children(session.pid, 1)
        must(memory_has(authorization, secret[::-1]), "the search does not find what is there")
        refuse(session, way(secret))
        # what wipes it may come behind the reply
        end = time.monotonic() + 1.5
        while any(holds(pid, secret) for pid in family(session.pid)) and time.monotonic() < end:
            time.sleep(0.1)
        for pid in family(session.pid):
            who = "pop3d" if pid == session.pid else "AUTHORIZATION" if pid == authorization else "PAM"
            must(not holds(pid, secret), f"{name}: {who} holds {holds(pid, secret)}")


def test_password_is_wiped(world):
    """a refused password is in no process's memory, in whatever way it came"""
    require_root()
    with concurrent.futures.ThreadPoolExecutor(9) as pool:
        for done in [pool.submit(look_for_password, world, name, way)
                     for name, way in [*WAYS.items(), *UNASKED.items()]]:
            done.result()


def is_wiped_before_the_answer(box):
    """Whether PAM's process is seen without a password that it has refused, before the client is told."""
    secret = os.urandom(24).hex().encode()
    with box.session() as session:
        session.greeting()
        session.send(b"".join(WAYS["PLAIN on one line"](secret)))
        helpers = await_children(session.pid, 2)
        was_held, is_told = True, False
        while not is_told:
            is_held = any(holds(pid, secret) for pid in helpers[1:])
            is_told = bool(select.select([session.read_fd], [], [], 0.1)[0])
            # the last look counts that was over before the answer: the first ones may come before the password
            was_held = was_held if is_told else is_held
        must(len(children(session.pid)) == 2, "it is over already")
        must(session.line().startswith(b"-ERR [AUTH]"), "the login fails")
        return not was_held


def test_password_is_wiped_while_it_waits(world):
    """PAM's process, asleep over a refusal, has no password any more"""
    require_root()
    require_production(world, "needs the production build: the other takes its time")
    box = Box(world)
    # on a busy machine the module's own children may take all of the two seconds: then there is no sleep to look at
    must(any(is_wiped_before_the_answer(box) for _ in range(8)), "it is held until the refusal is told, eight times")


def test_after_login(world):
    """after a login: one process, the user's for ever, without PAM, without what PAM had"""
    require_root()
    box = Box(world, "alice", [b"Subject: x\n\ntext\n"])
    with box.session(prefix=["setpriv", "--groups=0,27"]) as session:
        session.log_in()
        session.expect("RETR 1", "+OK")
        session.block()
        pid, uid = session.pid, ACCOUNTS["alice"][0]
        must(children(pid) == [], f"children {children(pid)}")
        has_no_power(pid, uid, uid, [uid, 4100])
        is_fenced(world, pid)
        fds = descriptors(pid)
        must(fds[0] == fds[1] and fds[0].startswith("socket:"), f"the client is {fds}")
        must(fds[2].endswith("/log"), "stderr is the one that -e was given for")
        rest = {fd: what for fd, what in fds.items() if fd > 2}
        logs = [what for what in rest.values() if what.startswith("socket:")]
        mail = [what for what in rest.values() if what.startswith(box.maildir)]
        must(len(logs) <= 1 and len(logs) + len(mail) == len(rest), f"also open: {rest}")
        # the sanitizers' build is linked with libcrypt
        what = PAM_LIBRARIES + (r"|libnss" if world.is_sanitized else r"|libnss|libcrypt")
        modules = sorted(name for name in mapped(pid) if re.match(what, name))
        must(modules == [], f"mapped: {modules}")
        must(not memory_has(pid, PASSWORD.encode()), "the password is in its memory")
        for link in ("cwd", "root"):
            must(os.readlink(f"/proc/{pid}/{link}") == box.maildir, f"its {link} is not its Maildir")


def test_after_login_without_e(world):
    """without -e nothing but /dev/null is on descriptor 2"""
    box = Box(world)
    session = Session(world, "pipes", [option for option in box.options() if option != "-e"])
    try:
        session.log_in()
        must(not IS_ROOT or descriptors(session.pid)[2] == "/dev/null", "stderr is still there")
        must(session.log() == "", "something was written to stderr")
    finally:
        session.finish()


def test_descriptors_are_closed(world):
    """what a launcher left open does not reach the session"""
    require_root()
    box = Box(world)
    leaky = ["/bin/sh", "-c", 'exec "$@" 5</etc/passwd 9</etc/shadow', "sh"]
    with box.session(prefix=leaky) as session:
        session.greeting()
        for pid in family(session.pid):
            left = [what for what in descriptors(pid).values() if what.startswith("/etc/")]
            must(left == [], f"before the login still open: {left}")
        session.expect("USER alice", "+OK")
        session.expect("PASS secret", "+OK")
        left = [what for what in descriptors(session.pid).values() if what.startswith("/etc/")]
        must(left == [], f"still open: {left}")


def test_killed_parent_takes_helpers(world):
    """SIGKILL to the waiting process ends its helpers too"""
    box = Box(world)
    with box.session() as session:
        session.greeting()
        helpers = await_children(session.pid, 1)
        session.process.kill()
        session.process.wait()
        end = time.monotonic() + 5
        while any(os.path.exists(f"/proc/{pid}") and status(pid)["State"][0] != "Z" for pid in helpers):
            must(time.monotonic() < end, "a helper outlived its parent")
            time.sleep(0.01)


def test_killed_parent_takes_pam(world):
    """SIGKILL to the waiting process ends the PAM process too, though it is asleep over a failed login"""
    box = Box(world)
    with box.session() as session:
        session.greeting()
        session.send(b"USER alice\r\nPASS wrong\r\n")
        helpers = await_children(session.pid, 2)
        began = time.monotonic()
        session.process.kill()
        session.process.wait()
        while any(os.path.exists(f"/proc/{pid}") and status(pid)["State"][0] != "Z" for pid in helpers):
            must(time.monotonic() < began + 1, "a helper outlived its parent")
            time.sleep(0.01)


def test_root_is_refused(world):
    """without root another's account cannot be served"""
    if IS_ROOT:
        raise Skip("needs an ordinary user")
    box = Box(world)
    with box.session("-v", "root") as session:
        session.greeting()
        session.expect("USER alice", "+OK")
        must(session.command("PASS secret").startswith("-ERR"), "root's maildrop was opened")
