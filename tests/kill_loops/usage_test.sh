#!/usr/bin/env bash
# Goal: what is wrong with a command line is said, with exit code 2, before anything is made.
set -uo pipefail
for words in '--loops 0' '--loops many' '--threads 9' '--engine steam' '--frobnicate'; do
  # shellcheck disable=SC2086
  said=$("$1" $words 2>&1)
  status=$?
  if ((status != 2)) || [[ $said != *"${words%% *}"* ]]; then
    printf '%s: %s\nexit code %d instead of 2\n' "$words" "$said" "$status"
    exit 1
  fi
done
