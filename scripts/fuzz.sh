#!/bin/sh
# Run every fuzz target of the project for the given time each.
set -eu
time=${1:-2s}
ran=0
for file in $(git ls-files -co --exclude-standard '*_test.go'); do
	for target in $(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' "$file"); do
		dir=./$(dirname "$file")
		echo "fuzz $dir $target"
		out=$(go test -run='^$' -fuzz="^$target\$" -fuzztime="$time" "$dir" 2>&1) || { echo "$out"; exit 1; }
		ran=$((ran + 1))
	done
done
[ "$ran" -gt 0 ] || { echo "no fuzz target found" >&2; exit 1; }
echo "$ran fuzz targets, $time each: no crasher"
