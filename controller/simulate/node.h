#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "controller/simulate/events.h"
#include "controller/simulate/outcome.h"
#include "controller/simulate/random.h"
#include "controller/simulate/scenario.h"
#include "controller/simulate/strategy.h"
#include "controller/simulate/upstream.h"

namespace penstock::simulate {

class Users;

// A node of the service: cores that run what is runnable in the order in which it became so, memory, and requests that
// compute, call, compute, ... as their page says. What is started, sent and refused is the strategy's business.
class Node final : public Actor, public Host, private Caller {
 public:
  // What all nodes of a run share.
  struct World {
    const Scenario& scenario;
    Events& events;
    Outcome& outcome;
    Users& users;
    std::vector<std::unique_ptr<Upstream>>& upstreams;
    Ensemble& ensemble;
    std::uint64_t seed;
  };
  Node(const World& world, std::uint32_t number);
  ~Node() override;

  bool up() const { return strategy_ != nullptr; }
  // Whether the balancer sends users here; it takes a while to see that a node is down.
  bool listed() const { return up() || events_.now() < delisted_at_; }
  Strategy* strategy() { return strategy_.get(); }

  // A user's try. The answer comes later.
  std::uint32_t arrive(std::uint32_t user, std::uint32_t page, std::uint32_t tenant);
  // The user of that request closes the connection.
  void leave(std::uint32_t request);

  void happen(std::uint8_t kind, std::uint32_t argument) override;

  // CPU time used so far.
  Duration cpu_used() const { return cpu_used_; }

  Instant now() const override { return events_.now(); }
  Instant wall() const override { return events_.now() + scenario_.nodes.skew[number_]; }
  std::uint32_t node() const override { return number_; }
  const Scenario& scenario() const override { return scenario_; }
  void start(const Request& request) override;
  void refuse(const Request& request, decision::RejectReason reason) override;
  void send(const Request& request, Instant deadline) override;
  void refuse_call(const Request& request, decision::RejectReason reason) override;
  Load load() const override;
  Memory memory() const override;
  double uniform() override { return random_.uniform(); }
  void wake_at(Instant when) override;
  void conclude(std::uint32_t upstream, Cause cause, std::string_view message) override;
  void note_breaker(std::uint32_t upstream, bool open) override;

 private:
  enum Kind : std::uint8_t { kComputed, kDeadline, kCallDeadline, kCallRefused, kTick, kWake, kCrash, kUp, kRestart };
  // door: neither started nor refused. asking: a call neither sent nor refused. refusing: the answer is being written.
  enum class Stage : std::uint8_t { free, door, runnable, running, asking, failing, calling, refusing };
  struct Live {
    Request request;
    Call call;
    std::uint32_t user = 0;
    Stage stage = Stage::free;
    // The client went away.
    bool left = false;
    // To be given up at the next chance.
    bool given_up = false;
    // Of the parts between calls.
    std::uint32_t step = 0;
    std::int64_t calls = 0;
    Upstream::Job job = 0;
    Instant runnable_since{};
    // Moves on when the request has ended, and when the call has.
    Generation alive = 0;
    Generation calling = 0;
  };

  void answered(std::uint32_t slot, Fate fate, Instant retry_after) override;

  const PageModel& page(const Live& live) const { return scenario_.pages[live.request.page]; }
  void make_runnable(Live& live);
  void run(Live& live);
  void computed(Live& live);
  void next_core();
  void ask(Live& live);
  void call_ended(Live& live, Fate fate, Instant retry_after);
  void give_up(Live& live, Fate fate);
  void end(Live& live, Fate fate);
  void reply(Live& live, bool ok, bool refused);
  void free_slot(Live& live);
  void add_memory(std::int64_t bytes);
  void crash();
  void boot();
  void tick();
  std::int64_t memory_of_started() const;
  Duration link_delay() const;

  const Scenario& scenario_;
  Events& events_;
  Outcome& outcome_;
  Users& users_;
  std::vector<std::unique_ptr<Upstream>>& upstreams_;
  Ensemble& ensemble_;
  const std::uint32_t number_;
  Random random_;
  Random computing_;
  std::unique_ptr<Strategy> strategy_;
  Manner manner_;
  Instant delisted_at_{};

  std::deque<Live> slots_;
  std::vector<std::uint32_t> free_;
  int started_ = 0;
  int at_door_ = 0;
  std::int64_t memory_ = 0;
  // Moves on when the node dies: nothing that was under way happens any more.
  Generation incarnation_ = 0;
  Generation wakes_ = 0;

  int running_ = 0;
  std::deque<std::uint32_t> refusals_;
  std::deque<std::uint32_t> runnable_;
  Duration cpu_used_{};

  // Of the current tick, and of the last one.
  Duration tick_cpu_{};
  Duration tick_delay_{};
  int tick_began_ = 0;
  double cpu_busy_ = 0;
  Duration run_delay_{};
};

}  // namespace penstock::simulate
