#!/usr/bin/python3
"""
liars.py - pop3d with a fault on purpose, and a sweep that must notice.

Each variant, made by the linker, believes or tells something that is not so.
A sweep that passes it would prove nothing of the product either.

Runs in:   the test runner, as root.
May touch: build/torture, a private world.
"""
import os
import subprocess
import sys

import common

# What is wrapped, the sweep that must notice, and what it must say.
LIARS = [
    ("fsync", ["faults", "-s", "all-new", "-c", "fsync"], "the removals may not last"),
    ("unlinkat", ["faults", "-s", "all-new", "-c", "unlinkat"], "+OK to QUIT, but message"),
    ("read", ["faults", "-s", "fresh-index", "-c", "read"], "other octets than the message's"),
    ("write", ["faults", "-s", "fresh-index", "-c", "write"], "not ok"),
    ("maildrop_delete", ["kills", "-s", "no-index", "-c", "write"], "LOST: message"),
    ("maildrop_totals", ["faults", "-s", "no-index", "-c", "flock"], "the undisturbed session does not"),
]


def build(name, library):
    program = f"{common.BUILD}/pop3d-liar-{name}"
    subprocess.run(["make", "-s", "-C", common.TREE, f"PROGRAM={program}", "WHOLE=-fno-lto",
                    f"LDFLAGS={library} -Wl,--wrap={name}", program],
                   check=True, stdout=subprocess.DEVNULL)
    return program


def main():
    if not common.IS_ROOT:
        common.enter(needs_x86=True)
    report = common.Report()
    for name, arguments, sign in LIARS:
        # all definitions lie in one object; only the one that is wrapped is used
        others = [f"-Wl,--defsym=__real_{other}=0" for other, _, _ in LIARS if other != name]
        library = common.compile_c("liars.o", ["liars.c"], ["-c", "-fPIE"])
        program = build(name, " ".join([library, *others]))
        done = subprocess.run([sys.executable, "-B", f"{common.HERE}/sweep.py", *arguments],
                              env={**os.environ, "POP3D": program}, capture_output=True, text=True)
        said = done.stdout + done.stderr
        report.check(f"the sweep notices a {name} that lies", done.returncode not in (0, 77) and sign in said,
                     f"{said.count('not ok')} times" if sign in said else said[-300:])
    report.end()


if __name__ == "__main__":
    main()
