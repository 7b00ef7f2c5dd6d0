"""
rows.py - what is measured: one row for each workload.

A row has subjects: the servers and their floors. Each subject is measured
several times, in turns with the others; what counts is the median, divided by
the median of the floor over the same kind of connection.

Runs in:   the benchmark, in its own root.
May touch: build/bench.
"""
import os
import re
import shutil
import statistics
import subprocess
import time

import place
from place import BIN, PASSWORD
from servers import Cat, Floor

LOG_IN = "say USER {user}\nsay PASS " + PASSWORD
COUNT = 100000      # messages of the large maildrop


class Failure(Exception):
    pass


class Subject:
    """A server, or a floor, with what it is to do."""

    def __init__(self, server, user, script, is_tcp=False, prepare=None, expect_stat=None,
                 expect_octets=None, inner=1):
        self.server, self.user, self.is_tcp = server, user, is_tcp or bool(server.port) or server.needs_tcp
        self.script = script.format(user=user, log_in=LOG_IN.format(user=user))
        self.prepare, self.inner = prepare, inner
        self.expect_stat, self.expect_octets = expect_stat, expect_octets
        self.is_update = False      # the script is about what QUIT does before it answers
        self.seconds, self.processor = [], []
        self.spent, self.failure, self.remark = 0.0, None, ""

    def command(self, inner):
        command = [f"{BIN}/client", "-w", "60", "-n", str(inner)]
        if self.server.port:
            return command + ["-c", str(self.server.port), self.script]
        if self.is_tcp:
            command.append("-t")
        for setting in self.server.environment:
            command += ["-e", setting]
        return command + [self.script, *self.server.command(self.user)]

    def measure(self):
        """One turn; a failure is kept as the result."""
        began = time.monotonic()
        try:
            if self.prepare:
                self.prepare()
            began_run = time.monotonic()
            result = subprocess.run(self.command(self.inner), capture_output=True, text=True)
            self.spent += time.monotonic() - began_run
            lines = result.stdout.splitlines()
            if result.returncode != 0 or len(lines) != self.inner:
                raise Failure(result.stderr.strip().replace("\n", " ")[:200] or "gave no figure")
            for line in lines:
                self.take(line)
        except (Failure, OSError) as error:
            self.failure = str(error)
        return time.monotonic() - began

    def take(self, line):
        seconds, until_gone, octets, processor, reply = (line + " ").split(" ", 4)
        self.seconds.append(float(seconds))
        self.processor.append(float(processor))
        stat = re.match(r"\+OK (\d+) (\d+)", reply)
        if self.expect_stat and stat and (int(stat[1]), int(stat[2])) != self.expect_stat():
            self.remark = "wrong number" if int(stat[1]) != self.expect_stat()[0] else "inexact"
        if self.is_update and float(until_gone) > 3 * float(seconds):
            self.remark = "+OK before the removal"
        if self.expect_octets:
            least, most = self.expect_octets
            if not least <= int(octets) <= most:
                self.remark = "wrong octets"

    @property
    def median(self):
        return statistics.median(self.seconds)


def take_turns(subjects, rounds, seconds_each):
    """Interleaved; one that has used up its seconds is left out of further rounds."""
    for number in range(rounds):
        order = subjects if number % 2 == 0 else subjects[::-1]
        for subject in order:
            is_ours = subject.server.is_floor or subject.server.name == "pop3d"
            allowed = seconds_each * (3 if is_ours else 1)
            if subject.failure is None and (number < (3 if is_ours else 1) or subject.spent < allowed):
                subject.measure()


class Row:
    def __init__(self, name, title, floor, target, make, rounds=9, quick_rounds=3, has_own_floor=False,
                 unit="ratio"):
        self.name, self.title, self.floor, self.target = name, title, floor, target
        self.make, self.rounds, self.quick_rounds = make, rounds, quick_rounds
        self.has_own_floor = has_own_floor      # each server is compared with itself
        self.unit = unit


