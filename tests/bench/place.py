"""
place.py - where the benchmark happens: a root of its own, made of bind mounts,
in which the servers find the accounts, PAM files and libraries they expect,
and the maildrops they serve.

Runs in:   the benchmark, as root, in mount, network and process namespaces of
           its own: what is mounted or started here ends with it.
May touch: build/bench.
"""
import crypt
import fcntl
import os
import shutil
import socket
import stat
import struct
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
TREE = os.path.dirname(os.path.dirname(HERE))
OUT = f"{TREE}/build/bench"
PEERS = f"{TREE}/build/peers/root"
ROOT = f"{OUT}/root"
BIN = f"{OUT}/bin"

PASSWORD = "secret"
UID = 5000      # of all mail users: their maildrops share the messages' files
SYSTEM_ACCOUNTS = ["nobody", "pop3d", "popa3d", "dovecot", "dovenull", "courier", "spop3d"]

# Which stack the servers' PAM files hold: the first costs nothing, so that what
# is measured is the server; the second is what Debian's own files amount to.
PAM_STACKS = {
    "permit": "auth required pam_permit.so\naccount required pam_permit.so\n",
    "unix": "auth required pam_unix.so nodelay\naccount required pam_unix.so\n",
}
# Folders of /usr/lib taken from the unpacked packages even if the machine has them.
PEERS_OWN = ["dovecot", "courier", "courier-authlib"]
PAM_SERVICES = ["pop3", "popa3d", "solid-pop3d", "dovecot", "gnu-pop3d", "mailutils", "other"]


def enter_namespaces():
    """Runs this program again in namespaces of its own, once."""
    if os.environ.get("POP3D_BENCH_INSIDE") == "1":
        return
    os.environ["POP3D_BENCH_INSIDE"] = "1"
    sys.stdout.flush()
    os.execvp("unshare", ["unshare", "--mount", "--net", "--uts", "--ipc", "--pid", "--fork", "--kill-child",
                          sys.executable, *sys.argv])


def mount(*arguments):
    subprocess.run(["mount", *arguments], check=True)


def bind(source, target, create=True):
    if create:
        if os.path.isdir(source):
            os.makedirs(target, exist_ok=True)
        else:
            os.makedirs(os.path.dirname(target), exist_ok=True)
            open(target, "a").close()
    mount("--rbind", source, target)


def write(path, text, mode=0o644):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write(text)
    os.chmod(path, mode)


def name_host():
    """Dovecot does not start where the machine has no name."""
    socket.sethostname("mailhost")


def bring_loopback_up():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        request = struct.pack("16sh14x", b"lo", 1)      # IFF_UP
        fcntl.ioctl(one, 0x8914, request)               # SIOCSIFFLAGS


def make_usr():
    """The machine's own /usr, with what the peers add to /usr/bin and /usr/lib beside it."""
    for entry in os.listdir("/usr"):
        if entry not in ("bin", "lib"):
            bind(f"/usr/{entry}", f"{ROOT}/usr/{entry}")
    # dovecot runs /usr/bin/doveconf by that name
    os.makedirs(f"{PEERS}/usr/bin", exist_ok=True)
    os.makedirs(f"{ROOT}/usr/bin")
    mount("-t", "overlay", "-o", f"lowerdir=/usr/bin:{PEERS}/usr/bin", "peers", f"{ROOT}/usr/bin")
    peers = f"{PEERS}/usr/lib"
    extra = set(os.listdir(peers)) if os.path.isdir(peers) else set()
    lib = f"{ROOT}/usr/lib"
    for entry in sorted(set(os.listdir("/usr/lib")) | extra):
        source = f"/usr/lib/{entry}"
        if entry in extra and (entry in PEERS_OWN or not os.path.exists(source)):
            source = f"{peers}/{entry}"
        if os.path.islink(source):
            os.makedirs(lib, exist_ok=True)
            os.symlink(os.readlink(source), f"{lib}/{entry}")
        else:
            bind(source, f"{lib}/{entry}")
    for entry in ("bin", "sbin", "lib", "lib32", "lib64", "libx32"):
        if os.path.islink(f"/{entry}"):
            os.symlink(os.readlink(f"/{entry}"), f"{ROOT}/{entry}")
        elif os.path.isdir(f"/{entry}"):
            bind(f"/{entry}", f"{ROOT}/{entry}")
    if os.path.isdir(PEERS):
        bind(PEERS, f"{ROOT}/usr/lib/peers")


