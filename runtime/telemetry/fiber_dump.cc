#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <chrono>
#include <cstdio>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "penstock/debug.h"
#include "penstock/runtime.h"
#include "penstock/sync.h"
#include "runtime/fiber/scheduler.h"
#include "runtime/fiber/scheduler_thread.h"
#include "runtime/fiber/waiter.h"
#include "runtime/net/address.h"
#include "runtime/runtime_state.h"
#include "runtime/telemetry/suspended_context.h"
#include "runtime/telemetry/symbolizer.h"
#include "runtime/telemetry/thread_stack.h"
#include "runtime/telemetry/unwinder.h"
#include "runtime/telemetry/utf8.h"

namespace penstock {
namespace {

using telemetry::Address;

// How long a thread may take to begin, and all of them to end.
constexpr auto kPatience = std::chrono::milliseconds(100);
constexpr auto kLongest = std::chrono::seconds(10);
// How long its fibers wait for it at a time.
constexpr auto kSlice = std::chrono::microseconds(300);
constexpr int kFibersBetweenClocks = 32;
constexpr std::size_t kMostCalls = 32;

struct RawFiber {
  FiberInfo info;
  std::vector<Address> calls;
};

// What the threads write into; who is late finds it still there.
struct Collected {
  Collected(std::uint32_t number, std::size_t threads, std::size_t limit)
      : number(number), limit(limit), phases(threads, Phase::asked), to_begin(threads), to_end(threads) {}

  const std::uint32_t number;
  const std::size_t limit;

  std::mutex mutex;
  enum class Phase { asked, begun, given_up };
  std::vector<Phase> phases;
  std::size_t to_begin;
  std::size_t to_end;
  std::vector<RawFiber> fibers;
  Event all_begun, all_ended;
};

std::string described(const fiber::WaitingFor& what) {
  std::string text = what.what;
  if (what.fd >= 0) {
    net::Address peer{};
    peer.length = sizeof peer.storage;
    if (::getpeername(what.fd, reinterpret_cast<sockaddr*>(&peer.storage), &peer.length) == 0) {
      text += " from " + net::to_endpoint(reinterpret_cast<sockaddr*>(&peer.storage), peer.length).to_string();
    }
  }
  if (what.name != nullptr) text += " '" + *what.name + "'";
  if (what.fiber != nullptr) {
    fiber::TaskName name;
    what.fiber->describe(name);
    text += " '" + std::string(name.view()) + "'";
  }
  return text;
}

RawFiber look_at(const fiber::Properties& fiber, unsigned thread, Instant now, telemetry::Unwinder& unwinder) {
  RawFiber raw;
  FiberInfo& info = raw.info;
  fiber::TaskName name;
  fiber.state.describe(name);
  info.thread = thread;
  info.id = fiber.state.id;
  info.name = name.view();
  info.age = now - fiber.state.started;
  info.state = fiber.phase == fiber::Properties::Phase::ready ? FiberInfo::State::ready : FiberInfo::State::waiting;
  info.since = now - fiber.since;
  if (fiber.state.waiter != nullptr && info.state == FiberInfo::State::waiting) {
    info.waiting_for = described(fiber.state.waiter->waiting_for());
  }
  if (fiber.state.upstream != nullptr) info.upstream = *fiber.state.upstream;
  if (fiber.state.deadline != Instant::max()) info.deadline_in = fiber.state.deadline - now;
  info.cancelled = fiber.state.cancelled;

  if (const void* saved = telemetry::saved_of(*fiber.context())) {
    const fiber::StackPlace place = fiber::StackArena::find(saved);
    if (place.lowest != nullptr) {
      raw.calls.resize(kMostCalls);
      raw.calls.resize(unwinder.walk(telemetry::Registers::of_fcontext(saved),
                                     telemetry::StackMemory::itself(place.lowest, place.lowest + place.bytes),
                                     raw.calls.data(), raw.calls.size()));
    }
  }
  return raw;
}

// On the dispatcher of a thread, a slice at a time: its fibers run in between. Those that were looked at go to the end
// of the list, where those that start meanwhile are as well.
class Collecting {
 public:
  Collecting(std::shared_ptr<Collected> into, unsigned thread) : into_(std::move(into)), thread_(thread) {}

