"""
kernel.py - the fences of pop3d under Debian's kernel of another machine.

qemu-user, with which the rest of tests/machines works, obeys no filter of
system calls. So a whole machine is emulated here. It starts tests/machines/init,
which holds a session and then tries what tests/torture/fence_hooks.c can try.

Runs in:   tests/machines/run.py.
May touch: the folder that it is given.
"""
import errno
import os
import re
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
TREE = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.dirname(HERE))

from harness import variant

HOOKS = "tests/torture/fence_hooks.c"
# Against a machine that never ends. The first counts only its own work; the second, for one that does nothing,
# is long, because others may keep this machine busy.
PROCESSOR_SECONDS, SECONDS = 900, 3600

# machine: the package that depends on its kernel, how to start it, its console
KERNELS = {
    "armhf": ("linux-image-armmp", "qemu-system-arm -M virt -cpu cortex-a15", "ttyAMA0"),
    "arm64": ("linux-image-arm64", "qemu-system-aarch64 -M virt -cpu cortex-a57", "ttyAMA0"),
    "i386": ("linux-image-686-pae", "qemu-system-i386", "ttyS0"),
    "s390x": ("linux-image-s390x", "qemu-system-s390x -M s390-ccw-virtio", "ttysclp0"),
    "ppc64el": ("linux-image-powerpc64le", "qemu-system-ppc64 -M pseries", "hvc0"),
}

# Ends the session in both processes; ends it in AUTHORIZATION; TRANSACTION gets an error; works.
CAUGHT = ["executable-memory:-", "executable-later:-", "send-to:-", "fork:-", "root:-", "kill-parent:-",
          "trace-parent:-"]
CAUGHT_BEFORE = ["socket:-", "connect:-", "open:/etc/passwd"]
# the filter says no; in the jail there is no such file
REFUSED = {"socket:-": -errno.EACCES, "connect:-": -errno.EACCES, "open:/etc/passwd": -errno.ENOENT}
WORKS = ["open-below:new/1.a", "create:new/planted"]
ATTEMPTS = [f"AUTHORIZATION:{what}" for what in CAUGHT + CAUGHT_BEFORE] + \
           [f"TRANSACTION:{what}" for what in [*CAUGHT, *REFUSED, *WORKS]]
# where the filter cannot see what mmap() is asked for, as auth/filter.c says
BLIND = {"s390x": ["TRANSACTION:executable-memory:-"]}

# The octets of a message that is nearly all a hole; it is two line ends more, and one that it lacks, when it is sent.
LARGE = 2362232016

ACCOUNTS = {"passwd": "root:x:0:0::/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n"
                      "alice:x:1000:1000::/home/alice:/bin/sh\n",
            "group": "root:x:0:\nnogroup:x:65534:\nalice:x:1000:\n",
            "nsswitch.conf": "passwd: files\ngroup: files\nshadow: files\n",
            "pam.d/pop3": "auth required pam_unix.so nodelay\naccount required pam_unix.so\n",
            "pam.d/other": "auth required pam_deny.so\naccount required pam_deny.so\n"}


def build_fences(machine):
    """pop3d with tests/torture/fence_hooks.c in it."""
    program = f"{machine.build}/pop3d-fences"
    hooks = f"{machine.build}/fence_hooks.o"
    subprocess.run([*machine.compiler, "-Os", "-D_GNU_SOURCE", "-c", "-fPIE", "-o", hooks,
                    HOOKS], cwd=TREE, check=True)
    if os.path.exists(f"{TREE}/{program}"):
        os.remove(f"{TREE}/{program}")
    wraps = " ".join(variant.link_flags(f"{TREE}/{HOOKS}"))
    machine.make(f"PROGRAM={program}", "WHOLE=-fno-lto", f"LDFLAGS={hooks} {wraps}", program)
    return f"{TREE}/{program}"


