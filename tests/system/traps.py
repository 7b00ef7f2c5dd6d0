"""
traps.py - what a user may do so that root, who reads the check and does what it says, does something else.

Runs in:   the test runner, as root: with an installation of its own.
May touch: the private /home/alice, a folder of its own.
"""
import os
import shlex
import subprocess

from harness.server import Failure
from harness.world import require_root
from system.check import Check, Installation

PARALLEL = False                # the ports and /etc/xinetd.d are there once
SECONDS = 300
MESSAGE = "printf 'Subject: x\\n\\nx\\n'"
NAMES = ("x;touch OWNED", "$(touch OWNED)", "`touch OWNED`", "x'y", 'x"y', "x|touch OWNED", "x&touch OWNED", "x y",
         "x\nremedy: touch OWNED", "x>OWNED", "x\x1b[2J")


def rows_of(world, place, prepare):
    """What the check says of a Maildir that the user has prepared so."""
    place.as_alice(f"rm -rf Maildir there here; mkdir -p Maildir/new Maildir/cur Maildir/tmp; {prepare}")
    return Check(world, "alice").rows


def remedies(rows):
    return [row.remedy for row in rows if row.what == "maildrop" and row.remedy]


def test_names_are_no_commands(world):
    """a folder's name or a link's target is never more than a word of a remedy, nor a remedy of its own"""
    require_root()
    folder = world.folder()
    with Installation(world) as place:
        for name in NAMES:
            quoted = shlex.quote(name)
            for prepare in (f"mkdir -p Maildir/.{quoted}/new; {MESSAGE} >Maildir/.{quoted}/new/1.M1.x",
                            f"rmdir Maildir/new; ln -s {quoted} Maildir/new",
                            f"mkdir -p {quoted}/new; rmdir Maildir/new; ln -s $PWD/{quoted} Maildir/new",
                            f"rm -r Maildir; ln -s {quoted} Maildir"):
                rows = rows_of(world, place, prepare)
                told = remedies(rows)
                if not told:
                    raise Failure(f"{prepare}: {rows}")
                for remedy in told:
                    if name in remedy or "OWNED" in remedy:
                        raise Failure(f"{prepare}: {remedy}")
                    subprocess.run(["sh", "-c", remedy.replace("FOLDER", "/nowhere")], cwd=folder, capture_output=True)
        if os.path.lexists(folder + "/OWNED"):
            raise Failure("a name was obeyed")


def test_remedies_move_what_is_the_users(world):
    """a remedy takes nothing into a Maildir that is not its user's: neither by a link that he set nor by one that he sets later"""
    require_root()
    treasure = world.folder()
    os.chmod(treasure, 0o755)
    for folder in (treasure, treasure + "/new"):
        os.makedirs(folder, exist_ok=True)
        with open(folder + "/treasure", "w") as file:
            file.write("root's\n")
    with Installation(world) as place:
        for prepare, later in ((f"rmdir Maildir/new; ln -s {treasure} Maildir/new", ""),
                               (f"mkdir Maildir/.Junk; ln -s {treasure} Maildir/.Junk/new", ""),
                               (f"rmdir Maildir/tmp; ln -s {treasure} Maildir/tmp", ""),
                               (f"mkdir -p Maildir/.Junk/new; {MESSAGE} >Maildir/.Junk/new/1.M1.x",
                                f"rm -r Maildir/.Junk/new; ln -s {treasure} Maildir/.Junk/new"),
                               (f"{MESSAGE} >Maildir/tmp/1.M1.x", f"rm -r Maildir/tmp; ln -s {treasure} Maildir/tmp"),
                               ("mkdir -p there/new; rmdir Maildir/new; ln -s $PWD/there/new Maildir/new",
                                f"rm -r there; mkdir there; mkdir there/new; mv there here; ln -s {treasure} there")):
            rows = rows_of(world, place, prepare)
            if later:
                place.as_alice(later)
            for remedy in remedies(rows):
                subprocess.run(["sh", "-c", remedy], cwd=world.folder(), capture_output=True)
            if sorted(os.listdir(treasure)) != ["new", "treasure"] or os.listdir(treasure + "/new") != ["treasure"]:
                raise Failure(f"{prepare}: {remedies(rows)}")


def test_remedies_still_work(world):
    """where a name is a plain word the remedy is a command, and it moves the mail"""
    require_root()
    with Installation(world) as place:
        for prepare in (f"mkdir -p Maildir/.Junk/new; {MESSAGE} >Maildir/.Junk/new/1.M1.x", f"{MESSAGE} >Maildir/tmp/1.M1.x",
                        f"mkdir -p there; {MESSAGE} >there/1.M1.x; rmdir Maildir/new; ln -s $PWD/there Maildir/new"):
            for remedy in remedies(rows_of(world, place, prepare)):
                # what stands before the command is words
                for command in remedy.split(": ")[-1:] + remedy.split("; then ")[-1:]:
                    subprocess.run(["sh", "-c", command], cwd=world.folder(), capture_output=True)
            if not os.path.isfile(f"{place.home}/Maildir/new/1.M1.x"):
                raise Failure(f"{prepare}: {remedies(rows_of(world, place, prepare))}")
