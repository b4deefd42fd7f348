#!/usr/bin/env bash
# Goal: the verifier can fail. A writer that notes acknowledgements before it has them is found out within a few kills.
set -uo pipefail
said=$("$1" --loops 100 --seed 1 --lie 2>&1)
status=$?
if ((status != 1)) || [[ $said != *violation* ]]; then
  printf '%s\nexit code %d instead of 1\n' "$said" "$status"
  exit 1
fi
