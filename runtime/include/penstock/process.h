#pragma once

#include <sys/types.h>

#include <cstddef>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "penstock/error.h"
#include "penstock/stream.h"

// Other programs, started and waited for by fibers. Never through a shell, unless the shell is the program.
namespace penstock {

// How a process ended.
struct ExitStatus {
  // Of a process that ended by itself.
  int code = 0;
  // What ended it; 0: it ended by itself.
  int signal = 0;

  bool ok() const noexcept { return code == 0 && signal == 0; }
  // "exit code 1", "signal 9 (Killed)".
  std::string to_string() const;
};

// What a standard stream of the process is: ours, /dev/null, or a pipe to us.
enum class Stdio { inherit, null, pipe };

struct ProcessOptions {
  // The program, looked up in PATH unless it has a slash, and its arguments.
  std::vector<std::string> argv;
  // All of its environment; none: ours.
  std::optional<std::map<std::string, std::string>> environment;
  // Its working directory; empty: ours.
  std::string directory;
  Stdio in = Stdio::null;
  Stdio out = Stdio::inherit;
  Stdio err = Stdio::inherit;
  // It leads a process group of its own, and signals go to all of the group: for programs that start others, such as
  // shells.
  bool own_group = false;
};

// A child process. It gets no descriptor but its standard streams, no signal mask, and SIGPIPE as by default; it is
// reaped when it ends, whether or not anybody waits for it.
//
// Belongs to the thread of the fiber that made it; several fibers may wait for it. Starting blocks the thread for as
// long as the kernel needs to load the program.
class Process {
 public:
  // Throws std::invalid_argument naming the option, std::system_error when the program cannot be started or SIGCHLD is
  // ignored, and std::logic_error outside a fiber.
  explicit Process(const ProcessOptions& options);
  // Kills it with SIGKILL if it has not ended, and waits for its end, whatever the caller's deadline and even if it is
  // cancelled: afterwards it is gone.
  ~Process();
  Process(Process&&) noexcept;
  Process& operator=(Process&&) = delete;

  pid_t pid() const noexcept;

  // Of those that were asked to be pipes; std::logic_error otherwise. Closing in() is the end of the process's input.
  net::Stream& in();
  net::Stream& out();
  net::Stream& err();

  // Waits for its end; again and again if wanted. Cancelled or past the deadline it throws, and the process goes on.
  // Throws std::system_error (ECHILD) when somebody else has reaped it.
  ExitStatus wait();
  // Empty: it runs at that time.
  std::optional<ExitStatus> wait_until(Instant until);

  // False: it has ended. Throws std::system_error when the signal could not be sent.
  bool kill(int signal);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

struct ProcessOutput {
  ExitStatus status;
  std::string out;
  std::string err;
};

// Runs a program to its end: writes `input` to it and reads its output and its errors meanwhile. options.out and .err
// count as pipes, options.in as one if there is input. Ends when the process and all that hold its pipes have. Throws
// what Process throws; std::length_error when either output is longer than `most_output` bytes; Cancelled and
// DeadlineExceeded. In all of these cases the process has been killed.
ProcessOutput run_process(ProcessOptions options, std::string_view input = {},
                          std::size_t most_output = std::size_t{64} << 20);
ProcessOutput run_process(std::vector<std::string> argv, std::string_view input = {});

}  // namespace penstock