def make_etc(users):
    etc = f"{ROOT}/etc"
    passwd = ["root:x:0:0:root:/root:/bin/sh"]
    group = ["root:x:0:", "mail:x:8:", f"bench:x:{UID}:"]
    shadow = ["root:*:19000::::::"]
    for number, name in enumerate(SYSTEM_ACCOUNTS):
        uid = 65534 if name == "nobody" else 900 + number
        passwd.append(f"{name}:x:{uid}:{uid}::/nonexistent:/usr/sbin/nologin")
        group.append(f"{'nogroup' if name == 'nobody' else name}:x:{uid}:")
        shadow.append(f"{name}:*:19000::::::")
    secret = crypt.crypt(PASSWORD, "$y$j9T$F5Jx5fExrKuPp53xLKQ..1")        # Debian's default: yescrypt
    for user in users:
        passwd.append(f"{user}:x:{UID}:{UID}::/data/{user}:/bin/sh")
        shadow.append(f"{user}:{secret}:19000::::::")
    write(f"{etc}/passwd", "\n".join(passwd) + "\n")
    write(f"{etc}/group", "\n".join(group) + "\n")
    write(f"{etc}/shadow", "\n".join(shadow) + "\n", 0o640)
    write(f"{etc}/nsswitch.conf", "passwd: files\ngroup: files\nshadow: files\nhosts: files\n")
    write(f"{etc}/hosts", "127.0.0.1 localhost mail.example.org\n")
    for name in ("services", "protocols", "login.defs", "localtime", "host.conf", "netconfig"):
        if os.path.isfile(f"/etc/{name}"):
            shutil.copy(f"/etc/{name}", f"{etc}/{name}")
    if os.path.isdir("/etc/security"):
        shutil.copytree("/etc/security", f"{etc}/security")
    folders = set()
    for folder, _, names in os.walk(PEERS):
        if any(".so" in name for name in names):
            folders.add(folder.replace(PEERS, "/usr/lib/peers"))
    # plug-ins are opened by their paths: only the libraries' own folders count
    wanted = [folder for folder in sorted(folders) if folder.endswith(("/lib", "-gnu"))]
    write(f"{etc}/ld.so.conf", "\n".join(wanted) + "\n" if wanted else "")
    shutil.copytree("/etc/ld.so.conf.d", f"{etc}/ld.so.conf.d")
    with open(f"{etc}/ld.so.conf", "a") as file:
        file.write("include /etc/ld.so.conf.d/*.conf\n")


def make_dev():
    dev = f"{ROOT}/dev"
    for name in ("null", "zero", "full", "random", "urandom", "tty"):
        bind(f"/dev/{name}", f"{dev}/{name}")
    os.makedirs(f"{dev}/shm")
    os.symlink("/proc/self/fd", f"{dev}/fd")


