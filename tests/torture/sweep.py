#!/usr/bin/python3
"""
sweep.py - a session disturbed at each of its points, one run each.

    python3 tests/torture/sweep.py faults    each system call fails, with each error of its manual
    python3 tests/torture/sweep.py pairs     two that belong together fail, one after the other
    python3 tests/torture/sweep.py kinds     kinds of file systems, and faults where those lead
    python3 tests/torture/sweep.py kills     each instant is the last of one process
    python3 tests/torture/sweep.py memory    each allocation fails
    python3 tests/torture/sweep.py faults -s no-index    one situation of the maildrop alone

Runs in:   the test runner, as root.
May touch: build/torture, a private world.
"""
import os
import subprocess
import sys

import common

SOURCES = ["sweep.c", "trace.c", "client.c", "drop.c", "errors.c"]


# Kinds of file systems, and the calls that matter only there, or matter more.
KINDS = [("no-flags", "renameat"), ("no-flags", "unlinkat"), ("no-flags", "renameat2"), ("no-locks", "flock"),
         ("no-locks", "openat"), ("elsewhere", "fcntl"), ("elsewhere", "flock"), ("elsewhere", "openat"),
         ("elsewhere", "fstat"), ("no-sync", "fsync"), ("no-types", "newfstatat"), ("no-types", "getdents64"),
         ("no-types", "openat")]


def run_kinds(command):
    """The sweep of faults once for each kind and call; the sum of them."""
    total = [0, 0, 0]
    for kind, call in KINDS:
        # a situation in which there is no such call has no points
        done = subprocess.run([command[0], "faults", "-w", kind, "-c", call, *command[2:]],
                              stdout=subprocess.PIPE, text=True)
        lines = done.stdout.splitlines()
        print("\n".join(f"{line} [{call}]" if line.startswith("ok ") else line for line in lines[:-1]), flush=True)
        counts = [int(word) for word in lines[-1].split() if word.isdigit()] if lines else []
        total = [sum(pair) for pair in zip(total, counts)] if len(counts) == 3 else [total[0], total[1] + 1, total[2]]
    print(f"{total[0]} passed, {total[1]} failed, {total[2]} skipped")
    return 1 if total[1] or not total[0] else 0


def main():
    if len(sys.argv) < 2 or sys.argv[1] not in ("faults", "pairs", "kinds", "kills", "memory"):
        sys.exit(__doc__)
    world = common.enter(needs_x86=True)
    sweep = common.compile_c("sweep", SOURCES, ["-lpthread"])
    library = common.compile_c("failing_memory.so", ["failing_memory.c"], ["-shared", "-fPIC"])
    options = common.set_up_unix_login(world)
    world.service("permit", "auth required pam_permit.so\naccount required pam_permit.so\n")
    folder = f"{world.root}/sweep"
    os.makedirs(folder)
    command = [sweep, *sys.argv[1:], "-l", library, "-u", str(common.ALICE), "-d", folder,
               "-p", "unix", "-q", "permit", "--", world.binary, *options]
    sys.exit(run_kinds(command) if sys.argv[1] == "kinds" else subprocess.run(command).returncode)


if __name__ == "__main__":
    main()
