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
import corpus
from common import TREE, check
from matrix import CLIENT_UID, HERE, Client


def first_version(text):
    found = re.search(r"\d+(\.\d+)+\w*", text)
    return found[0] if found else "?"


def said(*command):
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          stdin=subprocess.DEVNULL).stdout


class Script(Client):
    """A library, used by a small program of ours that keeps the unique-ids it has seen."""

    interpreter = ()

    def fetch(self, run):
        shutil.rmtree(run.mail, ignore_errors=True)
        run.folder(run.mail)
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

    def missing(self):
        return super().missing() or ("" if os.path.exists(self.classes) else self.classes)

    def version(self):
        return first_version(said("dpkg-query", "-W", "libmail-java"))

    def trust(self, run):
        """Made once: the authority in Java's own form, and the program."""
        folder = f"{common.ROOM}/java"
        if not os.path.exists(f"{folder}/Fetch.class"):
            quiet = "-J-XX:-UsePerfData"        # which would leave a folder in /tmp
            common.run("keytool", quiet, "-importcert", "-noprompt", "-alias", "test", "-file",
                       run.authority, "-keystore", f"{common.ROOM}/trust", "-storetype", "PKCS12",
                       "-storepass", "public")
            common.run("javac", quiet, "-cp", self.classes, "-d", folder, f"{HERE}/Fetch.java")
            os.chmod(f"{common.ROOM}/trust", 0o644)
        return f"{common.ROOM}/trust"

    @property
    def interpreter(self):
        return ("java", "-XX:-UsePerfData", "-Xmx128m", "-XX:TieredStopAtLevel=1", "-cp",
                f"{common.ROOM}/java:{self.classes}:/usr/share/java/javax.activation.jar", "Fetch")


class Node(Script):
    name, program = "Node node-pop3", "node"
    transports = ("clear", "pop3s")
    note = "no STLS; hands over doubled dots, the driver mends it"
    interpreter = ("node", f"{HERE}/fetch.js")
    folder, library = f"{TREE}/build/node_modules", "node-pop3"

    def missing(self):
        return super().missing() or ("" if os.path.isdir(f"{self.folder}/{self.library}") else self.library)

    def version(self):
        return first_version(re.search(r'"version": "[^"]*"', common.read_text(
            f"{self.folder}/{self.library}/package.json"))[0])

    def options(self, run):
        return {"env": {"NODE_PATH": self.folder, "LIBRARY": self.library}}


class OldNode(Node):
    name = "Node node-pop3 before 0.9.1"
    library = "node-pop3-old"
    note = "sends LIST and UIDL with a blank behind; else as the one above"


class OldCurl(Script):
    name, program = "curl before 7.21.7", "python3"
    deletes = keeps = False
    note = "its commands alone, which a script sends: LIST with a blank behind, RETR; it had no other"
    interpreter = ("/usr/bin/python3", f"{HERE}/fetch_old_curl.py")

    def version(self):
        return "transcribed"


class Pop3Client(Script):
    name, program = "Perl Mail::POP3Client", "perl"
    transports = ("clear", "pop3s")
    note = "no STLS of its own"
    interpreter = ("/usr/bin/perl", f"{HERE}/fetch_pop3client.pl")
    module = "/usr/share/perl5/Mail/POP3Client.pm"

    def missing(self):
        return super().missing() or ("" if os.path.exists(self.module) else self.module)

    def version(self):
        return first_version(said("dpkg-query", "-W", "libmail-pop3client-perl"))


class PhpImap(Script):
    name, program = "PHP imap (c-client)", "php"
    transports = ("clear", "pop3s")
    keeps = False
    note = "over STLS it speaks TLS 1.0 alone; tells no unique-ids"
    interpreter = ("php", f"{HERE}/fetch.php")

    def missing(self):
        return super().missing() or ("" if "imap" in said("php", "-m").split() else "php-imap")

    def version(self):
        return first_version(said("php", "--version"))


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


class Movemail(Client):
    name = "mailutils movemail"
    program = "movemail.mailutils"
    note = "adds X-UIDL when it keeps; stores the large message with a hole, though it got all of it"

    # It writes what it gets into a file, in blocks of 8,192 octets, and the second block of a
    # message that begins within the first 8,192 not behind the first one but at offset 8,192: as
    # strace shows, and on the wire no octet is missing. So it overwrites as many octets as lie
    # before the message. Seen in 3.15 with this corpus; no other message is that long or there.
    BLOCK = 8192
    before = sum(len(corpus.plain_lines(corpus.CORPUS[name])) for name in
                 ("plain", "dots", "8-bit", "empty", "long lines"))
    distorts = {"large": lambda content, block=BLOCK, before=before:
                content[:block - before] + content[block:]}

    def version(self):
        return first_version(said("movemail.mailutils", "--version"))

    def read(self, content):
        return re.sub(rb"\nX-UIDL: [^\n]*\n\n", b"\n\n", super().read(content), count=1)

    def fetch(self, run):
        run.folder(run.mail)        # the X-UIDL in it is its memory
        config = run.file("rc", f'tls {{ ssl-ca-file "{run.authority}"; }}\n')
        place = (f"{'pops' if run.transport == 'pop3s' else 'pop'}://{run.user}:"
                 f"{run.password.replace(' ', '%20')}@{run.host}:{run.port}"
                 f"{';notls' if run.transport == 'clear' else ''}")
        run.command("movemail.mailutils", f"--config-file={config}", *(["-p", "--uidl"] if run.keep else []),
                    place, f"mh:{run.mail}")
        return run.fetched()