def make_root(users):
    """Builds the root and moves into it. Paths below the tree stay what they were."""
    mount("--make-rprivate", "/")
    os.makedirs(ROOT, exist_ok=True)
    mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", ROOT)
    make_usr()
    make_etc(users)
    make_dev()
    for folder in ("proc", "tmp", "run", "root", "var/lib/popa3d", "var/mail", "var/spool", "sys"):
        os.makedirs(f"{ROOT}/{folder}")
    os.chmod(f"{ROOT}/tmp", 0o1777)
    os.chmod(f"{ROOT}/var/mail", 0o1777)
    os.symlink("/run", f"{ROOT}/var/run")
    mount("-t", "proc", "proc", f"{ROOT}/proc")
    bind("/sys", f"{ROOT}/sys")
    bind(TREE, f"{ROOT}{TREE}")
    if not sys.base_prefix.startswith("/usr"):
        bind(sys.base_prefix, f"{ROOT}{sys.base_prefix}")       # this Python's own modules
    os.makedirs(f"{OUT}/data", exist_ok=True)
    bind(f"{OUT}/data", f"{ROOT}/data")
    os.makedirs(f"{OUT}/data/mail", exist_ok=True)
    bind(f"{OUT}/data/mail", f"{ROOT}/var/mail")
    name_host()
    bring_loopback_up()
    os.chroot(ROOT)
    os.chdir(TREE)
    subprocess.run(["ldconfig"], check=True)
    use_pam("permit")


def use_pam(stack):
    for service in PAM_SERVICES:
        write(f"/etc/pam.d/{service}", PAM_STACKS[stack])


def start_log(path):
    """A process that takes what is logged, as a syslog daemon would, and keeps it in a file."""
    one = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    one.bind("/dev/log")
    os.chmod("/dev/log", 0o666)
    pid = os.fork()
    if pid != 0:
        one.close()
        return pid
    with open(path, "wb", buffering=0) as file:
        while True:
            file.write(one.recv(8192) + b"\n")


# The maildrops

LINE = ("VGhpcyBpcyBhIGxpbmUgb2YgYmFzZTY0LCBhcyBhdHRhY2htZW50cyBoYXZlIHRoZW0sIDc2IG9jdGV0cw==" * 2)[:76]


def message(number, octets=4096):
    head = (f"Return-Path: <sender{number % 977}@example.net>\n"
            f"Delivered-To: bench@example.org\n"
            f"Received: from relay.example.net (relay.example.net [192.0.2.25])\n"
            f"\tby mail.example.org with ESMTP id {number:08x}\n"
            f"\tfor <bench@example.org>; Mon, 02 Nov 2026 08:00:00 +0000\n"
            f"From: Sender {number % 977} <sender{number % 977}@example.net>\n"
            f"To: bench@example.org\nSubject: message {number}\n"
            f"Date: Mon, 02 Nov 2026 08:00:00 +0000\nMessage-ID: <{number}.bench@example.net>\n"
            f"MIME-Version: 1.0\nContent-Type: text/plain; charset=us-ascii\n\n")
    lines = (octets - len(head)) // 77
    body = f"{LINE}\n" * lines
    rest = octets - len(head) - len(body)
    return (head + body + ("x" * (rest - 1) + "\n" if rest else "")).encode()


def name(number, hints=""):
    """As an MDA makes them: with ":2,S" 48 octets."""
    return f"{1790000000 + number * 7}.M{number * 7919 % 1000000:06d}P{10000 + number % 20000}" \
           f".mx.mail.example.org{hints}"


def wire_octets(text):
    """What RETR sends of it: line ends are CRLF, the last one is there."""
    bare = text.count(b"\n") - text.count(b"\r\n")
    return len(text) + bare + (0 if text.endswith(b"\n") else 2)


def wire_hints(number):
    text = message(number)
    return f",S={len(text)},W={wire_octets(text)}"


def make_pool(count):
    """Messages by number, made once; the maildrops link to them."""
    pool = "/data/pool"
    os.makedirs(pool, exist_ok=True)
    for number in range(len(os.listdir(pool)), count):
        with open(f"{pool}/{number}", "wb") as file:
            file.write(message(number))
            os.fchown(file.fileno(), UID, UID)


def octets_of_pool(count):
    """What STAT has to say of the first messages; remembered, for it takes its time."""
    path = f"/data/octets-{count}"
    if not os.path.isfile(path):
        write(path, str(sum(wire_octets(message(number)) for number in range(count))))
    with open(path) as file:
        return int(file.read())


