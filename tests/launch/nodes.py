#!/usr/bin/python3
"""
nodes.py - the files for several machines: two nodes with addresses of their own on this machine, and HAProxy.

Runs in:   namespaces of its own, as root.
May touch: see common.py.
"""
import contextlib
import os
import re
import shutil
import socket
import time

import common
import systemd
from common import CLIENT, DOCS, ROOM, SERVER, Client, check, need, read_text, run, shipped, write

BALANCER, NODES = "10.0.0.1", ("10.0.0.11", "10.0.0.12")
ADMIN = "/run/haproxy/admin.sock"
ALIVE = "/usr/local/sbin/pop3-alive"


def inner_network():
    for address in (BALANCER, "10.0.0.9", *NODES):
        run("ip", "address", "replace", f"{address}/32", "dev", "lo")


def storage(folder="/srv/mail"):
    """The file system of all, as nodes.md has it made, and the program that tells whether it can be written."""
    if not os.path.ismount("/srv"):
        run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/srv")
    shutil.rmtree(folder, ignore_errors=True)
    run("install", "-d", "-m", "1777", f"{folder}/.alive")
    run("install", "-m", "755", f"{DOCS}/pop3-alive.sh", ALIVE)


def node(world, number, changes=()):
    """A node's xinetd: the two shipped entries, at its own address."""
    account()
    folder, address = f"{ROOM}/node{number}", NODES[number - 1]
    for name in ("pop3-node", "pop3-alive"):
        text = read_text(f"{DOCS}/{name}").replace("= 10.0.0.11\n", f"= {address}\n")
        check(f"= {address}\n" in text, f"{name} has no address to change")
        for old, new in changes:
            text = text.replace(old, new)
        write(f"{folder}/{name}", text)
    write(f"{folder}.conf", f"defaults\n{{\n}}\nincludedir {folder}\n")
    process = world.start(need("xinetd"), "-dontfork", "-f", f"{folder}.conf", "-pidfile", f"{folder}.pid")
    for port in (302, 303):
        await_address(address, port)
    return process


def account():
    """pop3d, which make install makes where there is no DESTDIR."""
    if not re.search("(?m)^pop3d:", read_text("/etc/passwd")):
        with open("/etc/passwd", "a") as passwd, open("/etc/group", "a") as group:
            passwd.write("pop3d:x:399:399::/nonexistent:/usr/sbin/nologin\n")
            group.write("pop3d:x:399:\n")


def await_address(address, port, said=b""):
    end = time.monotonic() + 10
    while True:
        try:
            return ask(address, port, said)
        except ConnectionRefusedError:
            check(time.monotonic() < end, f"nothing listens on {address}:{port}")
            time.sleep(0.05)


def ask(address, port, said, source=BALANCER, seconds=15):
    """What is answered to these octets by the end of the connection; b"" where it is just closed."""
    with socket.socket() as client:
        client.settimeout(seconds)
        client.bind((source, 0))
        client.connect((address, port))
        try:
            client.sendall(said)
            return client.recv(200)
        except ConnectionResetError:
            return b""


def balancer(world, changes=()):
    """HAProxy with the shipped file: two nodes, from an address of its own."""
    world.certificate()
    write("/etc/haproxy/pop3s.pem", read_text("/etc/stunnel/pop3s.pem"))
    os.makedirs("/run/haproxy", exist_ok=True)
    text = read_text(f"{DOCS}/haproxy-nodes.cfg")
    shipped("haproxy-nodes.cfg", "/etc/haproxy/haproxy.cfg", [
        ("        server node3 10.0.0.13:302 check\n", ""),
        ("default-server inter", f"default-server source {BALANCER} inter"), *changes])
    world.start(need("haproxy"), "-db", "-f", "/etc/haproxy/haproxy.cfg", port=995)
    wait_for_states("UP", "UP")


def states():
    """What HAProxy says of the nodes, in their order."""
    return [line.split(",")[17].split()[0] for line in command("show stat").split("\n")
            if line.startswith("pop3d,node")]


def command(text):
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(ADMIN)
        client.sendall(text.encode() + b"\n")
        return client.makefile().read()


def wait_for_health():
    """Until the nodes are as well as they can be: one that has just come up is taken out by one bad check."""
    end = time.monotonic() + 30
    while True:
        lines = [line.split() for line in command("show servers state pop3d").split("\n")]
        if all(int(line[12]) == 2 + 4 - 1 for line in lines if line[3:4] and line[3].startswith("node")):
            return
        check(time.monotonic() < end, f"health: {lines}")
        time.sleep(0.1)


