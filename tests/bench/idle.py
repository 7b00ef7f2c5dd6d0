"""
idle.py - memory of many sessions that have logged in and wait.

Runs in:   the benchmark, in its own root.
May touch: the homes of users i0, i1, ... in it.
"""
import os
import socket
import subprocess

import place
from place import PASSWORD
from rows import processes, pss_kib

MOST = 1000
KIB = 1024


def user(number):
    return f"i{number}"


def make_home(server, name):
    home = place.make_home(name)
    if not os.path.isdir(f"{home}/{server.files}"):
        place.make_maildir(f"{home}/{server.files}")


class Session:
    """One client of a server, logged in."""

    def __init__(self, server, name):
        self.process = None
        if server.port:
            self.socket = socket.create_connection(("127.0.0.1", server.port), 60)
        else:
            self.socket, theirs = socket.socketpair()
            environment = dict(setting.split("=", 1) for setting in server.environment)
            self.process = subprocess.Popen(server.command(name), stdin=theirs, stdout=theirs, cwd="/",
                                            stderr=subprocess.DEVNULL, env={**os.environ, **environment})
            theirs.close()
        self.file = self.socket.makefile("rb")
        for line in ("", f"USER {name}\r\n", f"PASS {PASSWORD}\r\n"):
            self.socket.sendall(line.encode())
            answer = self.file.readline()
            if not answer.startswith(b"+OK"):
                raise OSError(f"{server.name} answered {answer!r}")

    def close(self):
        self.file.close()
        self.socket.close()
        if self.process:
            self.process.wait()


def family(parents):
    found, table = list(parents), processes()
    for one in found:
        found += [pid for pid, (parent, _) in table.items() if parent == one]
    return found


def measure(server, count):
    """MiB of all processes of so many sessions, a daemon's share for other work included; None if it refuses."""
    sessions = []
    try:
        for number in range(count):
            make_home(server, user(number))
            sessions.append(Session(server, user(number)))
        parents = [server.daemon] if server.port else [session.process.pid for session in sessions]
        return pss_kib(family(parents)) / KIB
    except OSError as error:
        print(f"    {server.name}: {error}")
        return None
    finally:
        for session in sessions:
            session.close()
