#!/bin/sh
# Prints a folder for what tests write: one in memory where there is room for it and programs may be started from it, else the usual one. The
# tests fsync as the product does, thousands of times; what they prove about power and kills does not rest on a disk's speed.
set -eu
usual=${TMPDIR:-/tmp}
memory=/dev/shm
want=$((6 * 1024 * 1024)) # KiB, of memory and of the file system
free=$(df -kP "$memory" 2>/dev/null | awk 'NR == 2 {print $4}')
available=$(awk '/^MemAvailable:/ {print $2}' /proc/meminfo 2>/dev/null || echo 0)
if [ "${free:-0}" -ge "$want" ] && [ "${available:-0}" -ge $((2 * want)) ] && [ -w "$memory" ] &&
	! awk -v m="$memory" '$2 == m {print $4}' /proc/mounts | grep -qw noexec; then
	usual=$memory
fi
echo "$usual"
