# What an embedding service needs: find_package(penstock COMPONENTS runtime interpose agent grpc), and pkg-config's penstock.
include(CMakePackageConfigHelpers)

install(TARGETS penstock_decision penstock_runtime EXPORT penstock-runtime ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(TARGETS penstock_proto penstock_errors penstock_policy penstock_agent
  EXPORT penstock-agent ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(TARGETS penstock_interpose penstock_interpose_calls EXPORT penstock-interpose
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY decision/include/ runtime/include/ agents/include/ DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})

set(parts runtime interpose agent)
if(TARGET penstock_grpc)
  install(TARGETS penstock_grpc penstock_grpc_handlers EXPORT penstock-grpc ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
  install(DIRECTORY runtime/grpc/include/ DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
  list(APPEND parts grpc)
endif()

set(package ${CMAKE_INSTALL_LIBDIR}/cmake/penstock)
foreach(part ${parts})
  install(EXPORT penstock-${part} FILE penstock-${part}.cmake NAMESPACE penstock:: DESTINATION ${package})
endforeach()
configure_package_config_file(cmake/penstock-config.cmake.in ${CMAKE_BINARY_DIR}/penstock-config.cmake
  INSTALL_DESTINATION ${package})
write_basic_package_version_file(${CMAKE_BINARY_DIR}/penstock-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/penstock-config.cmake ${CMAKE_BINARY_DIR}/penstock-config-version.cmake
  cmake/penstock-dependencies.cmake DESTINATION ${package})

# Relative, so that the installed tree can be moved.
file(RELATIVE_PATH penstock_prefix_from_pc ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
configure_file(cmake/penstock.pc.in ${CMAKE_BINARY_DIR}/penstock.pc @ONLY)
install(FILES ${CMAKE_BINARY_DIR}/penstock.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
