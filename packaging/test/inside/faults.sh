#!/bin/sh
# A crash, a hang, a bad setting, a stop that has to wait, a password that is nobody's business.
set -eu
# shellcheck source=packaging/test/inside/lib.sh
. /root/test/lib.sh

start_load
was=$(main_pid) began=$(now_ms)
kill -9 "$was"
eventually 'it is restarted after a crash' 10 another_than "$was"
took=$(($(now_ms) - began))
before=$(acknowledged)
eventually 'it takes jobs after a crash' 20 pushed_since "$before" 100
[ "$took" -lt 5000 ] || fail "restarted only after $took ms"
stop_load
[ "$(account failed)" -le 8 ] || fail 'more requests failed than were under way'
ok "killed under load: restarted after $took ms, and no job is lost"

dropin=/run/systemd/system/fireworq.service.d
mkdir -p "$dropin"
printf '[Service]\nWatchdogSec=2\n' >"$dropin/test.conf"
systemctl daemon-reload
systemctl restart fireworq.service
was=$(main_pid)
sleep 5
[ "$(main_pid)" = "$was" ] || fail 'the watchdog ended a daemon that is well'
kill -STOP "$was"
eventually 'the watchdog restarts it' 20 another_than "$was"
eventually 'the journal tells of the watchdog' 10 sh -c 'journalctl -q -u fireworq.service | grep -qi watchdog'
rm "$dropin/test.conf"
systemctl daemon-reload
ok 'hung: the watchdog restarts it'

set_default 'FIREWORQ_KEEP_ALIVE=maybe'
systemctl restart fireworq.service 2>/dev/null && fail 'it starts with a bad setting'
eventually 'the journal tells which setting' 10 \
	sh -c 'journalctl -q -u fireworq.service | grep -q "FIREWORQ_KEEP_ALIVE.*maybe.*boolean"'
[ "$(property ExecMainStatus)" = 2 ] || fail 'the exit code of a bad setting'
[ "$(property ActiveState)" = failed ] || fail 'a bad setting is tried again'
unset_defaults
systemctl reset-failed fireworq.service
systemctl restart fireworq.service || fail 'it does not start with the setting put right'
ok 'a bad setting stops the start, in words, and is not tried again'

set_default 'FIREWORQ_SHUTDOWN_TIMEOUT=3'
systemctl restart fireworq.service
"$load" worker 127.0.0.1:3001 &
silent=$!
push silent '{"url":"http://127.0.0.1:3001/never","payload":0}' >/dev/null
eventually 'the job is under way' 20 sh -c 'ss -Htn | grep -q "ESTAB.*127.0.0.1:3001"'
began=$(now_ms)
systemctl stop fireworq.socket fireworq.service
took=$(($(now_ms) - began))
[ "$took" -ge 2900 ] && [ "$took" -lt 6000 ] || fail "the stop took $took ms"
[ "$(property Result)" = success ] || fail "the stop ended as $(property Result)"
answers && fail 'it answers after the stop'
kill "$silent"
unset_defaults
ok "a stop waits for a running job for shutdown_timeout: it took $took ms of 3000"

( umask 077 && echo 's3cr3t' >/etc/fireworq/mysql-password )
cat >"$dropin/mysql.conf" <<END
[Service]
LoadCredential=mysql-password:/etc/fireworq/mysql-password
Environment=FIREWORQ_MYSQL_DSN=fireworq@tcp(127.0.0.1:3306)/fireworq
Environment=FIREWORQ_MYSQL_PASSWORD_FILE=%d/mysql-password
END
systemctl daemon-reload
systemctl start fireworq.service || fail 'it does not start with a credential'
curl -sf "$api/settings" >"$work/settings"
grep -q '"mysql_password_file":"/run/credentials/fireworq.service/mysql-password"' "$work/settings" ||
	fail 'the credential is not used'
tr '\0' '\n' <"/proc/$(main_pid)/environ" >>"$work/settings"
tr '\0' '\n' <"/proc/$(main_pid)/cmdline" >>"$work/settings"
journalctl -q -u fireworq.service >>"$work/settings"
grep -q s3cr3t "$work/settings" && fail 'the password shows'
rm -r "$dropin"
systemctl daemon-reload
chgrp fireworq /etc/fireworq/mysql-password
chmod 640 /etc/fireworq/mysql-password
set_default "FIREWORQ_MYSQL_DSN='fireworq@tcp(127.0.0.1:3306)/fireworq'"
set_default 'FIREWORQ_MYSQL_PASSWORD_FILE=/etc/fireworq/mysql-password'
systemctl restart fireworq.service || fail 'it does not start with a password file'
answers >/dev/null || fail 'it does not answer without a database'
rm /etc/fireworq/mysql-password
systemctl restart fireworq.service 2>/dev/null && fail 'it starts without its password file'
unset_defaults
systemctl reset-failed fireworq.service
systemctl restart fireworq.service
ok 'the password of the database comes from a credential or a file, and shows nowhere'
