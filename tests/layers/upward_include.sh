#!/usr/bin/env bash
# Goal: a file that includes what its room may not use does not build.
# Method: for every room and every header of every other room, one file that includes it is preprocessed with
# the room's own include path. It must fail, with "No such file", exactly if the other room is out of reach.
set -euo pipefail
compiler=$1 include_dirs=$2 rooms=$3

declare -A path header
while read -r room dirs; do
  [[ -n $room ]] || continue
  path[$room]=$dirs
  # One public header and one of its own.
  header[$room]=$(cd "$rooms/$room/include" && find -L . -name '*.h' | sort | awk -F/ '
    !seen[$2]++ { sub(/^\.\//, ""); print }')
done <"$include_dirs"
((${#path[@]} > 0)) || { echo "no rooms in $include_dirs"; exit 1; }

preprocess() { # room header: what the compiler says; its exit code
  local flags=() dir
  for dir in ${path[$1]}; do flags+=("-I$dir"); done
  # Quotes behave as in the room's own files: no other folder is searched first.
  printf '#include "%s"\n' "$2" | "$compiler" -std=c++20 -E -o /dev/null "${flags[@]}" -x c++ - 2>&1
}

# Every file builds where it may, or its failing elsewhere would say nothing.
failed=0
for room in "${!path[@]}"; do
  for name in ${header[$room]}; do
    said=$(preprocess "$room" "$name") || { echo "$room cannot include its own $name: $said"; failed=1; }
  done
done

refused=0 allowed=0
for room in "${!path[@]}"; do
  for other in "${!path[@]}"; do
    [[ $other != "$room" ]] || continue
    for name in ${header[$other]}; do
      if [[ " ${path[$room]} " == *"/rooms/$other/include "* ]]; then
        said=$(preprocess "$room" "$name") && { ((++allowed)); continue; }
        echo "$room may use $other, but cannot include $name: $said"
      elif said=$(preprocess "$room" "$name"); then
        echo "$room includes $name, although it may not use $other"
      elif [[ $said != *"$name: No such file or directory"* ]]; then
        echo "$room fails to include $name for another reason: $said"
      else
        ((++refused)); continue
      fi
      failed=1
    done
  done
done
echo "$refused includes refused, $allowed allowed"
((failed == 0 && refused > 0 && allowed > 0))
