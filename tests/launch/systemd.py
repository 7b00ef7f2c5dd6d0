#!/usr/bin/python3
"""
systemd.py - the shipped units under a real systemd, process 1 of namespaces of its own.

Runs in:   namespaces of its own, as root.
May touch: see common.py; a cgroup of its own.
"""
import glob
import os
import pty
import re
import shutil
import stat
import subprocess
import time

import common
import launchers
import pam
import tls
from common import (ACCOUNTS, CLIENT, DOCS, PASSWORD, ROOM, SERVER, Client, Failure, Skip, check, need,
                    read_text, run, shipped, write)

UNITS = "/etc/systemd/system"
SYSTEMD = "/lib/systemd/systemd"
SYSTEMCTL = "/bin/systemctl"
# what every unit wants to have had, and what the units are enabled for; nothing in them
TARGETS = ("sysinit", "basic", "sockets", "multi-user", "shutdown", "paths", "timers", "launch")


class Machine:
    """A systemd that knows the units of /etc/systemd/system alone, in the world of the test."""

    def __init__(self, world):
        need(SYSTEMCTL)
        if not os.path.exists(SYSTEMD):
            raise Skip("systemd is not installed")
        for path in glob.glob(f"{UNITS}/*"):
            shutil.rmtree(path) if os.path.isdir(path) and not os.path.islink(path) else os.unlink(path)
        # where a unit with devices of its own finds /dev/log
        if not os.path.exists("/run/systemd/journal/dev-log"):
            write("/run/systemd/journal/dev-log", "")
            run("mount", "--bind", "/dev/log", "/run/systemd/journal/dev-log")
        for name in TARGETS:
            write(f"{UNITS}/{name}.target", f"[Unit]\nDescription={name}\nDefaultDependencies=no\n")
        self.process = world.start(
            "unshare", "-m", "-p", "-f", "-u", "-i", "-C", "--kill-child", "--mount-proc", "/bin/sh", "-ec",
            "mount -t tmpfs tmpfs /sys/fs/cgroup; mount -t cgroup2 cgroup2 /sys/fs/cgroup; "
            f"exec env -i container=lxc SYSTEMD_UNIT_PATH={UNITS} PATH=$PATH {SYSTEMD} --system "
            "--log-target=console --log-level=info --unit=launch.target")
        self.pid = None
        wait_for(self.is_up, "systemd does not come up: ")

    def is_up(self):
        if self.process.poll() is not None:
            said = read_text(f"{ROOM}/launcher.log")[-300:]
            raise Skip(f"systemd cannot be process 1 here: {said}")
        if self.pid is None:
            children = read_text(f"/proc/{self.process.pid}/task/{self.process.pid}/children").split()
            self.pid = int(children[0]) if children else None
        return os.path.exists("/run/systemd/private") and self.enter(SYSTEMCTL, "is-active", "launch.target")

    def enter(self, *command):
        """Whether the command, run beside systemd, succeeds."""
        return subprocess.run(self.beside(*command), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL).returncode == 0

    def beside(self, *command):
        return ["nsenter", "-t", str(self.pid), "-m", "-p", "-u", "-i", "-C", "--", *command]

    def systemctl(self, *words):
        return run(*self.beside(SYSTEMCTL, *words))


    def main_process(self, unit):
        """The number of a unit's main process, as it is seen from here."""
        inner = self.systemctl("show", "-P", "MainPID", unit).strip()
        for path in glob.glob("/proc/[0-9]*/status"):
            if re.search(rf"(?m)^NSpid:.*\t{inner}$", read_text(path)):
                return int(path.split("/")[2])
        raise Failure(f"{unit} has no process {inner}")

    def session_of(self, unit):
        """The one instance of this unit that runs."""
        listed = self.systemctl("list-units", "--plain", "--no-legend", f"{unit}@*.service").split("\n")
        check(len(listed) == 2, f"sessions of {unit}: {listed}")
        return listed[0].split()[0]


def wait_for(condition, why, seconds=15):
    end = time.monotonic() + seconds
    while not condition():
        check(time.monotonic() < end, why + read_text(f"{ROOM}/launcher.log")[-1500:])
        time.sleep(0.05)


def install(*names):
    for name in names:
        shipped(name, f"{UNITS}/{name}")


# which program's options each of the units gives
SERVICES = {"pop3d@.service": "", "pop3d-stunnel@.service": " -x -S", "pop3d-haproxy@.service": " -x"}


