#!/bin/sh
# After the installation: the service runs, is confined, and takes a job.
set -eu
# shellcheck source=packaging/test/inside/lib.sh
. /root/test/lib.sh

apt-get install -q -y --no-install-recommends /root/test/fireworq.deb >"$work/apt.log" 2>&1 ||
	fail "installing: $(cat "$work/apt.log")"
cp -p /etc/default/fireworq "$work/default"
for unit in fireworq.service fireworq.socket; do
	systemctl is-active -q "$unit" || fail "$unit does not run"
	systemctl is-enabled -q "$unit" || fail "$unit would not run after a boot"
done
push mail '{"url":"http://127.0.0.1:1/","payload":"hello"}' | grep -q '"id":1' || fail 'a job is not taken'
ok 'installed: the service runs and takes a job'

others=$(ss -Hltn | awk '{ print $4 }' | grep -v '^127\.0\.0\.1:8080$' || true)
[ -z "$others" ] || fail "somebody listens elsewhere: $others"
[ "$(stat -c '%U %a' /var/lib/fireworq /var/log/fireworq | sort -u)" = 'fireworq 750' ] || fail 'the folders'
[ "$(stat -c %U:%a /var/lib/fireworq/fireworq.db)" = fireworq:600 ] ||
	fail "the file of the jobs: $(stat -c %U:%a /var/lib/fireworq/fireworq.db)"
[ "$(ps -o user= -p "$(main_pid)")" = fireworq ] || fail 'the user'
ok 'it listens on loopback alone, and its files are its own'

for unit in fireworq.service fireworq@x.service; do
	systemd-analyze security --no-pager --threshold=15 "$unit" | tail -n 1 || fail "$unit is exposed"
done
systemd-analyze verify --man=no fireworq.service fireworq.socket fireworq@x.service 2>&1 |
	grep fireworq && fail 'systemd-analyze verify'
ok 'the units are confined and sound'

# shellcheck disable=SC2016
suggested=$(bash -c '. /usr/share/bash-completion/completions/fireworq
	COMP_WORDS=(fireworq --driver "") COMP_CWORD=2; _fireworq; echo "${COMPREPLY[*]}"
	COMP_WORDS=(fireworq --shut) COMP_CWORD=1; _fireworq; echo "${COMPREPLY[*]}"')
[ "$suggested" = "mysql sqlite in-memory
--shutdown-timeout" ] || fail "bash suggests: $suggested"
ok 'bash completes'

# Further daemons, one of which runs on into the upgrade.
echo 'FIREWORQ_BIND=127.0.0.1:8081' >/etc/default/fireworq-a
systemctl start fireworq@a.service || fail 'an instance does not start'
curl -sf http://127.0.0.1:8081/settings | grep -q '"sqlite_path":"/var/lib/fireworq/a/fireworq.db"' ||
	fail 'the instance has no file of its own'
systemctl start fireworq@b.service 2>/dev/null && fail 'an instance without settings starts'
systemctl reset-failed fireworq@b.service
ok 'an instance has settings and files of its own'
