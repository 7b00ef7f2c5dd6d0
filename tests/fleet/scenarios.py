"""
scenarios.py - what may happen to a fleet, and what must hold then.

Each scenario is a function of the fleet; it returns what was seen in a few words, or raises Wrong.
They run in their order: those that harm the fleet mend it again.

Runs in:   tests/fleet/run.py.
May touch: the fleet.
"""
import os
import poplib
import subprocess
import threading
import time

import client
from client import (IN_USE, Refused, attempt, content, deliver, fill_maildir, log_in, look, maildir, make_maildrop, names,
                    number_of, unique_ids)
from place import CLIENTS, FLEET, MAIL, NODES, TREE, ask_balancer, kill, until

OLDER = "11a13db"       # the last commit of the release before
FREE_SECONDS = 10       # within which a maildrop is free again whose holder was killed


class Wrong(Exception):
    pass


class Skipped(Exception):
    pass


def must(is_so, what):
    if not is_so:
        raise Wrong(what)


def free_after(user, node, seconds=FREE_SECONDS):
    """Seconds until this node grants a login. A refusal takes some seconds, so one is begun in each."""
    began, results = time.monotonic(), []
    tries = []
    while "ok" not in results and time.monotonic() - began < seconds:
        tries.append(threading.Thread(target=lambda: results.append(attempt(user, node)[0])))
        tries[-1].start()
        until_next = time.monotonic() + 1
        while "ok" not in results and time.monotonic() < until_next:
            time.sleep(0.02)
    took = time.monotonic() - began
    for one in tries:
        one.join()
    if "ok" not in results:
        raise Wrong(f"node {node} still refuses after {seconds} s: {results}")
    return took


def quit_and_judge(holder, fleet, user, before):
    """QUIT, one message being marked of so many; what was said must be true of what another node finds."""
    try:
        holder.sock.settimeout(30)
        answer = holder.quit().decode()
    except (poplib.error_proto, OSError, EOFError) as error:
        answer = f"refused: {error}"
    fleet.node(1).cut("store", False)
    until(lambda: fleet.node(1).try_to(f"ls {MAIL}/{user} >/dev/null"), 60, "the storage network")
    time.sleep(1)                       # what hung goes on now
    left = len(names(fleet.node(2), user))
    # where no reply came either may be so, for the client had marked the message
    allowed = {"+OK": [before - 1], "-ER": [before]}.get(answer.removeprefix("refused: b'")[:3], [before - 1, before])
    must(left in allowed, f"QUIT said {answer}, {left} of {before} are there")
    return f"QUIT of the holder: {answer[:40]}"


def one_session_a_user(fleet):
    """a second login on another node gets [IN-USE]; so does one on the same"""
    make_maildrop(fleet, "u1", 3)
    holder = log_in("u1", 1)
    for node in (1, 2, 3):
        result, _ = attempt("u1", node)
        must(IN_USE in result, f"node {node}: {result}")
    holder.quit()
    must(attempt("u1", 2)[0] == "ok", "not free after QUIT")
    return "refused on three nodes, free after QUIT"


def holder_killed(fleet):
    """pop3d that holds a maildrop is killed: free on another node"""
    make_maildrop(fleet, "u2", 3)
    holder = log_in("u2", 1)
    fleet.node(1).end_all("pop3d")
    seconds = free_after("u2", 2)
    holder.close()
    return f"free after {seconds:.1f} s"


def mount_killed(fleet):
    """the holder's mount is killed: free on another node, which loses nothing"""
    make_maildrop(fleet, "u3", 3)
    holder = log_in("u3", 1)
    node = fleet.node(1)
    node.end_all("glusterfs")
    seconds = free_after("u3", 2)
    # self-heal's daemon has the same name: glusterd starts it again
    node.unmount()
    node.mount()
    node.try_to("gluster --mode=script volume start mail force", 30)
    holder.close()
    must(len(look("u3", 1)[0]) == 3, "messages are gone")
    return f"free after {seconds:.1f} s"


