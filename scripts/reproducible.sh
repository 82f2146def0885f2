#!/bin/sh
# Build the product and the laboratory twice, from two folders of different names and ages, and compare the bytes.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
version=$(git describe --tags --always --dirty 2>/dev/null || echo dev)
flags="-s -w -X main.version=$version -X github.com/openziti/ziti/common/version.Version=v1.7.2"
for copy in one another-and-longer-name; do
	mkdir -p "$work/$copy"
	{ git ls-files -co --exclude-standard; find internal/view/dashboard/dist -type f; } | sort -u | tar -cf - -T - | tar -xmf - -C "$work/$copy"
	(cd "$work/$copy" && mkdir -p bin && CGO_ENABLED=0 GOFLAGS="-trimpath -buildvcs=false" go build -ldflags "$flags" -o bin/ ./cmd/vitalseal ./cmd/vitalseal-lab)
done
for binary in vitalseal vitalseal-lab; do
	cmp "$work/one/bin/$binary" "$work/another-and-longer-name/bin/$binary"
	echo "$binary is reproducible: $(sha256sum <"$work/one/bin/$binary" | cut -d' ' -f1)"
done