class Cell:
    """One server in one row."""

    def __init__(self, text, ratio=None, seconds=None, remark="", failure=None, subject=None):
        self.text, self.ratio, self.seconds = text, ratio, seconds
        self.remark, self.failure = remark, failure
        self.samples = list(subject.seconds) if subject else []
        self.processor = statistics.median(subject.processor) if self.samples else None


def milliseconds(seconds):
    value = seconds * 1000
    return f"{value:.2f} ms" if value < 10 else f"{value:.0f} ms" if value < 10000 else f"{seconds:.0f} s"


def show_ratio(ratio):
    return f"{ratio:.2f}" if ratio < 10 else f"{ratio:.0f}"


def cell_of(subject, floor):
    if subject.failure or not subject.seconds:
        return Cell("fails", failure=subject.failure or "not measured")
    if floor is None or not floor.seconds:
        return Cell("no floor", failure=floor.failure if floor else "no floor")
    ratio = subject.median / floor.median
    text = f"{show_ratio(ratio)} ({milliseconds(subject.median)})"
    if subject.remark:
        text += f", {subject.remark}"
    return Cell(text, ratio, subject.median, subject.remark, subject=subject)


class Bench:
    """What the rows share: the servers at hand, and the maildrops made so far."""

    def __init__(self, pop3d, peers, is_quick):
        self.pop3d, self.peers, self.is_quick = pop3d, peers, is_quick
        self.servers = [pop3d, *peers]
        self.stats = {}

    # Maildrops

    def folders(self):
        return ["floor", *dict.fromkeys(server.files for server in self.servers if server.files != "mbox")]

    def drop(self, count, hints=False):
        """A user with so many messages, the same for each server."""
        user = f"{'h' if hints else 'm'}{count}"
        home = place.make_home(user)
        for folder in self.folders():
            place.link_maildir(f"{home}/{folder}", count, hints)
        if self.has_mbox():
            place.make_mbox(f"/data/mail/{user}", (f"/data/pool/{number}" for number in range(count)))
        if count not in self.stats:
            self.stats[count] = place.octets_of_pool(count)
        return user

    def has_mbox(self):
        return any(server.files == "mbox" for server in self.servers)

    def expect(self, count):
        return lambda: (count, self.stats[count])

    def warm(self, user, script="greeting\n{log_in}\nsay STAT\nstop\nend QUIT"):
        """Two sessions each, so that every index is made and settled."""
        for server in self.servers:
            subject = Subject(server, user, script)
            for _ in range(2):
                if subject.failure is None and subject.spent < 2:
                    subject.measure()
                time.sleep(0.02)

    # Subjects

    def floors(self, name, arguments, user, script, inner=1, prepare=None):
        """One floor a kind of connection in use."""
        server = Floor(name, arguments)
        kinds = [False] + ([True] if any(s.port or s.needs_tcp for s in self.servers) else [])
        return [Subject(server, user, script, is_tcp=kind, inner=inner, prepare=prepare) for kind in kinds]

    def each(self, user, script, skip=(), **settings):
        return [Subject(server, user, script, **settings) for server in self.servers
                if server.name not in skip]


# The rows

def row_dialog(bench):
    user = bench.drop(10)
    script = "greeting\nsay QUIT\nstop\nend"
    forked = Floor("forked", lambda user: ["0 0"], "forked")
    return bench.floors("dialog", lambda user: ["0 0"], user, script, inner=5) + \
        [Subject(forked, user, script, inner=5)] + bench.each(user, script, inner=5)


def row_login_permit(bench):
    user = bench.drop(10)
    bench.warm(user)
    script = "greeting\n{log_in}\nsay STAT\nsay QUIT\nstop\nend"
    arguments = lambda user: ["pop3", f"/data/{user}/floor", "10 " + str(bench.stats[10])]
    return bench.floors("pam", arguments, user, script, inner=3) + bench.each(user, script, inner=3)


def row_login(bench):
    subjects = row_login_permit(bench)
    place.use_pam("unix")
    for subject in subjects:
        subject.inner = 1
    return subjects


