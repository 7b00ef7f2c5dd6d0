#!/usr/bin/python3
"""
fences.py - each fence is tried from inside the process that it surrounds.

A variant of pop3d, made by the linker out of the same objects, does in
AUTHORIZATION and in TRANSACTION what a process that was taken over would do.
It must not be done, the log must say who tried which system call, and the
session must be over; or, where the kernel says no by itself, nothing must
have come of it.

Runs in:   the test runner, as root.
May touch: build/, a private world.
"""
import concurrent.futures
import ctypes
import os
import re
import shutil
import socket
import subprocess
import sys

import common

from harness import variant
from harness.box import Box
from harness.server import Failure, Session, children

EPERM, EACCES, EAGAIN, EXDEV, ENOENT, EMFILE = 1, 13, 11, 18, 2, 24
FAULT = 70
MARGIN = 40             # numbers behind the last known call

# What the two processes may call, written a second time: the one list checks the other.
# A name that this machine's kernel does not have is passed over.
AUTHORIZATION_MAY = ("read write shutdown rt_sigreturn restart_syscall clock_gettime exit exit_group "
                     "poll ppoll sigreturn clock_gettime64 ppoll_time64").split()
TRANSACTION_MAY = AUTHORIZATION_MAY + (
    "pread64 writev openat close fstat newfstatat getdents64 lseek unlinkat renameat renameat2 fsync "
    "flock fstatfs fchmod brk munmap mremap madvise clock_nanosleep gettimeofday geteuid getpid futex getrandom "
    "statx time mmap sendto socket connect fstat64 fstatat64 fstatfs64 _llseek geteuid32 clock_nanosleep_time64 "
    "futex_time64 mmap2 send timer_settime timer_settime64 faccessat utimensat utimensat_time64").split()


# What the waiting process may call besides, as root, until it is TRANSACTION; the rest fails with EPERM.
WAITING_MAY = TRANSACTION_MAY + (
    "recv recvfrom kill wait4 setgroups setresgid setresuid setuid setgid getresuid getresgid getuid prctl capget capset "
    "chroot chdir fchdir prlimit64 setitimer rt_sigaction rt_sigprocmask fcntl fcntl64 close_range "
    "landlock_create_ruleset landlock_add_rule landlock_restrict_self access open faccessat2 stat lstat "
    "setgroups32 setresgid32 setresuid32 setuid32 setgid32 getresuid32 getresgid32 getuid32").split()


def system_calls():
    """Names and numbers on this machine, as the compiler knows them."""
    done = subprocess.run([os.environ.get("CC", "gcc"), "-E", "-dM", "-include", "sys/syscall.h",
                           "-x", "c", "/dev/null"], capture_output=True, text=True, check=True)
    return {name: int(number)
            for name, number in re.findall(r"#define __NR_(\w+) (\d+)$", done.stdout, re.MULTILINE)}


def build():
    hooks = common.compile_c("fence_hooks.o", ["fence_hooks.c"], ["-c", "-fPIE"])
    wraps = " ".join(variant.link_flags(f"{common.HERE}/fence_hooks.c"))
    program = f"{common.BUILD}/pop3d-fences"
    # make does not know of what is linked beside the product
    if os.path.exists(program):
        os.remove(program)
    subprocess.run(["make", "-s", "-C", common.TREE, f"PROGRAM={program}", "WHOLE=-fno-lto",
                    f"LDFLAGS={hooks} {wraps}", program], check=True, stdout=subprocess.DEVNULL)
    module = common.compile_c("pam_fence.so", ["pam_fence.c"], ["-shared", "-fPIC", "-lpam"])
    return program, common.compile_c("without", ["without.c"]), module


