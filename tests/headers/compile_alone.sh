#!/usr/bin/env bash
# Goal: a user may include any public header, alone, twice, with warnings on and exceptions off.
set -euo pipefail
compiler=$1 include_dir=$2 header=$3
printf '#include <%s>\n#include <%s>\n' "$header" "$header" |
  "$compiler" -std=c++20 -fsyntax-only -Wall -Wextra -Wpedantic -Wshadow -Wconversion \
    -Wnon-virtual-dtor -Werror -fno-exceptions -I"$include_dir" -x c++ -