def make_maildir(path):
    for folder in ("", "/new", "/cur", "/tmp"):
        os.makedirs(path + folder)
        os.chown(path + folder, UID, UID)


def make_home(user):
    os.makedirs(f"/data/{user}", exist_ok=True)
    os.chown(f"/data/{user}", UID, UID)
    return f"/data/{user}"


def link_maildir(path, count, hints=False):
    """A maildrop of the first messages, all seen; stays from one benchmark to the next."""
    if os.path.isfile(f"{path}/made"):
        return
    shutil.rmtree(path, ignore_errors=True)
    make_maildir(path)
    for number in range(count):
        os.link(f"/data/pool/{number}", f"{path}/cur/{name(number, wire_hints(number) if hints else '')}:2,S")
    write(f"{path}/made", "")


def copy_maildir(path, count):
    """A maildrop that shares no file, to be emptied."""
    shutil.rmtree(path, ignore_errors=True)
    make_maildir(path)
    for number in range(count):
        target = f"{path}/cur/{name(number)}:2,S"
        shutil.copyfile(f"/data/pool/{number}", target)
        os.chown(target, UID, UID)
    sync(path)


def sync(path):
    subprocess.run(["sync", "-f", path], check=True)


def link_one(path, source):
    """A maildrop of one message, the given file."""
    if os.path.isfile(f"{path}/made"):
        return
    shutil.rmtree(path, ignore_errors=True)
    make_maildir(path)
    os.link(source, f"{path}/cur/{name(1)}:2,S")
    write(f"{path}/made", "")


def deliver(path, number):
    """One more message, as an MDA brings it."""
    text = message(number)
    temporary = f"{path}/tmp/{name(number)}"
    with open(temporary, "wb") as file:
        file.write(text)
        os.fchown(file.fileno(), UID, UID)
    os.rename(temporary, f"{path}/new/{name(number)}")
    return text


def make_mbox(path, numbers_or_files):
    """The same messages as one mbox, as popa3d wants it."""
    if os.path.isfile(path):
        return
    with open(path + ".tmp", "wb") as box:
        for source in numbers_or_files:
            box.write(b"From sender@example.net Mon Nov  2 08:00:00 2026\n")
            with open(source, "rb") as file:
                while piece := file.read(1 << 22):
                    box.write(piece)
            box.write(b"\n")
        os.fchown(box.fileno(), UID, 8)
        os.fchmod(box.fileno(), 0o660)
    os.rename(path + ".tmp", path)


BIG = 200 * 1000 * 1000     # octets stored
BIG_SHAPES = {              # one unit, repeated
    "base64": LINE.encode() + b"\n",
    "crlf": LINE.encode() + b"\r\n",
    "long": b"x" * 65535 + b"\n",
    "dots": b"." + LINE.encode()[1:] + b"\n",
    "short": b"ab\n",
}


def make_big(shape):
    """One large message of one kind of lines; the octets stored and on the wire, dots stuffed."""
    path = f"/data/big-{shape}"
    unit = BIG_SHAPES[shape]
    head = message(1, 900)
    if shape == "crlf":
        head = head.replace(b"\n", b"\r\n")
    count = (BIG - len(head)) // len(unit)
    if not os.path.isfile(path) or os.stat(path).st_size != len(head) + count * len(unit):
        many = unit * (4194304 // len(unit))
        with open(path, "wb") as file:
            file.write(head)
            for _ in range(count * len(unit) // len(many)):
                file.write(many)
            file.write(unit * ((count * len(unit) % len(many)) // len(unit)))
            os.fchown(file.fileno(), UID, UID)
        sync(path)
    stuffed = count if shape == "dots" else 0
    bare = 0 if shape == "crlf" else count
    return len(head) + count * len(unit), wire_octets(head) + count * len(unit) + bare, stuffed