class Trial:
    """One attempt, and what came of it."""

    def __init__(self, world, place, what, argument="", lacking=None, service="permit", more=()):
        self.box = Box(world)
        self._furnish()
        self.argument = argument.replace("{root}", self.box.root)
        prefix = []
        for layer in (lacking or "").split():
            # a launcher that forbids to keep a capability beyond root leaves a session without its jail
            prefix += ["setpriv", "--securebits=+keep_caps_locked"] if layer == "jail" else [world.without, layer]
        session = Session(world, "socketpair", self.box.options("-s", service, "-l", "20", *more),
                          {"POP3D_FENCE": f"{place}:{what}:{self.argument or '-'}"}, prefix=prefix)
        try:
            session.greeting()
            if place == "AUTHORIZATION":
                session.send(b"AUTH PLAIN AGFsaWNlAHNlY3JldA==\r\nQUIT\r\n")
            else:
                session.send(b"USER alice\r\nPASS secret\r\nUIDL\r\nQUIT\r\n")
            self.said = session.drain().decode("latin-1")
            self.status = session.wait()
        finally:
            session.finish()
        self.log = session.log()
        found = re.search(r"TRIED (-?\d+)", self.said)
        self.result = int(found[1]) if found else None
        self.logged_in = "+OK User successfully" in self.said
        self.box_state = self._state()
        self.box.remove()

    def _furnish(self):
        """A message to be stolen, and beside the Maildir a file of the same user."""
        self.outside = f"{self.box.root}/alice"
        self._write(f"{self.outside}/private", "private\n")
        self._write(f"{self.box.maildir}/new/victim", "Subject: victim\n\n")
        os.symlink("../../private", f"{self.box.maildir}/cur/link")
        shutil.copy(shutil.which("true"), f"{self.box.maildir}/tmp/program")
        os.mkdir(f"{self.box.maildir}/tmp/empty")
        for name in ("program", "empty"):
            os.chown(f"{self.box.maildir}/tmp/{name}", self.box.uid, self.box.uid)

    def _write(self, path, text):
        with open(path, "w") as file:
            file.write(text)
        os.chown(path, self.box.uid, self.box.uid)

    def _state(self):
        """What lies outside the Maildir, which nothing may have changed."""
        self.inside = os.listdir(self.box.maildir)
        with open(f"{self.outside}/private") as file:
            return sorted(os.listdir(self.outside)), file.read()

    def is_untouched(self):
        return self.box_state == (["Maildir", "private"], "private\n")

    def explain(self):
        return f"said {self.said[-200:]!r}, status {self.status}, log {self.log[-400:]!r}"


def is_caught(trial, place, number):
    """Not done, told by the log with process and number, and the end of the session."""
    line = (rf"FAULT, category=General, process={place}, forbidden-system-call={number}$")
    return (trial.result is None and trial.status == FAULT and trial.is_untouched() and
            len(re.findall(line, trial.log, re.MULTILINE)) == 1)


