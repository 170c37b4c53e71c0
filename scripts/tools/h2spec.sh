#!/usr/bin/env bash
# Installs the pinned h2spec, which asks an HTTP/2 server for the rules of RFC 9113 and RFC 7541, into the tools' cache and prints its path.
set -euo pipefail
version=2.2.1
# h2spec names no versions of its own: without these, each build would be against the newest.
net=v0.62.0
cache=${XDG_CACHE_HOME:-$HOME/.cache}/sallyport-tools
home=$cache/h2spec-$version
if [ ! -x "$home/h2spec" ]; then
  mkdir -p "$home"
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  (
    cd "$work"
    go mod init h2spec-install
    go get "github.com/summerwind/h2spec/cmd/h2spec@v$version+incompatible" "golang.org/x/net@$net"
    go build -buildvcs=false -ldflags "-X main.VERSION=$version" -o "$home/h2spec" github.com/summerwind/h2spec/cmd/h2spec
  ) >&2
fi
echo "$home/h2spec"
