# What the console page, the dashboards and their browser test need from npm, as package-lock.json pins it.
find_program(NPM npm REQUIRED)
find_program(NODE node REQUIRED)
set(PENSTOCK_NODE_MODULES ${PROJECT_SOURCE_DIR}/node_modules)
add_custom_command(
  OUTPUT ${PENSTOCK_NODE_MODULES}/.package-lock.json
  COMMAND ${NPM} ci --no-audit --no-fund --loglevel=error
  DEPENDS ${PROJECT_SOURCE_DIR}/package.json ${PROJECT_SOURCE_DIR}/package-lock.json
  WORKING_DIRECTORY ${PROJECT_SOURCE_DIR}
  COMMENT "Installing the console's packages"
  VERBATIM)
add_custom_target(penstock_web ALL DEPENDS ${PENSTOCK_NODE_MODULES}/.package-lock.json)
