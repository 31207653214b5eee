#include "runtime/signals.h"

#include <spdlog/spdlog.h>
#include <string.h>
#include <sys/signalfd.h>

#include <cerrno>
#include <exception>
#include <stdexcept>
#include <string>
#include <system_error>

#include "penstock/error.h"
#include "runtime/net/pipe.h"
#include "runtime/telemetry/one_line.h"

namespace penstock {

void check_signals(const SignalFunctions& functions) {
  for (const auto& [number, fn] : functions) {
    const auto refuse = [number](const char* why) {
      throw std::invalid_argument("on_signal: " + std::to_string(number) + " " + why);
    };
    switch (number) {
      case SIGTERM:
      case SIGINT:
        refuse("stops the runtime");
        break;
      case SIGKILL:
      case SIGSTOP:
        refuse("cannot be blocked");
        break;
      case SIGSEGV:
      case SIGBUS:
      case SIGFPE:
      case SIGILL:
      case SIGTRAP:
      case SIGABRT:
      case SIGSYS:
        refuse("tells of a fault");
        break;
      case SIGPIPE:
        refuse("is ignored");
        break;
      default:
        sigset_t set;
        ::sigemptyset(&set);
        if (number <= 0 || ::sigaddset(&set, number) != 0) refuse("is no signal");
    }
    if (!fn) refuse("has no function");
  }
}

sigset_t stop_signals() {
  sigset_t set;
  ::sigemptyset(&set);
  ::sigaddset(&set, SIGTERM);
  ::sigaddset(&set, SIGINT);
  return set;
}

void add_signals(sigset_t& set, const SignalFunctions& functions) {
  for (const auto& entry : functions) ::sigaddset(&set, entry.first);
}

std::string signal_name(int number) {
  const char* name = ::sigabbrev_np(number);
  return name != nullptr ? std::string("SIG") + name : "signal " + std::to_string(number);
}

int open_signal(int number) {
  sigset_t set;
  ::sigemptyset(&set);
  ::sigaddset(&set, number);
  const int fd = ::signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
  if (fd < 0) throw std::system_error(errno, std::system_category(), "signalfd");
  return fd;
}

void serve_signal(int fd, int number, const std::function<void()>& fn) {
  net::Pipe signals(fd, net::Pipe::End::read);
  for (;;) {
    signalfd_siginfo info;
    signals.read_some(boost::asio::buffer(&info, sizeof info));
    try {
      fn();
    } catch (const Cancelled&) {
      throw;
    } catch (const std::exception& e) {
      spdlog::error("the function for {} failed: {}", signal_name(number), telemetry::OneLine{e.what()});
    }
  }
}

}  // namespace penstock
