#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <csignal>

#include <atomic>
#include <boost/asio/buffer.hpp>
#include <chrono>
#include <functional>
#include <mutex>
#include <optional>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "penstock/fiber.h"
#include "penstock/future.h"
#include "penstock/group.h"
#include "penstock/http_client.h"
#include "penstock/process.h"
#include "penstock/queue.h"
#include "penstock/runtime.h"
#include "penstock/sync.h"
#include "runtime/net/connect.h"
#include "runtime/net/resolver.h"
#include "tests/unit/runtime/eventually.h"
#include "tests/unit/runtime/net/sockets.h"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

// Calls what it is given on a fiber that is interrupted meanwhile, and returns when that fiber has ended.
using Interrupted = std::function<void(std::function<void()>)>;

// One wait of the public API, on something that will not happen; around it, what makes it wait.
struct HopelessWait {
  const char* name;
  std::function<void(Runtime& runtime, const Interrupted& interrupted)> wait;
  // Pools and upstreams say Rejected where nothing was begun.
  enum Refuses {
    never,
    past_the_deadline,
    at_the_deadline,
  } refuses = never;
};

void PrintTo(const HopelessWait& wait, std::ostream* out) { *out << wait.name; }

// Until told to end; joined at its destruction.
class Idle {
 public:
  explicit Idle(std::function<void()> holding = [] {}) {
    fiber_ = spawn("idle", [this, holding] {
      holding();
      held_.set();
      over_.wait();
    });
    held_.wait();
  }
  ~Idle() {
    over_.set();
    fiber_.join();
  }
  Fiber& fiber() { return fiber_; }

 private:
  Event held_, over_;
  Fiber fiber_;
};

// Hears, and says nothing.
class MuteNameServer {
 public:
  MuteNameServer() : fd_(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof at;
    EXPECT_EQ(::bind(fd_, reinterpret_cast<sockaddr*>(&at), size), 0);
    ::getsockname(fd_, reinterpret_cast<sockaddr*>(&at), &size);
    net::set_resolver_options({.servers = {{"127.0.0.1", ntohs(at.sin_port)}}});
  }
  ~MuteNameServer() { ::close(fd_); }

 private:
  const int fd_;
};

// Its backlog is full: connections to it are never made.
class BlackHole {
 public:
  BlackHole() : listener_(net::kAnyPort, 0) {
    net::error_code ec;
    while (!ec) waiting_.push_back(net::Socket::connect(at(), 20ms, ec));
  }
  net::Endpoint at() const { return listener_.endpoint(); }

 private:
  net::Listener listener_;
  std::vector<net::Socket> waiting_;
};

// Accepts in its backlog, and never answers.
struct MuteServer {
  net::Listener listener{net::kAnyPort, 100};
  std::string url = "http://" + listener.endpoint().to_string() + "/";
};

void keep_writing(net::Stream& stream) {
  const std::string block(1 << 20, 'x');
  while (true) stream.write_some(boost::asio::buffer(block));
}

