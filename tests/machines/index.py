"""
index.py - the index that one machine wrote, read on another.

It must be believed there: the reader sees the same, and leaves the file as it
is. So each number in it is the same on all machines, whatever their widths
and orders of octets are, also where inode numbers have more than 32 bits.

Runs in:   tests/machines/run.py, as root in a mount namespace of its own.
May touch: temporary folders, mounts on them.
"""
import contextlib
import os
import subprocess
import tempfile
import time

# Names whose unique-ids are made in each way there is, and contents whose counts differ from their sizes.
MESSAGES = {"cur/1700000000.a.host:2,S": "Subject: one\n\n.dot\n", "new/1700000001.b.host": "no line end",
            "cur/4294967296.beyond.2038:2,": "\n" * 300, "new/1700000002.with blank": "Subject: blank\r\n\r\nx\r\n",
            "cur/1700000003.two:2,S": "first\n", "new/1700000003.two": "second\n", "cur/text": ""}
AFTER_2038 = 5e9


class Drive:
    """tests/property/drive.c on one machine, or on this one."""

    def __init__(self, program, maildir):
        self.process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.opened = self._ask(f"open {maildir}")
        self._ask("load")
        self.listing = self._ask("list")
        self.listing += "".join(self.process.stdout.readline() for _ in range(int(self.listing.split()[1])))
        self._ask("close")
        self.process.communicate()

    def _ask(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer, f"the driver died at: {command}"
        return answer


def look(program, maildir):
    """What a session sees; and the octets, the inode and the time of the index that it left."""
    drive = Drive(program, maildir)
    with open(f"{maildir}/pop3d.index", "rb") as file:
        status = os.fstat(file.fileno())
        return drive.opened + drive.listing, (file.read(), status.st_ino, status.st_mtime_ns)


def fill(maildir):
    for name in ("new", "cur", "tmp"):
        os.mkdir(f"{maildir}/{name}")
    for name, text in MESSAGES.items():
        with open(f"{maildir}/{name}", "w", newline="") as file:
            file.write(text)
        os.utime(f"{maildir}/{name}", (AFTER_2038, AFTER_2038))
    return maildir


@contextlib.contextmanager
def plain():
    with tempfile.TemporaryDirectory(prefix="pop3d-machines-") as folder:
        yield fill(folder)


def mount(kind, path, options):
    done = subprocess.run(["mount", "-t", kind, "-o", options, kind, path], capture_output=True, text=True)
    assert done.returncode == 0, f"mount -t {kind}: {done.stderr}"


@contextlib.contextmanager
def wide():
    """A Maildir of an overlay: to tell its file systems apart it sets the highest bit of the lower one's numbers."""
    with tempfile.TemporaryDirectory(prefix="pop3d-machines-") as base:
        lower, upper, top = (f"{base}/{name}" for name in ("lower", "upper", "top"))
        for path in (lower, upper, top):
            os.mkdir(path)
        try:
            mount("tmpfs", lower, "size=1m")
            mount("tmpfs", upper, "size=1m")
            os.mkdir(f"{upper}/files")
            os.mkdir(f"{upper}/work")
            fill(lower)
            mount("overlay", top, f"xino=on,lowerdir={lower},upperdir={upper}/files,workdir={upper}/work")
            narrow = [name for name in ("new", "cur", *MESSAGES) if os.stat(f"{top}/{name}").st_ino >> 32 == 0]
            assert not narrow, f"this kernel's overlay has small inode numbers for {narrow}"
            yield top
        finally:
            for path in (top, upper, lower):
                subprocess.run(["umount", "-l", path], stderr=subprocess.DEVNULL, check=False)


def compare(programs, place, what, report):
    """What each writes each other reads."""
    for writer, writing in programs.items():
        with place() as maildir:
            # an index is not believed for folders that changed in the same tick of the clock
            time.sleep(0.1)
            seen, index = look(writing, maildir)
            report(f"{what} written on {writer}: {seen.split()[1]} messages",
                   seen.startswith(f"ok {len(MESSAGES)} "), seen)
            for reader, reading in programs.items():
                found, left = look(reading, maildir)
                report(f"{what} written on {writer} is read on {reader}", found == seen and left == index,
                       f"{seen}\n{found}\nthe index is {'the same' if left == index else 'another'}")


def check(programs, report):
    """programs: for the name of each machine the driver of maildir/ on it."""
    compare(programs, plain, "index", report)
    if os.geteuid() == 0:
        compare(programs, wide, "index with inodes of 64 bits", report)
    else:
        report.skip("index with inodes of 64 bits", "needs root")
