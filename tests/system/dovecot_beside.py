#!/usr/bin/env python3
"""A session goes on while Dovecot's imap and LDA work in the same Maildir.

Flags change, so every message is renamed; some are expunged, others arrive.
The session still has its messages by their numbers, finds the renamed ones
without reading the folders for each, and says which are gone.

usage: dovecot_beside.py DRIVER [FOLDER OF UNPACKED PACKAGES]
"""
import os
import re
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import takeover
from takeover import Place, test, unpacked

ENOENT = "2"


class Session:
    """A session held open through the driver, its system calls noted."""

    def __init__(self, place):
        self.calls = os.path.join(place.root, "calls")
        command = [os.path.abspath(sys.argv[1])]
        if shutil.which("strace"):
            command = ["strace", "-e", "trace=getdents64,openat", "-o", self.calls] + command
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        preexec_fn=takeover.as_account)
        self.path = place.path

    def ask(self, command):
        self.process.stdin.write(command.encode() + b"\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().decode("latin-1").split()

    def begin(self):
        assert self.ask("open " + self.path)[0] == "ok"
        assert self.ask("load") == ["ok"]
        count = int(self.ask("list")[1])
        return [self.process.stdout.readline().decode("latin-1").split() for _ in range(count)]

    def retrieve(self, number):
        answer = self.ask("retr %d" % number)
        if answer[0] != "ok":
            return answer, None
        content = self.process.stdout.read(int(answer[2])).decode("latin-1")
        return answer, re.search(r"Subject: (\S+)", content)[1]

    def end(self):
        answer = self.ask("quit")
        self.process.stdin.close()
        self.process.wait()
        return answer

    def count(self, call):
        with open(self.calls, encoding="latin-1") as file:
            return sum(line.startswith(call) for line in file)


def dovecot(place, program, given, *arguments):
    library = os.path.join(place.peers, "usr/lib/dovecot")
    configuration = os.path.join(place.root, "dovecot.conf")
    protocol = "imap" if program == "imap" else "lda"
    command = [os.path.join(place.peers, "usr/bin/doveconf"), "-c", configuration, "-m", protocol,
               "-e", os.path.join(library, program)] + list(arguments)
    return place.run(command, given.encode(), {"USER": "somebody"}).decode("latin-1")


def imap(place, *commands):
    lines = ["a SELECT INBOX"] + ["a " + command for command in commands] + ["a LOGOUT"]
    return dovecot(place, "imap", "\r\n".join(lines) + "\r\n")


def work_beside(place):
    place.dovecot()
    session = Session(place)
    listed = session.begin()
    subjects = [session.retrieve(number)[1] for number in range(1, len(listed) + 1)]
    before = session.count("getdents64") if os.path.exists(session.calls) else 0
    said = imap(place, "STORE 1:* +FLAGS (\\Seen \\Flagged)", "STORE 3,7 +FLAGS (\\Deleted)", "EXPUNGE")
    test("a OK Expunge completed" in said, "imap renamed all messages and expunged two")
    dovecot(place, "dovecot-lda", "Subject: delivered\n\nnew\n")
    names = os.listdir(place.list("cur"))
    test(all("F" in name.split(":2,")[1] for name in names), "flags are in the names")
    test(any("delivered" in open(os.path.join(place.list("new"), name), encoding="latin-1").read()
             for name in os.listdir(place.list("new"))), "the LDA delivered")
    return session, subjects, before


def main():
    peers = unpacked()
    place = Place(peers)
    session, subjects, before = work_beside(place)
    gone = []
    for number in range(1, len(subjects) + 1):
        answer, subject = session.retrieve(number)
        if subject is None:
            gone.append((number, answer))
        elif subject != subjects[number - 1]:
            test(False, "message %d is another one now" % number)
    test([answer for _, answer in gone] == [["error", ENOENT]] * 2,
         "renamed messages are found, expunged ones are told to be gone")
    if os.path.exists(session.calls):
        reads = session.count("getdents64") - before
        # a search reads both folders twice, and in the first seconds one that is gone is looked for anew
        test(0 < reads <= 8 * (1 + len(gone)), "by one search for all, not one a message (%d reads)" % reads)
    remaining = [number for number in range(1, len(subjects) + 1)
                 if number not in [lost for lost, _ in gone]]
    doomed = remaining[:2] + [gone[0][0]]
    for number in doomed:
        assert session.ask("dele %d" % number)[0] == "ok"
    imap(place, "STORE 1:* -FLAGS (\\Flagged)")
    test(session.end() == ["ok", "3", "0", "0"], "UPDATE finds them under their new names")
    said = imap(place, "FETCH 1:* (BODY[HEADER.FIELDS (SUBJECT)])")
    left = re.findall(r"^Subject: (\S+)\r$", said, re.M)
    test(sorted(left) == sorted([subjects[number - 1] for number in remaining[2:]] + ["delivered"]),
         "imap then has what was left, and the new message")
    shutil.rmtree(place.root)
    if len(sys.argv) <= 2:
        shutil.rmtree(peers)
    sys.exit(1 if takeover.failures else 0)


if __name__ == "__main__":
    main()