class Fences:
    def __init__(self, world):
        self.world = world
        self.report = common.Report()
        self.pool = concurrent.futures.ThreadPoolExecutor(16)
        self.calls = system_calls()

    def every_call(self, place, allowed):
        """Each number but those of the list ends the session, and is named by the log."""
        numbers = sorted(set(range(max(self.calls.values()) + MARGIN)) -
                         {self.calls[name] for name in allowed if name in self.calls})
        if os.uname().machine == "x86_64":
            # uretprobe and uprobe: Linux never shows them to a filter, and obeys them from pages
            # of its own alone; anywhere else they are an illegal instruction and ENXIO
            numbers.remove(335)
            numbers.remove(336)
            numbers += [0x40000000 + n for n in (0, 1, 2, 57, 59, 257)]     # of the x32 kind
        trials = self.pool.map(lambda number: Trial(self.world, place, "call", str(number)), numbers)
        crossed = [(number, trial) for number, trial in zip(numbers, trials)
                   if not is_caught(trial, place, number)]
        for number, trial in crossed[:5]:
            print(f"# {place} call {number}: {trial.explain()}")
        self.report.check(f"{place}: every system call beyond its list", not crossed,
                          f"{len(numbers)} numbers tried, {len(crossed)} not caught"
                          + (f": {[number for number, _ in crossed][:20]}" if crossed else ""))

    def every_call_of_waiting(self):
        """What the waiting root process has no rule for fails, and nothing comes of it; the login goes on."""
        numbers = sorted(set(range(max(self.calls.values()) + MARGIN)) -
                         {self.calls[name] for name in WAITING_MAY if name in self.calls})
        # these have rules by which TRANSACTION may make them with other arguments
        conditional = {self.calls[name] for name in ("ioctl", "fchown", "fchmod", "unlinkat") if name in self.calls}
        if os.uname().machine == "x86_64":
            numbers.remove(335)         # see every_call()
            numbers.remove(336)
        numbers = [number for number in numbers if number not in conditional]
        trials = self.pool.map(lambda number: Trial(self.world, "WAITING", "call", str(number)), numbers)
        crossed = [(number, trial) for number, trial in zip(numbers, trials)
                   if trial.result != -EPERM or not trial.logged_in or not trial.is_untouched()]
        for number, trial in crossed[:5]:
            print(f"# WAITING call {number}: {trial.explain()}")
        self.report.check("the waiting process: every system call beyond its list", not crossed,
                          f"{len(numbers)} numbers tried, {len(crossed)} not refused"
                          + (f": {[number for number, _ in crossed][:20]}" if crossed else ""))

    def caught(self, place, what, call, lacking=None, argument=""):
        trial = Trial(self.world, place, what, argument, lacking=lacking)
        name = f"{place}{' without ' + lacking if lacking else ''}: {what} is caught"
        self.report.check(name, is_caught(trial, place, self.calls[call]),
                          "" if is_caught(trial, place, self.calls[call]) else trial.explain())

    def refused(self, place, what, argument, errors, lacking=None, service="permit"):
        trial = Trial(self.world, place, what, argument, lacking, service)
        is_good = trial.result in [-error for error in errors] and trial.is_untouched()
        name = f"{place}{' without ' + lacking if lacking else ''}: {what} {argument}".rstrip()
        self.report.check(f"{name} is refused", is_good, "" if is_good else trial.explain())

    def allowed_without(self, place, what):
        """Where there is no seccomp the same can be done, or fails for another reason: the no was the filter's."""
        trial = Trial(self.world, place, what, lacking="seccomp")
        is_good = trial.result not in (-EPERM, -EACCES)
        self.report.check(f"{place} without seccomp: {what} is not refused", is_good,
                          "" if is_good else trial.explain())

    def other_machine(self, place):
        """A call in the manner of another machine; where the kernel has none, a crash."""
        trial = Trial(self.world, place, "other-machine")
        is_good = trial.result is None and trial.status != 0 and not trial.log.count("LOGOUT")
        self.report.check(f"{place}: a call of another machine's kind ends it", is_good,
                          "" if is_good else trial.explain())

    def inside_works(self):
        """The same attempts, where they are allowed: else the rest would prove nothing."""
        for what, argument in (("open-below", "new/victim"), ("create", "new/planted"),
                               ("write-below", "new/victim"),
                               ("rename", "cur/moved"), ("unlink", "new/victim")):
            trial = Trial(self.world, "TRANSACTION", what, argument)
            is_good = trial.result is not None and trial.result >= 0 and trial.status == 0
            self.report.check(f"TRANSACTION: {what} {argument} is allowed", is_good,
                              "" if is_good else trial.explain())

    def stays_inside(self, what, argument, lacking=None):
        """In a jail the way up leads back into the Maildir: what is put there is still in it."""
        trial = Trial(self.world, "TRANSACTION", what, argument, lacking)
        is_good = trial.is_untouched() and trial.result is not None and trial.result >= 0 and \
            os.path.basename(argument) in trial.inside
        name = f"TRANSACTION{' without ' + lacking if lacking else ''}: {what} {argument} stays inside"
        self.report.check(name, is_good, "" if is_good else trial.explain())

    def outside_has_no_name(self, lacking=None):
        """The same attempts as where Landlock says no, and stat(2), which it lets through."""
        for what, argument in (
                ("open", "/etc/passwd"), ("open", "/"), ("open", "/proc/self/mem"),
                ("open", "/dev/null"), ("open", "{root}/alice/private"), ("open-below", ".."),
                ("open-below", "../.."), ("open-below", "new/../../../private"), ("open-below", "../private"),
                ("open-below", "cur/link"), ("climb", "private"), ("climb", "../alice/private"),
                ("write-below", "../private"), ("truncate-below", "../private"),
                ("rename-in", "../private"), ("unlink", "../private"),
                ("stat", "/"), ("stat", "/etc/passwd"), ("stat", "/proc/1"), ("stat", "/etc"), ("stat", ".."),
                ("stat", "{root}/alice/private"), ("stat", "../private"), ("stat", "cur/link")):
            self.refused("TRANSACTION", what, argument, [ENOENT], lacking)
        for what, argument in (("create", "../planted"), ("rename", "../stolen")):
            self.stays_inside(what, argument, lacking)
        for what, argument in (("link", "../stolen"), ("link-in", "../private")):
            if lacking in (None, "landlock"):
                self.caught("TRANSACTION", what, "linkat", lacking, argument)
        if lacking in ("seccomp", "both"):
            self.refused("TRANSACTION", "link-in", "../private", [ENOENT, EACCES, EXDEV], lacking)
            self.refused("TRANSACTION", "chroot", "", [EPERM], lacking)

    def outside_is_closed(self, lacking):
        """Where there is no jail, Landlock says no."""
        beyond = [EACCES, EXDEV]
        for what, argument in (
                ("open", "/etc/passwd"), ("open", "/"), ("open", "/proc/self/mem"),
                ("open", "/dev/null"), ("open", "{root}/alice/private"), ("open-below", ".."),
                ("open-below", "../.."), ("open-below", "../private"), ("open-below", "cur/link"),
                ("climb", "private"), ("climb", "../alice/private"), ("write-below", "../private"),
                ("truncate-below", "../private"), ("create", "../planted"), ("rename", "../stolen"),
                ("rename-in", "../private"), ("unlink", "../private")):
            self.refused("TRANSACTION", what, argument, beyond, lacking)
        # nobody links: seccomp ends that at once, and where it lacks Landlock refuses it
        for what, argument in (("link", "../stolen"), ("link-in", "../private")):
            if "seccomp" in lacking:
                self.refused("TRANSACTION", what, argument, beyond, lacking)
            else:
                self.caught("TRANSACTION", what, "linkat", lacking, argument)

    def beyond_landlock(self):
        """
        What Landlock alone forbids, seccomp lacking: each kind of file that serving takes not, the
        network, other processes. Where both are lacking it can be done, so that the no is Landlock's.
        """
        version = landlock_version()
        name = f"pop3d-fences-{os.getpid()}"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as abstract, socket.socket() as listener:
            abstract.bind(f"\0{name}")
            listener.bind(("127.0.0.1", 0))
            listener.listen(64)
            sleeper = subprocess.Popen(["sleep", "600"], **self.world.run_as(common.ALICE))
            attempts = [(2, "mkdir", "", EACCES), (2, "rmdir", "", EACCES), (2, "fifo", "", EACCES),
                        (2, "symlink", "", EACCES), (2, "bind-below", "{root}/alice/Maildir/new/socket", EACCES),
                        (2, "execute", "", EACCES), (4, "tcp-bind", "0", EACCES),
                        (4, "tcp-connect", str(listener.getsockname()[1]), EACCES),
                        (6, "abstract", name, EPERM), (6, "signal", str(sleeper.pid), EPERM)]
            for least, what, argument, error in attempts:
                if version < least:
                    self.report.skip(f"TRANSACTION without seccomp: {what}", f"Landlock's version is {version}")
                    continue
                self.refused("TRANSACTION", what, argument, [error], "jail seccomp")
                trial = Trial(self.world, "TRANSACTION", what, argument, "jail both")
                # a program that was started says nothing more
                is_good = (trial.result is None and not trial.log.count("FAULT") if what == "execute"
                           else trial.result == 0)
                self.report.check(f"TRANSACTION without both: {what} can be done", is_good,
                                  "" if is_good else trial.explain())
            sleeper.kill()
            sleeper.wait()

    def without(self, lacking, layers):
        """A kernel without a layer: one line of the log for it, and the session goes on."""
        trial = Trial(self.world, "TRANSACTION", "none", lacking=lacking)
        trial = Trial(self.world, "nowhere", "none", lacking=lacking) if trial.status else trial
        lines = sorted(re.findall(r"UNCONFINED, layer=(\w+)", trial.log))
        is_good = trial.logged_in and trial.status == 0 and lines == layers
        self.report.check(f"without {lacking} the session is served and the log says so", is_good,
                          "" if is_good else f"{lines}, {trial.explain()}")

    def forged(self, argument, may_be_granted=False, more=()):
        """AUTHORIZATION sends PAM, which would grant anything, what is no login."""
        trial = Trial(self.world, "AUTHORIZATION", "forge", argument, more=more)
        owner = re.findall(r"LOGIN, user=([^,]*),", trial.log)
        is_good = ("signal=" not in trial.log and trial.is_untouched() and
                   (may_be_granted and owner in ([], ["alice"]) or
                    not trial.logged_in and trial.result != 1 and owner == []) and
                   (trial.logged_in or re.search(r"FAULT|LOGIN FAILED|DISCONNECTED", trial.log)))
        return is_good, trial