def test_units_are_sound(world):
    """systemd-analyze finds nothing to say of any unit."""
    names = [os.path.basename(path) for pattern in ("*.service", "*.socket", "*.slice") for path in glob.glob(f"{DOCS}/{pattern}")]
    check(len(names) >= 7, f"{names}")
    install(*names)
    run("install", "-m", "755", f"{DOCS}/nfs-lost.sh", "/usr/local/sbin/nfs-lost")
    for name in [name for name in names if "@." in name]:
        write(f"{UNITS}/{name.replace('@.', '@test.')}", read_text(f"{DOCS}/{name}"))
    said = run(need("systemd-analyze"), "verify", "--man=no",
               *[f"{UNITS}/{name.replace('@.', '@test.')}" for name in names])
    check("pop3d" not in said, said)


def exposure(path):
    said = run(need("systemd-analyze"), "security", "--offline=yes", path)
    return float(re.search(r"Overall exposure level for \S+: ([\d.]+)", said)[1])


def test_units_are_well_fenced(world):
    """Better than 2.9, and PAM's modules keep the network; stunnel exec's drop-in takes away as much."""
    for name in SERVICES:
        text = read_text(f"{DOCS}/{name}")
        level = exposure(write_unit(name.replace("@.", "@test."), text))
        check(level < 2.9, f"{name}: exposure {level}")
        for word in ("PrivateNetwork", "IPAddressDeny", "PrivateUsers"):
            check(word not in text, f"{name} takes the network or the accounts from PAM's modules: {word}")
        check("AF_INET AF_INET6 AF_NETLINK" in text, f"{name} does not let modules use the network")
    level = exposure(write_unit("pop3d-alive@test.service", read_text(f"{DOCS}/pop3d-alive@.service")))
    check(level < 1.5, f"pop3d-alive@.service: exposure {level}")
    bare = read_text("/lib/systemd/system/stunnel@.service")
    without = exposure(write_unit("stunnel@test.service", bare))
    fenced = exposure(write_unit("stunnel@test.service", bare + read_text(f"{DOCS}/stunnel-exec-unit.conf")))
    check(without > 8 and fenced < 3.2, f"stunnel: {without} without the drop-in, {fenced} with it")


