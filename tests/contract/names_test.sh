#!/usr/bin/env bash
# docs/contract.md says which test shows each rule: each of them must be there. Then the same look at a page that
# names one which is not, to see that this would be noticed.
set -euo pipefail
cd "$1"

missing_of() { # The tests that a page names and no source file has, one a line.
  local name
  grep -oE '`[A-Z][A-Za-z]+\.[A-Z][A-Za-z]+`' "$1" | tr -d '`' | sort -u | while read -r name; do
    grep -rqzE "TEST(_F|_P)?\(${name%.*},[[:space:]]*${name#*.}\)" src examples --include='*_test.cc' || echo "$name"
  done
}

page=$(mktemp)
trap 'rm -f "$page"' EXIT
echo 'shown by `ContractTest.NobodyWroteThis`' >"$page"
[[ $(missing_of "$page") == ContractTest.NobodyWroteThis ]] || { echo "a missing test is not noticed"; exit 1; }

missing=$(missing_of docs/contract.md)
[[ -z $missing ]] || { printf 'docs/contract.md names tests that are not there:\n%s\n' "$missing"; exit 1; }
named=$(grep -oE '`[A-Z][A-Za-z]+\.[A-Z][A-Za-z]+`' docs/contract.md | sort -u | wc -l)
((named >= 20)) || { echo "only $named tests are named: has the page's form changed?"; exit 1; }
