#!/usr/bin/python3
"""
run.py - pop3d on other machines: other widths, other orders of octets.

    python3 tests/machines/run.py                   all machines
    python3 tests/machines/run.py s390x armhf       two of them
    python3 tests/machines/run.py -p unit s390x     one part beside the build: unit, fuzz,
                                                    property, sessions, index or kernel

Debian's cross compilers build everything, with no warning let pass. qemu-user
runs it on this machine's kernel, with the other machine's C library and PAM out
of Debian's packages. "index" lets one machine read what another wrote; "kernel"
emulates a whole machine, because qemu-user obeys no filter of system calls.

Prints "ok" or "not ok" for each, and the counts last. A missing tool is a skip,
with CI=true a failure. As an ordinary user the sessions are skipped.

Runs in:   make machines, CI.
May touch: build/machines, temporary folders; as root, mounts in a namespace of its own.
"""
import argparse
import collections
import concurrent.futures
import os
import re
import shutil
import subprocess
import sys

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
TREE = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, HERE)

import debian
import index
import kernel

Kind = collections.namedtuple("Kind", "triple emulator has_packages")
# Debian's name of the machine: the compiler's name, qemu's, and whether Debian 12 is there
KINDS = {
    "s390x": Kind("s390x-linux-gnu", "s390x", True),
    "armhf": Kind("arm-linux-gnueabihf", "arm", True),
    "i386": Kind("i686-linux-gnu", "i386", True),
    "arm64": Kind("aarch64-linux-gnu", "aarch64", True),
    "ppc64el": Kind("powerpc64le-linux-gnu", "ppc64le", True),
    "riscv64": Kind("riscv64-linux-gnu", "riscv64", False),
}
# wire_plain is wire once more here: what it does without, only x86-64 has
UNITS = ["index", "kept", "maildrop", "template", "wire"]
FUZZERS = ["index", "kept", "login", "proxy", "sasl", "session", "uidlist", "wire"]
SEEDS = "2"
INSIDE = "POP3D_MACHINES_INSIDE"        # set in the mount namespace
# Of the conversations those in which a machine can make a difference; each is played nine times.
SESSIONS = ["sessions/" + name for name in (
    "auth-plain-initial", "capa", "dele-quit", "dele-rset", "large", "list-deleted", "login-failed over",
    "login-pipelined over socketpair", "order", "other-renames", "retr", "top", "uidl")]


class Missing(Exception):
    """A tool that is not installed."""


def tool(name):
    path = shutil.which(name)
    if path is None:
        raise Missing(f"{name} is missing")
    return path


def run(*command, **more):
    return subprocess.run(command, cwd=TREE, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, errors="replace", **more)


class Report:
    """Tells what came of the tests of one machine, and counts."""

    def __init__(self, machine):
        self.machine = machine
        self.passed = self.failed = self.skipped = 0

    def __call__(self, name, is_good, why=""):
        lines = [f"{'ok' if is_good else 'not ok'} {self.machine}: {name}"]
        if is_good:
            self.passed += 1
        else:
            self.failed += 1
            lines += [f"    {line}" for line in why.strip().splitlines()[-40:]]
        sys.stdout.write("".join(f"{line}\n" for line in lines))
        sys.stdout.flush()

    def skip(self, name, why):
        print(f"ok {self.machine}: {name} # skip: {why}", flush=True)
        self.skipped += 1


class Machine:
    """One kind of machine: how it is built for, and how its programs are run."""

    def __init__(self, name):
        self.name, self.kind = name, KINDS[name]
        self.build = f"build/machines/{name}"
        self.emulator = tool(f"qemu-{self.kind.emulator}")
        # libpam's header is the same on every machine
        self.compiler = [tool(f"{self.kind.triple}-gcc"), "-idirafter", "build/machines/include"]
        self.packages = debian.Packages(name, f"{TREE}/build/machines/packages/{name}")
        self.root = self.packages.libraries() if self.kind.has_packages else f"/usr/{self.kind.triple}"

    def make(self, *targets):
        """What make says; its own warnings are errors."""
        link = f"{TREE}/build/machines/include/security"
        os.makedirs(os.path.dirname(link), exist_ok=True)
        if not os.path.islink(link):
            os.symlink("/usr/include/security", link)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")
                       and name != "MFLAGS"}
        done = run("make", "-s", f"CC={' '.join(self.compiler)} -Werror", f"BUILD={self.build}",
                   f"PROGRAM={self.build}/pop3d", *targets, env=environment)
        assert done.returncode == 0, done.stdout
        return done.stdout

    def program(self, name):
        """A program of this machine as one that this machine's kernel can start."""
        path = f"{TREE}/{self.build}/started/{os.path.basename(name)}"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as file:
            file.write(f'#!/bin/sh\nexec {self.emulator} -L {self.root} {TREE}/{self.build}/{name} "$@"\n')
        os.chmod(path, 0o755)
        return path