std::vector<HopelessWait> hopeless_waits() {
  using R = Runtime&;
  using I = const Interrupted&;
  return {
      {"SleepFor", [](R, I interrupted) { interrupted([] { sleep_for(1h); }); }},
      {"SleepUntil", [](R, I interrupted) { interrupted([] { sleep_until(Clock::now() + 1h); }); }},
      {"Mutex",
       [](R, I interrupted) {
         Mutex mutex;
         const std::lock_guard held(mutex);
         interrupted([&] { mutex.lock(); });
       }},
      {"RecursiveMutex",
       [](R, I interrupted) {
         RecursiveMutex mutex;
         const std::lock_guard held(mutex);
         interrupted([&] { mutex.lock(); });
       }},
      {"ConditionVariable",
       [](R, I interrupted) {
         Mutex mutex;
         ConditionVariable condition;
         interrupted([&] {
           std::unique_lock lock(mutex);
           condition.wait(lock);
         });
         EXPECT_TRUE(mutex.try_lock());
         mutex.unlock();
       }},
      {"Semaphore",
       [](R, I interrupted) {
         Semaphore semaphore(0);
         interrupted([&] { semaphore.acquire(); });
         EXPECT_EQ(semaphore.available(), 0);
       }},
      {"Event",
       [](R, I interrupted) {
         Event event;
         interrupted([&] { event.wait(); });
       }},
      {"QueuePop",
       [](R, I interrupted) {
         Queue<int> queue(1);
         interrupted([&] { queue.pop(); });
         EXPECT_TRUE(queue.try_push(1));
       }},
      {"QueuePush",
       [](R, I interrupted) {
         Queue<int> queue(1);
         queue.push(1);
         interrupted([&] { queue.push(2); });
         EXPECT_EQ(queue.size(), 1u);
       }},
      {"ChannelSend",
       [](R, I interrupted) {
         Channel<int> channel;
         interrupted([&] { channel.send(1); });
         EXPECT_FALSE(channel.try_receive());
       }},
      {"ChannelReceive",
       [](R, I interrupted) {
         Channel<int> channel;
         interrupted([&] { channel.receive(); });
         EXPECT_FALSE(channel.try_send(1));
       }},
      {"FiberJoin",
       [](R, I interrupted) {
         Idle idle;
         interrupted([&] { idle.fiber().join(); });
         EXPECT_FALSE(idle.fiber().done());
       }},
      {"FutureGet",
       [](R, I interrupted) {
         Event over;
         Future<int> future = async("idle", [&] {
           over.wait();
           return 7;
         });
         interrupted([&] { future.get(); });
         over.set();
         EXPECT_EQ(future.get(), 7);
       }},
      {"GroupJoin",
       [](R, I interrupted) {
         Group group;
         Event over;
         group.spawn("idle", [&] { over.wait(); });
         interrupted([&] { group.join(); });
         EXPECT_EQ(group.size(), 1u);
         over.set();
         group.join();
       }},
      {"GroupSpawn",
       [](R, I interrupted) {
         Group group(1);
         Event over;
         group.spawn("idle", [&] { over.wait(); });
         interrupted([&] { group.spawn("no room", [] { ADD_FAILURE(); }); });
         over.set();
         group.join();
       }},
      {"GroupDestructor",
       [](R, I interrupted) {
         interrupted([] {
           Group group;
           group.spawn("asleep", [] { sleep_for(1h); });
           group.join();
         });
       }},
      {"ParallelMap",
       [](R, I interrupted) {
         interrupted([] {
           parallel_map(std::vector{1, 2, 3}, 2, [](int i) {
             sleep_for(1h);
             return i;
           });
         });
       }},
      {"PoolAcquire",
       [](R runtime, I interrupted) {
         Pool& pool = runtime.pool("one");
         const Pool::Permit held = pool.acquire();
         interrupted([&] { pool.acquire(); });
         EXPECT_EQ(pool.queue_length(), 0);
       },
       HopelessWait::at_the_deadline},
      {"UpstreamBegin",
       [](R runtime, I interrupted) {
         Upstream& upstream = *runtime.find_upstream("one");
         auto held = upstream.begin();
         interrupted([&] { upstream.begin(); });
         held.finish(CallOutcome::ok);
         EXPECT_EQ(upstream.in_flight(), 0);
       },
       HopelessWait::at_the_deadline},
      {"UpstreamCall",
       [](R runtime, I interrupted) {
         Upstream& upstream = *runtime.find_upstream("one");
         interrupted([&] { upstream.call([] { sleep_for(1h); }); });
         EXPECT_EQ(upstream.in_flight(), 0);
       },
       HopelessWait::past_the_deadline},
      {"SocketRead",
       [](R, I interrupted) {
         auto [one, other] = net::connected_tcp();
         interrupted([&, &one = one] {
           char byte;
           one.read_some(boost::asio::buffer(&byte, 1));
         });
       }},
      {"SocketWrite",
       [](R, I interrupted) {
         auto [one, other] = net::connected_tcp();
         interrupted([&, &one = one] { keep_writing(one); });
       }},
      {"SocketConnect",
       [](R, I interrupted) {
         const BlackHole hole;
         interrupted([&] {
           net::error_code ec;
           net::Socket::connect(hole.at(), 0s, ec);
           ADD_FAILURE() << ec.message();
         });
       }},
      {"ConnectByName",
       [](R, I interrupted) {
         const BlackHole hole;
         interrupted([&] { net::connect("127.0.0.1", hole.at().port); });
       }},
      {"Accept",
       [](R, I interrupted) {
         net::Listener listener(net::kAnyPort, 10);
         interrupted([&] {
           net::Endpoint peer;
           listener.accept(peer);
         });
       }},
      {"Resolve",
       [](R, I interrupted) {
         const MuteNameServer server;
         interrupted([] { net::resolve("silent.test", 80); });
         net::set_resolver_options({});
       }},
      {"ProcessWait",
       [](R, I interrupted) {
         Process process({.argv = {"sleep", "3600"}});
         interrupted([&] { process.wait(); });
         EXPECT_TRUE(process.kill(SIGKILL));
         EXPECT_EQ(process.wait().signal, SIGKILL);
       }},
      {"ProcessRead",
       [](R, I interrupted) {
         Process process({.argv = {"sleep", "3600"}, .out = Stdio::pipe});
         interrupted([&] {
           char byte;
           process.out().read_some(boost::asio::buffer(&byte, 1));
         });
       }},
      {"ProcessWrite",
       [](R, I interrupted) {
         Process process({.argv = {"sleep", "3600"}, .in = Stdio::pipe});
         interrupted([&] { keep_writing(process.in()); });
       }},
      {"RunProcess", [](R, I interrupted) { interrupted([] {
                                              run_process({"sleep", "3600"});
                                            }); }},
      {"ClientGet",
       [](R runtime, I interrupted) {
         const MuteServer server;
         http::Client client(runtime, {.idle_timeout = 20ms});
         interrupted([&] { client.get(server.url); });
       },
       HopelessWait::past_the_deadline},
      {"ClientConnect",
       [](R runtime, I interrupted) {
         const BlackHole hole;
         http::Client client(runtime, {.connect_timeout = std::chrono::hours(1), .idle_timeout = 20ms});
         interrupted([&] { client.get("http://" + hole.at().to_string() + "/"); });
       },
       HopelessWait::past_the_deadline},
      {"ClientResolve",
       [](R runtime, I interrupted) {
         const MuteNameServer server;
         http::Client client(runtime, {.connect_timeout = std::chrono::hours(1), .idle_timeout = 20ms});
         interrupted([&] { client.get("http://silent.test/"); });
         net::set_resolver_options({});
       },
       HopelessWait::past_the_deadline},
      {"ClientConnectionLimit",
       [](R runtime, I interrupted) {
         const MuteServer server;
         http::Client client(runtime, {.idle_timeout = 20ms, .max_connections = 1});
         const http::ClientExchange held = client.open("GET", server.url);
         interrupted([&] { client.get(server.url); });
       },
       HopelessWait::past_the_deadline},
      {"ClientExchangeHead",
       [](R runtime, I interrupted) {
         const MuteServer server;
         http::Client client(runtime, {.idle_timeout = 20ms});
         interrupted([&] {
           http::ClientExchange exchange = client.open("GET", server.url);
           exchange.head();
         });
       },
       HopelessWait::past_the_deadline},
      {"ClientExchangeWrite",
       [](R runtime, I interrupted) {
         const MuteServer server;
         http::Client client(runtime, {.idle_timeout = 20ms});
         interrupted([&] {
           http::ClientExchange exchange = client.open("POST", server.url, {}, http::BodyLength::unknown());
           const std::string block(1 << 20, 'x');
           while (exchange.write(block)) {
           }
         });
       },
       HopelessWait::past_the_deadline},
  };
}

