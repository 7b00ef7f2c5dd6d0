#!/usr/bin/python3
"""
run.py - faults as data: each is set up on a machine of its own, named by `pop3d -c`, and mended by what it says.

    python3 tests/evenings/run.py                   all of them, two at a time
    python3 tests/evenings/run.py maildir sound/    those with one of these words in their names
    python3 tests/evenings/run.py -v maildrop-link  also what the check said
    python3 tests/evenings/run.py --turn N          the third whose turn it is
    python3 tests/evenings/run.py -l                their names, and what each is about

A file faults/NAME.toml is one fault, as an administrator meets it; sound/NAME.toml is an installation that nothing
is wrong with. NAME begins with the layer: xinetd-, inetd-, systemd-, stunnel-, haproxy-, tls-, net-, pam-, login-,
maildrop-, two- (two faults at once). What may stand in it:

    about = "disable = yes: the service is switched off"
    setup = "..."           # shell (machine.sh has functions for it), as root; the machine is a fresh one: pop3d as
                            # `make install` leaves it, xinetd not yet started, users alice, bob (one message each), vmail
    clients = ["here 110"]  # how users come, and this is the default: all must fail before the remedy, and fetch after it.
                            # here, here6: over loopback; own, own6: from this machine to 192.0.2.1, 2001:db8::1;
                            # elsewhere, elsewhere6: to these from another machine; balancer: from this machine to the
                            # other one, for what it passes on to here. Then port; then tls or stls
    article = "..."         # the step of the old articles that this is; tests/system/listed.py has them all
    user = "alice"          # who comes, and who is looked at: the default
    fails = false           # the fault is latent: clients fetch before the remedy as well
    options = ["-q"]        # more options for -c
    password = true         # the user's password is waiting on the check's standard input; or a wrong one, as a text
    status = 2              # the check's exit status, where it is not what the named rows ask for
    packages = ["popa3d"]   # unpacked, not installed: $PACKAGES/popa3d
    beside = ["port"]       # rows that may be loud too. All others, that are not named, must keep quiet; only that
                            # "nothing known does [TLS] in front" is always allowed

    [[named]]               # one for each row that must be there; without any in faults/ the file is wrong
    row = "launcher"
    state = "fail"          # this is the default; "fail|warn": either
    words = ["/etc/xinetd.d/pop3", "disable = yes"]         # all in this row, in any case
    remedy = "disable = no" # words of its remedy
    table = "fail launcher ... switched off"                # the row of the README's table that it is; NAME, FILE, PATH, N
                            # stand for a word, ... for many

    [remedy]
    does = "..."            # shell: what the remedy says, to the letter. Then the clients must fetch, and no row that
                            # was named may be there any more

Runs in:   a namespace for each file, as root.
May touch: see ../launch/common.py, whose machine this is.
"""
import argparse
import concurrent.futures
import glob
import os
import re
import subprocess
import sys
import tempfile
import tomllib

HERE = os.path.dirname(os.path.abspath(__file__))
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "launch"))

import common
from common import Failure, Skip, check, run

AT_ONCE = 2
SECONDS = 120                           # within which a file must end
KEYS = {"about", "article", "setup", "clients", "user", "fails", "options", "password", "status", "packages", "beside", "named", "remedy"}
PLACES = {"here": "127.0.0.1", "here6": "::1", "own": common.SERVER, "own6": common.SERVER6,
          "elsewhere": common.SERVER, "elsewhere6": common.SERVER6, "balancer": common.CLIENT}
SEVERITY = {"ok": 0, "skip": 0, "warn": 1, "fail": 2}


