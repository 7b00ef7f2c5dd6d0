#!/usr/bin/python3
"""
hostile.py - maildrops and logins made by somebody who means harm.

    python3 tests/torture/hostile.py              all of it
    python3 tests/torture/hostile.py --slow       with a million messages instead of 100,000
    python3 tests/torture/hostile.py index        what has this word in its name

Runs in:   the test runner, as root.
May touch: build/, a private world.
"""
import base64
import concurrent.futures
import contextlib
import os
import random
import re
import shutil
import socket
import stat
import subprocess
import sys
import threading
import time

import common

from harness import wire
from harness.box import Box
from harness.server import Failure, peak_kilobytes

MIB = 1 << 20
BOB = common.ACCOUNTS["bob"][0]
PLAIN = b"Subject: plain\n\n.dot\nplain text\n"
OTHER = b"Subject: other\n\nanother one"
FOREIGN = b"Subject: bob's\n\nFOREIGN-MAIL\n"
TEST_PREFIX = "check_"


def must(condition, why=""):
    if not condition:
        raise Failure(why)


class Stage:
    """What the checks share: a world, programs, pools; and what each wants to be told."""

    def __init__(self, world, is_slow):
        self.world, self.is_slow = world, is_slow
        objects = [f"build/maildir/{name[:-2]}.o" for name in sorted(os.listdir(f"{common.TREE}/maildir"))
                   if name.endswith(".c")]
        subprocess.run(["make", "-s", "-C", common.TREE, "pop3d"], check=True)
        self.forge_index = common.compile_c("forge_index", ["forge_index.c"],
                                            [f"{common.TREE}/{path}" for path in objects])
        self.figures = ""

    def box(self, *messages):
        return Box(self.world, "alice", messages or (PLAIN, OTHER))

    def bobs_mail(self):
        """A folder of bob's that anybody may read and write: only we can keep out of it."""
        root = self.world.folder()
        os.makedirs(f"{root}/cur")
        path = f"{root}/cur/1700000009.M9P9.foreign:2,"
        with open(path, "wb") as file:
            file.write(FOREIGN)
        for place in (root, f"{root}/cur"):
            os.chown(place, BOB, BOB)
            os.chmod(place, 0o777)
        os.chown(path, BOB, BOB)
        os.chmod(path, 0o666)
        return root, path


def log_in(session):
    session.greeting()
    session.expect("USER alice", "+OK")
    session.expect("PASS secret", "+OK")


def retrieve(session, number):
    """The message as it was stored, lines ending in CRLF; or the refusal."""
    answer = session.command(f"RETR {number}")
    return wire.unstuffed(session.block()) if answer.startswith("+OK") else answer


def stored(content):
    return b"".join(wire.lines_of(content))


def listing(session, command="LIST"):
    session.expect(command, "+OK")
    return [line.split(b" ", 1)[1] for line in session.block().split(b"\r\n")[:-2]]


def in_time(began, seconds, what):
    took = time.monotonic() - began
    must(took < seconds, f"{what} took {took:.1f} seconds")


def log_is_sane(log):
    """Each line one event of ours: nothing a name did made another, or a field."""
    for line in log.splitlines():
        must(re.fullmatch(r"pop3d\[\d+\]: [A-Z ]+(, [a-z-]+=[]A-Za-z0-9._@+%/:[-]*)*", line) is not None,
             f"a line of the log: {line!r}")
    must(all(c == "\n" or " " <= c <= "~" for c in log), f"the log holds {log!r}")


def well_ended(session, statuses=(0,)):
    status = session.wait()
    must(status in statuses, f"exit status {status}, log {session.log()[-400:]}")
    log_is_sane(session.log())


# What lies in the folders

