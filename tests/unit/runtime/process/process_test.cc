#include "penstock/process.h"

#include <dirent.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/asio/buffer.hpp>
#include <boost/asio/error.hpp>
#include <cerrno>
#include <chrono>
#include <functional>
#include <set>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "penstock/fiber.h"
#include "penstock/group.h"
#include "runtime/fiber/fiber_state.h"
#include "tests/unit/runtime/eventually.h"
#include "tests/unit/runtime/fiber/threads.h"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

std::set<std::string> open_descriptors() {
  std::set<std::string> names;
  DIR* dir = ::opendir("/proc/self/fd");
  while (const dirent* entry = ::readdir(dir)) names.insert(entry->d_name);
  ::closedir(dir);
  return names;
}

bool exists(pid_t pid) { return ::kill(pid, 0) == 0; }

// A scheduler thread; at the end no child and no descriptor is left.
class ProcessOnAFiber : public testing::Test {
 protected:
  ProcessOnAFiber() { ::signal(SIGPIPE, SIG_IGN); }
  ~ProcessOnAFiber() override {
    siginfo_t info{};
    EXPECT_EQ(::waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT), -1);
    EXPECT_EQ(errno, ECHILD);
    ::signal(SIGPIPE, SIG_DFL);
  }

  void run(const std::function<void()>& fn) {
    threads_.run([&] {
      const auto before = open_descriptors();
      fn();
      EXPECT_EQ(open_descriptors(), before);
    });
  }

  static ProcessOptions shell(const std::string& script) {
    ProcessOptions options;
    options.argv = {"sh", "-c", script};
    return options;
  }

  fiber::Threads threads_;
};

TEST_F(ProcessOnAFiber, TellsHowItEnded) {
  run([] {
    Process good({.argv = {"true"}});
    EXPECT_TRUE(good.wait().ok());
    EXPECT_TRUE(good.wait().ok());
    EXPECT_FALSE(good.kill(SIGTERM));
    EXPECT_FALSE(exists(good.pid()));
    Process bad(shell("exit 7"));
    const ExitStatus status = bad.wait();
    EXPECT_EQ(status.code, 7);
    EXPECT_FALSE(status.ok());
    EXPECT_EQ(status.to_string(), "exit code 7");
  });
}

TEST_F(ProcessOnAFiber, IsKilledBySignal) {
  run([] {
    Process process({.argv = {"sleep", "1000"}});
    EXPECT_FALSE(process.wait_until(Clock::now() + 2ms));
    {
      DeadlineScope scope(Clock::now() + 2ms);
      EXPECT_THROW(process.wait(), DeadlineExceeded);
    }
    EXPECT_TRUE(process.kill(SIGTERM));
    EXPECT_EQ(process.wait().signal, SIGTERM);
    EXPECT_EQ(process.wait().to_string(), "signal 15 (Terminated)");
  });
}

TEST_F(ProcessOnAFiber, WaitDoesNotHoldTheThreadAndMayBeShared) {
  run([] {
    Process process({.argv = {"sleep", "0.05"}});
    int ticks = 0, ended = 0;
    Group waiting;
    for (int i = 0; i < 3; ++i) {
      waiting.spawn("waits", [&] {
        EXPECT_TRUE(process.wait().ok());
        ++ended;
      });
    }
    while (ended < 3) {
      sleep_for(1ms);
      ++ticks;
    }
    waiting.join();
    EXPECT_GT(ticks, 10);
  });
}

TEST_F(ProcessOnAFiber, GoesWithItsOwnerAlsoWhenThatIsCancelled) {
  run([] {
    pid_t pid = 0;
    Fiber fiber = spawn("owner", [&] {
      Process process({.argv = {"sleep", "1000"}});
      pid = process.pid();
      EXPECT_THROW(process.wait(), Cancelled);
      EXPECT_TRUE(exists(pid));
    });
    EXPECT_TRUE(eventually([&] { return pid != 0; }));
    fiber.cancel();
    fiber.join();
    EXPECT_FALSE(exists(pid));
  });
}

