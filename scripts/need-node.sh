#!/bin/sh
# The front end is built with Node; the rest of Vitalseal is not.
v=$(node --version 2>/dev/null | sed 's/^v\([0-9]*\).*/\1/')
[ "${v:-0}" -ge 20 ] && exit 0
echo "Node 20 or later is needed to build the dashboard (found: $(node --version 2>/dev/null || echo none))." >&2
echo "hint: install it, or build without the dashboard: CGO_ENABLED=0 go build ./cmd/vitalseal" >&2
exit 1