def check_entries_of_all_kinds(stage):
    """links, pipes, sockets, devices and folders are no messages, and nothing waits for them"""
    box = stage.box()
    foreign_root, foreign = stage.bobs_mail()
    names = {}
    for folder in ("new", "cur"):
        def place(kind):
            names[kind] = f"{box.maildir}/{folder}/1600000000.{kind}.sample"
            return names[kind]
        os.symlink("/etc/shadow", place("shadow"))
        os.symlink(foreign, place("foreign"))
        os.symlink("/etc/passwd", place("passwd"))
        os.symlink("loop", f"{box.maildir}/{folder}/loop")
        os.symlink("/dev/zero", place("zero-link"))
        os.symlink("nothing", place("dangling"))
        os.mkfifo(place("pipe"), 0o666)
        os.mknod(place("zero"), stat.S_IFCHR | 0o666, os.makedev(1, 5))
        os.mknod(place("terminal"), stat.S_IFCHR | 0o666, os.makedev(5, 0))
        os.mknod(place("disk"), stat.S_IFBLK | 0o666, os.makedev(7, 200))
        os.mkdir(place("folder"), 0o777)
        with socket.socket(socket.AF_UNIX) as endpoint:
            os.chdir(f"{box.maildir}/{folder}")
            endpoint.bind("1600000000.socket.sample")
            os.chdir("/")
    before = box.listing()
    began = time.monotonic()
    with box.session("-s", "permit") as session:
        log_in(session)
        must(session.command("STAT").split()[1] == "2", "only regular files are messages")
        must(retrieve(session, 1) == stored(PLAIN) and retrieve(session, 2) == stored(OTHER), "RETR")
        session.expect("DELE 1", "+OK")
        session.expect("QUIT", "+OK")
        well_ended(session)
        must(b"FOREIGN" not in session.transcript and b"root:" not in session.transcript, "it leaked")
    in_time(began, 2, "the session")
    must(set(before) - set(box.listing()) >= {"new/1700000001.M1P1.sample"} and
         len(before) - len(box.listing()) <= 2, "something else was removed")
    must(os.path.exists(foreign), "bob's mail is gone")
    stage.figures = f"{len(before) - 2} entries that are no messages"
    box.remove()


def check_links_to_files(stage):
    """a hard link to another's file shows no more than the kernel lets its reader see"""
    box = stage.box()
    _, foreign = stage.bobs_mail()
    os.chmod(foreign, 0o600)
    os.link(foreign, f"{box.maildir}/new/1700000003.M3P3.hard")
    os.link(f"{box.maildir}/new/1700000001.M1P1.sample", f"{box.maildir}/cur/1700000004.M4P4.hard:2,")
    with box.session("-s", "permit") as session:
        log_in(session)
        must(session.command("STAT").split()[1] == "4", "four regular files")
        must(str(retrieve(session, 3)).startswith("-ERR"), "an unreadable message was sent")
        must(retrieve(session, 4) == stored(PLAIN) and retrieve(session, 1) == stored(PLAIN), "RETR")
        ids = listing(session, "UIDL")
        must(len(set(ids)) == 4, f"ids {ids}")
        for number in (1, 3):
            session.expect(f"DELE {number}", "+OK")
        session.expect("QUIT", "+OK")
        well_ended(session)
    must(os.path.exists(foreign) and b"FOREIGN" not in session.transcript, "bob's mail")
    with open(foreign, "rb") as file:
        must(file.read() == FOREIGN, "bob's mail changed")
    with open(f"{box.maildir}/cur/1700000004.M4P4.hard:2,", "rb") as file:
        must(file.read() == PLAIN, "the other name of a deleted message")
    box.remove()


def check_sparse_terabyte(stage):
    """a message of 1 TB, all of it a hole: counted at once, sent as far as it is wanted, in little memory"""
    box = stage.box(PLAIN)
    path = f"{box.maildir}/new/1700000002.M2P2.sparse"
    with open(path, "wb") as file:
        file.truncate(1 << 40)
    os.chown(path, box.uid, box.uid)
    began = time.monotonic()
    with box.session("-s", "permit") as session:
        log_in(session)
        in_time(began, 5, "the login")
        # a missing last line end is added, and counted
        must(session.command("LIST 2") == f"+OK 2 {(1 << 40) + 2}", "the octets of 1 TB")
        session.send(b"RETR 2\r\n")
        must(session.line().startswith(b"+OK"), "RETR")
        sent = 0
        while sent < 64 * MIB:
            session._pump(time.monotonic() + 20)
            must(not session.at_end, "the session is over")
            must(session.received.count(b"\0") == len(session.received), "not what is in the file")
            sent += len(session.received)
            session.received = b""
            session.transcript.clear()
        memory = peak_kilobytes(session.pid)
        session.close()
        well_ended(session, (1,))
    must(memory < 8 * 1024, f"{memory} KiB resident")
    must(os.stat(path).st_size == 1 << 40, "the message is gone")
    stage.figures = f"login in {time.monotonic() - began:.2f} s with 64 MiB read, {memory} KiB resident"
    box.remove()


