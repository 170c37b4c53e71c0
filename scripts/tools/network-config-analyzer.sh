#!/usr/bin/env bash
# Installs the pinned network-config-analyzer into the tools' cache and prints the path of its Python.
set -euo pipefail
version=2.1.0
cache=${XDG_CACHE_HOME:-$HOME/.cache}/sallyport-tools
home=$cache/nca-$version
if [ ! -x "$home/bin/nca" ]; then
  mkdir -p "$cache"
  python3 -m venv "$home"
  "$home/bin/pip" install --quiet "network-config-analyzer==$version"
fi
echo "$home/bin/python"
