"""
musl.py - pop3d built for musl, and a whole session with it.

Runs in:   tests/analysis/run.py.
May touch: build/analysis/musl, a temporary folder.

Debian has no libpam for musl, so pam_stub.c stands in for it. What is tried is
all that another C library may change: which system calls the filters must let
through, how memory is had, how names of accounts are looked up.
"""
import os
import pwd
import subprocess
import tempfile

KERNEL_HEADERS = {"linux": ("/usr/include/linux",),
                  "asm-generic": ("/usr/include/asm-generic",),
                  "asm": ("/usr/include/asm", f"/usr/include/{os.uname().machine}-linux-gnu/asm"),
                  "security": ("/usr/include/security",)}


def link_headers(folder):
    os.makedirs(folder, exist_ok=True)
    for name, places in KERNEL_HEADERS.items():
        place = next((place for place in places if os.path.isdir(place)), None)
        if place is None:
            raise FileNotFoundError(f"no headers {name}")
        if not os.path.islink(f"{folder}/{name}"):
            os.symlink(place, f"{folder}/{name}")


def build(compiler, where, run, make):
    """Objects as the Makefile builds them, then the stub in place of libpam."""
    link_headers(f"{where}/include")
    problems = make(f"CC={compiler}", f"CFLAGS=-O2 -g -Werror -idirafter {where}/include",
                    "FAST=", f"BUILD={where}", f"{where}/product.a", f"{where}/pop3d.o")
    if problems:
        return problems
    flags = ["-std=c11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Werror", "-Wextra", "-Wno-unused-parameter",
             "-idirafter", f"{where}/include"]
    stub = os.path.join(os.path.dirname(os.path.abspath(__file__)), "pam_stub.c")
    for part in (["-shared", "-fPIC", "-o", f"{where}/libpam.so.0", stub],
                 ["-o", f"{where}/pop3d", f"{where}/pop3d.o", f"{where}/product.a"]):
        done = run(compiler, *flags, *part)
        if done.returncode != 0:
            return [done.stdout]
    return []


COMMANDS = ["CAPA", "USER ghost", "PASS wrong", "USER alice", "PASS secret", "STAT", "LIST",
            "UIDL", "TOP 1 0", "RETR 2", "DELE 1", "QUIT"]
REPLIES = ["+OK pop3d", "+OK Capab", "+OK Pass", "-ERR [AUTH]", "+OK Pass", "+OK User",
           "+OK 2 41", "+OK 2 messages", "+OK 2 messages", "+OK Message follows",
           "+OK", "+OK Message 1 deleted", "+OK pop3d"]


def status_lines(said):
    """The first lines of replies; what belongs to a longer one is passed over."""
    return [line for line in said.split("\r\n") if line.startswith(("+OK", "-ERR"))]


def session(binary, user, folder):
    script = "".join(f"{command}\r\n" for command in COMMANDS)
    done = subprocess.run([binary, "-e", "-m", f"{folder}/%u", "-v", user],
                          input=script.encode(), capture_output=True, timeout=30,
                          cwd="/", env={"LD_LIBRARY_PATH": os.path.dirname(binary)})
    said = done.stdout.decode("latin-1")
    problems = [f"wanted {want!r}, got {got!r}" for want, got in
                zip(REPLIES, status_lines(said) + ["nothing"] * len(REPLIES))
                if not got.startswith(want)]
    if done.returncode != 0:
        problems.append(f"status {done.returncode}")
    if "\r\nSubject: two\r\n\r\n..dot\r\n.\r\n" not in "\r\n" + said:
        problems.append("RETR 2 is not the message")
    if b"forbidden-system-call" in done.stderr:
        problems.append("a filter stopped it")
    if problems:
        problems.append(said + done.stderr.decode("latin-1"))
    return problems


def check(compiler, tree, where, run, make):
    problems = build(compiler, os.path.relpath(where, tree), run, make)
    if problems:
        return problems
    user = "nobody" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    with tempfile.TemporaryDirectory() as folder:
        for name in ("", "/new", "/cur", "/tmp"):
            os.mkdir(f"{folder}/alice{name}")
        for name, text in (("new/1.a", b"Subject: one\n\nx"), ("cur/2.b:2,S", b"Subject: two\n\n.dot\n")):
            with open(f"{folder}/alice/{name}", "wb") as file:
                file.write(text)
        if os.geteuid() == 0:
            owner = pwd.getpwnam(user)
            for at, folders, files in os.walk(folder):
                for path in [at, *(f"{at}/{name}" for name in files)]:
                    os.chown(path, owner.pw_uid, owner.pw_gid)
        problems = session(f"{where}/pop3d", user, folder)
        left = sorted(name for name in os.listdir(f"{folder}/alice/new") +
                      os.listdir(f"{folder}/alice/cur"))
        if left != ["2.b:2,S"]:
            problems.append(f"left in the Maildir: {left}")
        if not os.path.exists(f"{folder}/alice/pop3d.index"):
            problems.append("no index was written")
    return problems
