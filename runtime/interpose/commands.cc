#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <map>
#include <mutex>
#include <new>

#include "penstock/spin_lock.h"
#include "runtime/interpose/guard.h"
#include "runtime/interpose/interposed.h"
#include "runtime/interpose/real.h"
#include "runtime/interpose/streams.h"

// popen and pclose.

PENSTOCK_REAL(popen)
PENSTOCK_REAL(pclose)

namespace penstock::interpose {
namespace {

struct Command {
  pid_t pid;
  int fd;
};

struct Commands {
  SpinLock lock;
  std::map<FILE*, Command> running;
};

Commands& commands() {
  static auto* const made = new Commands;
  return *made;
}

// What the child does first: its end of the pipe becomes its stream, and the ends of other commands are closed.
class Actions {
 public:
  Actions() noexcept { ::posix_spawn_file_actions_init(&actions_); }
  ~Actions() { ::posix_spawn_file_actions_destroy(&actions_); }
  Actions(const Actions&) = delete;
  Actions& operator=(const Actions&) = delete;

  int spawn(pid_t& pid, const char* command, int theirs, int stream) noexcept {
    {
      Commands& all = commands();
      std::lock_guard guard(all.lock);
      for (const auto& [other, running] : all.running) {
        if (running.fd != stream) ::posix_spawn_file_actions_addclose(&actions_, running.fd);
      }
    }
    ::posix_spawn_file_actions_adddup2(&actions_, theirs, stream);
    const char* arguments[] = {"sh", "-c", command, nullptr};
    return ::posix_spawn(&pid, "/bin/sh", &actions_, nullptr, const_cast<char* const*>(arguments), environ);
  }

 private:
  posix_spawn_file_actions_t actions_;
};

FILE* start(const char* command, bool reads, bool close_on_exec) noexcept {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return nullptr;
  const int ours = ends[reads ? 0 : 1];
  int theirs = ends[reads ? 1 : 0];
  const int stream = reads ? STDOUT_FILENO : STDIN_FILENO;
  pid_t pid = -1;
  int failed = 0;
  if (theirs == stream) {
    // dup2() of a number to itself would leave it closed by the exec.
    const int moved = ::fcntl(theirs, F_DUPFD_CLOEXEC, 3);
    if (moved < 0) {
      failed = errno;
    } else {
      ::close(theirs);
      theirs = moved;
    }
  }
  if (failed == 0) failed = Actions().spawn(pid, command, theirs, stream);
  ::close(theirs);
  FILE* file = failed == 0 ? open_stream(ours, reads ? "r" : "w") : nullptr;
  if (file == nullptr) {
    if (failed == 0) failed = errno;
    ::close(ours);
    if (pid > 0) ::waitpid(pid, nullptr, 0);
    errno = failed;
    return nullptr;
  }
  if (!close_on_exec) ::fcntl(ours, F_SETFD, 0);
  try {
    Commands& all = commands();
    std::lock_guard guard(all.lock);
    all.running[file] = {pid, ours};
    return file;
  } catch (const std::bad_alloc&) {
    ::fclose(file);
    ::waitpid(pid, nullptr, 0);
    errno = ENOMEM;
    return nullptr;
  }
}

}  // namespace
}  // namespace penstock::interpose

using namespace penstock;
using namespace penstock::interpose;

PENSTOCK_INTERPOSED FILE* popen(const char* command, const char* mode) {
  if (cooperative() == nullptr) return real::popen(command, mode);
  const bool reads = ::strchr(mode, 'r') != nullptr;
  const bool writes = ::strchr(mode, 'w') != nullptr;
  if (reads == writes || ::strspn(mode, "rwe") != ::strlen(mode)) {
    errno = EINVAL;
    return nullptr;
  }
  return start(command, reads, ::strchr(mode, 'e') != nullptr);
}

PENSTOCK_INTERPOSED int pclose(FILE* stream) {
  Command command{-1, -1};
  {
    Commands& all = commands();
    std::lock_guard guard(all.lock);
    const auto found = all.running.find(stream);
    if (found != all.running.end()) {
      command = found->second;
      all.running.erase(found);
    }
  }
  if (command.pid < 0) return real::pclose(stream);
  ::fclose(stream);
  int status = -1;
  pid_t reaped;
  do {
    reaped = ::waitpid(command.pid, &status, 0);
  } while (reaped < 0 && errno == EINTR);
  return reaped < 0 ? -1 : status;
}
