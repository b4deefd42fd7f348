# What the rooms use from the distribution. Nothing is fetched. `./dev` installs what is missing.

find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)
find_package(fmt CONFIG REQUIRED)
find_package(tl-expected CONFIG REQUIRED)
find_package(absl CONFIG REQUIRED)
# Headers alone: the intrusive containers of the page cache.
find_package(Boost REQUIRED)
pkg_check_modules(liburing REQUIRED IMPORTED_TARGET liburing)
pkg_check_modules(libisal REQUIRED IMPORTED_TARGET libisal)
if(HANDBACK_TESTS)
  find_package(GTest CONFIG REQUIRED)
  find_package(Boost REQUIRED COMPONENTS context)
  include(GoogleTest)
endif()
