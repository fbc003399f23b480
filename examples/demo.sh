#!/bin/sh
# Starts the daemon and a worker, hands in three jobs, one of which fails once, shows what the
# queue log says, and cleans up.
set -eu
cd "$(dirname "$0")/.."
sh tests/support/ensure.sh curl curl
dir=$(mktemp -d)
daemon= worker=
clean_up() {
	if [ -n "$daemon" ]; then kill "$daemon" 2>/dev/null && wait "$daemon" || true; fi
	if [ -n "$worker" ]; then kill "$worker" 2>/dev/null || true; fi
	rm -rf "$dir"
}
trap clean_up EXIT
trap 'exit 1' INT TERM

# wait_for TEXT FILE: waits until the file holds the text, and prints the line.
wait_for() {
	tries=0
	until grep -m 1 -e "$1" "$2" 2>/dev/null; do
		tries=$((tries + 1))
		if [ "$tries" -gt 200 ]; then
			echo "demo: no '$1' within 10 s; the files say:" >&2
			cat "$dir"/*.log >&2
			exit 1
		fi
		sleep 0.05
	done
}

target/quick/examples/worker 127.0.0.1:0 >"$dir/worker.log" 2>&1 &
worker=$!
target/quick/fireworq --bind 127.0.0.1:0 --driver sqlite --sqlite-path "$dir/jobs.db" --queue-log "$dir/queue.log" \
	--access-log "$dir/access.log" >"$dir/daemon.log" 2>&1 &
daemon=$!
worker_address=$(wait_for 'listening on' "$dir/worker.log" | sed 's/.*listening on //')
address=$(wait_for 'listening on' "$dir/daemon.log" | sed 's/.*listening on //')
cat "$dir/daemon.log"

# push JSON: hands in a job, showing the command.
push() {
	echo
	echo "\$ curl -s http://$address/job/demo -d '$1'"
	curl -sS --fail-with-body "http://$address/job/demo" -d "$1"
	echo
}
push '{"url":"http://'"$worker_address"'/","payload":{"hello":"world"}}'
push '{"url":"http://'"$worker_address"'/","payload":{"fail_once":true},"max_retries":1,"retry_delay":1}'
push '{"url":"http://'"$worker_address"'/","payload":"later","run_after":1}'
for id in 1 2 3; do
	wait_for '"action":"complete".*"id":'"$id"',"status":"completed"' "$dir/queue.log" >/dev/null
done

printf '\nWhat the worker saw:\n'
cat "$dir/worker.log"
printf '\nWhat the queue log says:\n'
cat "$dir/queue.log"
if ! grep -q '"action":"retry".*"id":2,' "$dir/queue.log"; then
	echo "demo: job 2 was not retried" >&2
	exit 1
fi
printf '\nEach of the three jobs was delivered; the second one failed once and was retried.\n'
