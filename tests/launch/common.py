"""
common.py - the machine that the launcher tests run on: this one, seen through
namespaces of its own, with pop3d installed on it by `make install`.

Runs in:   a launcher test, as root.
May touch: its own mounts (/etc, /usr/local, /home, /var, /run, /dev are laid
           over or private), its own network, the processes it started. The
           machine itself is left as it was.

A test file is a number of functions test_*(world) and at its end
`common.main()`; run on its own it prints a line "ok NAME" or
"not ok NAME - why" for each, and exits with 1 if one failed.
"""
import glob
import inspect
import os
import pwd
import re
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
import traceback

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
TREE = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.dirname(HERE))

from harness import wire

INSIDE = "POP3D_LAUNCH_INSIDE"
INSTALLED = "POP3D_LAUNCH_INSTALLED"    # what `make install` made, for many worlds; else each makes its own
ROOM = "/mnt"                           # a tmpfs of our own
SCRATCH = f"{ROOM}/install"             # DESTDIR
DOCS = "/usr/local/share/doc/pop3d"
with open(f"{TREE}/Makefile") as makefile:
    GREETING = f"+OK pop3d {re.search(r'^VERSION = (.*)$', makefile.read(), re.MULTILINE)[1]} server ready"
PASSWORD = "correct horse"
# an address of ours that is not loopback, and clients' addresses
SERVER, CLIENT, CLIENT6 = "192.0.2.1", "192.0.2.7", "2001:db8::7"
SERVER6 = "2001:db8::1"
ACCOUNTS = {"alice": 30001, "bob": 30002, "vmail": 30003}


class Failure(Exception):
    """What was expected is not so."""


class Skip(Exception):
    """What the test needs is not there."""


def run(*command, **options):
    return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, **options).stdout


def check(condition, why):
    if not condition:
        raise Failure(why)


def need(program):
    """The program's path. In CI its absence is a failure."""
    path = shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin:/sbin")
    if path is None:
        raise (Failure if os.environ.get("CI") else Skip)(f"{program} is not installed")
    return path


def fetch_package(name):
    """Unpacks a Debian package that cannot be installed beside another; its folder."""
    store = os.environ.get("POP3D_PACKAGES", f"{TREE}/build/packages")
    folder = f"{store}/{name}"
    if not os.path.isdir(folder):
        raise (Failure if os.environ.get("CI") else Skip)(f"{folder} is not there")
    return folder


def unpack_packages(names):
    """Before the network is left behind: fetches and unpacks what conflicts with others."""
    for name in names:
        folder = f"{TREE}/build/packages/{name}"
        if os.path.isdir(folder):
            continue
        os.makedirs(f"{folder}.part", exist_ok=True)
        got = subprocess.run(["apt-get", "download", "-o", "APT::Sandbox::User=root", name],
                             cwd=f"{folder}.part", capture_output=True)
        for package in glob.glob(f"{folder}.part/*.deb"):
            subprocess.run(["dpkg", "-x", package, f"{folder}.part"], check=True)
        if got.returncode == 0:
            os.rename(f"{folder}.part", folder)


class Log:
    """The other end of /dev/log: keeps what is logged, and writes /var/log/mail.log."""

    def __init__(self):
        self.lines = []
        self.raw = []
        self.changed = threading.Condition()
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("/dev/log")
        os.chmod("/dev/log", 0o666)
        threading.Thread(target=self._collect, daemon=True).start()

    def _collect(self):
        while True:
            line = self.socket.recv(65536).decode("latin-1").rstrip("\0\n")
            text = re.sub(r"^<\d+>(\w+ +\d+ [\d:]+ )?", "", line)
            with open("/var/log/mail.log", "a") as file:
                file.write(time.strftime("%b %e %H:%M:%S") + f" mailhost {text}\n")
            with self.changed:
                self.lines.append(text)
                self.raw.append(line)
                self.changed.notify_all()

    def mark(self):
        with self.changed:
            return len(self.lines)

    def wait(self, pattern, since=0, seconds=10):
        """The first line from `since` on in which the pattern is found."""
        end = time.monotonic() + seconds
        with self.changed:
            while True:
                for line in self.lines[since:]:
                    if re.search(pattern, line):
                        return line
                left = end - time.monotonic()
                if left <= 0:
                    tail = "".join(f"\n        {line}" for line in self.lines[since:][-8:])
                    raise Failure(f"the log has no line with {pattern!r}, but{tail or ' nothing'}")
                self.changed.wait(left)


