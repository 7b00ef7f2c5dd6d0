#!/usr/bin/python3
"""
run.py - runs the tests, all of them or the parts that are named.

    python3 tests/run.py                    everything
    python3 tests/run.py sessions system    two parts
    python3 tests/run.py dele uidl          whatever has these words in its name
    python3 tests/run.py -l                 lists them, with what each is about
    python3 tests/run.py -j 1 -v            one at a time, telling each

POP3D names the binary, ./pop3d if it is not set. A failure is told with the
conversation that led to it; the last line is "N passed, N failed, N skipped".
As root the tests run in a mount and network namespace of their own, so that
nothing is left behind; as an ordinary user what needs root is skipped.

Runs in:   the test runner.
May touch: a temporary folder.
"""
import argparse
import collections
import concurrent.futures
import importlib.util
import os
import re
import subprocess
import sys
import threading
import time
import traceback

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from harness import limit, script, world as worlds
from harness.progress import Progress
from harness.reports import Reports
from harness.world import HERE, INSIDE, TREE, Skip

COUNTS = re.compile(r"(\d+) passed, (\d+) failed, (\d+) skipped\s*$")


class Test:
    """A name, what it is about, and a function of the world. Threads may run it or not."""

    def __init__(self, name, title, run, is_parallel=True, seconds=limit.SECONDS):
        self.name, self.title, self.run, self.is_parallel = name, title, run, is_parallel
        self.part = re.split("[/ ]", name)[0]
        self.seconds = seconds          # within which it must end


def session_tests():
    for path in sorted(os.listdir(f"{HERE}/sessions")):
        if not path.endswith(".pop3"):
            continue
        parsed = script.Script(f"{HERE}/sessions/{path}")
        for transport, feed in parsed.ways():
            def run(world, parsed=parsed, transport=transport, feed=feed):
                script.run(world, parsed, transport, feed)
            name = f"{parsed.name[:-len('.pop3')]} over {transport} in {feed}"
            yield Test(name, parsed.title, run)


def load(path):
    name = os.path.relpath(path, HERE).removesuffix(".py").replace("/", ".")
    specification = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def functions(path):
    """Functions test_*(world) of a file; PARALLEL = False in it keeps others away, SECONDS is their limit."""
    module = load(path)
    for name, function in vars(module).items():
        if name.startswith("test_"):
            title = (function.__doc__ or "").strip().split("\n")[0]
            yield Test(f"{os.path.relpath(path, HERE)[:-3]} {name[5:]}", title, function,
                       getattr(module, "PARALLEL", True), getattr(module, "SECONDS", limit.SECONDS))


def system_tests():
    for path in sorted(os.listdir(f"{HERE}/system")):
        with open(f"{HERE}/system/{path}") as file:
            # a script without such functions runs on its own
            if path.endswith(".py") and "\ndef test_" in file.read():
                yield from functions(f"{HERE}/system/{path}")


def count(output):
    """What a program's output says: lines "ok NAME" and "not ok NAME", or a last line of counts."""
    counts = COUNTS.search(output)
    if counts:
        return tuple(map(int, counts.groups()))
    good = re.findall(r"^ok (.*)$", output, re.M)
    skipped = sum("# skip" in line for line in good)
    failed = len(re.findall(r"^not ok ", output, re.M))
    return (len(good) - skipped, failed, skipped) if good or failed else (1, 0, 0)


def program_test(name, command, title):
    """A program that is a test. What it printed is told when something in it failed."""
    def run(world):
        if not os.path.exists(command[0]):
            raise AssertionError(f"{command[0]} is missing: make programs builds it")
        environment = {**os.environ, "POP3D": world.binary}
        done = subprocess.run(command, cwd=TREE, env=environment, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, errors="replace")
        output = done.stdout + done.stderr
        passed, failed, skipped = count(done.stdout)
        if done.returncode != 0 or failed or not passed + skipped:
            wrong = "\n".join(line for line in output.split("\n") if not re.match(r"ok |\s*$", line))
            raise AssertionError(f"{wrong[-6000:]}\n    exit status {done.returncode}")
        return passed, failed, skipped
    # one program is many tests
    return Test(name, title, run, seconds=4 * limit.SECONDS)


def program_tests():
    """
    What make built of tests/unit, each file a program; scripts that drive what it
    built of tests/property; the replay of the fuzzers' corpus.
    """
    built = os.environ.get("POP3D_TEST_PROGRAMS", f"{TREE}/build/tests")
    for path in sorted(os.listdir(f"{HERE}/unit") if os.path.isdir(f"{HERE}/unit") else ()):
        if path.endswith(".c"):
            yield program_test(f"unit/{path[:-2]}", [f"{built}/unit/{path[:-2]}"], "")
    for path in ("property/maildir.py", "fuzz/replay.py"):
        if os.path.exists(f"{HERE}/{path}"):
            arguments = [f"{built}/property/drive.bin", "12"] if path.startswith("property") else []
            yield program_test(path[:-3], [sys.executable, "-B", f"{HERE}/{path}", *arguments], "")