  void begin() {
    {
      const std::lock_guard lock(into_->mutex);
      if (into_->phases[thread_] == Collected::Phase::given_up) return;
      into_->phases[thread_] = Collected::Phase::begun;
    }
    go_on();
    // After the first slice: whoever waits for this is shown as waiting.
    const std::lock_guard lock(into_->mutex);
    if (--into_->to_begin == 0) into_->all_begun.set();
  }

 private:
  void go_on() {
    fiber::Scheduler& scheduler = *fiber::Scheduler::current();
    fiber::Scheduler::FiberList& fibers = scheduler.fibers();
    std::vector<RawFiber> found;
    const Instant began = std::chrono::steady_clock::now();
    bool more = true;
    for (Instant now = began; more && now - began < kSlice; now = std::chrono::steady_clock::now()) {
      for (int i = 0; more && i < kFibersBetweenClocks; ++i) {
        more = seen_ < into_->limit && !fibers.empty() && fibers.front().seen_by != into_->number;
        if (!more) break;
        fiber::Properties& fiber = fibers.front();
        fiber.seen_by = into_->number;
        fibers.splice(fibers.end(), fibers, fibers.begin());
        found.push_back(look_at(fiber, thread_, now, *unwinder_));
        ++seen_;
      }
    }
    {
      const std::lock_guard lock(into_->mutex);
      if (into_->phases[thread_] == Collected::Phase::given_up) return;
      std::move(found.begin(), found.end(), std::back_inserter(into_->fibers));
      if (!more && --into_->to_end == 0) into_->all_ended.set();
    }
    if (more) scheduler.inbox()->post([self = *this]() mutable { self.go_on(); });
  }

