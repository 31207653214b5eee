#include "controller/simulate/upstream.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numbers>

namespace penstock::simulate {
namespace {

// How far an episode's latency is in force, in [0, 1].
double strength(const Episode& episode, Duration t) {
  double f = 1;
  if (episode.ramp > Duration::zero()) {
    const double in = decision::seconds(t - episode.window.from) / decision::seconds(episode.ramp);
    const double out = decision::seconds(episode.window.to - t) / decision::seconds(episode.ramp);
    f = std::clamp(std::min(in, out), 0.0, 1.0);
  }
  if (episode.swing > Duration::zero()) {
    const double turns = decision::seconds(t - episode.window.from) / decision::seconds(episode.swing);
    f *= 0.5 * (1 - std::cos(2 * std::numbers::pi * turns));
  }
  return f;
}

bool in_force(const Episode& episode, Duration t) {
  if (!episode.window.contains(t)) return false;
  return episode.on == Duration::zero() || (t - episode.window.from) % (episode.on + episode.off) < episode.on;
}

}  // namespace

Upstream::Upstream(const UpstreamModel& model, Duration end, Events& events, std::uint64_t seed)
    : model_(model),
      events_(events),
      random_(seed, "upstream " + model.name),
      others_(seed, "others at upstream " + model.name) {
  for (const Episode& episode : model_.episodes) {
    const Duration to = std::min(episode.window.to, end);
    Duration t = episode.window.from;
    if (episode.on > Duration::zero()) {
      for (; t < to; t += episode.on + episode.off) {
        events_.at(simulate::at(t), *this, kBoundary, 0);
        if (t + episode.on < to) events_.at(simulate::at(t + episode.on), *this, kBoundary, 0);
      }
    } else {
      events_.at(simulate::at(t), *this, kBoundary, 0);
    }
    events_.at(simulate::at(to), *this, kBoundary, 0);
  }
  next_other();
}

Upstream::Regime Upstream::regime() const {
  Regime regime{model_.latency,
                model_.spread,
                1,
                model_.error_ratio,
                std::chrono::milliseconds(20),
                0,
                model_.capacity ? &*model_.capacity : nullptr,
                nullptr};
  const Duration t = since_start(events_.now());
  for (auto it = model_.episodes.rbegin(); it != model_.episodes.rend(); ++it) {
    const Episode& episode = *it;
    if (!in_force(episode, t)) continue;
    if (episode.latency) {
      const double f = strength(episode, t);
      regime.latency += decision::from_seconds(f * decision::seconds(*episode.latency - model_.latency));
    }
    regime.spread = episode.spread.value_or(model_.spread);
    regime.share = episode.share;
    regime.error_ratio = episode.error_ratio.value_or(model_.error_ratio);
    regime.error_latency = episode.error_latency;
    regime.silent_ratio = episode.silent_ratio;
    if (episode.capacity) regime.capacity = &*episode.capacity;
    if (episode.rate_limit) regime.rate_limit = &*episode.rate_limit;
    break;
  }
  return regime;
}

Upstream::Job Upstream::take_slot(Caller* caller, std::uint32_t caller_slot) {
  Job job;
  if (free_.empty()) {
    job = static_cast<Job>(slots_.size());
    slots_.emplace_back();
  } else {
    job = free_.back();
    free_.pop_back();
  }
  Slot& slot = slots_[job];
  slot.caller = caller;
  slot.caller_slot = caller_slot;
  slot.abandoned = false;
  slot.fate = Fate::ok;
  slot.retry_after = kStart;
  slot.extra = Duration::zero();
  return job;
}

void Upstream::free_slot(Job job) {
  Slot& slot = slots_[job];
  slot.state = State::free;
  slot.caller = nullptr;
  ++slot.generation;
  free_.push_back(job);
}

Duration Upstream::draw_latency(const Regime& regime) {
  const bool concerned = regime.share >= 1 || random_.chance(regime.share);
  return concerned ? random_.log_normal(regime.latency, regime.spread)
                   : random_.log_normal(model_.latency, model_.spread);
}

void Upstream::answer_in(Job job, Duration delay, Fate fate) {
  Slot& slot = slots_[job];
  slot.state = State::delayed;
  slot.fate = fate;
  events_.at(events_.now() + delay + slot.extra, *this, kAnswer, job, slot.generation);
}

void Upstream::deliver(Job job) {
  const Slot slot = slots_[job];
  free_slot(job);
  if (slot.caller) slot.caller->answered(slot.caller_slot, slot.fate, slot.retry_after);
}

Upstream::Job Upstream::call(Caller& caller, std::uint32_t caller_slot, Duration extra) {
  const Job job = take_slot(&caller, caller_slot);
  Slot& slot = slots_[job];
  slot.extra = extra;
  const Regime now = regime();
  if (now.rate_limit) {
    const RateLimit& limit = *now.rate_limit;
    if (tokens_of_ != &limit) {
      tokens_of_ = &limit;
      tokens_ = limit.burst;
    } else {
      tokens_ = std::min(limit.burst, tokens_ + limit.rate * decision::seconds(events_.now() - tokens_at_));
    }
    tokens_at_ = events_.now();
    if (tokens_ < 1) {
      if (limit.retry_after > Duration::zero()) slot.retry_after = events_.now() + limit.retry_after;
      answer_in(job, now.error_latency, Fate::refused);
      return job;
    }
    tokens_ -= 1;
  }
  if (now.error_ratio > 0 && random_.chance(now.error_ratio)) {
    answer_in(job, now.error_latency, Fate::error);
  } else if (now.silent_ratio > 0 && random_.chance(now.silent_ratio)) {
    slot.state = State::silent;
  } else if (now.capacity) {
    enter(job, now);
  } else {
    answer_in(job, draw_latency(now), Fate::ok);
  }
  return job;
}

void Upstream::abandon(Job job) {
  Slot& slot = slots_[job];
  slot.caller = nullptr;
  slot.abandoned = true;
  switch (slot.state) {
    case State::free:
      return;
    case State::delayed:
    case State::silent:
      return free_slot(job);
    case State::waiting:
      // Found in the queue without a caller; what is done about it is decided there.
    case State::served:
      return;
    case State::shared: {
      const Regime now = regime();
      if (now.capacity && now.capacity->works_on_abandoned) return;
      advance_shared();
      --sharing_;
      slot.state = State::silent;
      schedule_shared();
      return;
    }
  }
}

void Upstream::enter(Job job, const Regime& now) {
  const Capacity& capacity = *now.capacity;
  if (capacity.collapse > 0) return share(job, now);
  if (busy_ < capacity.servers && waiting_.empty()) return serve(job, draw_latency(now));
  if (capacity.queue && static_cast<int>(waiting_.size()) >= *capacity.queue) {
    return answer_in(job, now.error_latency, Fate::refused);
  }
  slots_[job].state = State::waiting;
  waiting_.push_back(job);
}

void Upstream::serve(Job job, Duration service) {
  Slot& slot = slots_[job];
  slot.state = State::served;
  ++busy_;
  events_.at(events_.now() + service, *this, kServed, job, slot.generation);
}

void Upstream::drain() {
  while (!waiting_.empty()) {
    const Regime now = regime();
    if (now.capacity && now.capacity->collapse == 0 && busy_ >= now.capacity->servers) return;
    const Job job = waiting_.front();
    waiting_.pop_front();
    if (slots_[job].abandoned && now.capacity && !now.capacity->works_on_abandoned) {
      free_slot(job);
    } else {
      serve(job, draw_latency(now));
    }
  }
}

double Upstream::shared_rate(const Capacity& capacity) const {
  const double n = sharing_;
  const double servers = capacity.servers;
  if (n <= servers) return 1;
  return servers / n / (1 + capacity.collapse * (n - servers) / servers);
}

void Upstream::advance_shared() {
  clock_ += rate_ * decision::seconds(events_.now() - clock_at_);
  clock_at_ = events_.now();
}

void Upstream::share(Job job, const Regime& now) {
  advance_shared();
  ++sharing_;
  Slot& slot = slots_[job];
  slot.state = State::shared;
  slot.done_at = clock_ + decision::seconds(draw_latency(now));
  shared_.emplace_back(slot.done_at, job);
  std::ranges::push_heap(shared_, std::greater<>());
  schedule_shared();
}

void Upstream::schedule_shared() {
  ++next_shared_;
  if (shared_.empty()) return;
  const Regime now = regime();
  rate_ = now.capacity ? shared_rate(*now.capacity) : 1;
  const double left = std::max(0.0, shared_.front().first - clock_);
  // Rounded up, so that the clock has come to it by then.
  const Duration delay = decision::from_seconds(left / rate_) + Duration(1);
  events_.at(events_.now() + delay, *this, kShared, 0, next_shared_);
}

void Upstream::next_other() {
  const Regime now = regime();
  others_come_ = now.capacity && now.capacity->others_rate > 0;
  if (others_come_)
    events_.after(others_.exponential(decision::from_seconds(1 / now.capacity->others_rate)), *this, kOther, 0);
}

void Upstream::happen(std::uint8_t kind, std::uint32_t argument) {
  switch (kind) {
    case kAnswer:
      return deliver(argument);
    case kServed: {
      --busy_;
      Slot& slot = slots_[argument];
      if (slot.caller && slot.extra > Duration::zero()) {
        answer_in(argument, Duration::zero(), Fate::ok);
      } else {
        deliver(argument);
      }
      return drain();
    }
    case kShared: {
      advance_shared();
      while (!shared_.empty() && shared_.front().first <= clock_ + 1e-12) {
        const Job job = shared_.front().second;
        std::ranges::pop_heap(shared_, std::greater<>());
        shared_.pop_back();
        if (slots_[job].state == State::shared) --sharing_;
        slots_[job].caller ? answer_in(job, Duration::zero(), Fate::ok) : free_slot(job);
      }
      return schedule_shared();
    }
    case kBoundary:
      drain();
      advance_shared();
      schedule_shared();
      if (!others_come_) next_other();
      return;
    case kOther:
      next_other();
      if (const Regime now = regime(); now.capacity) enter(take_slot(nullptr, 0), now);
      return;
  }
}

}  // namespace penstock::simulate
