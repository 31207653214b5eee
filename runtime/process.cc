#include "penstock/process.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/asio/error.hpp>
#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <system_error>
#include <utility>

#include "penstock/group.h"
#include "penstock/sync.h"
#include "runtime/fiber/scheduler.h"
#include "runtime/fiber/uninterrupted.h"
#include "runtime/net/pipe.h"

namespace penstock {
namespace {

constexpr int kStreams = 3;

[[noreturn]] void fail(int error, const std::string& what) {
  throw std::system_error(error, std::system_category(), what);
}

bool has_nul(const std::string& text) { return text.find('\0') != std::string::npos; }

void check(const ProcessOptions& options) {
  if (options.argv.empty() || options.argv[0].empty()) throw std::invalid_argument("argv: names no program");
  for (const std::string& argument : options.argv) {
    if (has_nul(argument)) throw std::invalid_argument("argv: contains a NUL");
  }
  if (has_nul(options.directory)) throw std::invalid_argument("directory: contains a NUL");
  if (!options.environment) return;
  for (const auto& [name, value] : *options.environment) {
    if (name.empty() || name.find('=') != std::string::npos || has_nul(name) || has_nul(value)) {
      throw std::invalid_argument("environment: unusable variable '" + name + "'");
    }
  }
}

// Otherwise a child's number may be another process's before anybody knows that it has ended.
void check_children_stay() {
  struct sigaction action {};
  ::sigaction(SIGCHLD, nullptr, &action);
  if (action.sa_handler == SIG_IGN || (action.sa_flags & SA_NOCLDWAIT) != 0) {
    fail(ECHILD, "SIGCHLD is ignored: no child can be waited for");
  }
}

// A descriptor that is closed unless released.
class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(other.release()) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const noexcept { return fd_; }
  int release() noexcept { return std::exchange(fd_, -1); }

 private:
  int fd_ = -1;
};

// Not one of the numbers that the child's streams get, even if this process has closed its own.
Descriptor above_streams(int fd) {
  Descriptor given(fd);
  if (fd >= kStreams) return given;
  Descriptor moved(::fcntl(fd, F_DUPFD_CLOEXEC, kStreams));
  if (moved.get() < 0) fail(errno, "fcntl");
  return moved;
}

struct PipeEnds {
  Descriptor ours, theirs;
};

PipeEnds make_pipe(bool we_write) {
  int fds[2];
  if (::pipe2(fds, O_CLOEXEC) != 0) fail(errno, "pipe2");
  PipeEnds ends;
  Descriptor other(fds[1]);
  Descriptor reading = above_streams(fds[0]);
  Descriptor writing = above_streams(other.release());
  ends.ours = std::move(we_write ? writing : reading);
  ends.theirs = std::move(we_write ? reading : writing);
  if (::fcntl(ends.ours.get(), F_SETFL, O_NONBLOCK) != 0) fail(errno, "fcntl");
  return ends;
}

// What posix_spawn does in the child before the program; nothing of this process runs there.
class Actions {
 public:
  Actions() {
    expect(::posix_spawn_file_actions_init(&actions_));
    if (const int error = ::posix_spawnattr_init(&attributes_)) {
      ::posix_spawn_file_actions_destroy(&actions_);
      expect(error);
    }
  }
  ~Actions() {
    ::posix_spawn_file_actions_destroy(&actions_);
    ::posix_spawnattr_destroy(&attributes_);
  }
  Actions(const Actions&) = delete;
  Actions& operator=(const Actions&) = delete;

