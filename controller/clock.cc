#include "controller/clock.h"

#include <mutex>
#include <random>

namespace penstock::controller {
namespace {

class SystemClock final : public Clock {
 public:
  decision::Instant now() const override { return std::chrono::steady_clock::now(); }
  std::chrono::system_clock::time_point wall() const override { return std::chrono::system_clock::now(); }
  std::uint64_t random() override {
    std::lock_guard lock(mutex_);
    return random_();
  }

 private:
  std::mutex mutex_;
  std::mt19937_64 random_{(std::uint64_t{std::random_device{}()} << 32) | std::random_device{}()};
};

}  // namespace

Clock& system_clock() {
  static SystemClock clock;
  return clock;
}

}  // namespace penstock::controller