def check_build(machine, report):
    said = machine.make(f"{machine.build}/pop3d", f"{machine.build}/pop3d-check", "replayers",
                        f"{machine.build}/tests/property/drive.bin",
                        *(f"{machine.build}/tests/unit/{name}" for name in UNITS))
    report("build, without a warning", said == "", said)


def check_unit(machine, report):
    for name in UNITS:
        done = run(machine.program(f"tests/unit/{name}"))
        good = len(re.findall(r"^ok ", done.stdout, re.M))
        wrong = "\n".join(line for line in done.stdout.splitlines() if not line.startswith("ok "))
        report(f"unit/{name}: {good} facts", done.returncode == 0 and good > 0 and "not ok" not in wrong, wrong)


def check_fuzz(machine, report):
    for name in FUZZERS:
        corpus = f"{TREE}/tests/fuzz/corpus/{name}"
        files = sorted(f"{corpus}/{file}" for file in os.listdir(corpus))
        done = run(machine.program(f"{name}_fuzz"), *files)
        report(f"fuzz/{name}: {len(files)} inputs", done.returncode == 0 and
               done.stdout == f"{len(files)} inputs\n", done.stdout)


def check_property(machine, report):
    done = run(sys.executable, "-B", "tests/property/maildir.py", machine.program("tests/property/drive.bin"), SEEDS)
    report(f"property, {SEEDS} seeds", done.returncode == 0, done.stdout)


def check_sessions(machine, report):
    """Conversations of tests/sessions through the machine's own PAM and modules."""
    if not machine.kind.has_packages:
        return report.skip("sessions", "Debian 12 has no PAM for it")
    if os.geteuid() != 0:
        return report.skip("sessions", "needs root")
    done = run(sys.executable, "-B", "tests/run.py", *SESSIONS, env={
        **os.environ, "POP3D": machine.program("pop3d")})
    counts = re.search(r"^(\d+) passed, (\d+) failed, \d+ skipped$", done.stdout, re.M)
    return report(f"sessions: {counts[1] if counts else 'no'} conversations", done.returncode == 0 and
                  counts is not None and int(counts[1]) > 0, done.stdout)


def check_index(machines, report):
    """An index that one machine wrote is believed by each other, and left as it is."""
    index.check({**{machine.name: machine.program("tests/property/drive.bin") for machine in machines},
                 "this machine": f"{TREE}/build/tests/property/drive.bin"}, report)


def check_kernel(machine, report):
    if machine.name not in kernel.KERNELS:
        return report.skip("kernel", "Debian 12 has none for it")
    for name in (kernel.KERNELS[machine.name][1].split()[0], "cpio", "openssl"):
        tool(name)
    return kernel.check(machine, report)


PARTS = {"build": check_build, "unit": check_unit, "fuzz": check_fuzz, "property": check_property,
         "sessions": check_sessions, "kernel": check_kernel}


def attempt(report, name, function, *arguments):
    try:
        return function(*arguments)
    except Missing as missing:
        if os.environ.get("CI") == "true":
            report(name, False, str(missing))
        else:
            report.skip(name, str(missing))
    except (AssertionError, subprocess.CalledProcessError, OSError) as failure:
        report(name, False, str(failure))
    return None


def check_machine(name, wanted):
    """All parts that need no other machine. The machine is None if its tools are missing."""
    report = Report(name)
    machine = attempt(report, "tools", Machine, name)
    for part, function in PARTS.items():
        # the others need what the build makes
        if machine is not None and (part in wanted or part == "build"):
            attempt(report, part, function, machine, report)
    return machine, report


def main():
    parser = argparse.ArgumentParser(description="pop3d on other machines")
    parser.add_argument("-j", "--jobs", type=int, default=os.cpu_count(), help="machines at a time")
    parser.add_argument("-p", "--part", action="append", choices=[*PARTS, "index"])
    parser.add_argument("machine", nargs="*", choices=[*KINDS, []])
    options = parser.parse_args()
    if os.geteuid() == 0 and INSIDE not in os.environ:
        return subprocess.run(["unshare", "-m", "--", sys.executable, "-B", *sys.argv],
                              env={**os.environ, INSIDE: "yes"}).returncode
    wanted = options.part or [*PARTS, "index"]
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        done = list(pool.map(lambda name: check_machine(name, wanted), options.machine or KINDS))
    reports = [report for _, report in done] + [Report("all")]
    machines = [machine for machine, _ in done if machine is not None]
    if "index" in wanted and machines:
        attempt(reports[-1], "index", check_index, machines, reports[-1])
    passed, failed, skipped = (sum(getattr(report, count) for report in reports)
                               for count in ("passed", "failed", "skipped"))
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
