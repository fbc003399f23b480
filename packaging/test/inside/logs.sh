#!/bin/sh
# Rotation under load, and a job's line that arrives parsed through rsyslog.
set -eu
# shellcheck source=packaging/test/inside/lib.sh
. /root/test/lib.sh

# Full lines of the queue log by their action, all files of it together.
lines() { cat /var/log/fireworq/queue.log* | grep -c "^{.*\"action\":\"$1\".*}$" || true; }
pushes=$(lines push) completes=$(lines complete)
start_load
for n in 1 2 3; do
	before=$(acknowledged)
	sed 's/^\tcompress$//' /etc/logrotate.d/fireworq >"$work/logrotate.conf"
	logrotate --force --state "$work/logrotate.state" "$work/logrotate.conf" || fail 'logrotate'
	eventually "the new file is written, rotation $n" 20 test -s /var/log/fireworq/queue.log
	eventually 'the load goes on' 30 pushed_since "$before" 100
done
stop_load
acked=$(account acknowledged)
logged() { [ $(($(lines push) - pushes)) = "$acked" ] && [ $(($(lines complete) - completes)) -ge "$acked" ]; }
eventually "$acked pushes and completions are logged" 20 logged
torn=$(cat /var/log/fireworq/*.log* | grep -vc '^{.*}$' || true)
[ "$torn" = 0 ] || fail "$torn lines are torn"
[ "$(stat -c '%U %a' /var/log/fireworq/queue.log)" = 'fireworq 640' ] || fail 'the new file'
logrotate --force /etc/logrotate.conf || fail 'logrotate with the files of the system'
ok "three rotations under load: $acked pushes, as many lines, none torn"

# What doc/log-shipping.md says, word for word, and a receiver that parses.
arrived=/var/log/fireworq-jobs.log
sed 's/logs.example.com/127.0.0.1/' /root/test/rsyslog-sender.conf >/etc/rsyslog.d/fireworq.conf
rsyslogd -n -f /root/test/rsyslog-receiver.conf -i "$work/receiver.pid" >"$work/receiver.log" 2>&1 &
receiver=$!
eventually 'the receiver listens' 20 sh -c "ss -Hltn | grep -q ':10514'"
rsyslogd -N1 2>"$work/rsyslog.log" || fail "rsyslog refuses what the page says: $(cat "$work/rsyslog.log")"
systemctl restart rsyslog.service || fail 'rsyslog does not start'
id=$(push ship "{\"url\":\"http://127.0.0.1:1/\",\"payload\":\"$(head -c 100000 /dev/zero | tr '\0' x)\"}" |
	sed 's/{"id":\([0-9]*\).*/\1/')
eventually 'the line of a failed job arrives parsed' 30 grep -q "^job $id of default: complete, failed" "$arrived"
line=$(grep -m 1 "^job $id of default: complete, failed" "$arrived")
echo "    $(echo "$line" | sed 's/x\{20,\}…*/x…/')"
echo "$line" | grep -q 'x…(cut, 100000 bytes in all)' || fail 'a long payload is not cut with a mark'
kill "$receiver"
rm /etc/rsyslog.d/fireworq.conf
ok "through rsyslog: the line of job $id arrived parsed"
