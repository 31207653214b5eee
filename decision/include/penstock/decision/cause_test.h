#pragma once

#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "penstock/decision/circuit_breaker.h"
#include "penstock/decision/policy.h"
#include "penstock/decision/prefetch.h"
#include "penstock/decision/time.h"
#include "penstock/decision/upstream_signals.h"

// Whose fault is it that an upstream is slow? If its own, more calls in flight cost it nothing, and cutting them would
// only cost us; if ours, fewer calls in flight are answered as fast, or faster. In a steady state the two look alike:
// calls in flight = throughput x latency (Little), whichever of the three drives the others. Only a forced change of
// concurrency tells them apart.
//
//   FREE    no limit. Looks for calls that get lost: W > 2.5 W_b, n >= 8, and over a horizon of at least W the deficit
//           d = 1 - ok / attempts is above 0.25, or 0.1 where W comes near the patience, while answers flow steadily.
//           Slowness without deficit hurts nobody but by its latency, which no limit would lower, and is not tested.
//           Throughput that broke off and comes back while as many calls are in flight excuses the upstream without a
//           test: they do it no harm.
//   FREEZE  limit 1.1 n + 2 up to a mark on the wall clock, so that all nodes cut together; X_ref is measured. A fleet
//           that tests on sums needs no mark and goes on at once.
//   CUT     calls wait until those in flight have become K = 1.6 X W_b + 2, and then so many are let in. An upstream
//           at its capacity answers as many from K, an innocent one K / W. What dies away before K is reached hangs, or
//           is answered by itself: theirs. Calls wait, they are not shed.
//   alarm   answers all but stop while calls pile up: CUT at once, with K from better times. Where answers go on they
//           were overrun, and are waited for until they are as fast as they were; where none come, latency has jumped.
//   SEARCH  guilty so far: 2.5 K, where throughput must not rise.
//   TRACK   small steps up and down; slope s = d ln W / d ln n: above 0.6 shrink, below 0.35 grow. Ends when the limit
//           is no longer reached. Where throughput seems to follow the limit, or nothing explains the slopes, SEARCH
//           looks again: the limit grows 2.5-fold each time that throughput rises, and the third time it is lifted.
//
// Verdicts are theirs, ours, full (the upstream refuses calls: token_bucket.h), dead (the breaker), unidentified.
// Unidentified means hold: no limit, and another try later. Below 8 calls in flight nothing is tested: 8 calls are no
// load that matters to memory, and the answers that tell 5 from 8 would take longer than the trouble; deadline, breaker
// and retry budget act there.
//
// docs/control-loop.md has the model, a drawing, and the reason of each constant. Not thread-safe; deterministic; no
// allocation but for decisions.
namespace penstock::decision {

enum class CauseState { free, freeze, cut, search, track };
enum class Cause { none, theirs, ours, full, dead, unidentified };
std::string_view to_string(CauseState state);
std::string_view to_string(Cause cause);

// What the test needs to know beyond the signals.
struct CauseContext {
  // Time on the wall clock since the Unix epoch: marks only.
  Duration wall{};
  // The node's calendar lets this upstream be tested now: test_calendar.h.
  bool may_test = true;
  // What callers can wait, typically.
  Duration patience = std::chrono::seconds(10);
  // In [0,1].
  double memory_pressure = 0;
  // How long what is ready waits for a CPU: part of every latency that this node measures.
  Duration run_delay{};
  BreakerState breaker = BreakerState::closed;
  // The breaker takes it for dead, not just for useless.
  bool dead = false;
  // The upstream refuses calls, and that is obeyed.
  bool refusing = false;
  // Bounds of a limit: what else is in force, and what the policy never goes below.
  int min = 4;
  int max = 5000;
  KneeTest knee_test = KneeTest::act;
  // Others that share the upstream test apart from this one: only marks bring them together.
  bool apart = true;
  // The limit of a fleet that led and is gone: its verdict was ours, and is continued from there.
  std::optional<int> inherited;
};

// The numbers behind a verdict.
struct Evidence {
  double r = 0;
  // Of the side that was decided for; standard errors.
  double z = 0;
  // Answers while cut, and in the reference.
  double calls = 0;
  double calls_ref = 0;
  double x_ref = 0;
  Duration w{};
  Duration w_b{};
  Duration patience{};
  double f = 0;
  double deficit = 0;
  int in_flight = 0;
  double memory_pressure = 0;
  Duration run_delay{};
};

class CauseTest {
 public:
  // What holds now.
  struct Hold {
    CauseState state = CauseState::free;
    // Calls in flight; unset: unbounded by this test.
    std::optional<int> limit;
    Cause verdict = Cause::none;

    // Held back because more calls get no more answers: what waits then is a standing queue.
    bool tight() const {
      return state == CauseState::search ||
             (state == CauseState::track && (verdict == Cause::ours || verdict == Cause::full));
    }
  };

