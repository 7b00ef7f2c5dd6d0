#!/bin/bash
# uml.sh - process 1 of a user-mode-linux: makes it a machine on which a fleet can be, and runs that.
#
# usage: run.py starts it as the kernel's init, with the words it was given itself: [WORD ...]
# Runs in:   user-mode-linux, as root; the machine's own files are its root, read-only.
# May touch: what it mounts.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 POP3D_FLEET_UML=yes
here=$(dirname "$(readlink -f "$0")")
mount -t proc proc /proc
mount -t sysfs sys /sys
for folder in /run /tmp /mnt "$here/../../build/fleet" /var/lib/haproxy; do
        mount -t tmpfs tmpfs "$folder"
done
mountpoint -q /dev || mount -t devtmpfs dev /dev
mkdir -p /mnt/lib/modules /dev/pts /dev/shm
cp -r /usr/lib/uml/modules/* /mnt/lib/modules/
depmod -b /mnt
for module in loop nfsd nfs nfsv4 veth bridge; do
        modprobe -d /mnt "$module"
done
echo FLEET-BEGIN
python3 -B "$here/run.py" "$@" 2>&1
echo "FLEET-END $?"
sleep infinity                  # run.py ends this kernel when it reads that
