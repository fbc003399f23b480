#!/bin/sh
# Removing keeps the data and installing again finds it; purging leaves nothing.
set -eu
# shellcheck source=packaging/test/inside/lib.sh
. /root/test/lib.sh

push later '{"url":"http://127.0.0.1:1/","payload":0,"run_after":86400}' >"$work/pushed"
id=$(sed 's/{"id":\([0-9]*\).*/\1/' "$work/pushed")
systemctl start fireworq@a.service
apt-get remove -q -y fireworq >"$work/apt.log" 2>&1 || fail "removing: $(cat "$work/apt.log")"
pgrep -x fireworq >/dev/null && fail 'it runs on after the removal'
curl -s -m 5 "$api/version" >/dev/null && fail 'the socket stays after the removal'
[ -s /var/lib/fireworq/fireworq.db ] || fail 'the removal took the jobs'
[ -e /etc/default/fireworq ] || fail 'the removal took the settings'
logrotate --force /etc/logrotate.conf || fail 'logrotate after the removal'
ok 'removed: it is stopped, and its data stays'

apt-get install -q -y --no-install-recommends /root/test/fireworq.deb >"$work/apt.log" 2>&1 ||
	fail "installing again: $(cat "$work/apt.log")"
curl -sSf "$api/queue/default/job/$id" | grep -q "\"id\":$id" || fail 'the jobs are not found again'
ok 'installed again: the jobs are there'

apt-get purge -q -y fireworq >"$work/apt.log" 2>&1 || fail "purging: $(cat "$work/apt.log")"
for path in /var/lib/fireworq /var/log/fireworq /etc/fireworq /etc/default/fireworq /etc/logrotate.d/fireworq \
	/etc/systemd/system/multi-user.target.wants/fireworq.service; do
	[ ! -e "$path" ] && [ ! -L "$path" ] || fail "the purge left $path"
done
systemctl list-units --all --no-legend 'fireworq*' | grep -q . && fail 'the purge left units'
ok 'purged: nothing is left but the user'
