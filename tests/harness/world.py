"""
world.py - the world the tests run in: accounts, PAM services, folders.

Runs in:   the test runner; as root inside a mount and network namespace of
           its own, as an ordinary user in a temporary folder.
May touch: as root, private copies of /etc and /dev, which vanish with
           the namespace; else only that folder.
"""
import ctypes
import fcntl
import os
import pwd
import re
import shutil
import socket
import struct
import subprocess
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TREE = os.path.dirname(HERE)
INSIDE = "POP3D_TESTS_INSIDE"
IS_ROOT = os.geteuid() == 0

MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x40000
CLONE_NEWUTS = 0x4000000
HOST = "mailhost"

# Accounts that exist as root; as an ordinary user PAM alone knows the names.
ACCOUNTS = {
    "alice": (4001, "secret"),
    "bob": (4002, "two  words "),
    "carol": (4003, "p\xe4ss:w\\rd*"),
    "dave": (4004, "secret"),
    "locked": (4021, None),
    "expired": (4022, None),
    "stale": (4023, None),
    "forced": (4024, None),
    "vmail": (4010, None),
    "parsers": (4011, None),
}
# More users for the generated checker: no system account bears these names.
VIRTUAL_USERS = {
    "alice@example.org": "secret",
    "bob@example.org": "bob's",
    "erin@example.net": "secret",
    "ghost": "secret",
}
# Logins that the checker grants to names which must never be served.
TRAPS = {"root": "secret"}

# PAM results that no password can bring about, each a service of its own.
PAM_RESULTS = {
    "acct-expired": ("success", "acct_expired"),
    "password-expired": ("success", "new_authtok_reqd"),
    "not-permitted": ("success", "perm_denied"),
    "user-unknown": ("user_unknown", "success"),
    "max-tries": ("maxtries", "success"),
    "unavailable": ("authinfo_unavail", "success"),
    "system-error": ("system_err", "success"),
    "wrong-password": ("auth_err", "success"),
}


class Skip(Exception):
    """A test that cannot run here, with the reason."""


def require_root():
    if not IS_ROOT:
        raise Skip("needs root")


def require_production(world, why_not):
    """The binary is as it is installed, without a sanitizer in it."""
    if world.is_sanitized:
        raise Skip(why_not)


def require_tool(name):
    """The path of a program, or a skip; in CI its absence is a failure."""
    path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if path is None:
        if os.environ.get("CI") == "true":
            raise AssertionError(f"{name} is missing, and CI must have it")
        raise Skip(f"{name} is missing")
    return path


def _mount(source, target, kind, flags, data=""):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(source.encode(), target.encode(), kind.encode(), flags, data.encode()) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"mount {source} on {target}: {os.strerror(error)}")


def _name_host():
    """A name that this machine has for these tests alone: Dovecot does not start on one without."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWUTS) != 0:
        raise OSError(ctypes.get_errno(), "unshare of the host's name")
    socket.sethostname(HOST)


def _is_above(folder, path):
    return os.path.realpath(path).startswith(folder + "/")


def _private_folder():
    """An existing folder that nothing here needs, covered with memory of our own."""
    binary = os.path.abspath(os.environ.get("POP3D", TREE))
    for folder in ("/mnt", "/media", "/srv", "/opt"):
        if os.path.isdir(folder) and not any(_is_above(folder, path) for path in (TREE, binary)):
            _mount("tests", folder, "tmpfs", 0, "mode=755,size=2g")
            return folder
    raise OSError("no folder to put a private tmpfs on")


def _reachable(binary, root):
    """The binary by a name that ordinary users reach: not so below /root, where root unpacks things."""
    above = binary
    while (above := os.path.dirname(above)) != "/":
        if os.stat(above).st_mode & 0o001 == 0:
            os.makedirs(f"{root}/tree")
            _mount(os.path.dirname(binary), f"{root}/tree", "", MS_BIND)
            return f"{root}/tree/{os.path.basename(binary)}"
    return binary


def _without_our_names(path):
    """Also without pop3d's own account, which make install may have made on this machine."""
    with open(path) as file:
        return [line for line in file if line.split(":")[0] not in (*ACCOUNTS, "pop3d")]


