"""
abuse.py - clients that vanish, crawl or flood, and a server that is killed.

Runs in:   the test runner.
May touch: maildrops of its own.
"""
import os
import re
import select
import signal
import socket
import subprocess
import time

from harness import wire
from harness.box import Box
from harness.server import Failure, family, peak_kilobytes
from harness.world import require_production, require_root, require_tool

BIG = b"".join(b"%07d: a line of a large message, one of many of its kind\n" % n for n in range(150000))


def ended(session, status, pattern):
    """The session's exit status, and a line of its log."""
    got = session.wait()
    if got != status:
        raise Failure(f"exit status {got} and not {status}\n{session.log()}")
    if re.search(pattern, session.log()) is None:
        raise Failure(f"no {pattern} in the log:\n{session.log()}")


def test_killed_before_quit(world):
    """SIGKILL at any point before QUIT has deleted nothing, and the next login lists the same"""
    points = ["STAT", "LIST", "UIDL", "DELE 1", "DELE 2", "RSET", "DELE 3", "TOP 3 1", "NOOP"]
    contents = [b"Subject: %d\n\ntext\n" % n for n in range(1, 5)]
    for count in range(len(points) + 1):
        box = Box(world, messages=contents)
        with box.session() as session:
            session.log_in()
            for command in points[:count]:
                session.command(command)
            if count == len(points):
                session.send(b"DELE 1\r\nDELE 2\r\nQUIT")   # all but the end of the line
            session.process.kill()
            session.process.wait()
        box.check(4)
        with box.session() as session:
            session.log_in()
            session.expect("STAT", "+OK 4")
            session.expect("UIDL", "+OK")
            ids = [line.split()[1] for line in session.block().splitlines()[:-1]]
            if ids != [b"170000000%d.M%dP1.sample" % (n, n) for n in range(1, 5)]:
                raise Failure(f"killed after {points[:count]}, then {ids}")
        box.remove()


def test_killed_while_sending(world):
    """SIGKILL in the middle of a message: no closing dot, nothing deleted"""
    box = Box(world, messages=[b"first\n", BIG])
    with box.session() as session:
        session.log_in()
        session.expect("DELE 1", "+OK")
        session.send(b"RETR 2\r\n")
        session.line()
        session.process.kill()
        if session.drain().endswith(b"\r\n.\r\n"):
            raise Failure("a message that was cut ends in a dot")
    box.check(2)


def test_vanishes_while_sending(world):
    """a client that vanishes in the middle of a message: the session ends, nothing is deleted"""
    for transport in ("pipes", "socketpair", "tcp"):
        box = Box(world, messages=[b"first\n", BIG])
        with box.session(transport=transport) as session:
            session.log_in()
            session.expect("DELE 1", "+OK")
            session.send(b"RETR 2\r\n")
            session.line()
            session.close()
            ended(session, 1, r"LOGOUT, user=alice, .*del=0/1, left=2, .*end=disconnect")
        box.check(2)


def test_removal_that_may_not_last(world):
    """a folder that cannot be synced: QUIT does not say +OK, and the log has the cause"""
    require_production(world, "needs the production build")
    shim = f"{world.folder()}/no-fsync.so"
    subprocess.run([require_tool("cc"), "-shared", "-fPIC", "-x", "c", "-", "-o", shim], check=True, text=True,
                   input="#include <errno.h>\nint fsync(int fd) { errno = EIO; return fd < 0 ? fd : -1; }\n")
    box = Box(world, messages=[b"first\n", b"second\n"])
    with box.session(prefix=["env", f"LD_PRELOAD={shim}"]) as session:
        session.log_in()
        session.expect("DELE 1", "+OK")
        session.expect("QUIT", "-ERR [SYS/TEMP] the removal of 1 messages may not last")
        ended(session, 0, "FAULT, user=alice, .*category=Mailbox, path=update, error=EIO")
    box.check(1)


