"""
directories.py - accounts of directories, and what is told when a part of the server is down.

Runs in:   the test runner, as root.
May touch: a mount namespace below the tests' own, in which single files are others.
"""
import os
import re
import subprocess

from harness.box import Box
from harness.server import Failure, says
from harness.world import HERE, require_root, require_tool

WRONG = "-ERR [AUTH] Logon failure: unknown user name or bad password."
DOWN = "-ERR [SYS/TEMP] Authentication is not available; please try later."
QUALIFIED = {"carol@example.org": 7001, "EXAMPLE\\dave": 7002, "alice@corp": 7003}

# A name service that cannot be reached, or that wants to be asked again.
NAME_SERVICE = """
#include <errno.h>
#include <nss.h>
#include <pwd.h>
enum nss_status
_nss_down_getpwnam_r(const char *name, struct passwd *entry, char *text, size_t size, int *error)
{
        *error = %s;
        return NSS_STATUS_%s;
}
"""


def over(mounts):
    """A prefix for pop3d: a mount namespace in which files lie over others."""
    lines = "; ".join(f"mount --bind {file} {place}" for place, file in mounts.items())
    return ["unshare", "-m", "/bin/sh", "-ec", f'{lines}; exec "$@"', "sh"]


def file_of(world, text):
    path = world.folder() + "/file"
    with open(path, "w") as file:
        file.write(text)
    return path


def qualified(world):
    """An /etc/passwd with accounts as sssd and winbind have them; each has a home of its own."""
    require_root()
    root = world.folder()
    os.chmod(root, 0o755)
    lines = ""
    for number, (name, uid) in enumerate(QUALIFIED.items()):
        home = f"{root}/{number}"
        for folder in (home, *(f"{home}/Maildir{part}" for part in ("", "/new", "/cur", "/tmp"))):
            os.mkdir(folder)
            os.chown(folder, uid, uid)
        with open(f"{home}/Maildir/new/1.M1P1.host", "w") as file:
            file.write(f"Subject: {number}\n\n")
        os.chown(file.name, uid, uid)
        lines += f"{name}:x:{uid}:{uid}::{home}:/bin/sh\n"
    with open("/etc/passwd") as file:
        return over({"/etc/passwd": file_of(world, file.read() + lines)})


def probe(world, name, argument):
    """A service whose only module is the probe with this argument."""
    module = f"{world.root}/probe-{name}.so"
    subprocess.run([require_tool("cc"), "-shared", "-fPIC", "-o", module, f"{HERE}/harness/pam_probe.c", "-lpam"],
                   check=True)
    return accept(world, name, f"{module} {argument}")


def accept(world, name="accepts", line="pam_permit.so"):
    world.service(name, f"auth required {line}\naccount required pam_permit.so\n")
    return ["-s", name]


def answers(world, prefix, logins, *options):
    """The answers to logins in one session, and its log."""
    box = Box(world)
    with box.session("-m", "Maildir", *options, prefix=prefix) as session:
        session.greeting()
        heard = []
        for login in logins:
            session.expect(f"USER {login}", "+OK")
            heard.append(session.command("PASS secret"))
        session.half_close()
        session.drain()
        session.wait()
        return heard, session.log()


def test_qualified_accounts(world):
    """an account whose own name holds a domain logs in by just that name, with -d and without"""
    prefix = qualified(world)
    for login, who in (("carol@example.org", "carol@example.org"), ("EXAMPLE\\dave", "dave@example")):
        for options in ((), ("-d", "example.net")):
            heard, log = answers(world, prefix, [login], *accept(world), *options)
            if not says(heard[0], "+OK") or f"LOGIN, user={who}, " not in log:
                raise Failure(f"{heard}\n{log}")


def test_qualified_accounts_as_typed(world):
    """the other notation, other capitals, or no domain are other names: like a wrong password, though PAM says yes"""
    prefix = qualified(world)
    for login in ("dave@EXAMPLE", "example\\dave", "Carol@example.org", "carol@example.net"):
        heard, log = answers(world, prefix, [login], *accept(world))
        if heard != [WRONG] or "reason=foreign-domain" not in log:
            raise Failure(f"{login}: {heard}\n{log}")


