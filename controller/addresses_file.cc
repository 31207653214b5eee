#include "controller/addresses_file.h"

#include <unistd.h>

#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <cstdio>
#include <fstream>

#include "absl/strings/str_cat.h"

namespace penstock::controller {

absl::Status write_addresses(const std::string& path, const std::string& grpc, const std::string& http) {
  const std::string partial = absl::StrCat(path, ".", getpid());
  {
    std::ofstream file(partial, std::ios::trunc);
    file << boost::json::serialize(boost::json::object{{"grpc", grpc}, {"http", http}}) << "\n";
    if (!file.flush()) return absl::FailedPreconditionError(absl::StrCat("--addresses: cannot write ", partial));
  }
  if (std::rename(partial.c_str(), path.c_str()) != 0)
    return absl::FailedPreconditionError(absl::StrCat("--addresses: cannot write ", path));
  return absl::OkStatus();
}

}  // namespace penstock::controller
