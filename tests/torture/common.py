"""
common.py - what the torture scripts share: a world, a build, a report.

Runs in:   the torture scripts, as root inside a mount and network namespace.
May touch: build/torture, the private world of tests/harness.
"""
import os
import subprocess
import sys

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))

from harness import world as worlds
from harness.world import ACCOUNTS, INSIDE, IS_ROOT, TREE

BUILD = f"{TREE}/build/torture"
SKIPPED = 77
ALICE = ACCOUNTS["alice"][0]
WARNINGS = ["-std=c11", "-D_GNU_SOURCE", "-O2", "-g", "-Wall", "-Wextra", "-Wshadow",
            "-Wconversion", "-Wsign-conversion", "-Wstrict-prototypes", "-Wmissing-prototypes",
            "-Wvla", "-Wno-unused-parameter", "-Wno-format-truncation", "-Werror"]


def enter(needs_x86=False):
    """As root, again inside namespaces of our own; ends the script when it has run there."""
    if not IS_ROOT or (needs_x86 and os.uname().machine != "x86_64"):
        print("needs root" if not IS_ROOT else "knows x86-64 alone")
        print("0 passed, 0 failed, 1 skipped")
        sys.exit(SKIPPED)
    if INSIDE not in os.environ:
        command = ["unshare", "-m", "-n", "--", sys.executable, "-B", *sys.argv]
        sys.exit(subprocess.run(command, env={**os.environ, INSIDE: "yes"}).returncode)
    return worlds.World()


def compile_c(name, sources, flags=()):
    """Builds a program or library below build/torture; its path."""
    os.makedirs(BUILD, exist_ok=True)
    path = f"{BUILD}/{name}"
    sources = [f"{HERE}/{source}" for source in sources]
    subprocess.run([os.environ.get("CC", "gcc"), *WARNINGS, "-o", path, *sources, *flags],
                   check=True)
    return path


def set_up_unix_login(world, name="alice", password="secret"):
    """The account logs in through the real pam_unix, by a hash that is quick to check."""
    done = subprocess.run(["openssl", "passwd", "-6", "-salt", "rounds=1000$torture", "-stdin"],
                          input=password + "\n", capture_output=True, text=True, check=True)
    world.set_shadow(name, hash=done.stdout.strip())
    world.service("unix", "auth required pam_unix.so nodelay\naccount required pam_unix.so\n")
    return ["-C", world.configuration]


class Report:
    """Prints ok and not ok, counts, and ends the script."""

    def __init__(self):
        self.passed = self.failed = self.skipped = 0

    def check(self, name, is_good, why=""):
        if is_good:
            self.passed += 1
            print(f"ok {name}" + (f" - {why}" if why else ""), flush=True)
        else:
            self.failed += 1
            print(f"not ok {name} - {why}", flush=True)

    def skip(self, name, why):
        self.skipped += 1
        print(f"ok {name} # skipped, {why}", flush=True)

    def end(self):
        print(f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped", flush=True)
        sys.exit(1 if self.failed or not self.passed else 0)
