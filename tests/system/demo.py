"""
demo.py - what `make demo` promises, and the command it prints.

Runs in:   the test runner.
May touch: the temporary folder that the demo makes, which is removed.
"""
import os
import pty
import re
import shlex
import shutil
import subprocess
import sys

from harness.server import Failure
from harness.world import HERE, TREE


def by_hand(command, folder):
    """Types a session into pop3d on a terminal of its own, returns what the terminal showed."""
    master, slave = pty.openpty()
    process = subprocess.Popen(command, cwd=TREE, stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    for line in ("USER demo", "PASS open sesame", "STAT", "QUIT"):
        os.write(master, line.encode() + b"\n")
    shown = b""
    try:
        while True:
            piece = os.read(master, 65536)
            if not piece:
                break
            shown += piece
    except OSError:
        pass                            # a terminal without its other end
    os.close(master)
    return process.wait(), shown.decode("utf-8", "replace")


def test_demo(world):
    """make demo shows a session, leaves what it says, and prints a command that works on a terminal"""
    done = subprocess.run([sys.executable, "-B", f"{HERE}/demo.py"], capture_output=True,
                          env={**os.environ, "POP3D": world.binary, "TMPDIR": world.folder()})
    shown = done.stdout.decode()
    if done.returncode != 0:
        raise Failure(shown + done.stderr.decode())
    for line in ("S: -ERR [AUTH] Logon failure", "S: +OK User successfully logged on", "S: +OK 6 ",
                 "S: ..hidden files", "S: +OK 5 ", "server signing off", "cur/1790000004."):
        if line not in shown:
            raise Failure(f"the demo does not show {line!r}:\n{shown}")
    if "\033" in shown:
        raise Failure("colours without a terminal")
    command = shlex.split(re.search(r"^   (\S*pop3d -C .*)$", shown, re.M)[1])
    folder = re.search(r"^   rm -r (\S+)$", shown, re.M)[1]
    # as root the folder lies in one that only the tests know: nobody must get there
    status, terminal = by_hand(command, folder)
    shutil.rmtree(folder)
    if status != 0 or "+OK 5 " not in terminal or "signing off" not in terminal:
        raise Failure(f"by hand, status {status}:\n{terminal}")
