#!/usr/bin/env bash
# Goal: a soak succeeds only if every tier ran, ended well and reached its bars; what it counted is added up.
set -euo pipefail
soak=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fake() { # NAME EXIT-CODE JSON
  printf '#!/bin/sh\necho %q\nexit %d\n' "$3" "$2" >"$work/$1"
  chmod +x "$work/$1"
}
expect() { # EXIT-CODE TIER WORDS
  local status=0
  printf '%s\n' "$2" >"$work/tiers"
  "$soak" "$work/tiers" "$work" "$work/page.md" >/dev/null 2>&1 || status=$?
  if ((status != $1)) || ! grep -qF "$3" "$work/page.md"; then
    printf 'tier: %s\nexit code %d instead of %d, or no "%s" in:\n' "$2" "$status" "$1" "$3"
    cat "$work/page.md"
    exit 1
  fi
}
fake good 0 '{"seeds": 1500, "violations": 0}'
fake bad 0 '{"seeds": 1500, "violations": 2}'
fake dead 1 '{"seeds": 1500, "violations": 0}'
expect 0 'swarm | seeds=seeds>=1500; violations=found<=0 | good' '| swarm | seeds | at least 1,500 | 1,500 |'
expect 1 'swarm | seeds=seeds>=1501 | good' '**no**'
expect 1 'swarm | violations=found<=0 | bad' '**no**'
expect 1 'swarm | violations=found<=0 | dead' 'exit code 1 with seed 1'
expect 1 'swarm | states=states>=1 | good' "did not count 'states'"
expect 1 'swarm | seeds=seeds>=1 | nonesuch' 'not run: there is no nonesuch'
