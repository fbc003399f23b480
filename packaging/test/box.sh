#!/bin/sh
# A systemd of its own as process 1 of fresh namespaces.
# box.sh boot ROOT GROUP: boots the tree ROOT in the new cgroup GROUP, and prints the process id of its systemd as seen from here.
# box.sh possible: whether this machine allows it; says why not.
# box.sh exec PID COMMAND…: runs a command in it. box.sh init ROOT: what boot runs inside.
set -eu

cgroup=/sys/fs/cgroup/unified
[ -d "$cgroup" ] || cgroup=/sys/fs/cgroup

case $1 in
possible)
	[ "$(id -u)" -eq 0 ] || { echo 'box: only root can do this' >&2; exit 1; }
	[ -e "$cgroup/cgroup.procs" ] || { echo 'box: there is no cgroup2 here' >&2; exit 1; }
	probe=$cgroup/fireworq-package-probe.$$
	mkdir "$probe" || { echo 'box: no cgroup can be made here' >&2; exit 1; }
	rmdir "$probe"
	unshare --pid --fork --mount --cgroup --uts --ipc --net \
		sh -c 'mount --make-rprivate / && mount -t tmpfs tmpfs /mnt && mount -t proc proc /mnt' ||
		{ echo 'box: no namespaces with mounts of their own can be made here' >&2; exit 1; }
	;;
boot)
	root=$(readlink -f "$2")
	log=$root.log
	cgroup=$cgroup/$3
	mkdir "$cgroup" || { echo 'box: no cgroup can be made here' >&2; exit 1; }
	(
		echo 0 >"$cgroup/cgroup.procs"
		exec unshare --pid --fork --kill-child=SIGKILL --mount --cgroup --uts --ipc --net sh "$0" init "$root"
	) >"$log" 2>&1 </dev/null &
	launcher=$!
	tries=0
	while [ "$tries" -lt 400 ] && kill -0 "$launcher" 2>/dev/null; do
		pid=$(tr -d ' ' <"/proc/$launcher/task/$launcher/children" 2>/dev/null || true)
		if [ -n "$pid" ] && [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = systemd ]; then
			echo "$pid"
			exit 0
		fi
		tries=$((tries + 1))
		sleep 0.05
	done
	echo 'box: systemd does not boot in namespaces here:' >&2
	cat "$log" >&2
	kill -9 "$launcher" 2>/dev/null || true
	rmdir "$cgroup" 2>/dev/null || true
	exit 1
	;;
exec)
	pid=$2
	shift 2
	exec nsenter -t "$pid" -m -p -u -i -n -C -r -w env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 \
		DEBIAN_FRONTEND=noninteractive "$@"
	;;
init)
	root=$2
	mount --make-rprivate /
	mount --bind "$root" "$root"
	mount -t proc proc "$root/proc"
	mount -t sysfs -o ro sysfs "$root/sys"
	mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
	mount -t tmpfs -o mode=755 tmpfs "$root/run"
	mount -t tmpfs tmpfs "$root/tmp"
	mount -t tmpfs -o mode=755 tmpfs "$root/dev"
	for name in null zero full random urandom tty; do
		touch "$root/dev/$name"
		mount --bind "/dev/$name" "$root/dev/$name"
	done
	mkdir -p "$root/dev/pts" "$root/dev/shm" "$root/.old"
	mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
	ln -s pts/ptmx "$root/dev/ptmx"
	mount -t tmpfs tmpfs "$root/dev/shm"
	ln -s /proc/self/fd "$root/dev/fd"
	ip link set lo up
	cd "$root"
	pivot_root . .old
	umount -l /.old
	mount --make-rshared /
	exec chroot . env -i container=box PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --system
	;;
esac
