#!/usr/bin/env bash
# side-by-side.sh FIRST SECOND: runs two commands at once; a run of the tests keeps one processor busy, and there are two.
# The second's output is shown as it comes, the first's when both are done, then the second's last lines once more, so
# that a log ends with its summary. Fails when one of them failed.
set -u
log=$(mktemp -d)
trap 'rm -rf "$log"' EXIT
bash -c "$1" >"$log/first" 2>&1 &
first=$!
trap 'kill $first 2>/dev/null' INT TERM
bash -c "$2" 2>&1 | tee "$log/second"
second=${PIPESTATUS[0]}
wait "$first"
first=$?
cat "$log/first"
[ "$first" = 0 ] || echo "== failed, status $first: $1"
[ "$second" = 0 ] || echo "== failed, status $second: $2"
tail -n 15 "$log/second"
[ "$first" = 0 ] && [ "$second" = 0 ]
