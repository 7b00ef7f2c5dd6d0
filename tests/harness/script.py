"""
script.py - reads and plays the scripted sessions of tests/sessions.

Runs in:   the test runner.
May touch: a fresh folder for the maildrops of each run.

The format is described in tests/README.md.
"""
import base64
import os
import re
import shlex
import shutil
import subprocess
import time

from harness import wire
from harness.server import PATIENCE, Failure, Session, peak_kilobytes, says
from harness.world import HERE, IS_ROOT, Skip

TRANSPORTS = ("pipes", "socketpair", "tcp")
FEEDS = ("lines", "octets", "whole")

LOGIN = [("C", "USER alice"), ("S", "+OK"), ("C", "PASS secret"), ("S", "+OK")]
CONVERSATION = re.compile(r"(C|S|S=|S~|S\.\.\.|S<|\$|root\$|wait|eof|close|half-close|memory|kill)"
                          r"(?:\*(\d+))?(?::? |:?$)(.*)$", re.DOTALL)
SETTINGS = ("title", "option", "env", "message", "mailbox", "no", "login", "virtual", "only",
            "needs", "address", "exit", "log", "disk", "bare", "slow", "stderr")


def unescape(text):
    """Escapes in, octets out: \\r \\n \\t \\0 \\\\ \\xNN \\{N*X} \\64{...}."""
    out = b""
    at = 0
    plain = {"r": b"\r", "n": b"\n", "t": b"\t", "0": b"\0", "\\": b"\\", '"': b'"'}
    while at < len(text):
        if text[at] != "\\":
            out += text[at].encode("latin-1")
            at += 1
            continue
        rest = text[at + 1:]
        repeat = re.match(r"\{(\d+)\*((?:\\x..|\\.|[^\\])+?)\}", rest, re.DOTALL)
        encoded = re.match(r"64\{((?:[^{}]|\\\{[^{}]*\})*)\}", rest, re.DOTALL)
        if rest[:1] in plain:
            out += plain[rest[0]]
            at += 2
        elif rest.startswith("x"):
            out += bytes([int(rest[1:3], 16)])
            at += 4
        elif repeat:
            out += unescape(repeat.group(2)) * int(repeat.group(1))
            at += 1 + repeat.end()
        elif encoded:
            out += base64.b64encode(unescape(encoded.group(1)))
            at += 1 + encoded.end()
        else:
            raise ValueError(f"unknown escape in {text!r}")
    return out


class Item:
    """One line of the conversation."""

    def __init__(self, number, kind, text):
        self.number = number
        self.kind = kind
        self.text = text

    def octets(self):
        """What a C: line sends; a final \\c leaves the CRLF out, as with echo."""
        if self.text.endswith("\\c"):
            return unescape(self.text[:-2])
        return unescape(self.text) + b"\r\n"