  std::shared_ptr<Collected> into_;
  unsigned thread_;
  std::size_t seen_ = 0;
  std::shared_ptr<telemetry::Unwinder> unwinder_ = std::make_shared<telemetry::Unwinder>();
};

std::vector<std::string> named(const std::vector<Address>& calls) {
  std::vector<std::string> names;
  for (const Address call : calls) {
    const telemetry::Symbol symbol = telemetry::Symbolizer::instance().find(call);
    // The last thing that every suspended fiber did, and what is beyond the first function of all: Boost's.
    if (names.empty() && symbol.function == "boost::fibers::context::resume()") continue;
    if (symbol.function.starts_with("penstock::fiber::Scheduler::work(")) break;
    names.push_back(symbol.text(call));
  }
  return names;
}

const char* to_string(FiberInfo::State state) {
  switch (state) {
    case FiberInfo::State::running:
      return "running";
    case FiberInfo::State::ready:
      return "ready";
    case FiberInfo::State::waiting:
      return "waiting";
  }
  return "?";
}

std::string seconds_text(Duration d) {
  std::array<char, 32> text;
  std::snprintf(text.data(), text.size(), "%.3f s", decision::seconds(d));
  return text.data();
}

}  // namespace

FiberDump dump_fibers(Runtime& runtime, std::size_t limit) {
  auto& state = RuntimeAccess::state(runtime);
  const auto& threads = state.threads;
  const std::lock_guard one_at_a_time(state.dumping);
  const auto collected = std::make_shared<Collected>(++state.dumps, threads.size(), limit);
  // Whoever is late does not disturb the next dump.
  const auto do_without = [&collected](Collected::Phase those) {
    const std::lock_guard lock(collected->mutex);
    for (Collected::Phase& phase : collected->phases) {
      if (phase != those) continue;
      phase = Collected::Phase::given_up;
      if (those == Collected::Phase::asked && --collected->to_end == 0) collected->all_ended.set();
    }
  };
  struct Abandoned {
    ~Abandoned() {
      do_without_those(Collected::Phase::asked);
      do_without_those(Collected::Phase::begun);
    }
    const decltype(do_without)& do_without_those;
  } const abandoned{do_without};

  for (unsigned i = 0; i < threads.size(); ++i) {
    threads[i]->inbox()->post([collecting = Collecting(collected, i)]() mutable { collecting.begin(); });
  }
  collected->all_begun.wait_until(std::chrono::steady_clock::now() + kPatience);
  std::vector<unsigned> held;
  {
    const std::lock_guard lock(collected->mutex);
    for (unsigned i = 0; i < threads.size(); ++i) {
      if (collected->phases[i] == Collected::Phase::asked) held.push_back(i);
    }
  }
  do_without(Collected::Phase::asked);
  collected->all_ended.wait_until(std::chrono::steady_clock::now() + kLongest);
  do_without(Collected::Phase::begun);

  FiberDump dump;
  dump.total = RuntimeAccess::fibers(runtime);
  const auto name_all = [&] {
    for (RawFiber& raw : collected->fibers) {
      raw.info.stack = named(raw.calls);
      dump.fibers.push_back(std::move(raw.info));
    }
    for (const unsigned i : held) {
      const telemetry::ThreadStack stack = telemetry::stack_of_thread(threads[i]->thread());
      dump.held.push_back({i, stack.fiber, named(stack.calls)});
    }
  };
  // Reads files.
  if (fiber::on_fiber()) {
    runtime.offload(name_all);
  } else {
    name_all();
  }
  return dump;
}

std::string to_text(const FiberDump& dump) {
  std::string text = std::to_string(dump.total) + " fibers\n";
  for (const auto& held : dump.held) {
    text += "\nscheduler thread " + std::to_string(held.thread) + " is held";
    if (!held.fiber.empty()) text += " by fiber '" + held.fiber + "'";
    text += "; its fibers are not shown\n";
    for (const std::string& call : held.stack) text += "    " + call + "\n";
  }
  std::map<std::vector<std::string>, std::vector<const FiberInfo*>> alike;
  for (const FiberInfo& fiber : dump.fibers) {
    std::vector<std::string> key = fiber.stack;
    key.push_back(fiber.upstream);
    alike[key].push_back(&fiber);
  }
  std::vector<const std::vector<const FiberInfo*>*> groups;
  for (const auto& [key, group] : alike) groups.push_back(&group);
  std::sort(groups.begin(), groups.end(), [](const auto* a, const auto* b) { return a->size() > b->size(); });
  for (const auto* group : groups) {
    text += "\n" + std::to_string(group->size()) + (group->size() == 1 ? " fiber\n" : " fibers\n");
    constexpr std::size_t kShown = 5;
    for (std::size_t i = 0; i < std::min(group->size(), kShown); ++i) {
      const FiberInfo& fiber = *(*group)[i];
      text += "  " + std::to_string(fiber.thread) + "/" + std::to_string(fiber.id) + " '" + fiber.name + "' " +
              to_string(fiber.state) + " " + seconds_text(fiber.since);
      if (!fiber.waiting_for.empty()) text += " for " + fiber.waiting_for;
      if (!fiber.upstream.empty()) text += ", upstream '" + fiber.upstream + "'";
      text += ", age " + seconds_text(fiber.age);
      if (fiber.deadline_in) text += ", deadline in " + seconds_text(*fiber.deadline_in);
      if (fiber.cancelled) text += ", cancelled";
      text += "\n";
    }
    if (group->size() > kShown) text += "  and " + std::to_string(group->size() - kShown) + " more\n";
    for (const std::string& call : group->front()->stack) text += "    " + call + "\n";
  }
  if (dump.fibers.size() < dump.total) {
    text += "\n" + std::to_string(dump.total - dump.fibers.size()) + " more are not shown: ask with a higher limit\n";
  }
  return text;
}

std::string to_json(const FiberDump& dump) {
  const auto list = [](const std::vector<std::string>& items) {
    boost::json::array array;
    for (const std::string& item : items) array.emplace_back(item);
    return array;
  };
  boost::json::array fibers, held;
  for (const FiberInfo& fiber : dump.fibers) {
    boost::json::object object{{"thread", fiber.thread},
                               {"id", fiber.id},
                               {"name", telemetry::as_utf8(fiber.name)},
                               {"age_seconds", decision::seconds(fiber.age)},
                               {"state", to_string(fiber.state)},
                               {"since_seconds", decision::seconds(fiber.since)},
                               {"cancelled", fiber.cancelled},
                               {"stack", list(fiber.stack)}};
    if (!fiber.waiting_for.empty()) object["waiting_for"] = telemetry::as_utf8(fiber.waiting_for);
    if (!fiber.upstream.empty()) object["upstream"] = fiber.upstream;
    if (fiber.deadline_in) object["deadline_in_seconds"] = decision::seconds(*fiber.deadline_in);
    fibers.push_back(std::move(object));
  }
  for (const auto& thread : dump.held) {
    held.push_back(boost::json::object{
        {"thread", thread.thread}, {"fiber", telemetry::as_utf8(thread.fiber)}, {"stack", list(thread.stack)}});
  }
  return boost::json::serialize(
      boost::json::object{{"total", dump.total}, {"held", std::move(held)}, {"fibers", std::move(fibers)}});
}

}  // namespace penstock
