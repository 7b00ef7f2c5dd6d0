"""
check.py - `pop3d -c` against installations that are sound, and that are broken in the old, real ways.

Runs in:   the test runner, as root in its own mount and network namespace.
May touch: private copies of /etc/xinetd.d, /etc/stunnel and /etc/pam.d, ports 110 and 995
           of the private network, the processes it starts.
"""
import contextlib
import os
import pty
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

from harness.server import Failure
from harness.world import IS_ROOT, Skip, TREE, _mount, hash_password, require_production, require_root, require_tool

PARALLEL = False

SOUND = {
    "pop3": """service pop3
{
        disable         = no
        socket_type     = stream
        protocol        = tcp
        wait            = no
        instances       = 20
        user            = %(user)s
        server          = %(server)s
%(arguments)s}
""",
}
# the sanitizers' runtime does not bear pam_unix's hashing, so a script knows the passwords
PAM = ("auth [success=done default=ignore] pam_exec.so expose_authtok quiet %s/checker\n"
       "auth required pam_deny.so\naccount required pam_unix.so\n")
# what -c may look at, where nobody logs in
PAM_UNIX = "auth required pam_unix.so\naccount required pam_unix.so\n"


class Row:
    """A row of the check's output: state, what was looked at, all its words, and of these the remedy alone."""

    def __init__(self, state, what, text, remedy=""):
        self.state, self.what, self.text, self.remedy = state, what, text, remedy


STATES = {"ok": 0, "skip": 0, "warn": 1, "fail": 2}


def names_in_the_manual():
    """What a row may be about: the list under "The check" of pop3d.8."""
    with open(f"{TREE}/pop3d.8") as file:
        section = file.read().split("\n.Ss The check\n")[1].split("\n.S")[0]
    return {name for line in re.findall(r"^\.It Cm (.*)$", section, re.M) for name in line.split(" , ")}


def parse_sum(line, rows):
    """The first and the last line say how many faults and warnings there are, and of what."""
    faults, warnings = (len([row for row in rows if row.state == state]) for state in ("fail", "warn"))
    words = f"{faults} fault{'s' * (faults != 1)}, {warnings} warning{'s' * (warnings != 1)}: "
    loud = [row for state in ("fail", "warn") for row in rows if row.state == state]
    words += ", ".join(dict.fromkeys(row.what for row in loud)) + f"; first: " if loud else "all is well"
    if not line.startswith(words[:76]):
        raise Failure(f"{line!r} should be {words!r}")


def parse(output):
    """The rows of a table, which is printed where no terminal is; and each promise that holds for any."""
    lines = output.splitlines()
    rows, names = [], names_in_the_manual()
    for line in lines[1:-1]:
        if re.search(r"[^ -~\t]", line):
            raise Failure(f"not printable: {line!r}")
        fields = line.split("\t")
        if not 3 <= len(fields) <= 5 or fields[0] not in STATES or re.sub(r" \d+$", "", fields[1]) not in names:
            raise Failure(f"no row, or one of which pop3d.8 says nothing: {line!r}")
        for field, word in zip(fields[3:], ("cause: ", "remedy: ")):
            if field and not field.startswith(word):
                raise Failure(f"neither cause nor remedy, or in the other's place: {line!r}")
        rows.append(Row(fields[0], fields[1], " ".join(field for field in fields[2:] if field),
                        "".join(fields[4:]).removeprefix("remedy: ")))
    if lines[0] != lines[-1]:
        raise Failure(f"the first line is not the last one again:\n{output}")
    parse_sum(lines[0], rows)
    return rows


class Check:
    """What one run of -c said."""

    def __init__(self, world, *arguments, command=None, **how):
        done = subprocess.run(command or [world.binary, "-c", *arguments], stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=60, **how)
        self.output, self.status = done.stdout, done.returncode
        self.rows = parse(done.stdout)
        worst = max(STATES[row.state] for row in self.rows)
        if self.status != worst or done.stderr:
            raise Failure(f"exit status {self.status} in spite of its rows, or words on stderr:\n{self.output}{done.stderr}")

    def expect(self, state, what, *words):
        """There is a row like that, with all these words."""
        for row in self.rows:
            if row.state == state and row.what == what and all(word in row.text for word in words):
                return row
        raise Failure(f"no row `{state} {what}` with {words} in\n{self.output}")

    def quiet_but(self, *whats):
        """All other rows are content; that TLS is missing, as in most of these set-ups, is no matter; nor is a session
        that another test (system/watchdog) has stuck at this moment, for /proc shows the whole machine's."""
        loud = {row.what for row in self.rows if row.state in ("warn", "fail") and
                not (row.what == "TLS" and row.text.startswith("nothing known does it in front")) and
                not (row.what == "process" and "was killed and does not end" in row.text)} - set(whats)
        if loud:
            raise Failure(f"{', '.join(sorted(loud))} should keep quiet in\n{self.output}")
        for row in self.rows:
            if row.state == "fail" and "remedy:" not in row.text and "cause:" not in row.text:
                raise Failure(f"a fault without cause and remedy: {row.text}\n{self.output}")
        return self


class Installation:
    """xinetd on port 110 with pop3d behind it, a user with mail, PAM; all of it private."""

    is_mounted = False

    def __init__(self, world, user="root", arguments="", maildir=True):
        require_root()
        self.world, self.user, self.arguments = world, user, arguments
        self.stack = contextlib.ExitStack()
        self.xinetd = require_tool("xinetd")
        for folder in () if Installation.is_mounted else ("/etc/xinetd.d", "/etc/stunnel"):
            if os.path.isdir(folder):
                _mount("tests", folder, "tmpfs", 0, "mode=755")
        Installation.is_mounted = True
        self.entry = SOUND["pop3"]
        world.system_service("pop3", PAM % world.root)
        world.set_shadow("alice", hash=hash_password("secret"), expires="")
        self.home = f"{world.root}/home/alice"
        shutil.rmtree(f"{self.home}/Maildir", ignore_errors=True)
        if maildir:
            self.as_alice("mkdir -p Maildir/new Maildir/cur Maildir/tmp && "
                          "printf 'Subject: one\\n\\nHello\\n' > Maildir/new/1700000001.M1P1.sample")

    def as_alice(self, command):
        subprocess.run(["/bin/sh", "-ec", "umask 077; " + command], cwd=self.home, check=True,
                       **self.world.run_as(self.world.uid_of("alice")))

    def configure(self):
        with open("/etc/xinetd.d/pop3", "w") as file:
            file.write(self.entry % {"user": self.user, "server": self.world.binary,
                                     "arguments": self.arguments and f"server_args = {self.arguments}\n"})

    def run(self, command):
        """A process that ends with the installation."""
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)
        self.stack.callback(lambda: (process.kill(), process.wait()))
        return process

    def launch(self, listens=True):
        self.configure()
        self.run([self.xinetd, "-dontfork", "-f", "/etc/xinetd.conf", "-pidfile", self.world.folder() + "/pid"])
        if listens:
            await_port(110)
        else:
            time.sleep(1)
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stack.close()
        for path in ("/etc/xinetd.d/pop3", "/etc/stunnel/pop3s.conf", "/etc/pam.d/pop3", "/etc/nologin"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)


def await_port(port, seconds=10):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise Failure(f"nobody listens on {port}")


RIVAL = """
import socket, sys, threading
greeting, relay = sys.argv[1], int(sys.argv[2])
open("/proc/self/comm", "w").write(sys.argv[3])
listener = socket.socket(); listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("0.0.0.0", 110)); listener.listen()
def pump(a, b):
    try:
        while (data := a.recv(4096)): b.sendall(data)
    except OSError: pass
    b.close()
while True:
    client, _ = listener.accept()
    if relay:
        server = socket.create_connection(("127.0.0.1", relay))
        for pair in ((client, server), (server, client)): threading.Thread(target=pump, args=pair, daemon=True).start()
    else:
        client.sendall(greeting.encode() + b"\\r\\n"); client.close()
"""