ODD_NAMES = [
    b"1700000001." + b"n" * 244,
    b"1700000002.\n\n+OK forged line\r\n.\r\n",
    b"1700000003.\x1b[2J\x1b]0;title\x07",
    b"1700000004.%s%n%x%d%p",
    b"1700000005.\xff\xfe\x80 \t\x7f",
    b"1700000006. blank in it:2,S",
    b"1700000007.colon:in:it:2,",
    b"1700000008.\r" + b"\n" * 200,
    b"1700000009.,W=99999999999999999999",
    b"1700000010.,W=0",
    b"1700000011.S=-1,W=-1",
    b"99999999999999999999999999999999999999999999",
    b"-rf",
    b"*",
    b":2,S",
    b"no-number-at-all",
    b"1700000012." + b"\n" * 244,
    b"17000000013\\..\\..",
    b"..hidden",
    b".",
]


def check_odd_names(stage):
    """names of 255 octets, with line ends, escapes, blanks and formats in them"""
    box = Box(stage.world, "alice")
    contents = {}
    for number, name in enumerate(ODD_NAMES):
        if name.startswith(b"."):
            continue
        folder = b"cur" if number % 2 else b"new"
        content = f"Subject: {number}\n\nnumber {number}\n".encode() * (number + 1)
        contents[content] = name
        path = os.path.join(box.maildir.encode(), folder, name)
        with open(path, "wb") as file:
            file.write(content)
        os.chown(path, box.uid, box.uid)
    ids = []
    for _ in range(2):
        with box.session("-s", "permit") as session:
            log_in(session)
            must(session.command("STAT").split()[1] == str(len(contents)), "all are messages")
            octets = listing(session)
            now = listing(session, "UIDL")
            must(all(re.fullmatch(rb"[!-~]{1,70}", one) for one in now), f"unique-ids {now}")
            must(len(set(now)) == len(contents), "two are alike")
            must(ids in ([], now), "they changed")
            seen = set()
            for number in range(1, len(contents) + 1):
                message = retrieve(session, number)
                # a count that the name tells is believed until a RETR finds it wrong
                is_told = b",W=" in contents[message.replace(b"\r\n", b"\n")] and not ids
                must(int(octets[number - 1]) == len(message) or is_told, f"octets of message {number}")
                seen.add(message)
            ids = now
            must(seen == {stored(content) for content in contents}, "other content")
            session.expect("QUIT", "+OK")
            well_ended(session)
            must(b"forged line" not in session.transcript, "a name made a line")
    with box.session("-s", "permit") as session:
        log_in(session)
        for number in range(1, len(contents) + 1):
            session.expect(f"DELE {number}", "+OK")
        session.expect("QUIT", "+OK")
        well_ended(session)
    must(box.listing() == [], f"left over: {box.listing()}")
    stage.figures = f"{len(contents)} names"
    box.remove()


def check_many_messages(stage):
    """a maildrop of 100,000 entries: counted once, opened at once, in memory that is bounded"""
    count = 1000000 if stage.is_slow else 100000
    box = Box(stage.world, "alice")
    for number in range(count):
        fd = os.open(f"{box.maildir}/cur/{1700000000 + number}.M{number}P7.many:2,S",
                     os.O_WRONLY | os.O_CREAT, 0o644)
        os.write(fd, b"Subject: x\n\nx\n")
        os.close(fd)
    times, memory = [], []
    for _ in range(2):
        time.sleep(0.02)
        began = time.monotonic()
        with box.session("-s", "permit", "-t", "60") as session:
            session.greeting()
            session.expect("USER alice", "+OK")
            session.expect("PASS secret", "+OK", 60)
            must(session.command("STAT") == f"+OK {count} {count * 17}", "STAT")
            times.append(time.monotonic() - began)
            must(len(listing(session, "UIDL")) == count, "UIDL")
            must(retrieve(session, count) == b"Subject: x\r\n\r\nx\r\n", "the last")
            memory.append(peak_kilobytes(session.pid))
            session.expect("QUIT", "+OK", 60)
            well_ended(session)
    per_message = max(memory) * 1024 / count
    must(times[1] < 0.5, f"the second login took {times[1]:.2f} s")
    must(per_message < 260, f"{per_message:.0f} octets of memory for each message")
    stage.figures = (f"{count} messages: first STAT after {times[0]:.2f} s, then {times[1] * 1000:.0f} ms; "
                     f"{max(memory) // 1024} MiB at most")
    shutil.rmtree(box.root)


# What changes in mid-session

