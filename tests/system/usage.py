"""
usage.py - the command line outside a session.

Runs in:   the test runner.
May touch: nothing.
"""
import re
import subprocess

from harness.server import Failure


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
    for option in "epSVxCdlmnstv":
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
