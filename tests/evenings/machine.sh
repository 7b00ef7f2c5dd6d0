# machine.sh - what the shell of a fault's file may call; see run.py.
#
# Runs in:   the namespaces of one file, as root; ROOM, DOCS, PASSWORD, OTHER and PACKAGES are set.
# May touch: that machine.
# shellcheck shell=bash disable=SC2153

# Puts a shipped file, as it was installed, in its place: shipped NAME PLACE
shipped() { mkdir -p "$(dirname "$2")"; cp "$DOCS/$1" "$2"; }

# Starts a daemon that stays: daemon NAME PORT COMMAND...; PORT 0: nothing to wait for. A port that is not
# bound in two seconds is no failure here: a fault may be why.
daemon() {
        local name=$1 port=$2
        shift 2
        setsid "$@" </dev/null >"$ROOM/$name.out" 2>&1 &
        echo $! >"$ROOM/$name.pid"
        await "$port"
}
await() { local i; for ((i = 0; i < 40; i++)); do if [ "$1" = 0 ] || ss -Hltn "sport = :$1" | grep -q .; then return 0; fi; sleep 0.05; done; }
# Ends it, and waits for that: stop NAME
stop() {
        local pid i
        pid=$(cat "$ROOM/$1.pid")
        kill "$pid" 2>/dev/null || true
        for ((i = 0; i < 100; i++)); do kill -0 "$pid" 2>/dev/null && [ "$(cut -d' ' -f3 /proc/"$pid"/stat)" != Z ] || break; sleep 0.05; done
}

# xinetd opens its ports right after it has written its number: a port that is not bound a little later will not be
xinetd_start() {
        local i left=6
        rm -f /run/xinetd.pid
        daemon xinetd 0 xinetd -dontfork -f /etc/xinetd.conf -pidfile /run/xinetd.pid
        for ((i = 0; i < 100 && left > 0; i++)); do
                ! ss -Hltn "sport = :${1:-110}" | grep -q . || return 0
                [ ! -s /run/xinetd.pid ] || left=$((left - 1))
                sleep 0.05
        done
}
xinetd_restart() { stop xinetd; xinetd_start "$@"; }
xinetd_off() { sed -i 's/disable\( *\)= no/disable\1= yes/' /etc/xinetd.d/pop3; }
# Changes of the shipped entry: a line more; another value; a word taken out
xinetd_line() { sed -i "0,/^{/s|^{|{\n\t$1|" /etc/xinetd.d/pop3; }
xinetd_value() { sed -i "s|^\(\s*$1\s*=\).*|\1 $2|" /etc/xinetd.d/pop3; }
xinetd_drop() { sed -i "/^\s*$1\s*[+=-]/d" /etc/xinetd.d/pop3; }
# packages = ["openbsd-inetd"]
inetd_start() { daemon inetd "${1:-110}" "$PACKAGES/openbsd-inetd/usr/sbin/inetd" -i /etc/inetd.conf; }
stunnel_start() { daemon stunnel "${2:-995}" stunnel "${1:-/etc/stunnel/pop3s.conf}"; }
haproxy_start() { daemon haproxy "${1:-995}" haproxy -f /etc/haproxy/haproxy.cfg; }
# A listener with the name of process 1, which starts what a unit says: systemd_start PORT COMMAND...
systemd_start() { cp /usr/bin/systemd-socket-activate "$ROOM/systemd"; daemon systemd "$1" "$ROOM/systemd" --accept --inetd -l "$@"; }
systemd_units() { xinetd_off; shipped pop3d.socket /etc/systemd/system/pop3d.socket; shipped pop3d@.service /etc/systemd/system/pop3d@.service; }
systemd_enable() { mkdir -p /etc/systemd/system/sockets.target.wants; ln -sf ../pop3d.socket /etc/systemd/system/sockets.target.wants/; }

# Makes a certificate for this machine, and its key, in one file: certificate [FILE]; more words are openssl req's
certificate() {
        local file=${1:-/etc/stunnel/pop3s.pem}
        [ $# = 0 ] || shift
        mkdir -p "$(dirname "$file")"
        openssl req -x509 -newkey rsa:2048 -nodes -days 365 -subj /CN=mailhost.example.org \
            -addext subjectAltName=DNS:localhost,DNS:mailhost,DNS:mailhost.example.org,IP:127.0.0.1,IP:192.0.2.1,IP:192.0.2.7,IP:2001:db8::1 \
            "$@" -keyout "$ROOM/key" -out "$ROOM/certificate" 2>/dev/null
        cat "$ROOM/key" "$ROOM/certificate" | install -m 600 /dev/stdin "$file"
}

# A command as a user; on the other machine
as() { local user=$1; shift; setpriv --reuid "$user" --regid "$user" --clear-groups "$@"; }
elsewhere() { nsenter -t "$OTHER" -n "$@"; }
# Delivers a message: deliver USER FOLDER, which is made
deliver() { install -d -o "$1" -g "$1" -m 700 "$2"; echo "Subject: $RANDOM" >"$2/$(date +%s%N).M1.mailhost"; chown "$1" "$2"/*; }

# A module of PAM from a package that is unpacked, as if it were installed: pam_package PACKAGE
pam_package() {
        local folder=/lib/x86_64-linux-gnu/security
        mkdir -p "$ROOM/modules/upper" "$ROOM/modules/work"
        mount -t overlay overlay -o "lowerdir=$PACKAGES/$1$folder:$folder,upperdir=$ROOM/modules/upper,workdir=$ROOM/modules/work" "$folder"
}
# A part of the name service, in the same way: name_package PACKAGE
name_package() { echo "$PACKAGES/$1/lib/x86_64-linux-gnu" >/etc/ld.so.conf.d/names.conf; ldconfig; }
# Sockets that take connections and never answer, as a daemon that waits for its own server does: silent PATH...
silent() {
        daemon silent 0 python3 -c 'import os, socket, sys, time
kept = []
for path in sys.argv[1:]:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    kept.append(socket.socket(socket.AF_UNIX))
    kept[-1].bind(path)
    os.chmod(path, 0o600 if "private" in path else 0o666)
    kept[-1].listen(50)
time.sleep(1000)' "$@"
        local path
        for path; do while [ ! -S "$path" ]; do sleep 0.05; done; done
}
# Virtual users: virtual NAME FOLDER OPTIONS: their rules, a database that has the name, one message, the entry's options
virtual() {
        mkdir -p "$2/new" "$2/cur" "$2/tmp"
        echo 'Subject: x' >"$2/new/1.M1.x"
        chown -R vmail:vmail /var/vmail
        chmod 700 /var/vmail
        shipped pop3-virtual.pam /etc/pam.d/pop3
        [ -z "$1" ] || printf '%s\n%s\n' "$1" "$(openssl passwd -6 "$PASSWORD")" | db5.3_load -T -t hash /etc/pop3-users.db
        xinetd_line "server_args = $3"
}
# Rules before the account rules of the service; before all of them
account_rule() { sed -i "/^@include common-account/i account $1" /etc/pam.d/pop3; }
auth_rule() { sed -i "1i auth $1" /etc/pam.d/pop3; }