def storage_cut(fleet):
    """the holder's node loses the storage network: free on another, and the holder can do no harm"""
    make_maildrop(fleet, "u4", 5)
    holder = log_in("u4", 1)
    holder.dele(1)
    fleet.node(1).cut("store")
    began = time.monotonic()
    time.sleep(0.5)
    seconds = free_after("u4", 2, 30)
    took = time.monotonic() - began
    said = quit_and_judge(holder, fleet, "u4", 5)
    must(took <= fleet.storage.lock_seconds, f"free after {took:.1f} s only")
    must(seconds <= took, "time runs backwards")
    return f"free after {took:.1f} s; {said}"


def killed_in_retr(fleet):
    """the node dies in mid RETR: no closing dot, and the next session finds all as it was"""
    make_maildrop(fleet, "u5", 2, 20000000)
    before = look("u5", 1)
    holder = log_in("u5", 1)
    holder._putcmd("RETR 1")
    holder.file.read(100000)
    fleet.node(1).end_all("pop3d")
    rest = holder.file.read()
    must(not rest.endswith(b"\r\n.\r\n"), "a closing dot came")
    free_after("u5", 2)
    must(look("u5", 2) == before, "another node shows other messages")
    return "no dot; ids, order and contents as before"


def killed_before_quit(fleet):
    """the node dies before QUIT: nothing is removed"""
    make_maildrop(fleet, "u6", 10)
    before = look("u6", 3)
    holder = log_in("u6", 1)
    for number in range(1, 6):
        holder.dele(number)
    fleet.node(1).end_all("pop3d")
    free_after("u6", 2)
    must(look("u6", 2) == before, "something is gone")
    holder.close()
    return "all 10 are there"


def killed_in_update(fleet):
    """the node dies within UPDATE, at 6 moments: never a message goes that was not marked"""
    removed = []
    for moment in (0, 0.005, 0.015, 0.04, 0.1, 0.2):
        make_maildrop(fleet, "u7", 40)
        ids, before = look("u7", 2)
        holder = log_in("u7", 1)
        for number in range(1, len(ids), 2):
            holder.dele(number)
        session = fleet.node(1).processes("pop3d")
        holder._putcmd("QUIT")
        time.sleep(moment)
        kill(session)
        free_after("u7", 2)
        left, after = look("u7", 2)
        kept = [one for number, one in enumerate(ids, 1) if number % 2 == 0]
        must(set(kept) <= set(left), "a message that was not marked is gone")
        must([one for one in ids if one in left] == left and all(after[one] == before[one] for one in left),
             "order or contents changed")
        removed.append(len(ids) - len(left))
        holder.close()
    return f"removed of 20 marked: {removed}"


def brick_killed(fleet):
    """a copy dies while a large message is sent, and comes back: the message is whole, nothing is undone"""
    make_maildrop(fleet, "u8", 6, 3000000)
    ids, before = look("u8", 2)
    holder = log_in("u8", 1)
    pid = fleet.node(1).brick_pid()
    killer = threading.Timer(0.05, fleet.node(1).run, [f"kill -KILL {pid}"])
    killer.start()
    found = [client.content(holder, number) for number in range(1, 7)]
    killer.join()
    must(found == [before[one] for one in ids], "a message is not what it was")
    holder.dele(1)
    holder.quit()
    name = deliver(fleet.node(2), "u8")
    fleet.node(1).run("gluster --mode=script volume start mail force")
    time.sleep(6)
    left = unique_ids(log_in("u8", 1))
    must(left == [*ids[1:], name], f"after the healing: {left}")
    return "whole; a removal and a delivery meanwhile hold after the healing"


def renamed_elsewhere(fleet):
    """a volume that is spread over bricks: what another node has just renamed is gone when QUIT says so"""
    make_maildrop(fleet, "u22", 0)
    nodes, folder = fleet.nodes[:2], maildir(fleet.node(2), "u22")
    for name in ("new", "cur", "tmp"):
        os.rmdir(f"{folder}/{name}")
    fleet.storage.mount_spread(nodes, number_of("u22"), f"{MAIL}/u22/Maildir")
    try:
        fill_maildir(maildir(fleet.node(1), "u22"), number_of("u22"), 14)
        time.sleep(2)
        look("u22", 1)
        holder = log_in("u22", 1)
        unique_ids(holder)
        for part in ("new", "cur"):
            for name in os.listdir(f"{folder}/{part}"):
                os.rename(f"{folder}/{part}/{name}", f"{folder}/cur/{name.split(':')[0]}:2,FS")
        content(holder, 1)
        for number in (1, 2, 3):
            holder.dele(number)
        answer = holder.quit().decode()
        left = len(names(fleet.node(2), "u22"))
        must(answer.startswith("+OK") and left == 11, f"QUIT said {answer}, {left} of 14 are there")
    finally:
        for node in nodes:
            node.try_to(f"umount -l {MAIL}/u22/Maildir")
    return "three of 14 deleted, 11 left"


