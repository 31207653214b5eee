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

namespace penstock {
namespace {

using telemetry::Address;

constexpr auto kPatience = std::chrono::milliseconds(100);
constexpr std::size_t kMostCalls = 32;

struct RawFiber {
  FiberInfo info;
  std::vector<Address> calls;
};

// What the threads write into; whoever is late finds it still there.
struct Collected {
  explicit Collected(std::size_t threads) : answered(threads, false), left(threads) {}
  std::mutex mutex;
  std::vector<RawFiber> fibers;
  std::uint64_t total = 0;
  std::vector<bool> answered;
  std::size_t left;
  Event all;
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

// On the dispatcher of a thread.
void collect(Collected& into, unsigned thread, std::size_t limit) {
  static thread_local telemetry::Unwinder unwinder;
  std::vector<RawFiber> found;
  std::uint64_t total = 0;
  const Instant now = std::chrono::steady_clock::now();
  for (const fiber::Properties& fiber : fiber::Scheduler::current()->fibers()) {
    if (++total <= limit) found.push_back(look_at(fiber, thread, now, unwinder));
  }
  const std::lock_guard lock(into.mutex);
  into.total += total;
  into.answered[thread] = true;
  std::move(found.begin(), found.end(), std::back_inserter(into.fibers));
  if (--into.left == 0) into.all.set();
}

std::vector<std::string> named(const std::vector<Address>& calls) {
  std::vector<std::string> names;
  for (const Address call : calls) names.push_back(telemetry::Symbolizer::instance().find(call).text(call));
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
  const auto& threads = RuntimeAccess::state(runtime).threads;
  const auto collected = std::make_shared<Collected>(threads.size());
  for (unsigned i = 0; i < threads.size(); ++i) {
    threads[i]->inbox()->post([collected, i, limit] { collect(*collected, i, limit); });
  }
  collected->all.wait_until(std::chrono::steady_clock::now() + kPatience);

  FiberDump dump;
  const auto name_all = [&] {
    std::vector<RawFiber> fibers;
    std::vector<bool> answered;
    {
      const std::lock_guard lock(collected->mutex);
      fibers = std::move(collected->fibers);
      answered = collected->answered;
      dump.total = collected->total;
    }
    for (RawFiber& raw : fibers) {
      raw.info.stack = named(raw.calls);
      dump.fibers.push_back(std::move(raw.info));
    }
    for (unsigned i = 0; i < threads.size(); ++i) {
      if (answered[i]) continue;
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
                               {"name", fiber.name},
                               {"age_seconds", decision::seconds(fiber.age)},
                               {"state", to_string(fiber.state)},
                               {"since_seconds", decision::seconds(fiber.since)},
                               {"cancelled", fiber.cancelled},
                               {"stack", list(fiber.stack)}};
    if (!fiber.waiting_for.empty()) object["waiting_for"] = fiber.waiting_for;
    if (!fiber.upstream.empty()) object["upstream"] = fiber.upstream;
    if (fiber.deadline_in) object["deadline_in_seconds"] = decision::seconds(*fiber.deadline_in);
    fibers.push_back(std::move(object));
  }
  for (const auto& thread : dump.held) {
    held.push_back(
        boost::json::object{{"thread", thread.thread}, {"fiber", thread.fiber}, {"stack", list(thread.stack)}});
  }
  return boost::json::serialize(
      boost::json::object{{"total", dump.total}, {"held", std::move(held)}, {"fibers", std::move(fibers)}});
}

}  // namespace penstock
