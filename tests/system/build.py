"""
build.py - what whoever builds pop3d meets first: the README's two commands, and what make prints.

Runs in:   the test runner.
May touch: a fresh folder; stand-ins for apt-get, sudo and make in it.
"""
import os
import re
import shutil
import subprocess

from harness.server import Failure
from harness.world import TREE, require_tool

# Tells how it was called. sudo goes on; make and apt-get have done their work.
STAND_IN = """#!/bin/sh
echo "${0##*/} $*"
test "${0##*/}" != sudo || exec "$@"
test "$1" != "$FAILING"
"""


def commands():
    """The two lines that README.md tells people to paste, by what they make."""
    with open(f"{TREE}/README.md") as file:
        text = file.read()
    found = {target: line for line, target in re.findall(r"^    (.* && make (demo|check))$", text, re.M)}
    if set(found) != {"demo", "check"}:
        raise Failure(f"README.md has lines for {sorted(found)}")
    return found


def paste(world, line, has_sudo, shell="sh", failing="-"):
    """What the line calls, in a place that has hardly any programs."""
    folder = world.folder()
    for name in ("apt-get", "make") + (("sudo",) if has_sudo else ()):
        with open(f"{folder}/{name}", "w") as file:
            file.write(STAND_IN)
        os.chmod(f"{folder}/{name}", 0o755)
    os.symlink("/bin/sh", f"{folder}/sh")
    done = subprocess.run([require_tool(shell), "-c", line], env={"PATH": folder, "FAILING": failing},
                          capture_output=True, text=True)
    return done.stdout.split("\n")[:-1], done.stderr


def test_readme_commands(world):
    """each of README's two commands is one line that works as root without sudo, and with sudo for a user"""
    for target, line in commands().items():
        for shell in ("sh", "bash"):
            plain, complaint = paste(world, line, False, shell)
            if complaint or len(plain) != 3 or not (plain[0] == "apt-get update" and plain[2] == f"make {target}" and
                                                    plain[1].startswith("apt-get install -y gcc ")):
                raise Failure(f"without sudo: {plain} {complaint}")
            by_sudo, complaint = paste(world, line, True, shell)
            if complaint or by_sudo[1:] != plain or not by_sudo[0].startswith("sudo sh -c apt-get update && "):
                raise Failure(f"with sudo: {by_sudo} {complaint}")
        for failing in ("update", "install"):
            called, _ = paste(world, line, True, failing=failing)
            if f"make {target}" in called:
                raise Failure(f"make is run although apt-get {failing} failed: {called}")


def test_readme_packages(world):
    """what README has people install is what continuous integration installs, and is enough for the demo"""
    packages = {target: set(re.search(r"install -y ([\w .+-]+)'", line)[1].split())
                for target, line in commands().items()}
    if not packages["demo"] <= packages["check"]:
        raise Failure(f"for make demo alone: {packages['demo'] - packages['check']}")
    with open(f"{TREE}/.ci/run") as file:
        integrated = set(re.search(r"^packages=\(\n(.*?)^\)", file.read(), re.M | re.S)[1].split())
    if not packages["check"] <= integrated:
        raise Failure(f"not in .ci/run: {packages['check'] - integrated}")


def make(*arguments):
    environment = {name: value for name, value in os.environ.items()
                   if name not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES")}
    done = subprocess.run(["make", "-C", TREE, "--no-print-directory", *arguments], env=environment,
                          capture_output=True, text=True)
    return done.stdout + done.stderr


def test_make_is_quiet(world):
    """make prints a short line for a file and nothing else; with V=1 the command, with -s nothing"""
    require_tool("make")
    for compiler in ("gcc", "clang"):
        if shutil.which(compiler) is None:
            continue
        for arguments, wanted in (((), r"  CC  auth/login\.c\n"), (("-s",), ""),
                                  (("V=1",), compiler + r" -std=c11 .* -c -o \S+/auth/login\.o auth/login\.c\n")):
            folder = world.folder()
            said = make(*arguments, f"CC={compiler}", f"BUILD={folder}", f"{folder}/auth/login.o")
            if not re.fullmatch(wanted, said):
                raise Failure(f"make {' '.join(arguments)} with {compiler} says {said!r}")