def snapshot(folder):
    """Everything below a folder that a check could have changed."""
    return sorted((path, os.lstat(path).st_mtime_ns, os.lstat(path).st_mode)
                  for top, folders, files in os.walk(folder) for path in [top, *(f"{top}/{f}" for f in folders + files)])


def test_sound_installation(world):
    """a sound installation is all ok, with TLS by stunnel in front, and nothing is changed by looking"""
    with Installation(world) as place:
        openssl, stunnel = require_tool("openssl"), require_tool("stunnel")
        folder = world.folder()
        subprocess.run([openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
                        "-addext", "subjectAltName=DNS:localhost",
                        "-keyout", f"{folder}/key", "-out", f"{folder}/cert"], check=True, capture_output=True)
        with open("/etc/stunnel/pop3s.conf", "w") as file:
            file.write(f"foreground = yes\npid =\ncert = {folder}/cert\nkey = {folder}/key\n\n[pop3s]\naccept = 995\n"
                       f"exec = {world.binary}\nexecArgs = pop3d -S\n")
        place.launch()
        place.run([stunnel, "/etc/stunnel/pop3s.conf"])
        await_port(995)
        before = snapshot(place.home)
        check = Check(world, "alice").quiet_but()
        skipped = ["outside"]
        if not shutil.which("nft") and not shutil.which("iptables-save"):
            skipped = ["firewall", "outside"]
        if check.status != 0 or [row.what for row in check.rows if row.state == "skip"] != skipped:
            raise Failure(f"not all ok:\n{check.output}")
        check.expect("skip", "outside", "curl -v pop3s://", " -u alice")
        check.expect("ok", "port 110", "xinetd (process")
        check.expect("ok", "port 995", "stunnel")
        check.expect("ok", "TLS", "/etc/stunnel/pop3s.conf")
        check.expect("ok", "launcher", "/etc/xinetd.d/pop3: xinetd, ", " as root; sessions at once: 20")
        check.expect("ok", "maildrop", "a local file system")
        check.expect("ok", "log", "/dev/log takes a line")
        check.expect("ok", "maildrop", "1 messages, 23 octets", "not there yet")
        check.expect("ok", "session", "a client is greeted")
        Check(world, "-c", "alice").expect("ok", "session", "C: CAPA", "S: +OK Capability list follows", "C: QUIT", "signing off")
        quiet = subprocess.run([world.binary, "-c", "-q", "alice"], stdin=subprocess.DEVNULL, capture_output=True)
        if (quiet.returncode, quiet.stdout, quiet.stderr) != (0, b"", b""):
            raise Failure(f"-q is not quiet where all is well: {quiet}")
        if snapshot(place.home) != before:
            raise Failure("the check changed something in the home")


def test_rival_on_the_port(world):
    """another program owns port 110 and greets in our place: its name and process id, both greetings"""
    with Installation(world) as place:
        rival = place.run([sys.executable, "-c", RIVAL, "+OK Rival POP3 at your service", "0", "rivald"])
        await_port(110)
        place.launch(listens=False)
        check = Check(world, "alice").quiet_but("port 110")
        check.expect("fail", "port 110", f"rivald (process {rival.pid})", "EADDRINUSE", "Address already in use")
        check.expect("fail", "port 110", "heard: +OK Rival POP3 at your service", "ours: +OK pop3d")


def test_rival_of_few_words(world):
    """a rival that says nothing, or what no terminal should be shown, is still told in plain words"""
    for greeting, heard in (("+OK \033[31mred\007" + 90 * "x", "heard: +OK ?[31mred?xxx"), ("", "heard:  ours:")):
        with Installation(world) as place:
            place.run([sys.executable, "-c", RIVAL, greeting, "0", "rivald"])
            await_port(110)
            place.launch(listens=False)
            row = Check(world).quiet_but("port 110").expect("fail", "port 110", "ours: +OK pop3d")
            if heard.split()[-1] not in row.text:
                raise Failure(row.text)


def test_another_greeting_by_the_launcher(world):
    """the launcher has the port, but refuses or runs something else: no rival is invented"""
    with Installation(world) as place:
        place.entry = place.entry.replace("service pop3\n{", "service pop3\n{\n        no_access = 0.0.0.0/0 ::/0")
        place.launch(listens=False)
        check = Check(world, "alice").quiet_but("access")
        check.expect("ok", "port 110", "xinetd (process")
        check.expect("skip", "port 110", "turned away: no_access = 0.0.0.0/0 ::/0")
        check.expect("fail", "access", "no_access = 0.0.0.0/0 ::/0 keeps out")
        place.entry = SOUND["pop3"].replace("%(server)s", "/bin/echo")
        place.configure()
        Check(world, "alice").quiet_but("port 110", "launcher").expect("fail", "launcher", "/bin/echo", "not this pop3d")


def test_behind_a_proxy(world):
    """with -x the ports and the session are asked with a PROXY header"""
    with Installation(world, arguments="-x -S") as place:
        place.launch()
        check = Check(world, "alice").quiet_but()
        check.expect("ok", "port 110", "greets: +OK pop3d")
        check.expect("ok", "session", "a client is greeted")


def test_file_of_another(world):
    """root does not believe a launcher's file that somebody else may have written"""
    with Installation(world, user="nobody") as place:
        place.launch()
        os.chown("/etc/xinetd.d/pop3", 4001, 4001)
        check = Check(world, "alice").quiet_but("launcher", "port 110")
        check.expect("warn", "launcher", "/etc/xinetd.d/pop3 is not read")
        os.chown("/etc/xinetd.d/pop3", 0, 0)
        os.chmod("/etc/xinetd.d/pop3", 0o666)
        check = Check(world, "alice").quiet_but("launcher", "port 110")
        check.expect("warn", "launcher", "/etc/xinetd.d/pop3 is not read")


def test_maildrop_without_the_shadow_file(world):
    """the process that reads a Maildir as its user has never seen the shadow file, nor has any that it comes from"""
    strace = require_tool("strace")
    require_production(world, "needs the production build")
    with Installation(world):
        trace = world.folder() + "/trace"
        Check(world, command=[strace, "-f", "-qq", "-o", trace, "-e", "trace=open,openat,%process",
                              world.binary, "-c", "alice"])
    parents, openers = {}, {"Maildir": set(), "/etc/shadow": set()}
    with open(trace, errors="replace") as file:
        for line in file:
            pid = line.split()[0]
            child = re.search(r"clone.* = (\d+)$|fork.* = (\d+)$", line)
            if child:
                parents[child[1] or child[2]] = pid
            for what in openers:
                if re.search(rf'open(at)?\(.*{what}"', line):
                    openers[what].add(pid)
    if not all(openers.values()):
        raise Failure(f"not seen in the trace: {openers}")
    for pid in openers["Maildir"]:
        while pid:
            if pid in openers["/etc/shadow"]:
                raise Failure(f"process {pid} has read both, of {parents}")
            pid = parents.get(pid)