class Script:
    """A file of tests/sessions, parsed."""

    def __init__(self, path):
        self.path = path
        self.name = os.path.relpath(path, HERE)
        self.title = ""
        self.options, self.env, self.setup, self.items = [], {}, [], []
        self.logs, self.no_logs, self.disk = [], [], None
        self.flags = set()
        self.needs = set()
        self.address = None
        self.exit = None
        self.transports, self.feeds = TRANSPORTS, FEEDS
        self.seconds = PATIENCE
        with open(path, encoding="latin-1") as file:
            self._parse(file.read().split("\n"))

    def _parse(self, lines):
        number = 0
        while number < len(lines):
            line = lines[number]
            number += 1
            if line.startswith("#"):
                self.title = self.title or line[1:].strip()
                continue
            if not line.strip():
                continue
            block = []
            while number < len(lines) and lines[number].startswith("    "):
                block.append(lines[number][4:])
                number += 1
            word = re.match(r"[A-Za-z.<~=$-]+", line)
            if word is None:
                raise ValueError(f"{self.name}:{number}: {line!r} is not understood")
            if line.split(":")[0].split()[0] in SETTINGS:
                self._setting(number, line, block)
            else:
                self._conversation(number, line)
        if not self.items:
            raise ValueError(f"{self.name}: no conversation")

    def _conversation(self, number, line):
        match = CONVERSATION.match(line)
        if match is None:
            raise ValueError(f"{self.name}:{number}: {line!r} is not understood")
        kind, count, text = match.groups()
        if kind in ("$", "root$") and not self.items:
            self.setup.append((kind, text, None))
            return
        self.items += [Item(number, kind, text)] * int(count or 1)

    def _setting(self, number, line, block):
        word, _, rest = line.partition(" ")
        word = word.rstrip(":")
        rest = rest.strip()
        if word == "option":
            self.options += shlex.split(rest)
        elif word == "env":
            name, _, value = rest.partition("=")
            self.env[name] = value
        elif word in ("message", "mailbox"):
            self.setup.append((word, rest, block))
        elif word == "no" and rest.startswith("log "):
            self.no_logs.append(rest[4:])
        elif word in ("no", "login", "virtual", "bare", "slow", "stderr"):
            self.flags.add(f"{word} {rest}".strip())
        elif word == "only":
            words = rest.split()
            self.transports = [t for t in TRANSPORTS if t in words] or self.transports
            self.feeds = [f for f in FEEDS if f in words] or self.feeds
        elif word == "needs":
            self.needs.add(rest)
        elif word == "address":
            self.address = rest
        elif word == "exit":
            self.exit = int(rest)
        elif word == "log":
            self.logs.append(rest)
        elif word == "disk":
            self.disk = sorted(entry.strip() for entry in block)
        else:
            raise ValueError(f"{self.name}:{number}: {line!r} is not understood")

    def ways(self):
        """Each way in which this file is to be run."""
        if self.address is not None:
            return [("tcp", feed) for feed in self.feeds]
        return [(transport, feed) for transport in self.transports for feed in self.feeds]

    def conversation(self):
        items = list(self.items)
        if "login none" not in self.flags:
            items = [Item(0, kind, text) for kind, text in [("S", "+OK pop3d")] + LOGIN] + items
        return items