def say_and_vanish(session, octets):
    """The client is gone before the server has read what it said."""
    os.kill(session.pid, signal.SIGSTOP)
    session.send(octets)
    if session.socket is not None:
        # close() alone is not yet the end while a process that another test starts has a copy
        session.socket.shutdown(socket.SHUT_RDWR)
    session.close()
    os.kill(session.pid, signal.SIGCONT)


def test_vanishes_behind_quit(world):
    """QUIT is obeyed even if the client does not wait for its answer"""
    for transport in ("pipes", "socketpair", "tcp"):
        box = Box(world, messages=[b"first\n", b"second\n"])
        with box.session(transport=transport) as session:
            session.log_in()
            say_and_vanish(session, b"DELE 1\r\nQUIT\r\n")
            session.wait()
            # what was removed, whatever the client has heard of it
            if "del=1/1, left=1, " not in session.log():
                raise Failure(session.log())
        box.check(1)


def test_vanishes_behind_retr_and_quit(world):
    """a message that the client did not wait for is not removed by the QUIT behind it"""
    box = Box(world, messages=[b"first\n", b"second\n"])
    with box.session(transport="socketpair") as session:
        session.log_in()
        say_and_vanish(session, b"RETR 1\r\nDELE 1\r\nQUIT\r\n")
        ended(session, 1, "del=0/1, left=2, .*end=disconnect")
    box.check(2)


def test_never_reads_a_batch(world):
    """RETR, DELE and QUIT in one batch to a client that never reads: nothing is removed"""
    # more than a pipe takes, less than our own buffer
    box = Box(world, messages=[BIG[:50000]] * 3)
    with box.session("-t", "1", transport="pipes") as session:
        session.log_in()
        session.send(b"".join(b"RETR %d\r\nDELE %d\r\n" % (n, n) for n in (1, 2, 3)) + b"QUIT\r\n")
        ended(session, 2, "del=0/3, left=3, .*end=timeout")
    box.check(3)


def test_reset_before_login(world):
    """a connection that is reset before a word leaves no process and no alarm"""
    box = Box(world)
    with box.session() as session:
        members = family(session.pid)
        session.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        session.close()
        session.wait()
        if any(os.path.exists(f"/proc/{pid}") for pid in members):
            raise Failure("a process is left")
        if re.search("FAULT|FAILED", session.log()):
            raise Failure(session.log())


def test_reads_one_octet_at_a_time(world):
    """a client that hardly reads is ended by the clock, in bounded memory, and loses nothing"""
    box = Box(world, messages=[b"first\n", BIG])
    with box.session("-t", "2") as session:
        session.log_in()
        session.expect("DELE 1", "+OK")
        session.send(b"RETR 2\r\n")
        began = time.monotonic()
        before = None
        while session.process.poll() is None and time.monotonic() - began < 15:
            time.sleep(0.1)
            try:
                os.read(session.read_fd, 1)
            except BlockingIOError:
                pass
            if session.process.poll() is None and os.path.exists(f"/proc/{session.pid}/status"):
                try:
                    before = peak_kilobytes(session.pid)
                except (OSError, KeyError, ValueError):
                    pass
        took = time.monotonic() - began
        ended(session, 2, r"LOGOUT, user=alice, .*del=0/1, left=2, .*end=timeout")
        if not 1.5 <= took <= 6:
            raise Failure(f"ended after {took:.1f} seconds")
        if before and before > 8192 and not world.is_sanitized:
            raise Failure(f"{before} KiB were resident")
    box.check(2)


def short_segments():
    """Both ends of a connection with the small segments of a real network, and a client with little room."""
    with socket.socket() as listener:
        client = socket.socket()
        for end in (listener, client):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        client.connect(listener.getsockname())
        return client, listener.accept()[0]


