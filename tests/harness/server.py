"""
server.py - launches pop3d the way a super-server does, and talks to it.

Runs in:   the test runner.
May touch: the processes it started, their descriptors and their log.
"""
import os
import select
import socket
import subprocess
import time

PATIENCE = 60           # seconds; nothing in a test may take longer without saying so


class Failure(AssertionError):
    """What a test expected and did not get."""


class Session:
    """One pop3d, with the client's end of its connection."""

    def __init__(self, world, transport, options, env=None, address="127.0.0.1", run_as=0,
                 prefix=()):
        self.world = world
        self.received = b""             # not yet taken by line() or block()
        self.transcript = bytearray()   # all that the server sent
        self.unsent = b""
        self.at_end = False             # the server has closed its side
        self.was_reset = False
        self.log_path = world.folder() + "/log"
        self.started = time.monotonic()
        log = open(self.log_path, "wb")
        server_in, server_out = self._connect(transport, address)
        command = [*prefix, world.binary, *options]
        self.process = subprocess.Popen(command, stdin=server_in, stdout=server_out, stderr=log,
                                        cwd="/", env={**world.sanitizer_options, **(env or {})},
                                        **world.run_as(run_as))
        log.close()
        for end in {server_in, server_out}:
            if isinstance(end, int):
                os.close(end)
            else:
                end.close()
        for fd in {self.read_fd, self.write_fd}:
            os.set_blocking(fd, False)
        self.pid = self.process.pid

    def _connect(self, transport, address):
        self.socket = None
        if transport == "pipes":
            server_in, self.write_fd = os.pipe()
            self.read_fd, server_out = os.pipe()
            return server_in, server_out
        if transport == "socketpair":
            self.socket, server = socket.socketpair()
        else:
            with socket.socket() as listener:
                listener.bind((address, 0))
                listener.listen(1)
                self.socket = socket.socket()
                self.socket.bind((address, 0))
                self.socket.connect(listener.getsockname())
                self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                server, _ = listener.accept()
        self.read_fd = self.write_fd = self.socket.fileno()
        return server, server

    # What goes out

    def send(self, octets, piece=None):
        """Queues octets and sends them, in writes of piece octets if given."""
        self.unsent += octets
        end = time.monotonic() + PATIENCE * 3
        while self.unsent and not self.was_reset:
            self._pump(end, piece)

    def half_close(self):
        if self.socket is not None:
            try:
                self.socket.shutdown(socket.SHUT_WR)
            except OSError:
                pass
        elif self.write_fd >= 0:
            os.close(self.write_fd)
            self.write_fd = -1

    def close(self):
        if self.socket is not None:
            self.socket.close()
            self.socket = None
        else:
            for fd in (self.read_fd, self.write_fd):
                if fd >= 0:
                    os.close(fd)
        self.read_fd = self.write_fd = -1
        self.at_end = True

    # What comes in

    def _pump(self, end, piece=None):
        """One step of reading and writing, whichever is possible first."""
        wanted = {} if self.at_end else {self.read_fd: select.POLLIN}
        if self.unsent:
            wanted[self.write_fd] = wanted.get(self.write_fd, 0) | select.POLLOUT
        poll = select.poll()
        for fd, events in wanted.items():
            poll.register(fd, events)
        left = end - time.monotonic()
        if left <= 0:
            raise Failure(f"nothing came in time; left over: {self.received[-200:]!r}")
        for fd, events in poll.poll(left * 1000):
            if fd == self.read_fd and not self.at_end and events & ~select.POLLOUT:
                self._read()
            if fd == self.write_fd and events & (select.POLLOUT | select.POLLERR) and self.unsent:
                try:
                    done = os.write(fd, self.unsent[:piece or 262144])
                    self.unsent = self.unsent[done:]
                except BlockingIOError:
                    pass
                except OSError:
                    # the server has closed: what it said before is still to be read
                    self.unsent = b""

    def _read(self):
        try:
            got = os.read(self.read_fd, 1 << 20)
        except BlockingIOError:
            return
        except ConnectionResetError:
            got, self.was_reset = b"", True
        self.at_end = not got
        self.received += got
        self.transcript += got

    def line(self, seconds=PATIENCE):
        """The next line without its CRLF, which must be there."""
        end = time.monotonic() + seconds
        while b"\n" not in self.received:
            if self.at_end:
                raise Failure(f"the server closed; before that it sent {self.received!r}")
            self._pump(end)
        line, self.received = self.received.split(b"\n", 1)
        if not line.endswith(b"\r"):
            raise Failure(f"a line ended in LF alone: {line[-80:]!r}")
        return line[:-1]

    def block(self, seconds=PATIENCE):
        """A multi-line response's octets after the status line, with the closing dot."""
        end = time.monotonic() + seconds
        while not (self.received.startswith(b".\r\n") or b"\r\n.\r\n" in self.received):
            if self.at_end:
                raise Failure(f"closed before the closing dot; last came {self.received[-80:]!r}")
            self._pump(end)
        size = 3 if self.received.startswith(b".\r\n") else self.received.index(b"\r\n.\r\n") + 5
        block, self.received = self.received[:size], self.received[size:]
        return block

    def command(self, text, seconds=PATIENCE):
        """Sends a command line, returns the status line as text."""
        self.send(text.encode("latin-1") + b"\r\n")
        return self.line(seconds).decode("latin-1")

    def expect(self, text, prefix, seconds=PATIENCE):
        answer = self.command(text, seconds)
        if not says(answer, prefix):
            raise Failure(f"{text!r} was answered {answer!r} and not {prefix!r}")
        return answer

    def greeting(self):
        answer = self.line().decode("latin-1")
        if not answer.startswith("+OK pop3d "):
            raise Failure(f"greeting: {answer!r}")
        return answer

    def log_in(self, user="alice", password="secret"):
        self.greeting()
        self.expect(f"USER {user}", "+OK")
        self.expect(f"PASS {password}", "+OK User successfully logged on")

    def try_to_log_in(self, user, password):
        """A whole session of a login that may be refused: the reply to PASS."""
        self.greeting()
        self.expect(f"USER {user}", "+OK")
        answer = self.command(f"PASS {password}")
        self.command("QUIT")
        self.drain()
        return answer

    def drain(self, seconds=PATIENCE):
        """Everything up to the server's closing of its side."""
        end = time.monotonic() + seconds
        while not self.at_end:
            self._pump(end)
        rest, self.received = self.received, b""
        return rest

    # The process

    def wait(self, seconds=PATIENCE):
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise Failure("the server did not end") from None

    def finish(self):
        """Whatever happened: nothing of this session is left running."""
        if self.read_fd >= 0 or self.socket is not None:
            self.close()
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def log(self):
        with open(self.log_path, "rb") as file:
            return file.read().decode("latin-1")


def says(line, prefix):
    """Whether a reply begins with these words, whole ones."""
    return line == prefix or (line.startswith(prefix) and line[len(prefix)] == " ")


# What /proc tells

def children(pid):
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            return [int(child) for child in file.read().split()]
    except FileNotFoundError:
        return []


def family(pid):
    """A process and its descendants."""
    return [pid] + [member for child in children(pid) for member in family(child)]


def status(pid):
    """/proc/PID/status as a dictionary of texts."""
    with open(f"/proc/{pid}/status") as file:
        return {name: value.strip() for name, value in (line.split(":", 1) for line in file)}


def peak_kilobytes(pid):
    """The most memory that any process of this session ever had resident."""
    return max(int(status(member)["VmHWM"].split()[0]) for member in family(pid))