def test_mail_is_read_behind_the_fences(world):
    """whoever reads a Maildir has first given up files and system calls as a session does, and has no terminal"""
    strace = require_tool("strace")
    require_production(world, "needs the production build")
    with Installation(world):
        trace = world.folder() + "/trace"
        Check(world, "alice", command=[strace, "-f", "-qq", "-y", "-o", trace, "-e", "trace=getdents64,prctl,"
                                       "landlock_restrict_self,dup2,openat", world.binary, "-c", "alice"])
    done, readers = {}, set()
    with open(trace, errors="replace") as file:
        for line in file:
            pid, _, call = line.strip().partition(" ")
            done.setdefault(pid, []).append(call.strip())
            if re.search(r'openat\(\d+<[^>]*/Maildir[^>]*>, "(pop3d.index|.*M1P1.sample)"', call):
                readers.add(pid)
    if not readers:
        raise Failure("nobody reads the mail")
    for pid in readers:
        before = re.split("pop3d.index|M1P1.sample", "\n".join(done[pid]))[0]
        for wanted in (r"prctl\(PR_SET_NO_NEW_PRIVS, 1", r"prctl\(PR_SET_SECCOMP, SECCOMP_MODE_FILTER", r"landlock_restrict_self",
                       r"dup2\(\d+<socket:[^,]*, 0", r"dup2\(\d+<socket:[^,]*, 2"):
            if re.search(wanted, before) is None:
                raise Failure(f"{wanted} is not before the reading in\n{before}")


def test_nothing_is_written(world):
    """also where not even /dev/null can be opened, looking leaves nothing behind"""
    with Installation(world) as place:
        place.launch()
        before = snapshot(place.home)
        folder = world.folder()
        command = "touch $1/closed; chmod 0 $1/closed; mount --bind $1/closed /dev/null; shift; exec \"$@\""
        check = Check(world, command=["unshare", "-m", "/bin/sh", "-ec", command, "sh", folder, world.binary, "-c", "alice"])
        check.expect("ok", "maildrop", "1 messages")
        if snapshot(place.home) != before:
            raise Failure(f"{before} became {snapshot(place.home)}")


def test_relay_on_the_port(world):
    """a scanner took the port and relays to us: its owner and EADDRINUSE, though the greeting is ours"""
    with Installation(world) as place:
        place.entry = place.entry.replace("service pop3\n{", "service pop3\n{\n        type = UNLISTED\n        port = 1110")
        place.launch(listens=False)
        await_port(1110)
        relay = place.run([sys.executable, "-c", RIVAL, "", "1110", "mailscan"])
        await_port(110)
        place.entry = SOUND["pop3"]
        place.configure()
        check = Check(world, "alice").quiet_but("port 110")
        check.expect("fail", "port 110", f"mailscan (process {relay.pid})", "EADDRINUSE", "/etc/xinetd.d/pop3")
        check.expect("warn", "port 110", "greets: +OK pop3d")


def test_switched_off(world):
    """disable = yes: the file that says so, and nobody on the port"""
    with Installation(world) as place:
        place.entry = place.entry.replace("disable         = no", "disable         = yes")
        place.launch(listens=False)
        check = Check(world, "alice").quiet_but("launcher")
        check.expect("fail", "launcher", "/etc/xinetd.d/pop3", "switched off", "disable = yes")
        check.expect("skip", "port", "nobody listens on 110")


def test_switched_off_for_a_user(world):
    """PAM refuses this user alone: the rule that does, in auth as in account; others are served"""
    with Installation(world) as place:
        folder = world.folder()
        with open(f"{folder}/no-pop3", "w") as file:
            file.write("alice\n")
        place.launch()
        for kind in ("auth", "account"):
            rule = f"pam_listfile.so onerr=fail item=user sense=deny file={folder}/no-pop3"
            world.system_service("pop3", f"# POP3\n{kind} required {rule}\n{PAM % world.root}")
            Check(world, "alice").quiet_but("PAM").expect(
                "fail", "PAM", "/etc/pam.d/pop3 line 2 refuses alice", f"{kind} pam_listfile.so", f"{folder}/no-pop3")
            if Check(world, "bob").quiet_but("maildrop", "login").status == 2:
                raise Failure("bob is refused too")


def test_expired_locked_unknown(world):
    """an account that has expired, is locked or does not exist is told from one that is refused"""
    with Installation(world) as place:
        place.launch()
        world.set_shadow("alice", expires="1")
        Check(world, "alice").quiet_but("PAM").expect("fail", "PAM", "line 3 refuses alice", "pam_unix.so")
        world.set_shadow("alice", expires="", hash="!" + hash_password("secret"))
        Check(world, "alice").quiet_but()
        world.system_service("pop3", PAM_UNIX)
        Check(world, "alice").quiet_but("login").expect("fail", "login", "the password is locked")
        Check(world, "nosuchuser").quiet_but("login", "PAM").expect("fail", "login", "no such account")
        Check(world, "root").quiet_but("login", "PAM", "maildrop").expect("fail", "login", "never served")


def test_mailbox_is_not_the_account(world):
    """mailbox name and account name differ: how the login is taken apart, what was left out, why it fails"""
    with Installation(world, arguments="-d corp") as place:
        place.launch()
        check = Check(world, r"corp\bob\alice")
        check.expect("warn", "login", "user bob", "domain corp", "mailbox alice, another's")
        check.expect("fail", "maildrop", place.home, "Permission denied", "uid 4001", "mode 0700", "uid 4002 may not pass")
        check.quiet_but("login", "maildrop")
        Check(world, "alice").quiet_but().expect("ok", "login", "domain none (left out)", "mailbox alice, left out")
        check = Check(world, "mail.of.alice").quiet_but("login", "PAM")
        if "no login to look at" in check.output:
            raise Failure(check.output)
        check.expect("fail", "login", "user mail.of.alice", "no such account", "an account logs in, not a mailbox")
        Check(world, r"corp\alice\alice").quiet_but().expect("ok", "login", "domain corp, mailbox alice, given")
        Check(world, r"other\alice").quiet_but("login").expect("fail", "login", "domain other", "-d")


def test_launched_without_root(world):
    """user = nobody in the launcher's entry is named, and its value"""
    with Installation(world, user="nobody") as place:
        place.launch()
        Check(world, "alice").quiet_but("launcher", "port 110").expect(
            "fail", "launcher", "/etc/xinetd.d/pop3", " as nobody", "without root neither PAM", "user = root")


def test_folder_of_another(world):
    """cur/ of mode 0500 that belongs to another: the first part that fails, as that user, with owner and mode"""
    with Installation(world) as place:
        place.launch()
        os.chown(f"{place.home}/Maildir/cur", 4002, 4002)
        os.chmod(f"{place.home}/Maildir/cur", 0o500)
        check = Check(world, "alice").quiet_but("maildrop")
        check.expect("fail", "maildrop", "Maildir/cur: Permission denied", "uid 4002", "mode 0500", "uid 4001 may not")


def test_mbox_in_its_place(world):
    """a file where a Maildir is looked for is an mbox: nobody is told to create what is there"""
    with Installation(world, maildir=False) as place:
        place.launch()
        place.as_alice("printf 'From x\\n\\nx\\n' > Maildir")
        row = Check(world, "alice").quiet_but("maildrop").expect(
            "fail", "maildrop", "Maildir is no folder", "an mbox file is not read", "convert it")
        os.unlink(f"{place.home}/Maildir")
        if "create" in row.text:
            raise Failure(row.text)


def test_maildrop_missing_and_busy(world):
    """no Maildir yet is a warning; a session that holds the lock is named"""
    with Installation(world, maildir=False) as place:
        place.launch()
        Check(world, "alice").quiet_but("maildrop").expect(
            "warn", "maildrop", "is not there yet", "/var/mail")
    with Installation(world) as place:
        place.launch()
        client = socket.create_connection(("127.0.0.1", 110))
        file = client.makefile("rwb")
        for line in (None, b"USER alice", b"PASS secret"):
            if line:
                file.write(line + b"\r\n")
                file.flush()
            if not file.readline().startswith(b"+OK"):
                raise Failure("no session to look at")
        row = Check(world, "alice").quiet_but("maildrop").expect("warn", "maildrop", "has a session open", "[IN-USE]")
        holder = int(re.search(r"process (\d+)", row.text)[1])
        with open(f"/proc/{holder}/comm") as comm:
            if comm.read().strip() != os.path.basename(world.binary)[:15]:
                raise Failure(f"process {holder} is not the one that holds the lock")
        client.close()


