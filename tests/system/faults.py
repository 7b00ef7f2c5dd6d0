"""
faults.py - a fault of the file system at the one place where it would do harm.

Runs in:   the test runner, as root: strace answers in the kernel's place.
May touch: maildrops of its own.

torture/sweep.c tries all places; these are the ones whose harm a session does not show by
itself: it is met after a loss of power, by the next session, or by another one beside it.
"""
import os
import re
import subprocess
import threading
import time

from harness import wire
from harness.box import Box
from harness.server import Failure, says
from harness.world import HERE, require_production, require_root, require_tool

LOCK = threading.Lock()
# a call that does nothing, and that the fences let through, is made instead
NOTHING = "syscall=getpid"
LISTED = "1700000001.M1P1.sample"
KEPT = "old-client-knows-it"


def strace(world, calls, *faults):
    """A prefix that lets calls fail and writes a trace of the calls named; and where that is."""
    require_root()
    require_production(world, "needs the production build")
    path = world.folder() + "/trace"
    injected = [f"--inject={fault}:{NOTHING}" for fault in faults]
    names = ",".join([calls, *(fault.split(":")[0] for fault in faults)]).strip(",")
    return [require_tool("strace"), "-f", "-y", "-s", "512", "-o", path, "-e", f"trace={names}", *injected], path


def write(box, name, text):
    path = f"{box.maildir}/{name}"
    with open(path, "w") as file:
        file.write(text)
    os.chown(path, box.uid, box.uid)
    return path


def serve(box, *commands, prefix=()):
    """A whole session; the replies to the commands, which end in QUIT, and the exit status."""
    with box.session(prefix=prefix, transport="socketpair") as session:
        session.greeting()
        session.expect("USER alice", "+OK")
        answers = [session.command("PASS secret")]
        for command in commands if says(answers[0], "+OK") else ():
            try:
                answers.append(session.command(command))
            except Failure:             # the session has ended; what it said counts
                break
            if answers[-1].startswith("+OK") and command.split()[0] in ("RETR", "UIDL", "LIST") and \
                    (command.startswith("RETR") or " " not in command):
                session.block()
        session.half_close()
        session.drain()
        return answers, session.wait()


def unique_id(box, number=1, **how):
    answers, _ = serve(box, f"UIDL {number}", "QUIT", **how)
    return answers[1].split()[-1] if len(answers) > 1 else answers[0]


def taken_over(world):
    """A maildrop whose first message has a unique-id that no list tells any more."""
    box = Box(world, messages=[b"one\n"])
    listed = write(box, "dovecot-uidlist", f"3 V1600000000 N9 G0123456789abcdef0123456789abcdef\n1 P{KEPT} :{LISTED}\n")
    time.sleep(0.05)                    # an index made in the same tick of the clock is not believed
    if unique_id(box) != KEPT:
        raise Failure("the list is not taken over")
    os.unlink(listed)
    return box


def test_limit_of_file_sizes(world):
    """a limit on file sizes means no index, not no mail: before a login's reply, and after QUIT's"""
    require_root()
    for is_listed in (False, True):
        box = Box(world, messages=[b"one\n", b"two\n"])
        if is_listed:
            write(box, "dovecot-uidlist", f"3 V1600000000 N9 G0123456789abcdef\n1 P{KEPT} :{LISTED}\n")
        # not even the log is written into a file
        prefix = ["prlimit", "--fsize=0", "--", "/bin/sh", "-c", 'exec "$@" 2>/dev/null', "sh"]
        answers, status = serve(box, "STAT", "RETR 1", "DELE 1", "QUIT", prefix=prefix)
        if [answer[:3] for answer in answers] != ["+OK"] * 5 or answers[1] != "+OK 2 10" or status != 0:
            raise Failure(f"{answers}, status {status}")
        box.check(1)