def forgeries(fences):
    trial = Trial(fences.world, "AUTHORIZATION", "forge", "none")
    fences.report.check("AUTHORIZATION: a sound message is granted, so the forged ones are not vain",
                        trial.logged_in, "" if trial.logged_in else trial.explain())
    # PAM looks at a name itself, and asks no module about what is none
    no_names = ["user-without-end", "user-is-path", "mailbox-is-path", "mailbox-is-dots", "user-is-empty"]
    names = ["short", "nearly", "long", "kind", "mechanism", "typed-without-end", *no_names,
             "password-without-end", "user-is-root", "domain-is-foreign", "password-is-empty"]
    for name, (is_good, trial) in zip(names, fences.pool.map(fences.forged, names)):
        is_good = is_good and (name not in no_names or "reason=malformed-login" in trial.log)
        fences.report.check(f"AUTHORIZATION: forged message, {name}", is_good,
                            "" if is_good else trial.explain())
    # a domain that is not ours, where -d does not look for it
    is_good, trial = fences.forged("user-has-domain", more=("-v", "alice", "-d", "example.org"))
    fences.report.check("AUTHORIZATION: forged message, user-has-domain", is_good,
                        "" if is_good else trial.explain())
    # without -x the address is the socket's, whatever AUTHORIZATION says; one that is none is no login
    is_good, trial = fences.forged("address-is-none")
    fences.report.check("AUTHORIZATION: forged message, address-is-none", is_good,
                        "" if is_good else trial.explain())
    is_good, trial = fences.forged("address-is-another", may_be_granted=True)
    is_good = trial.logged_in and "LOGIN, user=alice, ip=[]" in trial.log and "1.2.3.4" not in trial.log
    fences.report.check("AUTHORIZATION: a forged address is not believed", is_good,
                        "" if is_good else trial.explain())
    random = [f"random-{seed}" for seed in range(60)] + [f"nudged-{seed}" for seed in range(120)]
    results = list(fences.pool.map(lambda name: fences.forged(name, name[0] == "n"), random))
    bad = [(name, trial) for name, (is_good, trial) in zip(random, results) if not is_good]
    for name, trial in bad[:5]:
        print(f"# {name}: {trial.explain()}")
    fences.report.check("AUTHORIZATION: forged messages at random", not bad,
                        f"{len(random)} sent, {len(bad)} believed")


