#!/usr/bin/env bash
# Installs the pinned Keycloak, the identity provider that people sign in at besides the one that tests have in their process, into the
# tools' cache and prints the path of a program that starts it. What takes half a minute is done here once: its build, and a database
# with nothing in it but an administrator.
#
#   keycloak FOLDER ARGUMENT…    kc.sh with these arguments; its data are in FOLDER, which begins as a copy of that database
set -euo pipefail
version=26.4.0
plugin=3.8.1
cache=${XDG_CACHE_HOME:-$HOME/.cache}/sallyport-tools
home=$cache/keycloak-$version

# Runs as root, which apt-get needs.
as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

# Keycloak runs on Java 17 and later; Maven downloads it.
has_java() {
  local major
  major=$(java -version 2>&1 | sed -nE 's/.* version "([0-9]+).*/\1/p') || return
  [ "${major:-0}" -ge 17 ]
}

if [ ! -x "$home/keycloak" ]; then
  {
    if ! has_java || ! command -v mvn; then
      as_root apt-get update -qq
      as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends default-jre-headless maven
    fi
    mkdir -p "$cache"
    work=$(mktemp -d "$cache/keycloak.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    # In an empty folder: a pom.xml of somebody else's says nothing here.
    (
      cd "$work"
      artifact=org.keycloak:keycloak-quarkus-dist:$version:tar.gz
      plugin=org.apache.maven.plugins:maven-dependency-plugin:$plugin
      mvn -q -B -C "$plugin:get" "$plugin:copy" -Dartifact="$artifact" -Dtransitive=false -DoutputDirectory="$work"
    )
    tar -xzf "$work/keycloak-quarkus-dist-$version.tar.gz" -C "$work"
    new=$work/keycloak-$version
    JAVA_OPTS_APPEND=-XX:TieredStopAtLevel=1 "$new/bin/kc.sh" build --db=dev-file
    # Whoever reaches a Keycloak of a test is on this machine, and it is gone with the test.
    SECRET=only-for-tests JAVA_OPTS_APPEND=-XX:TieredStopAtLevel=1 "$new/bin/kc.sh" bootstrap-admin service --optimized --no-prompt \
      --client-id=tests --client-secret:env=SECRET
    mv "$new/data" "$new/prepared"
    cat >"$new/keycloak" <<'RUN'
#!/bin/sh
here=$(dirname "$(readlink -f "$0")")
folder=$1
shift
if [ ! -e "$folder/data" ]; then
  cp -r "$here/prepared" "$folder/data"
  ln -s "$here/lib" "$here/conf" "$here/providers" "$here/themes" "$folder"
fi
# It lives for a minute: little memory, and code that is compiled quickly and not well.
export JAVA_OPTS_KC_HEAP="-Xms64m -Xmx256m -XX:-UseG1GC -XX:+UseSerialGC" JAVA_OPTS_APPEND=-XX:TieredStopAtLevel=1
exec "$here/bin/kc.sh" "$@" "-Dkc.home.dir=$folder"
RUN
    chmod +x "$new/keycloak"
    rm -rf "$home"
    mv "$new" "$home"
  } >&2
fi
echo "$home/keycloak"