def test_lock_where_folders_have_none(world):
    """where a directory cannot be locked, pop3d.lock keeps a second session out all the same, and lets it in later"""
    for error in ("EBADF", "ENOLCK"):
        box = Box(world, messages=[b"one\n"])
        prefix, _ = strace(world, "", f"flock:error={error}:when=1")
        with box.session(prefix=prefix) as first:
            first.log_in()
            prefix, _ = strace(world, "", f"flock:error={error}:when=1")
            with box.session(prefix=prefix) as second:
                second.greeting()
                second.expect("USER alice", "+OK")
                second.expect("PASS secret", "-ERR [IN-USE]")
            first.expect("QUIT", "+OK")
            first.wait()
        prefix, _ = strace(world, "", f"flock:error={error}:when=1")
        answers, status = serve(box, "STAT", "QUIT", prefix=prefix)
        if answers[1] != "+OK 1 5" or status != 0:
            raise Failure(f"{answers}, status {status}")


def test_move_without_its_flag(world):
    """a file system without RENAME_NOREPLACE: a plain rename moves a message, and one that fails leaves it there"""
    for error in ("EINVAL", "ENOSYS"):
        for rename in (None, "EIO", "EXDEV"):
            box = Box(world, messages=[b"one\n"])
            faults = [f"renameat2:error={error}"] + ([f"renameat:error={rename}:when=1"] if rename else [])
            prefix, _ = strace(world, "", *faults)
            answers, status = serve(box, "RETR 1", "QUIT", prefix=prefix)
            wanted = f"new/{LISTED}" if rename else f"cur/{LISTED}:2,S"
            if box.listing() != [wanted] or not says(answers[-1], "+OK") or status != 0:
                raise Failure(f"renameat2 {error}, renameat {rename}: {answers}, {box.listing()} and not {wanted}")


def calls_of(path):
    """Calls of a trace that succeeded, in their order, whole ones: name and what is in its parentheses."""
    calls, begun = [], {}
    with open(path, errors="replace") as file:
        for line in file:
            pid, _, text = line.strip().partition(" ")
            text = text.strip()
            if text.endswith("<unfinished ...>"):
                begun[pid] = text[:-len("<unfinished ...>")]
                continue
            resumed = re.match(r"<\.\.\. \w+ resumed>(.*)", text)
            if resumed:
                text = begun.pop(pid, "") + resumed[1]
            call = re.match(r"(\w+)\((.*)\) += (-?\d+)", text)
            if call and int(call[3]) >= 0:
                calls.append((call[1], call[2]))
    return calls


def is_kept_first(path):
    """Whether pop3d.ids was synced, behind its last write, before the client was told anything after its login."""
    calls = calls_of(path)
    told = [n for n, (name, text) in enumerate(calls) if name.startswith("write") and "successfully logged on" in text]
    of_file = [name for name, text in calls[:told[0]] if re.match(r"\d+<[^>]*/pop3d\.ids>", text)] if told else []
    of_folder = [name for name, text in calls[:told[0]] if re.fullmatch(r"\d+<[^>]*/Maildir>", text)] if told else []
    return "writev" in of_file and of_file[-1] in ("fsync", "fdatasync") and "fsync" in of_folder


def test_ids_outlive_a_loss_of_power(world):
    """unique-ids that are not the base name are on the disk, and their file in its folder, before a client is told them"""
    calls = "write,writev,pwrite64,pwritev,ftruncate,fsync,fdatasync,rename,renameat,renameat2"
    box = Box(world, messages=[b"one\n"])
    write(box, "dovecot-uidlist", f"3 V1600000000 N9 G0123456789abcdef\n1 P{KEPT} :{LISTED}\n")
    long = Box(world, messages=[b"one\n"])
    for index, drop in enumerate((box, long)):
        if drop is long:
            # no unique-id can be as long as this name
            os.rename(f"{drop.maildir}/new/{LISTED}", f"{drop.maildir}/new/{LISTED}{'x' * 80}")
        prefix, path = strace(world, calls)
        serve(drop, "UIDL", "QUIT", prefix=prefix)
        if not is_kept_first(path):
            raise Failure(f"maildrop {index}: pop3d.ids was not synced before the login's reply:\n" +
                          "\n".join(map(str, calls_of(path))))