def test_reads_slowly_over_tcp(world):
    """what waits in the kernel may last longer than -t: a client that takes octets all the while is not cut"""
    content = BIG[:180000]
    box = Box(world, messages=[content])
    wanted = wire.whole(content)
    client, server = short_segments()
    with client, subprocess.Popen([world.binary, *box.options("-t", "2")], stdin=server, stdout=server,
                                  stderr=subprocess.DEVNULL, env=world.sanitizer_options) as process:
        server.close()
        client.sendall(b"USER alice\r\nPASS secret\r\nRETR 1\r\n")
        got = b""
        while not got.endswith(b"\r\n.\r\n"):
            time.sleep(0.1)
            piece = client.recv(1600)
            if not piece:
                raise Failure(f"closed after {len(got)} octets of {len(wanted)}, status {process.wait()}")
            got += piece
        client.sendall(b"QUIT\r\n")
        if not got.endswith(wanted) or not client.recv(100).startswith(b"+OK"):
            raise Failure("not what was stored")


def test_reads_slowly_but_reads(world):
    """a client that reads slowly, but within the clock, gets all of it"""
    content = BIG[:4800000]
    box = Box(world, messages=[content])
    wanted = wire.whole(content)
    # the buffers of TCP would take all of it: the server would not notice
    with box.session("-t", "4", transport="socketpair") as session:
        session.log_in()
        session.send(b"RETR 1\r\n")
        session.line()
        got, began = session.received, time.monotonic()
        session.received = b""
        while len(got) < len(wanted):
            if time.monotonic() - began > 60:
                raise Failure(f"{len(got)} octets of {len(wanted)}")
            time.sleep(0.05)
            select.select([session.read_fd], [], [], 5)
            piece = os.read(session.read_fd, 30000)
            if not piece:
                raise Failure(f"closed after {len(got)} octets of {len(wanted)}\n{session.log()}")
            got += piece
        if time.monotonic() - began < 6:
            raise Failure("that was too fast to show anything")
        if got != wanted:
            raise Failure("not what was stored")
        session.expect("NOOP", "+OK")


def test_trickles(world):
    """a client that sends an octet now and then does not keep a session alive"""
    box = Box(world, messages=[b"first\n"])
    for options, login in ((("-t", "2"), True), (("-l", "2"), False)):
        with box.session(*options) as session:
            if login:
                session.log_in()
            else:
                session.greeting()
            began = time.monotonic()
            while not session.at_end and time.monotonic() - began < 10:
                try:
                    os.write(session.write_fd, b"N")
                except OSError:
                    break
                time.sleep(0.2)
                if select.select([session.read_fd], [], [], 0)[0]:
                    session._read()
            took = time.monotonic() - began
            if not 1.2 <= took <= 5:
                raise Failure(f"with {options} ended after {took:.1f} seconds")
            ended(session, 2, "end=timeout")
    box.check(1)


def test_reply_before_the_end(world):
    """ticks of the clock do not end the wait for a flooding client to read the last reply"""
    box = Box(world)
    for tries_left in (2, 1, 0):
        with box.session("-l", "3") as session:
            session.greeting()
            began = time.monotonic()
            session.send(b"X\r\n" * 21)
            try:
                # the wait is of one second; a tick is 0.3 seconds
                for _ in range(10):
                    time.sleep(0.05)
                    session.socket.send(b"MORE\r\n")
                session.half_close()
                if not session.drain().endswith(b"Too many bad commands\r\n") or session.was_reset:
                    raise Failure(f"{session.transcript!r}")
                return
            except OSError as error:
                # a busy machine, or a server that does not wait?
                if time.monotonic() - began < 1 or tries_left == 0:
                    raise Failure(f"cut off: {error}") from None


def test_usage_error_behind_input(world):
    """a usage error is told to a client that has spoken already, and no reset takes it away"""
    box = Box(world)
    late = ["/bin/sh", "-c", 'sleep 0.3; exec "$@"', "sh"]
    with box.session("-t", "0", prefix=late) as session:
        session.send(b"CAPA\r\nQUIT\r\n")
        answer = session.drain()
        if not answer.startswith(b"-ERR [SYS/PERM]") or session.was_reset:
            raise Failure(f"{answer!r}, reset {session.was_reset}")
        session.half_close()
        ended(session, 64, "category=Configuration")


