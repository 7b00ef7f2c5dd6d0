"""
coverage.py - which lines and branches of the product the tests reach.

Runs in:   tests/analysis/run.py.
May touch: build/coverage, build/coverage.txt.

The counters lie in a file that is mapped when a process starts. So they count
in every process of a session, confined as it is: one that is killed, one that
ends by _exit(), one that can no longer open a file. The product is as it is
shipped but for the compiler's flags, its filters included.
"""
import collections
import json
import os
import shutil
import sys

# As part of all lines, and of all branches; below it the part fails. Much of the check is reached by
# tests/evenings alone, which take an hour and are not run here.
LEAST = {"pop3d": (93.0, 82.0), "pop3d-check": (60.0, 43.0)}
BUILD = "build/coverage"


def build(tree, make):
    shutil.rmtree(f"{tree}/{BUILD}", ignore_errors=True)
    os.makedirs(f"{tree}/{BUILD}/counts")
    # accounts without power count, too
    os.chmod(f"{tree}/{BUILD}/counts", 0o1777)
    flags = (f"-O0 -g -fprofile-instr-generate={tree}/{BUILD}/counts/%m%c.profraw "
             "-fcoverage-mapping -fprofile-update=atomic -Xclang -mllvm "
             "-Xclang -runtime-counter-relocation -Qunused-arguments")
    return make("CC=clang", f"CFLAGS={flags}", "FORTIFY=", "HARDENING=", "FAST=",
                f"BUILD={BUILD}", f"PROGRAM={BUILD}/pop3d", "all", "programs")


def tests(tree, run):
    """The tests themselves are judged elsewhere; here they only have to have run."""
    environment = {**os.environ, "POP3D": f"{tree}/{BUILD}/pop3d",
                   "POP3D_TEST_PROGRAMS": f"{tree}/{BUILD}/tests"}
    done = run(sys.executable, "tests/run.py", env=environment)
    with open(f"{tree}/{BUILD}/tests.log", "w") as file:
        file.write(done.stdout)
    last = (done.stdout.strip().split("\n") or [""])[-1]
    return last if last.endswith("skipped") else None


def programs(tree):
    """All that has counters: pop3d, pop3d-check, and what drives a part of it."""
    yield f"{tree}/{BUILD}/pop3d"
    yield f"{tree}/{BUILD}/pop3d-check"
    for folder, _, names in os.walk(f"{tree}/{BUILD}/tests"):
        for name in sorted(names):
            if os.access(f"{folder}/{name}", os.X_OK):
                yield f"{folder}/{name}"


def uncovered(function):
    """
    Line numbers of a function that no run reached. A region is
    [line, column, end line, end column, count, file, expanded file, kind]; what a
    macro of a header becomes has the header's lines, and another file than 0.
    """
    reached, missed = set(), set()
    for line, _, end, _, count, file, _, kind in sorted(function["regions"],
                                                        key=lambda region: (region[0], -region[2])):
        if kind != 0 or file != 0:
            continue
        for number in range(line, end + 1):
            if count:
                reached.add(number)
                missed.discard(number)
            else:
                # inner regions come later and say it more exactly
                missed.add(number)
    return sorted(missed)


def totals(tree, files, check_sources):
    """For each of the two programs the part of its lines, and of its branches. The check has what only it runs."""
    sums = {program: collections.Counter() for program in LEAST}
    for file in files:
        program = "pop3d-check" if os.path.relpath(file["filename"], tree) in check_sources else "pop3d"
        for kind in ("lines", "branches"):
            sums[program].update({f"{kind} {what}": file["summary"][kind][what] for what in ("count", "covered")})
    return {program: [100 * of[f"{kind} covered"] / of[f"{kind} count"] for kind in ("lines", "branches")]
            for program, of in sums.items()}


def report(tree, data, last, reached):
    """Totals for each file, then every line not reached, by function."""
    lines = [f"tests: {last}", "",
             f"{'file':24} {'lines':>6} {'reached':>8} {'branches':>9} {'both ways':>10}"]
    for file in data["files"]:
        summary = file["summary"]
        lines.append(f"{os.path.relpath(file['filename'], tree):24} "
                     f"{summary['lines']['count']:6} {summary['lines']['percent']:7.1f}% "
                     f"{summary['branches']['count']:9} {summary['branches']['percent']:9.1f}%")
    lines += [f"{program:24} {'':6} {of_lines:7.1f}% {'':9} {of_branches:9.1f}%"
              for program, (of_lines, of_branches) in reached.items()]
    missed = collections.defaultdict(dict)
    for function in data["functions"]:
        path, name = function["filenames"][0], function["name"].split(":")[-1]
        if path not in {file["filename"] for file in data["files"]}:
            continue
        # one function may be in several programs; a line is missed where all miss it
        numbers = set(uncovered(function)) & set(missed[path].get(name, uncovered(function)))
        missed[path][name] = sorted(numbers)
    for path in sorted(missed):
        with open(path) as file:
            source = file.readlines()
        for name, numbers in sorted(missed[path].items(), key=lambda item: item[1]):
            if not numbers:
                continue
            lines += ["", f"{os.path.relpath(path, tree)}: {name}()"]
            lines += [f"  {number:5} {source[number - 1].rstrip()}" for number in numbers]
    with open(f"{tree}/build/coverage.txt", "w") as file:
        file.write("\n".join(lines) + "\n")


def check(tree, run, make, tool, check_sources):
    merge, cover = tool("llvm-profdata", "llvm-profdata-14"), tool("llvm-cov", "llvm-cov-14")
    tool("clang")
    problems = build(tree, make)
    if problems:
        return problems
    last = tests(tree, run)
    if last is None:
        return [f"the tests did not run; see {BUILD}/tests.log"]
    counts = [f"{tree}/{BUILD}/counts/{name}" for name in os.listdir(f"{tree}/{BUILD}/counts")]
    merged = run(merge, "merge", "-o", f"{BUILD}/counts.profdata", *counts)
    if merged.returncode != 0:
        return [merged.stdout]
    first, *others = programs(tree)
    exported = run(cover, "export", f"-instr-profile={BUILD}/counts.profdata",
                   "-ignore-filename-regex=/tests/", first,
                   *(f"-object={program}" for program in others))
    if exported.returncode != 0:
        return [exported.stdout[-2000:]]
    data = json.loads(exported.stdout[exported.stdout.index("{"):])["data"][0]
    reached = totals(tree, data["files"], check_sources)
    report(tree, data, last, reached)
    for program, (lines, branches) in reached.items():
        print(f"coverage of {program}: {lines:.1f} % of lines, {branches:.1f} % of branches (tests: {last}); "
              "the rest is in build/coverage.txt")
    return [f"{program}: below {LEAST[program][0]:.0f} % of lines or {LEAST[program][1]:.0f} % of branches"
            for program, (lines, branches) in reached.items()
            if lines < LEAST[program][0] or branches < LEAST[program][1]]