TO_STAT = "greeting\n{log_in}\nsay STAT\nstop\nend QUIT"
FROM_LOGIN_TO_STAT = "greeting\nstart\n{log_in}\nsay STAT\nstop\nend QUIT"
REPLY = "greeting\nstop\nend"


def maildir_of_floor(user):
    return [f"/data/{user}/floor"]


def fenced(name, user, script):
    """The floor once more, inside pop3d's fences: what nobody has who has them."""
    return [Subject(Floor(name, lambda user: ["-f", *maildir_of_floor(user)], "fenced"), user, script)]


def row_unchanged(bench, hints=False):
    """From spawn to STAT, against the server's own session with 10 messages."""
    few, many = bench.drop(10), bench.drop(COUNT, hints)
    bench.warm(few)
    bench.warm(many)
    subjects = []
    for server in bench.servers:
        own_floor = Subject(server, few, TO_STAT, inner=2)
        own_floor.is_floor = True
        subjects += [own_floor, Subject(server, many, TO_STAT, expect_stat=bench.expect(COUNT))]
    return subjects


def row_unchanged_hints(bench):
    return row_unchanged(bench, True)


def row_later(bench):
    user = bench.drop(10000)
    bench.warm(user)
    return bench.floors("getdents", maildir_of_floor, user, REPLY) + \
        bench.each(user, FROM_LOGIN_TO_STAT, expect_stat=bench.expect(10000))


class Deliveries:
    """Messages that come in between sessions, and are taken away at the end."""

    def __init__(self, bench, user, count):
        self.bench, self.user, self.next, self.octets = bench, user, {}, {}
        self.count, self.base = count, bench.stats[count]
        self.mbox_size = {}

    def deliver(self, server):
        def do():
            number = self.next.get(server.files, self.count)
            self.next[server.files] = number + 1
            if server.files == "mbox":
                path = f"/data/mail/{self.user}"
                text = place.message(number)
                self.mbox_size.setdefault(path, os.stat(path).st_size)
                with open(path, "ab") as box:
                    box.write(b"From sender@example.net Mon Nov  2 08:00:00 2026\n" + text + b"\n")
            else:
                text = place.deliver(f"/data/{self.user}/{server.files}", number)
            self.octets[server.files] = self.octets.get(server.files, self.base) + place.wire_octets(text)
            time.sleep(0.05)
        return do

    def expect(self, server):
        return lambda: (self.next[server.files], self.octets[server.files])

    def undo(self):
        for path, size in self.mbox_size.items():
            os.truncate(path, size)
        for folder, end in self.next.items():
            if folder == "mbox":
                continue
            bases = {place.name(number) for number in range(self.count, end)}
            for part in ("new", "cur"):
                path = f"/data/{self.user}/{folder}/{part}"
                for name in os.listdir(path):
                    if name.split(":")[0].split(",")[0] in bases:
                        os.unlink(f"{path}/{name}")


def row_delivery(bench):
    user = bench.drop(COUNT)
    bench.warm(user)
    deliveries = Deliveries(bench, user, COUNT)
    floors = bench.floors("getdents", maildir_of_floor, user, REPLY)
    for subject in floors[:1]:
        subject.prepare = deliveries.deliver(subject.server)
    subjects = [Subject(server, user, FROM_LOGIN_TO_STAT, prepare=deliveries.deliver(server),
                        expect_stat=deliveries.expect(server)) for server in bench.servers]
    return floors + subjects, deliveries.undo


def row_first(bench, hints=False):
    user = bench.drop(COUNT, hints)
    floors = bench.floors("readall", maildir_of_floor, user, REPLY) + fenced("readall", user, REPLY)
    subjects = bench.each(user, FROM_LOGIN_TO_STAT, expect_stat=bench.expect(COUNT))
    for subject in subjects:
        subject.prepare = lambda subject=subject: subject.server.forget(user)
    return floors + subjects


def row_first_hints(bench):
    return row_first(bench, True)