class Machine(common.World):
    """The machine of the launchers' tests, with a second one on its network."""

    def network(self):
        self.other = subprocess.Popen(["unshare", "-n", "sleep", "600"])
        run("ip", "link", "set", "lo", "up")
        while os.readlink(f"/proc/{self.other.pid}/ns/net") == os.readlink("/proc/self/ns/net"):
            pass
        run("ip", "link", "add", "mail0", "type", "veth", "peer", "name", "eth0", "netns", str(self.other.pid))
        for where, device, address, address6 in ((), "mail0", common.SERVER, common.SERVER6), \
                (self.elsewhere(), "eth0", common.CLIENT, common.CLIENT6):
            run(*where, "ip", "address", "add", f"{address}/24", "dev", device)
            run(*where, "ip", "address", "add", f"{address6}/64", "dev", device, "nodad")
            run(*where, "ip", "link", "set", device, "up")
        run(*self.elsewhere(), "ip", "link", "set", "lo", "up")
        run("hostname", "mailhost")

    def elsewhere(self):
        """What makes of a command one that runs on the other machine."""
        return ("nsenter", "-t", str(self.other.pid), "-n")

    def accounts(self):
        super().accounts()
        for user in ("alice", "bob"):
            common.deliver(user, b"From: bob@example.org\nSubject: one\n\nHello\n")
        common.write("/etc/hosts", "127.0.0.1 localhost\n::1 localhost\n"
                     f"{common.SERVER} mailhost.example.org mailhost\n{common.CLIENT} desk.example.org\n")
        self.reset()

    def shell(self, text):
        environment = {**os.environ, "ROOM": common.ROOM, "DOCS": common.DOCS, "PASSWORD": common.PASSWORD,
                       "OTHER": str(self.other.pid), "PACKAGES": f"{common.TREE}/build/packages"}
        done = subprocess.run(["/bin/bash", "-euc", f". {HERE}/machine.sh\n{text}"], env=environment, cwd="/",
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        check(done.returncode == 0, f"status {done.returncode} of:\n{text}\n{done.stdout}")

    def fetch(self, user, client):
        """What a client is told, or None if it could read its first message."""
        place, port, how = (client.split() + ["clear"])[:3]
        where = self.elsewhere() if place.startswith("elsewhere") else ()
        done = subprocess.run([*where, "/usr/bin/python3", "-B", f"{HERE}/client.py", PLACES[place], port, how, user,
                               common.PASSWORD, f"{common.ROOM}/certificate"], capture_output=True, text=True)
        return None if done.returncode == 0 else (done.stdout + done.stderr).strip().split("\n")[-1]


class Said:
    """What `pop3d -c` says: its rows, each a list of state, row, text, cause and remedy."""

    def __init__(self, fault):
        password = fault.get("password", "")
        given = common.PASSWORD if password is True else password
        done = subprocess.run(["/usr/local/sbin/pop3d", "-c", *fault.get("options", []), fault["user"]],
                              input=given and given + "\n", capture_output=True, text=True, timeout=SECONDS)
        self.text, self.status = done.stdout + done.stderr, done.returncode
        lines = done.stdout.split("\n")[1:-2]
        self.rows = [(line.split("\t") + [""] * 5)[:5] for line in lines]
        for row in self.rows:
            check(row[0] in SEVERITY, f"no row: {row}\n{self.text}")
        worst = max((SEVERITY[row[0]] for row in self.rows), default=0)
        check(self.status == worst and not done.stderr, f"the status is {self.status}, not {worst}, or stderr is not empty:\n{self.text}")

    def find(self, named):
        """The row that is told of, or None."""
        for row in self.rows:
            words = " ".join(row[2:]).lower()
            if row[0] in named.get("state", "fail").split("|") and re.sub(r" \d+$", "", row[1]) == re.sub(
                    r" \d+$", "", named["row"]) and all(word.lower() in words for word in named.get("words", [])):
                return row
        return None


def pattern_of(cell):
    """What a row of the README's table stands for."""
    words = re.split(r"\b(NAME|FILE|PATH|N)\b|(\.\.\.) ?", re.sub(" +", " ", cell))
    return re.compile("".join({"...": ".*"}.get(word, r"\S+" if word in ("NAME", "FILE", "PATH", "N") else re.escape(word))
                              for word in words if word))


def judge(fault, said):
    """Each row that must be there is, with its remedy; no other is loud."""
    told = []
    for named in fault.get("named", []):
        row = said.find(named)
        check(row is not None, f"not named: {named}")
        check(named.get("remedy", "").lower() in row[4].lower(), f"the remedy should have {named.get('remedy')!r}: {row[4]}")
        if "table" in named:
            check(pattern_of(named["table"]).match(" ".join(row)), f"the README's `{named['table']}` is not {row}")
        told.append(row)
    for row in said.rows:
        loud = SEVERITY[row[0]] > 0 and row not in told and row[1] not in fault.get("beside", [])
        check(not loud or (row[1] == "TLS" and row[2].startswith("nothing known does it in front")), f"a false alarm: {row}")
    if "status" in fault:
        check(said.status == fault["status"], f"the status is {said.status}")


def come(machine, fault, works, when):
    for client in fault["clients"]:
        trouble = machine.fetch(fault["user"], client)
        check((trouble is None) == works, f"{when} the client `{client}` " + (trouble or "can fetch"))


def play(machine, fault, tell):
    is_sound = not fault.get("named")
    machine.shell(fault["setup"])
    come(machine, fault, is_sound or not fault.get("fails", True), "before")
    said = Said(fault)
    tell(said.text)
    judge(fault, said)
    if "remedy" not in fault:
        return
    machine.shell(fault["remedy"]["does"])
    come(machine, fault, True, "after the remedy")
    again = Said(fault)
    tell(again.text)
    for named in fault["named"]:
        check(again.find(named) is None, f"it is mended, yet still told:\n{again.text}")


def read(path):
    with open(path, "rb") as file:
        fault = tomllib.load(file)
    check(set(fault) <= KEYS and "about" in fault and "setup" in fault, f"keys: {set(fault) ^ KEYS}")
    for named in fault.get("named", []):
        check(set(named) <= {"row", "state", "words", "remedy", "table"} and "row" in named, f"keys: {named}")
    check(bool(fault.get("named")) == ("/faults/" in path), "a fault has [[named]], what is sound has none")
    check(set(fault.get("remedy", {})) <= {"does"}, "[remedy] has does, and no more")
    return {"clients": ["here 110"], "user": "alice", **fault}


def one(path):
    """In the namespace of one file. Exits with 0, 1 or 77."""
    os.environ["PATH"] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    os.environ["LC_ALL"] = "C.UTF-8"
    texts = []
    try:
        play(Machine(), read(path), texts.append)
    except Skip as skip:
        print(skip)
        return 77
    except Failure as failure:
        print(f"{failure}\n" + "\n".join(texts))
        return 1
    print("\n".join(texts))
    return 0


def start(path):
    """(status, output) of one file."""
    fault = read(path)
    for package in fault.get("packages", []):
        try:
            common.fetch_package(package)
        except Skip as skip:
            return 77, str(skip)
    command = ["unshare", "-mnpuf", "--kill-child", "--mount-proc", "--propagation", "private", sys.executable, "-B",
               os.path.abspath(__file__), "--one", path]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, errors="replace", timeout=SECONDS)
    except subprocess.TimeoutExpired as late:
        return 1, f"not at its end after {SECONDS} seconds\n{late.stdout}"
    return done.returncode, done.stdout


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[1])
    parser.add_argument("words", nargs="*")
    parser.add_argument("-l", "--list", action="store_true")
    parser.add_argument("-v", "--verbose", action="store_true")
    parser.add_argument("--turn", type=int)
    parser.add_argument("--one")
    arguments = parser.parse_args()
    if arguments.one:
        return one(arguments.one)
    paths = [path for path in sorted(glob.glob(f"{HERE}/faults/*.toml") + glob.glob(f"{HERE}/sound/*.toml"))
             if not arguments.words or any(word in os.path.relpath(path, HERE) for word in arguments.words)]
    if arguments.turn is not None:
        paths = paths[arguments.turn % 3::3]
    names = [os.path.relpath(path, HERE)[:-len(".toml")] for path in paths]
    if arguments.list or os.geteuid() != 0:
        for name, path in zip(names, paths):
            print(f"{name}: {read(path)['about']}" if arguments.list else f"ok {name} # skipped: needs root")
        print(f"0 passed, 0 failed, {len(names)} skipped")
        return 0
    run("make", "-s", "-C", common.TREE)
    common.unpack_packages({package for path in paths for package in read(path).get("packages", [])})
    count = {0: 0, 1: 0, 77: 0}
    installed = tempfile.TemporaryDirectory()
    os.environ[common.INSTALLED] = f"{installed.name}/root"
    run("make", "-s", "-C", common.TREE, "install", f"DESTDIR={installed.name}/root")
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        for name, (status, output) in zip(names, pool.map(start, paths)):
            status = status if status in count else 1
            count[status] += 1
            first, _, rest = output.partition("\n")
            print({0: f"ok {name}", 77: f"ok {name} # skipped: {first}"}.get(status, f"not ok {name} - {first}\n{rest}"), flush=True)
            if status == 0 and arguments.verbose:
                print(output)
    print(f"{count[0]} passed, {count[1]} failed, {count[77]} skipped")
    return 1 if count[1] or not paths else 0


if __name__ == "__main__":
    sys.exit(main())
