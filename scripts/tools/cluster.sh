#!/usr/bin/env bash
# Runs the end-to-end suite of test/cluster/ on a real cluster with an enforcing CNI, and then on one that ignores policies. The
# clusters come from a kit beside the checkout (or SALLYPORT_CLUSTER_KIT). On a cluster of your own: docs/guide/proof.md, "See it on packets".
#
# The last line of each part is tap's summary. Exit code 0: everything held, or there is no kit.
set -euo pipefail

cd "$(dirname "$0")/../.."
kit=${SALLYPORT_CLUSTER_KIT:-../shared/cluster}/cluster
if [ ! -x "$kit" ]; then
  echo 'skipped: no cluster kit'
  [ "${SALLYPORT_NO_SKIP:-}" != 1 ]
  exit
fi
kit=$(realpath "$kit")

if ! command -v buildah >/dev/null; then
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends buildah; } >&2
fi

work=$(mktemp -d)
end() {
  "$kit" down || true
  rm -rf "$work"
}
trap end EXIT

# suite CNI FILE: the file as a part of the cluster, where KUBECONFIG, kubectl and helm are.
suite() {
  CNI=$1 "$kit" up >&2
  "$kit" load-archive "$work/image.tar" >&2
  "$kit" run env SALLYPORT_OUTSIDE='ip netns exec client' SALLYPORT_KEEP_NAMESPACES=1 npx tap --timeout=600 "$2"
}

"$kit" install >&2
CNI=cilium "$kit" up >/dev/null 2>&1 & # beside the build of the image; `suite` waits for it, and says what is wrong with it
scripts/tools/local-image.sh sallyport:0.1.0 "$work/image.tar" >&2
status=0
suite cilium test/cluster/enforced.cluster.ts || status=1
"$kit" down
suite none-enforcing test/cluster/ignored.cluster.ts || status=1
exit $status