def announcements(fences):
    """AUTHORIZATION tells pop3d something else than who a PROXY header names, or nothing, and then logs in."""
    said = b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 110\r\nAUTH PLAIN AGFsaWNlAHNlY3JldA==\r\nQUIT\r\n"
    for what in ("sound", "none", "twice", "short", "kind", "without-end", "no-address"):
        box = Box(fences.world)
        with box.session("-x", "-S", "-s", "permit", transport="socketpair",
                         env={"POP3D_FENCE": f"ANNOUNCEMENT:{what}:-"}) as session:
            session.send(said)
            heard = session.drain()
            session.wait()
            log = session.log()
        box.remove()
        is_served = b"successfully" in heard and "LOGIN, user=alice, ip=[192.0.2.7]" in log
        is_good = is_served if what == "sound" else "FAULT" in log and "signal=" not in log and not is_served
        fences.report.check(f"AUTHORIZATION: announcement, {what}", is_good, "" if is_good else f"{heard!r}, {log!r}")


def exits(fences):
    """No exit status of AUTHORIZATION is taken for a grant, or ends pop3d as if all were well."""
    for status in (0, 1, 70, 99, 100, 101, 255):
        trial = Trial(fences.world, "AUTHORIZATION", "exit", str(status))
        is_good = (trial.said == "" and trial.is_untouched() and "LOGIN," not in trial.log and
                   "root's numbers" not in trial.log and "root%27s" not in trial.log and
                   trial.status != 100)
        # whoever grants itself a login is at fault, and the log says so
        is_good = is_good and (status != 100 or (trial.status == FAULT and "FAULT, category=General" in trial.log
                                                 and "granted%20itself" in trial.log))
        fences.report.check(f"AUTHORIZATION: exit status {status} is no login", is_good,
                            "" if is_good else trial.explain())


