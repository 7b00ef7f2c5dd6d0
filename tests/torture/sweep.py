#!/usr/bin/python3
"""
sweep.py - a session disturbed at each of its points, one run each.

    python3 tests/torture/sweep.py faults    each system call fails, with each error of its manual
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


def main():
    if len(sys.argv) < 2 or sys.argv[1] not in ("faults", "kills", "memory"):
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
    sys.exit(subprocess.run(command).returncode)


if __name__ == "__main__":
    main()
