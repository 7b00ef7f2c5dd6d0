#!/usr/bin/python3
"""
run.py - proofs about the pure parts: for all inputs up to a bound, not for samples.

    python3 tests/prove/run.py                  everything
    python3 tests/prove/run.py sasl wire        some files
    python3 tests/prove/run.py prove_number     one function
    python3 tests/prove/run.py -l               what there is, and what each shows
    python3 tests/prove/run.py -v               what the tools say, too

A file here is read by Frama-C's Eva, which follows all inputs of a bound at
once: each alarm (memory, overflow, uninitialised octets) and each assertion
that is not proven is a failure. former.c, names.c, records.c and wire.c are
run instead: they try all inputs, one by one. Prints "ok", "not ok" or "skip" for
each function and the counts last. A missing tool is a skip, with CI=true a
failure.

Runs in:   CI, and whenever wanted.
May touch: build.
"""
import collections
import concurrent.futures
import csv
import os
import re
import shutil
import signal
import subprocess
import sys
import time

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
TREE = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.dirname(HERE))

from harness.progress import Progress

BUILD = f"{TREE}/build/prove"
PROCESSOR_SECONDS = 600         # limit of each process; others that work on this machine do not count

# The product's files that belong to a harness which does not include them.
PRODUCT = {"login": ["auth/login.c"], "sasl": ["auth/login.c"], "proxy": ["auth/proxy.c"],
           "index": ["maildir/record.c"]}
# The programs that are run for a file; wire.c has two ways through a block.
EXECUTED = {"former": ["former"], "names": ["names"], "records": ["records"], "wire": ["wire", "wire_plain"]}

EVA = ["-c11", "-machdep", "gcc_x86_64",
       "-cpp-extra-args=-D_GNU_SOURCE -DVERSION='\"0\"' -Itests/prove/libc -include more.h",
       "-eva", "-eva-no-print", "-eva-no-show-progress",
       # 4 of 11: loops are unrolled, and states kept apart, about a hundred times
       "-eva-precision", "4",
       # an octet that is anything but NUL is a set of 255 values
       "-eva-ilevel", "256",
       "-eva-partition-value", "case_length,case_room,case_first,case_second,case_third",
       "-eva-split-limit", "5000"]

# Where that is too little, or costs time for nothing.
FAR = ["-eva-slevel", "2000", "-eva-auto-loop-unroll", "300"]
MORE = {"prove_unfinished": FAR, "prove_line": FAR, "prove_base64": ["-eva-ilevel", "8"]}

FUNCTION = re.compile(r"^/\*(?P<shows>(?:(?!\*/).)*)\*/\nvoid\n(?P<name>prove_\w+)\(void\)\n"
                      r"\{(?P<body>.*?)\n\}", re.M | re.S)


class Missing(Exception):
    """A tool that is not installed."""


class Proof:
    """A function prove_*() of a file, its comment, and how many assertions it has."""

    def __init__(self, file, found):
        self.file = file
        self.name = found["name"]
        self.shows = " ".join(re.sub(r"^ \*", "", found["shows"], flags=re.M).split())
        self.assertions = found["body"].count("//@ assert")

    def run(self):
        return execute(self) if self.file in EXECUTED else follow(self)


def proofs():
    for name in sorted(os.listdir(HERE)):
        if name.endswith(".c"):
            with open(f"{HERE}/{name}") as file:
                for found in FUNCTION.finditer(file.read()):
                    yield Proof(name[:-2], found)