class Client:
    """A POP3 client that notices every octet that should not be there."""

    def __init__(self, address, port, source=None, tls=None, stls=False):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        self.socket.settimeout(15)
        if source is not None:
            self.socket.bind((source, 0))
        self.socket.connect((address, port))
        if tls is not None and not stls:
            self.socket = tls.wrap_socket(self.socket, server_hostname="localhost")
        self.file = self.socket.makefile("rb")
        self.greeting = self.line()
        if stls:
            check(self.greeting == f"{GREETING} + stunnel", self.greeting)
            self.ask("STLS", "+OK")
            self.socket = tls.wrap_socket(self.socket, server_hostname="localhost")
            self.file = self.socket.makefile("rb")
        else:
            check(self.greeting == GREETING, f"greeting: {self.greeting!r}")

    def line(self):
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise Failure(f"the connection ended at {line!r}")
        return line[:-2].decode("latin-1")

    def send(self, text):
        self.socket.sendall(text.encode("latin-1") + b"\r\n")

    def ask(self, text, expected):
        self.send(text)
        line = self.line()
        check(line == expected or line.startswith(expected + " "),
              f"to {text!r} the answer is {line!r}, not {expected!r}")
        return line

    def block(self):
        lines = []
        while (line := self.file.readline()) != b".\r\n":
            check(line.endswith(b"\r\n"), f"the connection ended in a reply at {line!r}")
            lines.append(line)
        return b"".join(lines) + b".\r\n"

    def ended(self):
        rest = self.file.read()
        check(rest == b"", f"behind the last reply there is {rest!r}")
        self.socket.close()


