"""
desktop.py - the clients that a person looks at: they get a terminal, or an X
server of their own. Beside a client stand what it does to a message and what it
cannot do; all else must be exact.

Runs in:   tests/clients/matrix.py.
May touch: the client's home.
"""
import fcntl
import json
import os
import pty
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import termios
import time

import common
from common import Failure, check
from drivers import first_version, said
from matrix import CLIENT_UID, HERE, SECONDS, Client


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
        return said(self.program, "-v").split()[1]

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
        with Terminal(run, self.program, "-n", "-F", config, "-e", "push <f2>") as terminal:
            terminal.leave()
        return run.fetched()


class Mutt(Neomutt):
    name = program = "mutt"


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


class OnDisplay(Client):
    """sylpheed and its descendant: told to fetch and to leave by a second process of theirs."""

    note = "under Xvfb"
    kinds = ("inbox", "outbox", "draft", "queue", "trash")

    def missing(self):
        return super().missing() or ("" if shutil.which("Xvfb") else "Xvfb")

    def version(self):
        return first_version(said("dpkg-query", "-W", self.program))

    def settle(self, run):
        """Writes the settings; its folder of unique-ids."""
        raise NotImplementedError

    def folders(self):
        items = "".join(f'<folderitem type="{kind}" name="{kind}" path="{kind}" mtime="0" new="0" '
                        'unread="0" total="0"/>' for kind in self.kinds)
        return ('<?xml version="1.0" encoding="UTF-8"?>\n<folderlist>'
                f'<folder type="mh" name="Mailbox" path="Mail">{items}</folder></folderlist>\n')

    def account(self, run):
        return f"""[Account: 1]
account_name=test
is_default=1
name=Bob
address=bob@example.org
protocol=0
receive_server={run.host}
user_id={run.user}
inbox=inbox
remove_mail={0 if run.keep else 1}
message_leave_time=0
getall_mail=0
receive_at_getall=1
ssl_pop={list(run.client.transports).index(run.transport)}
set_popport=1
pop_port={run.port}
filter_on_receive=0
"""

    def fetch(self, run):
        ids = f"{self.settle(run)}/{run.host}-{run.user}"
        for folder in ("", *self.kinds):
            run.folder(f"{run.mail}/{folder}")
        for path in run.stored(f"{run.mail}/inbox"):
            os.unlink(path)
        before = changed(ids)
        with Display(run) as display:
            client = display.start(self.program, "--receive-all")
            display.wait(lambda: changed(ids) != before or client.poll() is not None,
                         "it notes its unique-ids")
            display.start(self.program, "--exit")
            display.wait(lambda: client.poll() is not None, "it ends")
        return run.fetched(f"{run.mail}/inbox")


class Sylpheed(OnDisplay):
    name = "sylpheed"
    program = "sylpheed"

    def settle(self, run):
        run.file(".sylpheed-2.0/sylpheedrc", """[Common]
inc_local=0
autochk_newmail=0
check_on_startup=0
enable_splash_screen=0
startup_online_mode=1
no_recv_err_panel=1
""")
        run.file(".sylpheed-2.0/accountrc", f"{self.account(run)}password={run.password}\n")
        run.file(".sylpheed-2.0/trust.crt", common.read_text(run.authority))
        run.file(".sylpheed-2.0/folderlist.xml", self.folders())
        return f"{run.home}/.sylpheed-2.0/uidl"


class ClawsMail(OnDisplay):
    name = "claws-mail"
    program = "claws-mail"

    def settle(self, run):
        run.file(".claws-mail/clawsrc", """[Common]
inc_local=0
autochk_newmail=0
check_on_startup=0
no_recv_err_panel=1
receive_dialog_mode=2
""")
        run.file(".claws-mail/accountrc", f"{self.account(run)}password={run.password}\n")
        run.file(".claws-mail/folderlist.xml", self.folders())
        # it asks about a certificate that signed itself; this one is known
        known = f"{run.home}/.claws-mail/certs"
        run.folder(known)
        run.command("openssl", "x509", "-in", run.authority, "-outform", "DER", "-out",
                    f"{known}/{run.host}.{run.port}.cert")
        return f"{run.home}/.claws-mail/uidl"