def all_tests():
    yield from functions(f"{HERE}/boundary.py")
    yield from program_tests()
    yield from session_tests()
    yield from system_tests()


class Report:
    """Counts, says how far the run is, and what failed as soon as it has."""

    def __init__(self, tests, is_verbose):
        self.progress = Progress(collections.Counter(test.part for test in tests))
        self.is_verbose = is_verbose
        self.passed = self.failed = self.skipped = 0
        self.skips = {}
        self.told = set()
        self.times = []
        self.lock = threading.Lock()
        self.limits = limit.Limits()

    def run(self, test, world):
        began = time.monotonic()
        self.progress.begin(test.part)
        # the sanitizers' build takes its time
        watched = self.limits.begin(test.name, test.seconds * (3 if world.is_sanitized else 1))
        try:
            self.judge(test, world, began, watched)
        finally:
            self.limits.end(watched)

    def judge(self, test, world, began, watched):
        try:
            counts = test.run(world)
            if watched.is_over:
                raise AssertionError("it ended only when its processes were killed")
        except Skip as skip:
            self.add(test, began, skipped=1)
            with self.lock:
                self.skips.setdefault(str(skip), []).append(test.name)
        except AssertionError as failure:
            self.add(test, began, failed=1, why=self.late(watched) + f"{failure}")
        except Exception:
            self.add(test, began, failed=1, why=self.late(watched) + traceback.format_exc())
        else:
            passed, failed, skipped = counts if isinstance(counts, tuple) else (1, 0, 0)
            self.add(test, began, passed, failed, skipped)

    @staticmethod
    def late(watched):
        return f"over its limit of {watched.seconds} seconds: its processes were killed\n" if watched.is_over else ""

    def add(self, test, began, passed=0, failed=0, skipped=0, why=None):
        with self.lock:
            self.passed += passed
            self.failed += failed
            self.skipped += skipped
            self.times.append((time.monotonic() - began, test.name))
            if why is not None:
                about = f" ({test.title})" if test.title else ""
                # one file fails in many ways for one reason: that is told once
                first = test.name.split(" over ")[0]
                if first in self.told and first != test.name:
                    self.progress.say(f"FAIL {test.name}: too")
                else:
                    self.progress.say(f"FAIL {test.name}{about}\n{why}\n")
                self.told.add(first)
            elif self.is_verbose:
                self.progress.say(f"{'ok  ' if passed else 'skip'} {test.name} "
                                  f"[{self.times[-1][0]:.2f} s]")
            self.progress.add(test.part, failed=failed)

    def add_reports(self, texts):
        """Each report of a sanitizer is a failure, whether or not a test noticed anything."""
        for text in texts:
            self.failed += 1
            self.progress.say(f"FAIL a sanitizer reports: {text}\n")

    def close(self):
        self.progress.close()
        for reason, names in sorted(self.skips.items()):
            print(f"skipped, {reason}: {len(names)}, such as {names[0]}")
        if self.is_verbose:
            for seconds, name in sorted(self.times)[-10:]:
                print(f"slowest: {seconds:.1f} s, {name}")
        print(f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped")
        return 1 if self.failed or not self.passed else 0


def enter_namespace():
    """As root: again, inside a namespace of its own. Returns its exit status, or None."""
    if not worlds.IS_ROOT or INSIDE in os.environ:
        return None
    command = ["unshare", "-m", "-n", "--", sys.executable, "-B", *sys.argv]
    try:
        return subprocess.run(command, env={**os.environ, INSIDE: "yes"}).returncode
    except FileNotFoundError:
        sys.exit("unshare (util-linux) is missing")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("words", nargs="*", help="parts, or words of names")
    parser.add_argument("-j", "--jobs", type=int, default=4 * (os.cpu_count() or 2))
    parser.add_argument("-l", "--list", action="store_true")
    parser.add_argument("-v", "--verbose", action="store_true")
    arguments = parser.parse_args()
    tests = [test for test in all_tests()
             if not arguments.words or any(word in test.name for word in arguments.words)]
    if arguments.list:
        for test in tests:
            print(f"{test.name}: {test.title}")
        return 0
    inside = enter_namespace()
    if inside is not None:
        return inside
    world = worlds.World()
    report = Report(tests, arguments.verbose)
    # pop3d -c starts another program, from the same folder
    programs = [world.binary, f"{world.binary}-check"] if world.is_sanitized else []
    reports = [Reports(program) for program in programs if os.path.exists(program)]
    try:
        # most of a session is waiting for somebody: more of them than processors
        with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
            for done in [pool.submit(report.run, test, world) for test in tests
                         if test.is_parallel]:
                done.result()
        for test in tests:
            if not test.is_parallel:
                report.run(test, world)
    finally:
        world.close()
    for one in reports:
        report.add_reports(one.texts())
    return report.close()


if __name__ == "__main__":
    sys.exit(main())