class World:
    """The machine as the test sees it."""

    def __init__(self):
        self.started = []
        self.failures = 0
        self.network()
        self.file_systems()
        self.accounts()
        self.log = Log()

    @staticmethod
    def network():
        run("ip", "link", "set", "lo", "up")
        for address in (SERVER, CLIENT, "192.0.2.8"):
            run("ip", "address", "add", f"{address}/32", "dev", "lo")
        for address in (SERVER6, CLIENT6):
            run("ip", "address", "add", f"{address}/128", "dev", "lo", "nodad")

    @staticmethod
    def file_systems():
        run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", ROOM)
        if INSTALLED in os.environ:
            run("cp", "-a", os.environ[INSTALLED], SCRATCH)
        else:
            run("make", "-s", "-C", TREE, "install", f"DESTDIR={SCRATCH}")
        for place in ("/etc", "/usr/local", "/var"):
            name = place.strip("/").replace("/", "-")
            os.makedirs(f"{ROOM}/{name}/upper")
            os.makedirs(f"{ROOM}/{name}/work")
            os.makedirs(f"{SCRATCH}{place}", exist_ok=True)
            run("mount", "-t", "overlay", "overlay", "-o", f"lowerdir={SCRATCH}{place}:{place},"
                f"upperdir={ROOM}/{name}/upper,workdir={ROOM}/{name}/work", place)
        run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/home")
        run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run")
        run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/var/log")
        os.makedirs(f"{ROOM}/dev")
        run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", f"{ROOM}/dev")
        for name in ("null", "zero", "full", "random", "urandom", "tty"):
            open(f"{ROOM}/dev/{name}", "w").close()
            run("mount", "--bind", f"/dev/{name}", f"{ROOM}/dev/{name}")
        for name, target in (("fd", "/proc/self/fd"), ("stdin", "/proc/self/fd/0"),
                             ("stdout", "/proc/self/fd/1"), ("stderr", "/proc/self/fd/2")):
            os.symlink(target, f"{ROOM}/dev/{name}")
        os.makedirs(f"{ROOM}/dev/shm")
        run("mount", "--rbind", "/dev/shm", f"{ROOM}/dev/shm")
        # terminals of our own: a ptmx that is bound elsewhere does not find its /dev/pts
        os.makedirs(f"{ROOM}/dev/pts")
        run("mount", "-t", "devpts", "-o", "newinstance,ptmxmode=0666,mode=0620", "devpts",
            f"{ROOM}/dev/pts")
        os.symlink("pts/ptmx", f"{ROOM}/dev/ptmx")
        run("mount", "--rbind", f"{ROOM}/dev", "/dev")

    @staticmethod
    def accounts():
        salted = run("openssl", "passwd", "-6", PASSWORD).strip()
        with open("/etc/passwd", "a") as passwd, open("/etc/shadow", "a") as shadow, \
                open("/etc/group", "a") as group:
            for name, uid in ACCOUNTS.items():
                passwd.write(f"{name}:x:{uid}:{uid}::/home/{name}:/usr/sbin/nologin\n")
                shadow.write(f"{name}:{'*' if name == 'vmail' else salted}:19000:0:99999:7:::\n")
                group.write(f"{name}:x:{uid}:\n")
                os.makedirs(f"/home/{name}")
                os.chmod(f"/home/{name}", 0o700)
                os.chown(f"/home/{name}", uid, uid)
                maildrop(f"/home/{name}/Maildir", uid)

    @staticmethod
    def reset():
        """Configuration as it was installed, whatever the test before has made of it."""
        for path in glob.glob("/etc/xinetd.d/*") + glob.glob("/etc/pam.d/pop3*"):
            os.unlink(path)
        for place in ("/etc/xinetd.d/pop3", "/etc/pam.d/pop3"):
            shutil.copy(f"{SCRATCH}{place}", place)

    def certificate(self):
        """Makes /etc/stunnel/pop3s.pem as stunnel-connect.conf says; a context that trusts it."""
        os.makedirs("/etc/stunnel", exist_ok=True)
        if not os.path.exists("/etc/stunnel/pop3s.pem"):
            recipe = read_text(f"{DOCS}/stunnel-connect.conf")
            lines = [line[4:].rstrip("\\") for line in recipe.split("\n") if re.match(";   +[oc-]", line)]
            check(len(lines) == 3, "stunnel-connect.conf has no recipe for a certificate")
            run("/bin/sh", "-ec", "cd /mnt; umask 077\n" + lines[0] + lines[1] + "\n" + lines[2])
        context = ssl.create_default_context(cafile=f"{ROOM}/certificate")
        return context

    def start(self, *command, port=None, shell=None, env=None):
        """Starts a launcher and waits until it listens."""
        log = open(f"{ROOM}/launcher.log", "ab")
        process = subprocess.Popen(["/bin/sh", "-c", "exec " + shell] if shell else list(command),
                                   stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env,
                                   start_new_session=True, cwd="/")
        process.command = shell or command[0]
        self.started.append(process)
        if port is not None:
            self.await_listener(port, process)
        return process

    def await_listener(self, port, process=None, seconds=10):
        end = time.monotonic() + seconds
        while not listens(port):
            if process is not None and process.poll() is not None:
                raise Failure(f"{process.command} ended with {process.returncode}: "
                              + read_text(f"{ROOM}/launcher.log")[-600:])
            check(time.monotonic() < end, f"nothing listens on port {port}: "
                  + read_text(f"{ROOM}/launcher.log")[-600:] + "\n".join(self.log.lines[-8:]))
            time.sleep(0.02)

    def stop_all(self):
        for process in self.started:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(5)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        self.started = []
        end = time.monotonic() + 5
        while any(listens(port) for port in (110, 995, 301, 302, 303)) and time.monotonic() < end:
            time.sleep(0.02)

    # What every launcher must do

    def session(self, address, port, source, tls=None, stls=False, seen=None, secured=None):
        """A whole session by alice: fetches one message, deletes it, and is in the log."""
        content = b"Subject: hello\n\n.a dot\nno end"
        name = deliver("alice", content)
        mark = self.log.mark()
        client = Client(address, port, source, tls, stls)
        client.ask("CAPA", "+OK")
        capabilities = client.block()
        check(b"SASL PLAIN" in capabilities, f"no SASL in {capabilities!r}")
        check(b"STLS" not in capabilities, "STLS is offered by pop3d")
        client.ask("USER alice", "+OK")
        client.ask(f"PASS {PASSWORD}", "+OK User successfully logged on")
        client.ask("STAT", f"+OK 1 {wire.octets(content)}")
        client.ask("RETR 1", "+OK")
        check(client.block() == wire.whole(content), "RETR differs from the file")
        client.ask("DELE 1", "+OK")
        client.ask("QUIT", GREETING.replace("ready", "signing off"))
        client.ended()
        check(not messages("alice"), f"after QUIT {name} is still there")
        seen = re.escape(seen or source)
        secured = "yes" if (tls if secured is None else secured) else "no"
        self.log.wait(rf"^pop3d\[\d+\]: LOGIN, user=alice, ip=\[{seen}\], mailbox=alice, "
                      rf"method=PASS, secured={secured}$", mark)
        self.log.wait(rf"^pop3d\[\d+\]: LOGOUT, user=alice, ip=\[{seen}\], .*retr=1, del=1/1, "
                      rf"left=0, .*end=quit$", mark)

    def refused_in_clear(self, address, port, source):
        """A remote client gets no chance to send its password."""
        client = Client(address, port, source)
        client.ask("CAPA", "+OK")
        capabilities = client.block()
        check(b"USER" not in capabilities and b"SASL" not in capabilities,
              f"passwords are asked for in clear text: {capabilities!r}")
        client.ask("USER alice", "-ERR [AUTH]")
        client.ask(f"AUTH PLAIN AGFsaWNlAGE=", "-ERR [AUTH]")
        client.ask("QUIT", "+OK")
        client.ended()

    def clear_text_port(self, port=110, ipv6=True, loopback6=True):
        """What a launcher on port 110 must do."""
        self.session("127.0.0.1", port, "127.0.0.1", secured=False)
        self.refused_in_clear(SERVER, port, CLIENT)
        if ipv6:
            self.session("::1", port, "::1", secured=False)
            self.refused_in_clear(SERVER6, port, CLIENT6)

    def secured_port(self, port=995, stls=False, ipv6=True):
        """What TLS in front must do: the client's address is known, and old TLS refused."""
        tls = self.certificate()
        self.session(SERVER, port, CLIENT, tls, stls)
        self.session(SERVER, port, "192.0.2.8", tls, stls)
        if ipv6:
            self.session(SERVER6, port, CLIENT6, tls, stls)
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            self.session(SERVER, port, CLIENT, tls_of(version), stls)
        for version in (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1):
            try:
                Client(SERVER, port, CLIENT, tls_of(version), stls)
            except (ssl.SSLError, ConnectionResetError):
                continue
            raise Failure(f"{version.name} is accepted")


