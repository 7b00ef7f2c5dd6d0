"""
harness.py - what the tests themselves rely on: how far they are, and an /etc of their own.

Runs in:   the test runner.
May touch: a fresh folder; as root a mount namespace below the tests' own.
"""
import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios

from harness.server import Failure
from harness.world import HERE, require_root

# What a run says that has three parts; of the last it does not know how much there is to do.
RUN = """
import sys, time
sys.path.insert(0, sys.argv[1])
from harness.progress import Progress
progress = Progress({"one": 3, "two": 2, "three": None})
for part, failed in (("one", 0), ("one", 1), ("one", 0), ("two", 0), ("two", 0)):
    progress.begin(part)
    time.sleep(0.15)
    progress.add(part, failed=failed)
progress.say("FAIL in the midst of it")
progress.begin("three")
progress.note("three", "7 of 9 points")
time.sleep(1.3)
progress.add("three")
progress.end("three")
progress.close()
print("5 passed, 1 failed, 0 skipped")
"""
COMMAND = [sys.executable, "-B", "-c", RUN, HERE]
LAST = "5 passed, 1 failed, 0 skipped"


def said_on_a_terminal(columns, **environment):
    """All octets that the run sends to a terminal of so many columns."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    known = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    process = subprocess.Popen(COMMAND, stdin=slave, stdout=slave, stderr=slave,
                               env={**known, "TERM": "xterm", **environment})
    os.close(slave)
    said = b""
    try:
        while piece := os.read(master, 65536):
            said += piece
    except OSError:
        pass                            # the other end is closed
    os.close(master)
    if process.wait() != 0:
        raise Failure(said.decode())
    return said.decode()


def shown(said, columns):
    """What a terminal shows after these octets, and what its last line has shown one after the other."""
    lines, rewritten = [""], []
    for character in said.replace("\r\n", "\n"):
        if character == "\n":
            lines.append("")
            column = 0
        elif character == "\r":
            rewritten.append(lines[-1].rstrip())
            column = 0
        else:
            column = len(lines[-1]) if lines[-1] == "" else column
            lines[-1] = lines[-1][:column] + character + lines[-1][column + 1:]
            column += 1
            if len(lines[-1]) >= columns:
                raise Failure(f"a line of the progress is as wide as the terminal: {lines[-1]!r}")
    return [line.rstrip() for line in lines], rewritten


def test_progress_on_a_terminal(world):
    """on a terminal one line tells part, done of all and failures, is rewritten, and leaves nothing behind"""
    lines, rewritten = shown(said_on_a_terminal(80), 80)
    if lines != ["FAIL in the midst of it", LAST, ""]:
        raise Failure(f"what stays is {lines}")
    for wanted in (r"one, part 1 of 3: 1 of 3 done, 0 failed, \d s", r"one, part 1 of 3: 2 of 3 done, 1 failed, \d s",
                   r"two, part 2 of 3: 1 of 2 done, 0 failed, \d s; 1 failed in other parts",
                   # the clock goes on while nothing is done
                   r"three, part 3 of 3: 0 done, 0 failed, [1-9] s; 7 of 9 points; .*"):
        if not any(re.fullmatch(wanted, line) for line in rewritten):
            raise Failure(f"{wanted!r} was not shown, but {rewritten}")


def test_progress_on_a_narrow_terminal(world):
    """the line is cut to the terminal's columns, for a longer one could not be rewritten"""
    lines, _ = shown(said_on_a_terminal(30), 30)
    if lines[-2:] != [LAST, ""]:
        raise Failure(f"what stays is {lines}")


def test_progress_elsewhere(world):
    """in a file, or on a terminal that cannot rewrite, each part has one line when it is over; the counts come last"""
    done = subprocess.run(COMMAND, capture_output=True, text=True, check=True).stdout
    for said in (done, said_on_a_terminal(80, TERM="dumb").replace("\r\n", "\n")):
        wanted = (r"# one: 3 of 3 done, 1 failed, \d s\n# two: 2 of 2 done, 0 failed, \d s\n"
                  r"FAIL in the midst of it\n# three: 1 done, 0 failed, \d s\n" + LAST + "\n")
        if not re.fullmatch(wanted, said):
            raise Failure(said)


# A test whose limit is two seconds, on a machine of which it gets nothing, then all.
LIMITED = """
import subprocess, sys, threading
sys.path.insert(0, sys.argv[1])
from harness import limit
looks, is_idle = threading.Semaphore(0), threading.Event()

def share():
    looks.release()
    return 1 if is_idle.is_set() else 0

limit.share = share
limits = limit.Limits()
watched = limits.begin("one", 2)
process = subprocess.Popen(["sleep", "1000"])
for _ in range(5):
    looks.acquire()
print("busy:", process.poll(), watched.is_over)
is_idle.set()
print("idle:", process.wait(), watched.is_over)
"""


def test_limit_on_a_busy_machine(world):
    """the seconds of a test's limit do not pass while others have the machine"""
    done = subprocess.run([sys.executable, "-B", "-c", LIMITED, HERE], capture_output=True, text=True)
    if done.stdout != "busy: None False\nidle: -9 True\n":
        raise Failure(done.stdout + done.stderr)


# A machine with an /etc that may be changed; on it the tests begin, and then a package renames a new passwd.
MACHINE = """
import os, subprocess, sys
folder, tests, inside = sys.argv[1:]
subprocess.run(["cp", "-a", "/etc", f"{folder}/machine"], check=True)
subprocess.run(["mount", "--bind", f"{folder}/machine", "/etc"], check=True)
test = subprocess.Popen(["unshare", "-m", "--propagation", "private", sys.executable, "-B", "-c", inside, folder, tests],
                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
print(test.stdout.readline(), end="")
with open("/etc/passwd.new", "w") as file:
    file.write("root:x:0:0:root:/root:/bin/sh\\n")
os.rename("/etc/passwd.new", "/etc/passwd")
print(test.communicate("go on\\n")[0], end="")
print("outside:", len(open("/etc/passwd").readlines()))
"""
TESTS = """
import os, pwd, sys
folder, tests = sys.argv[1:]
sys.path.insert(0, tests)
from harness import world
os.mkdir(f"{folder}/tests")
world._private_etc(f"{folder}/tests")
print("before:", pwd.getpwnam("alice").pw_uid, flush=True)
sys.stdin.readline()
print("after:", pwd.getpwnam("alice").pw_uid if any(entry.pw_name == "alice" for entry in pwd.getpwall()) else "gone")
"""


def test_private_etc_holds(world):
    """a package that replaces /etc/passwd while the tests run takes none of their accounts away"""
    require_root()
    done = subprocess.run(["unshare", "-m", "--propagation", "private", sys.executable, "-B", "-c", MACHINE,
                           world.folder(), HERE, TESTS], capture_output=True, text=True)
    if done.stdout != "before: 4001\nafter: 4001\noutside: 1\n":
        raise Failure(done.stdout + done.stderr)
