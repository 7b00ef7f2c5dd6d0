#!/usr/bin/python3
"""
fail2ban.py - what a ban is made from: the lines that real sessions log, read
by Debian's courier-auth filter as it is and by ours as it is shipped.

Runs in:   namespaces of its own, as root.
May touch: see common.py.
"""
import base64
import os
import re
import subprocess
import time

import common
import launchers
from common import CLIENT, CLIENT6, PASSWORD, ROOM, SERVER, SERVER6, Client, check, need, shipped

DENIED = "-ERR [AUTH] Logon failure: unknown user name or bad password."
INNOCENT = "198.51.100.9"               # whom the names below would like to see banned
HOSTILE = [
    b"alice",
    b"x, ip=[198.51.100.9]",
    b"x, ip=[198.51.100.9], category=Authentication, reason=wrong-password, method=PASS",
    b"x], ip=[198.51.100.9",
    b"LOGIN FAILED, user=x, ip=[198.51.100.9]",
    b"x\nNov 23 10:00:00 mailhost pop3d[1]: LOGIN FAILED, user=x, ip=[198.51.100.9], "
    b"category=Authentication, reason=wrong-password, method=PASS",
    b"x\r\n<22>pop3d[1]: LOGIN FAILED, user=x, ip=[198.51.100.9]",
    b"rhost=198.51.100.9",
    b"user=,,,ip=[]",
    b"%s%n%x",
    b"<HOST>",
    b"\xc3\xa9\xff\x80",
    b"a" * 250,
    b"..",
    b"-x",
    b"\x1b[31m",
]


def failed_login(address, source, name):
    client = Client(address, 110, source)
    client.ask("AUTH PLAIN " + base64.b64encode(b"\0" + name + b"\0no").decode(), DENIED)
    client.ask("QUIT", "+OK")
    client.ended()


def lines_of_sessions(world):
    """What is logged of failures from two addresses, of a fault of ours, of good sessions."""
    entry = common.read_text("/etc/xinetd.d/pop3")
    common.write("/etc/xinetd.d/pop3", entry.replace("#       server_args     = -t 900",
                                                     "        server_args     = -p"))
    launchers.start_xinetd(world, 110)
    mark = world.log.mark()
    clients = []
    for name in HOSTILE:                # side by side: each takes two seconds
        client = Client(SERVER, 110, CLIENT)
        client.ask("AUTH PLAIN", "+")
        client.send(base64.b64encode(b"\0" + name + b"\0no").decode())
        clients.append(client)
    for client in clients:
        said = client.line()
        check(said == DENIED, f"a hostile name is told {said!r}")
        client.ask("QUIT", "+OK")
        client.ended()
    failed_login(SERVER6, CLIENT6, b"alice")
    world.session(SERVER, 110, "192.0.2.8", secured=False)
    # the system cannot answer: that is nobody's wrong password
    common.write("/etc/pam.d/pop3", "auth required pam_missing_module.so\n")
    client = Client(SERVER, 110, "192.0.2.8")
    client.ask("USER alice", "+OK")
    client.send(f"PASS {PASSWORD}")
    check(client.line().startswith("-ERR"), "login without PAM")
    client.socket.close()
    world.log.wait("LOGIN FAILED, user=alice, .*category=Configuration", mark)
    time.sleep(0.2)
    return world.log.lines[mark:]


sessions = []


def logged(world):
    """The lines, made once."""
    if not sessions:
        sessions.extend(lines_of_sessions(world))
    return sessions


def banned(log, filter_file, *options):
    """The addresses that fail2ban finds, one for each line that matches."""
    return common.run(need("fail2ban-regex"), *options, "-o", "<ip>", log, filter_file).split()


def expect(found):
    wanted = [CLIENT] * len(HOSTILE) + [CLIENT6]
    check(sorted(found) == sorted(wanted), f"found {sorted(found)}, not {sorted(wanted)}")


def log_file(name, lines, stamp):
    path = f"{ROOM}/{name}.log"
    common.write(path, "".join(f"{stamp} mailhost {line}\n" for line in lines))
    return path


def plain(lines):
    return log_file("plain", lines, time.strftime("%b %e %H:%M:%S"))


def precise(lines):
    return log_file("precise", lines, time.strftime("%Y-%m-%dT%H:%M:%S.123456+00:00", time.gmtime()))


def our_filter():
    return shipped("fail2ban-filter.conf", "/etc/fail2ban/filter.d/pop3d.conf")


def test_every_failure_and_nothing_else_in_a_log_file(world):
    expect(banned(plain(logged(world)), our_filter()))


def test_a_log_file_with_precise_times(world):
    expect(banned(precise(logged(world)), our_filter()))


def test_no_name_can_ban_somebody_else(world):
    lines = logged(world)
    check(sum("198.51.100.9" in line for line in lines) >= 5, "no hostile name was logged")
    check(INNOCENT not in banned(plain(lines), our_filter()), "an innocent address is banned")
    failures = [line for line in lines if line.startswith("pop3d") and "LOGIN FAILED" in line]
    check(len(failures) == len(HOSTILE) + 2, f"{len(failures)} lines for {len(HOSTILE) + 2} failures")
    for line in failures:
        check(re.fullmatch(r"pop3d\[\d+\]: LOGIN FAILED, user=[A-Za-z0-9._@+/%-]*, ip=\[[0-9a-f.:]+\], "
                           r"category=\w+, reason=[\w-]+, method=\w+", line), f"odd line {line!r}")


def test_a_link_local_address_is_banned_without_its_scope(world):
    line = ("pop3d[7]: LOGIN FAILED, user=alice, ip=[fe80::1%eth0], category=Authentication, "
            "reason=wrong-password, method=PASS")
    found = banned(plain([line]), our_filter())
    check(found == ["fe80::1"], f"found {found}")


