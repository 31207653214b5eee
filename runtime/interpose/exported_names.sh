#!/bin/sh
# exported_names.sh READELF ARCHIVE OUTPUT: a version script that exports the functions of C that the archive defines.
set -eu
{
  echo "{ global:"
  "$1" -sW "$2" |
    awk '$4 == "FUNC" && $5 == "GLOBAL" && $6 == "DEFAULT" && $7 != "UND" && $8 !~ /^_Z/ { print "  " $8 ";" }' | sort -u
  echo "local: *; };"
} >"$3.new"
mv "$3.new" "$3"
