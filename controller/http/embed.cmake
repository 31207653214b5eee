# cmake -DENTRIES="path=file;.." -DOUTPUT=FILE -P embed.cmake: writes the files as C++ arrays, in the given order.
set(types
  "html=text/html\\; charset=utf-8" "css=text/css\\; charset=utf-8" "js=text/javascript\\; charset=utf-8"
  "svg=image/svg+xml" "json=application/json")
set(arrays "")
set(table "")
set(index 0)
foreach(entry ${ENTRIES})
  string(REGEX MATCH "^([^=]*)=(.*)$" matched "${entry}")
  set(path "${CMAKE_MATCH_1}")
  set(file "${CMAKE_MATCH_2}")
  string(REGEX MATCH "[^.]*$" extension "${path}")
  set(type "application/octet-stream")
  foreach(pair ${types})
    if(pair MATCHES "^${extension}=(.*)$")
      set(type "${CMAKE_MATCH_1}")
    endif()
  endforeach()
  file(READ "${file}" bytes HEX)
  string(LENGTH "${bytes}" length)
  math(EXPR length "${length} / 2")
  string(REGEX REPLACE "(..)" "0x\\1," bytes "${bytes}")
  string(REGEX REPLACE "(................................................................................)" "\\1\n"
         bytes "${bytes}")
  string(APPEND arrays "constexpr unsigned char kFile${index}[] = {\n${bytes}0};\n")
  string(APPEND table "    {\"${path}\", \"${type}\", {reinterpret_cast<const char*>(kFile${index}), ${length}}},\n")
  math(EXPR index "${index} + 1")
endforeach()
file(WRITE "${OUTPUT}" "#include \"controller/http/assets.h\"

namespace penstock::controller {
namespace {

${arrays}
const Asset kAssets[] = {
${table}};

}  // namespace

std::span<const Asset> assets() { return kAssets; }

}  // namespace penstock::controller
")
