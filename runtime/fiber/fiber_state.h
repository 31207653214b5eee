#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "penstock/decision/policy.h"
#include "penstock/decision/shares.h"
#include "penstock/error.h"
#include "runtime/fiber/locals.h"
#include "runtime/fiber/task_name.h"
#include "runtime/http/trace_context.h"

namespace penstock::fiber {

class Task;
class Waiter;

// Where the time of one request goes, over all fibers that work for it on their (common) thread.
struct RequestAccount {
  Duration running{};
  // Ready, but another fiber had the thread: CPU saturation or a blocked loop.
  Duration ready{};
  // By upstream; null is everything else (its client, a pool, a sleep). Names outlive the account.
  std::vector<std::pair<const std::string*, Duration>> waiting;
  // What the request's client said; invalid: nothing. Sent on to upstreams.
  http::TraceContext trace;
  // The request's: its calls to upstreams wait in the order of it.
  decision::Priority priority = decision::Priority::normal;
  // Whose it is, for shares of pools and upstreams.
  decision::Tenant tenant = decision::kOthers;

  void add_waiting(const std::string* upstream, Duration d);
};

// What the runtime knows of a fiber, from its start to its end. Touched only on the fiber's own thread.
struct FiberState {
  // What it runs; null: it is no task's, or between two of them.
  Task* task = nullptr;
  // Unique on its thread, counted from 1; 0 for what is no task's.
  std::uint64_t id = 0;
  Instant started{};
  Instant deadline = Instant::max();
  bool cancelled = false;
  int shields = 0;
  Waiter* waiter = nullptr;

  // Shared with the fibers that this one spawns; null: none. Changed by set_account().
  std::shared_ptr<RequestAccount> account;
  // Upstream that the fiber now waits for; null: none.
  const std::string* upstream = nullptr;

  Locals locals;

  // Adds its name. Async-signal-safe.
  void describe(TaskName& name) const noexcept;
};

// Of the calling fiber. Throws std::logic_error when the thread runs no scheduler.
FiberState& current();
// Whether the calling thread runs a scheduler, and the caller is one of its fibers.
bool on_fiber() noexcept;
// Throws std::logic_error when the caller is no fiber, and therefore cannot wait: "`what` is called on fibers only".
void require_fiber(const char* what);
// The clock of the calling thread's scheduler as of its last turn: cheap, at most a turn old.
Instant cached_now() noexcept;
// At most 2 us old, and cheaper than the clock when it was read a moment ago, as at a switch.
Instant recent_now() noexcept;
// The time that is so long after now, or up to 2 us more; Instant::max() when there is none.
Instant time_in(Duration d) noexcept;
// Index of the calling scheduler thread, in [0, threads); 0 elsewhere.
unsigned thread_index() noexcept;

// Makes `account` the calling fiber's, from this moment on: what it ran before is counted to the previous one. Null
// ends the accounting. Call it at the start and at the end of a request, so that its sums are complete.
void set_account(std::shared_ptr<RequestAccount> account);

// Cancels a fiber of the calling thread; for callbacks of the reactor. From elsewhere: penstock::Fiber::cancel.
void cancel(FiberState& state) noexcept;

}  // namespace penstock::fiber
