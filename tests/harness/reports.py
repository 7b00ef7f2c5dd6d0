"""
reports.py - what the sanitizers had to say in any process of a session.

The sanitized pop3d has reports.c linked in: each of its processes writes its report into the
file PROGRAM.reports, which is mapped into all of them.

Runs in:   the test runner.
May touch: that file, beside the sanitized program.
"""
import os
import re
import shutil
import struct
import subprocess

COUNT_SIZE, REPORT_SIZE, ROOM = 4, 4096, 200


def with_names(text):
    """A jailed process cannot look up where its calls are; so this is done here."""
    def name(frame):
        found = subprocess.run(["addr2line", "-f", "-e", frame[1], frame[2]], capture_output=True, text=True)
        return "in " + " ".join(found.stdout.split()) if found.returncode == 0 else frame[0]
    text = text.split("\nShadow bytes")[0]
    return re.sub(r"\((/[^()]*)\+(0x[0-9a-f]+)\)", name, text) if shutil.which("addr2line") else text


class Reports:
    """The reports of one program, from now on."""

    def __init__(self, program):
        self.path = f"{program}.reports"
        # another file, not the same one made empty: processes of an earlier run may still map that
        with open(f"{self.path}.new", "wb") as file:
            file.truncate(COUNT_SIZE + ROOM * REPORT_SIZE)
        # pop3d is started by the mail users, too
        os.chmod(f"{self.path}.new", 0o666)
        os.rename(f"{self.path}.new", self.path)

    def texts(self):
        """One text for each process that reported."""
        with open(self.path, "rb") as file:
            octets = file.read()
        count, = struct.unpack("=I", octets[:COUNT_SIZE])
        slots = [octets[COUNT_SIZE + number * REPORT_SIZE:][:REPORT_SIZE] for number in range(min(count, ROOM))]
        texts = [with_names(slot.split(b"\0")[0].decode("utf-8", "replace")) for slot in slots]
        return texts + ["a report for whose text there was no room"] * (count - len(texts))
