#!/bin/sh
# Replaces the replicas of the API by new ones, of a new image, API_IMAGE or setting, without a
# failed request: as many new ones start beside them, and when these are ready the old ones drain
# and end. The machine holds both for a while.
#
#   docker compose -f docker/compose.scale.yaml build api && docker/roll.sh
#   docker/roll.sh docker/compose.scale.yaml docker/compose.observability.yaml
set -eu
here=$(cd "$(dirname "$0")" && pwd)
[ $# -gt 0 ] || set -- "$here/compose.scale.yaml"
for file in "$@"; do
  set -- "$@" -f "$file"
  shift
done
compose() {
  if docker compose version >/dev/null 2>&1; then docker compose "$@"; else docker-compose "$@"; fi
}

old=$(compose "$@" ps -q api)
count=$(echo "$old" | wc -l)
compose "$@" up -d --no-deps --no-recreate --scale api=$((2 * count)) api
new=$(compose "$@" ps -q api | grep -vF "$old")
waited_s=0
for replica in $new; do
  until [ "$(docker inspect -f '{{.State.Health.Status}}' "$replica")" = healthy ]; do
    if [ "$waited_s" -ge 180 ]; then
      docker rm --force $new >/dev/null
      echo "new replicas are not ready after 180 s: they are gone, the old ones go on" >&2
      exit 1
    fi
    sleep 1
    waited_s=$((waited_s + 1))
  done
done
sleep 3 # the proxy looks every second
for replica in $old; do # one after the other: each drains first
  docker stop --time 20 "$replica" >/dev/null
  docker rm "$replica" >/dev/null
done
