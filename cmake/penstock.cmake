# Settings and functions that every folder uses.

add_library(penstock_settings INTERFACE)
target_compile_options(penstock_settings INTERFACE -Wall -Wextra -Wpedantic -Wno-missing-field-initializers)
if(PENSTOCK_SANITIZE)
  list(JOIN PENSTOCK_SANITIZE "," _sanitizers)
  # A test fails at its first undefined behaviour, too.
  add_compile_options(-fsanitize=${_sanitizers} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${_sanitizers})
endif()

find_program(PENSTOCK_CCACHE ccache)
if(PENSTOCK_CCACHE)
  # What ccache needs to be told before it keeps objects that were made with a precompiled header.
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env CCACHE_SLOPPINESS=pch_defines,time_macros ${PENSTOCK_CCACHE})
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

# One precompiled header of GoogleTest for all of the tests.
function(_penstock_gtest_header name)
  if(NOT TARGET penstock_gtest_header)
    file(GENERATE OUTPUT ${CMAKE_BINARY_DIR}/gtest_header.cc CONTENT "int main() {}\n")
    add_executable(penstock_gtest_header ${CMAKE_BINARY_DIR}/gtest_header.cc)
    target_compile_options(penstock_gtest_header PRIVATE -fpch-preprocess)
    target_link_libraries(penstock_gtest_header PRIVATE penstock_settings GTest::gmock GTest::gtest Threads::Threads)
    target_precompile_headers(penstock_gtest_header PRIVATE <gmock/gmock.h> <gtest/gtest.h> <chrono> <functional>
      <map> <memory> <optional> <string> <vector>)
  endif()
  target_compile_options(${name} PRIVATE -fpch-preprocess)
  target_precompile_headers(${name} REUSE_FROM penstock_gtest_header)
endfunction()

# penstock_test(NAME SOURCES... LIBS libs... [LABELS labels...]) makes a GoogleTest program NAME and registers each of
# its tests with ctest. A label of "slow" keeps a test out of `ctest -LE slow`. FOREIGN_LOCKS: linked libraries synchronise
# by means that ThreadSanitizer does not see; what they alone touch is not looked at. Below a folder that sets
# PENSTOCK_TEST_AREA, that is a label too, and the target AREA_tests builds them.
function(penstock_test name)
  cmake_parse_arguments(arg "FOREIGN_LOCKS" "TIMEOUT" "LIBS;LABELS" ${ARGN})
  penstock_program(${name} ${arg_UNPARSED_ARGUMENTS})
  target_link_libraries(${name} PRIVATE ${arg_LIBS} GTest::gmock GTest::gtest GTest::gtest_main)
  _penstock_gtest_header(${name})
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 60)
  endif()
  if(PENSTOCK_TEST_AREA)
    list(APPEND arg_LABELS ${PENSTOCK_TEST_AREA})
    if(NOT TARGET ${PENSTOCK_TEST_AREA}_tests)
      add_custom_target(${PENSTOCK_TEST_AREA}_tests)
    endif()
    add_dependencies(${PENSTOCK_TEST_AREA}_tests ${name})
  endif()
  set(_environment "")
  if("address" IN_LIST PENSTOCK_SANITIZE)
    # Stand-in stacks outlive a fiber's end and its real stack's next use.
    set(_environment ENVIRONMENT "ASAN_OPTIONS=detect_stack_use_after_return=0:strict_string_checks=1")
  elseif("thread" IN_LIST PENSTOCK_SANITIZE)
    set(_options history_size=4:second_deadlock_stack=1)
    if(arg_FOREIGN_LOCKS)
      string(APPEND _options :ignore_noninstrumented_modules=1)
    endif()
    set(_environment ENVIRONMENT "TSAN_OPTIONS=${_options}")
  endif()
  # Lists do not reach the tests: several labels become one, of which `ctest -L` looks for a part. No label at all would
  # take the next word for one: it comes last.
  list(JOIN arg_LABELS "-" _labels)
  gtest_discover_tests(${name} DISCOVERY_TIMEOUT 30
    PROPERTIES TIMEOUT ${arg_TIMEOUT} ${_environment} LABELS "${_labels}")
endfunction()
