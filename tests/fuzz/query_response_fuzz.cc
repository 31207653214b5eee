#include <algorithm>
#include <cmath>

#include "controller/signals/query_result.h"
#include "tests/fuzz/fuzz.h"

using namespace penstock::controller;

FUZZ(text) {
  for (const int status : {200, 422}) {
    const QueryResult result = parse_query_response(status, text);
    must((result.state == SignalState::value) == !result.samples.empty());
    must((result.state == SignalState::error) == !result.reason.empty());
    must(status == 200 || result.state == SignalState::error);
    for (const Sample& sample : result.samples) must(std::isfinite(sample.value));
    // What is logged.
    must(result.message.size() < 400 && std::ranges::all_of(result.message, [](unsigned char c) { return c >= ' '; }));
  }
}