def wait_for_states(*wanted, seconds=30):
    began = time.monotonic()
    while states() != list(wanted):
        check(time.monotonic() - began < seconds, f"the nodes are {states()}, not {wanted}: "
              + read_text(f"{ROOM}/launcher.log")[-800:])
        time.sleep(0.1)
    return time.monotonic() - began


def node_of_all():
    """The number of the node that all clients of this moment are served by."""
    busy = [line.split(",")[1] for line in command("show stat").split("\n")
            if line.startswith("pop3d,node") and line.split(",")[4] != "0"]
    check(len(busy) == 1, f"clients are served by {busy}")
    return int(busy[0].removeprefix("node"))


def login(client):
    client.ask("USER alice", "+OK")
    client.ask(f"PASS {common.PASSWORD}", "+OK")


def fleet(world, *changes):
    inner_network()
    storage()
    nodes = [node(world, 1), node(world, 2)]
    balancer(world, changes)
    return nodes


def test_two_nodes_serve(world):
    """In clear text and over TLS; the nodes know the client's address and whether it is secured."""
    fleet(world)
    world.secured_port()
    world.refused_in_clear(SERVER, 110, CLIENT)
    check(read_text(f"/srv/mail/.alive/{os.uname().nodename}").strip(), "no check has written to the file system")


def test_a_node_believes_the_balancers_alone(world):
    inner_network()
    storage()
    node(world, 1)
    header = f"PROXY TCP4 {CLIENT} 10.0.0.1 4000 995\r\n".encode()
    check(ask(NODES[0], 302, header).startswith(b"+OK"), "the balancer is not served")
    check(ask(NODES[0], 303, b"") == b"up\n", "the balancer's check is not answered")
    for port in (302, 303):
        check(ask(NODES[0], port, header, "10.0.0.9") == b"", f"another machine is answered on port {port}")
    check(ask(NODES[0], 302, b"CAPA\r\n") == b"", "it serves without a PROXY header")
    for port in (302, 303):
        check(common.as_account("bob", lambda: socket.create_server(("10.0.0.9", port))) == "PermissionError",
              f"an ordinary user of the node can take port {port}")


def test_alive_says_down_of_a_file_system_that_is_gone(world):
    """Missing, read-only, full, not to be entered; and it is never run by root."""
    inner_network()
    storage()
    node(world, 1)
    check(ask(NODES[0], 303, b"") == b"up\n", "it is not up")
    owner = os.stat(f"/srv/mail/.alive/{os.uname().nodename}").st_uid
    check(owner not in (0, 65534), f"the check runs as {owner}")
    for options in ("ro", "size=4k,nr_inodes=3", "mode=700"):
        run("mount", "-t", "tmpfs", "-o", options, "tmpfs", "/srv/mail")
        if options.startswith("size"):
            run("install", "-d", "-m", "1777", "/srv/mail/.alive")
            write("/srv/mail/full", "x" * 4096)
        try:
            check(ask(NODES[0], 303, b"") == b"down\n", f"it is up with {options}")
        finally:
            run("umount", "/srv/mail")
    check(ask(NODES[0], 303, b"") == b"up\n", "it does not come back")


def test_a_node_that_refuses_costs_no_login(world):
    """Its clients get another at once, long before the checks have found out."""
    nodes = fleet(world)
    client = Client(SERVER, 110, CLIENT)
    gone = node_of_all()
    client.ask("QUIT", "+OK")
    nodes[gone - 1].terminate()
    nodes[gone - 1].wait()
    for _ in range(3):
        began = time.monotonic()
        client = Client(SERVER, 995, CLIENT, world.certificate())
        login(client)
        check(time.monotonic() - began < 2, "it takes its time")
        client.ask("QUIT", "+OK")
        client.ended()
    wanted = ["UP", "UP"]
    wanted[gone - 1] = "DOWN"
    wait_for_states(*wanted)


def test_a_node_without_its_file_system_is_taken_out(world):
    """It still greets; its running session goes on, new ones come to the other node."""
    inner_network()
    storage()
    storage("/srv/other")
    node(world, 1)
    node(world, 2, [("/srv/mail", "/srv/other")])
    balancer(world)
    shutil.rmtree("/srv/other")
    took = wait_for_states("UP", "DOWN")
    check(took < 12, f"that took {took:.1f} s")
    for source in (CLIENT, "192.0.2.8"):
        client = Client(SERVER, 110, source)
        check(node_of_all() == 1, "a client is sent to the node that is out")
        client.ask("QUIT", "+OK")
        client.ended()
        client.file.close()
        time.sleep(0.2)
    storage("/srv/other")
    wait_for_states("UP", "UP")