def test_health_check_behind_a_proxy(world):
    """with -x, too, a connection without an octet is no refusal, and a line of debug priority"""
    box = Box(world)
    heard = len(world.syslog.lines) if world.syslog else 0
    with box.session("-x") as session:
        session.half_close()
        session.drain()
        ended(session, 1, "DISCONNECTED, end=disconnect")
        line = rf".* pop3d\[{session.pid}\]: DISCONNECTED"
        if world.syslog and re.search("<23>" + line, world.syslog.since(heard, line, 20)) is None:
            raise Failure("not of debug priority")


def test_damaged_body_and_deliveries(world):
    """mail that came between a login and the LIST that finds the index damaged: the log keeps its numbers"""
    box = Box(world, messages=[b"first\n"])
    for folder in ("new", "cur"):
        os.utime(f"{box.maildir}/{folder}", (1700000000, 1700000000))
    time.sleep(0.1)                     # an index made in the same tick of the clock is not believed
    for damaged in (False, True):
        with box.session() as session:
            session.log_in()
            if damaged:
                box.add(b"second\n")
                box.add(b"third\n")
            answer = session.command("LIST")
            session.half_close()
            session.drain()
            session.wait()
        if damaged:
            break
        with open(f"{box.maildir}/pop3d.index", "r+b") as index:
            index.seek(-2, os.SEEK_END)
            octet = index.read(1)[0]
            index.seek(-2, os.SEEK_END)
            index.write(bytes([octet ^ 1]))
    if not answer.startswith("-ERR") or re.search(r"LOGOUT, .*del=0/0, left=\d{1,9}, ", session.log()) is None:
        raise Failure(f"{answer}\n{session.log()}")


def test_system_calls_of_a_batch(world):
    """a thousand NOOPs in one batch are read and answered in a few system calls"""
    require_root()                      # who else may see what is written?
    strace = require_tool("strace")
    require_production(world, "needs the production build")
    box = Box(world, messages=[b"first\n"])
    trace = world.folder() + "/trace"
    os.chmod(os.path.dirname(trace), 0o777)
    with box.session("-t", "60", prefix=[strace, "-f", "-o", trace]) as session:
        session.log_in()
        session.expect("STAT", "+OK 1 7")
        session.send(b"NOOP\r\n" * 1000 + b"LIST 1\r\n")
        for _ in range(1000):
            if session.line() != b"+OK":
                raise Failure("NOOP failed")
        if session.line() != b"+OK 1 7":
            raise Failure("LIST failed")
        session.expect("QUIT", "+OK")
        session.wait()
    with open(trace, errors="replace") as file:
        lines = file.read().split("\n")
    start = next(n for n, line in enumerate(lines) if '"+OK 1 7\\r\\n"' in line)
    end = next(n for n, line in enumerate(lines) if "server signing off" in line)
    calls = [line for line in lines[start + 1:end] if re.search(r"^\d+ +[a-z_0-9]+\(", line)]
    batch = [line for line in calls if re.search(r"^\d+ +(read|write|p?poll)\(", line)]
    # 7,008 octets in, 5,009 out; QUIT, a removal and its sync are among the calls
    if len(batch) > 16 or len(calls) > 40:
        raise Failure(f"{len(batch)} reads, writes and polls of {len(calls)} calls:\n" + "\n".join(calls[:60]))


def test_batch_is_one_write(world):
    """the replies to a batch leave in one write"""
    strace = require_tool("strace")
    require_production(world, "needs the production build")
    box = Box(world, messages=[b"first\n"] * 10)
    trace = world.folder() + "/trace"
    os.chmod(os.path.dirname(trace), 0o777)
    with box.session("-t", "60", prefix=[strace, "-f", "-o", trace, "-e", "trace=write,writev,sendto,sendmsg"]) as session:
        session.log_in()
        session.expect("NOOP", "+OK")
        session.send(b"STAT\r\nLIST\r\nUIDL\r\n" + b"".join(b"RETR %d\r\n" % n for n in range(1, 11)) + b"RSET\r\n")
        session.half_close()
        session.drain()
        session.wait()
    with open(trace, errors="replace") as file:
        lines = file.read().split("\n")
    writes = [line for line in lines if re.search(r"write\(1, ", line)]
    # the greeting, USER's answer, PASS's, NOOP's, and the batch
    if len(writes) != 5:
        raise Failure(f"{len(writes)} writes:\n" + "\n".join(writes))


