#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <limits>
#include <optional>
#include <ranges>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "penstock/callable.h"
#include "penstock/spin_lock.h"
#include "penstock/sync.h"
#include "penstock/wait_list.h"

// Fibers that belong together: they end together, and none outlives the scope that needs them.
namespace penstock {

// Starts fibers, waits for all of them, and cancels the rest when one fails: the first exception of a member, Cancelled
// excepted, cancels all other members at once and is what join() rethrows. A member that may fail without harm to the
// others catches what it throws.
//
// All members are thread-safe; a fiber is started on the thread of the fiber that calls spawn(), as by penstock::spawn.
class Group {
 public:
  static constexpr std::size_t kUnlimited = std::numeric_limits<std::int64_t>::max();

  // At most `limit` members at a time. Throws std::invalid_argument when zero.
  explicit Group(std::size_t limit = kUnlimited);
  // Cancels the members that are left and waits for their end, whatever the caller's deadline and even if it is
  // cancelled. Drops what they threw.
  ~Group();
  Group(const Group&) = delete;
  Group& operator=(const Group&) = delete;

  // Waits for room, first come first served, then starts fn as a fiber that inherits the caller's deadline and request.
  // Throws Cancelled, too, when the group was cancelled or has failed: there is no point in more work. Throws
  // std::logic_error outside a fiber.
  void spawn(std::string_view name, Callable fn);

  // Waits until no member is left. Rethrows the first exception. Cut short by the caller's cancellation or deadline it
  // throws these, and the members go on.
  void join();
  // Of all members, now and in future. Returns at once.
  void cancel() noexcept;

  // Members that have not ended.
  std::size_t size() const noexcept;

 private:
  struct Member;
  static void run(Member* member);
  bool end(Member& member, const std::exception_ptr& error) noexcept;
  void stop() noexcept;
  void wait_for_members();

  Semaphore room_;
  mutable SpinLock lock_;
  Member* members_ = nullptr;
  std::size_t size_ = 0;
  bool stopped_ = false;
  std::exception_ptr error_;
  fiber::WaitList joining_;
};

namespace fiber {
// Calls fn with 0 to count-1 from at most `limit` fibers. As parallel_for_each.
void parallel(std::size_t count, std::size_t limit, const std::function<void(std::size_t)>& fn);
}  // namespace fiber

// Calls fn with each item, from at most `limit` fibers of the calling fiber's thread, in order of the items as far as
// their begin is concerned. They inherit the caller's deadline and request: what they wait for counts to it. The first
// exception cancels the rest and is rethrown; so do the caller's deadline and cancellation. No call goes on after it
// has returned. Throws std::invalid_argument when limit is zero.
template <std::ranges::random_access_range Items, class Fn>
void parallel_for_each(Items&& items, std::size_t limit, Fn fn) {
  const auto first = std::ranges::begin(items);
  fiber::parallel(std::ranges::size(items), limit, [&](std::size_t i) {
    std::invoke(fn, first[static_cast<std::ranges::range_difference_t<Items>>(i)]);
  });
}

// The same; what the calls return, in the order of the items.
template <std::ranges::random_access_range Items, class Fn,
          class R = std::decay_t<std::invoke_result_t<Fn&, std::ranges::range_reference_t<Items>>>>
std::vector<R> parallel_map(Items&& items, std::size_t limit, Fn fn) {
  std::vector<std::optional<R>> results(std::ranges::size(items));
  const auto first = std::ranges::begin(items);
  fiber::parallel(results.size(), limit, [&](std::size_t i) {
    results[i].emplace(std::invoke(fn, first[static_cast<std::ranges::range_difference_t<Items>>(i)]));
  });
  std::vector<R> values;
  values.reserve(results.size());
  for (auto& result : results) values.push_back(std::move(*result));
  return values;
}

}  // namespace penstock