def row_listing(bench):
    user = bench.drop(COUNT)
    bench.warm(user, "greeting\n{log_in}\nsay STAT\nask LIST\nask UIDL\nstop\nend QUIT")
    script = "greeting\nstart\n{log_in}\nsay STAT\nask LIST\nask UIDL\nstop\nend QUIT"
    return bench.floors("getdents", maildir_of_floor, user, REPLY) + \
        bench.each(user, script, expect_stat=bench.expect(COUNT))


def row_big(shape):
    def make(bench):
        _, wire, stuffed = place.make_big(shape)
        user = f"big{shape}"
        home = place.make_home(user)
        for folder in bench.folders():
            place.link_one(f"{home}/{folder}", f"/data/big-{shape}")
        if bench.has_mbox():
            place.make_mbox(f"/data/mail/{user}", [f"/data/big-{shape}"])
        bench.warm(user)
        floor = Cat(f"/data/big-{shape}")
        kinds = [False] + ([True] if any(s.port or s.needs_tcp for s in bench.servers) else [])
        expect = (wire + stuffed, wire + stuffed + 200)
        return [Subject(floor, user, "end", is_tcp=kind) for kind in kinds] + \
            bench.each(user, "greeting\n{log_in}\nstart\nask RETR 1\nstop", expect_octets=expect)
    return make


def octets_of_replies(bench, count):
    return (bench.stats[count], bench.stats[count] + 200 * count)


def row_pipelined(bench):
    user = bench.drop(10000)
    bench.warm(user)
    script = "greeting\nstart\nend GO"
    return bench.floors("catall", maildir_of_floor, user, script) + fenced("catall", user, script) + \
        bench.each(user, "greeting\n{log_in}\nstart\nbatch RETR 1 10000\nstop",
                   expect_octets=octets_of_replies(bench, 10000))


def lockstep(bench, count, skip=(), is_tcp=False):
    user = bench.drop(count)
    bench.warm(user)
    arguments = lambda user: ["-l", f"/data/{user}/floor"]
    floors = bench.floors("catall", arguments, user, f"greeting\nstart\neach RETR 1 {count}\nstop")
    subjects = bench.each(user, "greeting\n{log_in}\nstart\neach RETR 1 %d\nstop" % count,
                          skip=skip, is_tcp=is_tcp, expect_octets=octets_of_replies(bench, count))
    if is_tcp and not any(floor.is_tcp for floor in floors):
        floors.append(Subject(floors[0].server, user, floors[0].script, is_tcp=True))
    return floors + subjects


def row_lockstep(bench):
    # 44 ms each over TCP, the only way to run it: see the row for that
    return lockstep(bench, 10000, skip=["solid-pop3d"])


def row_lockstep_tcp(bench):
    subjects = lockstep(bench, 200, is_tcp=True)
    for subject in subjects:
        if subject.server.is_floor or subject.server.name in ("pop3d", "dovecot", "courier"):
            subject.inner = 5
    return subjects


def row_delete(bench):
    user = "d10000"
    home = place.make_home(user)
    batch = "start\nbatch DELE 1 10000\nsay QUIT\nstop\nend"
    script = "greeting\n{log_in}\n" + batch
    bench.drop(10000)

    def fresh(server):
        if server.files == "mbox":
            shutil.copyfile("/data/mail/m10000", f"/data/mail/{user}")
            os.chown(f"/data/mail/{user}", place.UID, 8)
            place.sync("/data")
            return
        place.copy_maildir(f"{home}/{server.files}", 10000)
        # the floor knows the names beforehand; so does a server that has been asked before
        if not server.is_floor:
            Subject(server, user, "greeting\n{log_in}\nsay STAT\nend QUIT").measure()

    floor = Floor("unlink", maildir_of_floor)
    kinds = [False] + ([True] if any(s.port or s.needs_tcp for s in bench.servers) else [])
    subjects = [Subject(floor, user, "greeting\nstart\nsay GO\nstop\nend", is_tcp=kind) for kind in kinds]
    subjects += bench.each(user, script)
    for subject in subjects:
        subject.prepare = lambda subject=subject: fresh(subject.server)
        subject.is_update = not subject.server.is_floor

    def undo():
        shutil.rmtree(home, ignore_errors=True)
        if os.path.exists(f"/data/mail/{user}"):
            os.unlink(f"/data/mail/{user}")
    return subjects, undo


