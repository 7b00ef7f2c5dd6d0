#!/usr/bin/python3
"""
run.py - pop3d beside its peers, and beside the floor of what is unavoidable.

    python3 tests/bench/run.py                  everything, with the peers that were fetched
    python3 tests/bench/run.py --peers          fetches the peers first if they are missing
    python3 tests/bench/run.py --no-peers       pop3d and the floors alone
    python3 tests/bench/run.py --quick          fewer turns, and no peers unless --peers
    python3 tests/bench/run.py --row NAME ...   only these rows (--list tells them)
    python3 tests/bench/run.py --urgent         everything else on the machine has to wait
    python3 tests/bench/run.py --shell          a shell where the servers live, to look around

Writes build/bench/table.md, cost.svg, poll.svg and figures.json. POP3D names the binary, ./pop3d if it
is not set. Needs root: servers log users in. All of it happens in namespaces and a root of its
own, so that the machine is left as it was; nothing it starts outlives it.

Runs in:   the benchmark.
May touch: build/bench, and build/peers through peers.sh.
"""
import argparse
import json
import os
import platform
import subprocess
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(1, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import idle
import picture
import place
import rows
import servers
import tls
from harness.progress import Progress

SECONDS_EACH = 5        # a peer's share of a row
CURVE = [10, 100, 1000, 10000, 100000]
KIB = 1024


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--peers", action="store_true")
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--row", nargs="+", default=[])
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--urgent", action="store_true")
    parser.add_argument("--shell", nargs="?", const="/bin/bash")
    return parser.parse_args()


# The floors that load shared objects, as pop3d does. The others are static, and start faster.
LINKS = {"floor_pam.c": ["-lpam"], "floor_forked.c": ["-Wl,-z,now"]}


def compile_floor(name, target, link):
    """The archive has pop3d's fences, for a floor that is to stand inside."""
    subprocess.run([os.environ.get("CC", "gcc"), "-std=c11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra",
                    "-o", target, f"{place.HERE}/{name}", f"{place.TREE}/build/product.a", *link], check=True)


def build():
    """The client and the floors, when their sources are newer."""
    os.makedirs(place.BIN, exist_ok=True)
    subprocess.run(["make", "-s", "-C", place.TREE, "build/product.a"], check=True)
    names = [name for name in os.listdir(place.HERE) if name.endswith((".c", ".h"))]
    newest = max(os.stat(f"{place.HERE}/{name}").st_mtime for name in names)
    for name in sorted(names):
        target = f"{place.BIN}/{name[:-2]}"
        if name.endswith(".h") or (os.path.exists(target) and os.stat(target).st_mtime >= newest):
            continue
        compile_floor(name, target, LINKS.get(name, ["-static"]))


def machine():
    model = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")),
                 platform.machine())
    memory = next(int(line.split()[1]) for line in open("/proc/meminfo") if line.startswith("MemTotal"))
    system = next((line.split("=")[1].strip().strip('"') for line in open("/etc/os-release")
                   if line.startswith("PRETTY_NAME")), "Linux")
    mounted = subprocess.run(["findmnt", "-n", "-o", "FSTYPE", "-T", place.TREE], capture_output=True, text=True)
    return f"{model}, {os.cpu_count()} cores, {memory / KIB / KIB:.0f} GiB, {system}, " \
           f"Linux {platform.release().split('-')[0]}, {mounted.stdout.strip() or 'unknown file system'}"


def become_urgent():
    """On a machine that others use too, their share would be in the figures."""
    if os.path.exists("/proc/self/autogroup"):
        os.setsid()
        with open("/proc/self/autogroup", "w") as file:
            file.write("-20")
    os.nice(-20)


# Judgement

def reached(value, target):
    return "–" if target is None else "n/a" if value is None else "yes" if value <= target else "**no**"


def ahead(cells):
    """Who is as good as pop3d or better, of those whose answer was right."""
    ours = cells.get("pop3d")
    if ours is None or ours.seconds is None:
        return "n/a"
    better = [name for name, cell in cells.items() if name != "pop3d" and cell.ratio is not None and
              not cell.remark and cell.ratio <= ours.ratio and cell.seconds <= ours.seconds * 1.5]
    return "all" if not better else "all but " + ", ".join(better)