class Maildrops:
    """The set-up of one run on disk, and what became of it."""

    def __init__(self, world, script):
        self.world, self.script = world, script
        self.root = world.folder()
        self.is_virtual = not IS_ROOT or "virtual" in script.flags
        self.contents = {}              # base name: content
        self._name("alice")
        if "no mailbox" not in script.flags:
            self._mailbox("alice", make="no maildir" not in script.flags)
        for kind, text, block in script.setup:
            if kind == "mailbox":
                name, _, rest = text.partition(" ")
                self._mailbox(name, make=rest != "none")
            elif kind == "message":
                self._message(text, block)
            else:
                self.shell(kind, text)
        self.before = self.listing()

    def _name(self, name):
        self.uid = self.world.virtual_uid if self.is_virtual else self.world.uid_of(name)
        self.maildir = f"{self.root}/{name}/Maildir"

    def _mailbox(self, name, make):
        """Makes a mailbox the current one; each has a home, and a Maildir unless told not to."""
        self._name(name)
        parts = ["", "/Maildir", "/Maildir/new", "/Maildir/cur", "/Maildir/tmp"]
        for part in parts if make else parts[:1]:
            folder = f"{self.root}/{name}{part}"
            if not os.path.isdir(folder):
                os.makedirs(folder)
                os.chmod(folder, 0o755 if part == "" else 0o700)
                os.chown(folder, self.uid, self.uid if IS_ROOT else -1)

    @staticmethod
    def full_name(name):
        """A number stands for a generated name, delivered in the order of the numbers."""
        return re.sub(r"^(\d{1,3})(?=$|:)",
                      lambda match: f"{1700000000 + int(match[1])}.M{match[1]}P1.sample", name)

    def full_path(self, place):
        folder, _, name = place.rpartition("/")
        return f"{folder or 'new'}/{self.full_name(name)}"

    def _message(self, text, block):
        match = re.fullmatch(r"(\S+?):(?:\s+(.*))?", text)
        place, source = match[1], match[2] or ""
        if block:
            content = b"".join(unescape(re.sub(r"^\| ?", "", line)) + b"\n" for line in block)
        elif source.startswith('"'):
            content = unescape(source[1:-1])
        else:
            with open(f"{HERE}/samples/{source}", "rb") as file:
                content = file.read()
        path = f"{self.maildir}/{self.full_path(place)}"
        with open(path, "wb") as file:
            file.write(content)
        os.chmod(path, 0o600)
        os.chown(path, self.uid, self.uid if IS_ROOT else -1)
        self.contents[os.path.basename(path).split(":")[0]] = content

    def content_of(self, number):
        return self.contents[self.full_name(number)]

    def shell(self, kind, text):
        """A line of shell in the mailbox: what another program does."""
        text = re.sub(r"\b(new|cur|tmp)/(\d{1,3})(?![\w.])",
                      lambda m: f"{m[1]}/{self.full_name(m[2])}", text)
        as_user = {} if kind == "root$" else self.world.run_as(self.uid)
        folder = self.maildir if os.path.isdir(self.maildir) else os.path.dirname(self.maildir)
        subprocess.run(["/bin/sh", "-ec", text], cwd=folder, check=True, **as_user)

    def listing(self):
        """Every message of the current mailbox."""
        found = []
        for folder in ("new", "cur"):
            path = f"{self.maildir}/{folder}"
            if os.path.isdir(path) and os.access(path, os.R_OK):
                found += [f"{folder}/{name}" for name in os.listdir(path)]
        return sorted(found)

    def check(self, expected):
        """The messages that must be there, unharmed, and no others."""
        wanted = sorted(self.full_path(place) for place in expected if place != "nothing")
        found = self.listing()
        if wanted != found:
            raise Failure("on disk there should be\n" + "".join(f"        {p}\n" for p in wanted)
                          + "    but there is\n" + "".join(f"        {p}\n" for p in found))
        for path in found:
            base = os.path.basename(path).split(":")[0]
            full = f"{self.maildir}/{path}"
            if base in self.contents and os.path.isfile(full):
                with open(full, "rb") as file:
                    if file.read() != self.contents[base]:
                        raise Failure(f"the content of {path} changed")

    def remove(self):
        for folder, inner, _ in os.walk(self.root):
            for name in inner:
                if not os.path.islink(f"{folder}/{name}"):
                    os.chmod(f"{folder}/{name}", 0o700)
        shutil.rmtree(self.root, ignore_errors=True)


