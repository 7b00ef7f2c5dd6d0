#!/usr/bin/env python3
"""The unique-ids of a former server go on: asked of the real Dovecot and Courier.

Each serves a Maildir, through the very program that speaks POP3 after login,
and tells its unique-ids; then maildir/ must tell the same for the same
messages, and keep to it when the other server's list changes or goes.
Servers that are not installed are unpacked into a temporary folder.

usage: takeover.py DRIVER [FOLDER OF UNPACKED PACKAGES]
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

ACCOUNT = 65534 if os.geteuid() == 0 else os.geteuid()
failures = 0


def test(holds, name):
    global failures
    print("%s %s" % ("ok" if holds else "not ok", name), flush=True)
    failures += 0 if holds else 1


def unpacked():
    """A folder with both servers and the libraries that this machine lacks."""
    if len(sys.argv) > 2:
        return os.path.abspath(sys.argv[2])
    folder = tempfile.mkdtemp(prefix="pop3d-peers-")
    packages = set()
    for wanted in ("dovecot-pop3d", "dovecot-imapd", "courier-pop"):
        plan = subprocess.run(["apt-get", "install", "-s", "--reinstall", "--no-install-recommends",
                               wanted], capture_output=True, text=True, check=False).stdout
        packages.update(re.findall(r"^Inst (\S+)", plan, re.M))
        packages.update([wanted])
    packages.update(["dovecot-core", "courier-base", "courier-authlib", "libcourier-unicode4"])
    subprocess.run(["apt-get", "download"] + sorted(packages), cwd=folder, check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for name in os.listdir(folder):
        subprocess.run(["dpkg", "-x", name, folder], cwd=folder, check=True)
    subprocess.run(["chmod", "-R", "go+rX", folder], check=True)
    return folder


def as_account():
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(ACCOUNT)
        os.setuid(ACCOUNT)


class Place:
    """A Maildir with messages whose first line tells them apart."""

    def __init__(self, peers):
        self.peers = peers
        self.root = tempfile.mkdtemp(prefix="pop3d-takeover-")
        self.path = os.path.join(self.root, "Maildir")
        for folder in ("", "new", "cur", "tmp"):
            os.makedirs(os.path.join(self.path, folder), exist_ok=True)
        self.count = 0
        for name in ("new/17000000%02d.M1P1.host" % i for i in range(10, 20)):
            self.deliver(name)
        for i in range(20, 40):
            self.deliver("cur/17000000%02d.M1P1.host:2,%s" % (i, "FRS"[:i % 4]))
        self.deliver("cur/1700000050.M1P1.host,S=18,W=21:2,S")
        self.deliver("cur/1700000051.with blank.host:2,S")
        self.deliver("cur/1700000052." + "long" * 30 + ":2,S")
        self.deliver("cur/1700000053.quo'te+plus\".host:2,S")
        self.deliver("cur/1700000054.\u00e4.host:2,")
        self.own()

    def deliver(self, name):
        self.count += 1
        with open(os.path.join(self.path, name), "w", encoding="ascii") as file:
            file.write("Subject: %d\n\nBody\n" % self.count)
        self.own()

    def own(self):
        if os.geteuid() == 0:
            subprocess.run(["chmod", "755", self.root], check=True)
            subprocess.run(["chown", "-R", "%d:%d" % (ACCOUNT, ACCOUNT), self.root], check=True)

    def run(self, command, given, environment):
        libraries = [os.path.join(self.peers, part) for part in (
            "usr/lib/dovecot", "usr/lib", "usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu",
            "usr/lib/courier-authlib")]
        environment = dict(environment, LD_LIBRARY_PATH=":".join(libraries), HOME=self.root,
                           PATH="/usr/bin:/bin")
        return subprocess.run(command, input=given, env=environment, cwd=self.path, timeout=60,
                              capture_output=True, preexec_fn=as_account, check=False).stdout

    def speak(self, command, environment):
        """What the server says: content -> unique-id."""
        given = "UIDL\r\n" + "".join("RETR %d\r\n" % i for i in range(1, self.count + 1)) + "QUIT\r\n"
        said = self.run(command, given.encode(), environment).decode("latin-1")
        uniques = dict(re.findall(r"^(\d+) (.+)\r$", said, re.M))
        subjects = re.findall(r"^Subject: (\d+)\r$", said, re.M)
        assert len(uniques) == len(subjects) == self.count, said
        return {subject: uniques[str(i + 1)] for i, subject in enumerate(subjects)}

    def dovecot(self, form=None):
        base = os.path.join(self.root, "run")
        os.makedirs(base, exist_ok=True)
        configuration = os.path.join(self.root, "dovecot.conf")
        library = os.path.join(self.peers, "usr/lib/dovecot")
        with open(configuration, "w", encoding="ascii") as file:
            file.write("base_dir = %s\nstate_dir = %s\nmail_location = maildir:%s\n"
                       "log_path = /dev/stderr\nssl = no\nprotocols = pop3\nlibexec_dir = %s\n"
                       "mail_plugin_dir = %s/modules\nmail_uid = %d\nmail_gid = %d\n"
                       % (base, base, self.path, library, library, ACCOUNT, ACCOUNT))
            if form is not None:
                file.write("pop3_uidl_format = %s\n" % form)
        self.own()
        return self.speak([os.path.join(self.peers, "usr/bin/doveconf"), "-c", configuration,
                           "-m", "pop3", "-e", library + "/pop3"], {"USER": "somebody"})

    def courier(self):
        program = os.path.join(self.peers, "usr/lib/courier/courier/courierpop3d")
        return self.speak([program, "."], {"AUTHENTICATED": "somebody", "AUTHADDR": "somebody",
                                           "MAILDIR": self.path})

    def ours(self, form=None):
        """The same asked of maildir/; and how many ids it took over."""
        given = "format %s\n" % form if form is not None else ""
        given += "open %s\nload\nlist\n" % self.path
        given += "".join("retr %d\n" % i for i in range(1, self.count + 1)) + "close\n"
        said = self.run([os.path.abspath(sys.argv[1])], given.encode(), {}).decode("latin-1")
        listed = re.findall(r"^(\d+) \d+ (\S+)$", said, re.M)
        subjects = re.findall(r"^Subject: (\d+)\r$", said, re.M)
        assert len(listed) == len(subjects) == self.count, said
        taken = int(re.search(r"^ok \d+ \d+ (\d+)$", said, re.M)[1])
        return {subject: listed[i][1] for i, subject in enumerate(subjects)}, taken

    def list(self, name):
        return os.path.join(self.path, name)


def is_kept(place, server, name):
    theirs = getattr(place, server)()
    ours, taken = place.ours()
    test(ours == theirs, "%s: every unique-id goes on" % server)
    test(taken == place.count, "%s: all %d are said to be taken over" % (server, place.count))
    with open(place.list(name), encoding="latin-1") as file:
        lines = file.read()
    with open(place.list(name), "w", encoding="latin-1") as file:
        file.write(re.sub(r"V?\d{9,}", lambda match: match.group()[:-1] + "1", lines, count=1))
    place.deliver("new/1800000000.M9P9.host")
    later, taken = place.ours()
    new = later.pop(str(place.count))
    test(later == theirs, "%s: a list that changes changes no id" % server)
    test(new == "1800000000.M9P9.host" and taken == 0, "%s: new mail has its name" % server)
    os.unlink(place.list(name))
    again, taken = place.ours()
    again.pop(str(place.count))
    test(again == theirs and taken == 0, "%s: nor does one that goes" % server)


def keeps_explicit(peers):
    """What another server's ids were, Dovecot notes in its list as P."""
    place = Place(peers)
    place.dovecot()
    with open(place.list("dovecot-uidlist"), encoding="latin-1") as file:
        lines = file.read().split("\n")
    lines[1:] = [re.sub(r"^(\d+) ", lambda match: "%s Pformer-%s " % (match[1], match[1]), line)
                 for line in lines[1:]]
    with open(place.list("dovecot-uidlist"), "w", encoding="latin-1") as file:
        file.write("\n".join(lines))
    for name in os.listdir(place.path):
        if name.startswith("dovecot.index"):
            os.unlink(place.list(name))
    place.own()
    theirs = place.dovecot()
    test(any(unique.startswith("former-") for unique in theirs.values()),
         "dovecot: itself heeds the ids noted in its list")
    test(place.ours()[0] == theirs, "dovecot: ids noted in its list go on")
    shutil.rmtree(place.root)


