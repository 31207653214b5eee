#include "runtime/http/call_head.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <stdexcept>

#include "penstock/fiber.h"
#include "runtime/fiber/fiber_state.h"
#include "runtime/http/message.h"

namespace penstock::http {
namespace {

// Milliseconds, in the eight digits that receivers take.
constexpr std::int64_t kMaxTimeout = 99'999'999;

bool is_idempotent(std::string_view method) {
  static constexpr std::array<std::string_view, 6> kMethods = {"GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"};
  return std::find(kMethods.begin(), kMethods.end(), method) != kMethods.end();
}

void append_number(std::string& out, std::uint64_t value) {
  std::array<char, 24> digits;
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr;
  out.append(digits.data(), end);
}

}  // namespace

CallHead make_call_head(std::string_view method, const Headers& headers, SentBody body) {
  if (!is_token(method)) throw std::invalid_argument("malformed method");
  check_fields(headers);
  CallHead head;
  head.method = method;
  head.headers = &headers;
  head.body = body;
  head.is_head = method == "HEAD";
  head.idempotent = is_idempotent(method);
  return head;
}

void check_fields(const Headers& fields) {
  for (const auto& [name, value] : fields) {
    if (!is_token(name) || !is_field_value(value)) throw std::invalid_argument("malformed header " + name);
  }
}

void append_fields(std::string& out, const Headers& fields) {
  for (const auto& [name, value] : fields) {
    if (is_framing_header(name)) continue;
    append_field(out, name, value);
  }
}

void append_call_head(std::string& out, const CallHead& head) {
  out.append(head.method).append(head.target.starts_with('/') ? " " : " /").append(head.target);
  out += " HTTP/1.1\r\n";
  const auto given = [&](std::string_view name) {
    return std::any_of(head.headers->begin(), head.headers->end(),
                       [&](const auto& header) { return same_token(header.first, name); });
  };
  if (!given("Host")) append_field(out, "Host", head.authority);
  append_fields(out, *head.headers);
  const auto& account = fiber::current().account;
  if (account && account->trace.valid() && !given("traceparent")) {
    append_field(out, "traceparent", account->trace.header(new_span_id()));
  }
  const Instant deadline = current_deadline();
  if (head.forward_deadline && deadline != Instant::max() && !given("X-Request-Timeout")) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - fiber::cached_now()).count();
    out += "X-Request-Timeout: ";
    append_number(out, static_cast<std::uint64_t>(std::clamp<std::int64_t>(left, 1, kMaxTimeout)));
    out += "ms\r\n";
  }
  switch (head.body.kind) {
    case SentBody::Kind::sized:
      out += "Content-Length: ";
      append_number(out, head.body.size);
      out += "\r\n";
      break;
    case SentBody::Kind::chunked:
      out += "Transfer-Encoding: chunked\r\n";
      break;
    case SentBody::Kind::none:
      break;
  }
  out += "\r\n";
}

}  // namespace penstock::http
