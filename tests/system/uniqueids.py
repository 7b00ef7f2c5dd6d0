"""
uniqueids.py - a unique-id that a client was told stays, whatever becomes of the index.

Runs in:   the test runner, as root.
May touch: maildrops of its own.
"""
import os
import time

from harness.box import Box
from harness.server import Failure, says
from harness.world import require_root

from system.locks import NOBODY, Guest

NAME = "1700000001.M1P1.sample"
NUMBERED = "000000076553f100"           # what Dovecot's default format makes of the list below
LIST = "3 V1700000000 N9 G0123456789abcdef\n"
LINE = f"7 :{NAME}\n"


def write(box, name, content):
    path = f"{box.maildir}/{name}"
    with open(path, "wb") as file:
        file.write(content if isinstance(content, bytes) else content.encode())
    os.chown(path, box.uid, box.uid)
    return path


def serve(box, *commands, options=()):
    """The reply to the login, then those to the commands, and the log."""
    with box.session(*options) as session:
        session.greeting()
        session.expect("USER alice", "+OK")
        answers = [session.command("PASS secret")]
        if says(answers[0], "+OK"):
            answers += [session.command(command) for command in commands]
            session.command("QUIT")
        session.drain()
        session.wait()
        return answers, session.log()


def unique_id(box, number=1, options=()):
    return serve(box, f"UIDL {number}", options=options)[0][-1].split()[-1]


def want(got, wanted, when):
    if got != wanted:
        raise Failure(f"{when}: {got} and not {wanted}")


def numbered(world):
    """A maildrop with one message that Dovecot has numbered."""
    require_root()
    box = Box(world, messages=[b"one\n"])
    write(box, "dovecot-uidlist", LIST + LINE)
    want(unique_id(box), NUMBERED, "taken over")
    return box


def damage(box):
    with open(f"{box.maildir}/pop3d.index", "r+b") as file:
        file.seek(-2, os.SEEK_END)
        octet = file.read(1)[0]
        file.seek(-2, os.SEEK_END)
        file.write(bytes([octet ^ 1]))


LOSSES = {
    "removed": lambda box: os.unlink(f"{box.maildir}/pop3d.index"),
    "damaged": damage,
    "another's": lambda box: os.chown(f"{box.maildir}/pop3d.index", 2, 2),
    "of another format": lambda box: write(box, "pop3d.index", b"PpoDIDx9" + bytes(200)),
}


def test_losses_of_the_index(world):
    """an index that is removed, damaged, another's or of another format takes no unique-id with it, and the log tells of it"""
    for what, lose in LOSSES.items():
        box = numbered(world)
        os.unlink(f"{box.maildir}/dovecot-uidlist")
        lose(box)
        answers, log = serve(box, "UIDL 1")
        want(answers[-1], f"+OK 1 {NUMBERED}", what)
        want("INDEX NOT USED" in log, what != "removed", f"{what}, the log tells of it")
        want(unique_id(box), NUMBERED, what + ", later")


def test_losses_of_the_file(world):
    """pop3d.ids is made anew from the index; a line that was cut off does no harm, nor does one that is not ours"""
    box = numbered(world)
    kept = f"{box.maildir}/pop3d.ids"
    os.unlink(f"{box.maildir}/dovecot-uidlist")
    os.unlink(kept)
    want(unique_id(box), NUMBERED, "without pop3d.ids")
    with open(kept) as file:
        want(file.read(), f"{NUMBERED} - {NAME}\n", "pop3d.ids")
    with open(kept, "a") as file:
        file.write(f"no line\nx x {NAME}\n\x01 - {NAME}\nwrong - {NAME}x")
    box.add(b"two\n")
    write(box, "dovecot-uidlist", LIST)
    os.unlink(f"{box.maildir}/pop3d.index")
    want(unique_id(box), NUMBERED, "behind odd lines")
    os.unlink(f"{box.maildir}/pop3d.index")
    want(unique_id(box), NUMBERED, "behind a line that was cut off")
    want(unique_id(box, 2), "1700000002.M2P1.sample", "the message after it")


def test_dovecot_beside(world):
    """what a client was told before Dovecot numbered the message stays, also where the index is lost"""
    require_root()
    box = Box(world, messages=[b"one\n"])
    write(box, "dovecot-uidlist", LIST)
    want(unique_id(box), NAME, "before Dovecot has it")
    write(box, "dovecot-uidlist", LIST + LINE)
    os.unlink(f"{box.maildir}/pop3d.index")
    want(unique_id(box), NAME, "when Dovecot has it")


def test_full_disk(world):
    """where Dovecot may number a message and its unique-id cannot be stored, UIDL alone waits"""
    require_root()
    box = Box(world, messages=[b"one\n"])
    write(box, "dovecot-uidlist", LIST)
    for name in ("pop3d.ids", "pop3d.index.new"):
        # a folder in its place: neither can be written, whatever the file system
        os.mkdir(f"{box.maildir}/{name}")
    answers, log = serve(box, "UIDL", "UIDL 1", "STAT", "LIST 1")
    for answer, wanted in zip(answers[1:], ("-ERR [SYS/TEMP]", "-ERR [SYS/TEMP]", "+OK 1 5", "+OK 1 5")):
        if not says(answer, wanted):
            raise Failure(f"{answers}")
    if "path=pop3d.ids" not in log:
        raise Failure(f"the log does not say why: {log}")
    os.rmdir(f"{box.maildir}/pop3d.ids")
    want(unique_id(box), NAME, "when there is room")