def test_qualified_accounts_by_d(world):
    """a domain that -d names is ours: its logins are accounts without a domain"""
    heard, log = answers(world, qualified(world), ["carol@example.org"], *accept(world), "-d", "example.org")
    if not says(heard[0], "+OK") or "LOGIN, user=carol, " not in log:
        raise Failure(f"{heard}\n{log}")


def test_qualified_accounts_template(world):
    """a template with neither %d nor %h would be one maildrop for two users, so it serves none of these"""
    prefix = qualified(world)
    folder = world.folder()
    os.chmod(folder, 0o777)
    for template, is_served in ((f"{folder}/%u", False), (f"{folder}/%d.%u", True), ("%h/Maildir", True)):
        heard, log = answers(world, prefix, ["alice@corp"], *accept(world), "-m", template)
        # where it is served, the folder may still be one that is not there
        if ("error=EPERM" in log) == is_served or (not is_served and not says(heard[0], "-ERR [SYS/PERM]")):
            raise Failure(f"{template}: {heard}\n{log}")


def test_qualified_name_from_pam(world):
    """PAM may hand a name back with its domain, in either notation: that account it is"""
    prefix = qualified(world)
    for number, (name, who) in enumerate((("carol@example.org", "carol@example.org"), ("EXAMPLE\\dave", "dave@example"))):
        heard, log = answers(world, prefix, ["someone"], *probe(world, f"qualify-{number}", f"[user={name}]"))
        if not says(heard[0], "+OK") or f"LOGIN, user={who}, " not in log:
            raise Failure(f"{heard}\n{log}")
    heard, log = answers(world, prefix, ["someone"], *probe(world, "qualify-three", "[user=EXAMPLE\\dave\\bob]"))
    if not says(heard[0], "-ERR [SYS/PERM]") or "PAM-changed-the-name" not in log:
        raise Failure(f"{heard}\n{log}")


def down(world, error, status):
    """A prefix and an environment in which the last part of the name service does not answer."""
    require_root()
    folder = world.folder()
    os.chmod(folder, 0o755)
    with open(f"{folder}/down.c", "w") as file:
        file.write(NAME_SERVICE % (error, status))
    subprocess.run([require_tool("cc"), "-shared", "-fPIC", "-o", f"{folder}/libnss_down.so.2",
                    f"{folder}/down.c"], check=True)
    switch = file_of(world, "passwd: files down\ngroup: files\nshadow: files\n")
    return [*over({"/etc/nsswitch.conf": switch}), "env", f"LD_LIBRARY_PATH={folder}"]


def test_name_service_is_down(world):
    """a name service that does not answer is our fault and may pass: for names known and unknown, whatever PAM says"""
    for error, status in (("ECONNREFUSED", "UNAVAIL"), ("EAGAIN", "TRYAGAIN")):
        prefix = down(world, error, status)
        for options in (accept(world), ["-s", "wrong-password"], ["-s", "user-unknown"])[:3 if status == "UNAVAIL" else 1]:
            # alice is in /etc/passwd, so she gets in where PAM accepts her
            logins = ["in-the-directory", "in@the.directory"] + ["alice"] * (options[1] != "accepts")
            heard, log = answers(world, prefix, logins, *options)
            if set(answer.replace(" Too many failed logins.", "") for answer in heard) != {DOWN}:
                raise Failure(f"{options}: {heard}\n{log}")
            if log.count("category=Configuration, reason=name-service-unavailable") != len(logins):
                raise Failure(log)