class Table:
    def __init__(self, names, progress):
        self.names, self.progress = names, progress
        self.say = progress.say
        self.lines, self.notes, self.figures = [], [], {}

    def head(self):
        columns = ["workload", "floor", *self.names, "target", "reached", "ahead of"]
        return ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]

    def add_row(self, row, cells, floors, seconds):
        ours = cells.get("pop3d")
        floor = row.floor
        kinds = [f"{milliseconds(one)}{'' if kind == 'socketpair' else ' ' + kind}" for kind, one in floors]
        if not row.has_own_floor:
            floor += f" ({', '.join(kinds)})"
        texts = [cells[name].text if name in cells else "–" for name in self.names]
        peers = len(cells) > 1
        self.add([row.title, floor, *texts, f"≤ {row.target}" if row.target else "–",
                  reached(ours.ratio if ours else None, row.target), ahead(cells) if peers else "–"])
        for name, cell in cells.items():
            if cell.failure:
                self.notes.append(f"{row.name}: {name} fails: {cell.failure}")
        self.figures[row.name] = {
            "target": row.target, "took": seconds, "floor": {kind: one for kind, one in floors},
            "cells": {name: {"ratio": cell.ratio, "seconds": cell.seconds, "remark": cell.remark,
                             "failure": cell.failure, "processor": cell.processor,
                             "samples": cell.samples}
                      for name, cell in cells.items()}}

    def add(self, columns):
        self.lines.append("| " + " | ".join(columns) + " |")
        self.say("    " + " | ".join(columns))

    def add_memory(self, title, figures, key, target, form):
        values = {name: one.get(key) for name, one in figures.items()}
        texts = [form.format(values[name]) if values.get(name) is not None else "–" for name in self.names]
        ours = values.get("pop3d")
        better = [name for name, value in values.items()
                  if name != "pop3d" and None not in (value, ours) and value <= ours]
        verdict = "–" if len(values) < 2 or ours is None else \
            "all but " + ", ".join(better) if better else "all"
        self.add([title, "–", *texts, "–" if target is None else f"≤ {target}", reached(ours, target), verdict])
        self.figures[key] = {"target": target, "values": values}

    def add_roads(self, title, key, figures):
        """Processor time by road; what counts is the ratio to dovecot with processes kept ready."""
        ours, best = figures[tls.OURS], figures.get("dovecot ready")
        texts = [milliseconds(figures.get(tls.OURS if name == "pop3d" else name)) for name in self.names]
        texts[0] += f" by HAProxy, {milliseconds(figures[tls.STUNNEL])} by stunnel"
        behind = [name for name in self.names if name in figures and figures[name] <= ours]
        floor = f"{tls.FLOOR}: {milliseconds(figures[tls.FLOOR])}" if tls.FLOOR in figures else "–"
        self.add([title, floor, *texts, "≤ 1.2 of dovecot ready", reached(ours / best if best else None, 1.2),
                  "–" if best is None else "all but " + ", ".join(behind) if behind else "all"])
        self.figures[key] = figures


def milliseconds(seconds):
    return "–" if seconds is None else rows.milliseconds(seconds)


def chosen_rows(names):
    return [row for row in rows.ROWS if not names or row.name in names]


def do_rows(table, bench, names):
    for row in chosen_rows(names):
        table.progress.begin("rows")
        table.say(f"{row.name}: {row.title}")
        began = time.monotonic()
        cells, floors = rows.run_row(row, bench, SECONDS_EACH if not bench.is_quick else 2)
        medians = [(kind, floor.median) for kind, floor in floors.items() if floor.seconds]
        table.add_row(row, cells, medians, time.monotonic() - began)
        table.progress.add("rows", failed=any(cell.failure for cell in cells.values()))


def do_memory(table, bench):
    rows.row_big("base64")(bench)
    figures = {server.name: rows.measure_memory(bench, server) for server in bench.servers
               if server.name != "dovecot ready"}
    table.add_memory("memory after login, 10 messages, KiB PSS", figures, "login", 320, "{:.0f}")
    table.add_memory("each further message, octets, after STAT", figures, "message-stat", None, "{:.0f}")
    table.add_memory("each further message (name of 48), octets, after LIST and UIDL", figures, "message", 80, "{:.1f}")
    table.add_memory("memory while sending 200 MB, KiB PSS", figures, "sending", None, "{:.0f}")
    table.add_memory("… its growth over 100 MB of it, KiB", figures, "growth", 0, "{:+.0f}")


def do_calls(table, bench):
    """A daemon cannot be watched this way, nor a server that needs 44 ms for each."""
    if not os.access("/usr/bin/strace", os.X_OK):
        table.say("system calls are not counted: there is no strace")
        return
    watched = [server for server in bench.servers if not server.port and not server.needs_tcp]
    for title, key, script in (("system calls a message, one at a time", "calls-lockstep", "each RETR 1 {}"),
                               ("… pipelined", "calls-pipelined", "batch RETR 1 {}")):
        figures = {server.name: {key: rows.system_calls(bench, server, script)} for server in watched}
        table.add_memory(title, figures, key, None, "{:.1f}")


def do_size(table, bench):
    binaries = {server.name: [server.binary] for server in bench.servers if server.name != "dovecot ready"}
    if "dovecot" in binaries:
        binaries["dovecot"] = [f"/usr/lib/dovecot/{name}" for name in ("pop3", "pop3-login", "auth")]
    if "courier" in binaries:
        binaries["courier"].append("/usr/lib/courier/courier/courierpop3d")
    sizes = {name: {"size": sum(map(rows.stripped_size, paths)) / KIB,
                    "libraries": len(set(sum(map(rows.libraries, paths), [])))}
             for name, paths in binaries.items()}
    table.add_memory("binary, stripped, KiB", sizes, "size", 64, "{:.1f}")
    table.add_memory("libraries it is linked with", sizes, "libraries", 2, "{}")
    table.figures["pop3d libraries"] = rows.libraries(bench.pop3d.binary)