class EveryWait : public testing::TestWithParam<HopelessWait> {
 protected:
  EveryWait() : runtime_(std::in_place, RuntimeOptions{.service = "test", .threads = 1}) {
    decision::Policy policy;
    policy.service = "test";
    policy.pools = {{.name = "default"}, {.name = "one", .min = 1, .max = 1}};
    policy.upstreams = {{.name = "one", .hosts = {"one.test"}, .limit = {.min = 1, .max = 1}}};
    runtime_->apply_policy(policy);
  }

  // The wait on a fiber beside the one that made it wait; at the end there are no more fibers nor descriptors than
  // before.
  void run(const Interrupted& interrupted) {
    Event ended;
    runtime_->spawn("test", [&] {
      const auto fibers = runtime_->stats().fibers;
      const auto descriptors = net::open_descriptors();
      GetParam().wait(*runtime_, interrupted);
      EXPECT_TRUE(eventually([&] { return runtime_->stats().fibers <= fibers; }));
      // The resolver keeps its socket for a while.
      if (std::string(GetParam().name).find("Resolve") == std::string::npos) {
        EXPECT_TRUE(eventually([&] { return net::open_descriptors() <= descriptors; }))
            << net::open_descriptors() << " instead of " << descriptors;
      }
      ended.set();
    });
    const bool in_time = ended.wait_until(Clock::now() + 30s);
    EXPECT_TRUE(in_time) << "it waits on";
    // Before what the fiber refers to goes.
    if (!in_time) runtime_.reset();
  }
  static void expect_deadline(const std::function<void()>& wait, bool refused) {
    try {
      wait();
      ADD_FAILURE() << "it did not wait";
    } catch (const DeadlineExceeded&) {
      EXPECT_FALSE(refused);
    } catch (const Rejected& e) {
      EXPECT_TRUE(refused);
      EXPECT_EQ(e.reason(), RejectReason::deadline);
    } catch (const std::exception& e) {
      ADD_FAILURE() << e.what();
    }
  }