class Marionette:
    """Thunderbird without a window, told what to do by a connection of its own."""

    PORT = 2828

    def __init__(self, run, profile):
        self.end = time.monotonic() + SECONDS
        self.log = open(f"{run.home}/thunderbird.log", "wb")
        self.process = subprocess.Popen(
            ["thunderbird", "--headless", "--marionette", "--remote-allow-system-access",
             "--no-remote", "--profile", profile], stdin=subprocess.DEVNULL, stdout=self.log,
            stderr=self.log, start_new_session=True, **run.place())

    def __enter__(self):
        while not common.listens(self.PORT):
            check(self.process.poll() is None and time.monotonic() < self.end,
                  "Thunderbird does not listen: " + common.read_text(self.log.name)[-600:])
            time.sleep(0.05)
        self.socket = socket.create_connection(("127.0.0.1", self.PORT), SECONDS)
        self.file = self.socket.makefile("rb")
        self.receive()
        self.call("WebDriver:NewSession", capabilities={})
        self.call("Marionette:SetContext", value="chrome")
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.log.close()

    def receive(self):
        size = b""
        while not size.endswith(b":"):
            octet = self.file.read(1)
            check(octet, "Thunderbird has left: " + common.read_text(self.log.name)[-600:])
            size += octet
        return json.loads(self.file.read(int(size[:-1])))

    def call(self, command, **values):
        text = json.dumps([0, 1, command, values]).encode()
        self.socket.sendall(b"%d:%s" % (len(text), text))
        _, _, error, value = self.receive()
        check(error is None, f"{command}: {error}")
        return value

    def leave(self):
        self.call("Marionette:Quit", flags=["eAttemptQuit"])
        status = self.process.wait(max(0.1, self.end - time.monotonic()))
        check(status == 0, f"Thunderbird ended with {status}")


class Thunderbird(Client):
    name = "Thunderbird"
    program = "thunderbird"
    note = "steered by Marionette, into its Maildir; adds five lines before each message"
    added = re.compile(rb"X-Account-Key: account1\nX-UIDL: [^\n]*\nX-Mozilla-Status: 0000\n"
                       rb"X-Mozilla-Status2: 00000000\nX-Mozilla-Keys: +\n")

    def version(self):
        return first_version(said("thunderbird", "--version"))

    def read(self, content):
        return re.sub(rb"\A" + self.added.pattern, b"", super().read(content))

    @staticmethod
    def settings(run, profile):
        server = {
            "type": "pop3", "hostname": run.host, "port": run.port, "userName": run.user,
            "socketType": {"clear": 0, "STLS": 2, "pop3s": 3}[run.transport], "authMethod": 3,
            "name": "pop", "leave_on_server": run.keep, "login_at_startup": False,
            "check_new_mail": False, "directory": f"{profile}/Mail/pop",
            "directory-rel": "[ProfD]Mail/pop",
            "storeContractID": "@mozilla.org/msgstore/maildirstore;1",
        }
        return {
            "mail.accountmanager.accounts": "account1",
            "mail.accountmanager.defaultaccount": "account1",
            "mail.account.account1.server": "server1", "mail.account.account1.identities": "id1",
            "mail.identity.id1.fullName": "Bob", "mail.identity.id1.useremail": "bob@example.org",
            "mail.identity.id1.valid": True, **{f"mail.server.server1.{name}": value
                                                for name, value in server.items()},
            "marionette.port": Marionette.PORT, "app.update.enabled": False,
            "datareporting.policy.dataSubmissionEnabled": False, "extensions.update.enabled": False,
            "mail.provider.suppress_dialog_on_startup": True, "mail.rights.version": 1,
            "mail.shell.checkDefaultClient": False, "mailnews.start_page.enabled": False,
            "network.captive-portal-service.enabled": False, "toolkit.telemetry.enabled": False,
        }

    def fetch(self, run):
        profile = f"{run.home}/profile"
        for folder in ("", "/Mail", "/Mail/pop"):
            run.folder(profile + folder)
        run.file("profile/user.js", "".join(f"user_pref({json.dumps(name)}, {json.dumps(value)});\n"
                                            for name, value in self.settings(run, profile).items()))
        certificate = common.read_text(run.authority) if run.is_secured else ""
        with Marionette(run, profile) as marionette:
            status = marionette.call(
                "WebDriver:ExecuteAsyncScript", newSandbox=True, scriptTimeout=SECONDS * 1000,
                script=common.read_text(f"{HERE}/thunderbird.js"),
                args=[run.host, run.port, run.user, run.password, certificate])["value"]
            check(status == 0, f"it says {status}")
            marionette.leave()
        return run.fetched(f"{profile}/Mail/pop/Inbox")


CLIENTS = [Neomutt(), Mutt(), Alpine(), Sylpheed(), ClawsMail(), Thunderbird()]
