#!/usr/bin/env bash
# Goal: the README's first C++ example is a program that builds without a warning and exits with 0.
# Method: it is cut out of the page, compiled against the shared library, and run in an empty folder.
set -euo pipefail
compiler=$1 source_dir=$2 library=$3 work=$4
rm -rf "$work"
mkdir -p "$work/run"

awk '/^```/ { if (inside) exit; inside = ($0 == "```cpp"); next } inside' \
  "$source_dir/README.md" >"$work/example.cc"
[[ -s $work/example.cc ]] || { echo "README.md has no block that begins with \`\`\`cpp"; exit 1; }
echo "$(wc -l <"$work/example.cc") lines"

"$compiler" -std=c++20 -Wall -Wextra -Werror -I"$source_dir/include" "$work/example.cc" "$library" \
  -Wl,-rpath,"$(dirname "$library")" -o "$work/example"
cd "$work/run"
"$work/example"
