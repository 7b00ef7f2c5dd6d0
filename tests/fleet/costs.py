"""
costs.py - what a session costs the fleet: requests to the bricks, processor time by who spent it.

Requests are counted by GlusterFS itself (volume profile), on all three bricks together; processor
time is read from /proc, for daemons and for all children that they have waited for. The model for
operators (xinetd.d/nodes.md) is made from these figures.

Runs in:   tests/fleet/run.py --costs.
May touch: the fleet.
"""
import collections
import os
import re
import threading
import time

from client import log_in, look, make_maildrop, unique_ids
from place import CLIENTS, NODES

TICK = os.sysconf("SC_CLK_TCK")
COUNT = 100             # messages of the maildrop
NOT_REQUESTS = {"FORGET", "RELEASE", "RELEASEDIR"}      # told by the client afterwards, nobody waits for them
SESSIONS = 240
MAILBOXES, PERIOD = 1000000, 300        # of the model: polled each so many seconds


class Requests:
    """Requests to all bricks since the last look."""

    def __init__(self, node):
        self.node = node
        node.run("gluster --mode=script volume profile mail start")
        self.take()

    def take(self):
        text = self.node.run("gluster --mode=script volume profile mail info incremental")
        counts = collections.Counter()
        for calls, name in re.findall(r"[nu]s\s+(\d+)\s+([A-Z]+)\s*$", text, re.MULTILINE):
            counts[name] += int(calls)
        return sum(calls for name, calls in counts.items() if name not in NOT_REQUESTS)


def pipelined(client, command):
    for number in range(1, COUNT + 1):
        client._putcmd(f"{command} {number}")
    for _ in range(COUNT):
        client._getresp() if command == "DELE" else client._getlongresp()


def poll(user, work=None):
    client = log_in(user, 2)
    client.stat()
    if work:
        work(client)
    client.quit()


def count_requests(fleet):
    """What is done, and the requests that it takes; each kind twice, the second one counts where nothing changes."""
    make_maildrop(fleet, "u20", COUNT)
    requests, found = Requests(fleet.node(1)), []

    def row(title, work=None, before=None):
        if before:
            before()
        requests.take()
        poll("u20", work)
        time.sleep(0.2)
        found.append((title, requests.take()))

    row("first session ever, 100 messages of 2 KB")
    time.sleep(3)
    row("nothing changed, STAT")
    row("nothing changed, STAT and UIDL", unique_ids)
    row("RETR of 100, pipelined, from new/ (moved)", lambda client: pipelined(client, "RETR"))
    row("RETR of 100, pipelined, from cur/", lambda client: pipelined(client, "RETR"))
    row("DELE of 100", lambda client: pipelined(client, "DELE"))
    return found


def descendants(pid):
    found = [pid]
    for parent in found:
        try:
            for task in os.listdir(f"/proc/{parent}/task"):
                with open(f"/proc/{parent}/task/{task}/children") as file:
                    found += [int(child) for child in file.read().split()]
        except OSError:
            pass
    return found


def spent(fleet):
    """Seconds by who: bricks, mounts, xinetd, what xinetd started, HAProxy."""
    found = collections.Counter()
    names = {"glusterfsd": "bricks", "glusterfs": "mounts", "xinetd": "xinetd", "haproxy": "HAProxy"}
    for machine in [*fleet.nodes, fleet.balancer]:
        for pid in descendants(machine.holder.pid):
            try:
                with open(f"/proc/{pid}/stat") as file:
                    name, rest = re.match(r"\d+ \((.*)\) (.*)", file.read()).groups()
            except OSError:
                continue
            times = [int(one) / TICK for one in rest.split()[11:15]]
            # glusterfsd and glusterfs are one program; it tells by its first argument which it is
            if name.startswith("gluster"):
                with open(f"/proc/{pid}/cmdline") as file:
                    name = os.path.basename(file.read().split("\0")[0])
            if name in names:
                found[names[name]] += times[0] + times[1]
            if name == "xinetd":
                found["pop3d and PAM"] += times[2] + times[3]
    return found


def measure_rate(fleet, node):
    """Milliseconds of processor time a session by who; on one node, or on all in turn."""
    users = [f"u{number}" for number in range(21, 31)]
    for user in users:
        make_maildrop(fleet, user, 10)
    for user in users:
        for number in NODES if node is None else [node]:
            look(user, number)
    before = spent(fleet)

    def work(user):
        for turn in range(SESSIONS // len(users)):
            client = log_in(user, node or NODES[turn % len(NODES)], CLIENTS[turn % len(CLIENTS)])
            client.stat()
            client.quit()

    # a thread for each user: two sessions of one would meet
    threads = [threading.Thread(target=work, args=[user]) for user in users]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    time.sleep(1)
    return {who: (seconds - before[who]) / SESSIONS * 1000 for who, seconds in spent(fleet).items()}


def table(fleet):
    lines = ["", "| a session (maildrop of 100 messages) | requests to three bricks |", "|---|---|"]
    lines += [f"| {title} | {count:,} |" for title, count in count_requests(fleet)]
    whos = ["pop3d and PAM", "xinetd", "mounts", "bricks", "HAProxy"]
    lines += ["", f"| processor time of a session (pop3s, STAT, 10 messages), ms | {' | '.join(whos)} | together | "
              f"cores for {MAILBOXES:,} mailboxes every {PERIOD // 60} minutes |", "|---" * (len(whos) + 3) + "|"]
    for title, node in (("all on one node", 2), ("on three nodes in turn", None)):
        figures = measure_rate(fleet, node)
        together = sum(figures.values())
        cells = " | ".join(f"{figures[who]:.1f}" for who in whos)
        lines.append(f"| {title} | {cells} | {together:.1f} | {MAILBOXES / PERIOD * together / 1000:.0f} |")
    return "\n".join(lines)
