#!/usr/bin/env bash
# Installs the tools that the tests use besides node_modules: pinned, into a cache of our own, nothing system-wide. Tools
# that are there already stay. Prints the folder to put on PATH; everything else goes to standard error.
#
#   PATH="$(scripts/tools/install.sh):$PATH" npm test
#
# One function a tool. A tool that cannot be installed fails the script: with SALLYPORT_NO_SKIP=1 its tests would fail too.
set -euo pipefail

cache="${XDG_CACHE_HOME:-$HOME/.cache}/sallyport"
bin="$cache/bin"
mkdir -p "$bin"

say() { printf '%s\n' "$*" >&2; }

# Runs as root, which apt-get needs for its lists.
as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

# Downloads a Debian package by name and version prefix and unpacks it into a folder: the program without its services.
unpack_deb() {
  local package="$1" version="$2" folder="$3" download
  download="$(mktemp -d)"
  if ! apt-cache show "$package=$version*" >/dev/null 2>&1; then as_root apt-get update -qq >&2; fi
  (cd "$download" && apt-get download -qq "$package=$version*" >&2)
  rm -rf "$folder.new"
  dpkg-deb -x "$download"/*.deb "$folder.new"
  rm -rf "$folder" "$download"
  mv "$folder.new" "$folder"
}

# promtool checks the exposition format of /metrics.
install_promtool() {
  local version=2.42.0 folder="$cache/prometheus-2.42.0"
  if [ ! -x "$folder/usr/bin/promtool" ]; then
    say "installing promtool $version"
    unpack_deb prometheus "$version" "$folder"
  fi
  ln -sf "$folder/usr/bin/promtool" "$bin/promtool"
}

# The picture that `verify --format html` draws is looked at in a real browser.
install_chromium() {
  command -v chromium >/dev/null && return
  say 'installing chromium'
  as_root apt-get update -qq >&2
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends chromium fonts-dejavu-core >&2
}

# Two evaluators of NetworkPolicies that others have written: ours must agree with them.
install_evaluators() {
  local here
  here="$(dirname "${BASH_SOURCE[0]}")"
  "$here/cyclonus.sh" >&2
  "$here/network-config-analyzer.sh" >&2
}

# Helm 4 and 3, helm-unittest, kube-score, hadolint, kubernetes-validate: the tests find them where chart.sh puts them.
install_chart_tools() {
  "$(dirname "${BASH_SOURCE[0]}")/chart.sh" >&2
}

# h2spec asks the HTTP/2 listeners for the rules of RFC 9113.
install_h2spec() {
  ln -sf "$("$(dirname "${BASH_SOURCE[0]}")/h2spec.sh")" "$bin/h2spec"
}

# Limits that replicas share are counted in a real Redis.
install_redis() {
  ln -sf "$("$(dirname "${BASH_SOURCE[0]}")/redis.sh")" "$bin/redis-server"
}

# The official client and server of gRPC's interoperability cases: they must not notice the gateway.
install_grpc_interop() {
  "$(dirname "${BASH_SOURCE[0]}")/grpc-interop.sh" >&2
}

# The Python of a backend that verifies what the gateway has signed.
install_pyjwt() {
  local python
  python="$("$(dirname "${BASH_SOURCE[0]}")/pyjwt.sh")"
  # No link: Python looks for its packages beside the name that it was started by.
  printf '#!/bin/sh\nexec "%s" "$@"\n' "$python" >"$bin/python-with-pyjwt.new"
  chmod +x "$bin/python-with-pyjwt.new"
  mv "$bin/python-with-pyjwt.new" "$bin/python-with-pyjwt"
}

# People sign in at a provider that is not in the process of the test.
install_keycloak() {
  ln -sf "$("$(dirname "${BASH_SOURCE[0]}")/keycloak.sh")" "$bin/keycloak"
}

install_promtool
install_redis
install_h2spec
install_chart_tools
install_chromium
install_evaluators
install_grpc_interop
install_pyjwt
install_keycloak

printf '%s\n' "$bin"
