#!/bin/sh
# run.sh DAEMON: runs schemathesis, which sends whatever doc/openapi.yaml allows and much that it does
# not, against a daemon on the embedded store in a directory of its own. Ends by itself, and
# leaves nothing but its tools in target/schemathesis.
set -eu
daemon=$(realpath "$1")
root=$(realpath "$(dirname "$0")/../..")
tools=$root/target/schemathesis
version=4.32.5

sh "$root/tests/support/ensure.sh" python3 python3
sh "$root/tests/support/ensure.sh" timeout coreutils
if [ "$("$tools/bin/schemathesis" --version 2>/dev/null)" != "schemathesis, version $version" ]; then
	echo "installing schemathesis $version into target/schemathesis" >&2
	rm -rf "$tools"
	if ! python3 -m venv "$tools" >/dev/null 2>&1; then
		sh "$root/tests/support/ensure.sh" --package python3-venv
		rm -rf "$tools"
		python3 -m venv "$tools"
	fi
	"$tools/bin/pip" install --quiet --disable-pip-version-check "schemathesis==$version"
fi

work=$(mktemp -d)
pid=
trap '[ -z "$pid" ] || kill "$pid" 2>/dev/null || true; wait; rm -rf "$work"' EXIT
cd "$work"
# Jobs that are pushed lead to all kinds of hosts: a proxy that is not there keeps them here.
HTTP_PROXY=http://127.0.0.1:9 HTTPS_PROXY=http://127.0.0.1:9 NO_PROXY='' no_proxy='' \
	"$daemon" --bind 127.0.0.1:0 --access-log access.log --queue-log queue.log \
	--dispatch-default-timeout 5 2>error.log &
pid=$!
address=
for _ in $(seq 100); do
	address=$(sed -n 's/.*listening on \([0-9.:]*\).*/\1/p' error.log)
	[ -z "$address" ] || break
	sleep 0.1
done
if [ -z "$address" ]; then
	cat error.log >&2
	exit 1
fi
code=0
timeout 300 "$tools/bin/schemathesis" --config-file "$root/tests/api/schemathesis.toml" \
	run "$root/doc/openapi.yaml" --url "http://$address" --workers 2 --no-color \
	--phases coverage,fuzzing,stateful || code=$?
if ! kill -0 "$pid" 2>/dev/null; then
	echo 'the daemon ended meanwhile' >&2
	code=1
fi
if grep -q panick error.log; then
	grep panick error.log >&2
	code=1
fi
exit "$code"
