#!/bin/sh
# Run every fuzz target of the project for the given time (5m) or count (2000x) each. A package with targets is built for
# fuzzing once, not once for each of them: linking takes longer than 2,000 runs. Inputs that open new paths are kept where
# `go test -fuzz` keeps them.
set -eu
budget=${1:-2000x}
root=$(pwd)
built=$(mktemp -d)
trap 'rm -rf "$built"' EXIT
cache=$(go env GOCACHE)/fuzz
ran=0
for dir in $(git ls-files -co --exclude-standard '*_test.go' | xargs grep -l '^func Fuzz' | xargs -n1 dirname | sort -u); do
	package=$(go list "./$dir")
	go test -c -fuzz=. -o "$built/fuzz.test" "./$dir"
	for target in $(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' "$dir"/*_test.go); do
		echo "fuzz ./$dir $target"
		if ! out=$(cd "$root/$dir" && "$built/fuzz.test" -test.run='^$' -test.fuzz="^$target\$" -test.fuzztime="$budget" -test.fuzzminimizetime=1s \
			-test.fuzzcachedir="$cache/$package" -test.timeout=0 2>&1); then
			# With a time as budget Go itself may fail when the time is up in the middle of an execution
			#; a real finding always writes its input.
			case $out in
			*"Failing input written"* | *"panic:"*) echo "$out" && exit 1 ;;
			*"context deadline exceeded"*) ;;
			*) echo "$out" && exit 1 ;;
			esac
		fi
		ran=$((ran + 1))
	done
done
[ "$ran" -gt 0 ] || { echo "no fuzz target found" >&2; exit 1; }
echo "$ran fuzz targets, $budget each: no crasher"