  void streams(const ProcessOptions& options, const PipeEnds (&pipes)[kStreams]) {
    const Stdio kinds[kStreams] = {options.in, options.out, options.err};
    for (int fd = 0; fd < kStreams; ++fd) {
      if (kinds[fd] == Stdio::pipe) {
        expect(::posix_spawn_file_actions_adddup2(&actions_, pipes[fd].theirs.get(), fd));
      } else if (kinds[fd] == Stdio::null) {
        expect(::posix_spawn_file_actions_addopen(&actions_, fd, "/dev/null", fd == 0 ? O_RDONLY : O_WRONLY, 0));
      }
    }
    expect(::posix_spawn_file_actions_addclosefrom_np(&actions_, kStreams));
    if (!options.directory.empty()) {
      expect(::posix_spawn_file_actions_addchdir_np(&actions_, options.directory.c_str()));
    }
  }
  void signals(bool own_group) {
    sigset_t none, defaults;
    ::sigemptyset(&none);
    ::sigemptyset(&defaults);
    ::sigaddset(&defaults, SIGPIPE);
    expect(::posix_spawnattr_setsigmask(&attributes_, &none));
    expect(::posix_spawnattr_setsigdefault(&attributes_, &defaults));
    expect(::posix_spawnattr_setpgroup(&attributes_, 0));
    const int flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | (own_group ? POSIX_SPAWN_SETPGROUP : 0);
    expect(::posix_spawnattr_setflags(&attributes_, static_cast<short>(flags)));
  }

  pid_t spawn(const ProcessOptions& options) const {
    std::vector<char*> argv, environment;
    for (const std::string& argument : options.argv) argv.push_back(const_cast<char*>(argument.c_str()));
    argv.push_back(nullptr);
    std::vector<std::string> variables;
    if (options.environment) {
      for (const auto& [name, value] : *options.environment) variables.push_back(name + '=' + value);
      for (std::string& variable : variables) environment.push_back(variable.data());
      environment.push_back(nullptr);
    }
    pid_t pid;
    const int error = ::posix_spawnp(&pid, argv[0], &actions_, &attributes_, argv.data(),
                                     options.environment ? environment.data() : environ);
    if (error != 0) fail(error, "cannot start " + options.argv[0]);
    return pid;
  }

 private:
  static void expect(int error) {
    if (error != 0) fail(error, "posix_spawn");
  }

  posix_spawn_file_actions_t actions_;
  posix_spawnattr_t attributes_;
};

// Reaps the process when it has ended.
class ExitWatch final : public fiber::Watch {
 public:
  using Watch::Watch;

  ExitStatus status;
  // Of the wait for it.
  int error = 0;
  Event ended;

 private:
  void on_events(std::uint32_t) noexcept override {
    // Linux tells of the reaping, too.
    if (ended.is_set()) return;
    siginfo_t info{};
    if (::waitid(P_PIDFD, static_cast<id_t>(fd()), &info, WEXITED | WNOHANG) != 0) {
      error = errno;
    } else if (info.si_pid == 0) {
      return;
    } else if (info.si_code == CLD_EXITED) {
      status.code = info.si_status;
    } else {
      status.signal = info.si_status;
    }
    ended.set();
  }
};

}  // namespace

struct Process::State {
  explicit State(const ProcessOptions& options);
  ~State();
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  net::Stream& stream(int fd) {
    if (streams[fd] == nullptr) throw std::logic_error("not a pipe of the process");
    return *streams[fd];
  }
  bool kill(int signal);

  pid_t pid = 0;
  bool own_group;
  Descriptor pidfd;
  ExitWatch* watch = nullptr;
  std::unique_ptr<net::Pipe> streams[kStreams];
};

