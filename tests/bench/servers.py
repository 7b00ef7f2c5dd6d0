"""
servers.py - the servers compared: how each is started on a maildrop.

Each is started as its users start it: pop3d, solid-pop3d, popa3d and mailutils
as from inetd; courier with its authdaemon running; dovecot as a daemon with
its default settings, and once more with processes kept ready.

Runs in:   the benchmark, in its own root.
May touch: configuration files and run-time folders in that root.
"""
import os
import socket
import subprocess
import time

from place import BIN, PEERS, TREE, write

DOVECOT = """
protocols = pop3
listen = 127.0.0.1
base_dir = {base}
state_dir = {base}
instance_name = {name}
log_path = syslog
ssl = no
disable_plaintext_auth = no
mail_location = maildir:~/dovecot
mail_max_userip_connections = 1000
passdb {{
  driver = pam
  args = dovecot
}}
userdb {{
  driver = passwd
}}
service pop3-login {{
  inet_listener pop3 {{
    port = {port}
  }}
  inet_listener pop3s {{
    port = 0
  }}
{login}
}}
service pop3 {{
{pop3}
}}
{more}
"""

MAILUTILS = """
pam { service gnu-pop3d; }
auth {
  authorization system;
  authentication pam;
}
mailbox {
  mailbox-pattern "maildir:/data/${user}/mailutils";
}
"""

SOLID = """
<Global>
        MailDropName "/data/%s/solid"
        MailDropType maildir
        UserOverride no
        WrongCommandsLimit 0
</Global>
"""


class Server:
    """One way to serve. Files tells the name of the folder in a home, or "mbox"."""
    is_floor = False
    port = 0                    # of a daemon; 0: spawned for each session
    needs_tcp = False           # does not serve anything but an internet socket
    environment = ()
    indexes = ()                # what it keeps beside the mail, to be forgotten for a first session
    processes = ()              # names of a daemon's processes that serve one session

    def __init__(self, name, binary, files):
        self.name, self.binary, self.files = name, binary, files

    def is_there(self):
        return os.access(self.binary, os.X_OK)

    def command(self, user):
        return [self.binary]

    def maildir(self, user):
        return f"/data/{user}/{self.files}"

    def start(self):
        pass

    def forget(self, user):
        """Makes the next session its first ever."""
        for index in self.indexes:
            path = f"{self.maildir(user)}/{index}"
            if os.path.lexists(path):
                os.unlink(path)


class Pop3d(Server):
    indexes = ["pop3d.index"]

    def __init__(self):
        super().__init__("pop3d", os.environ.get("POP3D", f"{TREE}/pop3d"), "pop3d")

    def command(self, user):
        return [self.binary, "-m", "pop3d"]


class Dovecot(Server):
    indexes = ["dovecot-uidlist", "dovecot-uidvalidity", "dovecot.index", "dovecot.index.log",
               "dovecot.index.cache", "dovecot-keywords", "dovecot.list.index", "dovecot.list.index.log",
               "maildirfolder", "dovecot.mailbox.log"]
    processes = ("pop3", "pop3-login")

    def __init__(self, name, port, login="", pop3="", more=""):
        super().__init__(name, f"{PEERS}/usr/sbin/dovecot", "dovecot")
        self.port, self.login, self.pop3, self.more = port, login, pop3, more

    def start(self):
        base = f"/run/{self.name.replace(' ', '-')}"
        path = f"/etc/{self.name.replace(' ', '-')}.conf"
        write(path, DOVECOT.format(base=base, name=self.name.split()[-1], port=self.port, login=self.login,
                                   pop3=self.pop3, more=self.more))
        os.makedirs(base, exist_ok=True)
        self.daemon = subprocess.Popen([self.binary, "-F", "-c", path], stdin=subprocess.DEVNULL).pid
        wait_for_port(self.port)

    def forget(self, user):
        super().forget(user)
        for name in os.listdir(self.maildir(user)):
            if name.startswith(("dovecot-uidvalidity.", "dovecot.index")):
                os.unlink(f"{self.maildir(user)}/{name}")