def check_message_swapped(stage):
    """a message replaced in mid-session by a link, a pipe, a device, a folder: never followed, never waited for"""
    _, foreign = stage.bobs_mail()

    def link_to(target):
        return lambda path: os.symlink(target, path)
    swaps = {
        "a link to shadow": link_to("/etc/shadow"), "a link to bob's": link_to(foreign),
        "a link to zero": link_to("/dev/zero"), "a pipe": os.mkfifo, "a folder": os.mkdir,
        "a device": lambda path: os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 5)),
    }
    for name, swap in swaps.items():
        box = stage.box()
        path = f"{box.maildir}/new/1700000001.M1P1.sample"
        with box.session("-s", "permit") as session:
            log_in(session)
            session.expect("STAT", "+OK")
            os.rename(path, f"{box.root}/away")
            swap(path)
            began = time.monotonic()
            answer = session.command("RETR 1")
            must(answer.startswith("-ERR"), f"{name}: RETR was answered {answer}")
            must(session.command("TOP 1 0").startswith("-ERR"), f"{name}: TOP")
            in_time(began, 2, f"{name}: RETR")
            session.expect("DELE 1", "+OK")
            must(retrieve(session, 2) == stored(OTHER), "the other message")
            answer = session.command("QUIT")
            must(answer.startswith("+OK") or name in ("a folder",), f"{name}: QUIT was answered {answer}")
            well_ended(session)
            must(b"FOREIGN" not in session.transcript and b"root:" not in session.transcript, name)
        must(os.path.exists(foreign), "bob's mail is gone")
        box.remove()
    stage.figures = f"{len(swaps)} swaps"


def check_folder_swapped(stage):
    """the Maildir, or a folder of it, swapped for a link in mid-session: the session stays where it was"""
    for victim in ("", "/cur", "/new"):
        foreign_root, foreign = stage.bobs_mail()
        os.mkdir(f"{foreign_root}/new", 0o777)
        os.chmod(f"{foreign_root}/new", 0o777)
        shutil.copy(foreign, f"{foreign_root}/new/1700000001.M1P1.sample")
        box = stage.box()
        with box.session("-s", "permit") as session:
            log_in(session)
            session.expect("STAT", "+OK 2")
            # what is moved out of the Maildir is out of reach for good: moved within it, it is not
            os.rename(f"{box.maildir}{victim}", f"{box.maildir}/away" if victim else f"{box.root}/away")
            os.symlink(foreign_root + victim, f"{box.maildir}{victim}")
            answer = retrieve(session, 1)
            must(answer == stored(PLAIN), f"{victim} swapped: RETR 1: {answer}")
            session.expect("DELE 1", "+OK")
            must(retrieve(session, 2) == stored(OTHER), "RETR 2")
            session.expect("QUIT", "+OK")
            well_ended(session)
            must(b"FOREIGN" not in session.transcript, "bob's mail was sent")
        must(sorted(os.listdir(f"{foreign_root}/cur")) == ["1700000009.M9P9.foreign:2,"] and
             os.listdir(f"{foreign_root}/new") == ["1700000001.M1P1.sample"] and
             sorted(os.listdir(foreign_root)) == ["cur", "new"], "bob's folder changed")
        box.remove()


def check_folder_flipped(stage):
    """a folder that is now a folder, now a link to bob's, while one session after another opens it"""
    foreign_root, foreign = stage.bobs_mail()
    box = stage.box()
    cur, away, link = f"{box.maildir}/cur", f"{box.root}/away", f"{box.root}/link"
    os.symlink(f"{foreign_root}/cur", link)
    is_over = threading.Event()
    flips = [0]

    def flip():
        while not is_over.is_set():
            os.rename(cur, away)
            os.rename(link, cur)
            time.sleep(random.random() / 1000)
            os.rename(cur, link)
            os.rename(away, cur)
            flips[0] += 1
            time.sleep(random.random() / 500)

    def attempt(_):
        with box.session("-s", "permit") as session:
            session.send(b"USER alice\r\nPASS secret\r\nSTAT\r\nRETR 1\r\nRETR 3\r\nDELE 3\r\nQUIT\r\n")
            said = session.drain()
            session.close()
            session.wait()
            log_is_sane(session.log())
            must(b"FOREIGN" not in said, "bob's mail was sent")
            return b"+OK User successfully" in said
    flipper = threading.Thread(target=flip)
    flipper.start()
    try:
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            served = sum(pool.map(attempt, range(300)))
    finally:
        is_over.set()
        flipper.join()
    with open(foreign, "rb") as file:
        must(file.read() == FOREIGN, "bob's mail changed")
    must(len(box.listing()) == 2, "messages are gone")
    must(0 < served, "no session was served")
    stage.figures = f"{flips[0]} flips, 300 logins, {served} served"
    box.remove()


