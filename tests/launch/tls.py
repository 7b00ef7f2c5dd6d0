#!/usr/bin/python3
"""
tls.py - TLS in front of pop3d, each way that is shipped, from end to end.

Runs in:   namespaces of its own, as root.
May touch: see common.py.
"""
import os
import pwd
import re
import socket
import ssl
import time

import common
import launchers
from common import CLIENT, ROOM, SERVER, Client, Failure, check, need, shipped


def is_powerless(pid, name):
    """The process runs as this account alone, with no group and no capability but what that has."""
    account = pwd.getpwnam(name)
    uids, gids, groups, capabilities = common.numbers_of(pid)
    check(uids == {account.pw_uid} and gids == {account.pw_gid}, f"{name}: uids {uids}, gids {gids}")
    check(groups <= {account.pw_gid}, f"{name} has the groups {groups}")
    check(capabilities == 0, f"{name} has the capabilities {capabilities:x}")


def reach(path):
    """Opens a Unix socket as a client."""
    socket.socket(socket.AF_UNIX).connect(path)


def closed_to_others(path, owner):
    """Only its owner and root can open the socket, and nobody else can put one in its place."""
    for name in ("bob", "vmail", "nobody"):
        check(common.as_account(name, lambda: reach(path)) == "PermissionError", f"{name} can open {path}")
        check(common.as_account(name, lambda: os.unlink(path)) == "PermissionError", f"{name} can remove {path}")
    check(common.as_account(owner, lambda: reach(path)) == "done", f"{owner} cannot open {path}")


def test_stunnel_starts_pop3d(world):
    world.certificate()
    shipped("stunnel-exec.conf", "/etc/stunnel/pop3s.conf")
    world.start(need("stunnel"), "/etc/stunnel/pop3s.conf", port=995)
    world.secured_port()


SOCKET = "/run/pop3d-stunnel.sock"


def test_stunnel_passes_on_through_a_socket(world):
    """The recommended form, without systemd: no root in front, and a socket that is stunnel's alone."""
    world.certificate()
    shipped("stunnel-socket.conf", "/etc/stunnel/pop3s.conf")
    world.start(shell=launchers.command("socat UNIX"), port=SOCKET)
    stunnel = world.start(need("stunnel"), "/etc/stunnel/pop3s.conf", port=995)
    world.secured_port()
    is_powerless(stunnel.pid, "stunnel4")
    closed_to_others(SOCKET, "stunnel4")


def test_stunnel_connects_to_the_inner_port(world):
    """The same with xinetd, which has no Unix sockets."""
    world.certificate()
    shipped("stunnel-connect.conf", "/etc/stunnel/pop3s.conf")
    shipped("pop3-inner", "/etc/xinetd.d/pop3-inner")
    launchers.start_xinetd(world, 301)
    stunnel = world.start(need("stunnel"), "/etc/stunnel/pop3s.conf", port=995)
    world.secured_port()
    is_powerless(stunnel.pid, "stunnel4")


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


def haproxy(world):
    """HAProxy with the shipped file, started as its unit does; it must be an account of its own."""
    world.certificate()
    common.write("/etc/haproxy/pop3s.pem", common.read_text("/etc/stunnel/pop3s.pem"))
    os.chmod("/etc/haproxy/pop3s.pem", 0o600)
    process = world.start(need("haproxy"), "-db", "-f", "/etc/haproxy/haproxy.cfg", port=995)
    is_powerless(process.pid, "haproxy")
    check(os.readlink(f"/proc/{process.pid}/root") == "/var/lib/haproxy", "HAProxy is not in its root")


def haproxy_serves(world):
    """It says who the client is and whether it is secured."""
    mark = world.log.mark()
    world.secured_port()
    world.refused_in_clear(SERVER, 110, CLIENT)
    world.refused_in_clear(common.SERVER6, 110, common.CLIENT6)
    world.session("127.0.0.1", 110, "127.0.0.1", secured=False)
    check(not any("FAULT" in line for line in world.log.lines[mark:]), "faults are logged")


def test_haproxy_with_xinetd(world):
    shipped("haproxy.cfg", "/etc/haproxy/haproxy.cfg")
    shipped("pop3-inner", "/etc/xinetd.d/pop3-inner")
    os.unlink("/etc/xinetd.d/pop3")
    launchers.start_xinetd(world, 302)
    haproxy(world)
    haproxy_serves(world)


def is_closed(address, port, source):
    """The connection ends without a greeting."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as client:
        client.settimeout(10)
        client.bind((source, 0))
        try:
            client.connect((address, port))
            return client.recv(100) == b""
        except ConnectionResetError:
            return True


def test_haproxy_limits_each_source(world):
    """One IPv4 address, one IPv6 /64: over both ports together, and no other pays for it."""
    limit = "sc_conn_cur(0) gt "
    text = common.read_text(f"{common.DOCS}/haproxy.cfg")
    numbers = re.findall(re.escape(limit) + r"(\d+)", text)
    check(len(numbers) == 2 and len(set(numbers)) == 1, f"the limits are {numbers}")
    shipped("haproxy.cfg", "/etc/haproxy/haproxy.cfg", [
        (limit + numbers[0], limit + "3")])
    shipped("pop3-inner", "/etc/xinetd.d/pop3-inner")
    os.unlink("/etc/xinetd.d/pop3")
    launchers.start_xinetd(world, 302)
    haproxy(world)
    tls = world.certificate()
    for address, sources, other in ((SERVER, [CLIENT], "192.0.2.8"),
                                    (common.SERVER6, [common.CLIENT6, "2001:db8::8"], "2001:db8:0:1::1")):
        for more in sources[1:] + [other] if ":" in address else []:
            common.run("ip", "address", "replace", f"{more}/128", "dev", "lo", "nodad")
        held = [Client(address, 110, sources[0]), Client(address, 110, sources[-1]),
                Client(address, 995, sources[0], tls)]
        for port in (110, 995):
            check(is_closed(address, port, sources[-1]), f"a fourth connection of {sources[-1]} is served")
        held.append(Client(address, 110, other))
        leaver = held.pop(0)
        leaver.ask("QUIT", "+OK")
        leaver.ended()
        leaver.file.close()
        time.sleep(0.2)
        held.append(Client(address, 110, sources[0]))
        for client in held:
            client.ask("QUIT", "+OK")


if __name__ == "__main__":
    common.main()
