#include "examples/users/crowd.h"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstring>
#include <optional>
#include <queue>
#include <stdexcept>
#include <string_view>
#include <system_error>

namespace users {
namespace {

// A user who has come and is not done yet.
struct Visitor {
  std::size_t index = 0;
  int fd = -1;
  std::string request;
  std::size_t sent = 0;
  std::string received;
  std::vector<int> codes;
  int tries = 0;
  int errors = 0;
  bool done = false;
  // Number of the try that a pending retry would start; a refresh outdates it.
  int next_try = 0;
};

enum class Alarm { refresh, retry, patience };

struct Timer {
  double at;
  Alarm alarm;
  Visitor* visitor;
  int next_try;
  bool operator>(const Timer& other) const { return at > other.at; }
};

// The answer in `received` if it is complete; `closed`: nothing more will come.
std::optional<int> parse_answer(std::string_view received, bool closed) {
  const std::size_t header_end = received.find("\r\n\r\n");
  if (header_end == received.npos || !received.starts_with("HTTP/1.") || received.size() < 12) {
    return closed ? std::optional(kNoAnswer) : std::nullopt;
  }
  int status = kNoAnswer;
  std::from_chars(received.data() + 9, received.data() + 12, status);
  constexpr std::string_view kLength = "\r\ncontent-length: ";
  const auto length_at =
      std::search(received.begin(), received.begin() + static_cast<std::ptrdiff_t>(header_end), kLength.begin(),
                  kLength.end(), [](unsigned char a, unsigned char b) { return std::tolower(a) == b; });
  if (length_at == received.begin() + static_cast<std::ptrdiff_t>(header_end)) {
    return closed ? std::optional(status) : std::nullopt;
  }
  std::size_t length = 0;
  std::from_chars(&*length_at + kLength.size(), received.data() + header_end, length);
  if (received.size() >= header_end + 4 + length) return status;
  return closed ? std::optional(kNoAnswer) : std::nullopt;
}

}  // namespace

struct Crowd::State {
  CrowdOptions options;
  std::vector<Phase> phases;
  std::vector<User> plan;
  int epoll = -1;
  std::chrono::steady_clock::time_point start;
  std::priority_queue<Timer, std::vector<Timer>, std::greater<>> timers;
  std::size_t arrived = 0;
  std::size_t present = 0;
  double now = 0;

  // Of the second that is running.
  struct {
    int arrived = 0, answered = 0, errors = 0, left = 0;
  } counts;

  void read_clock() { now = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(); }

  void begin_try(Visitor& visitor) {
    ++visitor.tries;
    ++visitor.next_try;
    visitor.sent = 0;
    visitor.received.clear();
    visitor.request = "GET ";
    visitor.request.append(plan[visitor.index].path).append(" HTTP/1.1\r\nHost: shop\r\nConnection: close\r\nX-Try: ");
    visitor.request.append(std::to_string(visitor.index)).append(".").append(std::to_string(visitor.tries));
    visitor.request.append("\r\n\r\n");
    visitor.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (visitor.fd < 0) throw std::system_error(errno, std::generic_category(), "socket");
    if (connect(visitor.fd, reinterpret_cast<const sockaddr*>(&options.shop), sizeof options.shop) != 0 &&
        errno != EINPROGRESS) {
      end_try(visitor, kNoAnswer);
      return;
    }
    epoll_event event{.events = EPOLLOUT, .data = {.ptr = &visitor}};
    epoll_ctl(epoll, EPOLL_CTL_ADD, visitor.fd, &event);
  }

  void close_try(Visitor& visitor, int code) {
    close(visitor.fd);
    visitor.fd = -1;
    visitor.codes.push_back(code);
  }

  void end_try(Visitor& visitor, int code) {
    close_try(visitor, code);
    if (code == 200) {
      ++counts.answered;
      finish(visitor, true);
      return;
    }
    ++counts.errors;
    const std::size_t error = static_cast<std::size_t>(visitor.errors++);
    const User& user = plan[visitor.index];
    if (visitor.tries >= kMaxTries || error >= user.retry_after.size() || user.retry_after[error] == 0) {
      finish(visitor, false);
      return;
    }
    timers.push({now + user.retry_after[error], Alarm::retry, &visitor, visitor.next_try});
  }

  void finish(Visitor& visitor, bool good) {
    visitor.done = true;
    --present;
    if (!good) ++counts.left;
    const User& user = plan[visitor.index];
    std::string codes;
    for (const int code : visitor.codes) codes += (codes.empty() ? "" : ",") + std::to_string(code);
    std::fprintf(options.records,
                 "{\"user\":%zu,\"phase\":\"%s\",\"path\":\"%.*s\",\"at\":%.4f,\"good\":%s,\"seconds\":%.4f,"
                 "\"tries\":%d,\"codes\":[%s]}\n",
                 visitor.index, phases[static_cast<std::size_t>(user.phase)].name.c_str(),
                 static_cast<int>(user.path.size()), user.path.data(), user.arrival, good ? "true" : "false",
                 now - user.arrival, visitor.tries, codes.c_str());
    visitor.request = {};
    visitor.received = {};
  }