def check_permissions_change(stage):
    """rights taken away in mid-session: a refusal that says so, nothing lost, and the session goes on"""
    box = stage.box(PLAIN, OTHER, PLAIN)
    path = f"{box.maildir}/new/1700000001.M1P1.sample"
    with box.session("-s", "permit") as session:
        log_in(session)
        session.expect("STAT", "+OK 3")
        os.chmod(path, 0)
        must(session.command("RETR 1").startswith("-ERR [SYS/TEMP]"), "an unreadable message")
        os.chmod(path, 0o600)
        os.chown(path, BOB, BOB)
        must(session.command("RETR 1").startswith("-ERR [SYS/TEMP]"), "another's message")
        must(retrieve(session, 2) == stored(OTHER), "RETR 2")
        session.expect("DELE 1", "+OK")
        session.expect("DELE 2", "+OK")
        os.chmod(f"{box.maildir}/new", 0o500)
        answer = session.command("QUIT")
        must(answer == "-ERR [SYS/TEMP] 2 of 2 deleted messages not removed", f"QUIT: {answer}")
        well_ended(session)
    must(len(box.listing()) == 3, f"there are {box.listing()}")
    os.chmod(f"{box.maildir}/new", 0o700)
    os.chown(path, box.uid, box.uid)
    with box.session("-s", "permit") as session:
        log_in(session)
        session.expect("STAT", "+OK 3")
        os.chmod(box.maildir, 0)
        must(retrieve(session, 3) == stored(PLAIN), "a Maildir closed behind us")
        session.expect("DELE 3", "+OK")
        session.expect("QUIT", "+OK")
        well_ended(session)
        os.chmod(box.maildir, 0o700)
    must(len(box.listing()) == 2, f"there are {box.listing()}")
    with box.session("-s", "permit") as session:
        log_in(session)
        session.expect("STAT", "+OK 2")
        shutil.rmtree(box.maildir)
        must(session.command("RETR 1").startswith("-ERR"), "a Maildir that is gone")
        session.expect("DELE 2", "+OK")
        session.command("QUIT")
        well_ended(session)
    box.remove()


# The disk