TEST_F(ProcessOnAFiber, PipesGoBothWays) {
  run([] {
    ProcessOptions options{.argv = {"cat"}};
    options.in = options.out = Stdio::pipe;
    Process process(options);
    boost::system::error_code ec;
    char text[16];
    for (int i = 0; i < 3; ++i) {
      process.in().write_some(boost::asio::buffer("hello", 5));
      EXPECT_EQ(process.out().read_some(boost::asio::buffer(text)), 5u);
      EXPECT_EQ(std::string(text, 5), "hello");
    }
    process.out().set_io_timeout(2ms);
    process.out().read_some(boost::asio::buffer(text), ec);
    EXPECT_EQ(ec, boost::asio::error::timed_out);
    process.out().set_io_timeout(0ms);
    process.in().read_some(boost::asio::buffer(text), ec);
    EXPECT_EQ(ec, boost::asio::error::bad_descriptor);
    process.in().shutdown_send();
    process.out().read_some(boost::asio::buffer(text), ec);
    EXPECT_EQ(ec, boost::asio::error::eof);
    EXPECT_TRUE(process.wait().ok());
    EXPECT_THROW(process.err(), std::logic_error);
  });
}

TEST_F(ProcessOnAFiber, ClosingAPipeEndsTheReadThatWaits) {
  run([] {
    ProcessOptions options{.argv = {"sleep", "1000"}};
    options.out = Stdio::pipe;
    Process process(options);
    Fiber reader = spawn("reads", [&] {
      char text[16];
      boost::system::error_code ec;
      process.out().read_some(boost::asio::buffer(text), ec);
      EXPECT_EQ(ec, boost::asio::error::operation_aborted);
    });
    yield();
    process.out().close();
    reader.join();
  });
}

TEST_F(ProcessOnAFiber, RunGivesBothOutputs) {
  run([] {
    const ProcessOutput output = run_process({"sh", "-c", "cat; echo problem >&2; exit 3"}, "some input");
    EXPECT_EQ(output.out, "some input");
    EXPECT_EQ(output.err, "problem\n");
    EXPECT_EQ(output.status.code, 3);
    EXPECT_EQ(run_process({"cat"}).out, "");
  });
}

TEST_F(ProcessOnAFiber, RunPassesMoreThanThePipesHoldBothWays) {
  run([] {
    std::string input;
    for (int i = 0; input.size() < 3'000'000; ++i) input += std::to_string(i) + '\n';
    const ProcessOutput output = run_process({"sh", "-c", "tee /dev/stderr"}, input);
    EXPECT_TRUE(output.status.ok());
    EXPECT_TRUE(output.out == input);
    EXPECT_TRUE(output.err == input);
    // Which does not read it.
    EXPECT_TRUE(run_process({"true"}, input).status.ok());
  });
}

