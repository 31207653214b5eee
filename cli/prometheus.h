#pragma once

#include <chrono>
#include <map>
#include <string>

namespace penstock::cli {

struct Prometheus {
  // http[s]://HOST[:PORT][/PREFIX]
  std::string url = "http://127.0.0.1:9090";
  // Authorities that are trusted besides the system's; empty: only these.
  std::string ca_file;
};

// POSTs a form to the URL and ENDPOINT and returns the body; of an error too, if it is a JSON object.
// Throws Failure: usage for an URL or a file that it cannot use, unreachable when there is no whole answer within
// `timeout`, failed for any other error.
std::string ask_prometheus(const Prometheus& prometheus, const std::string& endpoint,
                           const std::map<std::string, std::string>& parameters, std::chrono::seconds timeout);

}  // namespace penstock::cli