def two_copies_gone(fleet):
    """two of three copies are gone: logins are refused as our fault, and all is there afterwards"""
    make_maildrop(fleet, "u9", 5)
    before = look("u9", 3)
    for number in (1, 2):
        fleet.node(number).run(f"kill -KILL {fleet.node(number).brick_pid()}")
    time.sleep(1)
    result, _ = attempt("u9", 3)
    must("[SYS/TEMP]" in result, f"a login said {result}")
    fleet.node(3).run("gluster --mode=script volume start mail force")
    until(lambda: attempt("u9", 3)[0] == "ok", 30, "logins")
    must(look("u9", 3) == before, "something is gone")
    return "[SYS/TEMP], then all as before"


def seen_at_once(fleet):
    """a delivery on one node is seen by the next login on another, 20 times"""
    make_maildrop(fleet, "u10", 3)
    look("u10", 2)
    overlooked = 0
    for turn in range(20):
        name = deliver(fleet.node(1 + turn % 2 * 2), "u10")
        session = log_in("u10", 2)
        overlooked += name not in unique_ids(session)
        session.quit()
    must(overlooked == 0, f"{overlooked} of 20 overlooked")
    return "0 of 20 overlooked"


def clock_behind(fleet):
    """a node whose clock is 10 s behind delivers: seen by the others"""
    make_maildrop(fleet, "u11", 5)
    node = fleet.node(3)
    node.unmount()
    library = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1"
    node.mount(environment=f"LD_PRELOAD={library} FAKETIME_DONT_FAKE_MONOTONIC=1 FAKETIME=-10s")
    try:
        for _ in range(2):
            look("u11", 1)
        time.sleep(3)
        look("u11", 1)
        name = deliver(node, "u11")
        for number in (1, 2):
            must(name in look("u11", number)[0], f"node {number} does not see it")
        node.run(f"rm {MAIL}/u11/Maildir/*/{name}*")
        must(name not in look("u11", 1)[0], "its removal is overlooked")
    finally:
        node.unmount()
        node.mount()
    return "a delivery and a removal are seen"


def by_turns_and_at_once(fleet):
    """three nodes deliver, read and remove in one maildrop for 20 s: nothing is lost, doubled or renamed"""
    make_maildrop(fleet, "u12", 5)
    end, errors, sessions = time.monotonic() + 20, [], []
    delivered, removed, digests = set(names(fleet.node(1), "u12")), set(), {}
    guard = threading.Lock()

    def bring(node):
        while time.monotonic() < end:
            name = deliver(node, "u12")
            with guard:
                delivered.add(name)
            time.sleep(0.3)

    def fetch(number):
        while time.monotonic() < end:
            try:
                session = log_in("u12", number)
            except Refused as error:
                if IN_USE not in str(error):
                    errors.append(str(error)[:80])
                continue
            ids = unique_ids(session)
            gone = []
            for at, one in enumerate(ids, 1):
                digest = client.content(session, at)
                with guard:
                    if digests.setdefault(one, digest) != digest:
                        errors.append(f"{one} changed")
                if at % 3 == 0:
                    session.dele(at)
                    gone.append(one)
            if len(set(ids)) != len(ids):
                errors.append("listed twice")
            session.quit()
            with guard:
                removed.update(gone)
            sessions.append(number)

    threads = [threading.Thread(target=bring, args=[node]) for node in fleet.nodes] + \
        [threading.Thread(target=fetch, args=[number]) for number in NODES]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    must(not errors, f"{len(errors)}: {errors[:3]}")
    left = look("u12", 1)[0]
    must(set(left) == delivered - removed, f"lost {sorted(delivered - removed - set(left))[:3]}, "
         f"came back {sorted(set(left) - delivered | set(left) & removed)[:3]}")
    must(len(set(sessions)) == 3, f"sessions on {set(sessions)} alone")
    return f"{len(sessions)} sessions, {len(delivered)} messages, {len(removed)} removed, 0 lost"


