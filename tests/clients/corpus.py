"""
corpus.py - the messages that each client must fetch octet for octet. The same
ones each time: nothing in them depends on the day or on chance.
"""
import base64
import hashlib


def head(number, subject, more=""):
    return (f"From: Sender <sender@example.org>\nTo: alice@example.org\nSubject: {subject}\n"
            f"Date: Mon, 06 Jul 2026 10:00:{number:02d} +0000\n"
            f"Message-ID: <{number}.corpus@example.org>\nMIME-Version: 1.0\n{more}\n").encode()


def noise(octets):
    pieces = (hashlib.sha256(at.to_bytes(8, "big")).digest() for at in range(0, octets, 32))
    return b"".join(pieces)[:octets]


TEXT = "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n"
OCTETS = "Content-Type: application/octet-stream\nContent-Transfer-Encoding: 8bit\n"

CORPUS = {
    "plain": head(1, "plain") + b"Hello.\n\nGoodbye.\n",
    "dots": head(2, "dots") + b".\n..\n...\n.x\n. \nend\n.\n.\n",
    "8-bit": head(3, "8-bit", TEXT) + "Grüße, señor – žluťoučký kůň\n".encode() + b"\xe9\xff\xa0\n",
    "empty": head(4, "empty"),
    "long lines": head(5, "long lines") + b"x" * 998 + b"\n" + b"y" * 1900 + b"\nend\n",
    "large": head(6, "large", "Content-Transfer-Encoding: base64\n") + base64.encodebytes(noise(3000000)),
    "binary": head(7, "binary", OCTETS)
              + (bytes(octet for octet in range(1, 256) if octet not in b"\r\n") + b"\n") * 40,
    "from": head(8, "from") + b"From here on\n>From there\n\nFrom sender@example.org Mon Jul  6\n",
    "no end": head(9, "no end") + b"the last line has no end",
    "crlf": (head(10, "crlf") + b"stored\n.as\nCRLF\n").replace(b"\n", b"\r\n"),
    "blank ends": head(11, "blank ends") + b"\n\nabove and below \t\n\n\n",
    "parts": head(12, "parts", 'Content-Type: multipart/mixed; boundary="b"\n')
             + b"preamble\n--b\nContent-Type: text/plain\n\none\n--b\nContent-Type: text/plain\n\n"
               b".two\n--b--\nepilogue\n",
}
LATER = head(13, "later") + b"Delivered between two runs.\n"


def plain_lines(content):
    """As a Unix program stores it: LF, and an end to the last line."""
    content = content.replace(b"\r\n", b"\n")
    return content if content.endswith(b"\n") or content == b"" else content + b"\n"
