#!/bin/sh
# ensure.sh COMMAND PACKAGE: installs PACKAGE with the system's package manager if COMMAND is missing.
# ensure.sh --package PACKAGE: installs it whatever is there; for one without a command of its own.
set -eu
command=$1 package=$2
PATH=$PATH:/usr/sbin:/sbin
if [ "$command" != --package ] && command -v "$command" >/dev/null 2>&1; then exit 0; fi
missing=$command
if [ "$command" = --package ]; then missing=$package; fi
echo "$missing is missing: installing $package with the system's package manager" >&2
sudo=
if [ "$(id -u)" -ne 0 ]; then sudo=sudo; fi
if command -v apt-get >/dev/null 2>&1; then
	$sudo apt-get update -q
	$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$package"
elif command -v dnf >/dev/null 2>&1; then
	$sudo dnf install -y "$package"
elif command -v zypper >/dev/null 2>&1; then
	$sudo zypper --non-interactive install "$package"
elif command -v apk >/dev/null 2>&1; then
	$sudo apk add "$package"
else
	echo "no package manager is known here: install $package yourself, so that $command is found" >&2
	exit 1
fi
