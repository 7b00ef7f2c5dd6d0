#!/usr/bin/python3
"""
demo.py - one session with pop3d through real PAM, to be read.

Makes a sample Maildir and a PAM service in a temporary folder, plays one
session, shows what is on disk afterwards, and prints the command for having
the same session by hand. Needs no root and changes nothing on the system; as
root the maildrop belongs to the account nobody.

Runs in:   the terminal of whoever tries pop3d.
May touch: the temporary folder it makes, which stays for the session by hand.
"""
import os
import pwd
import subprocess
import sys
import tempfile

TREE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
USER, PASSWORD = "demo", "open sesame"
SHOWN = 14              # lines shown of a long reply

MESSAGES = [
    ("plain text", "From: Ada <ada@example.org>\nSubject: plain text\n\nThe simplest of messages.\n"),
    ("8 bits", "From: Zoë <zoe@example.org>\nSubject: Grüße\nMIME-Version: 1.0\n"
     "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n"
     "Grüße aus Zürich. 日本語も。\n"),
    ("an attachment", "From: Bob <bob@example.org>\nSubject: a file\nMIME-Version: 1.0\n"
     'Content-Type: multipart/mixed; boundary="cut-here"\n\n--cut-here\nContent-Type: text/plain\n\n'
     "The file is below.\n\n--cut-here\nContent-Type: application/octet-stream\n"
     'Content-Disposition: attachment; filename="data.bin"\nContent-Transfer-Encoding: base64\n\n'
     + "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKiss\n" * 20 + "--cut-here--\n"),
    ("dots at line starts", "From: Dot <dot@example.org>\nSubject: dots\n\n.hidden files begin with a dot\n"
     "..\n.\nthe line above was a dot alone\n"),
    ("no end to its last line", "From: Eve <eve@example.org>\nSubject: cut short\n\nthis line has no end"),
    ("stored with CRLF", "From: Win <win@example.org>\r\nSubject: CRLF\r\n\r\nOther line ends.\r\n"),
]

SCRIPT = [
    ("A wrong password: two seconds later one answer, whatever was wrong.", None),
    (f"USER {USER}", "line"), ("PASS a guess", "line"),
    ("The right one.", None),
    (f"USER {USER}", "line"), (f"PASS {PASSWORD}", "line"),
    ("What is there: count and octets, exact ones.", None),
    ("STAT", "line"), ("LIST", "lines"), ("UIDL", "lines"),
    ("The head of a message and one line of its body.", None),
    ("TOP 2 1", "lines"),
    ("A message whole; a dot at the start of a line is doubled on the wire.", None),
    ("RETR 4", "lines"),
    ("Deletion is a mark; it is done at QUIT.", None),
    ("DELE 1", "line"), ("STAT", "line"), ("QUIT", "line"),
]


def coloured(code, text):
    if not sys.stdout.isatty() or "NO_COLOR" in os.environ:
        return text
    return f"\033[{code}m{text}\033[0m"


def show(line, code):
    sys.stdout.write(coloured(code, line) + "\n")


def make(root, account):
    """The maildrop and the PAM service; returns pop3d's options for them."""
    maildir, pam = f"{root}/mail/{USER}", f"{root}/pam"
    for folder in ("new", "cur", "tmp"):
        os.makedirs(f"{maildir}/{folder}")
    os.mkdir(pam)
    for number, (_, text) in enumerate(MESSAGES, 1):
        with open(f"{maildir}/new/{1790000000 + number}.M{number}P{os.getpid()}.demo", "wb") as file:
            file.write(text.encode())
    # PAM hands the password to the script on its standard input, without a line end
    with open(f"{root}/checker", "w") as file:
        file.write("# the PAM service of the demo asks this script whether a password is right\n"
                   f'IFS= read -r password\ntest "$PAM_USER:$password" = "{USER}:{PASSWORD}"\n')
    with open(f"{pam}/pop3", "w") as file:
        file.write("auth [success=done default=ignore] pam_exec.so expose_authtok quiet "
                   f"/bin/sh {root}/checker\nauth required pam_deny.so\n"
                   "account required pam_permit.so\n")
    if os.geteuid() == 0:
        os.chmod(root, 0o711)
        for folder, _, files in os.walk(f"{root}/mail"):
            for path in [folder] + [f"{folder}/{name}" for name in files]:
                os.chown(path, account.pw_uid, account.pw_gid)
    return ["-C", pam, "-m", f"{root}/mail/%u", "-v", account.pw_name]


def converse(command, log):
    """Plays the session; whether each reply was as it should be."""
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log)
    refused = 0

    def reply(kind):
        nonlocal refused
        line = server.stdout.readline()
        refused += line.startswith(b"-ERR")
        show("S: " + line.decode("utf-8", "replace").rstrip("\r\n"), "31" if line.startswith(b"-ERR") else "32")
        rest = []
        while kind == "lines" and line.startswith(b"+OK"):
            rest.append(server.stdout.readline())
            if rest[-1] in (b".\r\n", b""):
                break
        for number, text in enumerate(rest):
            if len(rest) > SHOWN and number == SHOWN - 2:
                show(f"   ... {len(rest) - SHOWN + 1} lines more ...", "2")
            elif number < SHOWN - 2 or len(rest) <= SHOWN or number == len(rest) - 1:
                show("S: " + text.decode("utf-8", "replace").rstrip("\r\n"), "2;32")
        return bool(line)

    reply("line")
    for text, kind in SCRIPT:
        if kind is None:
            show(f"\n   {text}", "1")
            continue
        show(f"C: {text}", "36")
        server.stdin.write(text.encode() + b"\r\n")
        server.stdin.flush()
        if not reply(kind):
            break
    server.stdin.close()
    return server.wait() == 0 and refused == 1


def show_disk(root):
    for folder in ("new", "cur"):
        path = f"{root}/mail/{USER}/{folder}"
        for name in sorted(os.listdir(path)):
            number = int(name.split(".")[0]) - 1790000000
            size = os.path.getsize(f"{path}/{name}")
            print(f"   {folder}/{name:<32} {size:>5} octets: {MESSAGES[number - 1][0]}")


def main():
    sys.stdout.reconfigure(errors="replace")
    program = os.environ.get("POP3D", "./pop3d")
    os.chdir(TREE)
    try:
        account = pwd.getpwnam("nobody") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
    except KeyError:
        sys.exit("demo: this uid has no account, and pop3d serves accounts only")
    if not os.access(program, os.X_OK):
        sys.exit(f"demo: {program} is missing: run make first")
    root = tempfile.mkdtemp(prefix="pop3d-demo.")
    options = make(root, account)
    show("\nA Maildir of six messages:", "1")
    show_disk(root)
    show("\nOne session, through PAM. C: is the client, S: is pop3d.", "1")
    with open(f"{root}/log", "w+") as log:
        is_good = converse([program, "-e", *options], log)
        show("\nOn disk afterwards: message 1 is gone, message 4 has been seen and moved to cur/.", "1")
        show_disk(root)
        show("\nWhat the log says:", "1")
        log.seek(0)
        sys.stdout.write("".join("   " + line for line in log))
    show("\nThe same session by hand, on this terminal "
         f"(USER {USER}, PASS {PASSWORD}, LIST, ..., QUIT):", "1")
    print(f"   {program} " + " ".join(options))
    show("And when you are done:", "1")
    print(f"   rm -r {root}")
    if not is_good:
        sys.exit("demo: the session did not go as it should")


if __name__ == "__main__":
    main()
