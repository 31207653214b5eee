#include "penstock/decision/cpu_guard.h"

#include <algorithm>

namespace penstock::decision {
namespace {

QueuePolicy door(int longest_queue, Duration longest_wait) {
  QueuePolicy policy;
  policy.discipline = QueueDiscipline::newest_first;
  policy.max = longest_queue;
  policy.max_wait = longest_wait;
  policy.target = std::min<Duration>(std::chrono::milliseconds(50), longest_wait);
  return policy;
}

}  // namespace

CpuGuard::CpuGuard(int cores, int longest_queue, Duration longest_wait)
    : cores_(std::max(cores, 1)),
      most_(static_cast<int>(kRunnablePerCore * cores_)),
      tokens_(most_),
      door_(door(longest_queue, longest_wait), 0, ShareOf::starts) {}

Duration CpuGuard::long_backlog() const { return std::max<Duration>(kLongBacklog, kLongRequests * need_ / cores_); }

void CpuGuard::served(Duration cpu) {
  need_ = need_ == Duration::zero() ? cpu : need_ + from_seconds(seconds(cpu - need_) * kWeight);
  tokens_ += backlog_ < long_backlog() ? 1 : backlog_ < kDropped * long_backlog() ? kFewer : 0;
}

// The places of the admission are those that are free now; all are given back at once.
void CpuGuard::set_room(int runnable, Instant now, Verdicts& decided) {
  int free = std::max(0, most_ - runnable);
  const int taken = door_.in_flight();
  if (need_ > Duration::zero()) {
    const double passed = std::max(seconds(now - filled_), 0.0);
    filled_ = now;
    backlog_ = runnable >= most_ ? from_seconds(passed) : Duration::zero();
    const double most = std::max<double>(most_, kDropped * seconds(long_backlog()) / seconds(need_) * cores_);
    tokens_ = std::min(most, tokens_ - taken + idle_ * passed / seconds(need_));
    idle_ = std::max(0, cores_ - runnable);
    free = std::max(0, static_cast<int>(tokens_));
  }
  if (taken > 0) {
    // First closed, so that the places given back are not handed out again at the old limit.
    door_.set_limit(0, now, decided);
    door_.give_back(taken, now, decided);
  }
  door_.set_limit(free, now, decided);
}

Admission::Answer CpuGuard::offer(Ticket& ticket, int runnable, Instant now, Verdicts& decided) {
  // Those started since are runnable by now, or have gone to wait.
  if (door_.queue_length() == 0) set_room(runnable, now, decided);
  return door_.offer(ticket, now, decided);
}

void CpuGuard::poll(int runnable, Instant now, Verdicts& decided) {
  door_.expire(now, decided);
  set_room(runnable, now, decided);
}

}  // namespace penstock::decision