def ids_of_dovecot(fleet):
    """unique-ids taken over from Dovecot are alike on all nodes, and outlive its list and the index"""
    make_maildrop(fleet, "u13", 4)
    files = names(fleet.node(1), "u13")
    lines = ["3 V1700000000 N9 G0123456789abcdef0123456789abcdef"] + \
        [f"{number} :{name}" for number, name in enumerate(files, 1)]
    text = "\\n".join(lines)
    path = f"{MAIL}/u13/Maildir"
    owner = client.number_of("u13")
    fleet.node(1).run(f"printf '{text}\\n' >{path}/dovecot-uidlist; chown {owner} {path}/dovecot-uidlist")
    expected = [f"{number:08x}{1700000000:08x}" for number in range(1, 5)]
    for number in NODES:
        must(look("u13", number)[0] == expected, f"node {number}: {look('u13', number)[0]}")
    fleet.node(1).run(f"rm {path}/dovecot-uidlist {path}/pop3d.index")
    for number in NODES:
        must(look("u13", number)[0] == expected, f"node {number} without the list: {look('u13', number)[0]}")
    return "the same on three nodes, before and after"


def old_and_new(fleet):
    """an older pop3d on one node, this one on the others: ids and contents alike, one session a maildrop"""
    old = os.environ.get("POP3D_OLD") or build_old()
    make_maildrop(fleet, "u14", 10)
    before = look("u14", 1)
    fleet.node(3).serve(old)
    try:
        for number in (3, 1, 3, 2, 3):
            must(look("u14", number) == before, f"node {number} shows others")
        for one, other in ((3, 1), (1, 3)):
            holder = log_in("u14", one)
            result, _ = attempt("u14", other)
            must(IN_USE in result, f"node {one} holds it, node {other}: {result}")
            holder.quit()
    finally:
        fleet.node(3).serve()
    return "ids, order and contents alike; they exclude each other"


def build_old():
    """The release before, from this clone's own history; skipped where that is not there."""
    folder = f"{FLEET}/old"
    os.makedirs(folder)
    archive = subprocess.run(["git", "-C", TREE, "archive", OLDER], capture_output=True)
    if archive.returncode != 0:
        raise Skipped(f"this clone does not go back to {OLDER}")
    subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)
    subprocess.run(["make", "-s", "-j2", "-C", folder, "pop3d"], check=True, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)
    return f"{folder}/pop3d"


def drained(fleet):
    """a node is drained: its session goes on, new ones go elsewhere, no login fails"""
    make_maildrop(fleet, "u15", 3)
    holder = log_in("u15")
    serving = next(node for node in fleet.nodes if "LOGIN, user=u15" in node.log())
    ask_balancer(fleet.balancer, f"set server pop3d/{serving.name} state drain")
    try:
        must(len(unique_ids(holder)) == 3, "the running session is disturbed")
        make_maildrop(fleet, "u16", 1)
        for address in CLIENTS:
            result, _ = attempt("u16", address=address)
            must(result == "ok", f"from {address}: {result}")
        must("user=u16" not in serving.log(), "a new session came to the drained node")
        holder.quit()
    finally:
        ask_balancer(fleet.balancer, f"set server pop3d/{serving.name} state ready")
    return f"{serving.name} drained, {len(CLIENTS)} logins from as many addresses elsewhere"


def logins_from_all(fleet, user, seconds):
    """A login from each client's address; none may fail or take longer."""
    slowest = 0
    for address in CLIENTS:
        result, took = attempt(user, address=address)
        must(result == "ok", f"from {address}: {result} after {took:.1f} s")
        must(took <= seconds, f"from {address}: {took:.1f} s")
        slowest = max(slowest, took)
    return slowest


def node_refuses(fleet):
    """xinetd of a node is stopped: no client's login fails, before the checks have noticed"""
    make_maildrop(fleet, "u17", 1)
    fleet.node(2).stop_serving()
    try:
        slowest = logins_from_all(fleet, "u17", 8)
    finally:
        fleet.node(2).serve()
    until(lambda: fleet.states()["node2"] == "UP", 30, "node2 is UP again")
    return f"0 of {len(CLIENTS)} failed, the slowest took {slowest:.1f} s"