def test_maintenance(world):
    """pam_nologin closes the server: for all names [SYS/TEMP], never a bad password, and no ban follows"""
    require_root()
    nologin = file_of(world, "closed until noon\n")
    world.service("nologin-default", "auth requisite pam_nologin.so\nauth required pam_permit.so\n"
                  "account required pam_permit.so\n")
    world.service("nologin-account", "auth required pam_debug.so auth=auth_err\n"
                  "account required pam_nologin.so\n")
    world.service("nologin-elsewhere", f"auth requisite pam_nologin.so file={nologin}\n"
                  "auth required pam_permit.so\naccount required pam_permit.so\n")
    place = ["unshare", "-m", "/bin/sh", "-ec", f"mkdir {nologin}.etc; cp -a /etc/. {nologin}.etc; "
             f"cp {nologin} {nologin}.etc/nologin; mount --bind {nologin}.etc /etc; "
             "exec \"$@\"", "sh"]
    for service, prefix, logins in (("nologin-elsewhere", (), ["alice", "nobody-here"]),
                                    ("nologin-default", place, ["alice", "nobody-here", "root"]),
                                    ("nologin-account", place, ["alice", "nobody-here"])):
        heard, log = answers(world, prefix, logins, "-s", service)
        subprocess.run(["rm", "-rf", f"{nologin}.etc"], check=True)
        if set(answer.replace(" Too many failed logins.", "") for answer in heard) != {DOWN}:
            raise Failure(f"{service}: {heard}\n{log}")
        if log.count("category=Configuration, reason=closed-for-maintenance") != len(logins):
            raise Failure(log)


def test_open_again(world):
    """with pam_nologin in the stack and no file there a wrong password is a wrong password"""
    require_root()
    world.service("nologin-open", "auth requisite pam_nologin.so\nauth required pam_debug.so auth=auth_err\n"
                  "account required pam_permit.so\n")
    heard, log = answers(world, (), ["alice"], "-s", "nologin-open")
    if heard != [WRONG] or "reason=wrong-password" not in log:
        raise Failure(f"{heard}\n{log}")


def test_no_right_to_a_jail(world):
    """without CAP_SYS_CHROOT the log says what is forbidden and what to grant, not what the last attempt met"""
    require_root()
    with Box(world).session(prefix=[require_tool("setpriv"), "--bounding-set=-sys_chroot"]) as session:
        session.drain()
        session.wait()
        if not re.search(r"reason=cannot%20enter%20the%20jail%3B%20grant%20CAP_SYS_CHROOT, error=EPERM", session.log()):
            raise Failure(session.log())


def test_no_dev_null(world):
    """without /dev/null the client and the log are told, and the status is 70"""
    require_root()
    heard = len(world.syslog.lines)
    prefix = ["unshare", "-m", "/bin/sh", "-ec", "mount -t tmpfs dev /dev/shm; touch /dev/shm/log; "
              "mount --bind /dev/log /dev/shm/log; mount --rbind /dev/shm /dev; exec \"$@\"", "sh"]
    with Box(world).session(prefix=prefix) as session:
        line = session.line().decode()
        session.drain()
        status = session.wait()
    log = world.syslog.since(heard, rf"pop3d\[{session.pid}\]: FAULT", 10)
    if not says(line, "-ERR [SYS/PERM]") or "/dev/null" not in line or status != 70:
        raise Failure(f"{line}, exit status {status}")
    if not re.search(r"FAULT, category=Configuration, reason=/dev/null%20cannot%20be%20opened", log):
        raise Failure(log)


def test_capitals_from_pam(world):
    """a virtual user's name is in small letters, whatever PAM hands back"""
    box = Box(world, "erin")
    options = ("-v", world.me, "-m", box.root + "/%u/Maildir", "-d", "example.net",
               *probe(world, "capitals", "user=ERIN@Example.NET"))
    with box.session(*options) as session:
        session.greeting()
        session.expect("USER Someone@example.net", "+OK")
        if not says(session.command("PASS secret"), "+OK"):
            raise Failure(session.log())
        session.expect("STAT", "+OK 0 0")
        session.expect("QUIT", "+OK")
        session.wait()
        if "LOGIN, user=erin@example.net, " not in session.log() or "NO MAILDROP" in session.log():
            raise Failure(session.log())
