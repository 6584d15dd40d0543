#!/bin/sh
# Runs nginx, and tells it every second which replicas of the API are ready.
#
# nginx itself finds out about a replica by sending it requests. This asks /readyz instead, so that
# one that starts gets none too early and one that drains none too late; and it finds replicas that
# were added, by the name that they share.
set -eu

ready() {
  for address in $(getent ahostsv4 api | awk '{ print $1 }' | sort -u); do
    if curl -fs -o /dev/null -m 1 "http://$address:8000/readyz"; then
      # One failed try is no reason to spare a replica: at once the only one, it would get nothing.
      echo "server $address:8000 max_fails=3 fail_timeout=1s;"
    fi
  done
}

# nginx drops idle connections of callers when it reads its files again, also one on which a request
# is just under way. So for a second each answer asks its caller to connect anew (nginx.conf looks
# for the file), and none that is busy is idle then.
reload() {
  touch /tmp/closing
  sleep 1
  kill -HUP "$(cat /tmp/nginx.pid)" || true
  sleep 0.5
  rm -f /tmp/closing
}

follow() {
  while sleep 1; do
    ready >/tmp/found.conf || true
    # None at all: rather those from before than nobody.
    if [ -s /tmp/found.conf ] && [ -e /tmp/nginx.pid ] &&
      ! cmp -s /tmp/found.conf /tmp/replicas.conf; then
      cp /tmp/found.conf /tmp/replicas.conf
      echo "replicas: $(awk '{ printf "%s ", $2 }' /tmp/replicas.conf)"
      reload
    fi
  done
}

rm -f /tmp/closing
ready >/tmp/replicas.conf || true
[ -s /tmp/replicas.conf ] || echo "server 127.0.0.1:1;" >/tmp/replicas.conf # until there is one: 503
follow &
exec nginx -e stderr -c /etc/foldin/nginx.conf -g "daemon off;"
