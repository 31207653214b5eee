#pragma once

#include <chrono>
#include <map>
#include <string>

namespace penstock::cli {

// POSTs a form to http://HOST[:PORT][/PREFIX]ENDPOINT and returns the body; of an error too, if it is a JSON object.
// Throws Failure: usage for an URL that it cannot use, unreachable when there is no whole answer within `timeout`,
// failed for any other error.
std::string ask_prometheus(const std::string& url, const std::string& endpoint,
                           const std::map<std::string, std::string>& parameters, std::chrono::seconds timeout);

}  // namespace penstock::cli
