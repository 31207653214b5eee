#pragma once

#include <sys/types.h>

#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "penstock/error.h"
#include "penstock/metrics.h"
#include "runtime/fiber/heartbeat.h"

namespace penstock::telemetry {

// A plain thread that looks whether scheduler threads are held: by a call that blocks, or by computing without a
// switch.
//
// When one has run the same fiber for `blocked_after`, the calls that it is in are logged, one line for each place in
// the code and ten seconds, and penstock_scheduler_blocked_total{call} counts: the library function that it waits in,
// "computing", or "cpu" when it could run and did not get a processor, which is no fault of the code. At most 64
// functions get a label of their own, further ones are "other". The scheduler itself logs how long it was in the end,
// and by which fiber. What it costs is a look at each thread every quarter of `blocked_after`.
//
// When the deadline of a fiber passes while it runs, where no wait can end it, its calls are logged as well, and
// penstock_scheduler_deadline_overruns_total counts.
class LoopWatch {
 public:
  struct Watched {
    unsigned index;
    pid_t thread;
    std::shared_ptr<const fiber::Heartbeat> heartbeat;
  };
  LoopWatch(std::vector<Watched> threads, Duration blocked_after, MetricsRegistry& metrics);
  ~LoopWatch();
  // One more, from now on. Thread-safe.
  void watch(Watched thread);
  LoopWatch(const LoopWatch&) = delete;
  LoopWatch& operator=(const LoopWatch&) = delete;

 private:
  struct Seen {
    std::uint64_t switches = 0;
    // Processor time of the thread when that was first seen.
    Duration cpu{};
    Instant first{};
    bool told = false;
    bool told_deadline = false;
  };

  void keep_watching();
  void look(const Watched& thread, Seen& seen);
  void tell(const Watched& thread, Duration held, Duration waited, Duration ran);
  void tell_overrun(const Watched& thread, Duration by, Duration held);
  // Whether it is time for a line about that place.
  bool may_log(std::uintptr_t place);
  void count(const std::string& call);

  // Guarded by mutex_.
  std::vector<Watched> threads_;
  const Duration blocked_after_;
  MetricsRegistry& metrics_;
  std::vector<Seen> seen_;
  // By the place in the code.
  std::map<std::uintptr_t, Instant> logged_;
  std::map<std::string, Counter*> counters_;
  Counter& overruns_;

  std::mutex mutex_;
  std::condition_variable ended_;
  bool ending_ = false;
  std::thread watcher_;
};

}  // namespace penstock::telemetry
