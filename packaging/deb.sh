#!/bin/sh
# deb.sh BINARY [VERSION [DIRECTORY]]: makes the Debian package of a binary that is built already,
# and the package of its debug symbols, in DIRECTORY (target). The same input makes the same bytes.
set -eu
binary=$(readlink -f "$1")
cd "$(dirname "$0")/.."
for need in dh:debhelper dpkg-buildpackage:dpkg-dev; do
	sh tests/support/ensure.sh "${need%%:*}" "${need#*:}"
done
version=${2:-$(sed -n 's/^version = "\(.*\)"/\1/p;/^version/q' Cargo.toml)}
out=${3:-target}
mkdir -p "$out"
out=$(readlink -f "$out")
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || stat -c %Y Cargo.toml)}
export SOURCE_DATE_EPOCH

# debhelper works in a tree of its own, which it may litter; the name of its parent is part of nothing.
stage=target/deb/fireworq
rm -rf target/deb
mkdir -p "$stage"
cp -R packaging/debian packaging/completion packaging/default packaging/man doc README.md "$stage"
cp systemd/fireworq.service systemd/fireworq@.service systemd/fireworq.socket "$stage/debian"
cp packaging/logrotate/fireworq "$stage/debian/fireworq.logrotate"
cp "$binary" "$stage/fireworq"
[ ! -e "$binary.dwp" ] || cp "$binary.dwp" "$stage"
cat >"$stage/debian/changelog" <<END
fireworq ($version) unstable; urgency=medium

  * Version $version.

 -- $(sed -n 's/^Maintainer: //p' packaging/debian/control)  $(date -u -R -d "@$SOURCE_DATE_EPOCH")
END
chmod -R go-w "$stage"
# A debug build has a hundred megabytes of symbols, and is for tests alone.
COMPRESSION=-z6
case $binary in */debug/*) COMPRESSION=-z1 ;; esac
export COMPRESSION
log=target/deb/build.log
# -d: what a Debian build machine has to have is more than is needed here.
if ! (cd "$stage" && env -u CFLAGS -u RUSTFLAGS dpkg-buildpackage -b -us -uc -d) >"$log" 2>&1; then
	cat "$log" >&2
	exit 1
fi
arch=$(dpkg --print-architecture)
for name in fireworq fireworq-dbgsym; do
	mv "target/deb/${name}_${version}_$arch.deb" "$out/"
	echo "$out/${name}_${version}_$arch.deb"
done
