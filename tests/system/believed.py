"""
believed.py - when pop3d.index is believed, and the folders are not read.

Runs in:   the test runner, as root: strace counts, and answers in the kernel's place.
May touch: maildrops of its own.
"""
import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from faults import calls_of, serve, strace
from harness.box import Box
from harness.server import Failure
from harness.world import Skip

HOUR = 3600


def folders_read(world, box, *options, faults=(), stat="1 5"):
    """The names of the folders that a session reads before STAT is answered."""
    prefix, path = strace(world, "getdents64,openat", *faults)
    with box.session(*options, prefix=prefix, transport="socketpair") as session:
        session.log_in()
        session.expect("STAT", f"+OK {stat}")
        session.expect("QUIT", "+OK")
        session.wait()
    return {folder for name, text in calls_of(path) for folder in ("new", "cur")
            if name == "getdents64" and f"{box.maildir}/{folder}>" in text}


def reads_folders(world, box, *options, faults=()):
    return bool(folders_read(world, box, *options, faults=faults))


def furnish(world):
    """A maildrop whose index was made well after its folders were changed."""
    box = Box(world, messages=[b"one\n"])
    time.sleep(0.05)
    serve(box, "STAT", "QUIT")
    if reads_folders(world, box):
        raise Failure("the index is not believed at all")
    return box


def age(box, seconds):
    """As if the index had been written so long ago."""
    then = time.time() - seconds
    os.utime(f"{box.maildir}/pop3d.index", (then, then))


def test_index_is_believed_for_an_hour(world):
    """an index is believed for an hour, or as -i says; after that the folders are read and it is young again"""
    with open("/proc/uptime") as file:
        if float(file.read().split()[0]) < HOUR + 120:
            raise Skip("the machine has not run for so long")
    box = furnish(world)
    for options, seconds, wanted in (
            ((), HOUR - 60, False), ((), HOUR + 60, True), (("-i", "0"), 0, True),
            (("-i", "60"), 90, True), (("-i", "604800"), HOUR + 60, False),
            # later than now: the clock was set back
            ((), -60, True)):
        age(box, seconds)
        if reads_folders(world, box, *options) != wanted:
            raise Failure(f"{options}, {seconds} seconds old: folders {'not ' if wanted else ''}read")
        if wanted and options != ("-i", "0") and reads_folders(world, box):
            raise Failure(f"{options}, {seconds} seconds old: the folders are read once more")


def test_one_folder_has_changed(world):
    """for a delivery to new/ cur/ is not read, but it is when it has not been for as long as -i says"""
    with open("/proc/uptime") as file:
        if float(file.read().split()[0]) < 60:
            raise Skip("the machine has not run for so long")
    box = furnish(world)
    age(box, 20)
    written = os.stat(f"{box.maildir}/pop3d.index").st_mtime_ns
    # the third time the index cannot be made as old as the one before, and that one stays
    for delivered, faults, wanted in ((1, (), {"new"}), (0, (), set()), (1, ("utimensat:error=EPERM",), {"new"}),
                                      (0, (), {"new"}), (0, (), set())):
        for _ in range(delivered):
            box.add(b"another\n")
        time.sleep(0.05)
        stat = f"{len(box.contents)} {9 * len(box.contents) - 4}"
        got = folders_read(world, box, "-i", "40", faults=faults, stat=stat)
        if got != wanted or os.stat(f"{box.maildir}/pop3d.index").st_mtime_ns != written:
            raise Failure(f"with {stat}, {faults}: {got} read, not {wanted}; or the index has another age")
    age(box, 50)
    box.add(b"another\n")
    if folders_read(world, box, "-i", "40", stat="4 32") != {"new", "cur"}:
        raise Failure("cur/ is not read though the index is too old")


def test_index_from_before_the_start(world):
    """an index that is older than the start of the machine is not believed: a crash may have changed the folders"""
    with open("/proc/uptime") as file:
        up = float(file.read().split()[0])
    if up > 604000:
        raise Skip("the machine has run for too long")
    box = furnish(world)
    age(box, up + 100)
    if not reads_folders(world, box, "-i", "604800"):
        raise Failure("the index was believed")


def test_kinds_that_do_not_tell(world):
    """where the kind of file system is not known the folders are read in each session, unless -i is given"""
    box = furnish(world)
    unknown = ("fstatfs:error=ENOSYS",)
    for _ in range(2):
        if not reads_folders(world, box, faults=unknown):
            raise Failure("the index was believed")
    # stamps younger than clocks may differ are not believed
    os.unlink(f"{box.maildir}/pop3d.index")
    with open(f"{box.maildir}/new/.change", "w"):
        changed = time.monotonic()
    reads_folders(world, box, "-i", "60", faults=unknown)
    is_soon = time.monotonic() < changed + 2
    if is_soon and not reads_folders(world, box, "-i", "60", faults=unknown):
        raise Failure("the index of the session before was believed")
    time.sleep(2.2)
    reads_folders(world, box, "-i", "60", faults=unknown)
    if reads_folders(world, box, "-i", "60", faults=unknown):
        raise Failure("-i makes no difference")
    box.add(b"another\n")
    if folders_read(world, box, "-i", "60", faults=unknown, stat="2 14") != {"new", "cur"}:
        raise Failure("cur/ is not read, although another machine may have moved something there")


def test_replaced_by_another_machine(world):
    """an index that another machine has just replaced (ESTALE) is looked up again, and no login is refused for it"""
    box = furnish(world)
    index = f"{box.maildir}/pop3d.index"
    for call, times, wanted in (("openat", 1, True), ("openat", 5, True), ("openat", 6, False), ("fstat", 2, True),
                                ("pread64", 3, True)):
        prefix, _ = strace(world, "statx", f"{call}:error=ESTALE:when=1..{times}")
        answers, _ = serve(box, "STAT", "QUIT", prefix=[*prefix, "-P", index, "-P", "pop3d.index"])
        if answers[-2:-1] != ["+OK 1 5"] if wanted else not answers[0].startswith("-ERR [SYS/TEMP]"):
            raise Failure(f"{call}, {times} times: {answers}")


def test_message_that_is_being_written(world):
    """a message that another program has open to write it is counted in each session, and once more when that is closed"""
    box = furnish(world)
    with open(box.add(b"half, "), "ab", buffering=0) as file:
        for octets in (8, 14):
            # older than the ticks of the file system's clock
            time.sleep(0.05)
            answers, _ = serve(box, "LIST 2", "RETR 2", "QUIT")
            if answers[1:3] != [f"+OK 2 {octets}", f"+OK {octets} octets"]:
                raise Failure(f"of {octets} octets so far: {answers}")
            file.write(b"more, ")
    time.sleep(0.05)
    for what in ("when it is closed", "from then on"):
        answers, _ = serve(box, "STAT", "QUIT")
        if answers[1] != "+OK 2 25":
            raise Failure(f"{what}: {answers}")
    prefix, path = strace(world, "getdents64")
    serve(box, "STAT", "QUIT", prefix=prefix)
    if any(box.maildir in text for _, text in calls_of(path)):
        raise Failure("the folders are read though nobody writes any more")