def test_what_is_locked(world):
    """the row says what is locked: the folder, or pop3d.lock where others may read it, and that it is in use"""
    with Installation(world) as place:
        place.launch()
        Check(world, "alice").expect("ok", "maildrop", "one session at a time: the folder is locked")
        place.as_alice("chmod 755 Maildir")
        check = Check(world, "alice")
        check.expect("ok", "maildrop", "one session at a time: pop3d.lock is locked")
        check.expect("ok", "maildrop", "have not changed are read every 3600 seconds (see -i)")
        client = socket.create_connection(("127.0.0.1", 110))
        file = client.makefile("rwb")
        file.write(b"USER alice\r\nPASS secret\r\n")
        file.flush()
        if [file.readline()[:3] for _ in range(3)] != [b"+OK"] * 3:
            raise Failure("no session to look at")
        Check(world, "alice").quiet_but("maildrop").expect("warn", "maildrop", "a session is open, here or on another")
        client.close()


def test_former_server(world):
    """a Dovecot list that clients know, and that pop3d came too late for, is a warning; looking keeps no id"""
    with Installation(world) as place:
        place.launch()
        listing = "3 V1234 N3 Gabc\\n1 :1700000001.M1P1.sample\\n"
        place.as_alice(f"printf '{listing}' > Maildir/dovecot-uidlist")
        before = snapshot(place.home)
        Check(world, "alice").quiet_but().expect("ok", "maildrop", "has 1 of these", "0 unique-ids are others")
        if snapshot(place.home) != before:
            raise Failure(f"{before} became {snapshot(place.home)}")
        place.as_alice("rm Maildir/dovecot-uidlist")
        with socket.create_connection(("127.0.0.1", 110)) as client:
            client.sendall(b"USER alice\r\nPASS secret\r\nUIDL\r\nQUIT\r\n")
            while client.recv(4096):
                pass
        Check(world, "alice").quiet_but().expect("ok", "maildrop", "the index is ")
        place.as_alice(f"printf '{listing}' > Maildir/dovecot-uidlist")
        Check(world, "alice").quiet_but("maildrop").expect("warn", "maildrop", "1 unique-ids are others now")


def test_options_of_the_launcher(world):
    """the launcher's options are taken when none are given; wrong ones are named; given ones win"""
    with Installation(world, arguments="-m Elsewhere -s pop3") as place:
        place.launch()
        check = Check(world, "alice").quiet_but("maildrop")
        check.expect("ok", "options", "-m Elsewhere -s pop3")
        check.expect("warn", "maildrop", "Elsewhere is not there yet")
        Check(world, "-m", "Maildir", "alice").quiet_but().expect("ok", "maildrop", "Maildir: 1 messages")
    with Installation(world, arguments="-t never") as place:
        place.launch()
        Check(world, "alice").quiet_but("options", "port 110").expect("fail", "options", "-t takes 1 to 86400 seconds")


def test_pam_files(world):
    """a missing service file, a module that cannot be loaded, a service without rules, nologin"""
    with Installation(world) as place:
        place.launch()
        os.unlink("/etc/pam.d/pop3")
        Check(world).quiet_but("PAM").expect(
            "warn", "PAM", "/etc/pam.d/pop3: No such file or directory", "may let users in", "`make install`")
        world.system_service("pop3", PAM % world.root + "account required pam_nothing.so\n")
        Check(world).quiet_but("PAM").expect("fail", "PAM", "line 4: pam_nothing.so cannot be loaded")
        world.system_service("pop3", "auth required pam_unix.so\n")
        Check(world).quiet_but("PAM").expect("warn", "PAM", "no account rule", "remedy: add one")
        world.system_service("pop3", "auth requisite pam_nologin.so\n@include common-auth\n@include common-account\n")
        Check(world, "alice").quiet_but()
        with open("/etc/nologin", "w"):
            pass
        Check(world, "alice").quiet_but("PAM").expect("fail", "PAM", "line 1 refuses alice", "pam_nologin.so")


def test_tls_in_front(world):
    """stunnel without -S, and a PROXY header that only one side knows of"""
    with Installation(world) as place:
        place.launch()
        place.run(["/bin/sh", "-c", "echo stunnel > /proc/self/comm; sleep 60"])

        def check(section):
            with open("/etc/stunnel/pop3s.conf", "w") as file:
                file.write("[pop3s]\naccept = 995\n" + section)
            return Check(world, "alice").quiet_but("TLS", "port")
        check(f"exec = {world.binary}\nexecArgs = pop3d\n").expect("fail", "TLS", "add -S")
        check("connect = 127.0.0.1:110\nprotocol = proxy\n").expect("fail", "TLS", "`protocol = proxy` and pop3d's -x -S are not all there")


CHATTER = r"""
#define _GNU_SOURCE
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
ssize_t write(int fd, const void *data, size_t size)
{
        static char lines[4000];
        for (size_t i = 0; i < sizeof(lines); i++)
                lines[i] = "A\n"[i % 2];
        if (fd == 1 && memmem(data, size, "server ready", 12) != NULL)
                syscall(SYS_write, 1, lines, sizeof(lines));
        return syscall(SYS_write, fd, data, size);
}
"""


def test_session_that_chatters(world):
    """a session gone wrong that says two thousand lines: as much is shown as fits, and no more"""
    require_production(world, "needs the production build")
    shim = f"{world.folder()}/chatter.so"
    subprocess.run([require_tool("cc"), "-shared", "-fPIC", "-x", "c", "-", "-o", shim], check=True, text=True, input=CHATTER)
    Check(world, env={**os.environ, "LD_PRELOAD": shim}).expect("fail", "session", "S: A S: A")


PRIVATE_ETC = """
mount -t overlay overlay -o lowerdir=/etc,upperdir=$1/upper,workdir=$1/work /etc
mount -t tmpfs tests /etc/xinetd.d
cp -r "$1/given/." /etc
exec "$2" -c alice
"""


def check_in_etc(world, files):
    """A check where /etc has these files too; in a mount namespace of its own."""
    folder = world.folder()
    os.makedirs(f"{folder}/upper")
    os.makedirs(f"{folder}/work")
    for path, text in files.items():
        os.makedirs(os.path.dirname(f"{folder}/given/{path}"), exist_ok=True)
        if text is None:
            os.symlink("/dev/null", f"{folder}/given/{path}")
            continue
        with open(f"{folder}/given/{path}", "w") as file:
            file.write(text)
    return Check(world, command=["unshare", "-m", "/bin/sh", "-ec", PRIVATE_ETC, "sh", folder, world.binary])


def test_inetd(world):
    """a line of inetd.conf is found, with its options; one behind a # is off"""
    with Installation(world):
        line = f"pop3 stream tcp nowait %s {world.binary} pop3d -m Elsewhere\n"
        check = check_in_etc(world, {"inetd.conf": line % "root"}).quiet_but("port", "maildrop")
        check.expect("ok", "launcher", "/etc/inetd.conf: inetd, ", "-m Elsewhere as root")
        check.expect("ok", "options", "-m Elsewhere")
        check.expect("fail", "port", "nobody listens on 110, in spite of /etc/inetd.conf",
                     "switch it off there")
        check = check_in_etc(world, {"inetd.conf": "#<off># " + line % "root"}).quiet_but("launcher", "maildrop")
        check.expect("fail", "launcher", "switched off", "a #")
        check = check_in_etc(world, {"inetd.conf": line % "mail"}).quiet_but("launcher", "port", "maildrop")
        check.expect("fail", "launcher", "as mail", "without root")


