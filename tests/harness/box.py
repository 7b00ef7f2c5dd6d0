"""
box.py - a maildrop for tests that are programs, and the launch that serves it.

Runs in:   the test runner.
May touch: a fresh folder for each box.
"""
import contextlib
import os
import shutil

from harness.server import Failure, Session
from harness.world import HERE, IS_ROOT


class Box:
    """The Maildir of one user in a folder of its own."""

    def __init__(self, world, user="alice", messages=()):
        self.world, self.user = world, user
        self.uid = world.uid_of(user)
        self.root = world.folder()
        self.maildir = f"{self.root}/{user}/Maildir"
        for folder in ("", "/new", "/cur", "/tmp"):
            self._make(self.maildir + folder)
        os.chmod(f"{self.root}/{user}", 0o755)
        self._own(f"{self.root}/{user}")
        self.contents = []
        for content in messages:
            self.add(content)

    def _make(self, folder):
        os.makedirs(folder)
        os.chmod(folder, 0o700)
        self._own(folder)

    def _own(self, path):
        if IS_ROOT:
            os.chown(path, self.uid, self.uid)

    def add(self, content, place="new", flags=""):
        """Delivers a message after those that are there; returns its path."""
        self.contents.append(content)
        number = len(self.contents)
        path = f"{self.maildir}/{place}/{1700000000 + number}.M{number}P1.sample{flags}"
        with open(path, "wb") as file:
            file.write(content)
        self._own(path)
        return path

    def listing(self):
        return sorted(f"{folder}/{name}" for folder in ("new", "cur")
                      for name in os.listdir(f"{self.maildir}/{folder}"))

    def check(self, count):
        """So many messages are there, each with its content."""
        found = self.listing()
        if len(found) != count:
            raise Failure(f"{len(found)} messages of {count} are there: {found}")
        for name in found:
            with open(f"{self.maildir}/{name}", "rb") as file:
                if file.read() not in self.contents:
                    raise Failure(f"{name} changed")

    def options(self, *more):
        options = ["-e", "-C", self.world.configuration, "-m", self.root + "/%m/Maildir"]
        if not IS_ROOT:
            options += ["-v", self.world.me]
        return options + list(more)

    @contextlib.contextmanager
    def session(self, *more, transport="tcp", prefix=(), **how):
        """A session of pop3d with this box; whatever happens, none is left over."""
        session = Session(self.world, transport, self.options(*more), prefix=prefix, **how)
        try:
            yield session
        finally:
            session.finish()

    def remove(self):
        shutil.rmtree(self.root, ignore_errors=True)


def sample(name):
    with open(f"{HERE}/samples/{name}", "rb") as file:
        return file.read()


SAMPLES = ("small.eml", "dots.eml", "eight-bit.eml", "no-final-newline.eml", "crlf.eml",
           "attachment.eml", "odd.eml", "header-only.eml", "from-line.eml")
