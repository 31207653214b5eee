#include "controller/simulate/rivals/aimd.h"

#include <algorithm>

namespace penstock::simulate {

int Aimd::update(const Sample& sample) {
  int next = static_cast<int>(*limit());
  if (sample.dropped || sample.rtt > options_.timeout) {
    next = static_cast<int>(next * options_.backoff);
  } else if (2 * sample.in_flight >= next) {
    ++next;
  }
  return std::clamp(next, options_.min, options_.max);
}

}  // namespace penstock::simulate
