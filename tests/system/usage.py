"""
usage.py - the command line outside a session.

Runs in:   the test runner.
May touch: nothing.
"""
import os
import re
import subprocess

from harness.server import Failure
from harness.world import TREE


def run(world, *options):
    return subprocess.run([world.binary, *options], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=20)


def test_version(world):
    """-V prints name and version"""
    done = run(world, "-V")
    if done.returncode != 0 or not re.fullmatch(r"pop3d \d+\.\d+\S*\n", done.stdout) or done.stderr:
        raise Failure(f"{done}")


def test_help(world):
    """-h prints the usage, every option in it"""
    done = run(world, "-h")
    if done.returncode != 0 or not done.stdout.startswith("usage: pop3d") or done.stderr:
        raise Failure(f"{done}")
    for option in "epSVxCdilmnstv":
        if not re.search(rf"\[-\w*{option}", done.stdout):
            raise Failure(f"-{option} is missing in {done.stdout}")


def test_version_is_the_greeting(world):
    """greeting, CAPA and -V name one version"""
    version = run(world, "-V").stdout.split()[1]
    done = subprocess.run([world.binary], input="CAPA\r\nQUIT\r\n", capture_output=True, text=True, timeout=20)
    for line in (f"+OK pop3d {version} server ready", f"IMPLEMENTATION pop3d-{version}",
                 f"+OK pop3d {version} server signing off"):
        if line not in done.stdout:
            raise Failure(f"no {line!r} in {done.stdout}")


def read(path):
    with open(os.path.join(TREE, path)) as file:
        return file.read()


def test_manual_knows_each_file_system(world):
    """the manual's table of file systems says what maildir/filesystem.c says, row by row"""
    rows = re.findall(r'\{ 0x[0-9a-f]{8}, "([^"]+)", (true|false), (true|false) \}', read("maildir/filesystem.c"))
    wanted = [(name, "the folder, or pop3d.lock" if local == "true" else "pop3d.lock",
               "one hour" if tells == "true" else "never") for name, local, tells in rows]
    told = re.findall(r"^\.It (.+?) Ta (.+?) Ta (.+)$", read("pop3d.8"), re.M)
    if len(wanted) < 20 or told[1:] != wanted:
        raise Failure(f"only in one of them: {set(told[1:]) ^ set(wanted)}")


def test_manual_has_each_reason(world):
    """each reason why a login fails is in the manual's list, under its category, and no other is there"""
    reasons = re.findall(r"^\s+(REASON_\w+),", read("auth/internal.h"), re.M)
    rows = re.findall(r'\[(REASON_\w+)\] =\s+\{ "([^"]*)", VERDICT_\w+, (true|false) \}', read("auth/reasons.c"))
    if reasons != [row[0] for row in rows] or len(reasons) < 15:
        raise Failure(f"the list is {reasons}, its rows are {[row[0] for row in rows]}")
    told = re.search(r"^The reason is one of\n(.*?)^with the category Configuration one of\n(.*?)^or, ",
                     read("pop3d.8"), re.M | re.S)
    for told_here, kind in ((told[1], "false"), (told[2], "true")):
        known = {name for _, name, is_configuration in rows if name and is_configuration == kind}
        named = set(re.findall(r"[\w-]+", re.sub(r"^\.Li", "", told_here, flags=re.M)))
        if known != named:
            raise Failure(f"not in both, the list and the manual: {sorted(known ^ named)}")


def test_manual_has_each_reply(world):
    """the manual's table tells what each command is answered, and of no other command"""
    commands = set(re.findall(r'\{ "([A-Z]+)", [A-Z_]+, do_\w+ \}', read("pop3d.c")))
    table = re.search(r"^\.Ss Replies\n(.*?)^\.El", read("pop3d.8"), re.M | re.S)[1]
    told = set(re.findall(r"^\.It Ic ([A-Z]+)", table, re.M))
    if len(commands) < 12 or commands != told:
        raise Failure(f"not in both, the command tables and the manual: {sorted(commands ^ told)}")
    said = subprocess.run([world.binary], input="USER alice\r\nQUIT\r\n", capture_output=True, text=True, timeout=20)
    if "+OK pop3d Ar version Li server ready" not in table or "server ready" not in said.stdout:
        raise Failure(f"the greeting: {said.stdout}")
