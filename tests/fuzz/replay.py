#!/usr/bin/python3
"""
replay.py - gives every harness its whole corpus, built with gcc and sanitizers.

    python3 tests/fuzz/replay.py            all harnesses
    python3 tests/fuzz/replay.py session    one of them

What a fuzzer once found stays in tests/fuzz/corpus/NAME, so that it cannot
come back unseen; no fuzzer is needed here.

Runs in:   make check.
May touch: build/replay.
"""
import os
import re
import subprocess
import sys

TREE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
HERE = f"{TREE}/tests/fuzz"
BUILD = os.environ.get("REPLAY_BUILD", "build/replay")
PER_RUN = 500

# A make above us has its own flags, which are for the product.
ENVIRONMENT = {name: value for name, value in os.environ.items()
               if name not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES")}
ENVIRONMENT["ASAN_OPTIONS"] = "detect_leaks=0"


def build():
    """The harnesses; their sanitizers are the Makefile's."""
    flags = re.search(r"^SANITIZE = (.*)$", open(f"{TREE}/Makefile").read(), re.M).group(1)
    command = ["make", "-s", "-j2", "CC=gcc", f"CFLAGS={flags}", "FORTIFY=", "HARDENING=",
               f"BUILD={BUILD}", "replayers"]
    return subprocess.run(command, cwd=TREE, env=ENVIRONMENT, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def replay(name, files):
    return subprocess.run([f"{TREE}/{BUILD}/{name}_fuzz", *files], env=ENVIRONMENT,
                          stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          errors="replace")


def failures(name, files):
    """The inputs that break a promise; each is run alone once one of them does."""
    for at in range(0, len(files), PER_RUN):
        some = files[at:at + PER_RUN]
        done = replay(name, some)
        if done.returncode == 0 and done.stdout == f"{len(some)} inputs\n":
            continue
        broken = [(file, again) for file in some
                  for again in [replay(name, [file])] if again.returncode != 0]
        yield from broken or [("all together", done)]


def check(name):
    corpus = f"{HERE}/corpus/{name}"
    files = sorted(f"{corpus}/{file}" for file in os.listdir(corpus)) if os.path.isdir(corpus) \
        else []
    broken = list(failures(name, files))
    for file, done in broken:
        print(f"{os.path.relpath(file, TREE)}: status {done.returncode}\n{done.stderr[-3000:]}")
    is_good = bool(files) and not broken
    print(f"{'ok' if is_good else 'not ok'} replay {name}: {len(files)} inputs, "
          f"{len(broken)} broken")
    return is_good


def main():
    names = sorted(file[:-len("_fuzz.c")] for file in os.listdir(HERE) if file.endswith("_fuzz.c"))
    names = [name for name in names if not sys.argv[1:] or name in sys.argv[1:]]
    built = build()
    if built.returncode != 0:
        print(built.stdout[-6000:])
        print("not ok replay: the harnesses cannot be built")
        print("0 passed, 1 failed, 0 skipped")
        return 1
    passed = sum(check(name) for name in names)
    print(f"{passed} passed, {len(names) - passed} failed, 0 skipped")
    return 0 if names and passed == len(names) else 1


if __name__ == "__main__":
    sys.exit(main())
