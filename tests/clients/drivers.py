"""
drivers.py - how each client is told to fetch a maildrop. Beside a client stand
what it does to a message and what it cannot do; all else must be exact.

Runs in:   tests/clients/matrix.py.
May touch: the client's home.
"""
import os
import re
import shutil
import subprocess

import common
from common import TREE
from matrix import CLIENT_UID, HERE, Client


def first_version(text):
    return re.search(r"\d+(\.\d+)+\w*", text)[0]


def said(*command):
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          stdin=subprocess.DEVNULL).stdout


class Script(Client):
    """A library, used by a small program of ours that keeps the unique-ids it has seen."""

    interpreter = ()

    def fetch(self, run):
        shutil.rmtree(run.mail, ignore_errors=True)
        os.makedirs(run.mail)
        os.chown(run.mail, CLIENT_UID, CLIENT_UID)
        run.command(*self.interpreter, run.host, str(run.port), run.transport, self.trust(run),
                    run.user, run.password, run.mail, f"{run.home}/seen",
                    "yes" if run.keep else "no", **self.options(run))
        return run.fetched()

    def trust(self, run):
        return run.authority

    def options(self, run):
        return {}


class Poplib(Script):
    name, program = "Python poplib", "python3"
    interpreter = ("/usr/bin/python3", f"{HERE}/fetch_poplib.py")

    def version(self):
        return first_version(said("/usr/bin/python3", "--version"))


class NetPop3(Script):
    name, program = "Perl Net::POP3", "perl"
    interpreter = ("/usr/bin/perl", f"{HERE}/fetch.pl")

    def version(self):
        return said("perl", "-MNet::POP3", "-e", "print $Net::POP3::VERSION")


class RubyPop(Script):
    name, program = "Ruby net/pop", "ruby"
    transports = ("clear", "pop3s")
    note = "no STLS"
    interpreter = ("/usr/bin/ruby", f"{HERE}/fetch.rb")

    def version(self):
        return first_version(said("ruby", "--version"))


class Java(Script):
    name, program = "Java Mail", "javac"
    classes = "/usr/share/java/javax.mail.jar"

    def version(self):
        return first_version(said("dpkg-query", "-W", "libmail-java"))

    def trust(self, run):
        """Made once: the authority in Java's own form, and the program."""
        folder = f"{common.ROOM}/java"
        if not os.path.exists(f"{folder}/Fetch.class"):
            common.run("keytool", "-importcert", "-noprompt", "-alias", "test", "-file",
                       run.authority, "-keystore", f"{common.ROOM}/trust", "-storetype", "PKCS12",
                       "-storepass", "public")
            common.run("javac", "-cp", self.classes, "-d", folder, f"{HERE}/Fetch.java")
            os.chmod(f"{common.ROOM}/trust", 0o644)
        return f"{common.ROOM}/trust"

    @property
    def interpreter(self):
        return ("java", "-Xmx128m", "-XX:TieredStopAtLevel=1", "-cp",
                f"{common.ROOM}/java:{self.classes}:/usr/share/java/javax.activation.jar", "Fetch")


class Node(Script):
    name, program = "Node node-pop3", "node"
    transports = ("clear", "pop3s")
    note = "no STLS; hands over doubled dots, the driver mends it"
    interpreter = ("node", f"{HERE}/fetch.js")
    folder = f"{TREE}/build/node_modules"

    def version(self):
        return first_version(common.read_text(f"{self.folder}/node-pop3/package.json"))

    def options(self, run):
        return {"env": {"NODE_PATH": self.folder}}


class Curl(Client):
    name = program = "curl"

    def version(self):
        return first_version(said("curl", "--version"))

    def fetch(self, run):
        scheme = "pop3s" if run.transport == "pop3s" else "pop3"
        place = f"{scheme}://{run.host}:{run.port}/"
        curl = ["curl", "-sS", "--user", f"{run.user}:{run.password}", "--cacert", run.authority]
        curl += ["--ssl-reqd"] if run.transport == "STLS" else []
        seen_file = f"{run.home}/seen"
        seen = common.read_text(seen_file).split() if os.path.exists(seen_file) else []
        new = [line.split() for line in run.command(*curl, "-X", "UIDL", place).splitlines()]
        new = [(number, unique_id) for number, unique_id in new if unique_id not in seen]
        shutil.rmtree(run.mail, ignore_errors=True)
        numbers = ",".join(number for number, _ in new)
        run.command(*curl, f"{place}{{{numbers}}}", "--create-dirs", "-o", f"{run.mail}/#1")
        with open(seen_file, "a") as file:
            file.writelines(f"{unique_id}\n" for _, unique_id in new)
        if not run.keep:
            run.command(*curl, "-l", "-X", "DELE", f"{place}{{{numbers}}}")
        return run.fetched()


class Fetchmail(Client):
    name = program = "fetchmail"

    def version(self):
        return first_version(said("fetchmail", "--version"))

    def fetch(self, run):
        run.maildir()
        store = run.file("store", "#!/bin/sh\ncat >Mail/new/$$.$(date +%N)\n", 0o700)
        tls = {"clear": "sslproto ''", "pop3s": "ssl sslproto 'tls1.2+'", "STLS": "sslproto 'tls1.2+'"}
        rules = "keep" if run.keep else "nokeep fetchall"
        config = run.file("rc", f"""set invisible
set no bouncemail
set idfile '{run.home}/ids'
poll {run.host} protocol pop3 port {run.port} uidl
    user '{run.user}' password '{run.password}' {tls[run.transport]} sslcertfile '{run.authority}'
    {rules} no rewrite pass8bits mda '{store}'
""")
        run.command("fetchmail", "-f", config, "--pidfile", f"{run.home}/pid", "-v", ok=(0, 1))
        return run.fetched()