ROWS = [
    Row("dialog", "spawn, greeting, QUIT", "dialog", 1.8, row_dialog, 16),
    Row("login", "spawn, login, STAT, QUIT, 10 messages (pam_unix, yescrypt)", "pam", 1.15, row_login, 11, 5),
    Row("login-permit", "the same, a PAM that costs nothing (pam_permit)", "pam", None, row_login_permit, 20, 6),
    Row("unchanged", "**login to STAT, 100,000 messages, nothing changed**", "its own with 10 messages", 1.2,
        row_unchanged, 11, 5, has_own_floor=True),
    Row("unchanged-hints", "the same, names with `,S=,W=`", "its own with 10 messages", 1.2,
        row_unchanged_hints, 11, 5, has_own_floor=True),
    Row("later", "login to STAT, 10,000 messages, nothing changed", "getdents", None, row_later, 11),
    Row("delivery", "login to STAT, 100,000 messages, one of them new", "getdents", 1.5, row_delivery, 9),
    Row("listing", "STAT, LIST and UIDL of 100,000, warm", "getdents", 1.0, row_listing, 7),
    Row("first", "first session ever, 100,000 messages of 4 KB", "readall", 1.2, row_first, 5),
    Row("first-hints", "the same, names with `,S=,W=`", "readall", None, row_first_hints, 3, 2),
    Row("retr-base64", "RETR of 200 MB: base64 lines", "cat", 1.3, row_big("base64"), 7),
    Row("retr-crlf", "… stored with CRLF", "cat", 1.3, row_big("crlf"), 7),
    Row("retr-long", "… lines of 64 KB", "cat", 1.3, row_big("long"), 7),
    Row("retr-dots", "… every line dotted", "cat", 1.6, row_big("dots"), 7),
    Row("retr-short", "… lines of 3 octets", "cat", 2.5, row_big("short"), 7),
    Row("pipelined", "RETR of 10,000 of 4 KB, pipelined", "catall", 1.1, row_pipelined, 9),
    Row("lockstep", "… one at a time", "catall + round trips", 1.15, row_lockstep, 7),
    Row("lockstep-tcp", "… one at a time over TCP (200)", "catall + round trips", 1.15, row_lockstep_tcp, 9),
    Row("delete", "DELE of 10,000 and QUIT", "unlink", 1.2, row_delete, 3, 2),
]


def run_row(row, bench, seconds_each):
    """The cells by server name, and the floors' medians."""
    made = row.make(bench)
    subjects, undo = made if isinstance(made, tuple) else (made, None)
    try:
        take_turns(subjects, row.quick_rounds if bench.is_quick else row.rounds, seconds_each)
    finally:
        if undo:
            undo()
        place.use_pam("permit")
    cells, floors = {}, {}
    for subject in subjects:
        if subject.server.is_floor:
            floors[subject.server.remark or ("TCP" if subject.is_tcp else "socketpair")] = subject
        elif getattr(subject, "is_floor", False):
            floors[subject.server.name] = subject
    for subject in subjects:
        if not subject.server.is_floor and not getattr(subject, "is_floor", False):
            kind = subject.server.name if row.has_own_floor else "TCP" if subject.is_tcp else "socketpair"
            cells[subject.server.name] = cell_of(subject, floors.get(kind))
    return cells, floors


# Memory and size

def pss_kib(pids):
    total = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/smaps_rollup") as file:
                total += int(re.search(r"^Pss:\s+(\d+)", file.read(), re.MULTILINE)[1])
        except (OSError, TypeError):
            pass
    return total


def processes():
    """pid: (parent, name) of all there are in here."""
    found = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                text = open(f"/proc/{entry}/stat").read()
            except OSError:
                continue
            name, rest = re.match(r"\d+ \((.*)\) \S (\d+)", text).groups()
            found[int(entry)] = (int(rest), name)
    return found


