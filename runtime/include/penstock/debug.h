#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "penstock/error.h"

// What the fibers of a runtime do at the moment: for a look at 3 a.m., and for tests.
namespace penstock {
class Runtime;

struct FiberInfo {
  unsigned thread = 0;
  // Unique on its thread.
  std::uint64_t id = 0;
  std::string name;
  Duration age{};
  // running: on a thread that did not answer. ready: waits for its turn.
  enum class State { running, ready, waiting } state = State::waiting;
  // In that state.
  Duration since{};
  // "data to read", "a sleep", ..
  std::string waiting_for;
  // The third party that this counts for; empty: none.
  std::string upstream;
  // Negative: it has passed. Unset: none.
  std::optional<Duration> deadline_in;
  bool cancelled = false;
  // Calls, innermost first.
  std::vector<std::string> stack;
};

struct FiberDump {
  std::vector<FiberInfo> fibers;
  // All there are; more than `fibers` when these were limited.
  std::uint64_t total = 0;
  // Scheduler threads that did not answer within 100 ms: a fiber holds each. The first of its calls that could be read,
  // innermost first.
  struct Held {
    unsigned thread;
    std::string fiber;
    std::vector<std::string> stack;
  };
  std::vector<Held> held;
};

// Thread-safe; from a fiber or a plain thread. Every scheduler thread stops for about a microsecond a fiber, and for less
// than a millisecond at a time; names are looked up elsewhere. At most `limit` fibers of each thread: the next call goes
// on with others. Throws Cancelled and DeadlineExceeded on a fiber.
FiberDump dump_fibers(Runtime& runtime, std::size_t limit = 1000);

// For people: fibers that wait for the same thing in the same place are counted together.
std::string to_text(const FiberDump& dump);
std::string to_json(const FiberDump& dump);

// Numbers in the shape of uWSGI's stats server: version, pid, threads, pools, upstreams, memory.
std::string stats_json(const Runtime& runtime);

}  // namespace penstock
