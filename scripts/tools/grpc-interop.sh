#!/usr/bin/env bash
# Installs the pinned interoperability client and server of gRPC for Go into the tools' cache, links them into the cache's
# bin as grpc-interop-client and grpc-interop-server, and prints that folder.
set -euo pipefail
version=1.85.0
cache=${XDG_CACHE_HOME:-$HOME/.cache}
home=$cache/sallyport-tools/grpc-interop-$version
bin=$cache/sallyport/bin
if [ ! -x "$home/client" ] || [ ! -x "$home/server" ]; then
  mkdir -p "$home"
  GOBIN=$home go install "google.golang.org/grpc/interop/client@v$version" "google.golang.org/grpc/interop/server@v$version"
fi
mkdir -p "$bin"
ln -sf "$home/client" "$bin/grpc-interop-client"
ln -sf "$home/server" "$bin/grpc-interop-server"
echo "$bin"
