#!/usr/bin/env bash
# Goal: other programs can rely on handback-sim's exit codes and counters, and a seed is a run however
# the work is shared out.
set -euo pipefail
sim=$1
fail() {
  echo "$*"
  exit 1
}
code_of() {
  local code=0
  "$@" >/dev/null 2>&1 || code=$?
  echo "$code"
}
counter() { grep -o "\"$2\":[0-9]*" <<<"$1" | head -n 1 | cut -d : -f 2; }

[[ $(code_of "$sim") == 2 ]] || fail "without a command it does not exit with 2"
[[ $(code_of "$sim" crash --nonesuch) == 2 ]] || fail "an unknown option does not exit with 2"
[[ $(code_of "$sim" --help) == 0 ]] || fail "--help does not exit with 0"

crash=$("$sim" crash --states 500 --json --jobs 2) || fail "crash: exit $?"
for name in states distinct tried violations seconds; do
  [[ -n $(counter "$crash" "$name") ]] || fail "crash --json has no $name: $crash"
done
(($(counter "$crash" states) >= 500)) || fail "crash verified fewer states than asked for: $crash"

one=$("$sim" seed 1 --seeds 6 --json --jobs 1) || fail "seed: exit $?"
two=$("$sim" seed 1 --seeds 6 --json --jobs 3) || fail "seed: exit $?"
[[ $(counter "$one" seeds) == 6 ]] || fail "seed --json counts other than 6 seeds: $one"
[[ $(counter "$one" digest) == "$(counter "$two" digest)" ]] || fail "the digest depends on the jobs"