FORMATS = ("%08Xu%08Xv", "%g", "%f", "UID%u-%v", "%v-%u", "%v.%u", "%08Xv%08Xu", "%3Xv-%u", "%4u.%Xv",
           "100%%%012u", "a%gb", "%Xu")


def heeds_the_format(peers):
    """Each format, as it was set in Dovecot, gives what that Dovecot told: but what is no unique-id."""
    for form in FORMATS:
        place = Place(peers)
        theirs = {subject: unique for subject, unique in place.dovecot(form).items()
                  if len(unique) <= 70 and re.fullmatch("[!-~]+", unique)}
        ours, taken = place.ours(form)
        os.unlink(place.list("dovecot-uidlist"))
        os.unlink(place.list("pop3d.index"))
        again, _ = place.ours("none")
        test(len(theirs) >= place.count - 3 and taken == len(theirs) and
             theirs.items() <= ours.items() and again == ours, "dovecot: %s goes on" % form)
        shutil.rmtree(place.root)
    place = Place(peers)
    place.dovecot()
    with open(place.list("dovecot-uidlist"), encoding="latin-1") as file:
        first, *lines = file.read().splitlines(True)
    with open(place.list("dovecot-uidlist"), "w", encoding="latin-1") as file:
        # P without a unique-id is Dovecot's short form of the base name; G is a GUID of its own
        file.writelines([first] + [re.sub(" :", " P :" if i % 2 else " Gguid%d :" % i, line)
                                   for i, line in enumerate(lines)])
    for name in os.listdir(place.path):
        if name.startswith("dovecot.index"):
            os.unlink(place.list(name))
    place.own()
    theirs = {subject: unique for subject, unique in place.dovecot("%g").items()
              if len(unique) <= 70 and re.fullmatch("[!-~]+", unique)}
    test(theirs.items() <= place.ours("%g")[0].items(), "dovecot: GUIDs and base names in its list go on")
    shutil.rmtree(place.root)


def heeds_the_latest(peers):
    place = Place(peers)
    courier = place.courier()
    dovecot = place.dovecot()
    os.utime(place.list("courierpop3dsizelist"), (time.time() - 9, time.time() - 9))
    test(place.ours()[0] == dovecot, "both lists: Dovecot's is the later one")
    os.unlink(place.list("pop3d.index"))
    os.unlink(place.list("pop3d.ids"))
    os.utime(place.list("dovecot-uidlist"), (time.time() - 99, time.time() - 99))
    test(place.ours()[0] == courier, "both lists: Courier's is the later one")
    shutil.rmtree(place.root)


def main():
    peers = unpacked()
    for server, name in (("dovecot", "dovecot-uidlist"), ("courier", "courierpop3dsizelist")):
        place = Place(peers)
        is_kept(place, server, name)
        shutil.rmtree(place.root)
    keeps_explicit(peers)
    heeds_the_format(peers)
    heeds_the_latest(peers)
    if len(sys.argv) <= 2:
        shutil.rmtree(peers)
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
