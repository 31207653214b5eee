#pragma once

#include <chrono>
#include <cstddef>

#include "penstock/fiber.h"
#include "penstock/queue.h"
#include "penstock/sync.h"

// What it costs to hand something from one fiber to another of the same thread, in nanoseconds each. Called on a fiber.
namespace penstock::bench {

template <class Fn>
double nanoseconds_each(int count, Fn fn) {
  const auto start = std::chrono::steady_clock::now();
  fn();
  return std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - start).count() / count;
}

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

// There and back through two semaphores: two hand-offs and two switches.
inline double ping_pong_ns(int count) {
  return nanoseconds_each(count, [&] {
    Semaphore there(0), back(0);
    Fiber other = spawn("other", [&] {
      for (int i = 0; i < count; ++i) {
        there.acquire();
        back.release();
      }
    });
    for (int i = 0; i < count; ++i) {
      there.release();
      back.acquire();
    }
    other.join();
  });
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