Process::State::State(const ProcessOptions& options) : own_group(options.own_group) {
  check(options);
  if (!fiber::on_fiber()) throw std::logic_error("a process is started by a fiber");
  check_children_stay();
  const Stdio kinds[kStreams] = {options.in, options.out, options.err};
  PipeEnds pipes[kStreams];
  for (int fd = 0; fd < kStreams; ++fd) {
    if (kinds[fd] != Stdio::pipe) continue;
    pipes[fd] = make_pipe(fd == 0);
    streams[fd] =
        std::make_unique<net::Pipe>(pipes[fd].ours.release(), fd == 0 ? net::Pipe::End::write : net::Pipe::End::read);
  }
  Actions actions;
  actions.streams(options, pipes);
  actions.signals(own_group);
  pid = actions.spawn(options);
  try {
    pidfd = Descriptor(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
    if (pidfd.get() < 0) fail(errno, "pidfd_open");
    auto exit_watch = std::make_unique<ExitWatch>(pidfd.get());
    fiber::Scheduler::current()->reactor().add(*exit_watch, EPOLLIN | EPOLLET);
    watch = exit_watch.release();
  } catch (...) {
    ::kill(pid, SIGKILL);
    ::waitpid(pid, nullptr, 0);
    throw;
  }
}

Process::State::~State() {
  if (watch == nullptr) return;
  try {
    kill(SIGKILL);
  } catch (const std::system_error&) {
    // It has become another user's: its end is waited for nevertheless.
  }
  const fiber::Uninterrupted always;
  watch->ended.wait();
  fiber::Scheduler::current()->reactor().retire(watch);
}

bool Process::State::kill(int signal) {
  // Until it is reaped, which happens on this thread, its number is no other process's.
  if (watch->ended.is_set()) return false;
  const long result =
      own_group ? ::kill(-pid, signal) : ::syscall(SYS_pidfd_send_signal, pidfd.get(), signal, nullptr, 0);
  if (result == 0) return true;
  if (errno == ESRCH) return false;
  fail(errno, "kill");
}

Process::Process(const ProcessOptions& options) : state_(std::make_unique<State>(options)) {}
Process::Process(Process&&) noexcept = default;
Process::~Process() = default;

pid_t Process::pid() const noexcept { return state_->pid; }
net::Stream& Process::in() { return state_->stream(0); }
net::Stream& Process::out() { return state_->stream(1); }
net::Stream& Process::err() { return state_->stream(2); }
bool Process::kill(int signal) { return state_->kill(signal); }
ExitStatus Process::wait() { return *wait_until(Instant::max()); }

std::optional<ExitStatus> Process::wait_until(Instant until) {
  ExitWatch& watch = *state_->watch;
  if (!watch.ended.wait_until(until)) return std::nullopt;
  if (watch.error != 0) fail(watch.error, "waitid");
  return watch.status;
}

std::string ExitStatus::to_string() const {
  if (signal == 0) return "exit code " + std::to_string(code);
  const char* name = ::sigdescr_np(signal);
  return "signal " + std::to_string(signal) + (name != nullptr ? " (" + std::string(name) + ")" : "");
}

namespace {

void read_all(net::Stream& stream, std::size_t most, std::string& text) {
  char part[16 * 1024];
  boost::system::error_code ec;
  for (;;) {
    const std::size_t n = stream.read_some(boost::asio::buffer(part), ec);
    if (ec == boost::asio::error::eof) return;
    if (ec) throw boost::system::system_error(ec, "read");
    if (n > most - text.size()) throw std::length_error("a process wrote more than " + std::to_string(most) + " bytes");
    text.append(part, n);
  }
}

void write_all(net::Stream& stream, std::string_view text) {
  boost::system::error_code ec;
  while (!text.empty()) {
    text.remove_prefix(stream.write_some(boost::asio::buffer(text.data(), text.size()), ec));
    // It need not read all of its input.
    if (ec == boost::asio::error::broken_pipe) break;
    if (ec) throw boost::system::system_error(ec, "write");
  }
  stream.close();
}

}  // namespace

ProcessOutput run_process(ProcessOptions options, std::string_view input, std::size_t most_output) {
  options.out = options.err = Stdio::pipe;
  if (!input.empty()) options.in = Stdio::pipe;
  ProcessOutput output;
  Process process(options);
  Group group;
  group.spawn("standard output", [&] { read_all(process.out(), most_output, output.out); });
  group.spawn("standard error", [&] { read_all(process.err(), most_output, output.err); });
  if (options.in == Stdio::pipe) group.spawn("standard input", [&] { write_all(process.in(), input); });
  group.join();
  output.status = process.wait();
  return output;
}

ProcessOutput run_process(std::vector<std::string> argv, std::string_view input) {
  ProcessOptions options;
  options.argv = std::move(argv);
  return run_process(std::move(options), input);
}

}  // namespace penstock
