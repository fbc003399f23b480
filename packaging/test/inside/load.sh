#!/bin/sh
# Upgrade and restart under load: no request fails, no job is lost, none arrives twice.
set -eu
# shellcheck source=packaging/test/inside/lib.sh
. /root/test/lib.sh

start_load
was=$(main_pid)
was_instance=$(main_pid fireworq@a.service)
apt-get install -q -y --no-install-recommends /root/test/fireworq-next.deb >"$work/apt.log" 2>&1 ||
	fail "upgrading: $(cat "$work/apt.log")"
another_than "$was" || fail 'the upgrade left the old daemon running'
another_than "$was_instance" fireworq@a.service || fail 'the upgrade left the old instance running'
[ "$(dpkg-query -W -f '${Version}' fireworq)" = "$(cat /root/test/next-version)" ] || fail 'the version'
cmp -s /etc/default/fireworq "$work/default" || fail 'the settings changed'
for _ in 1 2 3; do
	was=$(main_pid) before=$(acknowledged)
	systemctl restart fireworq.service || fail 'restart'
	another_than "$was" || fail 'the restart left the old daemon running'
	eventually 'the load goes on' 30 pushed_since "$before" 200
done
was=$(main_pid)
systemctl reload fireworq.service || fail 'reload'
eventually 'enough jobs' 120 pushed_since 0 2200
[ "$(main_pid)" = "$was" ] || fail 'the reload ended the daemon'
stop_load
[ "$(account failed)" = 0 ] || fail "requests failed: $(head -n 5 "$work/load.err")"
[ "$(account repeated)" = 0 ] || fail 'jobs arrived twice'
[ "$(account acknowledged)" -ge 2000 ] || fail 'too few jobs'
systemctl stop fireworq@a.service
ok 'an upgrade, three restarts and a reload under load: no failed request, no lost job, none twice'
