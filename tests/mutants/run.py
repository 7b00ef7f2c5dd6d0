#!/usr/bin/python3
"""
run.py - small wrong changes to the product, one at a time: does a test notice?

    python3 tests/mutants/run.py              all of the list, an hour or two
    python3 tests/mutants/run.py log index    those with one of these words in their name
    python3 tests/mutants/run.py --tenth N    a tenth of them; N is a number or a commit's hash
    python3 tests/mutants/run.py --quick      only the tests that should notice, and not all others when they do not
    python3 tests/mutants/run.py --record F   what is found is added to file F, and what F says was noticed is not tried again
    python3 tests/mutants/run.py --seconds N  begins with no other one after so long; with --record the next run goes on
    python3 tests/mutants/run.py -j 1         one at a time, not two
    python3 tests/mutants/run.py --apply      only whether each still applies
    python3 tests/mutants/run.py -l           lists them, with the promise that each breaks

list.toml says how an entry is written. Each is made in a copy of the tree and built; then the tests
run that should notice. Those that none of them noticed are tried once more at the end, by all of make
check. A tenth is chosen for CI by the number of the commit, so that all have their turn. The last line
is "N passed, N failed, N skipped": passed is what was noticed; failed what survived, no longer applies
or does not build.

Runs in:   the test runner, as root (as an ordinary user fewer tests can notice).
May touch: build/mutants.
"""
import argparse
import concurrent.futures
import fcntl
import fnmatch
import itertools
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import tomllib

HERE = os.path.dirname(os.path.abspath(__file__))
TREE = os.path.dirname(os.path.dirname(HERE))
WORK = f"{TREE}/build/mutants"
FOLDERS = ("auth", "maildir", "xinetd.d", "tests")
FILES = ("Makefile", "pop3d.c", "pop3d.8", "README.md", "LICENSE")
EVERYTHING = ["all", "programs"]
ALL = ["tests/run.py"]  # whoever else might notice
SECONDS = 1500          # of one run of tests: each has a limit of its own, so this is never met


class Mutant:
    """One entry of the list."""

    KEYS = {"name", "file", "find", "put", "breaks", "tests", "equivalent"}

    def __init__(self, entry):
        if set(entry) - self.KEYS:
            raise SystemExit(f"{entry.get('name')}: unknown keys {set(entry) - self.KEYS}")
        self.name, self.breaks = entry["name"], entry["breaks"]
        self.patterns, self.put = entry["file"].split(), entry["put"]
        # where lines are broken is of no matter
        self.find = re.compile(r"\s+".join(map(re.escape, entry["find"].split())))
        self.tests = entry.get("tests", [])
        self.equivalent = entry.get("equivalent")

    def place(self):
        """The one file that has the text, once; else None, and what is wrong."""
        found = []
        for folder in ("", "auth/", "maildir/", "xinetd.d/"):
            for name in sorted(os.listdir(f"{TREE}/{folder}")):
                if any(fnmatch.fnmatch(folder + name, one) for one in self.patterns) and name.endswith((".c", ".h")):
                    with open(f"{TREE}/{folder}{name}") as file:
                        found += [folder + name] * len(self.find.findall(file.read()))
        if len(found) == 1:
            return found[0], ""
        return None, f"no longer applies: its text is there {len(found)} times {sorted(set(found))}"


def load():
    with open(f"{HERE}/list.toml", "rb") as file:
        mutants = [Mutant(entry) for entry in tomllib.load(file)["mutant"]]
    names = [mutant.name for mutant in mutants]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SystemExit(f"names that are there twice: {twice}")
    return mutants