  void on_socket(Visitor& visitor, std::uint32_t events) {
    if (visitor.fd < 0) return;
    if (visitor.sent < visitor.request.size()) {
      const ssize_t n =
          send(visitor.fd, visitor.request.data() + visitor.sent, visitor.request.size() - visitor.sent, MSG_NOSIGNAL);
      if (n < 0) {
        if (errno != EAGAIN) end_try(visitor, kNoAnswer);
        return;
      }
      visitor.sent += static_cast<std::size_t>(n);
      if (visitor.sent < visitor.request.size()) return;
      epoll_event event{.events = EPOLLIN, .data = {.ptr = &visitor}};
      epoll_ctl(epoll, EPOLL_CTL_MOD, visitor.fd, &event);
      return;
    }
    if (!(events & (EPOLLIN | EPOLLHUP | EPOLLERR))) return;
    char chunk[4096];
    const ssize_t n = recv(visitor.fd, chunk, sizeof chunk, 0);
    if (n < 0 && errno == EAGAIN) return;
    if (n > 0) visitor.received.append(chunk, static_cast<std::size_t>(n));
    if (const std::optional<int> answer = parse_answer(visitor.received, n <= 0)) end_try(visitor, *answer);
  }

  void on_timer(const Timer& timer) {
    Visitor& visitor = *timer.visitor;
    if (visitor.done) return;
    switch (timer.alarm) {
      case Alarm::patience:
        if (visitor.fd >= 0) close_try(visitor, kLeft);
        finish(visitor, false);
        break;
      case Alarm::refresh:
        if (visitor.tries >= kMaxTries) break;
        if (visitor.fd >= 0) close_try(visitor, kLeft);
        begin_try(visitor);
        break;
      case Alarm::retry:
        if (timer.next_try == visitor.next_try) begin_try(visitor);
        break;
    }
  }

  void report_phase(int phase) const {
    std::fprintf(options.progress, "{\"phase\":\"%s\",\"at\":%.3f}\n",
                 phases[static_cast<std::size_t>(phase)].name.c_str(), now);
    std::fflush(options.progress);
  }

  void report_second() {
    std::fprintf(options.progress,
                 "{\"second\":%d,\"arrived\":%d,\"answered\":%d,\"errors\":%d,\"left\":%d,\"present\":%zu}\n",
                 static_cast<int>(now), counts.arrived, counts.answered, counts.errors, counts.left, present);
    std::fflush(options.progress);
    counts = {};
  }
};

Crowd::Crowd(CrowdOptions options, std::vector<Phase> phases, std::vector<User> plan)
    : state_(new State{.options = options, .phases = std::move(phases), .plan = std::move(plan)}) {
  state_->epoll = epoll_create1(EPOLL_CLOEXEC);
}

Crowd::~Crowd() { close(state_->epoll); }

void Crowd::run() {
  State& s = *state_;
  // A visitor lives to the end of the run: a timer may name one who is long done.
  std::vector<std::unique_ptr<Visitor>> visitors(s.plan.size());
  s.start = std::chrono::steady_clock::now();
  std::size_t next_phase = 0;
  double phase_begin = 0;
  double next_second = 1;
  epoll_event events[256];
  while (s.arrived < s.plan.size() || s.present > 0) {
    s.read_clock();
    while (next_phase < s.phases.size() && phase_begin <= s.now) {
      s.report_phase(static_cast<int>(next_phase));
      phase_begin += s.phases[next_phase++].duration;
    }
    if (s.now >= next_second) {
      s.report_second();
      next_second += 1;
    }
    for (; s.arrived < s.plan.size() && s.plan[s.arrived].arrival <= s.now; ++s.arrived) {
      const User& user = s.plan[s.arrived];
      std::unique_ptr<Visitor>& visitor = visitors[s.arrived];
      visitor = std::make_unique<Visitor>(Visitor{.index = s.arrived});
      ++s.present;
      ++s.counts.arrived;
      s.timers.push({user.arrival + kPatience, Alarm::patience, visitor.get(), 0});
      if (user.refresh_after > 0) s.timers.push({user.arrival + user.refresh_after, Alarm::refresh, visitor.get(), 0});
      s.begin_try(*visitor);
    }
    while (!s.timers.empty() && s.timers.top().at <= s.now) {
      const Timer timer = s.timers.top();
      s.timers.pop();
      s.on_timer(timer);
    }

    double wake = next_second;
    if (s.arrived < s.plan.size()) wake = std::min(wake, s.plan[s.arrived].arrival);
    if (!s.timers.empty()) wake = std::min(wake, s.timers.top().at);
    if (next_phase < s.phases.size()) wake = std::min(wake, phase_begin);
    s.read_clock();
    const double wait = std::max(0.0, wake - s.now);
    const timespec timeout{.tv_sec = static_cast<time_t>(wait),
                           .tv_nsec = static_cast<long>((wait - std::floor(wait)) * 1e9)};
    const int n = epoll_pwait2(s.epoll, events, std::size(events), &timeout, nullptr);
    s.read_clock();
    for (int i = 0; i < n; ++i) s.on_socket(*static_cast<Visitor*>(events[i].data.ptr), events[i].events);
  }
}

}  // namespace users
