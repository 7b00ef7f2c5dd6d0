#!/usr/bin/python3
"""
pam.py - the shipped PAM service file and each recipe, with the system's libpam.

Runs in:   namespaces of its own, as root.
May touch: see common.py.
"""
import os
import subprocess
import time

import common
import launchers
from common import PASSWORD, Client, check, need, shipped

WRONG = "-ERR [AUTH] Logon failure: unknown user name or bad password."
LATER = "-ERR [SYS/TEMP] Authentication is not available; please try later."


def login(user, password, expected, port=110):
    client = Client("127.0.0.1", port)
    client.ask(f"USER {user}", "+OK")
    client.ask(f"PASS {password}", expected)
    client.send("QUIT")
    client.line()
    client.ended()


def test_the_installed_file_asks_the_system(world):
    launchers.start_xinetd(world, 110)
    mark = world.log.mark()
    login("alice", PASSWORD, "+OK")
    login("alice", "wrong", WRONG)
    world.log.wait("LOGIN FAILED, user=alice, .*reason=wrong-password", mark)
    login("nobody-here", PASSWORD, WRONG)
    world.log.wait("LOGIN FAILED, user=nobody-here, .*reason=unknown-user", mark)


def test_pam_unix_is_told_where_from(world):
    """What the system's own log says of a failure names the client (for pam-generic)."""
    launchers.start_xinetd(world, 110)
    mark = world.log.mark()
    login("alice", "wrong", WRONG)
    world.log.wait(r"pam_unix\(pop3:auth\): authentication failure; .*tty=pop3d .*"
                   r"rhost=127\.0\.0\.1 +user=alice", mark)


def test_without_the_file_everybody_is_denied_and_the_log_says_why(world):
    os.unlink("/etc/pam.d/pop3")
    other = common.read_text("/etc/pam.d/other")
    common.write("/etc/pam.d/other", "auth required pam_deny.so\naccount required pam_deny.so\n")
    try:
        launchers.start_xinetd(world, 110)
        mark = world.log.mark()
        client = Client("127.0.0.1", 110)
        client.ask("USER alice", "+OK")
        client.send("PASS " + PASSWORD)
        check(client.line().startswith("-ERR"), "alice gets in")
        client.socket.close()
        world.log.wait("no-PAM-service-file", mark)
    finally:
        common.write("/etc/pam.d/other", other)


def test_faillock_locks_after_five_failures_and_unlocks(world):
    shipped("pop3-faillock.pam", "/etc/pam.d/pop3")
    launchers.start_xinetd(world, 110)
    faillock_locks_and_unlocks(world)


def faillock_locks_and_unlocks(world):
    """What pam_faillock must do under each launcher."""
    login("alice", PASSWORD, "+OK")
    # xinetd serves them side by side; each takes its two seconds
    mark = world.log.mark()
    clients = [Client("127.0.0.1", 110) for _ in range(5)]
    for client in clients:
        client.ask("USER alice", "+OK")
        client.send("PASS wrong")
        time.sleep(0.2)
    for client in clients:
        check(client.line() == WRONG, "a wrong password is accepted")
        client.socket.close()
    world.log.wait("LOGIN FAILED, user=alice, .*reason=wrong-password", mark)
    world.log.wait(r"pam_faillock\(pop3:auth\): .*alice.*locked", mark)
    login("alice", PASSWORD, WRONG)
    login("bob", PASSWORD, "+OK")
    common.run(need("faillock"), "--user", "alice", "--reset")
    login("alice", PASSWORD, "+OK")


def test_faillock_forgets_after_a_good_login(world):
    shipped("pop3-faillock.pam", "/etc/pam.d/pop3")
    launchers.start_xinetd(world, 110)
    for _ in range(2):
        clients = [Client("127.0.0.1", 110) for _ in range(4)]
        for client in clients:
            client.ask("USER alice", "+OK")
            client.send("PASS wrong")
            time.sleep(0.2)
        for client in clients:
            check(client.line() == WRONG, "a wrong password is accepted")
            client.socket.close()
        login("alice", PASSWORD, "+OK")


