#!/usr/bin/python3
"""
run.py - all that is meant to break pop3d, with figures of what was tried.

    python3 tests/torture/run.py             all of it, some minutes
    python3 tests/torture/run.py fences load what has one of these words in its name
    python3 tests/torture/run.py --slow      with a million messages and more forged indexes
    python3 tests/torture/run.py --turn N    all but two thirds of what takes long: N, of any size, says which third
    python3 tests/torture/run.py -l          lists the parts

POP3D names the binary, ./pop3d if it is not set. Each part can be run alone.
The last line is "N passed, N failed, N skipped".

Runs in:   the test runner, as root; elsewhere all of it is skipped.
May touch: build/torture, namespaces of its own.
"""
import argparse
import os
import re
import subprocess
import sys
import time

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))

from harness.progress import Progress

PARTS = [
    ("fences", ["fences.py"], "each fence is tried from inside the process that it surrounds"),
    ("hostile", ["hostile.py"], "maildrops and logins made by somebody who means harm"),
    ("kills", ["sweep.py", "kills"], "each instant is the last of one process"),
    ("memory", ["sweep.py", "memory"], "each allocation fails"),
    ("liars", ["liars.py"], "pop3d with a fault on purpose, which a sweep must notice"),
    ("faults", ["sweep.py", "faults"], "each system call fails with each error of its manual"),
    ("pairs", ["sweep.py", "pairs"], "two system calls that belong together fail, one after the other"),
    ("kinds", ["sweep.py", "kinds"], "file systems that answer in a way of their own, and faults there"),
    ("filesystems", ["filesystems.py"], "real file systems whose folders' times do not tell each message"),
    ("load", ["load.py"], "hundreds of sessions at once, through xinetd"),
]
# What takes long, in parts of about the same time, one of which has its turn.
TURNS = [{"faults"}, {"kinds", "liars"}, {"pairs", "kills", "memory"}]
NOTE = re.compile(r"# (\d+ of \d+ points, \d+ failed)$")
COUNTS = re.compile(r"(\d+) passed, (\d+) failed, (\d+) skipped$")


def run(name, arguments, title, progress):
    """Runs one part and shows what it says; passed, failed, skipped."""
    progress.say(f"# {name}: {title}")
    progress.begin(name)
    program = subprocess.Popen([sys.executable, "-B", f"{HERE}/{arguments[0]}", *arguments[1:]],
                               stdout=subprocess.PIPE, text=True, errors="replace")
    counts = None
    for line in program.stdout:
        counts = COUNTS.match(line) or counts
        note = NOTE.match(line)
        if note:
            progress.note(name, note[1])
        elif not COUNTS.match(line):
            progress.say(line.rstrip("\n"))
        if line.startswith(("ok ", "not ok ")):
            progress.add(name, failed=line.startswith("not ok "))
    status = program.wait()
    progress.end(name)
    passed, failed, skipped = map(int, counts.groups()) if counts else (0, 0, 0)
    # a part that breaks down has failed, whatever it counted
    if status not in (0, 77) and not failed or not counts:
        progress.say(f"not ok {name} - ended with status {status}")
        failed += 1
    return passed, failed, skipped


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("words", nargs="*")
    parser.add_argument("--slow", action="store_true")
    parser.add_argument("--turn", type=int)
    parser.add_argument("-l", "--list", action="store_true")
    arguments = parser.parse_args()
    chosen = [part for part in PARTS if not arguments.words or any(word in part[0] for word in arguments.words)]
    if arguments.turn is not None:
        waiting = set().union(*TURNS) - TURNS[arguments.turn % len(TURNS)]
        chosen = [part for part in chosen if part[0] not in waiting]
        print(f"# turn {arguments.turn}: without {', '.join(sorted(waiting))}", flush=True)
    if arguments.list:
        for name, _, title in chosen:
            print(f"{name}: {title}")
        return 0
    began = time.monotonic()
    total = [0, 0, 0]
    progress = Progress({name: None for name, _, _ in chosen})
    for name, command, title in chosen:
        if name == "hostile" and arguments.slow:
            command = [*command, "--slow"]
        total = [sum(pair) for pair in zip(total, run(name, command, title, progress))]
    progress.close()
    print(f"# all: {time.monotonic() - began:.0f} s")
    print(f"{total[0]} passed, {total[1]} failed, {total[2]} skipped")
    return 1 if total[1] or not sum(total) else 0


if __name__ == "__main__":
    sys.exit(main())