def landlock_version():
    """Which version of Landlock this kernel has; below 1: none."""
    return ctypes.CDLL(None, use_errno=True).syscall(444, None, ctypes.c_size_t(0), 1)


def try_as(uid, function):
    """What the function says when it is run as another user."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
        os.write(writer, function().encode())
        os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with os.fdopen(reader) as pipe:
        return pipe.read()


def look_into(pid):
    """Tries what a debugger does; the names of what was possible."""
    libc = ctypes.CDLL(None, use_errno=True)
    done = []
    for name in ("mem", "environ", "fd", "maps"):
        try:
            if name == "fd":
                os.listdir(f"/proc/{pid}/fd")
            else:
                open(f"/proc/{pid}/{name}", "rb").close()
            done.append(name)
        except OSError:
            pass
    if libc.ptrace(0x4206, pid, 0, 0) == 0:                     # PTRACE_SEIZE
        done.append("ptrace")
    if libc.syscall(438, libc.syscall(434, pid, 0), 0, 0) >= 0:  # pidfd_getfd
        done.append("pidfd_getfd")
    return " ".join(done)


def same_user_cannot_look(fences):
    """Other processes of the same user, or of nobody, cannot look into a session."""
    box = Box(fences.world)
    with box.session("-s", "permit") as session:
        session.greeting()
        child, = children(session.pid)
        seen = try_as(65534, lambda: look_into(child))
        fences.report.check("AUTHORIZATION: its account's other processes cannot look into it",
                            seen == "", seen)
        session.expect("USER alice", "+OK")
        session.expect("PASS secret", "+OK")
        seen = try_as(box.uid, lambda: look_into(session.pid))
        fences.report.check("TRANSACTION: its user's other processes cannot look into it",
                            seen == "", seen)
    sleeper = subprocess.Popen(["sleep", "60"], **fences.world.run_as(box.uid))
    seen = try_as(box.uid, lambda: look_into(sleeper.pid))
    sleeper.kill()
    sleeper.wait()
    fences.report.check("into another process of the same user one can look",
                        "mem" in seen and "ptrace" in seen, seen)
    box.remove()


def pam_has_no_client(fences, module):
    """The PAM helper, as a module sees it."""
    world, note = fences.world, f"{fences.world.root}/pam-note"
    world.service("fence", f"auth required {module} {note}\naccount required pam_permit.so\n")
    box = Box(world)
    with box.session("-s", "fence") as session:
        session.greeting()
        client = os.readlink(f"/proc/{session.pid}/fd/0")
        session.expect("USER alice", "+OK")
        session.expect("PASS secret", "+OK")
    with open(note) as file:
        lines = file.read().splitlines()
    report = fences.report
    report.check("PAM: not dumpable, and no core", {"dumpable=0", "core=0"} <= set(lines), str(lines[:2]))
    # SETUID SETGID SYS_CHROOT KILL DAC_OVERRIDE DAC_READ_SEARCH AUDIT_WRITE, as in the systemd unit
    unit = sum(1 << number for number in (7, 6, 18, 5, 1, 2, 29))
    capabilities = {line.split()[0].rstrip(":"): int(line.split()[1], 16) for line in lines if "Cap" in line}
    report.check("PAM: it has the capabilities of the systemd unit, and what it starts can get no other",
                 capabilities == {"CapInh": 0, "CapPrm": unit, "CapEff": unit, "CapBnd": unit, "CapAmb": 0,
                                  "program-CapPrm": unit}, str(capabilities))
    targets = {line.split()[0].split("=")[1]: line.split(None, 1)[1] for line in lines
               if line.startswith("descriptor=")}
    report.check("PAM: the client's descriptor is not there", client not in targets.values() and
                 client.startswith("socket:"), f"{client} in {targets}")
    report.check("PAM: 0, 1 and 2 are /dev/null", [targets.get(fd) for fd in "012"] == ["/dev/null"] * 3,
                 str(targets))
    rest = sorted(re.sub(r":\[\d+\]", "", what) for fd, what in targets.items() if int(fd) > 2)
    # the queue of examinations, in which the helper has its place
    rest = [what for what in rest if what != "/run/pop3d/places"]
    # the channel from AUTHORIZATION, the one to pop3d, the log and the copy of stderr that -e made
    report.check("PAM: nothing else is open", rest in (["socket", "socket", "socket", session.log_path],
                 sorted(["socket", "socket", "socket", session.log_path])), str(rest))
    box.remove()


def main():
    world = common.enter()
    world.service("permit", "auth required pam_permit.so\naccount required pam_permit.so\n")
    world.binary, world.without, module = build()
    fences = Fences(world)
    fences.every_call("AUTHORIZATION", AUTHORIZATION_MAY)
    fences.every_call("TRANSACTION", TRANSACTION_MAY)
    fences.every_call_of_waiting()
    for what in ("fork", "socket", "trace-parent", "execute"):
        fences.refused("WAITING", what, "", [EPERM, EACCES])
        fences.allowed_without("WAITING", what)
    for place in ("AUTHORIZATION", "TRANSACTION"):
        for what, call in (("executable-later", "mprotect"), ("fork", "clone"), ("root", "setuid"),
                           ("kill-parent", "kill"), ("trace-parent", "ptrace"),
                           ("send-to", "sendto"), ("set-times", "utimensat"), ("executable-memory", "mmap"), ("control", "ioctl")):
            # the first of them needs memory, and is caught at that already
            caught = "mmap" if (place, what) == ("AUTHORIZATION", "executable-later") else call
            fences.caught(place, what, caught)
            fences.caught(place, what, caught, "landlock")
        fences.other_machine(place)
    for what, call in (("copy-descriptor", "fcntl"), ("give-away", "fchown"), ("set-id", "fchmod")):
        fences.caught("TRANSACTION", what, call, argument="new/victim")
    for what in ("socket", "connect"):
        fences.caught("AUTHORIZATION", what, what)
        fences.refused("TRANSACTION", what, "", [EACCES])
    fences.inside_works()
    fences.caught("TRANSACTION", "rmdir", "unlinkat")
    fences.outside_has_no_name()
    # a jail needs no Landlock as long as there is seccomp
    fences.without("landlock", [])
    fences.without("jail", [])
    fences.without("jail landlock", ["landlock"])
    fences.without("jail landlock-off", ["landlock"])
    fences.without("seccomp", ["seccomp"])
    fences.without("both", ["landlock", "seccomp"])
    # what is left then
    for lacking in ("landlock", "seccomp", "both"):
        fences.outside_has_no_name(lacking)
    for lacking in ("jail", "jail seccomp"):
        fences.outside_is_closed(lacking)
    fences.beyond_landlock()
    for lacking in ("seccomp", "both"):
        fences.refused("TRANSACTION", "root", "", [EPERM], lacking)
        fences.refused("AUTHORIZATION", "root", "", [EPERM], lacking)
        fences.refused("AUTHORIZATION", "fork", "", [EAGAIN], lacking)
        fences.refused("AUTHORIZATION", "open", "/etc/passwd", [EMFILE, ENOENT], lacking)
        fences.refused("AUTHORIZATION", "socket", "", [EMFILE], lacking)
        fences.refused("AUTHORIZATION", "kill-parent", "", [EPERM], lacking)
        fences.refused("AUTHORIZATION", "trace-parent", "", [EPERM], lacking)
    for lacking in ("jail landlock", "jail both"):
        fences.refused("TRANSACTION", "open", "/etc/shadow", [EACCES], lacking)
    exits(fences)
    forgeries(fences)
    announcements(fences)
    same_user_cannot_look(fences)
    pam_has_no_client(fences, module)
    fences.report.end()


if __name__ == "__main__":
    main()
