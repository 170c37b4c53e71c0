#!/usr/bin/env bash
# Builds the Dockerfile with buildah where no base image can be pulled: on one made from this machine's node, npm and libraries.
# For tests; a real image is built on the Dockerfile's own bases.
#
#   scripts/tools/local-image.sh NAME:TAG ARCHIVE     writes a Docker archive, for `docker load` or a cluster's `load-archive`
set -euo pipefail

name=$1
archive=$2
root=$(cd "$(dirname "$0")/../.." && pwd)
node=$(readlink -f "$root/node_modules/node/bin/node")
npm=$(readlink -f "$(command -v npm)")
npm=${npm%/bin/npm-cli.js}
export BUILDAH_ISOLATION=chroot STORAGE_DRIVER=${STORAGE_DRIVER:-vfs} # these two work inside of a container, too
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# copy_program FILE TARGET: with the libraries that it is linked to.
copy_program() {
  install -D "$1" "$work/base$2"
  { ldd "$1" 2>/dev/null || true; } | grep -oE '/[^ ]+\.so[^ ]*' | while read -r library; do
    install -D "$(readlink -f "$library")" "$work/base$library"
  done
}

mkdir -p "$work"/base/{tmp,etc/ssl/certs,usr/local/bin,usr/local/etc,usr/bin,bin}
chmod 1777 "$work/base/tmp"
copy_program "$node" /usr/local/bin/node
buildah from --name sallyport-runtime scratch >/dev/null
trap 'rm -rf "$work"; buildah rm sallyport-runtime >/dev/null 2>&1 || true' EXIT
buildah copy -q sallyport-runtime "$work/base" / >/dev/null
buildah commit -q sallyport-runtime localhost/sallyport-base:runtime >/dev/null

copy_program /bin/sh /bin/sh
copy_program /usr/bin/env /usr/bin/env
mkdir -p "$work/base/usr/local/lib/node_modules"
cp -r "$npm" "$work/base/usr/local/lib/node_modules/npm"
ln -s ../lib/node_modules/npm/bin/npm-cli.js "$work/base/usr/local/bin/npm"
# Which registry this machine uses is its own affair: it is known to this base alone, never to the image.
cp -L /etc/ssl/certs/ca-certificates.crt "$work/base/etc/ssl/certs/"
printf 'registry=%s\ncafile=/etc/ssl/certs/ca-certificates.crt\n' "$(npm config get registry 2>/dev/null)" > "$work/base/usr/local/etc/npmrc"
buildah copy -q sallyport-runtime "$work/base" / >/dev/null
buildah commit -q sallyport-runtime localhost/sallyport-base:build >/dev/null

buildah build -q --network host --pull=never --layers=false \
  --build-arg BUILD_IMAGE=localhost/sallyport-base:build --build-arg RUNTIME_IMAGE=localhost/sallyport-base:runtime \
  --build-arg REVISION="$(git -C "$root" rev-parse HEAD)" --build-arg CREATED="$(git -C "$root" log -1 --format=%cI)" \
  --timestamp "$(git -C "$root" log -1 --format=%ct)" -t "localhost/$name" "$root" >&2
rm -f "$archive"
buildah push -q "localhost/$name" "docker-archive:$archive:docker.io/library/$name"
echo "$archive"
