#!/usr/bin/env bash
# Installs the pinned PyJWT, with what it verifies signatures with, into the tools' cache and prints the path of its Python.
set -euo pipefail
version=2.15.1
cache=${XDG_CACHE_HOME:-$HOME/.cache}/sallyport-tools
home=$cache/pyjwt-$version
if [ ! -e "$home/.complete" ]; then
  mkdir -p "$cache"
  python3 -m venv --clear "$home"
  "$home/bin/pip" install --quiet --disable-pip-version-check "pyjwt[crypto]==$version"
  touch "$home/.complete"
fi
echo "$home/bin/python"
