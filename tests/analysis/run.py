#!/usr/bin/python3
"""
run.py - what compilers, analysers and the finished binary say of pop3d.

    python3 tests/analysis/run.py               everything
    python3 tests/analysis/run.py hardening     one part; -l lists them

Every finding is an error. Those that were looked at and found untrue are in
accepted.txt, each with its reason. A missing tool is a skip, with CI=true a
failure. Parts run side by side. Prints "ok", "not ok" or "skip" for each and
the counts last.

Runs in:   CI, and whenever wanted.
May touch: build/analysis, build/coverage, build/coverage.txt.
"""
import concurrent.futures
import fnmatch
import os
import re
import shutil
import subprocess
import sys
import time
import traceback

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
TREE = os.path.dirname(os.path.dirname(HERE))
BUILD = "build/analysis"
STRIPPED_MAX = 100 * 1024    # text and data: tests/boundary.py


class Missing(Exception):
    """A tool that is not installed."""


def tool(*names):
    for name in names:
        path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/lib/llvm-14/bin")
        if path:
            return path
    raise Missing(f"{names[0]} is missing")


def run(*command, **more):
    environment = {name: value for name, value in os.environ.items()
                   if name not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    more = {"env": environment, "stdin": subprocess.DEVNULL, **more}
    if "input" in more:
        del more["stdin"]
    return subprocess.run(command, cwd=TREE, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, errors="replace",
                          **more)


def make(*arguments):
    done = run("make", *arguments)
    return [] if done.returncode == 0 else [done.stdout[-4000:]]


def makefile_value(name):
    """A variable as the Makefile has it, expanded."""
    done = run("make", "-s", "-f", "-", "--no-print-directory", "show",
               input=f"include Makefile\nshow:\n\t@echo '$({name})'\n")
    return done.stdout.strip().split()


def sources():
    return makefile_value("SOURCES")


def flags():
    """How the product is compiled, without warnings and code generation."""
    return ["-std=c11", "-D_GNU_SOURCE", '-DVERSION="0"']


def files(condition):
    """Files of the tree, what is built left out."""
    for folder, folders, names in os.walk(TREE):
        folders[:] = sorted(set(folders) - {".git", "build", "__pycache__"})
        for name in sorted(names):
            path = os.path.join(folder, name)
            if os.path.isfile(path) and condition(path):
                yield os.path.relpath(path, TREE)


# Findings

FINDING = re.compile(r"^(?P<file>[^\s:]+):(?P<line>\d+):\d+: (?:warning|error|style|performance|"
                     r"portability): (?P<text>.*) \[(?P<check>[^\]\s]+)\]$", re.M)


def accepted():
    """Lines of "check file | part of the source line | reason"."""
    with open(f"{HERE}/accepted.txt") as file:
        for line in file:
            if line.strip() and not line.startswith("#"):
                what, source, reason = (part.strip() for part in line.split("|"))
                assert reason, line
                yield (*what.split(), source)


def source_line(path, number):
    with open(os.path.join(TREE, path), errors="replace") as file:
        lines = file.readlines()
    return lines[number - 1].strip() if 0 < number <= len(lines) else ""


def findings(output):
    """What a tool found and nobody has accepted."""
    for found in FINDING.finditer(output):
        path = os.path.relpath(os.path.join(TREE, found["file"]), TREE)
        line = source_line(path, int(found["line"]))
        if not any(fnmatch.fnmatch(found["check"], check) and fnmatch.fnmatch(path, where) and
                   part in line for check, where, part in accepted()):
            yield f"{path}:{found['line']}: {found['text']} [{found['check']}]\n    {line}"


# Compilers and analysers

def build_with(compiler, level):
    tool(compiler)
    where = f"{BUILD}/{compiler}{level}"
    return make(f"CC={compiler}", f"CFLAGS={level} -g -Werror", "FAST=", f"BUILD={where}",
                f"PROGRAM={where}/pop3d", "all")


def check_gcc():
    """No warning from gcc, at three levels of optimisation."""
    return [problem for level in ("-O0", "-Os", "-O3") for problem in build_with("gcc", level)]


def check_clang():
    """No warning from clang."""
    return [problem for level in ("-O0", "-O2") for problem in build_with("clang", level)]


def check_gcc_analyzer():
    """gcc -fanalyzer follows every path through a file."""
    found = []
    for source in sources():
        done = run(tool("gcc"), *flags(), "-O2", "-fanalyzer", "-fdiagnostics-plain-output",
                   "-c", "-o", "/dev/null", source)
        found += findings(done.stdout.replace("[CWE-", "(CWE-").replace("] [-W", ") [-W"))
        if done.returncode != 0:
            found.append(done.stdout[-2000:])
    return found


TIDY = ("-*,bugprone-*,cert-*,clang-analyzer-*,"
        # two parameters of one type are no fault
        "-bugprone-easily-swappable-parameters,"
        # Annex K, which no C library of ours has
        "-clang-analyzer-security.insecureAPI.DeprecatedOrUnsafeBufferHandling")


def check_clang_tidy():
    """clang-tidy: bugprone, cert, clang-analyzer."""
    done = run(tool("clang-tidy"), "--quiet", f"-checks={TIDY}", *sources(), "--", *flags())
    found = list(findings(done.stdout))
    if done.returncode != 0 and not found:
        found.append(done.stdout[-2000:])
    return found


def check_cppcheck():
    """cppcheck, all but its opinions on style."""
    done = run(tool("cppcheck"), "--quiet", "--enable=warning,performance,portability",
               "--std=c11", "-D_GNU_SOURCE", "-DVERSION=\"0\"", "-D__x86_64__", "-D__LP64__",
               "--template={file}:{line}:{column}: {severity}: {message} [{id}]",
               "--template-location=", "--error-exitcode=0", *sources())
    return list(findings(done.stdout)) + ([] if done.returncode == 0 else [done.stdout[-2000:]])


def is_shell_script(path):
    with open(path, "rb") as file:
        return re.match(rb"#! ?/(usr/)?bin/(env )?(ba|da)?sh\b", file.readline()) is not None


def check_shellcheck():
    """Every shell script."""
    scripts = list(files(is_shell_script))
    if not scripts:
        return []
    done = run(tool("shellcheck"), *scripts)
    return [] if done.returncode == 0 else [done.stdout]


def check_manual():
    """mandoc finds nothing above matters of style in the manual."""
    done = run(tool("mandoc"), "-T", "lint", "-W", "warning", "pop3d.8")
    return [] if done.returncode == 0 and not done.stdout.strip() else [done.stdout]


# The binary

def check_hardening():
    """What the flags promise is in the binaries that are shipped."""
    where = f"{BUILD}/shipped"
    binary = f"{where}/pop3d"
    problems = make(f"BUILD={where}", f"PROGRAM={binary}", "all")
    if problems:
        return problems
    for program in (binary, f"{binary}-check"):
        problems += [f"{program}: {problem}" for problem in hardening_problems(program)]
    run(tool("strip"), "-o", f"{where}/stripped", binary)
    size = os.path.getsize(f"{TREE}/{where}/stripped")
    if size > STRIPPED_MAX:
        problems.append(f"{size} octets stripped, above {STRIPPED_MAX}")
    return problems


def hardening_problems(binary):
    readelf, objdump, nm = tool("readelf"), tool("objdump"), tool("nm")
    problems = []
    header = run(readelf, "-hW", binary).stdout
    segments = run(readelf, "-lW", binary).stdout
    dynamic = run(readelf, "-dW", binary).stdout
    imports = set(re.findall(r"^ +[Uw] ([^@\s]+)", run(nm, "-D", binary).stdout, re.M))
    loads = re.findall(r"^  (LOAD|GNU_STACK) .* ([R ][W ][E ]) 0x", segments, re.M)
    needed = set(re.findall(r"NEEDED.*\[(.*)\]", dynamic))

    def expect(is_so, what):
        if not is_so:
            problems.append(what)

    expect("DYN (Position-Independent Executable" in header, "not a PIE")
    expect("GNU_RELRO" in segments, "no RELRO")
    expect(re.search(r"\(FLAGS\).*BIND_NOW", dynamic) and "NOW" in dynamic, "not bound at once")
    expect(any(kind == "GNU_STACK" for kind, _ in loads), "no word about the stack")
    expect(loads and not any("W" in rights and "E" in rights for _, rights in loads),
           "memory both writable and executable")
    expect(sum("E" in rights for _, rights in loads) == 1 and
           sum(kind == "LOAD" and rights == "R  " for kind, rights in loads) >= 2,
           "code shares its pages with data")
    expect(all("E" not in rights for kind, rights in loads if kind == "GNU_STACK"),
           "executable stack")
    expect({name.split(".so")[0] for name in needed} == {"libc"}, f"needs {' '.join(sorted(needed))}")
    expect(not re.search(r"RPATH|RUNPATH|TEXTREL", dynamic), "RPATH, RUNPATH or TEXTREL")
    expect("__stack_chk_fail" in imports, "no stack protector")
    expect(any(re.fullmatch(r"__.*_chk", name) for name in imports), "no _FORTIFY_SOURCE")
    if binary.endswith("-check"):
        imports.discard("execvp")       # it starts openssl and the like; auth/tool.c says where they may lie
    for name in sorted(imports & {"gets", "sprintf", "vsprintf", "system", "popen",
                                  "execve", "execvp", "execl", "execlp", "tmpnam",
                                  "mktemp", "setuid32", "scanf", "sscanf", "rand"}):
        problems.append(f"imports {name}")
    if "X86-64" in header:
        problems += code_problems(run(objdump, "-d", "--no-show-raw-insn", binary).stdout,
                                  run(nm, binary).stdout)
    return problems


def code_problems(code, symbols):
    """Functions that others can reach begin with endbr64; large frames are probed page by page."""
    begins = dict(re.findall(r"^[0-9a-f]+ <([^>]+)>:\n.*?:\t(\S+)", code, re.M))
    ours = re.findall(r"^[0-9a-f]+ T (\w+)$", symbols, re.M)
    ours = [name for name in ours if not name.startswith("_")]
    bare = [name for name in ours if name in begins and begins[name] != "endbr64"]
    problems = [f"{name} does not begin with endbr64" for name in bare]
    # compiled as a whole, the program has few functions that others can reach
    if not ours:
        problems.append("no symbols to look for endbr64")
    if not re.search(r"sub +\$0x1000,%rsp\n.*or[ql] +\$0x0,", code):
        problems.append("no stack clash protection: no frame is probed")
    return problems


def check_musl():
    """Built for musl, with a PAM that knows one password, a whole session works."""
    import musl
    return musl.check(tool("musl-gcc"), TREE, f"{TREE}/{BUILD}/musl", run, make)


def check_coverage():
    """All tests, with every line counted; what none reaches is in build/coverage.txt."""
    import coverage
    return coverage.check(TREE, run, make, tool, makefile_value("CHECK_SOURCES"))


def judge(name, part):
    """Runs a part: "ok", "not ok" or "skip", and what there is to tell."""
    began = time.monotonic()
    try:
        problems = part()
    except Missing as missing:
        if os.environ.get("CI") != "true":
            return "skip", f"skip analysis {name} - {missing}"
        problems = [str(missing)]
    except Exception:
        problems = [traceback.format_exc()]
    verdict = "not ok" if problems else "ok"
    return verdict, "\n".join([*problems, f"{verdict} analysis {name} "
                               f"[{time.monotonic() - began:.0f} s]"])


def main():
    parts = {name[len("check_"):].replace("_", "-"): function
             for name, function in globals().items() if name.startswith("check_")}
    if sys.argv[1:] == ["-l"]:
        for name, function in parts.items():
            print(f"{name}: {function.__doc__}")
        return 0
    chosen = sys.argv[1:] or list(parts)
    unknown = [name for name in chosen if name not in parts]
    if unknown:
        sys.exit(f"no such part: {' '.join(unknown)}; -l lists them")
    # coverage takes as long as all the others, and mostly waits
    order = sorted(chosen, key=lambda name: name != "coverage")
    passed = failed = skipped = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for done in concurrent.futures.as_completed(
                [pool.submit(judge, name, parts[name]) for name in order]):
            verdict, told = done.result()
            print(told, flush=True)
            passed += verdict == "ok"
            failed += verdict == "not ok"
            skipped += verdict == "skip"
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