class Nmh(Client):
    name, program = "nmh inc", "/usr/bin/mh/inc"
    keeps = False
    note = "has no memory of what it has seen"

    def version(self):
        return first_version(said("dpkg-query", "-W", "nmh"))

    def fetch(self, run):
        run.folder(run.mail)
        profile = run.file(".mh_profile", f"Path: {run.mail}\ncredentials: file:{run.home}/netrc\n")
        run.file("netrc", f'machine {run.host} login {run.user} password "{run.password}"\n')
        tls = {"clear": "-notls", "pop3s": "-initialtls", "STLS": "-tls"}[run.transport]
        run.folder(f"{run.mail}/inbox")
        run.command(self.program, "-host", run.host,
                    "-port", str(run.port), "-user", run.user, tls,
                    "-notruncate" if run.keep else "-truncate", "+inbox", "-silent",
                    env={"MH": profile})
        return run.fetched(f"{run.mail}/inbox")


class Emacs(Client):
    name = "Emacs pop3.el"
    program = "emacs"
    note = "adds Content-Length, and X-UIDL when it keeps"

    def version(self):
        return first_version(said("emacs", "--version"))

    def fetch(self, run):
        stream = {"clear": "nil", "pop3s": "'ssl", "STLS": "'starttls"}[run.transport]
        box = f"{run.home}/box"
        if os.path.exists(box):
            os.unlink(box)
        # it asks whether clear text is meant, and whether a certificate is that signed itself, though
        # it is known; without a terminal nobody answers
        program = run.file("fetch.el", f"""(require 'pop3)
(require 'nsm)
(setq gnutls-trustfiles '("{run.authority}") nsm-settings-file "{run.home}/nsm")
(advice-add 'nsm-query :override (lambda (_host _port status &rest _)
  (let ((warnings (plist-get status :warnings)))
    (unless (or (memq :unknown-ca warnings) (memq :invalid warnings)) 'session))))
(setq pop3-mailhost "{run.host}" pop3-port {run.port} pop3-stream-type {stream}
      pop3-maildrop "{run.user}" pop3-password "{run.password}"
      pop3-leave-mail-on-server {'t' if run.keep else 'nil'} pop3-uidl-file "{run.home}/ids")
(pop3-movemail "{box}")
""")
        run.command("emacs", "-Q", "--batch", "-l", program)
        return self.messages(box)

    @staticmethod
    def messages(box):
        """Cut apart by Content-Length: From_ lines inside are not quoted."""
        with open(box, "rb") as file:
            rest = file.read()
        found = []
        while rest:
            head = re.match(rb"From [^\n]*\n((?:[^\n]+\n)*?)Content-Length: (\d+)\n"
                            rb"(?:X-UIDL: [^\n]*\n)?\n", rest)
            check(head, f"no From_ line or Content-Length at {rest[:300]!r}")
            end = head.end() + int(head[2])
            found.append(head[1] + b"\n" + rest[head.end():end])
            check(rest[end:end + 1] in (b"\n", b""), f"a message goes on at {rest[end:end + 100]!r}")
            rest = rest[end + 1:]
        return found


class Doveadm(Client):
    name = "Dovecot pop3c"
    program = "doveadm"
    transports = ("clear",)
    deletes = False
    note = "doveadm backup -R; never deletes; over TLS, with stunnel in front, it stalls"

    def version(self):
        return first_version(said("dpkg-query", "-W", "dovecot-core"))

    def fetch(self, run):
        config = run.file("rc", f"""protocols =
base_dir =
log_path = /dev/stderr
mail_location = maildir:{run.mail}
mail_uid = {CLIENT_UID}
mail_gid = {CLIENT_UID}
default_internal_user = bob
default_internal_group = bob
ssl = no
pop3c_host = {run.host}
pop3c_port = {run.port}
pop3c_user = {run.user}
pop3c_password = {run.password}
namespace inbox {{
  inbox = yes
  separator = /
  prefix =
}}
""")
        backup = ("doveadm", "-c", config, "backup", "-R", "pop3c:")
        # now and then it takes its own INBOX for another mailbox; run again, it does not
        if "INBOX can't be deleted" in run.command(*backup, ok=(0, 65)):
            run.command(*backup)
        return run.fetched()


CLIENTS = [Curl(), OldCurl(), Poplib(), NetPop3(), Pop3Client(), RubyPop(), Java(), PhpImap(), Node(),
           OldNode(), Fetchmail(), Getmail(), Mpop(), Fdm(), Snail(), Movemail(), Nmh(), Emacs(), Doveadm()]