def test_systemd(world):
    """a socket unit and its service are one entry, on when the socket is enabled; another's file is not read"""
    with Installation(world):
        units = {"systemd/system/pop3d.socket": "[Socket]\nListenStream=110\nAccept=yes\n",
                 "systemd/system/pop3d@.service": f"[Service]\nStandardInput=socket\nExecStart=-{world.binary} -m Elsewhere\n"}
        check = check_in_etc(world, units).quiet_but("launcher", "maildrop")
        check.expect("fail", "launcher", "pop3d.socket: systemd", "a socket not enabled")
        units["systemd/system/sockets.target.wants/pop3d.socket"] = None
        check = check_in_etc(world, units).quiet_but("port", "maildrop")
        check.expect("ok", "launcher", "pop3d.socket: systemd", "-m Elsewhere as root")
        check.expect("ok", "options", "-m Elsewhere")


def test_nosuid_mount(world):
    """a binary on a nosuid mount is said to be on one, and is none the worse for it"""
    with Installation(world):
        command = "mount -t tmpfs -o nosuid tests $1; cp $2 $1/pop3d; cp $2-check $1/pop3d-check; exec $1/pop3d -c"
        check = Check(world, command=["unshare", "-m", "/bin/sh", "-ec", command, "sh", world.folder(), world.binary])
        check.expect("ok", "process", "root, on a nosuid mount")