def test_memory_does_not_grow(world):
    """a large message, long listings and long lines are served in the same memory"""
    require_production(world, "needs the production build")
    box = Box(world, messages=[b"first\n", BIG * 4])
    with box.session() as session:
        session.log_in()
        session.expect("RETR 1", "+OK")
        session.block()
        before = peak_kilobytes(session.pid)
        session.expect("RETR 2", "+OK")
        wanted = wire.octets(BIG * 4) + 3
        while wanted:
            session._pump(time.monotonic() + 20)
            wanted -= len(session.received)
            session.received = b""
            session.transcript.clear()
        session.send(b"X" * 3000000 + b"\r\n")
        session.line()
        grown = peak_kilobytes(session.pid) - before
        if grown > 1024:
            raise Failure(f"{grown} KiB more than for a small message")


def test_ended_super_server(world):
    """standard input at its end from the start: the greeting, and a quiet end"""
    box = Box(world)
    with box.session(transport="pipes") as session:
        session.half_close()
        session.greeting()
        if session.drain() or session.wait() != 1:
            raise Failure(f"exit status {session.wait()}")


def test_nonblocking_launcher(world):
    """O_NONBLOCK left on the descriptors by a launcher does no harm"""
    box = Box(world, messages=[BIG])
    nonblocking = ["/usr/bin/python3", "-c", "import os, sys; os.set_blocking(0, False); "
                   "os.set_blocking(1, False); os.execv(sys.argv[1], sys.argv[1:])"]
    with box.session(prefix=nonblocking) as session:
        session.log_in()
        time.sleep(0.2)
        session.expect("RETR 1", "+OK")
        if session.block() != wire.whole(BIG):
            raise Failure("not what was stored")


def test_stderr_is_a_device(world):
    """-e with a character device for standard error: a session as any other"""
    box = Box(world, messages=[b"first\n"])
    done = subprocess.run([world.binary, *box.options()], input=b"USER alice\r\nPASS secret\r\nSTAT\r\nQUIT\r\n",
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=60)
    if b"\r\n+OK 1 7\r\n+OK pop3d " not in done.stdout or done.returncode != 0:
        raise Failure(f"{done}")


def test_ignored_signals(world):
    """signals that a launcher ignores or blocks do no harm"""
    box = Box(world, messages=[b"first\n"])
    deaf = ["/usr/bin/python3", "-c", "import os, signal, sys\n"
            "for n in (signal.SIGCHLD, signal.SIGALRM, signal.SIGTERM, signal.SIGPIPE): signal.signal(n, signal.SIG_IGN)\n"
            "signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 32))\n"
            "os.execv(sys.argv[1], sys.argv[1:])"]
    with box.session("-t", "1", prefix=deaf) as session:
        session.log_in()
        session.expect("STAT", "+OK 1 7")
        if session.drain(10):
            raise Failure("something came")
        ended(session, 2, "end=timeout")


def test_faults_do_not_fill_the_log(world):
    """of the faults that a user causes at will twenty stand in the log; LOGOUT tells how many more there were"""
    require_root()
    box = Box(world, messages=[b"one\n"])
    os.chmod(f"{box.maildir}/{box.listing()[0]}", 0)
    with box.session() as session:
        session.log_in()
        for _ in range(70):
            session.expect("RETR 1", "-ERR [SYS/TEMP]")
        session.expect("QUIT", "+OK")
        session.wait()
        lines = re.findall(r"FAULT, .*error=EACCES", session.log())
        if len(lines) != 20 or not re.search(r"LOGOUT, .*, end=quit, unlogged=50$", session.log(), re.M):
            raise Failure(f"{len(lines)} lines, {session.log()[-300:]}")