def node_dead(fleet):
    """a node answers nothing: no client's login fails, before the checks have noticed"""
    make_maildrop(fleet, "u18", 1)
    fleet.node(2).cut("front")
    try:
        slowest = logins_from_all(fleet, "u18", 12)
    finally:
        fleet.node(2).cut("front", False)
    until(lambda: fleet.states()["node2"] == "UP", 30, "node2 is UP again")
    return f"0 of {len(CLIENTS)} failed, the slowest took {slowest:.1f} s"


def file_system_gone(fleet):
    """a node has lost its mount: taken out within 20 s, the others stay; back when it is mounted again"""
    node = fleet.node(2)
    node.unmount()
    try:
        seconds = until(lambda: fleet.states()["node2"].startswith("DOWN"), 20, "node2 is taken out")
        must(all(fleet.states()[f"node{number}"] == "UP" for number in (1, 3)), f"{fleet.states()}")
    finally:
        node.mount()
    until(lambda: fleet.states()["node2"] == "UP", 30, "node2 is UP again")
    return f"out after {seconds:.1f} s, the others stayed UP"


def storage_of_one_lost(fleet):
    """one node loses its storage: the others stay UP, and go on after the file system's time-out"""
    make_maildrop(fleet, "u19", 1)
    fleet.node(3).cut("store")
    worst, began, down = 0, time.monotonic(), set()
    try:
        while time.monotonic() - began < 20:
            result, took = attempt("u19", 1)
            must(result == "ok" or took > 1, f"node 1: {result}")
            worst = max(worst, took)
            down |= {name for name, state in fleet.states().items() if state.startswith("DOWN")}
    finally:
        fleet.node(3).cut("store", False)
    until(lambda: fleet.states()["node3"] == "UP", 60, "node3 is UP again")
    must("node1" not in down and "node2" not in down, f"the balancer took out {down}")
    return f"out: {', '.join(sorted(down)) or 'none'}; the longest login elsewhere {worst:.1f} s"


def server_restarted(fleet):
    """the server of the file system is away for some seconds: sessions wait, nothing is lost, locks end"""
    make_maildrop(fleet, "u20", 5)
    make_maildrop(fleet, "u21", 1)
    before = look("u20", 2)
    holder = log_in("u20", 1)
    holder.dele(1)
    fleet.storage.end()
    time.sleep(3)
    fleet.storage.begin()
    seconds = until(lambda: attempt("u21", 3)[0] == "ok", 60, "another user's login")
    must(content(holder, 2) == before[1][before[0][1]], "a message is not what it was")
    said = quit_and_judge(holder, fleet, "u20", 5)
    free_after("u20", 3)
    return f"logins again after {seconds:.1f} s; {said}"


def check_of_caches(fleet):
    """pop3d -c has nothing to say of caches where all is mounted as nodes.md has it, and names those that hide mail"""
    make_maildrop(fleet, "u22", 1)
    node, other = fleet.node(2), "/srv/other"
    node.run(f"mkdir -p {other}")
    rows = lambda place: [row for row in node.run(f"{TREE}/pop3d -m {place}/%u/Maildir -c u22; true").splitlines()
                          if "\tmaildrop\t" in row]
    said = rows(MAIL)
    must(any("pop3d.lock is locked" in row for row in said), f"no word of the lock: {said}")
    must(not any("may stay unseen" in row for row in said), f"it warns: {said}")
    fleet.storage.mount_hiding(node, other)
    try:
        warned = [row for row in rows(other) if "may stay unseen" in row]
    finally:
        node.try_to(f"umount {other}")
    must(warned, "it does not warn")
    return warned[0].replace("\t", " ")[:100]


ANYWHERE = [one_session_a_user, holder_killed, killed_in_retr, killed_before_quit, killed_in_update, seen_at_once,
            by_turns_and_at_once, ids_of_dovecot, drained, node_refuses, node_dead, file_system_gone,
            storage_of_one_lost, storage_cut, check_of_caches]
ALL = {
    "GlusterFS": [*ANYWHERE, clock_behind, old_and_new, renamed_elsewhere, brick_killed, two_copies_gone,
                  mount_killed],
    "NFS": [*ANYWHERE, server_restarted],
}