class Courier(Server):
    indexes = ["courierpop3dsizelist"]
    environment = ["AUTHMODULES=authdaemon", "MAILDIRPATH=courier", "TCPREMOTEIP=127.0.0.1",
                   "TCPLOCALIP=127.0.0.1", "TCPREMOTEPORT=40000", "TCPLOCALPORT=110"]

    def __init__(self):
        super().__init__("courier", f"{PEERS}/usr/lib/courier/courier/courierpop3login", "courier")

    def command(self, user):
        return [self.binary, "/usr/lib/courier/courier/courierpop3d", "courier"]

    def start(self):
        write("/etc/courier/authdaemonrc", 'authmodulelist="authpam"\nauthmodulelistorig="authpam"\n'
              'daemons=5\nauthdaemonvar=/run/courier/authdaemon\nDEBUG_LOGIN=0\nDEFAULTOPTIONS=""\n'
              'LOGGEROPTS=""\n')
        os.makedirs("/run/courier/authdaemon", exist_ok=True)
        subprocess.Popen(["/usr/lib/courier/courier-authlib/authdaemond"], stdin=subprocess.DEVNULL,
                         stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                         env={"authmodulelist": "authpam", "authmodulelistorig": "authpam", "daemons": "5",
                              "authdaemonvar": "/run/courier/authdaemon", "PATH": "/usr/sbin:/usr/bin",
                              "DEBUG_LOGIN": "0", "DEFAULTOPTIONS": ""})
        for _ in range(50):
            if os.path.exists("/run/courier/authdaemon/socket"):
                break
            time.sleep(0.1)


class Solid(Server):
    needs_tcp = True

    def __init__(self):
        super().__init__("solid-pop3d", f"{PEERS}/usr/sbin/solid-pop3d", "solid")

    def command(self, user):
        return [self.binary, "-f", "/etc/spop3d.conf"]

    def start(self):
        write("/etc/spop3d.conf", SOLID)
        os.makedirs("/var/lib/solid-pop3d/bulletins", exist_ok=True)


class Mailutils(Server):
    def __init__(self):
        super().__init__("mailutils", f"{PEERS}/usr/sbin/pop3d", "mailutils")

    def command(self, user):
        return [self.binary, "--inetd"]

    def start(self):
        write("/etc/mailutils.conf", MAILUTILS)
        os.makedirs("/var/lock/subsys/mail", exist_ok=True)
        os.chmod("/var/lock/subsys/mail", 0o1777)


class Popa3d(Server):
    def __init__(self):
        super().__init__("popa3d", f"{PEERS}/usr/sbin/popa3d", "mbox")

    def maildir(self, user):
        return f"/var/mail/{user}"


class Floor(Server):
    """A program of floor_*.c; command takes what the row needs."""
    is_floor = True

    def __init__(self, name, arguments, remark=""):
        super().__init__(name, f"{BIN}/floor_{name}", "floor")
        self.arguments, self.remark = arguments, remark

    def command(self, user):
        return [self.binary, *self.arguments(user)]


class Cat(Server):
    """/bin/cat of a file."""
    is_floor = True

    remark = ""

    def __init__(self, path):
        super().__init__("cat", "/bin/cat", "floor")
        self.path = path

    def command(self, user):
        return [self.binary, self.path]


def wait_for_port(port):
    for _ in range(100):
        with socket.socket() as one:
            if one.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise TimeoutError(f"nobody listens on port {port}")


def peers():
    ready = "  process_min_avail = 4\n  service_count = 0\n"
    return [
        Dovecot("dovecot", 1110),
        Dovecot("dovecot ready", 1111, ready, "  process_min_avail = 8\n  service_count = 1000\n",
                "service auth {\n  client_limit = 2000\n}\n"),
        Courier(), Solid(), Popa3d(), Mailutils(),
    ]
