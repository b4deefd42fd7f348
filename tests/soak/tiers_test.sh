#!/usr/bin/env bash
# Goal: the page that the soak writes explains every tier.
set -euo pipefail
status=0
while IFS='|' read -r name _; do
  [[ $name && $name != \#* ]] || continue
  name=$(sed 's/ *$//' <<<"$name")
  grep -q "^| $name | [a-z]" "$1/soak" || { echo "the page does not say what '$name' is"; status=1; }
done <"$1/tiers"
exit "$status"
