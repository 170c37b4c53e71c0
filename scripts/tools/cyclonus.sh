#!/usr/bin/env bash
# Installs the pinned cyclonus into the tools' cache and prints its path.
set -euo pipefail
version=0.5.6
cache=${XDG_CACHE_HOME:-$HOME/.cache}/sallyport-tools
home=$cache/cyclonus-$version
if [ ! -x "$home/cyclonus" ]; then
  mkdir -p "$home"
  GOBIN=$home go install "github.com/mattfenwick/cyclonus/cmd/cyclonus@v$version"
fi
echo "$home/cyclonus"
