#!/usr/bin/env bash
# Goal: what `cmake --install` leaves is enough for a program outside this tree.
# Method: install into an empty folder, move that folder (nothing may remember where it was), then build and run
# one program twice: through find_package(handback), and through pkg-config.
set -euo pipefail
cmake=$1 compiler=$2 build_dir=$3 libdir=$4 work=$5
program=$(cd "$(dirname "$0")/program" && pwd)

quietly() { # Runs a command; its output matters only if it fails.
  "$@" >"$work/log" 2>&1 || { echo "failed: $*"; cat "$work/log"; exit 1; }
}

rm -rf "$work"
mkdir -p "$work"
quietly env DESTDIR="$work/staged" "$cmake" --install "$build_dir" --prefix /first
mv "$work/staged/first" "$work/prefix"
prefix=$work/prefix

echo "find_package:"
quietly "$cmake" -S "$program" -B "$work/build" -G Ninja -DCMAKE_CXX_COMPILER="$compiler" \
  -DCMAKE_BUILD_TYPE=Debug -DCMAKE_PREFIX_PATH="$prefix" -DCMAKE_FIND_USE_PACKAGE_REGISTRY=OFF
quietly "$cmake" --build "$work/build"
"$work/build/consumer"

echo "pkg-config:"
export PKG_CONFIG_PATH=$prefix/$libdir/pkgconfig
quietly pkg-config --exists --print-errors handback
read -ra flags < <(pkg-config --cflags --libs handback)
quietly "$compiler" -std=c++20 "$program/main.cc" -Wall -Wextra -Werror "${flags[@]}" -o "$work/consumer"
LD_LIBRARY_PATH=$prefix/$libdir "$work/consumer"

# Both take the shared library by its versioned name, and the program beside it runs where it lies.
# (Not a pipe into `grep -q`: it leaves at the first match, and ldd then dies of SIGPIPE now and then.)
linked=$(LD_LIBRARY_PATH=$prefix/$libdir ldd "$work/consumer")
grep -q "libhandback\.so\.[0-9]*\.[0-9]* => $prefix/" <<<"$linked" || { echo "not linked as expected:"; echo "$linked"; exit 1; }
if [[ -x $prefix/bin/handback ]]; then
  quietly "$prefix/bin/handback" --version
  echo "the installed program says: $(head -n 1 "$work/log")"
fi
