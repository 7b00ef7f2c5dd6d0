"""
proxy.py - headers of the PROXY protocol at each of their bounds, and one beyond.

Runs in:   the test runner.
May touch: the sessions it starts.
"""
import concurrent.futures
import struct
import time

from harness.box import Box
from harness.server import Failure

REFUSED = 77
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
ADDRESSES = bytes([192, 0, 2, 7, 192, 0, 2, 1, 0xDC, 4, 0, 110])
NOOP, TLS = 4, 0x20


def version_2(tail):
    """A header of TCP over IPv4, with these octets behind the addresses."""
    return SIGNATURE + b"\x21\x11" + struct.pack(">H", len(ADDRESSES + tail)) + ADDRESSES + tail


def tlv(kind, value, more=0):
    """A TLV, whose length says so many octets more than it has."""
    return struct.pack(">BH", kind, len(value) + more) + value


def version_1(octets, end=b"\r\n"):
    """A header of so many octets with its end."""
    head = b"PROXY UNKNOWN "
    return head + b"x" * (octets - len(head) - len(end)) + end


def answer(world, header, options):
    """What comes within the time, and the exit status; the client is silent behind the header."""
    box = Box(world)
    with box.session("-x", "-l", "20", *options, transport="socketpair") as session:
        session.send(header)
        began = time.monotonic()
        try:
            line = session.line(9.5)
        except Failure:
            line = b""
        # of what is not refused at once the server waits ten seconds for the rest
        took = time.monotonic() - began
        session.send(b"USER alice\r\nPASS secret\r\nQUIT\r\n")
        session.half_close()
        session.drain()
        return line, session.wait(), took, session.log()


def judge(world, headers, options=(), is_good=False):
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = pool.map(lambda header: answer(world, header, options), headers.values())
        for (name, header), (line, status, took, log) in zip(headers.items(), answers):
            told = f"{name}: {line!r}, status {status}, {took:.1f} seconds\n{log}"
            if is_good and (not line.startswith(b"+OK") or status != 0):
                raise Failure(f"a sound header was refused: {told}")
            if not is_good and (line or status != REFUSED or took > 9 or "signal=" in log):
                raise Failure(f"not refused at once: {told}")


def test_version_1_bounds(world):
    """version 1: 107 octets are served; 108 are not, and 107 without their line's end are not waited for"""
    judge(world, {"107": version_1(107)}, is_good=True)
    judge(world, {"108": version_1(108), "109": version_1(109), "107 without an end": version_1(107, b""),
                  "108 without an end": version_1(108, b"")})


def test_lengths_of_tlvs(world):
    """version 2: a TLV that says 1, 2 or 3 octets more than there are is malformed, wherever it stands"""
    headers = {}
    for more in (1, 2, 3, 4, 255, 60000):
        for size in (0, 1, 2, 3, 100):
            last = tlv(NOOP, b"v" * size, more)
            headers[f"{size} octets, {more} more"] = version_2(last)
            headers[f"another, {size} octets, {more} more"] = version_2(tlv(NOOP, b"abc") + last)
    for rest in (b"\x04", b"\x04\0", b"\0", b"\0\0"):
        headers[f"no whole TLV {rest}"] = version_2(rest)
    judge(world, headers)


def test_tls_of_few_octets(world):
    """version 2: a TLV of TLS has five octets or more, and one of fewer secures nothing"""
    judge(world, {f"{size}": version_2(tlv(TLS, b"\x01\0\0\0\0"[:size])) for size in range(5)})
    judge(world, {f"{size}": version_2(tlv(TLS, b"\x01" + b"\0" * (size - 1))) for size in (5, 6)}, is_good=True)


def test_size_of_a_header(world):
    """version 2: 8,192 octets are served, and not one more"""
    fixed = len(version_2(tlv(NOOP, b"")))
    judge(world, {"8192": version_2(tlv(NOOP, b"x" * (8192 - fixed)))}, ["-p"], is_good=True)
    judge(world, {"8193": version_2(tlv(NOOP, b"x" * (8193 - fixed))),
                  "65535": version_2(tlv(NOOP, b"x" * (65535 - len(ADDRESSES) - 3)))})