  // Call every 100 ms, after signals.tick().
  Hold tick(const UpstreamSignals& signals, const CauseContext& context, Instant now);
  const Hold& holds() const { return hold_; }
  // Asks for its turn; granted by CauseContext::may_test of a later tick.
  bool wants_test() const { return wants_test_; }
  // Concurrency is being changed in order to learn: nobody else may.
  bool testing() const {
    return hold_.state == CauseState::freeze || hold_.state == CauseState::cut || hold_.state == CauseState::search;
  }
  // The usual latency must not learn from what is measured now.
  bool unusual() const { return hold_.state != CauseState::free; }

  // A change of state or verdict.
  struct Decision {
    Instant at;
    CauseState from;
    CauseState to;
    Cause verdict;
    // In [0,1]: how sure the verdict is by its z; 0.5 without one.
    double confidence;
    std::optional<int> limit;
    Evidence evidence;
    // A sentence with numbers, the formula with numbers, and what would change it.
    std::string sentence;
    std::string formula;
    std::string would_change;
  };
  // The oldest not yet taken; at most 64 are kept.
  std::optional<Decision> take_decision();
  const std::optional<Decision>& last_decision() const { return last_; }

  // What tick() and take_decision() read in state FREE.
  void prefetch() const {
    decision::prefetch(this, &mark_);
    decision::prefetch(&decisions_, &decisions_ + 1);
  }

 private:
  struct Step;
  void free(Step& step);
  void freeze(Step& step);
  void cut(Step& step);
  void search(Step& step);
  void track(Step& step);

  struct Block {
    double in_flight = 0;
    double latency = 0;
    double throughput = 0;
    double calls = 0;
  };

  void theirs(Step& step, std::string sentence);
  void begin_cut(Step& step, double throughput);
  void cut_to(Step& step, double limit);
  void drain(Step& step);
  void watch(Step& step);
  void relieved(Step& step, const UpstreamSignals::Span& span);
  void begin_search(Step& step, const UpstreamSignals::Span& span);
  void doubt(Step& step, const UpstreamSignals::Span& block, const std::string& sentence);
  void look_again(Step& step, const UpstreamSignals::Span& block, std::string sentence);
  void verify(Step& step, const UpstreamSignals::Span& span);
  void begin_track(Step& step, double limit, Cause verdict, std::string sentence);
  void end_test(Step& step, Cause verdict, Duration hold_off, std::string sentence);
  void track_block(Step& step, const UpstreamSignals::Span& block);
  void next_block(Step& step, double factor);
  void note_surplus(const Step& step);
  void note_trouble(const Step& step);
  void begin_freeze(Step& step, double limit, std::string sentence, std::string formula);
  bool collapsing(const Step& step) const;
  void alarm(Step& step);
  bool excused(Step& step);
  void await_no_turn();
  bool losing_calls(const Step& step);
  bool answers_went_on(const Step& step) const;
  void decide(Step& step, CauseState to, Cause verdict, std::string sentence, std::string formula,
              std::string would_change);
  void set_limit(const Step& step, double limit);
  Duration told_nothing();
  Duration block_length(const Step& step, double throughput) const;
  Duration until_mark(const Step& step, Duration wanted) const;

  Hold hold_;
  bool wants_test_ = false;

  // FREE
  int losing_ticks_ = 0;
  Instant next_test_{};
  Duration hold_off_{};
  std::optional<Instant> well_since_;
  BreakerState breaker_ = BreakerState::closed;
  bool ceased_at_once_ = true;
  bool observed_ = false;
  std::optional<Instant> turn_since_;
  std::optional<Instant> surplus_;
  std::optional<Instant> trouble_since_;

  bool alarmed_ = false;
  bool burst_ = false;
  Instant next_alarm_{};
  // Least throughput since trouble began, and calls in flight then; `calls` is the usual throughput then.
  Block trough_;
  // A test has ended since trouble began.
  bool tested_ = false;
  // When it came back by itself; max: it did not. And when it last was not far above that.
  Duration excused_latency_ = Duration::max();
  Instant excused_at_{};

  // FREEZE, CUT, SEARCH
  std::int64_t mark_ = 0;
  Instant began_{};
  double n_ref_ = 0;
  Duration w_ref_{};
  Duration w_drain_{};
  std::optional<Instant> drained_;
  std::optional<Instant> watched_;
  double knee_throughput_ = 0;
  int looks_ = 0;
  Block held_;

  // TRACK
  double level_ = 0;
  double factor_ = 1;
  bool returning_ = false;
  Instant block_began_{};
  Duration block_length_{};
  int bound_ticks_ = 0;
  int block_ticks_ = 0;
  std::optional<Instant> unbound_since_;
  std::optional<Block> base_;
  // Slopes measured, forgetting: number, sum, sum of squares.
  double slopes_ = 0;
  double slope_sum_ = 0;
  double slope_squares_ = 0;
  int following_ = 0;
  // In a row that more calls got more answers.
  int doubts_ = 0;
  int probes_ = 0;
  Instant descend_at_{};
  // Calls in flight above which it thrashed; not beyond them until then.
  double ceiling_ = 0;
  Instant ceiling_until_{};
  Instant ours_until_{};
  double settled_latency_ = 0;
  double settled_throughput_ = 0;

  // Behind what each tick reads.
  Evidence evidence_;
  std::deque<Decision> decisions_;
  std::optional<Decision> last_;
};

}  // namespace penstock::decision
