"""
reports.py - under the sanitizers: no process of a session can go wrong unnoticed.

Shown with pop3d-wrong, which `make sanitize` links from the same objects and tests/harness/wrong.c.

Runs in:   the test runner.
May touch: the reports beside pop3d-wrong.
"""
import os
import subprocess
import sys
import types

from harness.box import Box
from harness.reports import Reports
from harness.server import Failure
from harness.world import HERE, INSIDE, Skip

PARALLEL = False                        # the reports are there once
PLACES = ("pop3d", "AUTHORIZATION", "PAM", "TRANSACTION")
SIGNS = {"memory": ("heap-buffer-overflow", "go_wrong"), "overflow": ("signed-integer-overflow", "wrong.c:")}


def wrong_program(world):
    path = f"{os.path.dirname(world.binary)}/pop3d-wrong"
    if not world.is_sanitized or not os.path.exists(path) or world.binary == path:
        raise Skip("needs the build of make sanitize")
    return path


def converse(world, program, wrong):
    """A login by SASL, a command of TRANSACTION and QUIT; whatever comes of it."""
    other = types.SimpleNamespace(**{**vars(world), "binary": program})
    for name in ("folder", "uid_of", "run_as"):
        setattr(other, name, getattr(world, name))
    box = Box(other, messages=[b"Subject: one\n\n"])
    with box.session(transport="socketpair", env={"POP3D_WRONG": wrong}) as session:
        session.send(b"AUTH PLAIN AGFsaWNlAHNlY3JldA==\r\nUIDL\r\nQUIT\r\n")
        said = session.drain().decode("latin-1")
        session.wait()
    box.remove()
    return said


def test_every_process_is_heard(world):
    """a report of each process arrives, also of one that has no standard error or can open no file"""
    program = wrong_program(world)
    for place in PLACES:
        for kind, signs in SIGNS.items():
            reports = Reports(program)
            said = converse(world, program, f"{place}:{kind}")
            texts = reports.texts()
            if len(texts) != 1 or not all(sign in texts[0] for sign in signs):
                raise Failure(f"{place}, {kind}: the reports are {texts}, the client was told {said}")


def test_no_fault_no_report(world):
    """the same program without a fault reports nothing and serves its session"""
    program = wrong_program(world)
    reports = Reports(program)
    said = converse(world, program, "nowhere:memory")
    if reports.texts() or "signing off" not in said:
        raise Failure(f"{reports.texts()}, {said}")


def test_a_report_fails_the_run(world):
    """a run whose conversation goes well fails all the same when the PAM helper had something to report"""
    program = wrong_program(world)
    for wrong, status, last in (("nowhere:memory", 0, "1 passed, 0 failed, 0 skipped"),
                                ("PAM:memory", 1, "1 passed, 1 failed, 0 skipped")):
        environment = {name: value for name, value in os.environ.items() if name != INSIDE}
        done = subprocess.run([sys.executable, "-B", f"{HERE}/run.py", "sessions/retr over pipes in lines"],
                              env={**environment, "POP3D": program, "POP3D_WRONG": wrong},
                              capture_output=True, text=True)
        is_told = "heap-buffer-overflow" in done.stdout
        if done.returncode != status or done.stdout.split("\n")[-2] != last or is_told != (status == 1):
            raise Failure(f"{wrong}: status {done.returncode}\n{done.stdout}{done.stderr}")