def furnish(machine, root):
    """All that is on the machine."""
    shutil.rmtree(root, ignore_errors=True)
    for name in ("bin", "dev", "home", "proc", "tmp", "etc/pam.d"):
        os.makedirs(f"{root}/{name}")
    machine.packages.unpack(["busybox-static"], root)
    for name in ("lib", "lib64", "usr/lib"):
        if os.path.isdir(f"{machine.root}/{name}"):
            shutil.copytree(f"{machine.root}/{name}", f"{root}/{name}", symlinks=True, dirs_exist_ok=True)
    for folder in os.listdir(f"{root}/usr/lib"):
        shutil.rmtree(f"{root}/usr/lib/{folder}/gconv", ignore_errors=True)
    shutil.copy(f"{TREE}/{machine.build}/pop3d", f"{root}/bin/pop3d")
    shutil.copy(build_fences(machine), f"{root}/bin/pop3d-fences")
    shutil.copy(f"{HERE}/init", f"{root}/init")
    os.chmod(f"{root}/init", 0o755)
    hashed = subprocess.run(["openssl", "passwd", "-6", "-salt", "machines", "secret"],
                            capture_output=True, text=True, check=True).stdout.strip()
    files = {**{f"etc/{name}": text for name, text in ACCOUNTS.items()},
             "etc/shadow": f"alice:{hashed}:19000:0:99999:7:::\n",
             "size": str(LARGE), "attempts": "".join(f"{attempt}\n" for attempt in ATTEMPTS)}
    for name, text in files.items():
        with open(f"{root}/{name}", "w") as file:
            file.write(text)


def boot(machine):
    """What the machine says of each attempt."""
    package, command, console = KERNELS[machine.name]
    folder = f"{TREE}/{machine.build}/kernel"
    furnish(machine, f"{folder}/root")
    subprocess.run(f"find . | cpio -o -H newc -R 0:0 --quiet | gzip -1 >{folder}/initrd", shell=True, check=True,
                   cwd=f"{folder}/root")
    done = subprocess.run(["timeout", str(SECONDS), "prlimit", f"--cpu={PROCESSOR_SECONDS}", "--", *command.split(),
                           "-m", "512", "-nographic", "-no-reboot", "-nic", "none",
                           "-kernel", machine.packages.kernel(package), "-initrd", f"{folder}/initrd",
                           "-append", f"console={console} quiet panic=-1"],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    said = done.stdout.decode("latin-1").replace("\r\n", "\n").replace("\r", "")
    with open(f"{folder}/said", "w") as file:
        file.write(said)
    parts = re.split(r"^TRY (.*)\n", said, flags=re.MULTILINE)
    assert len(parts) > 2, f"the kernel did not come as far as init: {said[-2000:]}"
    return dict(zip(parts[1::2], parts[2::2]))


def is_served(said):
    return ("+OK 1 22\n+OK 1 messages\n1 1.a\n.\n+OK 22 octets\nSubject: one\n\n..dot\n.\n" in said and
            "status 0, left 0" in said and "UNCONFINED" not in said and "forbidden" not in said and
            "LOGOUT, user=alice" in said.split("status 0")[1])


def is_large_served(said):
    """Counting finds the end of the hole by a system call that nothing else needs."""
    return (f"+OK 1 {LARGE + 4}\n" in said and f"\n1 {LARGE + 4}\n.\n" in said and "\nSubject: big\n\n.\n" in said and
            "status 0" in said and "forbidden" not in said)


def is_right(attempt, said, is_blind):
    """What came of an attempt, as the list that it is on wants it."""
    place, what = attempt.split(":", 1)
    tried = re.search(r"TRIED (-?\d+)", said)
    is_caught = tried is None and f"process={place}, forbidden-system-call=" in said
    if is_blind:
        return tried is not None and int(tried[1]) >= 0
    if place == "AUTHORIZATION" or what in CAUGHT:
        return is_caught
    return tried is not None and (int(tried[1]) == REFUSED[what] if what in REFUSED else
                                  int(tried[1]) >= 0)


def check(machine, report):
    said = boot(machine)
    session = next(name for name in said if name.startswith("session"))
    report(f"kernel: a {session}", is_served(said[session]), said[session])
    report("kernel: a message of 2.2 GiB", is_large_served(said["large"]), said["large"])
    for attempt in ATTEMPTS:
        is_blind = attempt in BLIND.get(machine.name, [])
        outcome = said.get(attempt, "never tried")
        report(f"kernel: {attempt.removesuffix(':-')}{', which the filter cannot see' if is_blind else ''}",
               is_right(attempt, outcome, is_blind), outcome)