def test_ids_that_are_cut(world):
    """unique-ids of which only a part could be written are not told while another server has a list"""
    box = Box(world, messages=[b"one\n"])
    write(box, "dovecot-uidlist", f"3 V1600000000 N9 G0123456789abcdef\n1 P{KEPT} :{LISTED}\n")
    prefix, _ = strace(world, "", "writev:retval=5:when=1")
    answers, _ = serve(box, "UIDL 1", "LIST 1", "QUIT", prefix=[*prefix, "-P", f"{box.maildir}/pop3d.ids"])
    if not says(answers[1], "-ERR [SYS/TEMP]") or answers[2] != "+OK 1 5":
        raise Failure(f"{answers}")
    if unique_id(box) != KEPT:
        raise Failure(f"message 1 is {unique_id(box)} now")


def test_index_that_is_cut(world):
    """an index that was written in part never takes the place of a good one"""
    faults = ["writev:retval=100", "writev:error=ENOSPC", "writev:error=EIO"]
    for fault in faults:
        box = taken_over(world)
        box.add(b"two\n")
        with open(f"{box.maildir}/pop3d.index", "rb") as file:
            before = file.read()
        prefix, path = strace(world, "", fault)
        answers, _ = serve(box, "STAT", "QUIT", prefix=prefix)
        with open(path) as file:
            if fault.split(":")[0] not in file.read():
                raise Failure(f"{fault}: there is no such call any more")
        with open(f"{box.maildir}/pop3d.index", "rb") as file:
            if file.read() != before:
                raise Failure(f"{fault}: the index that was there is gone")
        if answers[1] != "+OK 2 10" or unique_id(box) != KEPT:
            raise Failure(f"{fault}: {answers}, and message 1 is {unique_id(box)} now")


def stale_index(world, box, when):
    """A prefix under which reading the index fails so: header, records and text are read, in this turn."""
    prefix, path = strace(world, "", f"pread64:error=ESTALE:when={when}")
    # of that file alone, for the loader reads so as well
    return prefix + ["-P", f"{box.maildir}/pop3d.index"], path


def test_stale_handle_is_no_damage(world):
    """a server of files that has lost its handle (ESTALE) has not damaged the index: it is asked again, and unique-ids stay"""
    for when in ("1", "2", "3", "2..4", "1+", "2+", "3+"):
        for is_changed in (False, True):
            box = taken_over(world)
            if is_changed:              # the records are read at the login then
                box.add(b"two\n")
            with open(f"{box.maildir}/pop3d.index", "rb") as file:
                before = file.read()
            prefix, path = stale_index(world, box, when)
            answers, _ = serve(box, "UIDL 1", "QUIT", prefix=prefix)
            with open(path) as file:
                if "(INJECTED)" not in file.read():
                    raise Failure(f"ESTALE {when}: the index was not read so often")
            last = answers[-1] if when.endswith("+") else answers[1]
            if not says(last, "-ERR [SYS/TEMP]") if when.endswith("+") else last != f"+OK 1 {KEPT}":
                raise Failure(f"ESTALE {when}, {is_changed=}: {answers}")
            with open(f"{box.maildir}/pop3d.index", "rb") as file:
                if file.read() != before and (when.endswith("+") or not is_changed):
                    raise Failure(f"ESTALE {when}: the index is another now")
            if unique_id(box) != KEPT:
                raise Failure(f"ESTALE {when}: message 1 is {unique_id(box)} now")


def test_maildir_that_another_replaced(world):
    """another machine has just put another Maildir in this place (ESTALE): it is looked up again, a few times"""
    for when, wanted in (("1", "+OK 1 5"), ("1..3", "+OK 1 5"), ("1+", "-ERR [SYS/TEMP]")):
        box = Box(world, messages=[b"one\n"])
        prefix, path = strace(world, "", f"openat:error=ESTALE:when={when}")
        answers, _ = serve(box, "STAT", "QUIT", prefix=[*prefix, "-P", box.maildir])
        with open(path) as file:
            if "(INJECTED)" not in file.read():
                raise Failure("the Maildir was not opened")
        if not says(answers[-1] if when.endswith("+") else answers[1], wanted):
            raise Failure(f"ESTALE {when}: {answers}")


