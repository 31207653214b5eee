#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <vector>

#include "bench/switch/nanoseconds.h"
#include "penstock/fiber.h"
#include "penstock/queue.h"
#include "penstock/sync.h"

// What it costs to hand something from one fiber to another of the same thread, in nanoseconds each. Called on a fiber.
namespace penstock::bench {

// An item through a channel: with capacity 0 each send waits for its receiver.
inline double channel_ns(int count, std::size_t capacity = 0) {
  return nanoseconds_each(count, [&] {
    Channel<int> channel(capacity);
    Fiber sender = spawn("sender", [&] {
      for (int i = 0; i < count; ++i) channel.send(i);
      channel.close();
    });
    while (channel.receive()) {
    }
    sender.join();
  });
}

// A wait that is over long before its deadline, or has none.
inline void acquire(Semaphore& semaphore, bool with_deadline) {
  if (with_deadline) {
    semaphore.try_acquire_until(std::chrono::steady_clock::now() + std::chrono::hours(1));
  } else {
    semaphore.acquire();
  }
}

// There and back through two semaphores: two hand-offs and two switches.
inline double ping_pong_ns(int count, bool with_deadline = false) {
  return nanoseconds_each(count, [&] {
    Semaphore there(0), back(0);
    Fiber other = spawn("other", [&] {
      for (int i = 0; i < count; ++i) {
        acquire(there, with_deadline);
        back.release();
      }
    });
    for (int i = 0; i < count; ++i) {
      there.release();
      acquire(back, with_deadline);
    }
    other.join();
  });
}

// What a deadline adds to a wait that it does not end, of so many fibers that wait; each in turn is woken and waits
// again.
inline double deadline_in_crowd_ns(int many) {
  std::vector<std::unique_ptr<Semaphore>> semaphores;
  std::vector<Fiber> fibers;
  bool with_deadline = false, last = false;
  for (int i = 0; i < many; ++i) {
    semaphores.push_back(std::make_unique<Semaphore>(0));
    fibers.push_back(spawn("waits", [&, semaphore = semaphores.back().get()] {
      while (!last) acquire(*semaphore, with_deadline);
    }));
  }
  const auto wake_all = [&] {
    for (auto& semaphore : semaphores) {
      semaphore->release();
      yield();
    }
  };
  const double added = added_ns([&](bool with) {
    with_deadline = with;
    wake_all();
    return nanoseconds_each(many, wake_all);
  });
  last = true;
  wake_all();
  for (Fiber& fiber : fibers) fiber.join();
  return added;
}

// A mutex that is never free when it is wanted, because its holder lets the other fiber run.
inline double contended_mutex_ns(int count) {
  return nanoseconds_each(count, [&] {
    Mutex mutex;
    const auto lock = [&] {
      for (int i = 0; i < count / 2; ++i) {
        mutex.lock();
        yield();
        mutex.unlock();
      }
    };
    Fiber other = spawn("other", lock);
    lock();
    other.join();
  });
}

// A mutex that nobody else wants.
inline double mutex_ns(int count) {
  return nanoseconds_each(count, [&] {
    Mutex mutex;
    for (int i = 0; i < count; ++i) {
      mutex.lock();
      mutex.unlock();
    }
  });
}

}  // namespace penstock::bench
