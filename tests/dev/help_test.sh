#!/usr/bin/env bash
# Goal: every command of ./dev is on its help page, and a command that does not exist fails and says so.
set -euo pipefail
dev=$1
help=$("$dev" help)
status=0
for command in $(awk '/^case \$command in/ { on = 1; next } on && /^  [a-z]+\)/ { sub(/\).*/, ""); print $1 }' "$dev"); do
  grep -q "^\./dev $command\b" <<<"$help" || { echo "./dev help does not mention $command"; status=1; }
done
if said=$("$dev" nonesuch 2>&1); then
  echo "./dev nonesuch did not fail"
  status=1
elif [[ $said != *"there is no command nonesuch"* ]]; then
  echo "./dev nonesuch said: $said"
  status=1
fi
exit "$status"
