#!/bin/sh
# The browser test drives a real Chromium. Install it through the system's package manager where that is allowed.
set -eu
for c in chromium chromium-browser google-chrome; do
	command -v "$c" >/dev/null 2>&1 && exit 0
done
root=
[ "$(id -u)" = 0 ] || { command -v sudo >/dev/null && sudo -n true 2>/dev/null && root=sudo; } || {
	echo "hint: the browser test needs Chromium; install it as root (for instance: apt-get install chromium)" >&2
	exit 1
}
if command -v apt-get >/dev/null 2>&1; then
	echo "installing chromium ..." >&2
	$root apt-get update -qq >/dev/null
	DEBIAN_FRONTEND=noninteractive $root apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core >/dev/null
elif command -v dnf >/dev/null 2>&1; then
	$root dnf install -y -q chromium
elif command -v apk >/dev/null 2>&1; then
	$root apk add --quiet chromium
else
	echo "hint: install Chromium; this script knows apt-get, dnf and apk" >&2
	exit 1
fi