def tls_of(version):
    """A context of one version of TLS alone, old ones included."""
    context = ssl.create_default_context(cafile=f"{ROOM}/certificate")
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    import warnings
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = version
        context.maximum_version = version
    return context


def read_text(path):
    with open(path, encoding="latin-1") as file:
        return file.read()


def write(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write(text)


def shipped(name, place, change=None):
    """Puts a shipped file, as it was installed, in its place; changes are (old, new) pairs."""
    text = read_text(f"{DOCS}/{name}")
    for old, new in change or []:
        check(old in text, f"{name} has no {old!r}")
        text = text.replace(old, new)
    write(place, text)
    return place


def listens(port):
    """Whether a socket of this network listens on the port, or on the Unix socket of that path."""
    if isinstance(port, str):
        # the flags of one that listens: __SO_ACCEPTCON
        return any(line.split()[3:4] == ["00010000"] and line.split()[7:] == [port]
                   for line in read_text("/proc/net/unix").split("\n"))
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with open(table) as file:
            for line in file.readlines()[1:]:
                fields = line.split()
                if fields[3] == "0A" and int(fields[1].rsplit(":", 1)[1], 16) == port:
                    return True
    return False


def maildrop(path, uid):
    for folder in ("", "/new", "/cur", "/tmp"):
        os.makedirs(path + folder, exist_ok=True)
        os.chmod(path + folder, 0o700)
        os.chown(path + folder, uid, uid)


def as_account(name, function):
    """What happens when an account does this: "done", or the name of the exception."""
    result, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        account = pwd.getpwnam(name)
        try:
            os.setgroups([])
            os.setresgid(*[account.pw_gid] * 3)
            os.setresuid(*[account.pw_uid] * 3)
            function()
            os.write(writer, b"done")
        except BaseException as failure:
            os.write(writer, type(failure).__name__.encode())
        finally:
            os._exit(0)
    os.close(writer)
    with open(result) as file:
        said = file.read()
    os.waitpid(pid, 0)
    return said


def numbers_of(pid):
    """The uids and gids of a process, its other groups and its effective capabilities."""
    fields = dict(line.split(":", 1) for line in read_text(f"/proc/{pid}/status").strip().split("\n"))
    return ({int(word) for word in fields["Uid"].split()}, {int(word) for word in fields["Gid"].split()},
            {int(word) for word in fields["Groups"].split()}, int(fields["CapEff"], 16))


delivered = 0


def deliver(user, content, home=None, uid=None):
    """A message in new/, the youngest of all."""
    global delivered
    delivered += 1
    name = f"{1700000000 + delivered}.M{delivered}P1.launch"
    path = f"{home or '/home/' + user}/Maildir/new/{name}"
    with open(path, "wb") as file:
        file.write(content)
    os.chown(path, uid or ACCOUNTS[user], uid or ACCOUNTS[user])
    return name


def messages(user):
    base = f"/home/{user}/Maildir"
    return sorted(glob.glob(f"{base}/new/*") + glob.glob(f"{base}/cur/*"))


def empty(user):
    for path in messages(user):
        os.unlink(path)


def packages_wanted(tests):
    return [package for _, test in tests for package in getattr(test, "packages", [])]


def wants_package(name):
    """Marks a test that needs a package which cannot be installed beside another."""
    def mark(function):
        function.packages = [name]
        return function
    return mark


def main():
    """Runs the test_ functions of the calling file, in a world of their own."""
    module = inspect.getmodule(inspect.stack()[1][0])
    tests = [(name[5:].replace("_", " "), function) for name, function in vars(module).items()
             if name.startswith("test_")]
    if len(sys.argv) > 1:
        tests = [test for test in tests if any(word in test[0] for word in sys.argv[1:])]
    if os.geteuid() != 0:
        for name, _ in tests:
            print(f"ok {name} # skipped: needs root")
        print(f"0 passed, 0 failed, {len(tests)} skipped")
        return
    if INSIDE not in os.environ:
        unpack_packages(packages_wanted(tests))
    enter_world(lambda world: run_tests(world, tests))


def enter_world(function):
    """Ends with the status that the function, given a world, returns."""
    if INSIDE not in os.environ:
        run("make", "-s", "-C", TREE)
        os.environ[INSIDE] = "1"
        os.execvp("unshare", ["unshare", "-mnpf", "--kill-child", "--mount-proc", "--propagation",
                              "private", sys.executable, os.path.abspath(sys.argv[0])] + sys.argv[1:])
    os.environ["PATH"] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    os.environ.setdefault("LC_ALL", "C.UTF-8")
    sys.exit(function(World()))


def run_tests(world, tests):
    passed = failed = skipped = 0
    for name, function in tests:
        try:
            world.reset()
            function(world)
            passed += 1
            print(f"ok {name}", flush=True)
        except Skip as skip:
            skipped += 1
            print(f"ok {name} # skipped: {skip}", flush=True)
        except Exception as failure:
            failed += 1
            where = "" if isinstance(failure, Failure) else traceback.format_exc()
            print(f"not ok {name} - {failure}\n{where}", flush=True)
        finally:
            world.stop_all()
            for user in ACCOUNTS:
                empty(user)
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0