@contextlib.contextmanager
def disk(box, options):
    """The box's Maildir on a file system of its own, with what was in it."""
    away = f"{box.root}/away"
    os.rename(box.maildir, away)
    os.mkdir(box.maildir)
    mount(["-t", "tmpfs", "-o", f"mode=700,uid={box.uid},gid={box.uid},{options}", "none", box.maildir])
    subprocess.run(["cp", "-a", f"{away}/.", box.maildir], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", box.maildir], check=True)


def mount(arguments):
    subprocess.run(["mount", *arguments], check=True)


def check_full_disk(stage):
    """a disk without a free octet, then without a free inode: no index, but all mail, and DELE works"""
    for options, fill in (("size=64k", True), ("size=1m,nr_inodes=8", False)):
        box = stage.box()
        with disk(box, options):
            if fill:
                with open(f"{box.maildir}/tmp/filler", "wb", buffering=0) as file:
                    with contextlib.suppress(OSError):
                        while file.write(b"x" * 4096):
                            continue
            for session_number in (1, 2):
                with box.session("-s", "permit") as session:
                    log_in(session)
                    session.expect("STAT", f"+OK 2 {len(stored(PLAIN)) + len(stored(OTHER))}")
                    must(len(set(listing(session, "UIDL"))) == 2, "UIDL")
                    must(retrieve(session, 1) == stored(PLAIN) and retrieve(session, 2) == stored(OTHER), "RETR")
                    if session_number == 2:
                        session.expect("DELE 1", "+OK")
                    session.expect("QUIT", "+OK")
                    well_ended(session)
                left = [name for name in os.listdir(box.maildir) if name.startswith("pop3d.index")]
                must(session_number == 2 or not fill or left == [], f"left over: {left}")
            must(len(box.listing()) == 1, f"there are {box.listing()}")
        shutil.rmtree(box.root)


def check_read_only_disk(stage):
    """a disk that cannot be written: all mail is served, and QUIT says what was not removed"""
    box = stage.box()
    with disk(box, "size=1m"):
        mount(["-o", "remount,ro", box.maildir])
        with box.session("-s", "permit") as session:
            log_in(session)
            session.expect("STAT", "+OK 2")
            must(retrieve(session, 1) == stored(PLAIN), "RETR")
            session.expect("DELE 1", "+OK")
            answer = session.command("QUIT")
            must(answer == "-ERR [SYS/TEMP] 1 of 1 deleted messages not removed", f"QUIT: {answer}")
            well_ended(session)
            must("error=EROFS" in session.log(), session.log())
        must(len(box.listing()) == 2, f"there are {box.listing()}")
    shutil.rmtree(box.root)


# The index

def check_index_at_random(stage):
    """an index damaged or forged at random: messages are sent whole, and none is lost"""
    rounds = 600 if stage.is_slow else 240
    contents = [f"Subject: {i}\n\n".encode() + b"line\n" * i for i in range(1, 7)]

    def build(box):
        time.sleep(0.012)
        with box.session("-s", "permit") as session:
            log_in(session)
            session.expect("STAT", "+OK 6")
            session.expect("QUIT", "+OK")
            well_ended(session)

    def attempt(seed):
        box = stage.box(*contents)
        os.rename(f"{box.maildir}/new/1700000005.M5P1.sample", f"{box.maildir}/cur/1700000005.M5P1.sample:2,")
        build(box)
        index = f"{box.maildir}/pop3d.index"
        inode = os.stat(index).st_ino
        kind = "forge" if seed % 3 else "damage"
        subprocess.run([stage.forge_index, index, kind, str(seed)], check=True)
        must(os.stat(index).st_ino == inode, "not the same file")
        is_cut = play(box, seed, True)
        must({open(f"{box.maildir}/{name}", "rb").read() for name in box.listing()} >=
             set(contents) - box.marked, f"{kind} {seed}: a message is gone")
        # once more, with what the session made of it
        is_cut += play(box, seed, False)
        box.remove()
        return is_cut

    def play(box, seed, is_first):
        """A session: each message is what it says, and nothing but what was marked goes."""
        box.marked = set()
        before = len(box.listing())
        with box.session("-s", "permit") as session:
            session.greeting()
            session.expect("USER alice", "+OK")
            answer = session.command("PASS secret")
            must(answer.startswith("+OK"), f"{seed}: the login was answered {answer}")
            session.expect("STAT", "+OK")
            answer = session.command("LIST")
            if answer.startswith("-ERR"):       # an index that claimed too much: begin anew
                session.drain()
                well_ended(session, (70,))
                return 1
            count = len(session.block().split(b"\r\n")) - 2
            must(count == before, f"{seed}: {count} of {before} messages are listed")
            ids = listing(session, "UIDL")
            must(len(set(ids)) == before, f"{seed}: ids {ids}")
            got = [retrieve(session, number) for number in range(1, count + 1)]
            hidden = [answer for answer in got if str(answer).startswith("-ERR Message")]
            if hidden and is_first:             # a name that is none: but not for ever
                session.expect("QUIT", "+OK")
                well_ended(session)
                return 1
            must(set(got) == {stored(content) for content in contents
                              if content in [open(f"{box.maildir}/{name}", "rb").read()
                                             for name in box.listing()]}, f"{seed}: RETR {got}")
            must(listing(session) == [str(len(message)).encode() for message in got],
                 f"{seed}: after RETR the octets are known")
            session.expect("DELE 1", "+OK")
            box.marked = {content for content in contents if stored(content) == got[0]}
            session.expect("QUIT", "+OK")
            well_ended(session)
        must(len(box.listing()) == before - 1, f"{seed}: one was marked, {box.listing()} are left")
        return 0

    box = stage.box(*contents)
    build(box)
    before = open(f"{box.maildir}/pop3d.index", "rb").read()
    subprocess.run([stage.forge_index, f"{box.maildir}/pop3d.index", "seal"], check=True)
    must(open(f"{box.maildir}/pop3d.index", "rb").read() == before,
         "forge_index.c does not know the index's form any longer")
    box.remove()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        cut = sum(pool.map(attempt, range(rounds)))
    stage.figures = f"{rounds} forgeries, {2 * rounds} sessions, {cut} that found the index false, 0 lost, 0 false"


def refused_for_its_list(box, what):
    """A former server's list that cannot be believed: without it messages would get other unique-ids for ever."""
    with box.session("-s", "permit") as session:
        session.greeting()
        session.expect(f"USER {box.user}", "+OK")
        session.expect("PASS secret", "-ERR [SYS/PERM]")
        well_ended(session, (77,))
    must(len(box.listing()) == 2, f"{what}: {box.listing()}")


def check_index_is_something_else(stage):
    """an index that is a link, a pipe, a device, a folder, another's, or may be written by all"""
    foreign_root, _ = stage.bobs_mail()
    target = f"{foreign_root}/target"

    def a_file(mode, owner):
        def make(path):
            with open(path, "wb") as file:
                file.write(b"x" * 500)
            os.chmod(path, mode)
            os.chown(path, owner, owner)
        return make
    kinds = {
        "a link": lambda path: os.symlink(target, path), "a pipe": os.mkfifo, "a folder": os.mkdir,
        "zero": lambda path: os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 5)),
        "bob's": a_file(0o666, BOB), "all's": a_file(0o666, common.ALICE), "nobody's": a_file(0, common.ALICE),
    }
    for name, make in kinds.items():
        for file in ("pop3d.index", "pop3d.index.new", "pop3d.lock", "dovecot-uidlist"):
            box = stage.box()
            make(f"{box.maildir}/{file}")
            began = time.monotonic()
            if file == "dovecot-uidlist" and name in ("bob's", "all's", "nobody's"):
                refused_for_its_list(box, f"{file} is {name}")
                shutil.rmtree(box.root)
                continue
            with box.session("-s", "permit") as session:
                log_in(session)
                session.expect("STAT", "+OK 2")
                must(retrieve(session, 1) == stored(PLAIN), f"{file} is {name}: RETR")
                session.expect("DELE 1", "+OK")
                session.expect("QUIT", "+OK")
                well_ended(session)
            in_time(began, 2, f"{file} is {name}: the session")
            must(not os.path.exists(target), f"{file} is {name}: what it points to was made")
            must(len(box.listing()) == 1, f"{file} is {name}: {box.listing()}")
            shutil.rmtree(box.root)
    stage.figures = f"{4 * len(kinds)} cases"


