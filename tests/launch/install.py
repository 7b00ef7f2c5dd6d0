#!/usr/bin/python3
"""
install.py - make install and uninstall: what goes where, and what they leave alone.

Runs in:   namespaces of its own as root; make runs as an ordinary user too.
May touch: see common.py; a copy of the tree.
"""
import glob
import os
import re
import shutil
import subprocess

import common
from common import ROOM, TREE, check

CONFIGURATION = ("etc/xinetd.d/pop3", "etc/pam.d/pop3")


def make(*arguments, user=None, tree=TREE):
    as_user = {} if user is None else {"user": user, "group": user, "extra_groups": []}
    return common.run("make", "-s", "-C", tree, *arguments, **as_user)


def files(root):
    return sorted(os.path.relpath(f"{folder}/{name}", root)
                  for folder, _, names in os.walk(root) for name in names)


def fresh(name):
    root = f"{ROOM}/{name}"
    shutil.rmtree(root, ignore_errors=True)
    os.mkdir(root)
    return root


def test_everything_shipped_is_installed(world):
    root = fresh("all")
    make("install", f"DESTDIR={root}")
    found = files(root)
    for path in glob.glob(f"{TREE}/xinetd.d/*"):
        if not re.search(r"\.[ch]$", path):
            check(f"usr/local/share/doc/pop3d/{os.path.basename(path)}" in found,
                  f"{path} is not installed")
    for path in CONFIGURATION + ("usr/local/sbin/pop3d", "usr/local/sbin/pop3d-check", "usr/local/share/man/man8/pop3d.8",
                                 "usr/local/share/doc/pop3d/README.md"):
        check(path in found, f"{path} is not installed")
    check(not [path for path in found if path.endswith((".c", ".h", ".new"))], "too much")
    said = common.run(f"{root}/usr/local/sbin/pop3d", "-V")
    check(re.fullmatch(r"pop3d \d+\.\d+\n", said), f"-V says {said!r}")
    said = subprocess.run([f"{root}/usr/local/sbin/pop3d", "-c"], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, text=True).stdout
    check("port" in said and "session" in said, f"-c says {said!r}")


def test_other_places_and_a_packager_s_build(world):
    """As an ordinary user, from clean sources, with the places of a distribution."""
    uid = common.ACCOUNTS["bob"]
    tree = f"{ROOM}/tree"
    listed = common.run("git", "-c", f"safe.directory={TREE}", "-C", TREE, "ls-files").split("\n")
    for path in filter(None, listed):
        if os.path.exists(f"{TREE}/{path}") and not path.startswith("tests/"):
            os.makedirs(os.path.dirname(f"{tree}/{path}"), exist_ok=True)
            shutil.copy(f"{TREE}/{path}", f"{tree}/{path}")
    root = fresh("package")
    for folder, names, paths in list(os.walk(tree)) + [(root, [], [])]:
        for path in [folder] + [f"{folder}/{name}" for name in paths]:
            os.chown(path, uid, uid)
    make("CFLAGS=-O1", user=uid, tree=tree)
    make("install", f"DESTDIR={root}", "PREFIX=/usr", "SYSCONFDIR=/etc", user=uid, tree=tree)
    found = files(root)
    check("usr/sbin/pop3d" in found and "usr/share/man/man8/pop3d.8" in found, f"{found}")
    check(not [path for path in found if "local" in path], "something is under /usr/local")
    for path in found:
        if not path.startswith("usr/sbin/"):
            text = common.read_text(f"{root}/{path}")
            check("/usr/local/sbin" not in text or path.endswith(("README.md",)),
                  f"{path} names /usr/local/sbin")
    check("server          = /usr/sbin/pop3d" in common.read_text(f"{root}/etc/xinetd.d/pop3"),
          "the xinetd entry names another program")
    for program in ("pop3d", "pop3d-check"):
        mode = os.stat(f"{root}/usr/sbin/{program}").st_mode & 0o7777
        check(mode == 0o755, f"{program} has mode {mode:o}")


def test_modes_do_not_depend_on_the_umask(world):
    root = fresh("umask")
    common.run("/bin/sh", "-ec", f"umask 077; make -s -C {TREE} install DESTDIR={root}")
    for folder, names, paths in os.walk(root):
        for name in names:
            mode = os.stat(f"{folder}/{name}").st_mode & 0o7777
            check(mode == 0o755, f"{folder}/{name} has mode {mode:o}")
        for name in paths:
            mode = os.stat(f"{folder}/{name}").st_mode & 0o7777
            check(mode == (0o755 if name.startswith("pop3d") and "sbin" in folder else 0o644),
                  f"{folder}/{name} has mode {mode:o}")


def test_a_changed_configuration_is_kept(world):
    root = fresh("kept")
    make("install", f"DESTDIR={root}")
    shipped = {path: common.read_text(f"{root}/{path}") for path in CONFIGURATION}
    said = make("install", f"DESTDIR={root}")
    check("kept" not in said, f"unchanged files are spoken of: {said}")
    for path in CONFIGURATION:
        common.write(f"{root}/{path}", "# mine\n")
    said = make("install", f"DESTDIR={root}")
    for path in CONFIGURATION:
        check(common.read_text(f"{root}/{path}") == "# mine\n", f"{path} is overwritten")
        check(common.read_text(f"{root}/{path}.new") == shipped[path], f"no {path}.new")
        check(f"kept {root}/{path} as it is; the new one is {root}/{path}.new" in said, said)


def test_uninstall_leaves_what_was_changed_and_nothing_else(world):
    root = fresh("gone")
    make("install", f"DESTDIR={root}")
    common.write(f"{root}/etc/pam.d/other", "# of somebody else\n")
    make("uninstall", f"DESTDIR={root}")
    check(files(root) == ["etc/pam.d/other"], f"left: {files(root)}")
    make("install", f"DESTDIR={root}")
    common.write(f"{root}/etc/pam.d/pop3", "# mine\n")
    make("install", f"DESTDIR={root}")
    said = make("uninstall", f"DESTDIR={root}")
    check(files(root) == ["etc/pam.d/other", "etc/pam.d/pop3"], f"left: {files(root)}")
    check(f"left {root}/etc/pam.d/pop3" in said, said)


if __name__ == "__main__":
    common.main()
