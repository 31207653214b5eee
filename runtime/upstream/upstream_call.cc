#include "runtime/upstream/upstream_call.h"

#include <algorithm>
#include <new>
#include <optional>
#include <stdexcept>
#include <utility>

#include "runtime/upstream/upstream_state.h"

namespace penstock {
namespace {

// Calls that a thread keeps for the next ones.
constexpr std::size_t kKept = 1024;

struct Block {
  Block* next;
};

struct Blocks {
  Block* first;
  std::size_t count;
  // Its thread ends: nothing is kept any more.
  bool closed;
};
constinit thread_local Blocks blocks{};

struct BlocksOfThread {
  ~BlocksOfThread() {
    blocks.closed = true;
    blocks.count = 0;
    while (Block* block = blocks.first) {
      blocks.first = block->next;
      ::operator delete(block);
    }
  }
};

}  // namespace

void* Upstream::Call::State::operator new(std::size_t size) {
  if (Block* block = blocks.first) {
    blocks.first = block->next;
    --blocks.count;
    return block;
  }
  return ::operator new(size);
}

void Upstream::Call::State::operator delete(void* memory, std::size_t) noexcept {
#if !defined(__SANITIZE_ADDRESS__)
  if (blocks.count < kKept && !blocks.closed) {
    if (blocks.first == nullptr) {
      static thread_local BlocksOfThread freed_at_its_end;
      static_cast<void>(freed_at_its_end);
    }
    blocks.first = new (memory) Block{blocks.first};
    ++blocks.count;
    return;
  }
#endif
  ::operator delete(memory);
}

Upstream::Call::Call(std::unique_ptr<State> state) : state_(std::move(state)) {}
Upstream::Call::Call(Call&&) noexcept = default;

Upstream::Call::~Call() {
  if (!state_) return;
  finish(std::uncaught_exceptions() > state_->exceptions ? CallOutcome::error : CallOutcome::cancelled);
}

void Upstream::Call::finish(CallOutcome outcome) { finish(to_guarded(outcome), std::nullopt); }

void Upstream::Call::finish_refused(std::optional<Duration> retry_after) {
  finish(decision::GuardedOutcome::refused, retry_after);
}

void Upstream::Call::finish(decision::GuardedOutcome outcome, std::optional<Duration> retry_after) {
  if (!state_) throw std::logic_error("a call to an upstream is finished twice");
  const std::unique_ptr<State> ended = std::move(state_);
  Upstream::State& upstream = *ended->upstream->state_;
  // Threads differ by what a moment may be old.
  const Instant at = std::max(fiber::recent_now(), ended->started);
  if (outcome != decision::GuardedOutcome::ok || ended->shard == nullptr || !upstream.end_here(*ended, at)) {
    upstream.end_slowly(*ended, outcome, retry_after, at);
  }
  if (ended->watched) ended->watched->by->end(ended->watched->call, outcome, retry_after, at);
  if (outcome == decision::GuardedOutcome::refused) upstream.refusals.add();
  upstream.outcomes[static_cast<std::size_t>(to_call_outcome(outcome))]->add();
  upstream.duration.observe(at - ended->started);
}

Instant Upstream::Call::deadline() const { return state_->deadline; }

}  // namespace penstock