def session_processes(server, pid):
    table = processes()
    found = [server.daemon if server.processes else pid]
    for one in found:
        found += [child for child, (parent, _) in table.items() if parent == one]
    return [one for one in found if not server.processes or table[one][1] in server.processes]


def held(server, user, script):
    """Runs a script; the memory in KiB at each hold of it."""
    subject = Subject(server, user, script)
    child = subprocess.Popen(subject.command(1), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                             stderr=subprocess.DEVNULL, text=True)
    figures = []
    while (line := child.stdout.readline()).startswith("hold"):
        time.sleep(0.05)
        figures.append(pss_kib(session_processes(server, int(line.split()[1]))))
        child.stdin.write("\n")
        child.stdin.flush()
    child.communicate()
    return figures


def measure_memory(bench, server):
    """
    KiB after login; octets a message after STAT and after UIDL; KiB by which
    200 MB let it grow. What a message takes is told from 10,000 of them on,
    where buffers for listings are full.
    """
    listing = "greeting\n{log_in}\nsay STAT\nhold\nask LIST\nask UIDL\nhold"
    after = {}
    for count in (10, 10000, COUNT):
        user = bench.drop(count)
        for _ in range(2):
            Subject(server, user, "greeting\n{log_in}\nsay STAT\nask UIDL\nend QUIT").measure()
            time.sleep(0.05)
        after[count] = held(server, user, listing)
    figures = {}
    if len(after[10]) == 2:
        figures["login"] = after[10][0]
    if len(after[10000]) == 2 and len(after[COUNT]) == 2:
        figures["message-stat"], figures["message"] = (
            (large - small) * 1024 / (COUNT - 10000) for large, small in zip(after[COUNT], after[10000]))
    sending = held(server, "bigbase64", "greeting\n{log_in}\nsay STAT\nhold\nsend RETR 1\nread 2000000\nhold\n"
                   "read 100000000\nhold")
    if len(sending) == 3:
        figures["sending"], figures["growth"] = sending[1], sending[2] - sending[1]
    return figures


def system_calls(bench, server, script):
    """How many the server makes for a thousand messages, by the message."""
    user, trace = bench.drop(10000), "/tmp/trace"
    counts = []
    for last in (0, 1000):
        subject = Subject(server, user, "greeting\n{log_in}\nsay STAT\n" + script.format(last))
        command = subject.command(1)
        at = command.index(server.binary)
        command[at:at] = ["/usr/bin/strace", "-f", "-qq", "-o", trace]
        if subprocess.run(command, capture_output=True).returncode != 0:
            return None
        with open(trace) as file:
            counts.append(sum("resumed>" not in line for line in file))
    return (counts[1] - counts[0]) / 1000


def stripped_size(path):
    target = f"/tmp/stripped-{os.path.basename(path)}"
    subprocess.run(["strip", "-o", target, path], check=True)
    size = os.stat(target).st_size
    os.unlink(target)
    return size


def libraries(path):
    text = subprocess.run(["readelf", "-d", path], capture_output=True, text=True, check=True).stdout
    return re.findall(r"NEEDED.*\[(.*?)\]", text)


# The picture's figures

def measure_curve(bench, counts, rounds):
    """Seconds from login to STAT by server and number of messages, nothing changed."""
    subjects = []
    for count in counts:
        user = bench.drop(count)
        bench.warm(user)
        server = Floor("getdents", maildir_of_floor)
        inner = 5 if count < 10000 else 1
        for subject in [Subject(server, user, REPLY, inner=inner)] + \
                bench.each(user, FROM_LOGIN_TO_STAT, expect_stat=bench.expect(count), inner=inner):
            subject.count = count
            subjects.append(subject)
    take_turns(subjects, rounds, 2)
    curve = {}
    for subject in subjects:
        if subject.seconds and subject.failure is None:
            name = "getdents (floor)" if subject.server.is_floor else subject.server.name
            curve.setdefault(name, []).append((subject.count, subject.median))
    return curve
