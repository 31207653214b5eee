#pragma once

#include <boost/intrusive/list_hook.hpp>

#include "runtime/fiber/task.h"
#include "runtime/fiber/timer.h"

namespace penstock::fiber {

// Starts a task at a time; it counts as a fiber until then.
class DelayedTask final : private Timer {
 public:
  explicit DelayedTask(Task& task) : task_(task) {}
  // Whether its time has not come, and it was not withdrawn.
  bool waits() const noexcept { return listed_.is_linked(); }

 private:
  friend class Scheduler;
  void on_time() noexcept override;

  Task& task_;
  boost::intrusive::list_member_hook<boost::intrusive::link_mode<boost::intrusive::safe_link>> listed_;
};

}  // namespace penstock::fiber