  std::optional<Runtime> runtime_;
};

TEST_P(EveryWait, TimesOutAtTheDeadline) {
  run([](const std::function<void()>& wait) {
    const Instant until = Clock::now() + 20ms;
    Fiber waiting = spawn("waiting", [&] {
      const DeadlineScope deadline(until);
      expect_deadline(wait, GetParam().refuses == HopelessWait::at_the_deadline);
    });
    waiting.join();
    EXPECT_GE(Clock::now(), until - 5ms);
    EXPECT_LT(Clock::now(), until + 10s);
  });
}

TEST_P(EveryWait, TimesOutAtADeadlineThatHasPassed) {
  run([](const std::function<void()>& wait) {
    Fiber waiting = spawn("waiting", [&] {
      const DeadlineScope deadline(Clock::now() - 1ms);
      expect_deadline(wait, GetParam().refuses != HopelessWait::never);
    });
    waiting.join();
  });
}

TEST_P(EveryWait, IsEndedByCancel) {
  run([](const std::function<void()>& wait) {
    Fiber waiting = spawn("waiting", [&] { EXPECT_THROW(wait(), Cancelled); });
    // By then it waits; if not, it is as the next test has it.
    sleep_for(20ms);
    EXPECT_FALSE(waiting.done());
    waiting.cancel();
    waiting.join();
  });
}

TEST_P(EveryWait, DoesNotBeginOnACancelledFiber) {
  run([](const std::function<void()>& wait) {
    Fiber waiting = spawn("waiting", [&] { EXPECT_THROW(wait(), Cancelled); });
    waiting.cancel();
    waiting.join();
  });
}

INSTANTIATE_TEST_SUITE_P(Table, EveryWait, testing::ValuesIn(hopeless_waits()),
                         [](const auto& info) { return std::string(info.param.name); });

// The one wait that nothing ends: what fn refers to must stay until it returns. The next wait throws.
TEST(OffloadWait, LastsUntilTheCallReturns) {
  Runtime runtime({.threads = 1});
  std::atomic<bool> over{false};
  Event ended;
  runtime.spawn("test", [&] {
    Fiber waiting = spawn("waiting", [&] {
      const DeadlineScope deadline(Clock::now() + 5ms);
      bool returned = false;
      runtime.offload([&] {
        while (!over) ::usleep(1000);
        returned = true;
      });
      EXPECT_TRUE(returned);
      EXPECT_THROW(check_interrupts(), Cancelled);
    });
    sleep_for(20ms);
    waiting.cancel();
    sleep_for(5ms);
    EXPECT_FALSE(waiting.done());
    over = true;
    waiting.join();
    ended.set();
  });
  EXPECT_TRUE(ended.wait_until(Clock::now() + 30s));
}

}  // namespace
}  // namespace penstock
