#!/bin/sh
# What the tests need beside Go and Node: a real Chromium for the browser test, a C compiler for the race detector, MQTT clients and
# a broker from elsewhere, and a PostgreSQL server, which the tests start themselves.
# Installed through the system's package manager where that is allowed.
set -eu
want=
command -v chromium >/dev/null 2>&1 || command -v chromium-browser >/dev/null 2>&1 || command -v google-chrome >/dev/null 2>&1 || want=chromium
command -v gcc >/dev/null 2>&1 || command -v clang >/dev/null 2>&1 || want="$want gcc"
command -v mosquitto_pub >/dev/null 2>&1 || want="$want mosquitto-clients"
command -v mosquitto >/dev/null 2>&1 || [ -x /usr/sbin/mosquitto ] || want="$want mosquitto"
command -v initdb >/dev/null 2>&1 || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || want="$want postgresql"
[ -n "$want" ] || exit 0

root=
if [ "$(id -u)" != 0 ]; then
	if command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
		root=sudo
	else
		echo "missing for the tests:$want" >&2
		echo "hint: install it as root (for instance: apt-get install $want), then run make test again" >&2
		exit 1
	fi
fi
echo "installing for the tests: $want" >&2
if command -v apt-get >/dev/null 2>&1; then
	$root apt-get update -qq >/dev/null
	case $want in *gcc*) want="$want libc6-dev" ;; esac
	case $want in *chromium*) want="$want fonts-dejavu-core" ;; esac
	DEBIAN_FRONTEND=noninteractive $root apt-get install -y -qq --no-install-recommends $want >/dev/null
elif command -v dnf >/dev/null 2>&1; then
	$root dnf install -y -q $(echo "$want" | sed "s/mosquitto-clients//; s/postgresql/postgresql-server/; s/\$/ mosquitto/")
else
	echo "hint: this script knows apt-get and dnf; install by hand: $want" >&2
	exit 1
fi
