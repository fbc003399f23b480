#!/bin/sh
# container.sh ROOT: in a tree where no systemd runs, as in a container, the package installs, the
# binary works, and removing leaves nothing behind.
set -eu
root=$1
in_root() { chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive "$@"; }
fail() {
	echo "FAILED: $*" >&2
	cat "$root/root/test/container.log" >&2
	exit 1
}
in_root apt-get install -q -y --no-install-recommends /root/test/fireworq.deb >"$root/root/test/container.log" 2>&1 ||
	fail 'installing without systemd'
chroot "$root" sh -c 'cd /var/lib/fireworq && exec setpriv --reuid=fireworq --regid=fireworq --clear-groups \
	fireworq --bind 127.0.0.1:0' >>"$root/root/test/container.log" 2>&1 &
pid=$!
tries=0
until address=$(sed -n 's/.*listening on \(127.*\)/\1/p' "$root/root/test/container.log") && [ -n "$address" ]; do
	tries=$((tries + 1))
	[ "$tries" -lt 200 ] || fail 'the binary does not start without systemd'
	sleep 0.1
done
curl -sSf "http://$address/job/mail" -d '{"url":"http://127.0.0.1:1/","payload":1}' | grep -q '"id":1' ||
	fail 'a job is not taken without systemd'
kill "$pid"
wait "$pid" || fail 'the binary does not stop gracefully'
in_root apt-get purge -q -y fireworq >>"$root/root/test/container.log" 2>&1 || fail 'purging without systemd'
[ ! -e "$root/var/lib/fireworq" ] || fail 'the purge left data'
echo 'ok: without systemd it installs, works and is purged'
