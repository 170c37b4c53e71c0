#!/usr/bin/env bash
# Installs the pinned Redis of Debian, which the tests of shared limits talk to, into the tools' cache and prints its path. The packages
# are unpacked, not installed: no service is started, and nothing outside of the cache changes.
set -euo pipefail
version=5:7.0.15
cache=${XDG_CACHE_HOME:-$HOME/.cache}/sallyport-tools
home=$cache/redis-${version#*:}

# Runs as root, which apt-get needs for its lists.
as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

if [ ! -x "$home/redis-server" ]; then
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  {
    # `redis-server` is a link to the program in redis-tools; the libraries are those that a plain Debian lacks.
    wanted=("redis-server=$version*" "redis-tools=$version*" libjemalloc2 liblzf1 libatomic1)
    if ! apt-cache show redis-server 2>/dev/null | grep -q "^Version: $version"; then as_root apt-get update -qq; fi
    (cd "$work" && apt-get download -qq "${wanted[@]}")
    rm -rf "$home"
    mkdir -p "$home"
    for package in "$work"/*.deb; do dpkg-deb -x "$package" "$home"; done
    # The libraries are found beside the program, wherever the cache is.
    cat >"$home/run" <<'RUN'
#!/bin/sh
here=$(dirname "$(readlink -f "$0")")
for folder in "$here"/usr/lib/*-linux-gnu*; do LD_LIBRARY_PATH=$folder${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}; done
export LD_LIBRARY_PATH
exec "$here/usr/bin/redis-server" "$@"
RUN
    chmod +x "$home/run"
    "$home/run" --version
    mv "$home/run" "$home/redis-server"
  } >&2
fi
echo "$home/redis-server"
