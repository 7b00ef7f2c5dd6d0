#!/usr/bin/python3
"""
run.py - a fleet of three nodes behind HAProxy, over GlusterFS or NFS, and what may happen to it.

    python3 tests/fleet/run.py              all scenarios over GlusterFS, with a table of what was seen
    python3 tests/fleet/run.py --nfs        all over NFS, by the kernel of user-mode-linux
    python3 tests/fleet/run.py WORD ...     those whose names have one of the words
    python3 tests/fleet/run.py --list       their names, and what each must show
    python3 tests/fleet/run.py --costs      what a session costs, in place of the scenarios
    python3 tests/fleet/run.py --keep       leaves a shell in the fleet at the end

Needs root, /dev/fuse and Debian's packages glusterfs-server, glusterfs-client, haproxy, xinetd,
socat, openssl, iproute2 and libfaketime. For NFS: user-mode-linux, nfs-kernel-server, nfs-common, kmod,
and neither GlusterFS nor libfaketime. Some five minutes each.

Runs in:   make fleet, as root.
May touch: build/fleet; all else that it changes is in namespaces of its own, which end with it.
"""
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
    storage.NFS: ["linux.uml", "depmod", "rpc.nfsd", "rpc.mountd", "exportfs", "mount.nfs", "mkfs.ext4"],
}
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
        elif is_inside:
            print(line, flush=True)
        is_inside |= line == BEGIN
    kernel.wait()
    shutil.rmtree(place.FLEET, ignore_errors=True)
    return status


def main():
    words = [word for word in sys.argv[1:] if not word.startswith("-")]
    kind = storage.NFS if "--nfs" in sys.argv or INSIDE_UML in os.environ else storage.GlusterFS
    wanted = [one for one in scenarios.ALL[kind.name] if not words or any(word in one.__name__ for word in words)]
    if "--list" in sys.argv:
        for scenario in wanted:
            print(f"{scenario.__name__:22} {scenario.__doc__}")
        return 0
    problem = lacking(kind)
    if problem:
        print(f"no fleet: {problem}")
        needs_tool = problem.startswith("needs ") and problem != "needs root" and "CI" in os.environ
        print(f"0 passed, {int(needs_tool)} failed, {0 if needs_tool else len(wanted)} skipped")
        return int(needs_tool)
    if kind is storage.NFS and INSIDE_UML not in os.environ:
        return in_uml(words)
    place.enter()
    print("# a fleet comes up", flush=True)
    began = time.monotonic()
    fleet = place.Fleet(kind())
    print(f"# it is up after {time.monotonic() - began:.0f} s", flush=True)
    counts = {"ok": 0, "not ok": 0, "skipped": 0}
    try:
        if "--costs" in sys.argv:
            print(costs.table(fleet))
            wanted = []
        for scenario in wanted:
            began = time.monotonic()
            verdict, seen = try_one(fleet, scenario)
            counts[verdict] += 1
            print(f"{verdict:7} {scenario.__name__:22} {scenario.__doc__}\n"
                  f"        {seen} ({time.monotonic() - began:.0f} s)", flush=True)
        if "--keep" in sys.argv:
            subprocess.run(["bash"])
    finally:
        fleet.stop()
        shutil.rmtree(place.FLEET, ignore_errors=True)
    print(f"{counts['ok']} passed, {counts['not ok']} failed, {counts['skipped']} skipped")
    return int(counts["not ok"] > 0)


if __name__ == "__main__":
    sys.exit(main())
