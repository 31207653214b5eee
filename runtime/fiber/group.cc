#include "penstock/group.h"

#include <algorithm>
#include <memory>
#include <mutex>
#include <new>
#include <stdexcept>
#include <utility>

#include "penstock/fiber.h"
#include "runtime/fiber/locals.h"
#include "runtime/fiber/uninterrupted.h"
#include "runtime/fiber/waiter.h"

namespace penstock {

struct Group::Member {
  Group& group;
  Callable fn;
  Fiber fiber;
  Member* next = nullptr;
  Member* previous = nullptr;
  bool listed = false;

  // What its fiber runs, or drops without a stack to run it on.
  class Body {
   public:
    explicit Body(Member& member) : member_(&member) {}
    Body(Body&& other) noexcept : member_(std::exchange(other.member_, nullptr)) {}
    ~Body() {
      // Not listed: there is no fiber, and spawn() throws.
      if (member_ == nullptr || !member_->listed) return;
      const std::unique_ptr<Member> ended(member_);
      ended->group.end(*ended, std::make_exception_ptr(std::bad_alloc()));
    }
    void operator()() { run(std::exchange(member_, nullptr)); }

   private:
    Member* member_;
  };
};

Group::Group(std::size_t limit) : room_(static_cast<std::int64_t>(std::min(limit, kUnlimited))) {
  if (limit == 0) throw std::invalid_argument("limit: must not be zero");
}

Group::~Group() {
  cancel();
  const fiber::Uninterrupted always;
  wait_for_members();
}

void Group::spawn(std::string_view name, Callable fn) {
  struct Place {
    explicit Place(Semaphore& room) : room(&room) { room.acquire(); }
    ~Place() {
      if (room != nullptr) room->release();
    }
    Semaphore* room;
  } place(room_);
  {
    std::lock_guard guard(lock_);
    if (stopped_) throw Cancelled("the group was cancelled");
  }
  auto member = std::make_unique<Member>(*this, std::move(fn));
  // It does not run before this fiber waits.
  member->fiber = penstock::spawn(name, Member::Body(*member));
  place.room = nullptr;

  std::lock_guard guard(lock_);
  if (stopped_) member->fiber.cancel();
  member->next = members_;
  if (members_ != nullptr) members_->previous = member.get();
  member->listed = true;
  members_ = member.release();
  ++size_;
}

void Group::run(Member* started) {
  const std::unique_ptr<Member> member(started);
  std::exception_ptr error;
  bool worth_a_log = true;
  try {
    // Moved, so that what it captured is gone before the group may be.
    auto fn = std::move(member->fn);
    fn();
  } catch (const Cancelled&) {
  } catch (const DeadlineExceeded&) {
    // The others have run into it, too.
    error = std::current_exception();
    worth_a_log = false;
  } catch (...) {
    error = std::current_exception();
  }
  fiber::clear_locals();
  const bool told = member->group.end(*member, error);
  // Shown in the log, as of any fiber that nobody joins.
  if (!told && worth_a_log) std::rethrow_exception(error);
}

bool Group::end(Member& member, const std::exception_ptr& error) noexcept {
  room_.release();
  std::lock_guard guard(lock_);
  (member.previous != nullptr ? member.previous->next : members_) = member.next;
  if (member.next != nullptr) member.next->previous = member.previous;
  --size_;
  const bool first = error && !error_;
  if (first) {
    error_ = error;
    stop();
  }
  if (size_ == 0) joining_.release_all();
  return first || !error;
}

void Group::stop() noexcept {
  if (std::exchange(stopped_, true)) return;
  for (Member* member = members_; member != nullptr; member = member->next) member->fiber.cancel();
}

void Group::cancel() noexcept {
  std::lock_guard guard(lock_);
  stop();
}

void Group::wait_for_members() {
  std::lock_guard guard(lock_);
  if (size_ == 0) return;
  fiber::Wait place;
  joining_.wait_or_throw(lock_, place, Instant::max(), "the members of a group to end");
}

void Group::join() {
  wait_for_members();
  std::exception_ptr error;
  {
    std::lock_guard guard(lock_);
    error = error_;
  }
  if (error) std::rethrow_exception(error);
}

std::size_t Group::size() const noexcept {
  std::lock_guard guard(lock_);
  return size_;
}

namespace fiber {

void parallel(std::size_t count, std::size_t limit, const std::function<void(std::size_t)>& fn) {
  if (limit == 0) throw std::invalid_argument("limit: must not be zero");
  std::size_t next = 0;
  Group group;
  for (std::size_t i = 0; i < std::min(count, limit); ++i) {
    group.spawn("parallel", [&] {
      while (next < count) {
        check_interrupts();
        fn(next++);
      }
    });
  }
  group.join();
}

}  // namespace fiber
}  // namespace penstock
