#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>

#include <cstdio>

#include "tests/unit/runtime/interpose/fixture.h"

namespace penstock::interpose {
namespace {

pid_t run(const char* command) {
  const char* arguments[] = {"sh", "-c", command, nullptr};
  pid_t pid = -1;
  EXPECT_EQ(::posix_spawn(&pid, "/bin/sh", nullptr, nullptr, const_cast<char* const*>(arguments), environ), 0);
  return pid;
}

TEST(Processes, AreWaitedForSideBySide) {
  const Duration took = time_of([] {
    on_fibers(10, [](int i) {
      const pid_t pid = run(("sleep 0.3; exit " + std::to_string(i)).c_str());
      int status = -1;
      EXPECT_EQ(::waitpid(pid, &status, 0), pid);
      EXPECT_TRUE(WIFEXITED(status));
      EXPECT_EQ(WEXITSTATUS(status), i);
    });
  });
  EXPECT_LT(took, milliseconds(2'500));
}

TEST(Processes, AnyChildIsWaitedFor) {
  on_fiber([] {
    const pid_t pid = run("exit 3");
    int status = -1;
    EXPECT_EQ(::wait(&status), pid);
    EXPECT_EQ(WEXITSTATUS(status), 3);
    EXPECT_EQ(::wait(&status), -1);
    EXPECT_EQ(errno, ECHILD);
    const pid_t other = run("kill -9 $$");
    siginfo_t info{};
    EXPECT_EQ(::waitid(P_PID, static_cast<id_t>(other), &info, WEXITED), 0);
    EXPECT_EQ(info.si_pid, other);
    EXPECT_EQ(info.si_code, CLD_KILLED);
    EXPECT_EQ(info.si_status, SIGKILL);
  });
}

TEST(Processes, CommandsRunSideBySide) {
  const Duration took = time_of([] {
    on_fibers(10, [](int i) { EXPECT_EQ(WEXITSTATUS(::system(("sleep 0.3; exit " + std::to_string(i)).c_str())), i); });
  });
  EXPECT_LT(took, milliseconds(2'500));
}

TEST(Processes, TheRequestsDeadlineEndsACommand) {
  on_fiber([] {
    const DeadlineScope scope(std::chrono::steady_clock::now() + milliseconds(30));
    const Duration took = time_of([] {
      EXPECT_EQ(::system("exec sleep 20"), -1);
      EXPECT_EQ(errno, ETIMEDOUT);
    });
    EXPECT_LT(took, seconds(5));
  });
}

TEST(Processes, ACommandsOutputIsReadAsItComes) {
  const Duration took = time_of([] {
    on_fibers(10, [](int i) {
      FILE* file = ::popen(("echo one; sleep 0.3; echo two; exit " + std::to_string(i)).c_str(), "r");
      ASSERT_NE(file, nullptr);
      EXPECT_GE(::fileno(file), 0);
      char line[20];
      EXPECT_STREQ(::fgets(line, sizeof line, file), "one\n");
      EXPECT_STREQ(::fgets(line, sizeof line, file), "two\n");
      EXPECT_EQ(::fgets(line, sizeof line, file), nullptr);
      EXPECT_TRUE(::feof(file));
      EXPECT_EQ(WEXITSTATUS(::pclose(file)), i);
    });
  });
  EXPECT_LT(took, milliseconds(2'500));
}

TEST(Processes, ACommandIsWrittenTo) {
  on_fiber([] {
    FILE* file = ::popen("read line; test \"$line\" = question && exit 7", "we");
    ASSERT_NE(file, nullptr);
    EXPECT_GT(::fprintf(file, "%s\n", "question"), 0);
    EXPECT_EQ(WEXITSTATUS(::pclose(file)), 7);
    EXPECT_EQ(::popen("true", "rw"), nullptr);
    EXPECT_EQ(errno, EINVAL);
  });
}

TEST(Streams, OverSocketsWait) {
  on_fiber([] {
    Ends pair = socket_pair();
    Fiber peer = spawn("peer", [fd = pair.other.release()] {
      FILE* file = ::fdopen(fd, "r+");
      char line[100];
      while (::fgets(line, sizeof line, file) != nullptr) {
        sleep_for(milliseconds(1));
        ::fprintf(file, "got %s", line);
        ::fflush(file);
      }
      ::fclose(file);
    });
    FILE* file = ::fdopen(pair.one.release(), "r+");
    ASSERT_NE(file, nullptr);
    for (int i = 0; i < 3; ++i) {
      ::fprintf(file, "line %d\n", i);
      ::fflush(file);
      char line[100];
      ASSERT_NE(::fgets(line, sizeof line, file), nullptr);
      EXPECT_EQ(line, "got line " + std::to_string(i) + "\n");
    }
    ::shutdown(::fileno(file), SHUT_WR);
    EXPECT_EQ(::fgetc(file), EOF);
    EXPECT_EQ(::fclose(file), 0);
    peer.join();
  });
}

}  // namespace
}  // namespace penstock::interpose