class Getmail(Client):
    name = program = "getmail"
    transports = ("clear", "pop3s")
    note = "no STLS; adds Return-Path; the driver keeps a race between its own processes away"

    def version(self):
        return first_version(said("getmail", "--version"))

    def read(self, content):
        return super().read(content).removeprefix(b"Return-Path: <unknown>\n")

    def fetch(self, run):
        run.maildir()
        kind = "SimplePOP3SSLRetriever" if run.transport == "pop3s" else "SimplePOP3Retriever"
        trust = f"ca_certs = {run.authority}\n" if run.transport == "pop3s" else ""
        run.file("getmail/rc", f"""[retriever]
type = {kind}
server = {run.host}
port = {run.port}
username = {run.user}
password = {run.password}
{trust}
[destination]
type = Maildir
path = {run.mail}/
[options]
delete = {not run.keep}
read_all = false
received = false
delivered_to = false
""")
        # a child that ends before its parent waits is waited for until a time-out: slow it down
        run.command("/usr/bin/python3", "-c", """
import os, runpy, sys, time
fork = os.fork
os.fork = lambda: fork() or (time.sleep(0.1), 0)[1]
runpy.run_path("/usr/bin/getmail", run_name="__main__")
""", "--getmaildir", f"{run.home}/getmail", "--rcfile", "rc")
        return run.fetched()


class Mpop(Client):
    name = program = "mpop"

    def version(self):
        return first_version(said("mpop", "--version"))

    def fetch(self, run):
        run.maildir()
        tls = {"clear": "tls off", "pop3s": "tls on\ntls_starttls off",
               "STLS": "tls on\ntls_starttls on"}[run.transport]
        trust = f"tls_trust_file {run.authority}\n" if run.is_secured else ""
        config = run.file("rc", f"""account default
host {run.host}
port {run.port}
user {run.user}
password "{run.password}"
auth user
{tls}
{trust}delivery maildir {run.mail}
uidls_file {run.home}/ids
received_header off
keep {'on' if run.keep else 'off'}
""")
        run.command("mpop", "-C", config)
        return run.fetched()


class Fdm(Client):
    name = program = "fdm"

    def version(self):
        return first_version(said("dpkg-query", "-W", "fdm"))

    def fetch(self, run):
        run.maildir()
        kind = "pop3s" if run.transport == "pop3s" else "pop3"
        stls = " starttls" if run.transport == "STLS" else ""
        insecure = " insecure" if run.transport == "clear" else ""
        config = run.file("rc", f"""set no-received
set unmatched-mail keep
set lock-file "{run.home}/lock"
account "a" {kind} server "{run.host}" port {run.port} user "{run.user}" pass "{run.password}"{
    f' new-only cache "{run.home}/cache"' if run.keep else ''}{stls}{insecure}
action "store" maildir "{run.mail}"
match all action "store"
""")
        run.command("fdm", "-f", config, "-v", *(["-k"] if run.keep else []), "fetch")
        return run.fetched()


class Snail(Client):
    name = program = "s-nail"
    keeps = False
    note = "quotes From_ lines, adds a blank line at the end; has no memory of what it has seen"
    distorts = {"*": lambda content: re.sub(rb"(?m)^From ", b">From ", content)
                + (b"" if content.endswith(b"\n\n") else b"\n")}

    def version(self):
        return first_version(said("s-nail", "--version"))

    def fetch(self, run):
        run.maildir()
        scheme = "pop3s" if run.transport == "pop3s" else "pop3"
        login = f"{run.user}:{run.password.replace(' ', '%20')}"
        commands = run.file("commands", f"copy * maildir://{run.mail}\n"
                            + ("exit\n" if run.keep else "delete *\nquit\n"))
        settings = ["v15-compat", "pop3-bulk-load", f"tls-ca-file={run.authority}",
                    "tls-verify=strict", "newfolders=maildir", "nofollowup", "keep", "hold"]
        settings += ["pop3-use-starttls"] if run.transport == "STLS" else []
        options = [word for setting in settings for word in ("-S", setting)]
        with open(commands) as stdin:
            run.command("s-nail", "-:/", "-#", *options, "-f",
                        f"{scheme}://{login}@{run.host}:{run.port}", stdin=stdin)
        return run.fetched()


CLIENTS = [Curl(), Poplib(), NetPop3(), RubyPop(), Java(), Node(), Fetchmail(), Getmail(), Mpop(),
           Fdm(), Snail()]
NOT_DRIVEN = [
    ("mailutils movemail", "a large message behind a small one is stored with octets missing, "
     "which all clients above get right; the cause is not found"),
    ("neomutt, alpine, claws-mail, sylpheed, Thunderbird", "each wants a terminal or a display; "
     "no driver yet"),
    ("Emacs pop3.el, Dovecot pop3c", "no driver yet"),
]
