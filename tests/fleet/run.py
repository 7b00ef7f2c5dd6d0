#!/usr/bin/python3
"""
run.py - a fleet of three nodes behind HAProxy, over GlusterFS or NFS, and what may happen to it.

    python3 tests/fleet/run.py              all scenarios over both, with a table of what was seen
    python3 tests/fleet/run.py WORD ...     those whose names have one of the words
    python3 tests/fleet/run.py --storage NFS        over NFS alone (or GlusterFS)
    python3 tests/fleet/run.py --list       their names, and what each must show
    python3 tests/fleet/run.py --costs      what a session costs over GlusterFS, in place of the scenarios
    python3 tests/fleet/run.py --keep       leaves a shell in the fleet at the end

Needs root, /dev/fuse and Debian's packages glusterfs-server, glusterfs-client, haproxy, xinetd,
socat, openssl, iproute2 and libfaketime. NFS runs by the kernel of user-mode-linux, and needs that package,
nfs-kernel-server, nfs-common, iputils-ping and kmod, but neither FUSE nor GlusterFS. Some five minutes each.

Runs in:   make fleet, as root.
May touch: build/fleet; all else that it changes is in namespaces of its own, which end with it.
"""
import argparse
import os
import shutil
import subprocess
import sys
import time
import traceback

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import costs
import place
import scenarios
import storage

NEEDED = ["haproxy", "xinetd", "socat", "openssl", "ip", "nsenter"]
NEEDED_BY = {
    storage.GlusterFS: ["glusterd", "glusterfs", "gluster"],
    storage.NFS: ["linux.uml", "depmod", "rpc.nfsd", "rpc.mountd", "exportfs", "mount.nfs", "mkfs.ext4",
                  "ping"],
}
KINDS = {kind.name: kind for kind in NEEDED_BY}
UML = f"{place.HERE}/uml.sh"
INSIDE_UML = "POP3D_FLEET_UML"                  # uml.sh sets it
BEGIN, END = "FLEET-BEGIN", "FLEET-END"         # uml.sh prints them


def lacking(kind):
    """What keeps this machine from a fleet, or None."""
    if os.geteuid() != 0:
        return "needs root"
    if kind is storage.GlusterFS and not os.path.exists("/dev/fuse"):
        return "there is no /dev/fuse"
    missing = [name for name in NEEDED + NEEDED_BY[kind] if shutil.which(name) is None]
    return f"needs {', '.join(missing)}" if missing else None


def try_one(fleet, scenario):
    """ok, not ok or skipped, and what was seen."""
    try:
        return "ok", scenario(fleet)
    except scenarios.Skipped as error:
        return "skipped", str(error)
    except scenarios.Wrong as error:
        return "not ok", str(error)
    except Exception:
        return "not ok", traceback.format_exc().strip().replace("\n", " | ")[-400:]


def in_uml(words):
    """The same over NFS, for which it takes a kernel that has it: that of user-mode-linux, as a process."""
    os.makedirs(place.FLEET, exist_ok=True)             # where a file system of its own is mounted
    command = ["linux.uml", "mem=1500M", "rootfstype=hostfs", "rootflags=/", "ro", f"init={UML}", "con=null",
               "con0=null,fd:1", "ssl=null", "quiet", *words]
    kernel = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                              text=True, errors="replace")
    is_inside, status = False, 1
    for line in kernel.stdout:
        line = line.rstrip("\r\n")
        if line.startswith(END):
            is_inside, status = False, int(line.split()[1])
            kernel.terminate()
        elif is_inside:
            print(line, flush=True)
        is_inside |= line == BEGIN
    kernel.wait()
    shutil.rmtree(place.FLEET, ignore_errors=True)
    return status


def count(counts):
    print("{} passed, {} failed, {} skipped".format(*counts), flush=True)
    return int(counts[1] > 0 or not any(counts))


def over_both(words):
    """One after the other, each in a process of its own, and the sum of them."""
    total = [0, 0, 0]
    for kind in KINDS.values():
        done = subprocess.Popen([sys.executable, "-B", __file__, "--storage", kind.name, *words],
                                stdout=subprocess.PIPE, text=True)
        last = ""
        for line in done.stdout:
            print(last, end="", flush=True)
            last = line
        counts = [int(word) for word in last.split() if word.isdigit()]
        done.wait()
        total = [sum(pair) for pair in zip(total, counts if len(counts) == 3 else [0, 1, 0])]
    return count(total)


def try_all(fleet, wanted):
    counts = {"ok": 0, "not ok": 0, "skipped": 0}
    for scenario in wanted:
        began = time.monotonic()
        verdict, seen = try_one(fleet, scenario)
        counts[verdict] += 1
        print(f"{verdict:7} {scenario.__name__:22} {scenario.__doc__}\n"
              f"        {seen} ({time.monotonic() - began:.0f} s)", flush=True)
    return count(list(counts.values()))


def run_fleet(kind, arguments, wanted):
    """Brings it up, tries it, and takes it down."""
    place.enter()
    print(f"# a fleet comes up over {kind.name}", flush=True)
    began = time.monotonic()
    fleet = place.Fleet(kind())
    print(f"# it is up after {time.monotonic() - began:.0f} s", flush=True)
    try:
        if arguments.costs:
            print(costs.table(fleet))
            return 0
        status = try_all(fleet, wanted)
        if INSIDE_UML in os.environ:
            # the kernel is ended now: to stop it all would wait minutes for file systems whose server is gone
            print(f"{END} {status}", flush=True)
        if arguments.keep:
            subprocess.run(["bash"])
        return status
    finally:
        fleet.stop()
        shutil.rmtree(place.FLEET, ignore_errors=True)


def parse():
    parser = argparse.ArgumentParser()
    parser.add_argument("words", nargs="*")
    parser.add_argument("--storage", choices=KINDS)
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--costs", action="store_true")
    parser.add_argument("--keep", action="store_true")
    return parser.parse_args()


def main():
    arguments = parse()
    words = arguments.words
    if INSIDE_UML in os.environ:
        arguments.storage = "NFS"
    elif arguments.costs or arguments.keep and not arguments.storage:
        arguments.storage = "GlusterFS"
    elif not arguments.storage and not arguments.list:
        return over_both(words)
    kind = KINDS[arguments.storage or "GlusterFS"]
    wanted = [one for one in scenarios.ALL[kind.name] if not words or any(word in one.__name__ for word in words)]
    if arguments.list:
        for scenario in wanted if arguments.storage else {one: 0 for ones in scenarios.ALL.values() for one in ones}:
            print(f"{scenario.__name__:22} {scenario.__doc__}")
        return 0
    problem = lacking(kind)
    if problem:
        print(f"no fleet over {kind.name}: {problem}")
        is_needed = problem.startswith("needs ") and problem != "needs root" and "CI" in os.environ
        return count([0, 1, 0] if is_needed else [0, 0, len(wanted)])
    if kind is storage.NFS and INSIDE_UML not in os.environ:
        return in_uml(words)
    return run_fleet(kind, arguments, wanted)


if __name__ == "__main__":
    sys.exit(main())