class Player:
    """One run of one script in one way."""

    def __init__(self, world, script, transport, feed):
        self.world, self.script, self.transport, self.feed = world, script, transport, feed
        self.heard = []                 # (item, what came)
        self.last_event = time.monotonic()

    def fill(self, text):
        """Places of this run, in options and expectations."""
        return (text.replace("{maildrops}", self.drops.root).replace("{me}", self.world.me)
                .replace("{root}", self.world.root))

    def options(self):
        options = [] if "no stderr" in self.script.flags else ["-e"]
        if "bare" not in self.script.flags:
            options += ["-C", self.world.configuration, "-m", self.drops.root + "/%m/Maildir"]
            if self.drops.is_virtual:
                options += ["-v", self.world.me]
        return options + [self.fill(option) for option in self.script.options]

    def play(self):
        self.drops = Maildrops(self.world, self.script)
        self.session = Session(self.world, self.transport, self.options(), self.script.env,
                               self.script.address or "127.0.0.1")
        try:
            self._converse()
            try:
                self._end()
                self._look_back()
            except Failure as failure:
                raise self._explain(None, failure) from None
        finally:
            self.session.finish()
            self.drops.remove()

    def _converse(self):
        """In lines each item in turn; else what may be sent is sent before answers are read."""
        items = self.script.conversation()
        if self.feed != "lines":
            items = self._regroup(items)
        for item in items:
            try:
                self._do(item)
            except Failure as failure:
                raise self._explain(item, failure) from None
            self.last_event = time.monotonic()

    def _regroup(self, items):
        """Up to each barrier all that is sent comes before all that is expected."""
        regrouped, sent, expected = [], [], []
        for item in items + [None]:
            if item is not None and item.kind in ("C", "half-close"):
                sent.append(item)
            elif item is not None and item.kind.startswith("S"):
                expected.append(item)
            else:
                regrouped += self._join(sent) + expected + ([item] if item else [])
                sent, expected = [], []
        return regrouped

    @staticmethod
    def _join(sent):
        """Neighbouring C lines become one write."""
        joined = []
        for item in sent:
            if item.kind == "C" and joined and joined[-1].kind == "send":
                joined[-1].text += item.octets()
            elif item.kind == "C":
                joined.append(Item(item.number, "send", item.octets()))
            else:
                joined.append(item)
        return joined

    def _do(self, item):
        session, text = self.session, item.text
        if item.kind == "C":
            session.send(item.octets())
        elif item.kind == "send":
            session.send(text, 1 if self.feed == "octets" else None)
        elif item.kind in ("S", "S=", "S~"):
            self._line(item)
        elif item.kind == "S...":
            session.block()
        elif item.kind == "S<":
            self._message(text.split())
        elif item.kind in ("$", "root$"):
            self.drops.shell(item.kind, text)
        elif item.kind == "wait":
            time.sleep(float(text))
        elif item.kind == "half-close":
            session.half_close()
        elif item.kind == "close":
            session.close()
        elif item.kind == "eof":
            self._eof(text)
        elif item.kind == "memory":
            self._memory(int(text.split()[0]))
        elif item.kind == "kill":
            session.process.kill()

    def _line(self, item):
        line = self.session.line(self.script.seconds)
        self.heard.append((item, line))
        if len(line) > 510 and item.kind == "S":
            raise Failure(f"a reply of {len(line) + 2} octets")
        expected = unescape(self.fill(item.text)) if item.kind != "S~" else None
        if item.kind == "S":
            good = says(line.decode("latin-1"), expected.decode("latin-1"))
        elif item.kind == "S=":
            good = line == expected
        else:
            good = re.fullmatch(item.text.encode("latin-1"), line) is not None
        if not good:
            raise Failure(line.decode("latin-1"))

    def _message(self, words):
        """S< 2 is the whole of message 2, S< 2 10 what TOP with ten lines shows."""
        content = self.drops.content_of(words[0])
        wanted = wire.whole(content) if len(words) == 1 else wire.top(content, int(words[1]))
        # the closing dot of the block is found by length: the content may look like one
        end = time.monotonic() + self.script.seconds
        while len(self.session.received) < len(wanted) and not self.session.at_end:
            self.session._pump(end)
        got, self.session.received = (self.session.received[:len(wanted)],
                                      self.session.received[len(wanted):])
        if got != wanted:
            at = next((i for i, (a, b) in enumerate(zip(got, wanted)) if a != b),
                      min(len(got), len(wanted)))
            raise Failure(f"{len(got)} octets of {len(wanted)}; from octet {at} on "
                          f"{got[at:at + 60]!r} and not {wanted[at:at + 60]!r}")

    def _eof(self, text):
        """eof; eof after 1..2.5 also says in how many seconds."""
        rest = self.session.drain(self.script.seconds)
        took = time.monotonic() - self.last_event
        self._not_reset()
        if rest:
            raise Failure(f"more came: {rest[:300]!r}")
        span = re.fullmatch(r"after ([\d.]+)\.\.([\d.]+)", text)
        if span and not float(span[1]) <= took <= float(span[2]):
            raise Failure(f"the server closed after {took:.2f} seconds")

    def _not_reset(self):
        """A reset may overtake the last reply: whatever the client sent must have been read."""
        if self.session.was_reset and self.session.transcript:
            raise Failure("the connection was reset")

    def _memory(self, limit):
        if self.world.is_sanitized:
            return
        peak = peak_kilobytes(self.session.pid)
        if peak > limit:
            raise Failure(f"{peak} KiB were resident")

    def _end(self):
        """A file that says nothing else ends with the reply to QUIT, or with the client leaving."""
        last = [item for item in self.script.items if item.kind == "C"]
        ended = {item.kind for item in self.script.items} & {"eof", "close", "half-close", "kill"}
        quits = bool(last) and last[-1].text.upper() == "QUIT"
        if not quits and not ended:
            self.session.half_close()
        if "close" not in ended:
            rest = self.session.drain(self.script.seconds)
            if rest:
                raise Failure(f"after all that was expected came {rest[:300]!r}")
            self._not_reset()
        status = self.session.wait()
        wanted = self.script.exit
        if wanted is None and "kill" not in ended:
            wanted = 0 if quits else None if "eof" in ended else 1
        if wanted is not None and status != wanted:
            raise Failure(f"exit status {status} and not {wanted}")
        if status < 0 and "kill" not in ended:
            raise Failure(f"ended by signal {-status}")

    def _look_back(self):
        log = self.session.log()
        if "no stderr" in self.script.flags and log:
            raise Failure(f"on stderr: {log!r}")
        for pattern in self.script.logs:
            pattern = pattern.replace("{me}", self.world.me).replace("{maildrops}", self.drops.root)
            if re.search(pattern, log) is None:
                raise Failure(f"no line of the log matches {pattern!r}:\n{log}")
        # a process number, which may be any, is no part of what was said
        said = re.sub(r"(?m)^pop3d\[\d+\]: ", "", log)
        for pattern in self.script.no_logs:
            if re.search(pattern, said) is not None:
                raise Failure(f"a line of the log matches {pattern!r}:\n{log}")
        for sign in ("AddressSanitizer", "runtime error:", "LeakSanitizer"):
            if sign in log:
                raise Failure(f"a sanitizer complains:\n{log}")
        quits = any(item.kind == "C" and item.text.upper().startswith("QUIT")
                    for item in self.script.items)
        changes = any(item.kind in ("$", "root$") for item in self.script.items)
        if self.script.disk is not None:
            self.drops.check(self.script.disk)
        elif not quits and not changes:
            self.drops.check(self.drops.before)

    def _explain(self, item, failure):
        """The conversation around the failure, as in the file."""
        lines = []
        for heard, line in self.heard[-4:]:
            if heard is not item:
                lines.append(f"    {heard.number or '':>5}   {heard.kind}: {heard.text[:70]}")
        if item is not None:
            shown = item.text if isinstance(item.text, str) else "..."
            lines.append(f"    {item.number or '':>5} > {item.kind}: {shown[:300]}    <- expected")
            lines.append(f"          > {failure}    <- came")
        else:
            lines.append(f"    after the conversation: {failure}")
        log = self.session.log().strip()
        if log:
            lines.append("    log:  " + log.replace("\n", "\n          "))
        return Failure("\n".join(lines))


def run(world, script, transport, feed):
    """Plays a script in one way; Failure or Skip says why not."""
    if "root" in script.needs and not IS_ROOT:
        raise Skip("needs root")
    if "production" in script.needs and world.is_sanitized:
        raise Skip("needs the production build")
    if "user" in script.needs and IS_ROOT:
        raise Skip("needs an ordinary user")
    if script.address is not None and not IS_ROOT:
        raise Skip("needs root for a network of its own")
    Player(world, script, transport, feed).play()