def stand_still(file):
    """From now on writes to the file of the checks wait; returned is what lets them go on."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(file)
    os.mkfifo(file)
    os.chmod(file, 0o666)

    def go_on():
        # who opened it for writing has waited for this; what they write is not read
        reader = os.open(file, os.O_RDONLY | os.O_NONBLOCK)
        os.unlink(file)
        return reader
    return go_on


def test_a_short_standstill_takes_no_node_out(world):
    """Writes stand still on all nodes for 6 s, as long as the file system takes to give a lost one up; then for good."""
    fleet(world)
    file = f"/srv/mail/.alive/{os.uname().nodename}"
    wait_for_health()
    go_on = stand_still(file)
    began, reader = time.monotonic(), None
    while time.monotonic() < began + 12:
        if reader is None and time.monotonic() > began + 6:
            reader = go_on()
        check(states() == ["UP", "UP"], f"the nodes are {states()} after {time.monotonic() - began:.1f} s")
        time.sleep(0.1)
    os.close(reader)
    go_on = stand_still(file)
    wait_for_states("DOWN", "DOWN")
    os.close(go_on())
    wait_for_states("UP", "UP")


def test_draining_as_the_page_says(world):
    """By its command, and by the stop of the alive service: running sessions go on."""
    fleet(world)
    said = re.findall(r"^    echo '(set server pop3d/)node2( state \w+)' \| socat - /run/haproxy/admin.sock$",
                      read_text(f"{DOCS}/nodes.md"), re.M)
    check([state for _, state in said] == [" state drain", " state ready"], f"nodes.md says {said}")
    client = Client(SERVER, 110, CLIENT)
    number = node_of_all()
    command(f"{said[0][0]}node{number}{said[0][1]}")
    other = Client(SERVER, 110, CLIENT)
    client.ask("NOOP", "-ERR")
    client.ask("QUIT", "+OK")
    client.ended()
    client.file.close()
    time.sleep(0.2)
    check(node_of_all() != number, "a drained node gets new sessions")
    other.ask("QUIT", "+OK")
    command(f"{said[1][0]}node{number}{said[1][1]}")
    wait_for_states("UP", "UP")


def uncommented(text):
    """haproxy-nodes.cfg with TLS at the nodes, as its last paragraph says."""
    head, more = text.split("#backend pop3s-nodes")
    more = re.sub("(?m)^#.*node3.*\n|^#", "", "#backend pop3s-nodes" + more).replace("default-server", f"default-server source {BALANCER}")
    return re.sub(r"(:995( v6only)?) ssl .*", r"\1", head).replace("default_backend pop3d", "default_backend pop3s-nodes", 1) + more


def test_tls_at_the_nodes(world):
    """The balancer passes octets on; each node's HAProxy has the certificate, and says so to its pop3d."""
    inner_network()
    storage()
    node(world, 1)
    node(world, 2)
    balancer(world)
    world.stop_all()
    nodes = [node(world, 1), node(world, 2)]
    own = read_text(f"{DOCS}/haproxy.cfg")
    line = re.search(r"#       (bind 10.0.0.11:995 accept-proxy .*)", read_text(f"{DOCS}/haproxy-nodes.cfg"))[1]
    own = re.sub(r"(?m)^        (bind|tcp-request) .*\n", "", own)
    own = re.sub(r"(?ms)^frontend pop3\n.*?(?=^backend)", "", own)
    for number, address in enumerate(NODES, 1):
        write(f"{ROOM}/node{number}.cfg", own.replace("frontend pop3s\n", f"frontend pop3s\n        {line}\n")
              .replace("10.0.0.11", address).replace("127.0.0.1:302", f"{address}:302 source {BALANCER}"))
        world.start(need("haproxy"), "-db", "-f", f"{ROOM}/node{number}.cfg")
        await_address(address, 995, b"no PROXY header\r\n")
    write("/etc/haproxy/haproxy.cfg", uncommented(read_text("/etc/haproxy/haproxy.cfg")))
    check(" ssl " not in read_text("/etc/haproxy/haproxy.cfg").split("# TLS at the nodes")[0], "TLS is at the balancer too")
    world.start(need("haproxy"), "-db", "-f", "/etc/haproxy/haproxy.cfg", port=110)
    wait_for_states("UP", "UP")
    world.secured_port()
    world.refused_in_clear(SERVER, 110, CLIENT)
    check(all(process.poll() is None for process in nodes), "a node has ended")