def test_debian_s_courier_auth_filter_matches_as_it_is(world):
    """It bans on our own faults too, which ours does not: one line more."""
    found = banned(plain(logged(world)), "courier-auth")
    check(sorted(found) == sorted([CLIENT] * len(HOSTILE) + [CLIENT6, "192.0.2.8"]), f"found {found}")


def journal(name, lines):
    """A journal that holds these lines; each is (the uid that journald vouches for, the line)."""
    remote = "/lib/systemd/systemd-journal-remote"
    if not os.path.exists(remote):
        need("systemd-journal-remote")
    stamp = int(time.time() * 1e6)
    entries = []
    for number, (uid, line) in enumerate(lines):
        program, pid, text = re.match(r"([\w-]+)\[(\d+)\]: (.*)", line, re.DOTALL).groups()
        entries.append(f"__REALTIME_TIMESTAMP={stamp + number}\n__MONOTONIC_TIMESTAMP={number + 1}\n"
                       f"_BOOT_ID={'0' * 31}1\nSYSLOG_IDENTIFIER={program}\n_PID={pid}\n_UID={uid}\n"
                       f"_HOSTNAME=mailhost\nMESSAGE={text}\n\n")
    folder = f"{ROOM}/{name}"
    os.makedirs(folder, exist_ok=True)
    common.run(remote, "-o", f"{folder}/pop3d.journal", "-", input="".join(entries))
    return f"systemd-journal[journalpath={folder}]"


def test_the_journal(world):
    """The same lines as a journal holds them, found by the filter's journalmatch."""
    expect(banned(journal("journal", [(0, line) for line in logged(world)]), our_filter()))


def test_a_line_that_a_user_wrote_bans_nobody(world):
    """logger -t pop3d, by an ordinary user or any other account than root."""
    forged = (f"pop3d[99]: LOGIN FAILED, user=alice, ip=[{INNOCENT}], category=Authentication, "
              "reason=wrong-password, method=PASS")
    check(banned(plain([forged]), our_filter()) == [INNOCENT], "the forged line is no good one")
    lines = [(0, line) for line in logged(world)] + [(uid, forged) for uid in (1, 33, 1000, 30002, 65534)]
    expect(banned(journal("forged", lines), our_filter()))


def test_the_jail_with_the_journal(world):
    """The line that is there for it, in place of the other: fail2ban takes the jail."""
    folder = f"{ROOM}/jail"
    common.run("cp", "-a", "/etc/fail2ban", folder)
    for path in os.listdir(f"{folder}/jail.d"):
        os.unlink(f"{folder}/jail.d/{path}")
    shipped("fail2ban-filter.conf", f"{folder}/filter.d/pop3d.conf")
    shipped("fail2ban-jail.conf", f"{folder}/jail.d/pop3d.conf", [
        ("\nlogpath  = /var/log/mail.log", ""), ("#backend = systemd", "backend = systemd")])
    said = common.run(need("fail2ban-client"), "-c", folder, "-d")
    check("['add', 'pop3d', 'systemd']" in said, said[-600:])
    check("['set', 'pop3d', 'addjournalmatch', 'SYSLOG_IDENTIFIER=pop3d', '_UID=0']" in said, said[-600:])


def test_a_ban_from_end_to_end(world):
    """The shipped jail, fail2ban itself: four failures ban nobody, the fifth does."""
    common.run("cp", "-a", "/etc/fail2ban", f"{ROOM}/fail2ban")
    folder = f"{ROOM}/fail2ban"
    for path in os.listdir(f"{folder}/jail.d"):
        os.unlink(f"{folder}/jail.d/{path}")
    shipped("fail2ban-filter.conf", f"{folder}/filter.d/pop3d.conf")
    shipped("fail2ban-jail.conf", f"{folder}/jail.d/pop3d.conf")
    # the firewall of this machine is not to be touched: the ban is written down
    common.write(f"{folder}/action.d/note.conf",
                 f"[Definition]\nactionban = echo <ip> >>{ROOM}/bans\nactionunban =\n")
    common.write(f"{folder}/jail.local", "[DEFAULT]\nbanaction = note\nbackend = polling\n"
                 "action = note\nusedns = no\n")
    common.write(f"{ROOM}/bans", "")
    common.write("/var/log/mail.log", "")
    failures = [line for line in logged(world) if f"ip=[{CLIENT}]" in line and
                "category=Authentication" in line]
    world.start(need("fail2ban-server"), "-f", "-c", folder, "-s", f"{ROOM}/fail2ban.sock",
                "-p", f"{ROOM}/fail2ban.pid", "--logtarget", f"{ROOM}/fail2ban.log", "-x")
    wait_for(lambda: "Jail 'pop3d' started" in common.read_text(f"{ROOM}/fail2ban.log"))

    def log(lines):
        with open("/var/log/mail.log", "a") as file:
            for line in lines:
                file.write(time.strftime("%b %e %H:%M:%S") + f" mailhost {line}\n")
    log(failures[:4])
    wait_for(lambda: common.read_text(f"{ROOM}/fail2ban.log").count("Found") == 4)
    time.sleep(2)
    check(common.read_text(f"{ROOM}/bans") == "", "banned after four failures")
    log(failures[4:5])
    wait_for(lambda: common.read_text(f"{ROOM}/bans") == f"{CLIENT}\n")


def wait_for(condition, seconds=20):
    end = time.monotonic() + seconds
    while True:
        try:
            if condition():
                return
        except FileNotFoundError:
            pass
        check(time.monotonic() < end, "waited in vain: "
              + common.read_text(f"{ROOM}/launcher.log")[-300:])
        time.sleep(0.1)


if __name__ == "__main__":
    common.main()