# Logins

HOSTILE_NAMES = [
    b"../bob", b"..", ".", b"/etc/passwd", b"alice/../bob", b"alice/", b"./alice", b"~bob", b"%s%s%s%n",
    b"%n%n%n%n", b"alice%00", b"alice\\..\\bob", b"\\\\", b"dom\\alice\\../bob", b"-rf", b"--help",
    b"alice:0:0", b"alice\nbob", b"alice\r\npop3d[1]: LOGIN, user=root", b"alice\0bob", b"\0", b"\x1b[2J",
    b"\xff\xfe", b"\xc3\xa9t\xc3\xa9", b"alice, ip=[192.0.2.99], mailbox=alice", b"a" * 65, b"a" * 255,
    b"a" * 9000, b" alice", b"alice ", b"\talice", b"root", b"$(reboot)", b"`reboot`", b";reboot", b"'",
    b"alice@", b"@alice", b"a@b@c", b"@", b"\\", b"alice@..", b"dom\\", b"..\\alice", b"x\\..\\..",
]
HOSTILE_PASSWORDS = [b"%s%n%x%d", b"secret\0", b"\0secret", b"", b"x" * 512, b"x" * 8000, b"\n", b"\r\n+OK",
                     b"\xff" * 64, b"../../etc/shadow", b"wrong\nsecret", b"$(reboot)"]


def as_octets(text):
    return text if isinstance(text, bytes) else text.encode()


def obeys_the_rules(login):
    """What may reach PAM, by DOMAIN\\USER\\MAILBOX or USER@DOMAIN; written a second time."""
    parts = login.split(b"\\") if b"\\" in login else login.split(b"@")
    return len(parts) <= (3 if b"\\" in login else 2) and all(
        re.fullmatch(rb"[!-~]{1,64}", part) and not re.search(rb"[/:\\@]", part) and
        part[:1] not in (b".", b"-") for part in parts)


def offer(box, name, password, mechanism):
    """One login by SASL, where every octet can be said; the answer and the log."""
    with box.session("-d", "example.org", "-l", "20", env={"LANG": "C"}) as session:
        session.greeting()
        if mechanism == "PLAIN":
            token = base64.b64encode(b"\0" + name + b"\0" + password)
            session.send(b"AUTH PLAIN\r\n")
            session.line()
            session.send(token + b"\r\n")
        else:
            session.send(b"AUTH LOGIN\r\n")
            session.line()
            session.send(base64.b64encode(name) + b"\r\n")
            session.line()
            session.send(base64.b64encode(password) + b"\r\n")
        answer = session.line().decode("latin-1")
        session.send(b"QUIT\r\n")
        session.drain()
        well_ended(session, (0, 1))
        return answer, session.log()