def test_what_could_not_be_kept_is_tried_again(world):
    """where pop3d.ids cannot be written the next session does not believe the index, and tries again"""
    box = numbered(world)
    os.chmod(f"{box.maildir}/pop3d.ids", 0o444)
    box.add(b"two\n")
    for number in range(3):
        time.sleep(0.1)         # a folder of this very moment is read in any case
        answers, _ = serve(box, "UIDL 2")
        if not says(answers[1], "-ERR [SYS/TEMP]"):
            raise Failure(f"session {number}: {answers}")
    os.chmod(f"{box.maildir}/pop3d.ids", 0o600)
    want(unique_id(box, 2), "1700000002.M2P1.sample", "when it can be written")


def test_guest_keeps_nothing(world):
    """a guest who may write in the Maildir makes no pop3d.ids there: it would be his, and keep the owner out"""
    box = numbered(world)
    os.unlink(f"{box.maildir}/pop3d.ids")
    for folder in ("", "/new", "/cur"):
        os.chmod(box.maildir + folder, 0o777)
    for path in box.listing():
        os.chmod(f"{box.maildir}/{path}", 0o644)
    guest = Guest(NOBODY)
    opened = guest.ask(f"open {box.maildir}"), guest.ask("load")
    guest.end()
    if opened[0][0] != "ok" or opened[1] != ["ok"] or os.path.exists(f"{box.maildir}/pop3d.ids"):
        raise Failure(f"{opened}, {os.listdir(box.maildir)}")
    want(unique_id(box), NUMBERED, "the owner's session after it")


def test_closed_list(world):
    """a list of Dovecot's that may not be read, or is another's, refuses the login instead of giving new unique-ids"""
    require_root()
    for uid, mode in ((0, 0o600), (2, 0o644)):
        for name in ("dovecot-uidlist", "pop3d.ids"):
            box = numbered(world)
            os.chown(f"{box.maildir}/{name}", uid, uid)
            os.chmod(f"{box.maildir}/{name}", mode)
            box.add(b"two\n")
            answers, log = serve(box, "UIDL 1")
            if not says(answers[0], "-ERR [SYS/PERM]") or f"/{name}, error=E" not in log:
                raise Failure(f"{name} of {uid}, {mode:o}: {answers}, {log}")
            os.chown(f"{box.maildir}/{name}", box.uid, box.uid)
            want(unique_id(box), NUMBERED, "when it was opened")


def test_namesakes(world):
    """of two messages with one base name each keeps its unique-id over a copy with the index and without it"""
    require_root()
    box = Box(world)
    write(box, f"cur/{NAME}:2,", "one\n")
    want(unique_id(box), NAME, "the first")
    write(box, f"cur/{NAME}:2,S", "another\n")

    def ids():
        return {serve(box, f"LIST {number}")[0][-1].split()[-1]: unique_id(box, number) for number in (1, 2)}
    told = ids()
    want(told["5"], NAME, "the first beside the second")
    for path in (f"cur/{NAME}:2,", f"cur/{NAME}:2,S"):
        with open(f"{box.maildir}/{path}", "rb") as file:
            write(box, "tmp/copy", file.read())
        os.rename(f"{box.maildir}/tmp/copy", f"{box.maildir}/{path}")
    want(ids(), told, "copied")
    os.unlink(f"{box.maildir}/pop3d.index")
    want(ids(), told, "without the index")
    os.unlink(f"{box.maildir}/cur/{NAME}:2,")
    os.unlink(f"{box.maildir}/pop3d.index")
    want(unique_id(box), told["9"], "the second alone")


def test_appended_to_the_name(world):
    """what mbsync and OfflineIMAP append to a base name changes no unique-id, and an open session finds the message"""
    require_root()
    box = Box(world, messages=[b"one\n", b"two\n"])
    want(unique_id(box), NAME, "at first")
    names = [NAME, NAME + ",U=1", NAME + ",U=12", NAME + ",U=12,FMD5=7e33429f656f1e6e9d79b29c3f82c57e"]
    for old, new in zip(names, names[1:]):
        with box.session() as session:
            session.log_in()
            session.command("UIDL 1")
            os.rename(f"{box.maildir}/new/{old}", f"{box.maildir}/new/{new}")
            session.expect("TOP 1 0", "+OK")
            session.block()
            session.expect("QUIT", "+OK")
            session.wait()
        want(unique_id(box), NAME, new)
    os.unlink(f"{box.maildir}/pop3d.index")
    want(unique_id(box), NAME, "without the index")
    with box.session() as session:
        session.log_in()
        session.expect("DELE 1", "+OK")
        os.rename(f"{box.maildir}/new/{names[-1]}", f"{box.maildir}/cur/{NAME},U=3:2,S")
        session.expect("QUIT", "+OK")
        session.wait()
    want(box.listing(), ["new/1700000002.M2P1.sample"], "removed under its last name")


def test_none(world):
    """with -u none nothing is taken over"""
    require_root()
    box = Box(world, messages=[b"one\n"])
    write(box, "dovecot-uidlist", LIST + LINE)
    want(unique_id(box, options=("-u", "none")), NAME, "-u none")