def _private_etc(root):
    """
    A copy of all of /etc, mounted over /etc. No single file of it is a mount: such a mount would
    vanish as soon as a package outside renames a new /etc/passwd over the old one.
    """
    subprocess.run(["cp", "-a", "/etc", f"{root}/etc"], check=True)
    _mount(f"{root}/etc", "/etc", "", MS_BIND)
    passwd, group, shadow = (_without_our_names(f"/etc/{name}") for name in ("passwd", "group", "shadow"))
    for name, (number, _) in ACCOUNTS.items():
        passwd.append(f"{name}:x:{number}:{number}::{root}/home/{name}:/bin/sh\n")
        group.append(f"{name}:x:{number}:\n")
        shadow.append(f"{name}:*:19000:0:99999:7:::\n")
    group.append("staffers:x:4100:alice\n")
    files = {"passwd": passwd, "group": group, "shadow": shadow,
             "nsswitch.conf": ["passwd: files\n", "group: files\n", "shadow: files\n"]}
    for name, lines in files.items():
        with open(f"/etc/{name}", "w") as file:
            file.writelines(lines)
        os.chmod(f"/etc/{name}", 0o640 if name == "shadow" else 0o644)
    with open("/etc/hosts", "a") as file:
        file.write(f"\n127.0.0.1 {HOST}\n")


def _make_homes(root):
    for name, (number, _) in ACCOUNTS.items():
        home = f"{root}/home/{name}"
        os.makedirs(home)
        os.chown(home, number, number)
        os.chmod(home, 0o700)


def _private_dev(root):
    """A /dev whose log is ours to read, without a trace in the real one."""
    os.makedirs(f"{root}/dev")
    for name in ("null", "zero", "full", "random", "urandom", "tty"):
        open(f"{root}/dev/{name}", "w").close()
        _mount(f"/dev/{name}", f"{root}/dev/{name}", "", MS_BIND)
    for name in ("pts", "shm"):
        os.makedirs(f"{root}/dev/{name}")
        if os.path.isdir(f"/dev/{name}"):
            _mount(f"/dev/{name}", f"{root}/dev/{name}", "", MS_BIND | MS_REC)
    for name, target in (("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"),
                         ("stderr", "fd/2"), ("ptmx", "pts/ptmx")):
        os.symlink(target, f"{root}/dev/{name}")
    _mount(f"{root}/dev", "/dev", "", MS_BIND | MS_REC)


