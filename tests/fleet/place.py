"""
place.py - a fleet on one machine: three nodes, a balancer, and a file system that the nodes share.

Each of the four is a set of namespaces of its own (mounts, network, names, processes) on two
bridges: the inner network, 10.90.0.0/24, by which HAProxy and the clients come, and the storage
network, 10.91.0.0/24. What runs on them are the real programs with the shipped files, in which
only the addresses are others. The clients speak from where this runs.

Runs in:   tests/fleet/run.py, as root, in namespaces that end with it and take all with them.
May touch: build/fleet, and what it mounts over the machine's own folders for itself.
"""
import os
import re
import shutil
import signal
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TREE = os.path.dirname(os.path.dirname(HERE))
FLEET = f"{TREE}/build/fleet"
INSIDE = "POP3D_FLEET_INSIDE"

USERS, PASSWORD = 30, "secret"
FIRST_UID = 6000
MAIL = "/srv/mail"
NODES = (1, 2, 3)
BALANCER = "10.90.0.10"
CLIENTS = [f"10.90.0.{number}" for number in range(101, 113)]
ONLY = 9000             # port of the balancer that leads to node N alone: 9000 + N

# Process 1 of each: it waits for those that have lost their parent.
INIT = """
import os, time
open("/run/is-up", "w").close()
while True:
    try:
        os.wait()
    except ChildProcessError:
        time.sleep(0.05)
"""

FURNISH = """
set -e
hostname {name}
mount -t tmpfs -o mode=755 none /run
mkdir -p /run/haproxy /run/lock
mount -t tmpfs -o mode=755 none /srv
mkdir -p /srv/mail /srv/log
{storage}
mount -t tmpfs -o mode=755 none {folder}/dev
for device in null zero full random urandom tty fuse loop-control loop0; do
    [ ! -e /dev/$device ] || cp -a /dev/$device {folder}/dev/
done
mkdir {folder}/dev/pts {folder}/dev/shm
ln -s /proc/self/fd {folder}/dev/fd
mount --bind {folder}/dev /dev
exec python3 -c "$0"
"""


def run(*command, **more):
    return subprocess.run(command, check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL,
                          **more).stdout


def enter():
    """Runs this program again in namespaces of its own, once."""
    if INSIDE not in os.environ:
        os.environ[INSIDE] = "yes"
        os.execvp("unshare", ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc",
                              "--propagation", "private", sys.executable, "-B", *sys.argv])


