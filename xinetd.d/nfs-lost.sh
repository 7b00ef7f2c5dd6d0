#!/bin/sh
# nfs-lost - on the server of the Maildirs (Linux, NFS 4): ends what a lost node has locked.
#                                             Place: /usr/local/sbin/nfs-lost, mode 755
#
# Started by nfs-lost.service as root. Without it a maildrop that was open on a node which is lost
# stays locked for up to two leases, and Linux has none of less than 10 s. A client that is idle
# renews its lease after two thirds of it. So whoever has been silent for longer, and does not
# answer to ping either, is lost, and the server is told to forget it and its locks. If it
# comes back later, it is as after the end of its lease: a session that was open gets errors.
#
# Needs ping (Debian: iputils-ping), which a firewall must let through, lease-time=10, and a kernel
# that tells when a client was last heard of (Debian 12's does).

clients=/proc/fs/nfsd/clients
silence=7       # seconds; a lease of 10 s is renewed after 6.7

# look_at CLIENT: its folder. Nothing is started for those who are well.
look_at() {
        silent=0 address=
        while read -r line; do
                case $line in
                'address: "'*) address=${line#*\"} ;;
                'seconds from last renew: '*) silent=${line##* } ;;
                esac
        done <"$1/info"
        if [ "$silent" -ge "$silence" ]; then
                address=${address%:*}           # without the port, and an IPv6 address without its brackets
                address=${address#\[}
                end_if_lost "$1" "${address%\]}" &
        fi
}

# end_if_lost CLIENT ADDRESS
end_if_lost() {
        if ! ping -n -q -c 1 -W 1 "$2" >/dev/null 2>&1; then
                echo "$2 has been silent for $silent s and does not answer: its locks end"
                echo expire >"$1/ctl"
        fi
}

command -v ping >/dev/null || { echo 'there is no ping: apt-get install iputils-ping' >&2; exit 1; }
while sleep 1; do
        for client in "$clients"/*; do
                [ ! -r "$client/info" ] || look_at "$client"
        done
        wait
done