def do_curve(table, bench):
    curve = rows.measure_curve(bench, CURVE, 3 if bench.is_quick else 7)
    table.figures["curve"] = curve


def do_tls(table, bench):
    """Processor time of the server's side, by road; pop3d's column is the road through HAProxy."""
    for key, title, messages in (("poll-tls", "a whole poll over TLS (10 messages, pam_permit)", 0),
                                 ("fetch-tls", "… with 100 messages of 4 KB fetched", 100)):
        user = bench.drop(messages or 10)
        bench.warm(user)
        figures = tls.measure(bench, user, messages, 20 if bench.is_quick else 60, 3 if bench.is_quick else 7)
        table.add_roads(title, key, figures)


def do_idle(table, bench):
    count = 200 if bench.is_quick else idle.MOST
    figures = {server.name: {"idle": idle.measure(server, count)} for server in bench.servers
               if server.files != "mbox" and not server.needs_tcp}
    table.add_memory(f"memory of {count:,} idle sessions, MiB PSS", figures, "idle", None, "{:.0f}")


def write_results(table, missing, description, is_quick):
    text = [f"# pop3d beside its peers ({time.strftime('%Y-%m-%d')}{', quick' if is_quick else ''})", "",
            description, "",
            "Ratio to the floor measured in the same run, medians of interleaved runs, absolute time in brackets. "
            "pop3d, courier, popa3d and mailutils are spawned on a socketpair, solid-pop3d on loopback TCP, "
            "dovecot is a running daemon reached over TCP; each has its floor over the same kind of connection. "
            "popa3d serves the same messages from an mbox. `dovecot ready` keeps processes waiting. A floor marked "
            "fenced does the same inside pop3d's Landlock and seccomp, one marked forked with a shared C library and "
            "in two processes; the ratios are to the one without.", "",
            *table.head(), *table.lines, ""]
    if missing:
        text += [f"Not at hand, therefore not compared: {', '.join(missing)}.", ""]
    if table.notes:
        text += [f"* {note}" for note in table.notes] + [""]
    with open(f"{place.OUT}/table.md", "w") as file:
        file.write("\n".join(text))
    with open(f"{place.OUT}/figures.json", "w") as file:
        json.dump(table.figures, file, indent=1)
    picture.draw_all(table.figures, place.OUT)
    if missing:
        print(f"not compared, not at hand: {', '.join(missing)}")


PARTS = {"memory": do_memory, "idle": do_idle, "tls": do_tls, "calls": do_calls, "size": do_size, "curve": do_curve}


def users():
    counts = [*CURVE, 200]
    idle_ones = [idle.user(number) for number in range(idle.MOST)]
    return [f"m{count}" for count in counts] + [f"h{rows.COUNT}", "d10000"] + \
        [f"big{shape}" for shape in place.BIG_SHAPES] + idle_ones


def main():
    wanted = arguments()
    if wanted.list:
        for row in rows.ROWS:
            print(f"{row.name:16} {row.title}")
        print("\n".join(PARTS))
        return 0
    if os.geteuid() != 0:
        print("the benchmark needs root: it logs users in", file=sys.stderr)
        return 1
    if os.environ.get("POP3D_BENCH_INSIDE") != "1":
        if wanted.peers:
            subprocess.run([f"{place.HERE}/peers.sh", os.path.dirname(place.PEERS)], check=False)
        build()
    place.enter_namespaces()
    if wanted.urgent:
        become_urgent()
    description = machine()
    place.make_root(users())
    place.start_log(f"{place.OUT}/log")
    with_peers = not wanted.no_peers and (wanted.peers or not wanted.quick)
    all_peers = servers.peers() if with_peers else []
    missing = [peer.name for peer in all_peers if not peer.is_there()]
    peers = [peer for peer in all_peers if peer.is_there()]
    for peer in peers:
        peer.start()
    if wanted.shell:
        return subprocess.run(wanted.shell, shell=True).returncode
    parts = {name: part for name, part in PARTS.items() if not wanted.row or name in wanted.row}
    count = len(chosen_rows(wanted.row))
    progress = Progress({"maildrops": 1, **({"rows": count} if count else {}), **dict.fromkeys(parts, 1)})
    progress.say(f"making maildrops of {rows.COUNT:,} messages, once")
    progress.begin("maildrops")
    place.make_pool(rows.COUNT)
    progress.add("maildrops")
    bench = rows.Bench(servers.Pop3d(), peers, wanted.quick)
    table = Table([server.name for server in bench.servers], progress)
    do_rows(table, bench, wanted.row)
    for name, part in parts.items():
        progress.begin(name)
        progress.say(name)
        part(table, bench)
        progress.add(name)
    progress.close()
    write_results(table, missing, description, wanted.quick)
    print(f"see {os.path.relpath(place.OUT, place.TREE)}/table.md, cost.svg and poll.svg")
    return 0


if __name__ == "__main__":
    sys.exit(main())