def test_a_node_with_systemd(world):
    """The same by its units: sessions, checks, the node's account, and a stop of the alive service."""
    inner_network()
    storage()
    account()
    machine = systemd.Machine(world)
    systemd.install("pop3d-haproxy.socket", "pop3d-haproxy@.service", "pop3d.slice", "pop3d-alive.socket",
                    "pop3d-alive@.service")
    shipped("pop3d-node.conf", f"{systemd.UNITS}/pop3d-haproxy.socket.d/node.conf")
    machine.systemctl("enable", "--now", "pop3d-haproxy.socket", "pop3d-alive.socket")
    check(not os.path.exists("/var/lib/haproxy/pop3d.sock"), "the socket for this machine is there too")
    await_address(NODES[0], 302)
    check(ask(NODES[0], 303, b"") == b"up\n", "it is not up")
    for port in (302, 303):
        said = common.as_account("root", lambda: ask(NODES[0], port, b"PROXY UNKNOWN\r\n", "10.0.0.9", seconds=2))
        check(said == "TimeoutError" or "BPF" in read_text(f"{ROOM}/launcher.log"),
              f"another machine is answered on port {port}: {said}")
    balancer_of_one(world)
    world.secured_port()
    world.refused_in_clear(SERVER, 110, CLIENT)
    client = Client(SERVER, 110, CLIENT)
    machine.systemctl("stop", "pop3d-alive.socket")
    wait_for_states("DOWN")
    client.ask("QUIT", "+OK")
    client.ended()


def test_lost_nodes_of_a_server(world):
    """nfs-lost, by its unit, has the server forget who is silent and answers no ping, and nobody else."""
    need("ping")
    inner_network()
    machine = systemd.Machine(world)
    run("install", "-m", "755", f"{DOCS}/nfs-lost.sh", "/usr/local/sbin/nfs-lost")
    systemd.install("nfs-lost.service")
    # seconds since the kernel's server has last heard of each client; nobody answers at the lost ones' addresses
    clients, lost = "/proc/fs/nfsd/clients", {"10.9.9.9:700": 8, "[fd00::99]:701": 30}
    well = {f"{NODES[0]}:702": 20, "10.9.9.8:703": 6, "[::1]:704": 9}
    lines = ["mount -t tmpfs tmpfs /proc/fs", f"mkdir -p {clients}"]
    for number, (address, silent) in enumerate({**lost, **well}.items()):
        told = f'clientid: 0x1\\naddress: "{address}"\\nstatus: confirmed\\nseconds from last renew: {silent}\\nname: "Linux"\\n'
        lines += [f"mkdir {clients}/{number}", f"printf '{told}' >{clients}/{number}/info", f": >{clients}/{number}/ctl"]
    run(*machine.beside("sh", "-ec", "\n".join(lines)))
    machine.systemctl("start", "nfs-lost.service")
    read = lambda: run(*machine.beside("sh", "-c", f"cd {clients}; for i in *; do echo $i $(cat $i/ctl); done"))
    systemd.wait_for(lambda: read().count("expire") >= len(lost), "it forgets nobody: ")
    time.sleep(3)               # two rounds more, in which it might take others for lost
    forgotten = [int(line.split()[0]) for line in read().splitlines() if line.endswith(" expire")]
    check(forgotten == list(range(len(lost))), f"it forgets {forgotten}")


def balancer_of_one(world):
    world.certificate()
    write("/etc/haproxy/pop3s.pem", read_text("/etc/stunnel/pop3s.pem"))
    os.makedirs("/run/haproxy", exist_ok=True)
    shipped("haproxy-nodes.cfg", "/etc/haproxy/haproxy.cfg", [
        ("        server node2 10.0.0.12:302 check\n", ""), ("        server node3 10.0.0.13:302 check\n", ""),
        ("default-server inter", f"default-server source {BALANCER} inter")])
    world.start(need("haproxy"), "-db", "-f", "/etc/haproxy/haproxy.cfg", port=995)
    wait_for_states("UP")


if __name__ == "__main__":
    common.main()
