#!/bin/sh
# tree.sh DIRECTORY: a small Debian of this machine's release, kept in DIRECTORY for the next time;
# prints where it is.
set -eu
packages=systemd,systemd-sysv,dbus,procps,iproute2,logrotate,adduser,curl,ca-certificates,rsyslog
suite=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
tree=$1/tree-$suite-$(echo "$packages" | cksum | cut -d ' ' -f 1)
if [ ! -d "$tree" ]; then
	echo "making a small Debian ($suite) for the test, once" >&2
	rm -rf "$tree.new"
	# The mirror that this machine uses itself.
	mirror=$(apt-get indextargets --format '$(SITE) $(CODENAME)' 2>/dev/null |
		sed -n "s/ $suite\$//p" | head -n 1)
	timeout 600 debootstrap --variant=minbase --include="$packages" "$suite" "$tree.new" ${mirror:+"$mirror"} >"$tree.log" 2>&1 ||
		{ tail -n 20 "$tree.log" >&2; exit 1; }
	mv "$tree.new" "$tree"
fi
echo "$tree"
