#!/bin/sh
# static.sh BINARY DEB DBGSYM: what can be said of the packages without installing them.
set -eu
binary=$1 deb=$2 dbgsym=$3
cd "$(dirname "$0")/../.."
fail() {
	echo "FAILED: $*" >&2
	exit 1
}
work=target/package-test/static
rm -rf "$work"
mkdir -p "$work/again"

shellcheck -x -S warning packaging/*.sh packaging/test/*.sh packaging/test/inside/*.sh packaging/completion/bash/fireworq \
	packaging/debian/fireworq.post* packaging/debian/fireworq.prerm || fail shellcheck
ok='ok: shellcheck has nothing to say'
echo "$ok"

lintian --allow-root --fail-on error,warning --display-info "$deb" "$dbgsym" || fail lintian
echo 'ok: lintian finds no error and no warning'

sh packaging/deb.sh "$binary" "$(dpkg-deb -f "$deb" Version)" "$work/again" >/dev/null
for file in "$deb" "$dbgsym"; do
	cmp "$file" "$work/again/$(basename "$file")" || fail 'made again, the package is another'
done
echo 'ok: made again, the packages are the same, byte for byte'

dpkg-deb -x "$deb" "$work/root"
dpkg-deb -x "$dbgsym" "$work/debug"
readelf -S "$work/root/usr/bin/fireworq" | grep -q '\.symtab\|\.debug_info' && fail 'the binary is not stripped'
symbols=$(find "$work/debug" -name '*.debug')
nm "$symbols" | grep -q fireworq || fail 'the debug package holds no symbols'
[ -s "$work/root/usr/share/man/man8/fireworq.8.gz" ] || fail 'there is no manual page'
dest=$(readlink -f "$work")/dest
sh packaging/install.sh "$binary" "$dest" /opt/fireworq /etc /opt/fireworq/lib/systemd/system >/dev/null
grep -q '^ExecStart=/opt/fireworq/bin/fireworq$' "$dest/opt/fireworq/lib/systemd/system/fireworq@.service" ||
	fail 'the installed unit starts another binary'
"$dest/opt/fireworq/bin/fireworq" --version >/dev/null || fail 'the installed binary does not run'
echo '# mine' >"$dest/etc/default/fireworq"
sh packaging/install.sh "$binary" "$dest" /opt/fireworq /etc /opt/fireworq/lib/systemd/system >/dev/null
grep -q '^# mine$' "$dest/etc/default/fireworq" || fail 'installing again overwrites the settings'
echo 'ok: make install puts it below DESTDIR and PREFIX, and leaves settings alone'
echo 'ok: the binary is stripped, its symbols are beside it'
