#include "cli/prometheus.h"

#include <netdb.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>

#include "cli/failure.h"

namespace penstock::cli {
namespace {

constexpr std::size_t kMostBytes = std::size_t{1} << 30;

struct Url {
  std::string host;
  std::string port = "80";
  std::string prefix;
};

Url parse_url(const std::string& text) {
  constexpr std::string_view kScheme = "http://";
  if (!text.starts_with(kScheme)) throw Failure(kUsage, "--prometheus: must begin with http://");
  Url url;
  const std::size_t slash = text.find('/', kScheme.size());
  std::string authority = text.substr(kScheme.size(), slash == std::string::npos ? slash : slash - kScheme.size());
  if (slash != std::string::npos) url.prefix = text.substr(slash);
  while (!url.prefix.empty() && url.prefix.back() == '/') url.prefix.pop_back();
  const std::size_t bracket = authority.find(']');
  const std::size_t colon = authority.find(':', bracket == std::string::npos ? 0 : bracket);
  url.host = authority.substr(0, colon);
  if (colon != std::string::npos) url.port = authority.substr(colon + 1);
  if (url.host.size() > 2 && url.host.front() == '[') url.host = url.host.substr(1, url.host.size() - 2);
  if (url.host.empty() || url.port.empty())
    throw Failure(kUsage, "--prometheus: \"" + text + "\" has no host and port");
  return url;
}

std::string encode(const std::string& text) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (std::isalnum(byte) || c == '-' || c == '_' || c == '.') {
      out += c;
    } else {
      out += {'%', kHex[byte >> 4], kHex[byte & 15]};
    }
  }
  return out;
}

// Of an answer, on one line.
std::string excerpt(std::string text) {
  constexpr std::size_t kMost = 200;
  if (text.size() > kMost) text = text.substr(0, kMost) + "...";
  for (char& c : text)
    if (static_cast<unsigned char>(c) < ' ' || static_cast<unsigned char>(c) > '~') c = ' ';
  return text;
}

class Connection {
 public:
  Connection(const Url& url, const std::string& shown, std::chrono::seconds timeout)
      : shown_(shown), deadline_(std::chrono::steady_clock::now() + timeout) {
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* found = nullptr;
    if (const int failed = ::getaddrinfo(url.host.c_str(), url.port.c_str(), &hints, &found); failed != 0)
      throw Failure(kUnreachable, shown_ + ": " + ::gai_strerror(failed));
    const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> addresses(found, &::freeaddrinfo);
    for (const addrinfo* at = found; at != nullptr; at = at->ai_next) {
      socket_ = ::socket(at->ai_family, at->ai_socktype | SOCK_CLOEXEC, at->ai_protocol);
      if (socket_ < 0) continue;
      const timeval limit{.tv_sec = timeout.count(), .tv_usec = 0};
      ::setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
      ::setsockopt(socket_, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
      if (::connect(socket_, at->ai_addr, at->ai_addrlen) == 0) return;
      close();
    }
    fail();
  }
  ~Connection() { close(); }
  Connection(const Connection&) = delete;

  void send(std::string_view text) {
    while (!text.empty()) {
      const ssize_t sent = ::send(socket_, text.data(), text.size(), MSG_NOSIGNAL);
      if (sent <= 0) fail();
      text.remove_prefix(static_cast<std::size_t>(sent));
    }
  }
  std::string receive_all() {
    std::string all;
    char part[16 * 1024];
    while (true) {
      const ssize_t received = ::recv(socket_, part, sizeof part, 0);
      if (received < 0) fail();
      if (received == 0) return all;
      if (std::chrono::steady_clock::now() >= deadline_) throw Failure(kUnreachable, shown_ + kLate);
      all.append(part, static_cast<std::size_t>(received));
      if (all.size() > kMostBytes) throw Failure(kFailed, shown_ + " answers more than 1 GiB: ask for less time");
    }
  }

 private:
  static constexpr const char* kLate = " does not answer in time";
  [[noreturn]] void fail() {
    const int error = errno;
    close();
    throw Failure(kUnreachable, shown_ + (error == EAGAIN ? kLate : std::string(": ") + std::strerror(error)));
  }
  void close() {
    if (socket_ >= 0) ::close(socket_);
    socket_ = -1;
  }

  const std::string& shown_;
  const std::chrono::steady_clock::time_point deadline_;
  int socket_ = -1;
};

}  // namespace

std::string ask_prometheus(const std::string& url, const std::string& endpoint,
                           const std::map<std::string, std::string>& parameters, std::chrono::seconds timeout) {
  const Url parsed = parse_url(url);
  std::string form;
  for (const auto& [name, value] : parameters) form += (form.empty() ? "" : "&") + name + "=" + encode(value);
  Connection connection(parsed, url, timeout);
  // HTTP/1.0: the answer comes in one piece and ends with the connection.
  connection.send("POST " + parsed.prefix + endpoint + " HTTP/1.0\r\nHost: " + parsed.host +
                  "\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: " +
                  std::to_string(form.size()) + "\r\n\r\n" + form);
  std::string answer = connection.receive_all();
  const std::size_t body = answer.find("\r\n\r\n");
  if (!answer.starts_with("HTTP/1.") || body == std::string::npos) throw Failure(kFailed, url + " answers no HTTP");
  const std::string status = answer.substr(answer.find(' ') + 1, 3);
  answer.erase(0, body + 4);
  if (!status.starts_with('2') && !answer.starts_with('{'))
    throw Failure(kFailed, url + " answers HTTP " + status + ": " + excerpt(answer));
  return answer;
}

}  // namespace penstock::cli