def test_index_that_another_replaced(world):
    """another machine replaces the index of an open session: one that tells the same is taken, another one ends it"""
    for later, wanted in ((b"two\n", f"+OK 1 {KEPT}"), (b"longer\n", "-ERR [SYS/TEMP]"), (None, f"+OK 1 {KEPT}")):
        box = taken_over(world)
        other = taken_over(world)
        box.add(b"two\n")
        serve(box, "QUIT")
        if later is not None:
            other.add(later)
            serve(other, "QUIT")
        time.sleep(0.05)
        serve(box, "QUIT")
        prefix, _ = stale_index(world, box, "2")
        with box.session(prefix=prefix) as session:
            session.log_in()
            session.expect("STAT", "+OK 2 10")
            index = f"{box.maildir}/pop3d.index"
            os.unlink(index)
            if later is not None:
                os.rename(f"{other.maildir}/pop3d.index", index)
            answer = session.command("UIDL 1")
            if not says(answer, wanted):
                raise Failure(f"{later}: {answer} and not {wanted}; {session.log()}")
            if answer.startswith("-ERR") and "path=pop3d.index, error=ESTALE" not in session.log():
                raise Failure(session.log())


def test_restored_message(world):
    """a message put back from elsewhere, under its name, keeps a unique-id that is not its name"""
    box = taken_over(world)
    copy = write(box, "tmp/copy", "one\n")
    os.rename(copy, f"{box.maildir}/new/{LISTED}")
    # whatever a list says of it by now
    write(box, "dovecot-uidlist", f"3 V1600000000 N9 G0123456789abcdef\n1 Panother :{LISTED}\n")
    if unique_id(box) != KEPT:
        raise Failure(f"it is {unique_id(box)} now")


def untyped(world):
    library = f"{world.root}/untyped.so"
    require_production(world, "needs the production build")
    with LOCK:
        if not os.path.exists(library):
            subprocess.run([require_tool("cc"), "-shared", "-fPIC", "-Wall", "-o", library + ".new",
                            f"{HERE}/harness/untyped.c", "-ldl"], check=True)
            os.rename(library + ".new", library)
    return {"LD_PRELOAD": library}


def test_types_that_are_not_told(world):
    """a folder that tells no types: messages are served, links and folders are none; what cannot be looked at is no less there"""
    box = Box(world, messages=[b"one\n", b"two\n"])
    os.mkdir(f"{box.maildir}/new/folder")
    os.symlink("/etc/passwd", f"{box.maildir}/new/link")
    for fails in ("", LISTED):
        environment = {**untyped(world), "UNTYPED_FAILS": fails}
        if os.path.exists(f"{box.maildir}/pop3d.index"):
            os.unlink(f"{box.maildir}/pop3d.index")
        with box.session(env=environment) as session:
            session.log_in()
            answer = session.command("STAT")
            session.expect("QUIT", "+OK")
        if answer.split()[1] != "2" or not fails and answer != "+OK 2 10":
            raise Failure(f"where {fails or 'nothing'} fails: {answer}")


def test_rewritten_while_sent(world):
    """a message that is written over in place while it is sent, with as many octets, is cut: no closing dot"""
    content = b"Subject: old\n\n" + b"old line of a message\n" * 400000
    box = Box(world, messages=[content])
    path = f"{box.maildir}/new/{LISTED}"
    with box.session(transport="socketpair") as session:
        session.log_in()
        session.expect("RETR 1", "+OK")
        time.sleep(0.2)                 # all that fits is on its way
        with open(path, "r+b") as file:
            file.write(content.replace(b"old", b"new"))
        rest = session.drain()
        if rest.endswith(b"\r\n.\r\n") or session.wait() != 4:
            raise Failure(f"sent to its end, {len(rest)} octets, status {session.wait()}")
        if len(rest) > wire.octets(content):
            raise Failure("more than the message")
        if "FAULT, user=alice, " not in session.log() or "end=cut" not in session.log():
            raise Failure(session.log())