def _network_up(addresses):
    """Brings the loopback of this namespace up; more addresses on it count as remote."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        def request(name, body):
            return struct.pack("16s", name.encode()) + body.ljust(24, b"\0")
        fcntl.ioctl(control, 0x8914, request("lo", struct.pack("h", 0x1 | 0x40)))
        for index, address in enumerate(addresses, 1):
            body = struct.pack("HH4s", socket.AF_INET, 0, socket.inet_aton(address))
            fcntl.ioctl(control, 0x8916, request(f"lo:{index}", body))


class Syslog:
    """Whoever logs through /dev/log is heard here (as root only)."""

    def __init__(self):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("/dev/log")
        os.chmod("/dev/log", 0o666)
        self.lines = []
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self):
        while True:
            self.lines.append(self.socket.recv(65536).decode("latin-1"))

    def since(self, start, pattern, seconds=2):
        """What was heard from line number start on, once the pattern is in it or the seconds are over."""
        end = time.monotonic() + seconds
        while True:
            text = "\n".join(self.lines[start:])
            if re.search(pattern, text) or time.monotonic() > end:
                return text
            time.sleep(0.02)


class World:
    """One for the whole run. Everything below self.root vanishes with close()."""

    REMOTE = "10.9.8.7"

    def __init__(self):
        self.syslog = None
        if IS_ROOT:
            _mount("none", "/", "", MS_REC | MS_PRIVATE)
            _name_host()
            self.root = _private_folder()
            _private_etc(self.root)
            _make_homes(self.root)
            _private_dev(self.root)
            # the places of those who wait for a login are counted here alone
            _mount("tests", "/run", "tmpfs", 0, "mode=755")
            _network_up([self.REMOTE])
            self.syslog = Syslog()
            self.me = "vmail"
        else:
            self.root = tempfile.mkdtemp(prefix="pop3d-tests-")
            self.me = pwd.getpwuid(os.getuid()).pw_name
        self.virtual_uid = pwd.getpwnam(self.me).pw_uid
        self.binary = os.path.abspath(os.environ.get("POP3D", f"{TREE}/pop3d"))
        if not os.access(self.binary, os.X_OK):
            raise SystemExit(f"{self.binary} is missing: run make first, or set POP3D")
        if IS_ROOT:
            self.binary = _reachable(self.binary, self.root)
        with open(self.binary, "rb") as file:
            self.is_sanitized = b"__asan_init" in file.read()
        self.sanitizer_options = {name: value for name, value in os.environ.items()
                                  if name in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "POP3D_WRONG")}
        self.configuration = f"{self.root}/pam"
        self._make_pam()
        self._has_unix_users = False
        self._counter = 0
        self._lock = threading.Lock()

    def close(self):
        if not IS_ROOT:
            shutil.rmtree(self.root, ignore_errors=True)

    def folder(self):
        """A fresh folder, open to all, for one run of one test."""
        with self._lock:
            self._counter += 1
            path = f"{self.root}/runs/{self._counter}"
        os.makedirs(path)
        return path

    def run_as(self, uid):
        """Arguments for subprocess that make a child the user with this uid."""
        if not IS_ROOT or uid == 0:
            return {}
        return {"user": uid, "group": uid, "extra_groups": []}

    def uid_of(self, name):
        """Who owns a mailbox in the tests' set-up."""
        if not IS_ROOT:
            return os.getuid()
        return ACCOUNTS[name][0] if name in ACCOUNTS else self.virtual_uid

    def _make_pam(self):
        os.makedirs(self.configuration)
        checker = f"{self.root}/checker"
        users = {name: password for name, (_, password) in ACCOUNTS.items() if password}
        write_checker(checker, {**users, **VIRTUAL_USERS, **TRAPS})
        self.service("pop3", checker_lines(checker))
        self.service("other", "auth required pam_deny.so\naccount required pam_deny.so\n")
        for name, (auth, account) in PAM_RESULTS.items():
            self.service(name, f"auth required pam_debug.so auth={auth}\n"
                               f"account required pam_debug.so acct={account}\n")
        self.service("broken", "auth required /nonexistent/pam_nothing.so\n"
                               "account required pam_permit.so\n")

    def service(self, name, lines):
        with open(f"{self.configuration}/{name}", "w") as file:
            file.write(lines)

    def system_service(self, name, lines):
        """A service file in the private /etc/pam.d (as root only)."""
        with open(f"/etc/pam.d/{name}", "w") as file:
            file.write(lines)

    def unix_users(self):
        """Real accounts with real hashes: alice, bob and dave are well, the others are not."""
        require_root()
        with self._lock:
            if self._has_unix_users:
                return
            self._has_unix_users = True
            for name in ("alice", "bob", "dave"):
                self.set_shadow(name, hash=hash_password(ACCOUNTS[name][1]))
            good = hash_password("secret")
            self.set_shadow("locked", hash="!" + good)
            self.set_shadow("expired", hash=good, expires=1)
            self.set_shadow("stale", hash=good, last=10, maximum=30)
            self.set_shadow("forced", hash=good, last=0)
            self.system_service("pop3", "auth required pam_unix.so\naccount required pam_unix.so\n")

    def set_shadow(self, name, **fields):
        """Changes an account's line of shadow: hash=, last=, maximum=, expires=..."""
        order = ["name", "hash", "last", "minimum", "maximum", "warn", "inactive", "expires", "x"]
        lines = []
        with open("/etc/shadow") as file:
            for line in file:
                parts = line.rstrip("\n").split(":")
                if parts[0] == name:
                    for field, value in fields.items():
                        parts[order.index(field)] = str(value)
                lines.append(":".join(parts) + "\n")
        with open("/etc/shadow", "w") as file:
            file.writelines(lines)


def quote(text):
    return "'" + text.replace("'", "'\\''") + "'"


def write_checker(path, users):
    """A script for pam_exec that knows these users and their passwords, octet for octet."""
    cases = "".join(f"{quote(name + ':' + password)}) exit 0;;\n" for name, password in users.items())
    with open(path, "w", encoding="latin-1") as file:
        file.write("#!/bin/sh\n"
                   "# the password comes without a line end: read says no, and has it all the same\n"
                   "IFS= read -r password\n"
                   f"case $PAM_USER:$password in\n{cases}esac\nexit 1\n")
    os.chmod(path, 0o755)


def checker_lines(checker):
    """pam_exec alone would turn a wrong password into a system error."""
    return (f"auth [success=done default=ignore] pam_exec.so expose_authtok quiet {checker}\n"
            "auth required pam_deny.so\naccount required pam_permit.so\n")


def hash_password(password):
    """What shadow holds, by openssl's own crypt; strong enough to be checked, quick enough to test."""
    openssl = require_tool("openssl")
    return subprocess.run([openssl, "passwd", "-6", "-stdin"], input=password + "\n",
                          capture_output=True, text=True, check=True).stdout.strip()