class Machine:
    """One of the fleet: a node or the balancer."""

    def __init__(self, name, number):
        self.name, self.number, self.folder = name, number, f"{FLEET}/{name}"

    def start(self, storage=""):
        """With what the storage wants to have done first, in the words of a shell."""
        for part in ("brick", "glusterd", "log", "dev", "xinetd.d"):
            os.makedirs(f"{self.folder}/{part}")
        script = FURNISH.format(name=self.name, folder=self.folder, storage=storage.format(folder=self.folder))
        self.holder = subprocess.Popen(["unshare", "--mount", "--net", "--uts", "--pid", "--fork", "--kill-child",
                                        "--mount-proc", "--propagation", "private", "sh", "-c", script, INIT],
                                       stdin=subprocess.DEVNULL)
        children = f"/proc/{self.holder.pid}/task/{self.holder.pid}/children"
        while not (text := open(children).read()):
            time.sleep(0.02)
        self.first = text.split()[0]
        while not os.path.exists(f"/proc/{self.first}/root/run/is-up"):
            if self.holder.poll() is not None:
                raise OSError(f"{self.name} does not come up")
            time.sleep(0.02)
        self.run("ip link set lo up")
        self.join("front", f"10.90.0.{self.number}/24")
        self.daemon("socat -u UNIX-RECV:/dev/log,mode=666 OPEN:/srv/log/mail,creat,append")

    def join(self, bridge, address):
        link = f"{bridge[0]}{self.number}"
        run("ip", "link", "add", link, "type", "veth", "peer", "name", bridge, "netns", self.first)
        run("ip", "link", "set", link, "master", f"br-{bridge}", "up")
        self.run(f"ip addr add {address} dev {bridge}; ip link set {bridge} up")

    def cut(self, bridge, is_cut=True):
        """Takes the machine off one of the networks, or puts it back."""
        run("ip", "link", "set", f"{bridge[0]}{self.number}", "down" if is_cut else "up")

    def inside(self, script):
        return ["nsenter", "-t", self.first, "-m", "-n", "-u", "-p", "--", "sh", "-c", script]

    def run(self, script):
        done = subprocess.run(self.inside(script), capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if done.returncode != 0:
            raise OSError(f"{self.name}: {script}: {done.stdout}{done.stderr}")
        return done.stdout

    def try_to(self, script, seconds=10):
        """Whether it worked; what hangs has not."""
        try:
            return subprocess.run(self.inside(script), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                  stderr=subprocess.DEVNULL, timeout=seconds).returncode == 0
        except subprocess.TimeoutExpired:
            return False

    def daemon(self, command):
        return subprocess.Popen(self.inside(f"exec {command}"), stdin=subprocess.DEVNULL,
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def log(self):
        path = f"/proc/{self.first}/root/srv/log/mail"
        return open(path, errors="replace").read() if os.path.exists(path) else ""

    def processes(self, name):
        """The numbers, as they are seen from here, of this machine's processes of a name."""
        here, found = os.readlink(f"/proc/{self.first}/ns/pid"), []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/comm") as file:
                    if file.read().strip() == name and os.readlink(f"/proc/{pid}/ns/pid") == here:
                        found.append(int(pid))
            except FileNotFoundError:
                pass                    # it has ended
        return found

    def end_all(self, name):
        kill(self.processes(name))


def kill(pids):
    """Kills them at once, for moments count; who has ended by himself is left out."""
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


class Node(Machine):
    def __init__(self, name, number, storage):
        super().__init__(name, number)
        self.storage = storage

    def serve(self, program=None):
        """xinetd with the shipped files of a node, as nodes.md has them put in place."""
        self.stop_serving()
        for source, name in ((program or f"{TREE}/pop3d", "pop3d"), (f"{TREE}/xinetd.d/pop3-alive.sh", "pop3-alive")):
            shutil.copy(source, f"{self.folder}/{name}")
            os.chmod(f"{self.folder}/{name}", 0o755)
        for name in ("pop3-node", "pop3-alive"):
            with open(f"{TREE}/xinetd.d/{name}") as file:
                text = file.read()
            for old, new in (("10.0.0.11", f"10.90.0.{self.number}"), ("10.0.0.1 10.0.0.2", BALANCER),
                             ("/usr/local/sbin/pop3-alive", f"{self.folder}/pop3-alive"),
                             ("/usr/local/sbin/pop3d", f"{self.folder}/pop3d")):
                text = text.replace(old, new)
            with open(f"{self.folder}/xinetd.d/{name}", "w") as file:
                file.write(text)
        with open(f"{self.folder}/xinetd.conf", "w") as file:
            file.write(f"defaults\n{{\n}}\nincludedir {self.folder}/xinetd.d\n")
        self.run(f"xinetd -f {self.folder}/xinetd.conf -pidfile /run/xinetd.pid")

    def stop_serving(self):
        self.try_to("kill $(cat /run/xinetd.pid) && rm /run/xinetd.pid && sleep 0.3")

    def mount(self, **settings):
        self.storage.mount(self, **settings)

    def unmount(self):
        self.try_to(f"umount -l {MAIL}")

    def brick_pid(self):
        return self.run("cat /run/gluster/vols/mail/*.pid").strip()


def hash_of(password):
    return run("openssl", "passwd", "-6", "-salt", "rounds=1000$fleet", password).strip()


def make_accounts():
    """The same on all; a copy of /etc is put over it for what runs here."""
    etc = f"{FLEET}/etc"
    shutil.copytree("/etc", etc, symlinks=True)
    secret = hash_of(PASSWORD)
    numbers = range(1, USERS + 1)
    for name, lines in (
            ("passwd", [f"u{n}:x:{FIRST_UID + n}:{FIRST_UID + n}::{MAIL}/u{n}:/usr/sbin/nologin" for n in numbers]),
            ("group", [f"u{n}:x:{FIRST_UID + n}:" for n in numbers]),
            ("shadow", [f"u{n}:{secret}:19000:0:99999:7:::" for n in numbers]),
            ("hosts", [f"10.91.0.{n} node{n}" for n in NODES])):
        with open(f"{etc}/{name}", "a") as file:
            file.write("\n".join(lines) + "\n")
    with open(f"{etc}/passwd", "r+") as file:
        if "\npop3d:" not in file.read():
            file.write("pop3d:x:5999:65534::/nonexistent:/usr/sbin/nologin\n")
    shutil.copy(f"{TREE}/xinetd.d/pop3.pam", f"{etc}/pam.d/pop3")
    run("mount", "--bind", etc, "/etc")


def balance(balancer):
    """HAProxy with the shipped file for several nodes, and a port for each node alone."""
    key, certificate = f"{FLEET}/key", f"{FLEET}/certificate"
    run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "9", "-subj", "/CN=fleet",
        "-keyout", key, "-out", certificate)
    pem = open(certificate).read() + open(key).read()
    with open(f"{FLEET}/pop3s.pem", "w") as file:
        file.write(pem)
    with open(f"{TREE}/xinetd.d/haproxy-nodes.cfg") as file:
        text = file.read()
    text = re.sub(r"10\.0\.0\.1([123])\b", r"10.90.0.\1", text).replace("/etc/haproxy/pop3s.pem", f"{FLEET}/pop3s.pem")
    # all clients of a test come from one address
    text = re.sub(r"gt (40|200)\b", r"gt \g<1>0", text)
    for node in NODES:
        text += f"\nfrontend only{node}\n        bind 0.0.0.0:{ONLY + node} ssl crt {FLEET}/pop3s.pem\n" \
                f"        default_backend only{node}\nbackend only{node}\n" \
                f"        server node{node} 10.90.0.{node}:302 send-proxy-v2-ssl\n"
    with open(f"{FLEET}/haproxy.cfg", "w") as file:
        file.write(text)
    balancer.run("mkdir -p /var/lib/haproxy")
    balancer.run(f"haproxy -D -p /run/haproxy.pid -f {FLEET}/haproxy.cfg")


def ask_balancer(balancer, command):
    return balancer.run(f"echo '{command}' | socat - UNIX-CONNECT:/run/haproxy/admin.sock")


def until(condition, seconds, what):
    """Seconds until it holds; a failure after so many."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > seconds:
            raise OSError(f"{what}: not within {seconds} s")
        time.sleep(0.1)
    return time.monotonic() - began


class Fleet:
    def __init__(self, storage):
        self.storage = storage
        os.makedirs(FLEET, exist_ok=True)
        for name in os.listdir(FLEET):
            shutil.rmtree(f"{FLEET}/{name}", ignore_errors=True)
        for folder in (*storage.folders, "/var/lib/haproxy"):
            os.makedirs(folder, exist_ok=True)
        make_accounts()
        run("ip", "link", "set", "lo", "up")
        for bridge in ("front", "store"):
            run("ip", "link", "add", f"br-{bridge}", "type", "bridge")
            run("ip", "link", "set", f"br-{bridge}", "up")
        run("ip", "addr", "add", "10.90.0.100/24", "dev", "br-front")
        for address in CLIENTS:
            run("ip", "addr", "add", f"{address}/24", "dev", "br-front")
        self.nodes = [Node(f"node{number}", number, storage) for number in NODES]
        self.balancer = Machine("balancer", 10)
        for machine in [*self.nodes, self.balancer]:
            machine.start(storage.furnish)
        for node in self.nodes:
            node.join("store", f"10.91.0.{node.number}/24")
        storage.make(self.nodes)
        for node in self.nodes:
            node.mount()
        self.nodes[0].run(f"install -d -m 1777 {MAIL}/.alive")
        for node in self.nodes:
            # a server of NFS that has just begun lets nobody write until its grace time is over
            until(lambda: node.try_to(f"date >{MAIL}/.alive/begun"), 60, "a file that can be written")
            node.serve()
        balance(self.balancer)

    def node(self, number):
        return self.nodes[number - 1]

    def states(self):
        """node name: UP, UP 3/4 (checks have begun to fail), DOWN, DRAIN, as the balancer sees it."""
        text = ask_balancer(self.balancer, "show stat")
        rows = [line.split(",") for line in text.splitlines() if line.startswith("pop3d,node")]
        return {row[1]: row[17] for row in rows}

    def stop(self):
        self.storage.stop()
        for machine in [*self.nodes, self.balancer]:
            machine.holder.send_signal(signal.SIGKILL)