def test_grown_from_empty(world):
    """a message that was empty when it was counted, and has a piece or more by now, is sent whole"""
    for content in (b"x" * 131072, b"x" * 131073, b"line of a message\n" * 20000):
        box = Box(world, messages=[b""])
        time.sleep(0.1)                 # what changed before the folders are read is counted for good
        with box.session() as session:
            session.log_in()
            session.expect("LIST 1", "+OK 1 2")
            session.expect("QUIT", "+OK")
        with box.session() as session:
            session.log_in()
            with open(f"{box.maildir}/new/{LISTED}", "wb") as file:
                file.write(content)
            session.expect("RETR 1", f"+OK {wire.octets(content)}")
            if session.block() != wire.whole(content):
                raise Failure(f"{len(content)} octets, and others were sent")
            session.expect("QUIT", "+OK")


def test_three_calls_a_message(world):
    """a message of one piece takes three system calls, and its removal two; what changed meanwhile stays all the same"""
    require_tool("strace")
    require_root()
    box = Box(world, messages=[b"Subject: %d\n\ntext\n" % number for number in range(9)])
    with box.session() as session:
        session.log_in()                # counts
        session.expect("QUIT", "+OK")
    # a file that is as old as these is known not to have changed by its ctime alone
    time.sleep(4)
    prefix, trace = strace(world, "openat,fstat,newfstatat,read,close,unlinkat,statx,pread64")
    with box.session(prefix=prefix, transport="socketpair") as session:
        session.log_in()
        session.expect("STAT", "+OK 9")
        session.expect("UIDL 9", "+OK")         # the index is read for it
        before = os.path.getsize(trace)
        for number in range(1, 10):
            session.expect(f"RETR {number}", "+OK")
            session.block()
        retrieved = os.path.getsize(trace)
        # two are written anew in their time and size, in place and by a rename
        for number, ways in ((3, "in place"), (6, "by a rename")):
            path = f"{box.maildir}/{[name for name in box.listing() if f'M{number}P' in name][0]}"
            status = os.stat(path)
            other = path if ways == "in place" else f"{box.maildir}/tmp/other"
            with open(other, "wb") as file:
                file.write(b"Subject: !\n\ntext\n")
            os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
            os.chown(other, box.uid, box.uid)
            os.rename(other, path)
        for number in range(1, 10):
            session.expect(f"DELE {number}", "+OK")
        session.expect("QUIT", "-ERR [SYS/TEMP] 2 of 9 deleted messages not removed")
        session.wait()
    with open(trace, errors="replace") as file:
        text = file.read()
    calls = [re.findall(r"^\d+ +(\w+)\((?!0<|1<)[^\n]*/new[/>]", part, re.M)
             for part in (text[before:retrieved], text[retrieved:])]
    if calls[0] != ["openat", "read", "close"] * 9:
        raise Failure(f"{calls[0]}")
    # of the seven that are as they were no content is looked at again
    opened = set(re.findall(r'openat\([^\n]*/new>, "\d+\.M(\d)P', text[retrieved:]))
    if opened != {"3", "6"} or calls[1].count("unlinkat") != 7:
        raise Failure(f"{opened} opened, {calls[1]}")


def test_four_calls_to_count_a_message(world):
    """a first session opens a message, asks for its size, reads that much, and closes it"""
    require_tool("strace")
    require_root()
    box = Box(world, messages=[b"Subject: %d\n\ntext\n" % number for number in range(9)])
    prefix, trace = strace(world, "openat,fstat,newfstatat,read,close,statx,pread64")
    with box.session(prefix=prefix, transport="socketpair") as session:
        session.log_in()
        session.expect("STAT", "+OK 9")
        session.expect("QUIT", "+OK")
        session.wait()
    with open(trace, errors="replace") as file:
        calls = re.findall(r"^\d+ +(\w+)\([^\n]*\.M\dP", file.read(), re.M)
    if [call.replace("newfstatat", "fstat") for call in calls] != ["openat", "fstat", "read", "close"] * 9:
        raise Failure(f"{calls}")