def check_is_content(*words):
    """pop3d -c finds nothing to say of what is set up, but that TLS is missing where it is."""
    done = subprocess.run(["/usr/local/sbin/pop3d", "-c", "alice"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    loud = [line for line in done.stdout.split("\n") if line.startswith(("warn", "fail")) and
            "nothing known does it in front" not in line]
    check(done.returncode != 2 and not loud, f"status {done.returncode}, {loud}")
    for word in words:
        check(word in done.stdout, f"it does not speak of {word}: {done.stdout}")


def write_unit(name, text):
    write(f"{UNITS}/{name}", text)
    return f"{UNITS}/{name}"


def test_the_services_are_alike(world):
    """What is mended in one of them is mended in all: they differ in their options and titles."""
    def rest(name):
        lines = read_text(f"{DOCS}/{name}").split("\n[Unit]\n")[1].split("\n")
        return [line for line in lines if not line.startswith(("Description=", "ExecStart="))]
    for name, options in SERVICES.items():
        check(rest(name) == rest("pop3d@.service"), f"{name} differs from pop3d@.service")
        check(f"\nExecStart=-/usr/local/sbin/pop3d{options}\n" in read_text(f"{DOCS}/{name}"), f"{name}'s options")


def test_the_socket_on_port_110(world):
    machine = Machine(world)
    os.unlink("/etc/xinetd.d/pop3")
    install("pop3d.socket", "pop3d@.service", "pop3d.slice")
    machine.systemctl("enable", "--now", "pop3d.socket")
    world.clear_text_port()
    check_is_content("pop3d.socket")


def test_limits_of_the_socket(world):
    """Of one address two may be open, and then others still are served."""
    machine = Machine(world)
    install("pop3d@.service", "pop3d.slice")
    text = read_text(f"{DOCS}/pop3d.socket")
    check(re.search("(?m)^MaxConnectionsPerSource=[1-9]", text), "no limit per source")
    write(f"{UNITS}/pop3d.socket", re.sub("(?m)^MaxConnectionsPerSource=.*", "MaxConnectionsPerSource=2", text))
    machine.systemctl("start", "pop3d.socket")
    held = [Client(SERVER, 110, CLIENT), Client(SERVER, 110, CLIENT)]
    check(tls.is_closed(SERVER, 110, CLIENT), "a third connection of one address is served")
    held.append(Client(SERVER, 110, "192.0.2.8"))
    for client in held:
        client.ask("QUIT", "+OK")


def test_limits_of_a_session(world):
    """The instance has the limits of its file, lies in the slice, and the slice has its own."""
    machine = Machine(world)
    install("pop3d.socket", "pop3d@.service", "pop3d.slice")
    machine.systemctl("start", "pop3d.socket")
    client = Client("127.0.0.1", 110)
    instance = machine.session_of("pop3d")
    pid = machine.main_process(instance)
    shown = dict(line.split("=", 1) for line in machine.systemctl("show", instance).strip().split("\n"))
    check(shown["Slice"] == "pop3d.slice" and "pop3d.slice" in shown["ControlGroup"], f"it is in {shown['Slice']}")
    check(shown["MemoryMax"] == str(512 << 20) and shown["TasksMax"] == "16" and shown["OOMPolicy"] == "continue",
          f"{shown['MemoryMax']} {shown['TasksMax']} {shown['OOMPolicy']}")
    check("pop3d.slice" in read_text(f"/proc/{pid}/cgroup"), "its process is elsewhere")
    shown = dict(line.split("=", 1) for line in machine.systemctl("show", "pop3d.slice").strip().split("\n"))
    check(shown["MemoryMax"].isdigit() and shown["TasksMax"] == "1000", f"slice: {shown['MemoryMax']}")
    place = os.stat("/run/pop3d")
    check(stat.S_IMODE(place.st_mode) == 0o700 and place.st_uid == 0, "the folder of the places is not root's alone")
    client.ask("QUIT", "+OK")
    client.ended()
    wait_for(lambda: not os.path.exists(f"/proc/{pid}"), "the session does not end: ")
    check(os.path.isdir("/run/pop3d"), "the places are gone with the first session")


def test_faillock_with_the_capabilities_of_the_unit(world):
    """Tallies that root made, and one that belongs to the user."""
    machine = Machine(world)
    install("pop3d.socket", "pop3d@.service", "pop3d.slice")
    shipped("pop3-faillock.pam", "/etc/pam.d/pop3")
    os.makedirs("/run/faillock", exist_ok=True)
    machine.systemctl("start", "pop3d.socket")
    pam.faillock_locks_and_unlocks(world)
    with open("/run/faillock/alice", "w"):
        os.chown("/run/faillock/alice", ACCOUNTS["alice"], -1)
        os.chmod("/run/faillock/alice", 0o600)
    pam.faillock_locks_and_unlocks(world)


def readme():
    """The commands under "from nothing to a message fetched", and those that take their place without systemd."""
    text = read_text(f"{common.TREE}/README.md").split("from nothing to a\nmessage fetched:\n")[1]
    blocks = re.findall(r"(?:^    .*\n)+", text, re.M)
    return [[line for line in re.sub(r"\\\n", "", re.sub("(?m)^    ", "", block)).split("\n") if line]
            for block in blocks[:2]]


def tools(systemctl="exit 1", service="exit 1"):
    """What the README takes for granted and this room lacks: sudo, packages from the net, services."""
    folder = f"{ROOM}/tools"
    for name, text in {"sudo": 'exec "$@"', "apt-get": "shift 2; exec dpkg -s \"$@\"", "systemctl": systemctl,
                       "service": service}.items():
        write(f"{folder}/{name}", f"#!/bin/sh\n{text}\n")
        os.chmod(f"{folder}/{name}", 0o755)
    return f"{folder}:{os.environ['PATH']}"


def sources():
    """The tree, where commands leave nothing behind."""
    folder = f"{ROOM}/source"
    for name in ("up", "work", "tree"):
        os.makedirs(f"{folder}/{name}", exist_ok=True)
    run("mount", "-t", "overlay", "overlay", "-o", f"lowerdir={common.TREE},upperdir={folder}/up,workdir={folder}/work",
        f"{folder}/tree")
    return f"{folder}/tree"


def typed(world, commands, path):
    """Types the commands at a terminal, and alice's password where it is asked for; what is seen."""
    for left in glob.glob("/etc/stunnel/*"):
        os.unlink(left)
    place = sources()
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(place)
        os.execvpe("/bin/sh", ["/bin/sh", "-ec", "\n".join(commands)], {**os.environ, "PATH": path})
    seen, is_asked = "", False
    try:
        while (octets := os.read(terminal, 65536)) != b"":
            seen += octets.decode("latin-1")
            if not is_asked and "Enter host password for user 'alice':" in seen:
                is_asked = True
                world.await_listener(995)       # stunnel starts while somebody types
                os.write(terminal, PASSWORD.encode() + b"\n")
    except OSError:
        pass                            # the terminal's other end is closed
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    run("umount", "-l", place)
    shutil.rmtree(f"{ROOM}/source")
    # the certificate that the commands made is not that of the other tests
    os.unlink("/etc/stunnel/pop3s.pem")
    check(status == 0, f"status {status}: {seen[-1500:]}")
    return seen


def test_the_readme_s_way_to_pop3s(world):
    """From nothing to a message fetched, to the letter; then that nobody but stunnel is let through."""
    commands, _ = readme()
    check(len(commands) < 10 and "curl" in commands[-1], f"{len(commands)} commands")
    machine = Machine(world)
    shutil.copy("/lib/systemd/system/stunnel@.service", UNITS)
    name = common.deliver("alice", b"Subject: hello\n\nfrom nothing\n")
    seen = typed(world, commands, tools("exec " + " ".join(machine.beside(SYSTEMCTL)) + ' "$@"'))
    check(re.search(r"^1 \d+\r*$", seen, re.M), f"{name} is not listed: {seen[-600:]}")
    world.certificate()
    machine.systemctl("restart", "stunnel@pop3s")
    world.await_listener(995)
    common.empty("alice")
    world.secured_port()
    tls.is_powerless(machine.main_process("stunnel@pop3s"), "stunnel4")
    tls.closed_to_others(tls.SOCKET, "stunnel4")
    # what the README says for pop3s alone
    entry = read_text("/etc/xinetd.d/pop3")
    write("/etc/xinetd.d/pop3", entry.replace("disable         = no", "disable         = yes"))
    check_is_content("/run/pop3d-stunnel.sock")


def test_the_readme_s_way_without_systemd(world):
    """With xinetd: its other commands in place of the two before the last."""
    commands, instead = readme()
    xinetd = launchers.start_xinetd(world, 110)
    common.deliver("alice", b"Subject: hello\n\nfrom nothing\n")
    seen = typed(world, commands[:-3] + instead + commands[-1:] + ["kill $!"],
                 tools(service=f"exec kill -HUP {xinetd.pid}"))
    check(re.search(r"^1 \d+\r*$", seen, re.M), f"the message is not listed: {seen[-600:]}")


def test_stunnel_exec_with_its_drop_in(world):
    """All that pop3d needs is left: a login, a message, a removal; and what it need not have is gone."""
    machine = Machine(world)
    world.certificate()
    shutil.copy("/lib/systemd/system/stunnel@.service", UNITS)
    shipped("stunnel-exec.conf", "/etc/stunnel/pop3s.conf")
    shipped("stunnel-exec-unit.conf", f"{UNITS}/stunnel@pop3s.service.d/pop3d.conf")
    machine.systemctl("start", "stunnel@pop3s")
    world.await_listener(995)
    world.secured_port()
    pid = machine.main_process("stunnel@pop3s")
    *_, capabilities = common.numbers_of(pid)
    # DAC_OVERRIDE, DAC_READ_SEARCH, KILL, SETGID, SETUID, NET_BIND_SERVICE, SYS_CHROOT, AUDIT_WRITE
    kept = sum(1 << number for number in (1, 2, 5, 6, 7, 10, 18, 29))
    check(capabilities & ~kept == 0, f"it has the capabilities {capabilities:x}")
    check("\nNoNewPrivs:\t1\n" in read_text(f"/proc/{pid}/status"), "it can have new privileges")
    check("\nSeccomp:\t2\n" in read_text(f"/proc/{pid}/status"), "it has no seccomp filter")


def test_haproxy_through_its_socket(world):
    machine = Machine(world)
    os.unlink("/etc/xinetd.d/pop3")
    install("pop3d-haproxy.socket", "pop3d-haproxy@.service", "pop3d.slice")
    machine.systemctl("enable", "--now", "pop3d-haproxy.socket")
    shipped("haproxy.cfg", "/etc/haproxy/haproxy.cfg", [
        ("        server pop3d 127.0.0.1:302", "        #server pop3d 127.0.0.1:302"), ("#server pop3d unix@", "server pop3d unix@")])
    tls.haproxy(world)
    tls.haproxy_serves(world)
    tls.closed_to_others("/var/lib/haproxy/pop3d.sock", "haproxy")
    check_is_content("/etc/haproxy/haproxy.cfg")


if __name__ == "__main__":
    common.main()
