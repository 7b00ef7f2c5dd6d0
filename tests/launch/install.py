#!/usr/bin/python3
"""
install.py - make install and uninstall: what goes where, and what they leave alone.

Runs in:   namespaces of its own as root; make runs as an ordinary user too.
May touch: see common.py; a copy of the tree.
"""
import fnmatch
import glob
import os
import re
import shutil
import subprocess

import common
import launchers
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


def test_each_shipped_file_is_tried(world):
    """A launch test names it, or the README's commands, which systemd.py types, or make install puts it in its place."""
    text = "".join(common.read_text(path) for path in glob.glob(f"{TREE}/tests/launch/*.py"))
    commands = re.findall(r"/usr/local/share/doc/pop3d/(\S+)", common.read_text(f"{TREE}/README.md"))
    for path in glob.glob(f"{TREE}/xinetd.d/*"):
        name = os.path.basename(path)
        check(re.search(r"\.[ch]$", name) or f'"{name}"' in text or f"/{name}" in text or name == "pop3.pam" or
              any(fnmatch.fnmatch(name, pattern) for pattern in commands), f"no test tries {name}")


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
    check(not os.path.exists(f"{root}/usr/local/share/doc/pop3d"), "an empty folder is left")
    check(files(root) == ["etc/pam.d/other"], f"left: {files(root)}")
    make("install", f"DESTDIR={root}")
    common.write(f"{root}/etc/pam.d/pop3", "# mine\n")
    make("install", f"DESTDIR={root}")
    said = make("uninstall", f"DESTDIR={root}")
    check(files(root) == ["etc/pam.d/other", "etc/pam.d/pop3"], f"left: {files(root)}")
    check(f"left {root}/etc/pam.d/pop3" in said, said)


def test_uninstall_in_a_folder_of_many(world):
    """Where DOCDIR is a folder that others use, and where somebody put a file of his into ours."""
    root = fresh("shared")
    others = ["usr/local/share/doc/another/README", "usr/local/share/doc/README", "usr/local/share/doc/pop3d.txt"]
    for path in others:
        common.write(f"{root}/{path}", "of somebody else\n")
    make("install", f"DESTDIR={root}", "DOCDIR=/usr/local/share/doc")
    make("uninstall", f"DESTDIR={root}", "DOCDIR=/usr/local/share/doc")
    check(files(root) == sorted(others), f"left: {files(root)}")
    make("install", f"DESTDIR={root}")
    common.write(f"{root}/usr/local/share/doc/pop3d/notes", "mine\n")
    make("uninstall", f"DESTDIR={root}")
    check(files(root) == sorted(others + ["usr/local/share/doc/pop3d/notes"]), f"left: {files(root)}")


def account():
    """The line of the account in /etc/passwd, cut, or None."""
    return next((line.rstrip("\n").split(":") for line in open("/etc/passwd") if line.startswith("pop3d:")), None)


def test_an_account_of_its_own(world):
    """It is made once, as a system account that nobody can log in to, and strangers are listened to under it."""
    common.need("useradd")
    for table in ("passwd", "shadow", "group", "gshadow"):
        path = f"/etc/{table}"
        if os.path.exists(path):
            kept = [line for line in open(path) if not line.startswith("pop3d:")]
            common.write(path, "".join(kept))
    said = make("install", f"DESTDIR={fresh('account')}")
    check("no account is made" in said and account() is None, f"with DESTDIR: {said}, {account()}")
    make("install")
    name, _, uid, gid, _, home, shell = account()
    check(100 <= int(uid) < 1000 and int(gid) > 0, f"its numbers are {uid} and {gid}")
    check(home == "/nonexistent" and shell.endswith(("nologin", "false")), f"home {home}, shell {shell}")
    shadow = next(line.split(":")[1] for line in open("/etc/shadow") if line.startswith("pop3d:"))
    check(shadow.startswith(("!", "*")), "it has a password")
    said = make("install")
    check("account" not in said and account()[2] == uid, f"a second time: {said}")
    launchers.start_xinetd(world, 110)
    client = common.Client("127.0.0.1", 110)
    owners = {line.split()[1] for path in glob.glob("/proc/[0-9]*/status") for line in open(path)
              if line.startswith("Uid:") and "pop3d" in common.read_text(path.replace("status", "comm"))}
    check(uid in owners, f"pop3d's processes belong to {owners}, not {uid}")
    client.ask("QUIT", "+OK")
    check("userdel pop3d" in make("uninstall") and account() is not None, "uninstall removed the account, or is silent")


def test_no_account_can_be_made(world):
    """Then a word says so, and all else is installed."""
    kept = [line for line in open("/etc/passwd") if not line.startswith("pop3d:")]
    common.write("/etc/passwd", "".join(kept))
    tools = f"{ROOM}/tools"
    common.write(f"{tools}/useradd", "#!/bin/sh\nexit 1\n")
    os.chmod(f"{tools}/useradd", 0o755)
    said = common.run("make", "-s", "-C", TREE, "install", env={**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"})
    check("pop3d could not be made" in said and account() is None, f"said: {said}")
    check(os.path.exists("/usr/local/sbin/pop3d"), "nothing is installed")


if __name__ == "__main__":
    common.main()
