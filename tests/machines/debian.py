"""
debian.py - packages of another machine's Debian, fetched and unpacked, not installed.

apt works in a folder of its own there, so that this machine's packages, and
which machines it takes packages for, stay as they are.

Runs in:   tests/machines/run.py.
May touch: the folder that it is given; the network.
"""
import glob
import os
import shutil
import subprocess

# The C library, PAM and its modules, and all that these load.
LIBRARIES = """libc6 libgcc-s1 libpam0g libpam-modules libcrypt1 libaudit1 libcap-ng0 libdb5.3 libselinux1
    libpcre2-8-0 libnsl2 libtirpc3 libgssapi-krb5-2 libkrb5-3 libk5crypto3 libkrb5support0
    libcom-err2 libssl3 libkeyutils1""".split()
SOURCES = ["/etc/apt/sources.list.d/debian.sources", "/etc/apt/sources.list"]


def make_relative(root):
    """Links that begin with a slash lead to the same file when root is not / yet."""
    for folder, folders, files in os.walk(root):
        for path in (f"{folder}/{name}" for name in folders + files):
            if os.path.islink(path) and os.readlink(path).startswith("/"):
                target = os.path.relpath(root + os.readlink(path), folder)
                os.remove(path)
                os.symlink(target, path)


class Packages:
    """What Debian has for one machine."""

    def __init__(self, machine, folder):
        self.machine, self.folder = machine, folder
        self.is_current = False         # the lists of packages, in this run

    def _apt(self, program, *words):
        sources = next(path for path in SOURCES if os.path.exists(path))
        options = {"APT::Architecture": self.machine, "APT::Architectures": self.machine,
                   "Dir::State": f"{self.folder}/state", "Dir::State::status": f"{self.folder}/status",
                   "Dir::Cache": f"{self.folder}/cache", "Dir::Etc::sourcelist": sources,
                   "Dir::Etc::sourceparts": "-", "APT::Sandbox::User": "", "Acquire::Retries": "3",
                   "Acquire::Languages": "none"}
        command = [program, "-q", *(f"-o{name}={value}" for name, value in options.items()), *words]
        os.makedirs(f"{self.folder}/debs", exist_ok=True)
        return subprocess.run(command, cwd=f"{self.folder}/debs", stdin=subprocess.DEVNULL,
                              capture_output=True, text=True)

    def _update(self):
        if self.is_current:
            return
        for name in ("state/lists/partial", "cache/archives/partial"):
            os.makedirs(f"{self.folder}/{name}", exist_ok=True)
        open(f"{self.folder}/status", "w").close()
        # a list that cannot be had is no matter as long as another one has the package
        self._apt("apt-get", "update")
        self.is_current = True

    def _fetch(self, names):
        """The files of these packages; those that an earlier run fetched are taken as they are."""
        found = {name: glob.glob(f"{self.folder}/debs/{name}_*.deb") for name in names}
        missing = [name for name, files in found.items() if not files]
        if missing:
            self._update()
            done = self._apt("apt-get", "download", *missing)
            assert done.returncode == 0, f"apt-get download for {self.machine}: {done.stderr[-1000:]}"
        return [glob.glob(f"{self.folder}/debs/{name}_*.deb")[0] for name in names]

    def unpack(self, names, root):
        os.makedirs(root, exist_ok=True)
        for file in self._fetch(names):
            subprocess.run(["dpkg", "-x", file, root], check=True)

    def libraries(self):
        """A folder with the libraries, as they lie below / on that machine."""
        root = f"{self.folder}/root"
        if not os.path.exists(f"{self.folder}/root.done"):
            self.unpack(LIBRARIES, root)
            # what is in /etc is to be that of this machine
            shutil.rmtree(f"{root}/etc", ignore_errors=True)
            make_relative(root)
            open(f"{self.folder}/root.done", "w").close()
        return root

    def kernel(self, name):
        """The path of the kernel that this package of no content of its own depends on."""
        folder = f"{self.folder}/kernel"
        if not glob.glob(f"{folder}/boot/vmlinu*"):
            self._update()
            said = self._apt("apt-cache", "depends", name).stdout
            self.unpack([line.split()[-1] for line in said.splitlines()
                         if "Depends: linux-image" in line][:1], folder)
        return glob.glob(f"{folder}/boot/vmlinu*")[0]
