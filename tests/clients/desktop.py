"""
desktop.py - the clients that a person looks at: they get a terminal, or an X
server of their own. Beside a client stand what it does to a message and what it
cannot do; all else must be exact.

Runs in:   tests/clients/matrix.py.
May touch: the client's home.
"""
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time

import common
from common import Failure, check
from drivers import first_version, said
from matrix import CLIENT_UID, SECONDS, Client


class Terminal:
    """A client on a terminal of its own; seen as words, without colours and places."""

    def __init__(self, run, *command):
        self.received, self.seen = b"", 0
        self.end = time.monotonic() + SECONDS
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        os.fchown(slave, CLIENT_UID, CLIENT_UID)
        self.process = subprocess.Popen(["setsid", "-c", *command], stdin=slave, stdout=slave,
                                        stderr=slave, **run.place())
        os.close(slave)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.master)

    @property
    def words(self):
        plain = re.sub(rb"\x1b(\[[0-9;?]*[A-Za-z]|[()].|[=>78])", b" ", self.received)
        return re.sub(rb"\s+", b" ", plain)

    def read(self):
        """More of what it writes; False when it has left."""
        left = self.end - time.monotonic()
        if not select.select([self.master], [], [], max(0, left))[0]:
            raise Failure(f"no more than {self.words[-700:]!r}")
        try:
            piece = os.read(self.master, 65536)
        except OSError:
            piece = b""
        self.received += piece
        return piece != b""

    def answer(self, question, keys):
        """Presses the keys as soon as the question, an expression, is on the screen."""
        while (found := re.search(question, self.words[self.seen:])) is None:
            check(self.read(), f"ended before {question!r}: {self.words[-700:]!r}")
        self.seen += found.end()
        os.write(self.master, keys)

    def leave(self):
        """What it does until it ends."""
        while self.read():
            pass
        status = self.process.wait(max(0.1, self.end - time.monotonic()))
        check(status == 0, f"ended with {status}: {self.words[-700:]!r}")


class Display:
    """An X server in the network namespace, and the programs on it."""

    def __init__(self, run):
        self.run, self.started = run, []
        self.end = time.monotonic() + SECONDS
        self.log = open(f"{run.home}/display.log", "wb")
        ready, tell = os.pipe()
        # as root, so that it needs no lock in /tmp
        self.server = subprocess.Popen(
            ["Xvfb", ":77", "-nolock", "-ac", "-nolisten", "tcp", "-nolisten", "unix", "-screen", "0",
             "1024x768x24", "-displayfd", str(tell)], pass_fds=[tell], stdin=subprocess.DEVNULL,
            stdout=self.log, stderr=self.log)
        self.started.append(self.server)
        os.close(tell)
        with open(ready, "rb") as file:
            if not select.select([ready], [], [], SECONDS)[0] or file.readline() != b"77\n":
                self.__exit__()
                raise Failure("Xvfb does not start: " + common.read_text(self.log.name)[-600:])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in reversed(self.started):
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        self.log.close()

    def start(self, *command):
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.log,
                                   stderr=self.log, **self.run.place(DISPLAY=":77"))
        self.started.append(process)
        return process

    def wait(self, condition, what):
        while not condition():
            check(time.monotonic() < self.end, f"it never came that {what}: "
                  + common.read_text(self.log.name)[-600:])
            time.sleep(0.05)


def changed(path):
    return os.stat(path).st_mtime_ns if os.path.exists(path) else None


class Neomutt(Client):
    name = "neomutt"
    program = "neomutt"
    note = "adds Content-Length and Lines; what it has seen is in its message cache"

    def version(self):
        return re.search(r"\d{8}", said("neomutt", "-v"))[0]

    def read(self, content):
        """Behind the header, which is the first thing that ends in a blank line."""
        head, _, body = super().read(content).partition(b"\n\n")
        return re.sub(rb"\nContent-Length: \d+(\nLines: \d+)?$", b"", head) + b"\n\n" + body

    def fetch(self, run):
        run.maildir()
        for path in run.stored():
            os.unlink(path)
        scheme = "pops" if run.transport == "pop3s" else "pop"
        delete = "" if run.keep else "<tag-prefix><delete-message>"
        config = run.file("rc", f"""set folder="{run.home}" record="" postponed="{run.home}/postponed"
set spoolfile="{scheme}://{run.user}@{run.host}:{run.port}" pop_pass="{run.password}"
set mbox_type=Maildir confirmappend=no confirmcreate=no move=no wait_key=no sleep_time=0
set pop_checkinterval=3600 pop_reconnect=no delete=yes quit=yes mark_old=no
set message_cachedir="{run.home}/cache" message_cache_clean=no
set ssl_ca_certificates_file="{run.authority}" certificate_file="{run.home}/accepted"
set ssl_starttls={'yes' if run.transport == 'STLS' else 'no'} ssl_force_tls={
    'yes' if run.is_secured else 'no'}
macro index <f2> "<tag-pattern>~A<enter><tag-prefix><copy-message><kill-line>{run.mail}<enter>{delete}<quit>"
""")
        run.folder(f"{run.home}/cache")
        with Terminal(run, "neomutt", "-n", "-F", config, "-e", "push <f2>") as terminal:
            terminal.leave()
        return run.fetched()


