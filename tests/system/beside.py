"""
beside.py - other programs at work in the Maildir, on a file system whose clock ticks slowly.

On ramfs a time stamp lasts for a tick of some milliseconds: what changes twice in one
tick looks unchanged, as on many a disk and most servers of files.

Runs in:   the test runner, as root: it mounts the file system.
May touch: maildrops of its own.
"""
import os
import subprocess
import sys

from harness.server import Failure
from harness.world import Skip, require_root

HERE = os.path.dirname(os.path.abspath(__file__))
DRIVE = os.environ.get("POP3D_TEST_PROGRAMS", os.path.dirname(os.path.dirname(HERE)) + "/build/tests")
sys.path.insert(0, os.path.dirname(HERE) + "/property")

from maildir import Driver

# Without end: a message is replaced by its like (a filter does so), or its flags are changed.
RESTLESS = """
import os, random, sys
path, mode, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
flags = [""] * count
while True:
    number = random.randrange(count)
    name = "%s/cur/17000%05d.M1P1.h:2," % (path, number)
    if mode == "replace":
        with open(path + "/tmp/next", "w") as file:
            file.write("Subject: %d\\n\\nx\\n" % number)
        os.rename(path + "/tmp/next", name)
        continue
    new = random.choice(["", "S", "FS", "RS", "T"])
    try:
        os.rename(name + flags[number], name + new)
        flags[number] = new
    except FileNotFoundError:
        pass
"""


class Maildir:
    """Messages in cur/, numbered from 0, on a ramfs."""

    def __init__(self, world, count):
        require_root()
        self.path, self.count = world.folder(), count
        if subprocess.run(["mount", "-t", "ramfs", "ramfs", self.path], check=False).returncode != 0:
            raise Skip("there is no ramfs")
        for folder in ("new", "cur", "tmp"):
            os.mkdir(f"{self.path}/{folder}")
        for number in range(count):
            with open(self.message(number), "w") as file:
                file.write(f"Subject: {number}\n\nx\n")
        self.restless = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.restless:
            self.restless.kill()
            self.restless.wait()
        subprocess.run(["umount", "-l", self.path], check=True)

    def message(self, number, flags=""):
        return f"{self.path}/cur/17000{number:05}.M1P1.h:2,{flags}"

    def flag(self, number):
        os.rename(self.message(number), self.message(number, "S"))

    def unrest(self, mode):
        self.restless = subprocess.Popen([sys.executable, "-c", RESTLESS, self.path, mode, str(self.count)])

    def session(self):
        driver = Driver(f"{DRIVE}/property/drive.bin")
        answer = driver.ask(f"open {self.path}")
        if answer[:2] != ["ok", str(self.count)] or driver.ask("load") != ["ok"]:
            raise Failure(f"{answer} and not {self.count} messages")
        return driver


def test_renamed_in_one_tick(world):
    """a message renamed in the tick in which another was looked for is found, sent and removed"""
    for _ in range(30):
        with Maildir(world, 4) as maildir:
            driver = maildir.session()
            driver.ask("dele 2")
            for number in (0, 1, 2, 3):
                maildir.flag(number)
                if number in (0, 3) and driver.message(f"retr {number + 1}")[0][0] != "ok":
                    raise Failure(f"message {number + 1} is there and was not found")
            answer = driver.ask("quit")
            driver.kill()
            if answer != ["ok", "1", "0", "0"] or os.path.exists(maildir.message(1, "S")):
                raise Failure(f"{answer}, left: {os.listdir(maildir.path + '/cur')}")


def test_renamed_while_removed(world):
    """what another program renames without end is removed, or QUIT does not say so"""
    for _ in range(8):
        with Maildir(world, 60) as maildir:
            driver = maildir.session()
            maildir.unrest("rename")
            for number in range(1, 61):
                driver.ask(f"dele {number}")
            marked, remaining = map(int, driver.ask("quit")[1:3])
            driver.kill()
            maildir.restless.kill()
            maildir.restless.wait()
            left = len(os.listdir(f"{maildir.path}/cur"))
            if left > remaining:
                raise Failure(f"{marked} to be removed, {remaining} said to be left, {left} are")


def test_replaced_while_read(world):
    """a message that is replaced while the folders are read is one message, and keeps its unique-id"""
    with Maildir(world, 300) as maildir:
        driver = maildir.session()
        driver.ask("close")
        driver.kill()
        maildir.unrest("replace")
        for _ in range(40):
            driver = maildir.session()
            for number, (_, unique) in driver.listing().items():
                if unique != f"17000{number - 1:05}.M1P1.h":
                    raise Failure(f"message {number} is {unique} now")
            driver.ask("close")
            driver.kill()


def test_delivered_in_the_tick_of_the_index(world):
    """a message that comes in the tick in which an index was made is seen by the next session"""
    with Maildir(world, 1) as maildir:
        for number in range(1, 120):
            driver = maildir.session()
            driver.ask("close")
            driver.kill()
            # with the next message the folder may bear the same stamp as before
            with open(maildir.message(number), "w") as file:
                file.write("x\n")
            maildir.count = number + 1
