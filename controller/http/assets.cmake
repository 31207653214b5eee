# The console page, uPlot and the dashboards, built into the controller.
file(GLOB console_files CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/controller/console/*.html
     ${PROJECT_SOURCE_DIR}/controller/console/*.css ${PROJECT_SOURCE_DIR}/controller/console/*.js
     ${PROJECT_SOURCE_DIR}/controller/console/*.svg)
file(GLOB dashboard_files CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/dashboards/*.json)
set(entries)
foreach(file ${console_files})
  get_filename_component(name ${file} NAME)
  list(APPEND entries "console/${name}=${file}")
endforeach()
foreach(file ${dashboard_files})
  get_filename_component(name ${file} NAME)
  list(APPEND entries "dashboards/${name}=${file}")
endforeach()
set(uplot ${PROJECT_SOURCE_DIR}/node_modules/uplot/dist)
list(APPEND entries "console/uplot.css=${uplot}/uPlot.min.css" "console/uplot.js=${uplot}/uPlot.esm.js")
list(SORT entries)

set(assets ${CMAKE_CURRENT_BINARY_DIR}/assets_data.cc)
set(web)
if(TARGET penstock_web)
  set(web penstock_web ${PENSTOCK_NODE_MODULES}/.package-lock.json)
endif()
add_custom_command(
  OUTPUT ${assets}
  COMMAND ${CMAKE_COMMAND} "-DENTRIES=${entries}" -DOUTPUT=${assets} -P ${CMAKE_CURRENT_LIST_DIR}/embed.cmake
  DEPENDS ${console_files} ${dashboard_files} ${CMAKE_CURRENT_LIST_DIR}/embed.cmake ${web}
  COMMENT "Embedding the console"
  VERBATIM)
target_sources(penstock_controller PRIVATE ${assets})