def test_missing_program(world):
    """pop3d -c says plainly that the program which checks is not beside it, where it belongs, and how to mend it"""
    folder = world.folder()
    os.chmod(folder, 0o755)
    shutil.copy(world.binary, f"{folder}/pop3d")
    done = subprocess.run([f"{folder}/pop3d", "-c"], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    words = " ".join(done.stdout.split())
    if (done.returncode, done.stderr) != (2, "") or not words.startswith("fail process ") or not all(
            word in words for word in ("pop3d-check", "No such file or directory", "make install")):
        raise Failure(f"status {done.returncode}: {done.stdout}{done.stderr}")
    started = subprocess.run([world.binary + "-check", "alice"], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if started.returncode != 64 or "pop3d -c" not in started.stderr or started.stdout:
        raise Failure(f"the check by itself: {started}")


def test_without_root(world):
    """an ordinary user is told about his own account, and what only root may see is skipped"""
    if not IS_ROOT:
        check = Check(world, "-C", world.configuration, world.me)
        check.expect("skip", "process", "not root")
        check.expect("ok", "session", "a client is greeted")
        return
    with Installation(world) as place:
        place.launch()
        shutil.copy(world.binary, f"{place.home}/pop3d")
        os.chmod(f"{place.home}/pop3d", 0o755)
        how = world.run_as(world.uid_of("alice"))
        if subprocess.run(["test", "-x", world.binary], **how).returncode != 0:
            raise Skip("needs a tree that others may pass")
        check = Check(world, "alice", **how).quiet_but("PAM")
        check.expect("skip", "process", "not root")
        check.expect("skip", "port 110", "a process that only root sees")
        check.expect("ok", "port 110", "greets: +OK pop3d")
        check.expect("ok", "maildrop", "1 messages")
        check.expect("ok", "session", "a client is greeted")
        Check(world, "bob", **how).quiet_but("PAM").expect("skip", "login", "only root")


def check_at_a_terminal(world, password, *options):
    """What -c shows at a terminal where this password is typed, and its exit status."""
    child, terminal = pty.fork()
    if child == 0:
        os.execv(world.binary, [world.binary, "-c", *options, "alice"])
    shown, end = b"", time.monotonic() + 30
    while time.monotonic() < end:
        if select.select([terminal], [], [], 1)[0]:
            try:
                shown += os.read(terminal, 65536)
            except OSError:
                break
            if shown.endswith(b"Enter): "):
                os.write(terminal, password + b"\n")
    os.close(terminal)
    _, status = os.waitpid(child, 0)
    return shown, os.waitstatus_to_exitcode(status)


def test_password_on_a_terminal(world):
    """with a terminal a password may be tried: the dialogue goes on to STAT, and does not show it"""
    with Installation(world) as place:
        place.launch()
        shown, status = check_at_a_terminal(world, b"secret", "-c")
        # 1: TLS is missing
        if b"C: PASS\r\n" not in shown or b"S: +OK 1 23" not in shown or b"secret" in shown or status != 1:
            raise Failure(f"status {status}:\n{shown.decode()}")


def test_what_a_person_sees(world):
    """at a terminal: the sum first and last, 80 columns, no dialogue where it is as it should be"""
    with Installation(world) as place:
        place.launch()
        shown, status = check_at_a_terminal(world, b"secret")
        lines = shown.decode().split("Enter): ")[1].split("\r\n")[1:-1]
        if "C: PASS" in shown.decode() or max(map(len, lines)) > 80 or status != 1:
            raise Failure(f"status {status}:\n{shown.decode()}")
        if lines[0] != lines[-1] or not lines[0].startswith("0 faults, 1 warning: TLS; first: nothing known does it"):
            raise Failure(f"the sum is not the first and the last line:\n{shown.decode()}")
        for line in lines[1:-1]:
            if not re.match(r"((ok|warn|skip) +\S+( \d+)? +| {17})\S", line):
                raise Failure(f"neither a row nor one that goes on: {line!r}")
        if not any(line.startswith("ok    session    a client is greeted, logged in with that password") for line in lines):
            raise Failure(shown.decode())


def test_quiet_shows_what_is_wrong(world):
    """with -q the rows that are no fault are left out, and the sum is not"""
    with Installation(world) as place:
        place.launch()
        check = Check(world, "-q", "alice")
        if [(row.state, row.what) for row in check.rows] != [("warn", "TLS")]:
            raise Failure(check.output)
    done = subprocess.run([world.binary, "-q"], input=b"", capture_output=True)
    if done.returncode != 64 or b"-q goes with -c" not in done.stdout:
        raise Failure(f"-q alone: {done}")


def test_password_that_waits(world):
    """a line on standard input is the password; one that never comes is not waited for; what is behind it stays there"""
    with Installation(world) as place:
        place.launch()
        for given, state in ((b"secret\nmore\n", "ok"), (b"guess77\n", "fail")):
            ours, theirs = os.pipe()
            os.write(theirs, given)
            done = subprocess.run([world.binary, "-c", "-c", "alice"], stdin=ours, capture_output=True, text=True, timeout=60)
            if not re.search(rf"^{state}\tsession\t.*C: PASS", done.stdout, re.M) or "secret" in done.stdout + done.stderr:
                raise Failure(done.stdout)
            os.close(theirs)
            if os.read(ours, 100) != given.partition(b"\n")[2]:
                raise Failure("more than a line was taken")
            os.close(ours)
        ours, theirs = os.pipe()
        began = time.monotonic()
        done = subprocess.run([world.binary, "-c", "alice"], stdin=ours, capture_output=True, text=True, timeout=60)
        if time.monotonic() - began > 20 or "logged in" in done.stdout:
            raise Failure(done.stdout)


STUCK_PAM = """
#include <unistd.h>
int pam_start_confdir(void) { return pause(); }
int pam_set_item, pam_get_item, pam_authenticate, pam_acct_mgmt, pam_strerror, pam_end;
"""


def processes_with(setting):
    """The processes that have this in their environment."""
    found = []
    for number in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{number}/environ", "rb") as environment:
            if setting.encode() in environment.read().split(b"\0"):
                found.append(int(number))
    return found


def test_interrupted(world):
    """whoever does not want to wait any longer is shown what is known, and that it is not all; nobody stays behind"""
    require_production(world, "needs the production build")
    folder, mark = world.folder(), f"{os.getpid()}.{time.monotonic_ns()}"
    subprocess.run([require_tool("cc"), "-shared", "-fPIC", "-x", "c", "-", "-o", f"{folder}/libpam.so.0"], check=True,
                   text=True, input=STUCK_PAM)
    with Installation(world) as place:
        place.launch()
        for number in (signal.SIGINT, signal.SIGTERM):
            process = subprocess.Popen([world.binary, "-c", "alice"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                       text=True, env={**os.environ, "LD_LIBRARY_PATH": folder, "POP3D_TEST_MARK": mark})
            time.sleep(2)
            process.send_signal(number)
            rows = parse(process.communicate(timeout=5)[0])
            told = [(row.state, row.what) for row in rows]
            if ("ok", "launcher") not in told or ("ok", "port 110") not in told or ("ok", "maildrop") not in told:
                raise Failure(f"{told}")
            words = " ".join(row.text for row in rows if (row.state, row.what) == ("fail", "PAM"))
            if "did not come to its end" not in words or "interrupted" not in words or process.returncode != 2:
                raise Failure(f"status {process.returncode}: {words}")
        deadline = time.monotonic() + 5
        while left := processes_with(f"POP3D_TEST_MARK={mark}"):
            if time.monotonic() > deadline:
                for process in left:
                    os.kill(process, signal.SIGKILL)
                raise Failure(f"left behind: {left}")
            time.sleep(0.05)


def test_wrong_password_on_a_terminal(world):
    """a wrong one is a session that fails: the dialogue shows how far it came, and does not show it either"""
    with Installation(world) as place:
        place.launch()
        shown, status = check_at_a_terminal(world, b"guess77")
        if re.search(rb"\nfail  session .*-ERR \[AUTH\]", shown, re.DOTALL) is None or b"guess77" in shown or status != 2:
            raise Failure(f"status {status}:\n{shown.decode()}")


def login_rows(check):
    return [row for row in check.rows if row.what in ("login", "PAM") and row.state in ("warn", "fail", "skip")]


def test_refused_on_debian(world):
    """Debian's stack: the rule that refuses is accused, pam_deny behind it is not; PAM's own words are the cause"""
    with Installation(world) as place:
        place.launch()
        account = "account [success=1 new_authtok_reqd=done default=ignore] pam_unix.so\naccount requisite pam_deny.so\n" \
            "account required pam_permit.so\n"
        auth = PAM.split("\n")[0] % world.root + "\n"
        world.system_service("pop3", auth + account)
        for fields, cause in (({"expires": "1"}, "cause: User account has expired"),
                              ({"expires": "", "last": "10", "maximum": "30"}, "cause: Authentication token")):
            world.set_shadow("alice", **fields)
            check = Check(world, "alice").quiet_but("PAM")
            check.expect("fail", "PAM", "line 2 refuses alice: account pam_unix.so", cause)
            if len(login_rows(check)) != 1:
                raise Failure(f"another rule is accused too\n{check.output}")
        world.set_shadow("alice", last="19000", maximum="99999")
        world.system_service("pop3", auth + "account requisite pam_deny.so\n")
        Check(world, "alice").quiet_but("PAM").expect("fail", "PAM", "the account rules refuse alice", "line 2, pam_deny.so, is reached")


def test_faillock_is_not_reset(world):
    """pam_faillock is asked about a copy of its tally: a lock is told, and stays, and so do a few wrong tries"""
    with Installation(world) as place:
        place.launch()
        folder = world.folder()
        tries = struct.pack("<52sHHQ", b"127.0.0.1", 0, 1 | 2, int(time.time()))
        for count in (2, 5):
            with open(f"{folder}/alice", "wb") as file:
                file.write(tries * count)
            os.chmod(f"{folder}/alice", 0o600)
            world.system_service("faillock-account", f"account required pam_faillock.so dir={folder}\n")
            for line in ("@include faillock-account\n", "account include faillock-account\n",
                         f"account required pam_faillock.so dir={folder}\n"):
                world.system_service("pop3", f"auth required pam_faillock.so preauth dir={folder}\n{PAM % world.root}{line}")
                check = Check(world, "alice").quiet_but(*(["PAM"] if count > 3 else []))
                if count > 3:
                    row = check.expect("fail", "PAM", "line 1 refuses alice: auth pam_faillock.so", "locked",
                                       f"faillock --dir {folder} --user alice --reset")
                with open(f"{folder}/alice", "rb") as file:
                    if file.read() != tries * count:
                        raise Failure(f"the check changed the tally, with {line}")
        subprocess.run(row.text.split("remedy: ")[1].split("\t")[0], shell=True, check=True)
        Check(world, "alice").quiet_but()


def test_rules_by_address(world):
    """a rule for an office is no fault: it is asked as from there, or as from the address that REMOTE_HOST gives"""
    with Installation(world) as place:
        place.launch()
        path = f"{world.folder()}/access"
        with open(path, "w") as file:
            file.write("+:alice:198.51.100.0/24\n-:ALL:ALL\n")
        world.system_service("pop3", f"{PAM % world.root}account required pam_access.so accessfile={path}\n")
        Check(world, "alice").quiet_but().expect("skip", "PAM", "line 4 goes by the client's address", "alice in from 198.51.100.1, not from")
        for address, state, words in (("198.51.100.9", "ok", ("accept the user",)), ("203.0.113.5", "fail", ("asked as from 203.0.113.5",))):
            Check(world, "alice", env={**os.environ, "REMOTE_HOST": address}).quiet_but(
                *["PAM"] if state == "fail" else []).expect(state, "PAM", *words)


def test_no_password(world):
    """an account that never had a password is told from one that was locked; another module may know one"""
    with Installation(world) as place:
        place.launch()
        for hash in ("!", "!!", "!*", "*", "*LK*", "x", ""):
            world.set_shadow("alice", hash=hash)
            world.system_service("pop3", PAM_UNIX)
            check = Check(world, "alice").quiet_but("login")
            check.expect("fail", "login", "the password is empty" if hash == "" else "no password is set", "remedy: passwd alice")
            if "passwd -u" in check.output:
                raise Failure(check.output)
            world.system_service("pop3", "auth sufficient pam_unix.so\n" + PAM % world.root)
            check = Check(world, "alice")
            if hash:
                check.quiet_but().expect("skip", "login", "no password is set here; another module of PAM's may know one")


def test_pam_files_missing(world):
    """what a missing file means: of a service, of one included; an absolute name is shown as it is"""
    with Installation(world) as place:
        place.launch()
        for line, path in (("@include nosuch", "/etc/pam.d/nosuch"), ("account include /etc/nosuch", "/etc/nosuch")):
            world.system_service("pop3", f"{PAM % world.root}{line}\n")
            row = Check(world, "alice").quiet_but("PAM").expect("fail", "PAM", path + ": No such file", "does not start")
            if "asks" in row.text or "//" in row.text:
                raise Failure(row.text)
        os.unlink("/etc/pam.d/pop3")
        Check(world, "alice").quiet_but("PAM").expect("warn", "PAM", "/etc/pam.d/pop3: No such file", "may let alice in")
        Check(world, "-s", "pop4", "alice").quiet_but("PAM").expect("warn", "PAM", "/etc/pam.d/pop4: No such file")


def test_no_libpam(world):
    """a libpam that cannot be loaded is named, with the loader's words"""
    with Installation(world) as place:
        place.launch()
        folder = world.folder()
        with open(f"{folder}/libpam.so.0", "w") as file:
            file.write("no library\n")
        Check(world, "alice", env={"LD_LIBRARY_PATH": folder}).quiet_but("PAM").expect(
            "fail", "PAM", "libpam cannot be loaded", f"{folder}/libpam.so.0: ", "remedy: install")


DEATH = """
#include <grp.h>
#include <signal.h>
int setgroups(size_t count, const gid_t *groups) { return raise(SIGKILL); }
"""
DEADLY_PAM = """
#include <signal.h>
static __attribute__((constructor)) void die(void) { raise(SIGKILL); }
int pam_start_confdir, pam_set_item, pam_get_item, pam_authenticate, pam_acct_mgmt, pam_strerror, pam_end;
"""


def test_part_that_dies(world):
    """a part of the check that dies is a fail row of its own, and no silence"""
    require_production(world, "needs the production build")
    folder = world.folder()
    compiler = [require_tool("cc"), "-shared", "-fPIC", "-x", "c", "-", "-o"]
    subprocess.run([*compiler, f"{folder}/death.so"], check=True, text=True, input=DEATH)
    subprocess.run([*compiler, f"{folder}/libpam.so.0"], check=True, text=True, input=DEADLY_PAM)
    with Installation(world) as place:
        place.launch()
        # whoever becomes another account dies of it: the part that looks as alice, and the session
        check = Check(world, "alice", env={**os.environ, "LD_PRELOAD": f"{folder}/death.so"})
        check.expect("fail", "maildrop", "did not come to its end")
        check.expect("fail", "session", "cause:")
        check.quiet_but("maildrop", "session")
        check = Check(world, "alice", env={**os.environ, "LD_LIBRARY_PATH": folder})
        check.expect("fail", "PAM", "did not come to its end")


def test_no_account_of_v(world):
    """where the account that owns all maildrops is missing, it is not the login's that is asked for"""
    with Installation(world) as place:
        place.launch()
        row = Check(world, "-v", "nosuch", "-m", "/var/vmail/%u", "alice").quiet_but("login", "PAM").expect(
            "fail", "login", "the account of -v is not there")
        if "MAILBOX" in row.text:
            raise Failure(row.text)


def test_folders_with_capitals(world):
    """virtual users log in in small letters: each folder that nobody reaches for its capitals is told"""
    with Installation(world) as place:
        place.launch()
        root, uid = f"{world.folder()}/v", world.uid_of("vmail")
        for folder in ("", "/example.org", "/example.org/Alice", "/example.org/bob", "/example.org/bob/New",
                       "/Example.NET", "/Example.NET/erin"):
            os.mkdir(root + folder)
            os.chown(root + folder, uid, uid)
        options = ("-v", "vmail", "-m", f"{root}/%d/%u")
        check = Check(world, *options).quiet_but("maildrop")
        for name in ("/example.org/Alice has capitals", "/Example.NET has capitals"):
            check.expect("warn", "maildrop", name, "remedy: rename it")
        if check.output.count("has capitals") != 2:
            raise Failure(check.output)
        check = Check(world, *options, "Alice@example.org").quiet_but("maildrop", "PAM")
        check.expect("fail", "maildrop", "/example.org/alice is not there", "/example.org/Alice is")
        check.expect("ok", "login", "user alice, domain example.org, mailbox alice")


def test_accounts_with_a_domain(world):
    """an account whose own name holds a domain is looked up by just that name"""
    with Installation(world) as place:
        place.launch()
        root = world.folder()
        os.chown(root, 7003, 7003)
        with open("/etc/passwd") as file:
            lines = file.read()
        with open(f"{root}/passwd", "w") as file:
            file.write(lines + f"CORP\\dave:*:7003:7003::{root}:/bin/sh\n")
        for options, state, words in (((), "warn", ("is not there yet",)),
                                      (("-m", "/var/mail/%u"), "fail", ("does not tell domains apart",))):
            check = Check(world, command=["unshare", "-m", "/bin/sh", "-ec", f'mount --bind {root}/passwd /etc/passwd; '
                                          'exec "$@"', "sh", world.binary, "-c", *options, "CORP\\dave"])
            check.expect("ok", "login", "user dave, domain corp, mailbox dave")
            check.expect(state, "maildrop", *words)


def test_maildrop_that_cannot_change(world):
    """what keeps no session from its start is a warning: no tmp, no right to write, messages of another's"""
    with Installation(world) as place:
        place.launch()
        place.as_alice("rmdir Maildir/tmp")
        check = Check(world, "alice").quiet_but("maildrop")
        check.expect("warn", "maildrop", "Maildir/tmp: No such file", "logins work")
        check.expect("ok", "maildrop", "1 messages")
        place.as_alice("mkdir Maildir/tmp; chmod 500 Maildir Maildir/new Maildir/cur")
        check = Check(world, "alice").quiet_but("maildrop")
        for part in ("Maildir:", "Maildir/new:", "Maildir/cur:"):
            check.expect("warn", "maildrop", part, "logins work", "uid 4001 may not change it", "chown")
        check.expect("ok", "maildrop", "1 messages")
        place.as_alice("chmod 300 Maildir/new")
        Check(world, "alice").expect("fail", "maildrop", "Maildir/new:", "may not read it")
        place.as_alice("chmod 700 Maildir Maildir/new Maildir/cur")
        os.chown(f"{place.home}/Maildir/new/1700000001.M1P1.sample", 0, 0)
        check = Check(world, "alice").quiet_but("maildrop")
        check.expect("fail", "maildrop", "1 messages cannot be read", "uid 4001 (chown)", "(chmod u+r)")


def test_closed_parent(world):
    """nobody is told to give away a folder above the maildrop"""
    with Installation(world) as place:
        place.launch()
        os.makedirs(f"{world.root}/closed/alice", exist_ok=True)
        os.chmod(f"{world.root}/closed", 0o700)
        row = Check(world, "-m", f"{world.root}/closed/alice/Maildir", "alice").quiet_but("maildrop").expect(
            "fail", "maildrop", "closed: Permission denied", "uid 4001 may not pass it", "(chmod, group)")
        if "chown" in row.text:
            raise Failure(row.text)


def test_index_that_is_not_usable(world):
    """an index that is there, but damaged or open to others, is not called missing"""
    with Installation(world) as place:
        place.launch()
        place.as_alice("echo nonsense > Maildir/pop3d.index")
        Check(world, "alice").quiet_but().expect("ok", "maildrop", "the index is not usable")


def test_stunnel_that_leads_nowhere(world):
    """connect to a port that nobody has, or whose entry is off, fails; so does exec by another than root"""
    with Installation(world):
        inner = SOUND["pop3"].replace("service pop3\n{", "service inner\n{\n type = UNLISTED\n port = 1110") % {
            "server": world.binary, "user": "root", "arguments": "server_args = -x -S\n"}
        for files in ({"xinetd.d/pop3-inner": inner.replace("disable         = no", "disable = yes")}, {}):
            for to in ("127.0.0.1:1110", "1110", "localhost:1110"):
                stunnel = f"[pop3s]\naccept = 995\nconnect = {to}\nprotocol = proxy\n"
                check = check_in_etc(world, {"stunnel/pop3s.conf": stunnel, **files}).quiet_but("port")
                check.expect("fail", "port", "nobody listens on 1110, where /etc/stunnel/pop3s.conf connects")
        stunnel = stunnel.replace("localhost", "mail.example").replace("protocol = proxy\n", "")
        if "1110," in check_in_etc(world, {"stunnel/pop3s.conf": stunnel}).output:
            raise Failure("a port of another machine is looked for here")
        stunnel = f"setuid = nobody\n[pop3s]\naccept = 995\nexec = {world.binary}\nexecArgs = pop3d -S\n"
        check_in_etc(world, {"stunnel/pop3s.conf": stunnel}).quiet_but("port", "TLS").expect(
            "fail", "TLS", "as nobody", "without root")


def test_another_launcher_than_xinetd(world):
    """the launcher that has the port counts, though xinetd's entry was left on; one unknown may stay, too"""
    with Installation(world) as place:
        place.entry = place.entry.replace("service pop3\n{", "service pop3\n{\n        type = UNLISTED\n        port = 1110")
        place.launch(listens=False)
        await_port(1110)
        xinetd = SOUND["pop3"] % {"server": world.binary, "user": "root", "arguments": ""}
        files = {"xinetd.d/pop3": xinetd, "inetd.conf": f"pop3 stream tcp nowait root {world.binary} pop3d -t 900\n"}
        relay = place.run([sys.executable, "-c", RIVAL, "", "1110", "inetutils-inetd"])
        await_port(110)
        check = check_in_etc(world, files).quiet_but("launcher")
        check.expect("warn", "launcher", "two entries have port 110", "/etc/inetd.conf", "write disable = yes in /etc/xinetd.d/pop3")
        check.expect("ok", "port 110", "inetutils-inetd (process")
        check.expect("ok", "options", "of /etc/inetd.conf", "-t 900")
        relay.kill()
        relay.wait()
        place.run([sys.executable, "-c", RIVAL, "", "1110", "tcpserver"])
        await_port(110)
        check_in_etc(world, files).quiet_but("port 110").expect(
            "fail", "port 110", "tcpserver (process", "for /etc/xinetd.d/pop3", "or, if it is to stay, set disable = yes")


UNITS = {"systemd/system/pop3d.socket": "[Socket]\nListenStream=110\nAccept=yes\n",
         "systemd/system/sockets.target.wants/pop3d.socket": None}


def test_percent_in_a_unit(world):
    """systemd makes %u of %%u, which pop3d is to see; a single one it expands itself"""
    with Installation(world):
        unit = "[Service]\nStandardInput=socket\nExecStart=-%s -m /home/%%%%u/Maildir -d %%%%d\n" % world.binary
        check = check_in_etc(world, {**UNITS, "systemd/system/pop3d@.service": unit}).quiet_but("port", "maildrop")
        check.expect("ok", "options", "of /etc/systemd/system/pop3d.socket", "-m /home/%u/Maildir -d %d")
        check = check_in_etc(world, {**UNITS, "systemd/system/pop3d@.service": unit.replace("%%u", "%u")})
        check.expect("fail", "launcher", "%u is not for pop3d: systemd expands it itself", "write %%u")


def test_drop_ins(world):
    """what `systemctl edit` writes counts, and its folder is no socket; remedies are systemd's own"""
    with Installation(world):
        units = {**UNITS, "systemd/system/pop3d@.service": f"[Service]\nStandardInput=socket\nExecStart=-{world.binary} -m Elsewhere\n",
                 "systemd/system/pop3d.socket.d/override.conf": "[Socket]\nMaxConnections=7\n",
                 "systemd/system/pop3d@.service.d/override.conf": f"[Service]\nExecStart=\nExecStart=-{world.binary}\n"}
        check = check_in_etc(world, units).quiet_but("port")
        check.expect("ok", "launcher", "/etc/systemd/system/pop3d.socket: systemd", "sessions at once: 7")
        check.expect("ok", "options", "of /etc/systemd/system/pop3d.socket", "none")
        check.expect("fail", "port", "systemctl restart pop3d.socket")
        if len([row for row in check.rows if row.what == "launcher"]) != 1:
            raise Failure(f"a folder is taken for a unit:\n{check.output}")
        del units["systemd/system/sockets.target.wants/pop3d.socket"]
        check_in_etc(world, units).expect("fail", "launcher", "remedy: systemctl enable --now pop3d.socket")


def test_haproxy_in_front(world):
    """where an entry has -x the proxy in front tells of TLS, and may hold port 995"""
    with Installation(world, arguments="-x") as place:
        place.launch()
        place.run([sys.executable, "-c", RIVAL.replace("110", "995"), "", "110", "haproxy"])
        await_port(995)
        check = Check(world, "alice").quiet_but()
        check.expect("ok", "port 995", "haproxy (process")
        check.expect("skip", "TLS", "the proxy in front tells of it (-x)")


def test_no_tls(world):
    """without TLS users elsewhere are refused, which is a warning, unless -p wants it so or nothing is on"""
    with Installation(world) as place:
        place.launch()
        Check(world).expect("warn", "TLS", "nothing known does it in front", "remedy: set up pop3s")
        place.arguments = "-p"
        place.configure()
        check = Check(world)
        check.expect("skip", "TLS", "passwords are taken in clear text (-p)")
        # that xinetd has not read its file since may be told
        check.quiet_but("launcher")
        os.unlink("/etc/xinetd.d/pop3")
        check = Check(world)
        check.expect("skip", "TLS", "nothing known does it in front")
        check.expect("skip", "launcher", "no entry in")


def test_flags_in_a_value(world):
    """the letters of an option's value are no options: -vxmail is neither -x nor -m, -vpopmail is not -p"""
    for arguments in ("-vxmail -m/var/mail/%u", "-v xmail -m/var/mail/%u", "-vpopmail -m/var/mail/%u"):
        with Installation(world, arguments=arguments) as place:
            place.launch()
            Check(world).expect("warn", "TLS", "nothing known does it in front", "remedy: set up pop3s")


def test_session_with_given_options(world):
    """options given by hand reach the session that is tried, whatever stands between them and -c"""
    require_root()
    for arguments in (["-xc"], ["-c", "-x"], ["-cx", "alice"], ["-xpc", "-t", "900"]):
        check = Check(world, command=[world.binary, *arguments, "-c"])
        check.expect("ok", "session", "S: +OK pop3d", "C: QUIT")
    done = subprocess.run([world.binary, "-cQ"], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode != 64 or "-Q is no option" not in done.stdout:
        raise Failure(f"{done}")


def test_pam_as_libpam_reads_it(world):
    """a rule goes on behind a backslash, its type and control may be in capitals"""
    with Installation(world) as place:
        place.launch()
        world.system_service("pop3", "AUTH Requisite \\\n pam_nologin.so\n@INCLUDE common-auth\n"
                             "Account INCLUDE \\\n   common-account # and all it has\n")
        Check(world, "alice").quiet_but().expect("ok", "PAM", "the account rules accept the user")
        with open("/etc/nologin", "w"):
            pass
        Check(world, "alice").quiet_but("PAM").expect("fail", "PAM", "line 2 refuses alice", "pam_nologin.so")


def test_name_among_the_arguments(world):
    """xinetd wants no name before the options, unless it has NAMEINARGS: the session's own refusal is known"""
    with Installation(world, arguments="pop3d -t 900") as place:
        place.launch()
        check = Check(world, "alice").quiet_but("options", "port 110")
        check.expect("fail", "options", "an argument too many", "remedy: mend /etc/xinetd.d/pop3")
        check.expect("skip", "session", "not tried: pop3d refuses its options")
        check.expect("fail", "port 110", "pop3d was started wrongly", "cause: the launcher's arguments")
    with Installation(world, arguments="pop3d -t 900") as place:
        place.entry = place.entry.replace("{", "{\n        flags = NAMEINARGS", 1)
        place.launch()
        Check(world, "alice").quiet_but()


def test_options_say_whose(world):
    """the file whose options are taken is named even if there are none; an editor's backup is none of xinetd's"""
    with Installation(world) as place:
        place.launch()
        shutil.copy("/etc/xinetd.d/pop3", "/etc/xinetd.d/pop3~")
        place.stack.callback(os.unlink, "/etc/xinetd.d/pop3~")
        check = Check(world, "alice").quiet_but()
        check.expect("ok", "options", "of /etc/xinetd.d/pop3, as none are given here: none")
        if "pop3~" in check.output:
            raise Failure(f"a backup is read:\n{check.output}")
