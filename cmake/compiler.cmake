# Language, warnings and sanitizers of everything that is built here.

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE RelWithDebInfo CACHE STRING "" FORCE)
endif()

# Usage requirements of our own code; not part of what is installed.
add_library(handback_flags INTERFACE)
target_compile_options(
  handback_flags
  INTERFACE -Wall -Wextra -Wpedantic -Wconversion -Wnon-virtual-dtor -Woverloaded-virtual
            -Wcast-align -Wcast-qual -Wextra-semi -Wundef -Wimplicit-fallthrough
            -Wmissing-declarations)
if(NOT HANDBACK_UNITY)
  # Compiled together, what one file has at its top another may have as a local.
  target_compile_options(handback_flags INTERFACE -Wshadow)
endif()
# {.overwrite = true} leaves the other options at their defaults, and is meant to.
target_compile_options(handback_flags INTERFACE -Wno-missing-field-initializers)
if(HANDBACK_WERROR)
  target_compile_options(handback_flags INTERFACE -Werror)
endif()
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  target_compile_options(handback_flags INTERFACE -Wlogical-op -Wduplicated-cond)
  if(CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
    # g++ 12 reports std::string concatenation (GCC bug 105329).
    target_compile_options(handback_flags INTERFACE -Wno-restrict)
  endif()
endif()

if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # Nobody puts a function of their own in the place of one of ours, so calls within the library need not
  # ask at run time whose it is, and may be inlined. (clang takes that for granted.)
  target_compile_options(handback_flags INTERFACE -fno-semantic-interposition)
endif()

if(HANDBACK_UNITY AND CMAKE_BUILD_TYPE STREQUAL "RelWithDebInfo")
  # Everything about each variable is a third of the compile time; who steps through a program builds it without
  # HANDBACK_UNITY.
  add_compile_options(-g1)
endif()

if(HANDBACK_SANITIZE)
  # -O1 and line tables only: reports stay readable, the build stays short.
  add_compile_options(-fsanitize=${HANDBACK_SANITIZE} -fno-sanitize-recover=all
                      -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${HANDBACK_SANITIZE})
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # Instrumented code hides from the optimizer what it needs to know to be right about this one.
    target_compile_options(handback_flags INTERFACE -Wno-maybe-uninitialized)
  endif()
endif()

if(HANDBACK_FUZZ)
  if(NOT CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
    message(FATAL_ERROR "HANDBACK_FUZZ needs clang: -DCMAKE_CXX_COMPILER=clang++-19")
  endif()
  # What the search is led by; the programs that are fuzzers link the rest.
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()

if(HANDBACK_PLANTED_BUGS)
  add_compile_definitions(HANDBACK_PLANTED_BUGS)
endif()
