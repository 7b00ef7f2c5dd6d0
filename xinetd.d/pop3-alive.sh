#!/bin/sh
# pop3-alive DIR - says "up" if this node can write to the file system at DIR, else "down".
#                                             Place: /usr/local/sbin/pop3-alive, mode 755
#
# Started for each check of HAProxy's by pop3-alive (xinetd) or pop3d-alive.socket, as an
# account without power. It writes the time into a file of this node's own, because a node
# whose file system is gone still greets, and may still read what it has in a cache. The
# folder is made once, on any node: install -d -m 1777 DIR/.alive
#
# It is given up after 8 seconds, which is more than the file system's own time-out (5 s,
# see nodes.md), so that one lost node does not make all of them say "down".

file=$1/.alive/$(uname -n)
if date | timeout -s KILL 8 tee "$file" >/dev/null 2>&1; then
        echo up
else
        echo down
fi
