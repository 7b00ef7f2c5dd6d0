#!/usr/bin/python3
"""
tls.py - TLS in front of pop3d, each way that is shipped, from end to end.

Runs in:   namespaces of its own, as root.
May touch: see common.py.
"""
import os
import socket
import ssl

import common
import launchers
from common import CLIENT, ROOM, SERVER, Client, Failure, check, need, shipped


def test_stunnel_starts_pop3d(world):
    world.certificate()
    shipped("stunnel-exec.conf", "/etc/stunnel/pop3s.conf")
    world.start(need("stunnel"), "/etc/stunnel/pop3s.conf", port=995)
    world.secured_port()


def test_stunnel_connects_to_the_inner_port(world):
    world.certificate()
    shipped("stunnel-connect.conf", "/etc/stunnel/pop3s.conf")
    shipped("pop3-inner", "/etc/xinetd.d/pop3-inner")
    launchers.start_xinetd(world, 1110)
    world.start(need("stunnel"), "/etc/stunnel/pop3s.conf", port=995)
    world.secured_port()


def test_stunnel_speaks_stls(world):
    world.certificate()
    shipped("stunnel-stls.conf", "/etc/stunnel/pop3-stls.conf")
    world.start(need("stunnel"), "/etc/stunnel/pop3-stls.conf", port=110)
    world.secured_port(port=110, stls=True)
    for command in ("USER alice", "AUTH PLAIN AGFsaWNlAGE="):
        refused_before_tls(command)


def refused_before_tls(command):
    """Nothing but CAPA, QUIT and STLS gets an answer from stunnel in clear text."""
    with socket.create_connection((SERVER, 110), timeout=10) as client:
        check(client.recv(200).startswith(b"+OK"), "no greeting")
        client.sendall(command.encode() + b"\r\n")
        try:
            said = client.recv(200)
        except ConnectionResetError:
            said = b""
        check(not said.startswith(b"+OK"), f"{command} in clear text is answered {said!r}")


def test_old_tls_is_refused_by_the_shipped_line(world):
    """The same file with its sslVersionMin turned down takes TLS 1.1: the line is what refuses."""
    world.certificate()
    shipped("stunnel-exec.conf", "/etc/stunnel/pop3s.conf", [
        ("sslVersionMin = TLSv1.2", "sslVersionMin = TLSv1.1\nciphers = DEFAULT:@SECLEVEL=0")])
    world.start(need("stunnel"), "/etc/stunnel/pop3s.conf", port=995)
    client = Client(SERVER, 995, CLIENT, common.tls_of(ssl.TLSVersion.TLSv1_1))
    client.ask("QUIT", "+OK")
    world.stop_all()
    shipped("stunnel-exec.conf", "/etc/stunnel/pop3s.conf", [
        ("sslVersionMin = TLSv1.2", "sslVersionMin = TLSv1.2\nciphers = DEFAULT:@SECLEVEL=0")])
    world.start(need("stunnel"), "/etc/stunnel/pop3s.conf", port=995)
    try:
        Client(SERVER, 995, CLIENT, common.tls_of(ssl.TLSVersion.TLSv1_1))
    except (ssl.SSLError, ConnectionResetError):
        return
    raise Failure("TLS 1.1 is accepted")


def test_haproxy(world):
    """It says who the client is and whether it is secured; its own checks leave no trace."""
    world.certificate()
    common.write("/etc/haproxy/pop3s.pem", common.read_text("/etc/stunnel/pop3s.pem"))
    shipped("haproxy.cfg", "/etc/haproxy/haproxy.cfg")
    shipped("pop3-inner", "/etc/xinetd.d/pop3-inner")
    os.unlink("/etc/xinetd.d/pop3")
    launchers.start_xinetd(world, 1120)
    mark = world.log.mark()
    world.start(need("haproxy"), "-f", "/etc/haproxy/haproxy.cfg", port=995)
    world.log.wait("DISCONNECTED, end=disconnect", mark)
    world.secured_port()
    world.refused_in_clear(SERVER, 110, CLIENT)
    world.session("127.0.0.1", 110, "127.0.0.1", secured=False)
    check("DOWN" not in common.read_text(f"{ROOM}/launcher.log"), "the health check fails")
    check(not any("FAULT" in line for line in world.log.lines[mark:]), "faults are logged")
    checks = [line for line in world.log.raw[mark:] if "end=disconnect" in line]
    check(all(line.startswith("<23>") for line in checks), f"its checks are no debug lines: {checks}")


if __name__ == "__main__":
    common.main()
