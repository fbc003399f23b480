#!/bin/sh
# promtool.sh: sees to it that there is a promtool, which checks metrics and alert rules. Debian's package
# would start a server: the one program is taken out of it, to target/tools, and nothing is installed.
set -eu
cd "$(dirname "$0")/../.."
tools=target/tools
if command -v promtool >/dev/null 2>&1 || [ -x "$tools/promtool" ]; then exit 0; fi
if ! command -v apt-get >/dev/null 2>&1; then exec sh tests/support/ensure.sh promtool prometheus; fi
echo "promtool is missing: taking it out of the package prometheus, to $tools" >&2
mkdir -p "$tools"
part=$(mktemp -d "$PWD/$tools/part.XXXXXX")
trap 'rm -rf "$part"' EXIT
download() { (cd "$part" && apt-get download -q -o APT::Sandbox::User=root prometheus); }
if ! download; then
	sudo=
	if [ "$(id -u)" -ne 0 ]; then sudo=sudo; fi
	$sudo apt-get update -q
	download
fi
dpkg-deb -x "$part"/prometheus_*.deb "$part"
mv "$part/usr/bin/promtool" "$tools/promtool"
