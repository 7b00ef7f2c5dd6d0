#!/usr/bin/env python3
"""Random messages, random work of other programs, random damage to the index.

After each step one session is held, and must find: every message that is on
disk, once; sent octets as announced; content as on disk with line ends
normalised; the unique-ids of former sessions, also where the index or pop3d.ids
was lost, where Dovecot has a list, where a program appended to base names;
no two alike; nothing lost. In a fifth of the maildrops their owner plants a pop3d.ids of his own:
then unique-ids are what they are, but sound, no two alike, and all else holds.

usage: maildir.py [DRIVER [ROUNDS [SEED]]]
"""
import os
import random
import re
import shutil
import stat
import subprocess
import sys
import tempfile

ENOENT = 2


def normalised(content):
    """What RFC 1939 makes of a file, unstuffed."""
    out = bytearray()
    for i, octet in enumerate(content):
        if octet == 10 and (i == 0 or content[i - 1] != 13):
            out += b"\r"
        out.append(octet)
    if not out.endswith(b"\n"):
        out += b"\r\n"
    return bytes(out)


def unstuffed(wire):
    assert wire.endswith(b".\r\n"), wire[-20:]
    lines = wire[:-3].split(b"\n")
    assert all(not line.startswith(b".") or line.startswith(b"..") for line in lines)
    return b"\n".join(line[1:] if line.startswith(b".") else line for line in lines)


