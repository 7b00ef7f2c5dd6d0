#!/usr/bin/python3
"""
filesystems.py - real file systems of kinds on which folders' times do not tell each message.

    python3 tests/torture/filesystems.py [NAME...]     bindfs mergerfs folder sshfs crash seconds

Each message that is there must be seen, a second session through the same mount must be
refused, and what QUIT says must be so. Needs /dev/fuse, and bindfs, mergerfs and sshfs as
Debian has them; what is missing is skipped.

Runs in:   the test runner, as root.
May touch: a private world, mounts in a namespace of its own.
"""
import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time

import common

from harness.server import Session, says

SFTP_SERVERS = ("/usr/lib/openssh/sftp-server", "/usr/lib/sftp-server")


def run(*command):
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


class Stage:
    """A folder of mounts, and sessions with Maildirs below them."""

    def __init__(self, world):
        self.world, self.report = world, common.Report()
        world.service("permit", "auth required pam_permit.so\naccount required pam_permit.so\n")

    @contextlib.contextmanager
    def folders(self, *names):
        root = self.world.folder()
        os.chmod(root, 0o755)
        paths = [f"{root}/{name}" for name in names]
        for path in paths:
            os.mkdir(path)
        try:
            yield paths
        finally:
            for path in paths:
                subprocess.run(["umount", "-l", path], stderr=subprocess.DEVNULL, check=False)

    def maildir(self, above):
        path = f"{above}/alice"
        for folder in ("", "/new", "/cur", "/tmp"):
            os.mkdir(path + folder)
            os.chown(path + folder, common.ALICE, common.ALICE)
            os.chmod(path + folder, 0o700)
        return path

    @contextlib.contextmanager
    def session(self, maildir, *options):
        session = Session(self.world, "socketpair", [*self._options(maildir), *options])
        try:
            session.greeting()
            session.expect("USER alice", "+OK")
            session.answer = session.command("PASS secret")
            yield session
        finally:
            session.finish()

    def _options(self, maildir):
        return ["-e", "-C", self.world.configuration, "-s", "permit", "-m", os.path.dirname(maildir) + "/%u"]

    def seen(self, maildir, *options):
        """How many messages STAT and UIDL tell in one session."""
        with self.session(maildir, *options) as session:
            if not says(session.answer, "+OK"):
                return session.answer
            count = int(session.command("STAT").split()[1])
            session.expect("UIDL", "+OK")
            listed = len(session.block().splitlines()) - 1
            session.expect("QUIT", "+OK")
            session.wait()      # it writes the index when the client has its reply
            return count if count == listed else f"STAT {count}, UIDL {listed}"

    def excludes(self, name, maildir, other=None):
        """A second session is refused, and let in when the first has gone."""
        with self.session(maildir) as first, self.session(other or maildir) as second:
            is_good = says(first.answer, "+OK") and says(second.answer, "-ERR [IN-USE]")
            self.report.check(f"{name}: a second session is refused", is_good, f"{first.answer}, {second.answer}")
            first.expect("QUIT", "+OK")
            first.wait()
        count = self.seen(other or maildir)
        self.report.check(f"{name}: the lock ends with its session", isinstance(count, int), str(count))

    def deletes(self, name, maildir, behind):
        """What is renamed and marked in a session is removed, or QUIT does not say so."""
        with self.session(maildir) as session:
            session.expect("UIDL", "+OK")
            count = len(session.block().splitlines()) - 1
            for folder in ("new", "cur"):
                for file in os.listdir(f"{maildir}/{folder}"):
                    os.rename(f"{maildir}/{folder}/{file}", f"{maildir}/cur/{file.split(':')[0]}:2,F")
            for number in range(1, count + 1):
                session.expect(f"DELE {number}", "+OK")
            answer = session.command("QUIT")
        left = [file for path in behind for folder in ("new", "cur") for file in os.listdir(f"{path}/{folder}")]
        self.report.check(f"{name}: QUIT tells the truth of renamed messages", says(answer, "+OK") == (left == []),
                          f"{answer}, left {left}")


def deliver(maildir, number, content=b"Subject: x\n\nx\n"):
    path = f"{maildir}/tmp/{number}"
    with open(path, "wb") as file:
        file.write(content)
    os.chown(path, common.ALICE, common.ALICE)
    os.rename(path, f"{maildir}/new/{1700000000 + number}.M{number}P1.h")


def bindfs(stage):
    with stage.folders("back", "front") as (back, front):
        there = stage.maildir(back)
        run("bindfs", back, front)
        maildir = front + "/alice"
        deliver(maildir, 1)
        time.sleep(2.2)
        stage.seen(maildir)
        deliver(there, 2)
        count = stage.seen(maildir)
        stage.report.check("bindfs: a message that came beneath it is seen", count == 2, str(count))
        stage.excludes("bindfs", maildir)
        stage.deletes("bindfs", maildir, [there])


def mergerfs(stage):
    with stage.folders("one", "two", "pool") as (one, two, pool):
        for branch in (one, two):
            run("mount", "-t", "tmpfs", "-o", "size=64m", "branch", branch)
        branches = [stage.maildir(one), stage.maildir(two)]
        run("mergerfs", "-o", "allow_other,use_ino,category.create=mfs", f"{one}:{two}", pool)
        maildir = pool + "/alice"
        deliver(branches[0], 1)
        time.sleep(2.2)
        stage.seen(maildir)
        time.sleep(2.2)
        deliver(branches[1], 2)
        time.sleep(1.2)                 # its cache of attributes
        count = stage.seen(maildir)
        stage.report.check("mergerfs: a message on another disk of the pool is seen", count == 2, str(count))
        stage.excludes("mergerfs", maildir)
        stage.deletes("mergerfs", maildir, branches)