def free_tree():
    """
    The number of a tree that no other run works in, and what keeps others out of it: a locked file. What a
    run starts inherits it, for a make that outlives the run that was broken off goes on writing into the
    tree. Two makes in one tree read objects that the other one has only begun, so that functions are missing.
    """
    os.makedirs(WORK, exist_ok=True)
    for number in itertools.count():
        lock = os.open(f"{WORK}/lock{number}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return number, lock
        except BlockingIOError:
            os.close(lock)


class Copy:
    """A copy of the tree, in which one mutant after the other is made and built."""

    def __init__(self):
        number, self.lock = free_tree()
        self.path = f"{WORK}/tree{number}"
        self.sound = f"{WORK}/sound{number}"    # it is there while what is built is of no mutant
        self.changed = None             # the file that is not as it was, and how it was
        os.makedirs(self.path, exist_ok=True)
        for name in FILES:
            shutil.copy2(f"{TREE}/{name}", f"{self.path}/{name}")
        for folder in FOLDERS:
            shutil.rmtree(f"{self.path}/{folder}", ignore_errors=True)
            shutil.copytree(f"{TREE}/{folder}", f"{self.path}/{folder}", symlinks=True,
                            ignore=shutil.ignore_patterns("__pycache__"))
        # a run that was broken off may have left objects of a mutant, which are no older than their source
        if os.path.exists(self.sound):
            os.unlink(self.sound)
        else:
            shutil.rmtree(f"{self.path}/build", ignore_errors=True)
        problem = self.build()
        if problem:
            raise SystemExit(f"the tree as it is does not build:\n{problem}")

    def build(self, targets=EVERYTHING):
        done = subprocess.run(["make", "-s", "-C", self.path, "WHOLE=", *targets], capture_output=True, text=True,
                              pass_fds=[self.lock])
        return done.stdout + done.stderr if done.returncode else ""

    def change(self, mutant, targets):
        """Makes the change and builds it; the file that was changed before is mended by the same build."""
        self.restore()
        path = f"{self.path}/{mutant.place()[0]}"
        with open(path) as file:
            text = file.read()
        # not from the tree: that may be worked in meanwhile
        self.changed = path, text
        with open(path, "w") as file:
            file.write(mutant.find.sub(lambda _: mutant.put.strip("\n"), text))
        return self.build(targets)

    def restore(self):
        if self.changed is not None:
            path, text = self.changed
            with open(path, "w") as file:
                file.write(text)
            self.changed = None

    def end(self):
        self.restore()
        if not self.build():
            open(self.sound, "w").close()

    def failures(self, command):
        """Names of the tests that fail when a command of tests runs."""
        try:
            done = subprocess.run([sys.executable, "-B", *command], cwd=self.path, stdin=subprocess.DEVNULL,
                                  capture_output=True, text=True, errors="replace", timeout=SECONDS,
                                  pass_fds=[self.lock],
                                  env={name: value for name, value in os.environ.items() if name != "POP3D"})
        except subprocess.TimeoutExpired:
            return ["(the run did not end)"]
        said = done.stdout + done.stderr
        names = re.findall(r"^FAIL (.+?)(?: \(.*)?$", said, re.M) + re.findall(r"^not ok (.+?)(?: - .*)?$", said, re.M)
        names = [re.sub(r" over \w+ in \w+.*", "", name) for name in names]
        if done.returncode and not names:
            names = [f"({' '.join(command)} broke down: {said[-200:]!r})"]
        return sorted(set(names))


def commands(words):
    """The runs that these words ask for: words of tests/run.py, or "torture/..." with its arguments."""
    plain = [word for word in words if not word.startswith("torture/")]
    runs = [["tests/run.py", *plain]] if plain else []
    return runs + [f"tests/{word}".split() for word in words if word.startswith("torture/")]


def targets(runs):
    """What make has to build for these runs."""
    words = [word for run in runs for word in run[1:]]
    if not words or not all(word.startswith(("sessions/", "unit/")) for word in words):
        return EVERYTHING
    # a word is looked for in all names, so unit/wire is wire_plain as well
    units = [f"build/tests/unit/{name[:-2]}" for name in sorted(os.listdir(f"{TREE}/tests/unit"))
             if name.endswith(".c") and any(word in f"unit/{name}" for word in words)]
    return units + ["all"] * any(word.startswith("sessions/") for word in words)


class Record:
    """A file of lines "VERDICT, tab, NAME, tab, WHY", so that a run that was broken off goes on where it was."""

    def __init__(self, path):
        self.path, self.verdicts = path, {}
        if path and os.path.exists(path):
            with open(path) as file:
                self.verdicts = {line.split("\t")[1]: line.split("\t")[0] for line in file}

    def add(self, verdict, mutant, why):
        if self.path:
            with open(self.path, "a") as file:
                file.write(f"{verdict}\t{mutant.name}\t{' '.join(why.split())}\n")


class Run:
    """Some mutants, a few at a time, each in a copy of its own."""

    def __init__(self, record, seconds=None):
        self.record = record
        self.end = time.monotonic() + seconds if seconds else float("inf")
        self.passed = self.failed = self.skipped = 0
        self.sound = {}                 # by command: what fails of these tests on the tree as it is
        self.lock = threading.Lock()
        self.copies = []                # those that no mutant is in

    def tell(self, mutant, is_good, why, verdict=None):
        with self.lock:
            self.passed += is_good
            self.failed += not is_good
            if verdict:
                self.record.add(verdict, mutant, why)
            print(f"{'ok' if is_good else 'not ok'} {mutant.name} - {why}", flush=True)

    def notice(self, copy, mutant, command, wanted):
        """The tests that fail with the mutant, but not without it; nobody believes a run that fails anyway."""
        names, key = copy.failures(command), " ".join(command)
        if names and key not in self.sound:
            copy.restore()
            copy.build(wanted)
            self.sound[key] = copy.failures(command)
            if self.sound[key]:
                print(f"# {key} fails without any mutant: {self.sound[key]}", flush=True)
            copy.change(mutant, wanted)
        return [name for name in names if name not in self.sound[key]]

    def try_one(self, mutant, runs):
        """True if these runs of tests leave open whether anybody notices."""
        place, problem = mutant.place()
        if place is None:
            return self.tell(mutant, False, problem)
        began = time.monotonic()
        if began > self.end:
            with self.lock:
                self.skipped += 1
            return None
        copy, names = self.copies.pop(), []
        try:
            wanted = targets(runs)
            problem = copy.change(mutant, wanted)
            for command in runs if not problem else []:
                names = names or self.notice(copy, mutant, command, wanted)
        finally:
            self.copies.append(copy)
        if problem:
            return self.tell(mutant, False, f"does not build: {problem[-300:]!r}")
        if not names:
            return True
        others = f" and {len(names) - 3} more" if len(names) > 3 else ""
        where = ", not among the tests that should" if runs == [ALL] and mutant.tests else ""
        return self.tell(mutant, True, f"noticed by {', '.join(names[:3])}{others}{where} "
                         f"[{time.monotonic() - began:.0f} s]", "noticed")

    def try_some(self, mutants, runs_of):
        """Those of them of which it is left open."""
        with concurrent.futures.ThreadPoolExecutor(len(self.copies)) as pool:
            is_open = pool.map(lambda mutant: self.try_one(mutant, runs_of(mutant)), mutants)
            return [mutant for mutant, one in zip(mutants, is_open) if one]

    def try_all(self, mutants, is_quick, jobs):
        chosen = []
        # what was never tried comes first, then what survived
        for mutant in sorted(mutants, key=lambda mutant: mutant.name in self.record.verdicts):
            if self.record.verdicts.get(mutant.name) == "noticed":
                self.tell(mutant, True, "noticed before")
            elif mutant.equivalent and mutant.place()[0]:
                self.skipped += 1
                print(f"ok {mutant.name} # skip, equivalent: {mutant.equivalent}", flush=True)
            else:
                chosen.append(mutant)
        self.copies = [Copy() for _ in range(jobs)]
        left = self.try_some(chosen, lambda mutant: commands(mutant.tests))
        if left and not is_quick:
            print(f"# not noticed by the tests that should: {[mutant.name for mutant in left]}", flush=True)
            left = self.try_some(left, lambda mutant: [ALL])
        for mutant in left:
            self.tell(mutant, False, f"SURVIVED in {mutant.place()[0]}; it breaks: {mutant.breaks}", "survived")
        for copy in self.copies:
            copy.end()


def tenth(text):
    """A number, as of a commit counted from the first one, for itself; else a commit's hash."""
    return int(text) % 10 if text.isdigit() and len(text) < 8 else int(text[:12], 16) % 10


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("words", nargs="*")
    parser.add_argument("--tenth", metavar="N")
    parser.add_argument("--apply", action="store_true")
    parser.add_argument("-l", "--list", action="store_true")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--record", metavar="FILE")
    parser.add_argument("--seconds", type=int)
    parser.add_argument("-j", "--jobs", type=int, default=2)
    arguments = parser.parse_args()
    chosen = [mutant for mutant in load()
              if not arguments.words or any(word in mutant.name for word in arguments.words)]
    if arguments.tenth is not None:
        chosen = chosen[tenth(arguments.tenth)::10]
    run = Run(Record(arguments.record), arguments.seconds)
    if arguments.list:
        print("\n".join(f"{mutant.name}: {mutant.breaks}" for mutant in chosen))
        return 0
    if arguments.apply:
        for mutant in chosen:
            place, problem = mutant.place()
            run.tell(mutant, place is not None, place or problem)
    else:
        run.try_all(chosen, arguments.quick, arguments.jobs)
    print(f"{run.passed} passed, {run.failed} failed, {run.skipped} skipped")
    return 1 if run.failed else 0


if __name__ == "__main__":
    sys.exit(main())