TEST_F(ProcessOnAFiber, RunKillsWhatIsTooSlowOrWritesTooMuch) {
  run([] {
    {
      DeadlineScope scope(Clock::now() + 20ms);
      EXPECT_THROW(run_process({"sleep", "1000"}), DeadlineExceeded);
    }
    EXPECT_THROW(run_process({.argv = {"yes"}}, {}, 100'000), std::length_error);
    Fiber fiber = spawn("cancelled", [] { EXPECT_THROW(run_process({"sleep", "1000"}), Cancelled); });
    sleep_for(2ms);
    fiber.cancel();
    fiber.join();
  });
}

TEST_F(ProcessOnAFiber, OwnGroupDiesAsOne) {
  run([] {
    ProcessOptions options = shell("sleep 1000 & echo $!; wait");
    options.out = Stdio::pipe;
    options.own_group = true;
    char text[32];
    pid_t grandchild;
    {
      Process process(options);
      const std::size_t n = process.out().read_some(boost::asio::buffer(text));
      grandchild = std::stoi(std::string(text, n));
      EXPECT_TRUE(exists(grandchild));
    }
    // Whoever inherited it has to reap it.
    EXPECT_TRUE(eventually([&] {
      if (!exists(grandchild)) return true;
      const int fd = ::open(("/proc/" + std::to_string(grandchild) + "/stat").c_str(), O_RDONLY | O_CLOEXEC);
      if (fd < 0) return true;
      char stat[256];
      const ssize_t size = ::read(fd, stat, sizeof stat);
      ::close(fd);
      return size <= 0 || std::string(stat, static_cast<std::size_t>(size)).find(") Z ") != std::string::npos;
    }));
  });
}

TEST_F(ProcessOnAFiber, EnvironmentAndDirectory) {
  run([] {
    ProcessOptions options = shell("echo $WORD in $(pwd), ${HOME:-homeless}");
    EXPECT_NE(run_process(options).out.find("in /"), std::string::npos);
    options.environment = {{"WORD", "hi"}, {"PATH", "/usr/bin:/bin"}};
    options.directory = "/";
    EXPECT_EQ(run_process(options).out, "hi in /, homeless\n");
  });
}

TEST_F(ProcessOnAFiber, ChildHasOnlyItsStreamsAndCleanSignals) {
  run([] {
    int leaky[2];
    ASSERT_EQ(::pipe(leaky), 0);
    sigset_t set, old;
    ::sigfillset(&set);
    ::pthread_sigmask(SIG_BLOCK, &set, &old);
    const ProcessOutput output =
        run_process({"sh", "-c", "exec 2>&1; echo /proc/$$/fd/*; grep -E '^Sig(Blk|Ign)' /proc/self/status"});
    ::pthread_sigmask(SIG_SETMASK, &old, nullptr);
    EXPECT_NE(output.out.find("/fd/2"), std::string::npos) << output.out;
    for (int fd = 3; fd < 30; ++fd) {
      // A shell opens files of its own from 10 on.
      if (fd == 10) continue;
      EXPECT_EQ(output.out.find("/fd/" + std::to_string(fd) + " "), std::string::npos) << output.out;
    }
    EXPECT_NE(output.out.find("SigBlk:\t0000000000000000"), std::string::npos) << output.out;
    // SIGPIPE is 13.
    const auto ignored = output.out.find("SigIgn:\t");
    ASSERT_NE(ignored, std::string::npos);
    EXPECT_EQ(std::stoull(output.out.substr(ignored + 8, 16), nullptr, 16) & (1u << 12), 0u);
    ::close(leaky[0]);
    ::close(leaky[1]);
  });
}

TEST_F(ProcessOnAFiber, WorksWithoutStandardStreamsOfItsOwn) {
  run([] {
    // As in a daemon that has closed them: the pipes would get their numbers.
    const int saved = ::fcntl(0, F_DUPFD_CLOEXEC, 100);
    ::close(0);
    const ProcessOutput output = run_process({"sh", "-c", "cat; echo e >&2"}, "x");
    ::dup2(saved, 0);
    ::close(saved);
    EXPECT_EQ(output.out, "x");
    EXPECT_EQ(output.err, "e\n");
  });
}

TEST_F(ProcessOnAFiber, RefusesWhatCannotBe) {
  run([] {
    const auto error = [](const ProcessOptions& options) -> std::string {
      try {
        Process process(options);
        return "started";
      } catch (const std::invalid_argument& e) {
        return e.what();
      }
    };
    EXPECT_EQ(error({}).substr(0, 5), "argv:");
    EXPECT_EQ(error({.argv = {"true", std::string("a\0b", 3)}}).substr(0, 5), "argv:");
    EXPECT_EQ(error({.argv = {"true"}, .environment = {{{"A=B", "c"}}}}).substr(0, 12), "environment:");
    try {
      Process process({.argv = {"no-such-program"}});
      ADD_FAILURE();
    } catch (const std::system_error& e) {
      EXPECT_EQ(e.code().value(), ENOENT);
      EXPECT_NE(std::string(e.what()).find("no-such-program"), std::string::npos);
    }
    EXPECT_THROW(Process({.argv = {"true"}, .directory = "/no/such/directory"}), std::system_error);
  });
  EXPECT_THROW(Process({.argv = {"true"}}), std::logic_error);
}

TEST_F(ProcessOnAFiber, IsNotStartedWhereChildrenCannotBeWaitedFor) {
  run([] {
    ::signal(SIGCHLD, SIG_IGN);
    int error = 0;
    try {
      Process process({.argv = {"true"}});
    } catch (const std::system_error& e) {
      error = e.code().value();
    }
    ::signal(SIGCHLD, SIG_DFL);
    EXPECT_EQ(error, ECHILD);
  });
}

TEST_F(ProcessOnAFiber, SaysSoWhenSomebodyElseReapsIt) {
  run([] {
    Process process({.argv = {"true"}});
    // Without giving the runtime a turn.
    EXPECT_EQ(::waitpid(process.pid(), nullptr, 0), process.pid());
    try {
      process.wait();
      ADD_FAILURE();
    } catch (const std::system_error& e) {
      EXPECT_EQ(e.code().value(), ECHILD);
    }
  });
}

TEST(Processes, ManyFromManyThreads) {
  for (unsigned count : {1u, 4u}) {
    fiber::Threads threads(count);
    std::vector<std::function<void()>> joins;
    for (unsigned i = 0; i < 4 * count; ++i) {
      joins.push_back(threads.start(
          [i] {
            for (int n = 0; n < 5; ++n) {
              const std::string text = std::to_string(i) + "." + std::to_string(n);
              EXPECT_EQ(run_process({"echo", text}).out, text + "\n");
            }
          },
          i % count));
    }
    for (auto& join : joins) join();
  }
  EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1);
}

}  // namespace
}  // namespace penstock
