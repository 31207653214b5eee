#include "tests/unit/runtime/waits/hopeless_waits.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <boost/asio/buffer.hpp>
#include <chrono>
#include <csignal>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "penstock/fiber.h"
#include "penstock/future.h"
#include "penstock/group.h"
#include "penstock/http_client.h"
#include "penstock/process.h"
#include "penstock/queue.h"
#include "penstock/sync.h"
#include "runtime/net/connect.h"
#include "runtime/net/resolver.h"
#include "tests/unit/runtime/net/sockets.h"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

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

}  // namespace

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
      {"Offload",
       [](R runtime, I interrupted) {
         std::atomic<bool> over{false};
         Fiber holder = spawn("holder", [&] {
           runtime.offload([&] {
             while (!over) std::this_thread::sleep_for(1ms);
           });
         });
         sleep_for(5ms);
         bool called = false;
         interrupted([&] { runtime.offload([&] { called = true; }); });
         over = true;
         holder.join();
         EXPECT_FALSE(called);
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

}  // namespace penstock
