#!/bin/sh
# peers.sh - fetches the POP3 servers that the benchmark compares with, from
# this machine's own Debian mirrors, and unpacks them: nothing is installed.
#
#     tests/bench/peers.sh [folder]         build/peers if none is named
#
# Runs in:   make bench.
# May touch: the folder; it asks apt for packages, and changes nothing of apt's.
set -u

folder=${1:-build/peers}
# The last three stand in front of pop3d, for the rows over TLS.
peers='dovecot-pop3d courier-pop solid-pop3d popa3d mailutils-pop3d haproxy stunnel4 xinetd'

# What belongs to a peer although this machine may have it already.
parts_of() {
        case $1 in
        dovecot-pop3d) echo dovecot-pop3d dovecot-core ;;
        courier-pop) echo courier-pop courier-base courier-authlib courier-authdaemon ;;
        mailutils-pop3d) echo mailutils-pop3d mailutils-common ;;
        *) echo "$1" ;;
        esac
}

# What apt would have to install for it, a mail server aside.
missing_for() {
        apt-get -s --no-install-recommends install "$1" 2>/dev/null |
                sed -n 's/^Inst \([^ ]*\).*/\1/p' |
                grep -v '^exim4\|^default-mta\|^mysql-\|^mariadb-common'
}

mkdir -p "$folder/packages" "$folder/root" || exit 1
cd "$folder" || exit 1
got=''
lacking=''
for peer in $peers; do
        if [ -e "root/.$peer" ]; then
                got="$got $peer"
                continue
        fi
        mkdir -p "packages/$peer"
        names=$( (parts_of "$peer"; missing_for "$peer") | tr ' ' '\n' | sort -u)
        # apt's own account cannot write here; that it says so each time helps nobody
        # shellcheck disable=SC2086 # a word each
        if (cd "packages/$peer" && apt-get -q -o APT::Sandbox::User=root download $names >/dev/null) &&
            for package in "packages/$peer"/*.deb; do
                dpkg -x "$package" root || exit 1
        done; then
                : >"root/.$peer"
                got="$got $peer"
        else
                lacking="$lacking $peer"
        fi
done
rm -rf packages
echo "peers: unpacked:${got:- none}"
if [ -n "$lacking" ]; then
        echo "peers: cannot be got (apt-get update first?):$lacking" >&2
        exit 1
fi
