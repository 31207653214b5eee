#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "controller/simulate/events.h"
#include "controller/simulate/prometheus.h"
#include "controller/simulate/rivals/limiter.h"
#include "controller/simulate/scenario.h"
#include "penstock/decision/admission.h"
#include "penstock/decision/cause_test.h"
#include "penstock/decision/policy.h"

// What decides on a node, and what it may ask of it.
//
// A request arrives at the strategy, which starts or refuses it, at once or later. A started request computes and makes
// one call after another; each asks the strategy, which sends or refuses it, at once or later. All of this happens on
// one thread; strategies draw randomness from their host only. Nothing that a host is told here comes back into the
// strategy before the current call into it has returned, but for load() and the like.
namespace penstock::simulate {

// What a strategy knows of a request. Its address and id are the request's until it has ended; ids are small and used
// again, so that strategies keep what they know in arrays.
struct Request {
  std::uint32_t id = 0;
  std::uint32_t page = 0;
  std::uint32_t tenant = 0;
  decision::Priority priority = decision::Priority::normal;
  Instant arrived{};
  // Set by the strategy in arrive(): every wait of the request ends then.
  Instant deadline = Instant::max();
};

// The one call that a request makes, or wants to.
struct Call {
  std::uint32_t upstream = 0;
  // 0 for the first; a retry counts on.
  int attempt = 0;
  // When it was asked for, and when it went out.
  Instant asked{};
  Instant sent{};
  // Of one that the other side refused with a time: when to come back.
  Instant retry_after{};
};

using decision::Cause;

struct Memory {
  std::int64_t used;
  std::int64_t limit;
  // What is used when nothing is in flight.
  std::int64_t base;
};

class Host {
 public:
  virtual ~Host() = default;
  virtual Instant now() const = 0;
  // The node's idea of the time of day; differs from now() by the skew of its clock.
  virtual Instant wall() const = 0;
  virtual std::uint32_t node() const = 0;
  virtual const Scenario& scenario() const = 0;

  // Of a request that arrived.
  virtual void start(const Request& request) = 0;
  virtual void refuse(const Request& request, decision::RejectReason reason) = 0;
  // Of a call that asked. It is given up at `deadline`.
  virtual void send(const Request& request, Instant deadline) = 0;
  virtual void refuse_call(const Request& request, decision::RejectReason reason) = 0;

  virtual Load load() const = 0;
  virtual Memory memory() const = 0;
  // In [0, 1).
  virtual double uniform() = 0;
  // wake() is called then; an earlier wish is forgotten.
  virtual void wake_at(Instant when) = 0;

  // For the record: what was concluded, and a limit that is in force (for plots).
  virtual void conclude(std::uint32_t upstream, Cause cause, std::string_view message) = 0;
  virtual void note_breaker(std::uint32_t upstream, bool open) = 0;
};

// How the program that the strategy is part of does its work.
struct Manner {
  // Every request has a thread while it is in flight, so that its memory is a thread's; else a fiber's.
  bool threads = false;
  // Work whose client has left is given up: at once where it waits, else at the end of what it computes. Without it,
  // it is carried out and thrown away.
  bool cancels = true;
};

// One per node. A node that restarts gets a new one.
class Strategy {
 public:
  virtual ~Strategy() = default;
  virtual Manner manner() const = 0;

  virtual void arrive(Request& request) = 0;
  // One that was neither started nor refused is to be forgotten: its client left (if manner().cancels) or its deadline
  // has passed. The node answers it.
  virtual void forget(const Request& request) = 0;
  // One that was started.
  virtual void ended(const Request& request, Fate fate) = 0;

  virtual void call(const Request& request, const Call& call) = 0;
  // One that was neither sent nor refused is to be forgotten.
  virtual void forget_call(const Request& request, const Call& call) = 0;
  // One that was sent.
  virtual void call_ended(const Request& request, const Call& call, Fate fate) = 0;
  // Whether a call that failed may be made once more.
  virtual bool may_retry(const Request&, const Call&) { return true; }

  // Every 100 ms.
  virtual void tick() {}
  virtual void wake() {}
  // What it shows at /metrics, but for memory and CPU; nothing unless its ensemble reads Prometheus.
  virtual void expose(Exposition&) const {}
  // What it holds an upstream to; unset: nothing.
  virtual std::optional<double> limit(std::uint32_t) const { return std::nullopt; }
};

// What the fleet can see.
class FleetHost {
 public:
  virtual ~FleetHost() = default;
  virtual Instant now() const = 0;
  virtual const Scenario& scenario() const = 0;
  // Null where the node is down. Those that are there are in reach unless the stream is lost: see connected().
  virtual Strategy* strategy(std::uint32_t node) = 0;
  // Whether the stream between the controller and the node stands.
  virtual bool connected(std::uint32_t node) const = 0;
  // Whether the controller runs.
  virtual bool running() const = 0;
  // As scraped; null while it cannot be reached.
  virtual const Prometheus* prometheus() const = 0;
};

// One name of a table: makes what decides on each node, and turns the wheel above them.
class Ensemble {
 public:
  virtual ~Ensemble() = default;
  virtual std::unique_ptr<Strategy> make(Host& host) = 0;
  // Every 100 ms.
  virtual void turn(FleetHost&) {}
};

// Makes a fresh ensemble for a run.
struct Contender {
  std::string name;
  std::string about;
  std::function<std::unique_ptr<Ensemble>(const Scenario& scenario, std::uint64_t seed)> make;
};

// By name: "penstock", "threads-640", "unlimited" and the rivals.
const std::vector<Contender>& contenders();

}  // namespace penstock::simulate
