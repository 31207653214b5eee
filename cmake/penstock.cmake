# Settings and functions that every folder uses.

add_library(penstock_settings INTERFACE)
target_compile_options(penstock_settings INTERFACE -Wall -Wextra -Wpedantic -Wno-missing-field-initializers)
if(PENSTOCK_SANITIZE)
  list(JOIN PENSTOCK_SANITIZE "," _sanitizers)
  add_compile_options(-fsanitize=${_sanitizers} -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${_sanitizers})
endif()

find_program(PENSTOCK_CCACHE ccache)
if(PENSTOCK_CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${PENSTOCK_CCACHE})
  set(CMAKE_C_COMPILER_LAUNCHER ${PENSTOCK_CCACHE})
endif()
find_program(PENSTOCK_MOLD mold)
if(PENSTOCK_MOLD)
  add_link_options(-fuse-ld=mold)
endif()

# penstock_library(NAME SOURCES... ) makes the static library penstock_NAME, alias penstock::NAME.
function(penstock_library name)
  add_library(penstock_${name} STATIC ${ARGN})
  add_library(penstock::${name} ALIAS penstock_${name})
  set_target_properties(penstock_${name} PROPERTIES EXPORT_NAME ${name})
  target_link_libraries(penstock_${name} PRIVATE $<BUILD_INTERFACE:penstock_settings>)
  target_include_directories(penstock_${name} PRIVATE ${PROJECT_SOURCE_DIR})
endfunction()

# penstock_program(NAME SOURCES...) makes an executable of that name.
function(penstock_program name)
  add_executable(${name} ${ARGN})
  target_link_libraries(${name} PRIVATE penstock_settings)
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR})
endfunction()

# penstock_test(NAME SOURCES... LIBS libs... [LABELS labels...]) makes a GoogleTest program NAME and registers each of
# its tests with ctest. A label of "slow" keeps a test out of `ctest -LE slow`.
function(penstock_test name)
  cmake_parse_arguments(arg "" "TIMEOUT" "LIBS;LABELS" ${ARGN})
  penstock_program(${name} ${arg_UNPARSED_ARGUMENTS})
  target_link_libraries(${name} PRIVATE ${arg_LIBS} GTest::gmock GTest::gtest GTest::gtest_main)
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 60)
  endif()
  gtest_discover_tests(${name} DISCOVERY_TIMEOUT 30 PROPERTIES TIMEOUT ${arg_TIMEOUT} LABELS "${arg_LABELS}")
endfunction()