def folder(stage):
    """A local Maildir whose new/ is of a pool."""
    with stage.folders("one", "two", "local") as (one, two, local):
        maildir = stage.maildir(local)
        for branch in (one, two):
            run("mount", "-t", "tmpfs", "-o", "size=64m,mode=777", "branch", branch)
        run("mergerfs", "-o", "allow_other,use_ino,category.create=mfs", f"{one}:{two}", f"{maildir}/new")
        try:
            for number, branch in enumerate((one, two), start=1):
                path = f"{branch}/170000000{number}.M{number}P1.host"
                with open(path, "wb") as file:
                    file.write(b"Subject: x\n\nx\n")
                os.chmod(path, 0o644)
                time.sleep(2.2)
                count = stage.seen(maildir)
                stage.report.check("folder: a message is seen on each disk of a pool that is new/ alone",
                                   count == number, str(count))
        finally:
            run("umount", "-l", f"{maildir}/new")


def sshfs(stage):
    server = next((path for path in SFTP_SERVERS if os.path.exists(path)), None)
    if server is None:
        stage.report.skip("sshfs", "there is no sftp-server")
        return
    with stage.folders("back", "front") as (back, front):
        there = stage.maildir(back)
        ours, theirs = socket.socketpair()
        sftp = subprocess.Popen([server], stdin=ours, stdout=ours)
        joined = subprocess.Popen(["sshfs", "-f", "-o", "passive,allow_other,dcache_timeout=1", "x:" + back, front],
                                  stdin=theirs, stdout=theirs)
        ours.close()
        theirs.close()
        for _ in range(100):
            if os.path.ismount(front):
                break
            time.sleep(0.1)
        maildir = front + "/alice"
        deliver(maildir, 1)
        time.sleep(2.2)
        stage.seen(maildir)
        backup = f"{os.path.dirname(back)}/backup"
        run("cp", "-a", there, backup)
        time.sleep(1.2)
        deliver(maildir, 2)
        time.sleep(2.2)
        stage.seen(maildir)
        run("cp", "-a", backup + "/.", maildir)
        count = stage.seen(maildir)
        stage.report.check("sshfs: an older state with its index, put over it, hides nothing", count == 2, str(count))
        stage.excludes("sshfs", maildir)
        stage.deletes("sshfs", maildir, [there])
        subprocess.run(["umount", "-l", front], check=False)
        for process in (joined, sftp):
            process.terminate()
            process.wait()


@contextlib.contextmanager
def image(stage, *options):
    """An ext4 of our own; what unmounts it, runs debugfs and mounts it again."""
    with stage.folders("mnt") as (place,):
        path = f"{os.path.dirname(place)}/image"
        with open(path, "wb") as file:
            file.truncate(32 << 20)
        run("mkfs.ext4", "-q", "-F", *options, path)
        run("mount", "-o", "loop", path, place)
        os.chmod(place, 0o755)

        def change(command):
            run("umount", place)
            subprocess.run(["debugfs", "-w", "-R", command, path], check=True, capture_output=True)
            run("mount", "-o", "loop", path, place)
        yield place, change


def crash(stage):
    """As e2fsck does, and a crash without a journal: an entry goes, the folder's times stay."""
    with image(stage, "-O", "^has_journal,^dir_index,^metadata_csum") as (place, change):
        maildir = stage.maildir(place)
        for number in (1, 2, 3):
            deliver(maildir, number)
        time.sleep(0.1)
        stage.seen(maildir)
        change("unlink /alice/new/1700000002.M2P1.h")
        with stage.session(maildir) as session:
            answer = session.command("RETR 2")
            session.expect("QUIT", "+OK")
            session.wait()
        stage.report.check("crash: a message that has gone is not sent", says(answer, "-ERR"), answer)
        count = stage.seen(maildir)
        stage.report.check("crash: the session after a RETR that failed reads the folders", count == 2, str(count))


def seconds(stage):
    """ext4 with inodes of 128 octets: times in whole seconds, which the clock may be set back by."""
    with image(stage, "-I", "128") as (place, change):
        maildir = stage.maildir(place)
        deliver(maildir, 1)
        deliver(maildir, 2)
        time.sleep(2.2)
        stage.seen(maildir)
        # an entry without its stamp stands for a delivery in the second of a clock set back
        change("unlink /alice/new/1700000002.M2P1.h")
        count = stage.seen(maildir)
        stage.report.check("seconds: whole seconds are not believed", count == 1, str(count))


KINDS = {"bindfs": (bindfs, "bindfs", True), "mergerfs": (mergerfs, "mergerfs", True),
         "folder": (folder, "mergerfs", True), "sshfs": (sshfs, "sshfs", True),
         "crash": (crash, "debugfs", False), "seconds": (seconds, "debugfs", False)}


def enter():
    """A private world, with the devices in its /dev that mounts need."""
    real = os.open("/dev", os.O_PATH)
    world = common.enter()
    for name in sorted(os.listdir(f"/proc/self/fd/{real}")):
        if name == "fuse" or name.startswith("loop"):
            with open(f"/dev/{name}", "w"):
                # -c: or mount(8) would make of it the name that it has here
                run("mount", "-c", "--bind", f"/proc/{os.getpid()}/fd/{real}/{name}", f"/dev/{name}")
    os.close(real)
    return world


def main():
    stage = Stage(enter())
    for name, (function, program, is_fuse) in KINDS.items():
        if len(sys.argv) > 1 and name not in sys.argv[1:]:
            continue
        if shutil.which(program) is None:
            stage.report.skip(name, f"there is no {program}")
        elif is_fuse and not os.path.exists("/dev/fuse"):
            stage.report.skip(name, "there is no /dev/fuse")
        else:
            function(stage)
    stage.report.end()


if __name__ == "__main__":
    main()