class Alpine(Client):
    name = "alpine"
    program = "alpine"
    keeps = False
    note = "saves into an mbx file; has no memory of what it has seen"

    def version(self):
        return first_version(said("alpine", "-v"))

    def fetch(self, run):
        flags = {"clear": "/notls", "pop3s": "/ssl", "STLS": "/tls"}[run.transport]
        store = f"{run.home}/saved"
        config = run.file(".pinerc", f"""personal-name=Bob
user-domain=example.org
inbox-path={{{run.host}:{run.port}/pop3/user={run.user}{flags}}}INBOX
feature-list=disable-password-file-saving, enable-aggregate-command-set, quit-without-confirm,
    expunge-without-confirm, save-will-not-delete, no-enable-newmail-in-xterm-icon
last-time-prune-questions=1200.11
last-version-used=9.99
""")
        with Terminal(run, "alpine", "-i", "-p", config) as terminal:
            terminal.answer(rb"ENTER PASSWORD: ", run.password.encode() + b"\r")
            terminal.answer(rb"Message 1 of \d+ .* F Forward", b";")
            terminal.answer(rb"SELECT criteria", b"a")
            terminal.answer(rb"X N \d+ .* F Forward", b"a")
            terminal.answer(rb"APPLY command", b"s")
            terminal.answer(rb"SAVE \d+ msgs to folder", f"#driver.mbx/{store}\r".encode())
            terminal.answer(rb"doesn't exist. Create\?", b"y")
            terminal.answer(rb"messages saved|Saving DONE", b"q" if run.keep else b"a")
            if not run.keep:
                terminal.answer(rb"APPLY command", b"d")
                terminal.answer(rb"X D \d+ .* F Forward", b"q")
            terminal.leave()
        return self.messages(store)

    @staticmethod
    def messages(store):
        """Out of a file in mbx format: a head, then before each message a line with its size."""
        with open(store, "rb") as file:
            rest = file.read()[2048:]
        found = []
        while rest:
            line = re.match(rb"[^\n]{26},(\d+);[0-9A-Fa-f]+-[0-9A-Fa-f]+\r\n", rest)
            check(line, f"no line of mbx at {rest[:100]!r}")
            end = line.end() + int(line[1])
            found.append(rest[line.end():end])
            rest = rest[end:]
        return found


class Sylpheed(Client):
    name = "sylpheed"
    program = "sylpheed"
    note = "under Xvfb"

    def version(self):
        return first_version(said("dpkg-query", "-W", "sylpheed"))

    def fetch(self, run):
        settings = f"{run.home}/.sylpheed-2.0"
        ids = f"{settings}/uidl/{run.host}-{run.user}"
        run.file(".sylpheed-2.0/sylpheedrc", """[Common]
inc_local=0
autochk_newmail=0
check_on_startup=0
enable_splash_screen=0
startup_online_mode=1
no_recv_err_panel=1
""")
        run.file(".sylpheed-2.0/accountrc", f"""[Account: 1]
account_name=test
is_default=1
name=Bob
address=bob@example.org
protocol=0
receive_server={run.host}
user_id={run.user}
password={run.password}
inbox=inbox
remove_mail={0 if run.keep else 1}
message_leave_time=0
getall_mail=0
receive_at_getall=1
ssl_pop={list(('clear', 'pop3s', 'STLS')).index(run.transport)}
set_popport=1
pop_port={run.port}
filter_on_receive=0
""")
        run.file(".sylpheed-2.0/trust.crt", common.read_text(run.authority))
        kinds = ("inbox", "outbox", "draft", "queue", "trash", "junk")
        items = "".join(f'<folderitem type="{kind}" name="{kind}" path="{kind}" mtime="0" new="0" '
                        'unread="0" total="0"/>' for kind in kinds)
        run.file(".sylpheed-2.0/folderlist.xml", '<?xml version="1.0" encoding="UTF-8"?>\n<folderlist>'
                 f'<folder type="mh" name="Mailbox" path="Mail">{items}</folder></folderlist>\n')
        for folder in ("", *kinds):
            run.folder(f"{run.mail}/{folder}")
        for path in run.stored(f"{run.mail}/inbox"):
            os.unlink(path)
        before = changed(ids)
        with Display(run) as display:
            client = display.start("sylpheed", "--receive-all")
            display.wait(lambda: changed(ids) != before or client.poll() is not None,
                         "it notes its unique-ids")
            display.start("sylpheed", "--exit")
            display.wait(lambda: client.poll() is not None, "it ends")
        return run.fetched(f"{run.mail}/inbox")


CLIENTS = [Neomutt(), Alpine(), Sylpheed()]