def test_listfile_switches_one_user_off(world):
    shipped("pop3-listfile.pam", "/etc/pam.d/pop3")
    launchers.start_xinetd(world, 110)
    login("bob", PASSWORD, "+OK")           # no list: nobody is denied
    common.write("/etc/pop3.deny", "bob\n")
    mark = world.log.mark()
    login("bob", PASSWORD, WRONG)
    world.log.wait("LOGIN FAILED, user=bob, .*reason=not-permitted", mark)
    login("bob", "wrong", WRONG)
    world.log.wait("LOGIN FAILED, user=bob, .*reason=wrong-password", mark)
    login("alice", PASSWORD, "+OK")


def test_maintenance(world):
    """While /etc/nologin is there all are answered alike, and nobody is told of a wrong password."""
    shipped("pop3-nologin.pam", "/etc/pam.d/pop3")
    launchers.start_xinetd(world, 110)
    common.write("/etc/nologin", "closed until noon\n")
    mark = world.log.mark()
    for user, password in (("alice", PASSWORD), ("alice", "wrong"), ("nobody-here", PASSWORD)):
        login(user, password, LATER)
    world.log.wait("LOGIN FAILED, user=nobody-here, .*category=Configuration, "
                   "reason=closed-for-maintenance", mark)
    os.unlink("/etc/nologin")
    login("alice", PASSWORD, "+OK")
    login("alice", "wrong", WRONG)


def test_directory_that_is_down(world):
    """Another module stands in for the directory's, which is no package of these tests."""
    for answer, expected, reason in (("authinfo_unavail", LATER, "account-database-unavailable"),
                                     ("user_unknown", WRONG, "unknown-user")):
        shipped("pop3-ldap.pam", "/etc/pam.d/pop3",
                [("pam_sss.so use_first_pass", f"pam_debug.so auth={answer}"),
                 ("pam_sss.so\n", "pam_debug.so acct=perm_denied\n")])
        if answer == "authinfo_unavail":
            launchers.start_xinetd(world, 110)
        mark = world.log.mark()
        login("alice", PASSWORD, "+OK")
        login("alice", "wrong", expected)
        login("nobody-here", PASSWORD, expected)
        world.log.wait(f"LOGIN FAILED, user=nobody-here, .*reason={reason}", mark)


def test_virtual_users(world):
    """As the recipe says it: the database, the options, the maildrops."""
    shipped("pop3-virtual.pam", "/etc/pam.d/pop3")
    entry = common.read_text("/etc/xinetd.d/pop3")
    options = "-v vmail -m /var/vmail/%d/%u"
    check(options in common.read_text("/etc/pam.d/pop3"), "the recipe names other options")
    users = "".join(f"{user}@{domain}\n{common.run('openssl', 'passwd', '-6', password)}"
                    for user, domain, password in (("carol", "example.org", "sea horse"),
                                                   ("carol", "example.net", "other one")))
    common.write("/etc/users", users)
    need("db5.3_load")
    common.run("/bin/sh", "-ec", "cd /etc\n"
               "db5.3_load -T -t hash -f users /etc/pop3-users.db; chmod 600 /etc/pop3-users.db")
    uid = common.ACCOUNTS["vmail"]
    for domain in ("example.org", "example.net"):
        common.maildrop(f"/var/vmail/{domain}/carol", uid)
    os.chown("/var/vmail", uid, uid)
    path = "/var/vmail/example.org/carol/new/1700000000.M1P1.launch"
    common.write(path, "Subject: virtual\n\nhello\n")
    os.chown(path, uid, uid)
    common.write("/etc/xinetd.d/pop3",
                 entry.replace("#       server_args     = -t 900",
                               f"        server_args     = {options}"))
    launchers.start_xinetd(world, 110)
    mark = world.log.mark()
    client = Client("127.0.0.1", 110)
    client.ask("USER carol@example.org", "+OK")
    client.ask("PASS sea horse", "+OK")
    client.ask("STAT", "+OK 1 27")
    client.ask("QUIT", "+OK")
    world.log.wait("LOGIN, user=carol@example.org, ", mark)
    login("carol@example.net", "sea horse", WRONG)
    login("carol@example.net", "other one", "+OK")
    login("alice", PASSWORD, WRONG)         # a system account is no virtual user


if __name__ == "__main__":
    common.main()
