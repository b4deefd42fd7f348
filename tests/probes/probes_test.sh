#!/usr/bin/env bash
# Goal: bpftrace and others find each USDT probe that docs/tracing.md lists, with as many arguments, and
# behind a semaphore; and the page lists all of them.
set -euo pipefail
library=$1 page=$2 have_sdt=$3
if [[ ! $have_sdt ]]; then
  echo "this build has no probes: sys/sdt.h (Debian: systemtap-sdt-dev) was not there when it was configured"
  exit 77
fi

# "name count" a line. On the page, in the table of probes: | `name` | `argument`, `argument` |
documented=$(awk -F'|' '/^## Probes/ { on = 1; next } /^## / { on = 0 }
  on && $2 ~ /^ `/ { name = $2; gsub(/[ `]/, "", name); print name, split($3, ignored, ",") }' "$page" | sort)
built=$(readelf -n "$library" | awk '
  $1 == "Provider:" { provider = $2 }
  $1 == "Name:" { name = $2 }
  $1 == "Location:" { if ($NF == "0x0000000000000000") print "without semaphore:", name }
  $1 == "Arguments:" && provider == "handback" { print name, NF - 1 }' | sort -u)

if [[ -z $documented || $documented != "$built" ]]; then
  echo "docs/tracing.md against the notes of $library:"
  diff <(echo "$documented") <(echo "$built") || true
  exit 1
fi
echo "$(wc -l <<<"$built") probes"