def command(*words):
    """Its status, and what it said; a process that works too long is killed, and has failed."""
    environment = {name: value for name, value in os.environ.items()
                   if name not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    environment["ASAN_OPTIONS"] = "detect_leaks=0"
    done = subprocess.run(["prlimit", f"--cpu={PROCESSOR_SECONDS}", "--", *words], cwd=TREE, env=environment,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, errors="replace")
    late = f"{words[0]}: killed; the limit is {PROCESSOR_SECONDS} seconds of processor time\n"
    return done.returncode, done.stdout + (late if done.returncode == -signal.SIGKILL else "")


# Eva

def follow(proof):
    """Problems, what was shown in figures, and all that Eva said."""
    if shutil.which("frama-c") is None:
        raise Missing("frama-c is missing")
    table = f"{BUILD}/{proof.file}.{proof.name}.csv"
    try:
        os.remove(table)
    except FileNotFoundError:
        pass
    status, said = command("frama-c", *EVA, *MORE.get(proof.name, []),
                           f"tests/prove/{proof.file}.c", *PRODUCT.get(proof.file, []),
                           "-main", proof.name, "-then", "-report-csv", table)
    summary = re.search(r"\n +(\d+) functions analyzed.*\n.*?(\d+) statements reached "
                        r"\(out of (\d+)\)", said)
    if status != 0 or summary is None:
        return [said[-2000:]], "", said
    problems = re.findall(r"^\[[\w:-]*alarm\].*(?:\n  .*)*", said, re.M)
    # a function that Eva knows nothing of might do anything
    problems += re.findall(r"^\[kernel:annot:missing-spec\].*(?:\n  .*)*", said, re.M)
    problems += assertion_problems(proof, table)
    if not re.search(r"^  0 alarms generated", said, re.M) and not problems:
        problems.append(said[-2000:])
    return problems, f"{proof.assertions} assertions, {summary[2]} of {summary[3]} statements", said


def assertion_problems(proof, table):
    """All that was not proven; the assertions of a proof must have been reached, too."""
    proven = 0
    with open(table, newline="") as file:
        for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
            if row["status"] not in ("Valid", "Considered valid", "Dead"):
                yield f"{row['file']}:{row['line']}: {row['status']}: {row['property']}"
            elif (row["function"], row["property kind"], row["status"]) == \
                    (proof.name, "user assertion", "Valid"):
                proven += 1
    if proven != proof.assertions:
        yield f"{proven} of {proof.assertions} assertions proven"


# Running

def build(name):
    """A harness that is run: with the object that is shipped, and under gcc's sanitizers."""
    with open(f"{TREE}/Makefile") as file:
        flags = re.search(r"^SANITIZE = (.*)$", file.read(), re.M).group(1)
    for arguments in ([], ["CC=gcc", f"CFLAGS={flags}", "FORTIFY=", "HARDENING=",
                           "BUILD=build/prove/sanitize"]):
        where = arguments[-1].split("=")[1] if arguments else "build"
        status, said = command("make", "-s", *arguments, f"{where}/prove/{name}")
        if status != 0:
            return [said[-4000:]]
    return []


def execute(proof):
    """It prints how many inputs it tried. Under the sanitizers it tries fewer."""
    figures = []
    for name in EXECUTED[proof.file]:
        for where, how in (("build", "as shipped"), ("build/prove/sanitize", "under the sanitizers")):
            status, said = command(f"{TREE}/{where}/prove/{name}", proof.name)
            if status != 0:
                return [f"{name} {how}: " + (said[-4000:] or f"status {status}")], "", said
            figures.append(f"{said.strip()} {how if name == proof.file else 'of ' + name + ' ' + how}")
    return [], ", ".join(figures), ""


def tell(proof, is_verbose, progress):
    progress.begin(proof.file)
    began = time.monotonic()
    try:
        problems, figures, said = proof.run()
    except Missing as missing:
        if os.environ.get("CI") != "true":
            progress.add(proof.file)
            return f"skip prove {proof.file} {proof.name} - {missing}"
        problems, figures, said = [str(missing)], "", ""
    progress.add(proof.file, failed=bool(problems))
    lines = [said] if is_verbose else []
    lines += problems
    lines.append(f"{'not ok' if problems else 'ok'} prove {proof.file} {proof.name}: {proof.shows} "
                 f"[{figures}, {time.monotonic() - began:.0f} s]")
    return "\n".join(lines)


def main():
    options = {word for word in sys.argv[1:] if word.startswith("-")}
    words = set(sys.argv[1:]) - options
    chosen = [proof for proof in proofs() if not words or words & {proof.file, proof.name}]
    if options - {"-l", "-v"} or not chosen:
        sys.exit(__doc__)
    if "-l" in options:
        for proof in chosen:
            print(f"{proof.file} {proof.name}: {proof.shows}")
        return 0
    os.makedirs(BUILD, exist_ok=True)
    programs = sum((EXECUTED.get(file, []) for file in sorted({proof.file for proof in chosen})), [])
    progress = Progress({**({"building": len(programs)} if programs else {}),
                         **collections.Counter(proof.file for proof in chosen)})
    for name in programs:
        progress.begin("building")
        for problem in build(name):
            progress.close()
            sys.exit(problem)
        progress.add("building")
    passed = failed = skipped = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for told in pool.map(lambda proof: tell(proof, "-v" in options, progress), chosen):
            progress.say(told)
            last = told.split("\n")[-1]
            passed += last.startswith("ok ")
            failed += last.startswith("not ok ")
            skipped += last.startswith("skip ")
    progress.close()
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
