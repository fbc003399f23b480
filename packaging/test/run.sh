#!/bin/sh
# run.sh BINARY [without-box]: the package, tried: built again, looked at, installed in a small Debian
# with a systemd of its own, upgraded and restarted under load, killed, hung, rotated, removed.
# Needs root, for the small Debian and the namespaces; installs the tools that it uses.
# `without-box` leaves out, and says so, what needs a systemd.
set -eu
binary=$1 mode=${2:-}
cd "$(dirname "$0")/../.."
here=packaging/test work=target/package-test
[ "$(id -u)" -eq 0 ] || { echo 'the test of the package has to be run as root' >&2; exit 1; }
for need in lintian shellcheck debootstrap curl nsenter:util-linux ip:iproute2; do
	sh tests/support/ensure.sh "${need%%:*}" "${need#*:}"
done
mkdir -p "$work"

version=$(sed -n 's/^version = "\(.*\)"/\1/p;/^version/q' Cargo.toml)
arch=$(dpkg --print-architecture)
deb=target/fireworq_${version}_$arch.deb
sh "$here/static.sh" "$binary" "$deb" "target/fireworq-dbgsym_${version}_$arch.deb"

next=$version+next
sh packaging/deb.sh "$binary" "$next" "$work" >/dev/null
rustc --edition 2024 -O -o "$work/load" "$here/load.rs"

# The small Debian, fresh, with what the scripts inside need.
tree=$(sh "$here/tree.sh" "$work")
root=$work/root
rm -rf "$root"
cp -a "$tree" "$root"
mkdir -p "$root/root/test"
cp "$here"/inside/*.sh "$work/load" "$root/root/test"
cp "$deb" "$root/root/test/fireworq.deb"
cp "$work/fireworq_${next}_$arch.deb" "$root/root/test/fireworq-next.deb"
echo "$next" >"$root/root/test/next-version"
for part in sender receiver; do
	# What stands between the fences below the part's mark.
	awk -v mark="<!-- rsyslog $part -->" '$0 == mark { wanted = 1 }
		/^```/ { if (inside) exit; inside = wanted; next } inside' doc/log-shipping.md \
		>"$root/root/test/rsyslog-$part.conf"
	[ -s "$root/root/test/rsyslog-$part.conf" ] || { echo "doc/log-shipping.md has no rsyslog $part" >&2; exit 1; }
done

sh "$here/container.sh" "$root"
if [ "$mode" = without-box ]; then
	echo 'LEFT OUT, as asked for: what needs a systemd (the service, upgrade and restart under load, crash,'
	echo 'hang, rotation, rsyslog, removal). All of it, where namespaces can be made: make test-package'
	exit 0
fi

group=fireworq-package-test.$$
pid=$(sh "$here/box.sh" boot "$root" "$group") || {
	echo 'The test needs the rights to make namespaces, mounts and cgroups.' >&2
	exit 1
}
launcher=$(awk '{ print $4 }' "/proc/$pid/stat")
cgroup=/sys/fs/cgroup/unified
[ -d "$cgroup" ] || cgroup=/sys/fs/cgroup
# shellcheck disable=SC2317
end_box() {
	kill -9 "$launcher" 2>/dev/null || true
	# Its processes go with the namespace, in a moment; then its groups are empty.
	for _ in $(seq 100); do
		find "$cgroup/$group" -depth -type d -exec rmdir {} \; 2>/dev/null || true
		[ -d "$cgroup/$group" ] || break
		sleep 0.1
	done
}
trap end_box EXIT
trap 'exit 1' INT TERM
tries=0
until state=$(sh "$here/box.sh" exec "$pid" systemctl is-system-running 2>/dev/null) ||
	[ "$state" = degraded ] || [ "$tries" -gt 300 ]; do
	tries=$((tries + 1))
	sleep 0.1
done
for part in install load faults logs remove; do
	timeout 300 sh "$here/box.sh" exec "$pid" sh "/root/test/$part.sh" || { echo "the part $part failed" >&2; exit 1; }
done
echo 'the package works'