def check_hostile_logins(stage):
    """names and passwords that are paths, formats, line ends, forged lines: one answer, one sane line of the log"""
    box = stage.box()
    heard = len(stage.world.syslog.lines)
    cases = [(as_octets(name), b"secret", mechanism) for name in HOSTILE_NAMES
             for mechanism in ("PLAIN", "LOGIN")]
    cases += [(b"alice", password, mechanism) for password in HOSTILE_PASSWORDS
              for mechanism in ("PLAIN", "LOGIN")]

    def attempt(case):
        answer, log = offer(box, *case)
        must(answer.startswith("-ERR"), f"{case} was answered {answer}")
        must("FAULT" not in log, f"{case}: {log}")
        failures = log.count("LOGIN FAILED")
        must(failures <= 1 and (failures == 1 or "[AUTH]" not in answer), f"{case}: {log}")
        # what breaks a rule never reaches PAM, which would say that it does not know the name
        if failures and not obeys_the_rules(case[0]):
            must("reason=malformed-login" in log or "reason=foreign-domain" in log, f"{case}: {log}")
        return failures
    # fewer than an address may have before a login
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        refused = sum(pool.map(attempt, cases))
    time.sleep(0.2)
    for line in stage.world.syslog.lines[heard:]:
        must(all(" " <= c <= "~" for c in line.rstrip("\0\n")), f"syslog heard {line!r}")
    box.remove()
    stage.figures = f"{len(cases)} logins, {refused} refused by the rules or by PAM, 0 granted"


def check_control_login(stage):
    """the same way in, with what is right: so the refusals are not vain"""
    box = stage.box()
    for mechanism in ("PLAIN", "LOGIN"):
        answer, log = offer(box, b"alice", b"secret", mechanism)
        must(answer.startswith("+OK") and "LOGIN, user=alice" in log, f"{answer} {log}")
    box.remove()


def check_lines_of_ten_megabytes(stage):
    """lines of 30 KB before a login, of 10 MB after it: swallowed, answered once, in little memory; more ends a stranger's session"""
    box = stage.box()
    memory = 0
    for command in (b"PASS ", b"AUTH PLAIN ", b"RETR "):
        with box.session("-s", "permit", "-l", "60") as session:
            session.greeting()
            session.expect("USER alice", "+OK")
            session.send(command + b"A" * 30000 + b"\r\n")
            must(session.line(60).startswith(b"-ERR"), command)
            session.send(b"AUTH LOGIN\r\n")
            must(session.line().startswith(b"+ "), "a prompt")
            session.send(b"A" * 20000 + b"\r\n")
            must(session.line(60).startswith(b"-ERR"), "a response of 20 KB")
            memory = max(memory, peak_kilobytes(session.pid))
            session.expect("USER alice", "+OK")
            session.expect("PASS secret", "+OK")
            session.send(command + b"B" * 10 * MIB + b"\r\n")
            must(session.line().startswith(b"-ERR"), command)
            memory = max(memory, peak_kilobytes(session.pid))
            session.expect("STAT", "+OK 2")
            session.expect("QUIT", "+OK")
            well_ended(session)
    with box.session("-s", "permit", "-l", "60") as session:
        session.greeting()
        session.send(b"PASS " + b"\0%s\xff" * (MIB // 64))
        must(session.line(60).startswith(b"-ERR Too many octets"), "64 KB")
        session.close()
        well_ended(session, (3,))
    must(memory < 8 * 1024, f"{memory} KiB resident")
    stage.figures = f"30 MB of lines, {memory} KiB resident"
    box.remove()


def main():
    words = [word for word in sys.argv[1:] if word != "--slow"]
    world = common.enter()
    world.service("permit", "auth required pam_permit.so\naccount required pam_permit.so\n")
    stage = Stage(world, "--slow" in sys.argv)
    report = common.Report()
    for name, check in list(globals().items()):
        if not name.startswith(TEST_PREFIX) or not all(word in name for word in words):
            continue
        stage.figures = ""
        began = time.monotonic()
        title = f"{name[len(TEST_PREFIX):]}: {check.__doc__}"
        try:
            check(stage)
            report.check(title, True, f"{stage.figures or 'as expected'}, {time.monotonic() - began:.1f} s")
        except (Failure, AssertionError, OSError, IndexError, subprocess.SubprocessError) as failure:
            report.check(title, False, f"{type(failure).__name__}: {failure}")
    report.end()


if __name__ == "__main__":
    main()
