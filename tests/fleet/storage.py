"""
storage.py - what the nodes of a fleet share: GlusterFS on three of them, or an NFS server beside them.

A kind of storage furnishes each machine, is made once, and is mounted on and taken from a node.

Runs in:   tests/fleet/run.py, as root, in the namespaces of the fleet; NFS in user-mode-linux besides.
May touch: the machines of the fleet.
"""
import os
import time

from place import FLEET, MAIL, NODES, TREE, Machine, until

# What the page for operators says of GlusterFS (xinetd.d/nodes.md), so that one lost machine costs seconds.
VOLUME_SETTINGS = {
    "network.ping-timeout": "5", "client.tcp-user-timeout": "5", "server.tcp-user-timeout": "5",
    "server.keepalive-time": "5", "server.keepalive-interval": "1", "server.keepalive-count": "3",
}
MOUNT_SETTINGS = "attribute-timeout=1,entry-timeout=1"


class GlusterFS:
    name = "GlusterFS"
    lock_seconds = 10           # within which a maildrop is free again, whatever became of its holder
    folders = ("/var/lib/glusterd", "/var/log/glusterfs")
    furnish = """
mkdir -p /run/gluster /srv/brick
mount --bind {folder}/brick /srv/brick
mount --bind {folder}/glusterd /var/lib/glusterd
mount --bind {folder}/log /var/log/glusterfs
"""

    def make(self, nodes):
        for node in nodes:
            node.run("glusterd -p /run/glusterd.pid")
        first = nodes[0]
        until(lambda: first.try_to("gluster --mode=script peer status"), 20, "glusterd")
        for node in nodes[1:]:
            until(lambda: first.try_to(f"gluster --mode=script peer probe {node.name}"), 20, "a peer")
        until(lambda: first.run("gluster --mode=script peer status").count("(Connected)") == len(nodes) - 1, 20, "peers")
        bricks = " ".join(f"{node.name}:/srv/brick/mail" for node in nodes)
        create = f"gluster --mode=script volume create mail replica 3 {bricks} force"
        until(lambda: first.try_to(create, 60), 60, "a volume")
        for name, value in VOLUME_SETTINGS.items():
            first.run(f"gluster --mode=script volume set mail {name} {value}")
        first.run("gluster --mode=script volume start mail")
        for node in nodes:
            until(lambda: os.path.isdir(f"/proc/{node.first}/root/run/gluster/vols/mail"), 20, "bricks")
        time.sleep(2)

    def mount(self, node, settings=MOUNT_SETTINGS, environment=""):
        node.run(f"{environment} glusterfs --process-name fuse --volfile-server=node{node.number} "
                 f"--volfile-id=/mail --{settings.replace(',', ' --')} {MAIL} && mountpoint -q {MAIL}")

    def mount_hiding(self, node, path):
        """As guides for many small files have it, so that mail which another node delivers is hidden for ten minutes."""
        node.run(f"mount -t glusterfs -o attribute-timeout=600,entry-timeout=600 node{node.number}:/mail {path}")

    def mount_spread(self, nodes, owner, path):
        """Another volume, in which a file lies on one brick of three, over a folder of these nodes; of a user's own."""
        first, volume = nodes[0], "gluster --mode=script volume"
        bricks = " ".join(f"node{number}:/srv/brick/spread" for number in NODES)
        first.run(f"{volume} create spread {bricks} force && {volume} start spread")
        for node in nodes:
            until(lambda: node.try_to(f"glusterfs --process-name fuse --volfile-server=node{node.number} "
                                      f"--volfile-id=/spread {path} && mountpoint -q {path}"), 20, "a mount")
        first.run(f"chown {owner}:{owner} {path} && chmod 700 {path}")

    def stop(self):
        pass


class NFS:
    """A server of the kernel's in a machine of its own, on the storage network."""
    name = "NFS"
    lock_seconds = 10           # of these 7 until the server misses the lost node (nfs-lost.sh), one more for ping
    folders = ()
    furnish = ""
    # what the page for operators says of NFS
    LEASE = 10
    MOUNT_SETTINGS = "vers=4.2,hard,acdirmin=0,acdirmax=1"

    def make(self, nodes):
        del nodes
        self.server = Machine("store", 20)
        self.server.start(self.furnish)
        self.server.join("store", "10.91.0.20/24")
        self.server.run("""
            mkdir -p /srv/mail /run/nfs/rpc_pipefs
            mount --bind /run/nfs /var/lib/nfs
            touch /var/lib/nfs/etab /var/lib/nfs/rmtab
            mount -t rpc_pipefs rpc_pipefs /var/lib/nfs/rpc_pipefs
            mount -t nfsd nfsd /proc/fs/nfsd
            echo 0 >/proc/sys/fs/leases-enable
            truncate -s 512M /srv/disk && mkfs.ext4 -q -F /srv/disk && mount -o loop /srv/disk /srv/mail
            exportfs -o rw,no_root_squash,insecure,no_subtree_check,fsid=0 10.91.0.0/24:/srv/mail""")
        self.server.daemon("rpc.mountd --foreground --no-nfs-version 3")
        self.begin()
        self.server.daemon(f"sh {TREE}/xinetd.d/nfs-lost.sh >/srv/log/nfs-lost")

    def begin(self):
        self.server.run(f"rpc.nfsd --no-nfs-version 3 --lease-time {self.LEASE} --grace-time {self.LEASE} 4")

    def end(self):
        """The server's threads end, and with them all that it knew of clients and locks."""
        self.server.run("rpc.nfsd 0")

    def mount(self, node, settings=MOUNT_SETTINGS):
        node.run(f"mount -t nfs -o {settings} 10.91.0.20:/ {MAIL}")

    def mount_hiding(self, node, path):
        """As it is mounted if nothing is said."""
        node.run(f"mount -t nfs -o vers=4.2 10.91.0.20:/ {path}")

    def stop(self):
        self.server.holder.kill()
