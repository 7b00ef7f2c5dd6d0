#!/usr/bin/python3
"""
run.py - a fleet of three nodes behind HAProxy, over GlusterFS, and what may happen to it.

    python3 tests/fleet/run.py              all scenarios, with a table of what was seen
    python3 tests/fleet/run.py WORD ...     those whose names have one of the words
    python3 tests/fleet/run.py --list       their names, and what each must show
    python3 tests/fleet/run.py --costs      what a session costs, in place of the scenarios
    python3 tests/fleet/run.py --keep       leaves a shell in the fleet at the end

Needs root, /dev/fuse and Debian's packages glusterfs-server, glusterfs-client, haproxy, xinetd,
socat, openssl, iproute2 and libfaketime. Some five minutes.

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

NEEDED = ["glusterd", "glusterfs", "gluster", "haproxy", "xinetd", "socat", "openssl", "ip", "nsenter"]


def lacking():
    """What keeps this machine from a fleet, or None."""
    if os.geteuid() != 0:
        return "needs root"
    if not os.path.exists("/dev/fuse"):
        return "there is no /dev/fuse"
    missing = [name for name in NEEDED if shutil.which(name) is None]
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


def main():
    words = [word for word in sys.argv[1:] if not word.startswith("-")]
    wanted = [one for one in scenarios.ALL if not words or any(word in one.__name__ for word in words)]
    if "--list" in sys.argv:
        for scenario in wanted:
            print(f"{scenario.__name__:22} {scenario.__doc__}")
        return 0
    problem = lacking()
    if problem:
        print(f"no fleet: {problem}")
        needs_tool = problem.startswith("needs ") and problem != "needs root" and "CI" in os.environ
        print(f"0 passed, {int(needs_tool)} failed, {0 if needs_tool else len(wanted)} skipped")
        return int(needs_tool)
    place.enter()
    print("# a fleet comes up", flush=True)
    began = time.monotonic()
    fleet = place.Fleet()
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
