#!/usr/bin/python3
"""
launchers.py - pop3d under each super-server, by the file that is shipped for it.

Runs in:   namespaces of its own, as root.
May touch: see common.py.
"""
import contextlib
import glob
import os
import re
import socket
import threading
import time

import common
from common import CLIENT, DOCS, ROOM, SERVER, Client, Failure, check, need, shipped


def start_xinetd(world, port):
    return world.start(need("xinetd"), "-dontfork", "-f", "/etc/xinetd.conf", port=port)


def test_xinetd_as_installed(world):
    """make install put the entry in its place; nothing else is done."""
    start_xinetd(world, 110)
    world.clear_text_port()


def test_xinetd_limits_close_without_a_greeting(world):
    entry = common.read_text("/etc/xinetd.d/pop3")
    common.write("/etc/xinetd.d/pop3", re.sub(r"per_source\s+= \d+", "per_source = 2", entry))
    start_xinetd(world, 110)
    held = [Client("127.0.0.1", 110), Client("127.0.0.1", 110)]
    mark = world.log.mark()
    third = socket.create_connection(("127.0.0.1", 110), timeout=10)
    check(third.recv(100) == b"", "a third connection is served")
    world.log.wait(r"FAIL: pop3 per_source_limit from=.*127\.0\.0\.1", mark)
    other = Client(SERVER, 110, CLIENT)
    for client in held + [other]:
        client.ask("QUIT", "+OK")


def test_xinetd_limits_a_session(world):
    """Each shipped entry: the memory of a process, its descriptors, sessions in all, and of one source where that is known."""
    for name in ("pop3", "pop3s", "pop3-inner", "pop3-node"):
        text = common.read_text(f"{DOCS}/{name}")
        words = "instances", "cps", "rlimit_as", "rlimit_files", *(("per_source",) if name in ("pop3", "pop3s") else ())
        for word in words:
            check(len(re.findall(rf"(?m)^ +{word} += \d", text)) == len(re.findall("(?m)^service ", text)), f"{name}: {word}")
    start_xinetd(world, 110)
    client = Client("127.0.0.1", 110)
    limits = {common.read_text(path.replace("comm", "limits")) for path in glob.glob("/proc/[0-9]*/comm")
              if common.read_text(path) == "pop3d\n"}
    check(len(limits) == 2, f"{len(limits)} processes")
    check(all(re.search(rf"Max address space +{512 << 20} +{512 << 20} ", text) for text in limits), f"{limits}")
    client.ask("QUIT", "+OK")


def test_xinetd_one_source_shuts_no_other_out(world):
    """It opens and closes as fast as it can, which is more than a hundred times a second."""
    start_xinetd(world, 110)
    ended = threading.Event()

    def hurry():
        while not ended.is_set():
            with contextlib.suppress(OSError), socket.socket() as client:
                client.bind((CLIENT, 0))
                client.connect((SERVER, 110))

    threads = [threading.Thread(target=hurry) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(6):
            time.sleep(0.5)
            client = Client(SERVER, 110, "192.0.2.8")
            client.ask("QUIT", "+OK")
            client.ended()
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def test_xinetd_starts_stunnel(world):
    need("stunnel")
    shipped("pop3s", "/etc/xinetd.d/pop3s")
    shipped("stunnel-inetd.conf", "/etc/stunnel/pop3s-inetd.conf")
    world.certificate()
    start_xinetd(world, 995)
    world.secured_port()


def inetd_lines(active):
    """inetd.conf as shipped, with the lines that match switched on and no others."""
    lines = []
    for line in common.read_text(f"{DOCS}/inetd.conf").split("\n"):
        bare = line.lstrip("#")
        is_entry = re.match(r"pop3s?\s+stream", bare) is not None
        lines.append(bare if is_entry and re.search(active, bare) else
                     "#" + bare if is_entry else line)
    check(sum(not line.startswith("#") and line != "" for line in lines) == 1, "not one line")
    common.write(f"{ROOM}/inetd.conf", "\n".join(lines))
    return f"{ROOM}/inetd.conf"


@common.wants_package("openbsd-inetd")
def test_openbsd_inetd(world):
    folder = common.fetch_package("openbsd-inetd")
    world.start(f"{folder}/usr/sbin/inetd", "-d", inetd_lines(r"\stcp\s.*pop3d$"), port=110)
    world.clear_text_port()


@common.wants_package("openbsd-inetd")
def test_openbsd_inetd_starts_stunnel(world):
    need("stunnel")
    folder = common.fetch_package("openbsd-inetd")
    shipped("stunnel-inetd.conf", "/etc/stunnel/pop3s-inetd.conf")
    world.certificate()
    world.start(f"{folder}/usr/sbin/inetd", "-d", inetd_lines("^pop3s"), port=995)
    world.secured_port()


@common.wants_package("inetutils-inetd")
def test_inetutils_inetd(world):
    folder = common.fetch_package("inetutils-inetd")
    program = (glob.glob(f"{folder}/usr/sbin/*inetd") + [""])[0]
    world.start(program, "-d", inetd_lines(r"\stcp6\s.*pop3d$"), port=110)
    world.clear_text_port()


def command(words):
    """The command of the file `commands` that begins with these words."""
    for line in common.read_text(f"{DOCS}/commands").split("\n"):
        if line.startswith(words):
            need(words.split()[0])
            return line
    raise Failure(f"the file commands has nothing for {words}")


def test_tcpserver(world):
    world.start(shell=command("tcpserver"), port=110)
    world.clear_text_port(ipv6=False)


def test_tcpsvd(world):
    world.start(shell=command("tcpsvd"), port=110)
    world.clear_text_port(ipv6=False)


def test_tcpsvd_says_what_the_limit_is(world):
    world.start(shell=command("tcpsvd").replace("-C '40:", "-C '2:"), port=110)
    held = [Client("127.0.0.1", 110), Client("127.0.0.1", 110)]
    third = socket.create_connection(("127.0.0.1", 110), timeout=10)
    said = third.recv(100)
    check(said.startswith(b"-ERR [SYS/TEMP] "), f"the third connection is told {said!r}")
    for client in held:
        client.ask("QUIT", "+OK")


def test_socat(world):
    world.start(shell=command("socat TCP"), port=110)
    world.clear_text_port()


def test_systemd_socket_activate(world):
    world.start(shell=command("systemd-socket-activate"), port=110)
    world.clear_text_port()


def test_inner_ports_are_for_this_machine_alone(world):
    """And below 1024, where no other than root can be in their place."""
    shipped("pop3-inner", "/etc/xinetd.d/pop3-inner")
    start_xinetd(world, 301)
    world.await_listener(302)
    for port in (301, 302):
        try:
            socket.create_connection((SERVER, port), timeout=5)
        except ConnectionRefusedError:
            pass
        else:
            raise Failure(f"port {port} can be reached from outside")
        stream = socket.create_connection(("127.0.0.1", port), timeout=15)
        stream.sendall(b"CAPA\r\n")
        try:
            said = stream.recv(100)
        except ConnectionResetError:
            said = b""
        check(said == b"", f"port {port} serves without a PROXY header")
        stream.close()
    world.stop_all()
    for port in (301, 302):
        check(common.as_account("bob", lambda: socket.create_server(("127.0.0.1", port))) == "PermissionError",
              f"an ordinary user can take port {port} while xinetd is down")


if __name__ == "__main__":
    common.main()
