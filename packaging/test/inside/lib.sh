# Shared by the scripts that run inside the box. Sourced, under `set -eu`.
# shellcheck shell=sh
api=http://127.0.0.1:8080
worker=127.0.0.1:3000
load=/root/test/load
work=/root/test/work
mkdir -p "$work"

ok() { echo "ok: $*"; }
fail() {
	echo "FAILED: $*" >&2
	systemctl --no-pager status fireworq.service fireworq.socket >&2 || true
	journalctl --no-pager -q -n 40 -u fireworq.service >&2 || true
	exit 1
}

# eventually WHAT SECONDS COMMAND…: runs the command until it succeeds.
eventually() {
	what=$1 deadline=$(($(date +%s) + $2))
	shift 2
	until "$@" >/dev/null 2>&1; do
		[ "$(date +%s)" -lt "$deadline" ] || fail "not in time: $what"
		sleep 0.05
	done
}

answers() { curl -sf -m 10 "$api/version"; }
push() { curl -sSf -m 20 "$api/job/$1" -d "$2"; }
main_pid() { systemctl show -p MainPID --value "${1:-fireworq.service}"; }
property() { systemctl show -p "$1" --value "${2:-fireworq.service}"; }
# another_than PID [UNIT]: the unit runs, as another process.
another_than() {
	now=$(main_pid "${2:-fireworq.service}")
	[ "$now" != 0 ] && [ "$now" != "$1" ] && systemctl is-active -q "${2:-fireworq.service}"
}
now_ms() { date +%s%3N; }

# Sets or removes lines of /etc/default/fireworq: set_default 'FIREWORQ_X=y', unset_defaults.
set_default() { echo "$1 # test" | sed 's/ # test$//' >>/etc/default/fireworq; }
unset_defaults() { cp -p "$work/default" /etc/default/fireworq; }

load_pid=
start_load() {
	rm -f "$work/stop"
	"$load" run 127.0.0.1:8080 "$worker" "$work/stop" >"$work/load.json" 2>"$work/load.err" &
	load_pid=$!
	before=$(acknowledged)
	eventually 'the load runs' 20 pushed_since "$before" 50
}
# How many jobs the queue has taken since the daemon began to log.
acknowledged() { cat /var/log/fireworq/queue.log* 2>/dev/null | grep -c '"action":"push"' || true; }
pushed_since() { [ $(($(acknowledged) - $1)) -ge "$2" ]; }
# Ends the load and shows its accounts.
stop_load() {
	touch "$work/stop"
	wait "$load_pid" || fail "the load: $(cat "$work/load.err")"
	load_pid=
	accounts=$(cat "$work/load.json")
	echo "    $accounts"
	[ "$(account lost)" = 0 ] || fail "jobs are lost: $(head -n 5 "$work/load.err")"
}
account() { echo "$accounts" | sed "s/.*\"$1\":\([0-9]*\).*/\1/"; }
