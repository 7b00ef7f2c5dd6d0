"""
wire.py - what a message looks like on the wire, written a second time.

Independent of maildir/wire.c on purpose: the one checks the other. Lines end
in CRLF, what is stored as CRLF stays, a missing last line end is added, no octets
at all are one empty line, a dot at the start of a line is doubled (RFC 1939 section 3).
"""
import re


def lines_of(content):
    """The lines of a stored message, each with its CRLF."""
    pieces = content.split(b"\n")
    last = pieces.pop()
    lines = [piece[:-1] if piece.endswith(b"\r") else piece for piece in pieces]
    if last:
        lines.append(last)              # a bare CR at the very end is no half of a line end
    if not content:
        lines.append(b"")               # no octets at all are one empty line
    return [line + b"\r\n" for line in lines]


def octets(content):
    return sum(map(len, lines_of(content)))


def whole(content):
    """All that RETR sends after its status line."""
    return b"".join(re.sub(rb"^\.", b"..", line) for line in lines_of(content)) + b".\r\n"


def top(content, count):
    """All that TOP sends after its status line."""
    lines = lines_of(content)
    ends = [number for number, line in enumerate(lines, 1) if line in (b"\r\n", b"\r\r\n")]
    end = ends[0] if ends else len(lines)
    return whole(b"".join(lines[:end + count]))


def unstuffed(sent):
    """The message in what was sent, which must end in the closing dot."""
    lines = sent.split(b"\r\n")
    assert lines[-2:] == [b".", b""], f"no closing dot: {sent[-40:]!r}"
    return b"".join((line[1:] if line.startswith(b".") else line) + b"\r\n" for line in lines[:-2])
