# The rooms together: `handback_archives` for the programs and tests of this tree, and the shared library
# `handback` that is installed.

get_property(rooms GLOBAL PROPERTY HANDBACK_ROOMS)
get_property(room_headers GLOBAL PROPERTY HANDBACK_PUBLIC_HEADERS)
get_property(libraries GLOBAL PROPERTY HANDBACK_LIBRARIES)
get_property(public_libraries GLOBAL PROPERTY HANDBACK_PUBLIC_LIBRARIES)
list(REMOVE_DUPLICATES libraries)
list(REMOVE_DUPLICATES public_libraries)

# handback.h includes all others and so belongs to no room.
list(APPEND room_headers handback.h)
file(GLOB headers CONFIGURE_DEPENDS RELATIVE ${PROJECT_SOURCE_DIR}/include/handback
     ${PROJECT_SOURCE_DIR}/include/handback/*.h)
foreach(header ${headers})
  if(NOT header IN_LIST room_headers)
    message(FATAL_ERROR "include/handback/${header} belongs to no room: list it under PUBLIC_HEADERS "
                        "in the room's CMakeLists.txt")
  endif()
endforeach()

# Linked, but without the rooms' own include folders: who links this sees include/ alone.
add_library(handback_archives INTERFACE)
target_include_directories(handback_archives INTERFACE ${PROJECT_SOURCE_DIR}/include)
target_link_libraries(handback_archives INTERFACE ${public_libraries})
foreach(room ${rooms})
  target_link_libraries(handback_archives INTERFACE $<LINK_ONLY:handback_${room}>)
endforeach()

# The archives' objects are taken whole: a linker that picks members by need would drop what only users call.
set(objects)
foreach(room ${rooms})
  list(APPEND objects $<TARGET_OBJECTS:handback_${room}>)
endforeach()
add_library(handback SHARED ${objects})
add_library(handback::handback ALIAS handback)
set_target_properties(
  handback
  PROPERTIES VERSION ${PROJECT_VERSION}
             # Before 1.0 every minor version may change the interface.
             SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR}
             LINKER_LANGUAGE CXX
             LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/lib)
target_compile_features(handback PUBLIC cxx_std_20)
target_include_directories(
  handback PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>
                  $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
target_link_libraries(handback PUBLIC ${public_libraries} PRIVATE ${libraries})
target_link_options(handback PRIVATE LINKER:--no-undefined LINKER:-Bsymbolic-functions)

include(CMakePackageConfigHelpers)
set(config_dir ${CMAKE_INSTALL_LIBDIR}/cmake/handback)
install(TARGETS handback EXPORT handbackTargets LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/handback
        DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h")
install(EXPORT handbackTargets NAMESPACE handback:: DESTINATION ${config_dir})
configure_package_config_file(
  ${PROJECT_SOURCE_DIR}/cmake/handbackConfig.cmake.in
  ${PROJECT_BINARY_DIR}/handbackConfig.cmake INSTALL_DESTINATION ${config_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/handbackConfigVersion.cmake
                                 COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/handbackConfig.cmake
              ${PROJECT_BINARY_DIR}/handbackConfigVersion.cmake DESTINATION ${config_dir})

# Relative to the file itself, so that an installed tree can be moved.
file(RELATIVE_PATH pc_prefix /prefix/${CMAKE_INSTALL_LIBDIR}/pkgconfig /prefix)
configure_file(${PROJECT_SOURCE_DIR}/cmake/handback.pc.in ${PROJECT_BINARY_DIR}/handback.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/handback.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
