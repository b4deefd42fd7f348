# A room is a folder src/<room> that becomes one static library, and one test program.
#
#   hb_room(NAME dio
#           MAY_USE issuer block trace base    # All of them, not only the nearest.
#           PUBLIC_HEADERS iomap.h             # Of include/handback/.
#           LIBRARIES fmt::fmt                 # External, private.
#           PUBLIC_LIBRARIES tl::expected      # External, seen in its headers.
#           TEST_USES memory ring              # Rooms that only its tests use.
#           TEST_LIBRARIES Boost::context)     # External, of its tests.
#
#   hb_program(NAME handback SOURCES a.cc b.cc LIBRARIES CLI11::CLI11 [INSTALL])
#
# Every *.cc of the folder belongs to the room except *_test.cc, which go into the GoogleTest program
# <room>_test (label `unit`), and *_fuzz.cc and *_bench.cc.
#
# A room sees its own files as "room/x.h", those of the rooms it may use likewise, and the public headers of
# those rooms as <handback/x.h>. It sees nothing else, because its include path holds only folders made here
# which contain nothing else: an upward include does not build.

function(hb_room)
  cmake_parse_arguments(room "" "NAME" "MAY_USE;PUBLIC_HEADERS;LIBRARIES;PUBLIC_LIBRARIES;TEST_USES;TEST_LIBRARIES"
                        ${ARGN})
  if(room_UNPARSED_ARGUMENTS OR NOT room_NAME)
    message(FATAL_ERROR "hb_room: NAME is missing, or unknown: ${room_UNPARSED_ARGUMENTS}")
  endif()
  set(target handback_${room_NAME})
  set(source_dir ${CMAKE_CURRENT_SOURCE_DIR})
  set(staged_dir ${PROJECT_BINARY_DIR}/rooms/${room_NAME}/include)

  # Made anew each time, so that a header moved to another room does not linger in this one.
  file(REMOVE_RECURSE ${staged_dir})
  file(MAKE_DIRECTORY ${staged_dir}/handback)
  file(CREATE_LINK ${source_dir} ${staged_dir}/${room_NAME} SYMBOLIC)
  foreach(header ${room_PUBLIC_HEADERS})
    set(header_path ${PROJECT_SOURCE_DIR}/include/handback/${header})
    if(NOT EXISTS ${header_path})
      message(FATAL_ERROR "Room ${room_NAME}: there is no include/handback/${header}")
    endif()
    file(CREATE_LINK ${header_path} ${staged_dir}/handback/${header} SYMBOLIC)
  endforeach()

  file(GLOB sources CONFIGURE_DEPENDS ${source_dir}/*.cc)
  set(test_sources ${sources})
  list(FILTER sources EXCLUDE REGEX "_(test|fuzz|bench)\\.cc$")
  list(FILTER test_sources INCLUDE REGEX "_test\\.cc$")
  hb_drop_tests_of_one_thread(test_sources)
  if(NOT sources)
    # An archive needs a member.
    set(sources ${PROJECT_BINARY_DIR}/rooms/${room_NAME}/empty.cc)
    file(CONFIGURE OUTPUT ${sources} CONTENT "// Room ${room_NAME} has no source file.\n")
  endif()

  add_library(${target} STATIC ${sources})
  hb_compile_together(${target} ${sources})
  # Only the room's own folder is passed on, and private links pass nothing on: whoever uses this room does
  # not thereby see the rooms below it.
  target_include_directories(${target} PUBLIC ${staged_dir})
  list(TRANSFORM room_MAY_USE PREPEND handback_ OUTPUT_VARIABLE used)
  target_link_libraries(${target} PUBLIC ${room_PUBLIC_LIBRARIES}
                        PRIVATE handback_flags ${used} ${room_LIBRARIES})

  set_property(GLOBAL APPEND PROPERTY HANDBACK_ROOMS ${room_NAME})
  set_property(GLOBAL APPEND PROPERTY HANDBACK_PUBLIC_HEADERS ${room_PUBLIC_HEADERS})
  set_property(GLOBAL APPEND PROPERTY HANDBACK_LIBRARIES ${room_LIBRARIES})
  set_property(GLOBAL APPEND PROPERTY HANDBACK_PUBLIC_LIBRARIES ${room_PUBLIC_LIBRARIES})

  if(HANDBACK_TESTS AND test_sources)
    list(TRANSFORM room_TEST_USES PREPEND handback_ OUTPUT_VARIABLE test_used)
    add_executable(${room_NAME}_test ${test_sources})
    target_link_libraries(
      ${room_NAME}_test PRIVATE handback_flags ${target} ${test_used} ${used} ${room_LIBRARIES}
                                ${room_PUBLIC_LIBRARIES} ${room_TEST_LIBRARIES} GTest::gmock_main)
    hb_compile_as_test(${room_NAME}_test)
    hb_compile_together(${room_NAME}_test ${test_sources})
    hb_discover_tests(${room_NAME}_test LABEL unit PREFIX ${room_NAME}.)
  endif()
endfunction()

# With HANDBACK_UNITY, the headers and templates that a program's or room's files share are compiled, and
# instrumented, once for eight of them: a whole build takes little more than half the time. A change of one file
# then takes longer. A build without it shows a file that lives on what its neighbours include.
#   hb_compile_together(target [test sources])
function(hb_compile_together target)
  if(NOT HANDBACK_UNITY)
    return()
  endif()
  set_target_properties(${target} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 8)
  # These look at the templates through another kind of threads and atomics.
  set(apart ${ARGN})
  list(FILTER apart INCLUDE REGEX "_schedule_test\\.cc$|schedule_explorer_test\\.cc$")
  set_source_files_properties(${apart} PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
endfunction()

# The same for programs. Most of their time goes into the command line's and JSON's templates, so all files of one are
# compiled at once; and what they do slowly is done by the rooms, so in a whole build half the optimisation will do.
function(hb_compile_program_together target)
  hb_compile_together(${target})
  if(HANDBACK_UNITY)
    set_target_properties(${target} PROPERTIES UNITY_BUILD_BATCH_SIZE 0)
    target_compile_options(${target} PRIVATE -O1)
  endif()
endfunction()

# What every test program is compiled with besides the room's own flags. Tests are most of a build's time and
# none of them measures: half the optimisation, and lines only, halve that.
function(hb_compile_as_test target)
  if(HANDBACK_PLANTED_BUGS)
    # Nobody looks for such a bug with a debugger.
    target_compile_options(${target} PRIVATE -O1)
  elseif(HANDBACK_SANITIZE MATCHES address)
    # The optimiser takes half of the time on instrumented code. The rooms keep theirs.
    target_compile_options(${target} PRIVATE -O0 -g1)
  elseif(HANDBACK_UNITY)
    target_compile_options(${target} PRIVATE -O1 -g0)
  else()
    target_compile_options(${target} PRIVATE -O1 -g1)
  endif()
  if(HANDBACK_SANITIZE MATCHES undefined)
    # Half of a test's compile time, for checks of pointers that AddressSanitizer looks at anyway. The rooms'
    # own sources keep them.
    target_compile_options(${target} PRIVATE -fno-sanitize=vptr,object-size,null,alignment)
  endif()
  hb_precompile_test_headers(${target})
endfunction()

# With HANDBACK_PCH, the headers that every test includes are compiled once. A build without it
# (`cmake -DHANDBACK_PCH=OFF`) shows a test which forgets an include of its own.
function(hb_precompile_test_headers target)
  if(NOT HANDBACK_PCH)
    return()
  endif()
  if(NOT TARGET handback_test_headers)
    set(source ${PROJECT_BINARY_DIR}/test_headers.cc)
    # A program, as the tests are: position-independent code differs between programs and libraries.
    file(CONFIGURE OUTPUT ${source} CONTENT "int main() {}\n")
    add_executable(handback_test_headers ${source})
    target_link_libraries(handback_test_headers PRIVATE handback_flags GTest::gmock)
    if(HANDBACK_SANITIZE MATCHES address)
      # As the tests are: it would not be used otherwise.
      target_compile_options(handback_test_headers PRIVATE -O0)
    endif()
    target_precompile_headers(
      handback_test_headers PRIVATE <gmock/gmock.h> <gtest/gtest.h> <algorithm> <array> <atomic>
      <cstdint> <cstring> <functional> <memory> <random> <string> <thread> <vector>)
  endif()
  target_precompile_headers(${target} REUSE_FROM handback_test_headers)
endfunction()

# ThreadSanitizer has nothing to see where there is one thread: those tests are not built for it. A file in which
# the word does not occur has one.
function(hb_drop_tests_of_one_thread list)
  if(NOT HANDBACK_SANITIZE STREQUAL "thread")
    return()
  endif()
  set(kept)
  foreach(source ${${list}})
    file(STRINGS ${source} found LIMIT_COUNT 1 REGEX "[Tt]hread|[Ww]orker|adopt")
    if(found)
      list(APPEND kept ${source})
    endif()
  endforeach()
  set(${list} ${kept} PARENT_SCOPE)
endfunction()

# Registers every case of a GoogleTest program as a test of its own, so that one can be run by name.
function(hb_discover_tests target)
  cmake_parse_arguments(test "" "LABEL;PREFIX;FILTER" "" ${ARGN})
  set(timeout_seconds 120)
  if(HANDBACK_SANITIZE AND test_LABEL STREQUAL "cli")
    # They run the programs often: one of them was not done after 38 s of processor time under AddressSanitizer.
    set(timeout_seconds 600)
  endif()
  gtest_discover_tests(
    ${target}
    TEST_FILTER "${test_FILTER}"
    TEST_PREFIX "${test_PREFIX}"
    # Asked when the tests run: a build does not run programs.
    DISCOVERY_MODE PRE_TEST
    NO_PRETTY_VALUES
    PROPERTIES LABELS "${test_LABEL}" TIMEOUT ${timeout_seconds})
endfunction()

# A program is built against include/ alone, as a user's would be, and linked with the rooms' archives, so
# that the file runs from anywhere. It lands at the top of the build folder.
function(hb_program)
  cmake_parse_arguments(program "INSTALL" "NAME" "SOURCES;LIBRARIES" ${ARGN})
  if(program_UNPARSED_ARGUMENTS OR NOT program_NAME OR NOT program_SOURCES)
    message(FATAL_ERROR "hb_program: NAME or SOURCES missing, or unknown: "
                        "${program_UNPARSED_ARGUMENTS}")
  endif()
  # `handback` itself is the library's target.
  set(target program_${program_NAME})
  add_executable(${target} ${program_SOURCES})
  set_target_properties(${target} PROPERTIES OUTPUT_NAME ${program_NAME}
                                             RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR})
  target_link_libraries(${target} PRIVATE handback_flags handback_archives ${program_LIBRARIES})
  hb_compile_program_together(${target})
  if(program_INSTALL)
    install(TARGETS ${target} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
  endif()
endfunction()