class Driver:
    def __init__(self, program):
        self.process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def ask(self, command):
        self.process.stdin.write(command.encode() + b"\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().decode("latin-1").split()
        assert answer, "the driver died at: " + command
        return answer

    def listing(self):
        count = int(self.ask("list")[1])
        lines = [self.process.stdout.readline().decode("latin-1").rstrip("\n").split(" ", 2)
                 for _ in range(count)]
        return {int(number): (int(octets), unique) for number, octets, unique in lines}

    def message(self, command):
        answer = self.ask(command)
        if answer[0] != "ok":
            return answer, None
        return answer, self.process.stdout.read(int(answer[2]))

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


class World:
    """A Maildir, what must be in it, and who may do what to it."""

    def __init__(self, program, seed):
        self.random = random.Random(seed)
        self.program = program
        self.path = tempfile.mkdtemp(prefix="pop3d-property-")
        for folder in ("new", "cur", "tmp"):
            os.mkdir(os.path.join(self.path, folder))
        self.ids = {}           # inode and base name -> unique-id
        self.doubtful = set()   # base names that more than one file has had
        self.restored = set()   # base names restored since the last session
        self.moved = set()      # base names that another program gave since the last login
        self.doubled = set()    # base names of files that came beside others since then
        self.replaced = set()   # base names of which several files came in turn
        self.is_numbered = False # by Dovecot, since the last login
        self.is_written = False # the index, since it was damaged or a session was killed
        self.is_owner_hostile = seed % 5 == 0
        self.is_planted = False # a pop3d.ids of the owner's own
        self.serial = 0
        self.driver = Driver(program)

    def files(self):
        found = []
        for folder in ("new", "cur"):
            for name in os.listdir(os.path.join(self.path, folder)):
                path = os.path.join(self.path, folder, name)
                if not name.startswith(".") and stat.S_ISREG(os.lstat(path).st_mode):
                    found.append(path)
        return sorted(found)

    @staticmethod
    def base(path):
        return os.path.basename(path).split(":")[0]

    def key(self, path):
        return (os.lstat(path).st_ino, self.base(path))

    # Other programs

    def content(self):
        kind = self.random.randrange(10)
        if kind == 0:
            return b""
        if kind == 1:
            return bytes(self.random.choice(b"a.\r\n") for _ in range(self.random.randrange(40)))
        if kind == 2:
            return os.urandom(self.random.randrange(3000))
        if kind == 3:
            return b"\n." * self.random.randrange(300) + b"\r" * self.random.randrange(3)
        if kind == 4:
            return b"x" * self.random.choice([131071, 131072, 131073, 300000])
        if kind == 5:
            return b"Subject: long\n\n" + (b"A" * 76 + b"\n") * self.random.randrange(6000)
        end = self.random.choice([b"\n", b"\r\n"])
        lines = [b"x" * self.random.randrange(100) for _ in range(self.random.randrange(60))]
        return end.join([b"Subject: test", b""] + lines) + self.random.choice([b"", end, b"\r"])

    def name(self, content):
        self.serial += 1
        name = "%d.M%dP%d.host" % (1700000000 + self.random.randrange(1000), self.serial,
                                   self.random.randrange(10))
        kind = self.random.randrange(12)
        if kind == 0:
            # as Dovecot writes it: without the line end that is added to the last line
            wire = len(normalised(content)) - 2 * (not content.endswith(b"\n"))
            name += ",S=%d,W=%d" % (len(content), wire)
        elif kind == 1:
            name += ",W=%d" % self.random.randrange(5000)
        elif kind == 2:
            name += ",W=" + self.random.choice(["", "x", "99999999999999999999", "7,x", "-1"])
        elif kind == 3:
            name += " blank\u00e9"
        elif kind == 4:
            name += "y" * 150
        elif kind == 5:
            name = "without-time-%d" % self.serial
        return name

    def write(self, path, content):
        temporary = os.path.join(self.path, "tmp", "delivery")
        with open(temporary, "wb") as file:
            file.write(content)
        os.rename(temporary, path)

    def deliver(self):
        content = self.content()
        if self.random.random() < 0.6:
            path = os.path.join(self.path, "new", self.name(content))
        else:
            flags = self.random.choice(["", ":2,", ":2,S", ":2,FRS", ":1,x"])
            path = os.path.join(self.path, "cur", self.name(content) + flags)
        self.write(path, content)

    def double(self):
        """Another file under a known base name: another message."""
        files = self.files()
        if files:
            base = self.base(self.random.choice(files))
            path = os.path.join(self.path, "cur", base + ":2,D%d" % self.random.randrange(9))
            # Of two that come while one disappears, nobody can tell which is the same.
            # Nor which came first, when no index says it.
            if not os.path.exists(path) and base not in self.restored and self.is_written:
                # What took the place of another namesake has that one's id, but not its content.
                if base in self.doubtful:
                    self.replaced.add(base)
                self.doubtful.add(base)
                self.doubled.add(base)
                self.write(path, self.content())

    def change_flags(self):
        files = self.files()
        if files:
            path = self.random.choice(files)
            flags = ":2," + "".join(self.random.sample("FRST", self.random.randrange(5)))
            target = os.path.join(self.path, "cur", self.base(path) + flags)
            if not os.path.exists(target):
                os.rename(path, target)

    def restore(self):
        """The same message from a backup: same name, another inode."""
        files = self.files()
        if files:
            path = self.random.choice(files)
            old = self.key(path)
            with open(path, "rb") as file:
                content = file.read()
            self.write(path, content)
            if old[1] in self.doubtful:
                # Which of two was restored cannot be told, least of all when inodes are reused.
                self.ids = {key: unique for key, unique in self.ids.items() if key[1] != old[1]}
            elif old[1] in self.moved:
                # Neither the inode nor the base name is one that a session has met.
                self.ids.pop(old, None)
            elif old in self.ids:
                self.restored.add(old[1])
                self.ids[self.key(path)] = self.ids[old]

    def remove(self):
        files = self.files()
        if files:
            os.unlink(self.random.choice(files))

    def append(self):
        """Another base name, as mbsync gives it; returns the file's former and present keys."""
        path = self.random.choice(self.files() or [None])
        # Without an index, or after a restore, nobody knows the inode.
        if path is None or not self.is_written or len(path) > 200 or \
                self.base(path) in self.doubtful | self.restored:
            return None, None
        old, name = self.key(path), os.path.basename(path)
        base = re.sub(r",U=\d+", "", old[1]) + ",U=%d" % self.random.randrange(9999)
        target = os.path.join(os.path.dirname(path), base + name[len(old[1]):])
        if os.path.lexists(target):
            return None, None
        os.rename(path, target)
        self.moved.add(base)
        if old in self.ids:
            self.ids[self.key(target)] = self.ids.pop(old)
        return old, self.key(target)

    def number(self):
        """Dovecot meets some of the messages, gives them numbers, or gives up its list."""
        path = os.path.join(self.path, "dovecot-uidlist")
        if os.path.exists(path) and self.random.random() < 0.3:
            os.unlink(path)
            return
        if not os.path.exists(path) and not self.is_written:
            # What was told without a list is in no file then, and Dovecot's number would be taken.
            return
        with open(path, "wb") as file:
            file.write(b"3 V%d N99999 G0\n" % self.random.randrange(1, 9999))
            for uid, message in enumerate(self.files()):
                if self.random.random() < 0.7:
                    file.write(b"%d :%s\n" % (uid + 1, os.fsencode(os.path.basename(message))))
        # So that the next session reads the folders, and keeps what it told before.
        self.deliver()
        self.is_numbered = True

    def litter(self):
        folder = self.random.choice(["new", "cur"])
        path = os.path.join(self.path, folder, "1600000000.litter%d" % self.random.randrange(9))
        if os.path.lexists(path):
            return
        kind = self.random.randrange(4)
        if kind == 0:
            os.mkfifo(path)
        elif kind == 1:
            os.symlink("/etc/passwd", path)
        elif kind == 2:
            os.mkdir(path)
        else:
            self.write(os.path.join(self.path, folder, ".hidden%d" % self.random.randrange(9)), b"x")

    def work(self):
        self.random.choices([self.deliver, self.change_flags, self.remove, self.restore,
                             self.double, self.litter, self.append, self.number],
                            [10, 6, 3, 2, 1, 1, 2, 1])[0]()

    # Damage

    def damage(self):
        index = os.path.join(self.path, "pop3d.index")
        if self.is_numbered:
            # What was told before, without a list, is in the index alone.
            return
        kind = self.random.randrange(10)
        if kind == 9:
            # Not both in turn: what is neither in the index nor in pop3d.ids is lost.
            if self.is_written and os.path.exists(os.path.join(self.path, "pop3d.ids")):
                os.unlink(os.path.join(self.path, "pop3d.ids"))
            return
        if kind == 0:
            with open(os.path.join(self.path, "pop3d.index.new"), "wb") as file:
                file.write(b"left over")
            return
        self.is_written = False
        if not os.path.isfile(index):
            return
        # That a message has another base name now only the index shows; and which of two was first.
        lost = self.moved | self.doubled | self.replaced
        self.ids = {key: unique for key, unique in self.ids.items() if key[1] not in lost}
        with open(index, "rb") as file:
            data = bytearray(file.read())
        os.unlink(index)
        if kind == 1:
            return
        if kind == 2:
            os.mkfifo(index)
            return
        if kind == 3:
            os.symlink("/dev/zero", index)
            return
        if kind == 4:
            data = data[:self.random.randrange(len(data))]
        elif kind == 5:
            data += b"x"
        elif kind == 6:
            data = bytearray(os.urandom(len(data)))
        else:
            # Flips behind the header leave the header believable: the laziest way in.
            start = 0 if kind == 7 else min(96, len(data) - 1)
            for _ in range(self.random.randrange(1, 4)):
                data[self.random.randrange(start, len(data))] ^= 1 << self.random.randrange(8)
        with open(index, "wb") as file:
            file.write(data)

    def plant(self):
        """A pop3d.ids that no session has written: lines for the messages there are, or no lines at all."""
        path = os.path.join(self.path, "pop3d.ids")
        if os.path.isdir(path):
            os.rmdir(path)
        elif os.path.lexists(path):
            os.unlink(path)
        bases = [os.fsencode(self.base(file)) for file in self.files()] or [b"none"]
        words = bases + [b"same", b"-", b"%20", b"0123456789abcdef", b"x" * 70, b"x" * 71, b"\x01", b""]
        kind = self.random.randrange(6)
        if kind == 0:
            os.mkfifo(path)
        elif kind == 1:
            os.symlink(self.random.choice(["/dev/zero", "pop3d.index", "nowhere"]), path)
        elif kind == 2:
            os.mkdir(path)
        else:
            with open(path, "wb") as file:
                for _ in range(self.random.randrange(30)):
                    line = [self.random.choice([b"same", *words]), self.random.choice([b"-", b"-", *words]),
                            self.random.choice(bases)]
                    file.write(b" ".join(line) + self.random.choice([b"\n", b"\n", b"\n", b" \n", b"\0\n"]))
                if kind == 3:
                    file.write(self.random.randbytes(self.random.randrange(300)))
        self.is_planted = True

    # Sessions

    def open(self):
        answer = self.driver.ask("open " + self.path)
        assert answer[0] == "ok", answer
        loaded = self.driver.ask("load")
        if loaded[0] != "ok":
            # Only a maildrop that is not what STAT was answered from.
            assert loaded[1] == "116", loaded
            self.driver.ask("close")
            answer = self.driver.ask("open " + self.path)
            loaded = self.driver.ask("load")
        assert answer[0] == "ok" and loaded[0] == "ok", (answer, loaded)
        return int(answer[1]), int(answer[2])

    def check_listing(self, count, octets):
        listing, files = self.driver.listing(), self.files()
        assert len(files) == count == len(listing), (len(files), count, listing)
        assert octets == sum(size for size, _ in listing.values())
        uniques = [unique for _, unique in listing.values()]
        assert len(set(uniques)) == len(uniques), "two unique-ids are alike"
        assert all(1 <= len(u) <= 70 and all(0x21 <= ord(c) <= 0x7e for c in u) for u in uniques)
        return listing, files

    def check_message(self, number, by_content):
        answer, wire = self.driver.message("retr %d" % number)
        assert answer[0] == "ok", answer
        plain = unstuffed(wire)
        assert by_content.get(plain), "a message that is not on disk"
        # A wrong hint in the name of a message too large to be looked through beforehand
        # is found out only when it was sent; so is another file with a reused inode number.
        assert int(answer[1]) == len(plain) or (len(plain) >= 131072 and any(
            ",W=" in path or self.base(path) in self.doubtful
            for path in by_content[plain])), (answer, len(plain))
        lines = self.random.randrange(4)
        answer, top = self.driver.message("top %d %d" % (number, lines))
        assert answer[0] == "ok" and plain.startswith(unstuffed(top)), answer
        return by_content[plain]

    def check_ids(self, listing, plain_of, files):
        """Ids are those of former sessions; with equal content any of the files will do."""
        if self.is_planted:
            return
        for number, (_, unique) in listing.items():
            candidates = plain_of[number]
            known = {self.ids[self.key(path)] for path in candidates if self.key(path) in self.ids}
            unknown = [path for path in candidates if self.key(path) not in self.ids]
            if len(candidates) > 1 and any(self.base(path) in self.doubtful for path in candidates):
                continue
            assert unique in known or unknown, (unique, known, candidates)
            for path in candidates:
                if self.base(path) == unique or len(candidates) == 1:
                    self.ids[self.key(path)] = unique
        present = {self.key(path) for path in files}
        self.ids = {key: unique for key, unique in self.ids.items() if key in present}

    def session(self):
        self.moved, self.doubled, self.is_numbered = set(), set(), False
        listing, files = self.check_listing(*self.open())
        by_content = {}
        for path in files:
            with open(path, "rb") as file:
                by_content.setdefault(normalised(file.read()), []).append(path)
        plain_of = {number: self.check_message(number, by_content) for number in listing}
        self.check_ids(listing, plain_of, files)
        after = self.driver.listing()
        self.restored = set()
        self.is_written = True
        stated = self.driver.ask("stat")
        assert int(stated[2]) == sum(size for size, _ in after.values())
        return after, plain_of

    def quiet_session(self):
        after, _ = self.session()
        self.driver.ask(self.random.choice(["quit", "close"]))
        # Every message was sent, so every count is exact from now on.
        again, _ = self.check_listing(*self.open())
        assert again == after, "counts or ids changed in an unchanged maildrop"
        self.driver.ask("close")

    def disturb(self, path):
        """A message that was sent and is to be removed gets another name, is copied, or replaced.

        Returns the path of what was never sent, and has to stay.
        """
        flags = os.path.join(self.path, "cur", self.base(path) + ":2,")
        other = flags + "LM%d" % self.random.randrange(9)
        if self.base(path) in self.doubtful or self.random.random() < 0.6:
            return None
        kind = self.random.randrange(3)
        if kind == 0:
            os.link(path, other)
            return None
        with open(path, "rb") as file:
            content = file.read()
        old = os.lstat(path)
        place = self.random.choice([path, other])
        self.write(place, content if kind == 1 else content + b"never sent\n")
        if place != path:
            os.unlink(path)
        if kind == 1:
            # A message of more than a piece is known by its time alone.
            os.utime(place, ns=(old.st_atime_ns, old.st_mtime_ns))
            return None
        return place

    def deleting_session(self):
        former = dict(self.ids), set(self.restored)
        listing, plain_of = self.session()
        sole = [number for number in listing if len(plain_of[number]) == 1]
        doomed = self.random.sample(sole, self.random.randrange(len(sole) + 1))
        gone = {self.key(plain_of[number][0]) for number in doomed}
        before = {self.key(path) for path in self.files()}
        for number in doomed:
            assert self.driver.ask("dele %d" % number)[0] == "ok"
        if self.random.random() < 0.3:
            assert self.driver.ask("rset")[0] == "ok"
            gone = set()
            doomed = []
        if self.random.random() < 0.3:
            self.driver.kill()
            self.driver = Driver(self.program)
            gone = set()
            # Its index was not written. Base names will be ids again, unless a namesake comes first.
            self.ids, self.restored = former
            self.is_written = False
        else:
            stay = [self.disturb(plain_of[number][0]) for number in doomed]
            stay = {self.key(path) for path in stay if path is not None}
            for _ in range(self.random.randrange(3)):
                self.change_flags()
            answer = self.driver.ask("quit")
            assert answer[1:3] == [str(len(doomed)), str(len(stay))], answer
            assert (answer[3] == "0") == (not stay), answer
            before, gone = (before - gone) | stay, set()
        assert {self.key(path) for path in self.files()} == before - gone

    def busy_session(self):
        """Other programs rename and remove while the session is on."""
        listing, plain_of = self.session()
        sole = {number: self.key(plain_of[number][0]) for number in listing
                if len(plain_of[number]) == 1 and
                self.base(plain_of[number][0]) not in self.doubtful}
        for _ in range(self.random.randrange(1, 8)):
            old, new = self.random.choice([self.change_flags, self.change_flags, self.remove,
                                           self.deliver, self.append])() or (None, None)
            sole = {number: new if key == old else key for number, key in sole.items()}
        present = {self.key(path): path for path in self.files()}
        for number, key in sole.items():
            answer, wire = self.driver.message("retr %d" % number)
            if key in present:
                assert answer[0] == "ok", answer
                with open(present[key], "rb") as file:
                    assert unstuffed(wire) == normalised(file.read())
            else:
                assert answer == ["error", str(ENOENT)], answer
        assert self.driver.ask("quit")[1] == "0"
        assert {self.key(path) for path in self.files()} == set(present)

    def step(self):
        for _ in range(self.random.randrange(6)):
            self.work()
        if self.random.random() < 0.3:
            self.damage()
        if self.is_owner_hostile and self.random.random() < 0.3:
            self.plant()
        self.random.choice([self.quiet_session, self.deleting_session, self.busy_session])()


def main():
    built = os.environ.get("POP3D_TEST_PROGRAMS", "build/tests")
    program = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else built + "/property/drive.bin")
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 40
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else 1
    for number in range(seed, seed + rounds):
        world = World(program, number)
        try:
            for _ in range(25):
                world.step()
        except BaseException:
            print("not ok property, seed %d, Maildir kept in %s" % (number, world.path))
            raise
        finally:
            world.driver.kill()
        shutil.rmtree(world.path)
    print("ok property, seeds %d to %d" % (seed, seed + rounds - 1))


if __name__ == "__main__":
    main()
