#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "penstock/http_message.h"

// The text of HTTP/1.1 requests that we send.
namespace penstock::http {

// How a body is sent.
struct SentBody {
  enum class Kind { none, sized, chunked } kind = Kind::none;
  std::uint64_t size = 0;
};

// What is sent ahead of a body. Views of the caller's; checked.
struct CallHead {
  std::string_view method;
  std::string_view authority;
  std::string_view target;
  const Headers* headers = nullptr;
  SentBody body;
  bool is_head = false;
  bool idempotent = false;
  bool forward_deadline = false;
};

// Without a place to go to. Throws std::invalid_argument for what would change the message around it.
CallHead make_call_head(std::string_view method, const Headers& headers, SentBody body);
void check_fields(const Headers& fields);

// Request line and header, with the trace of the calling fiber's request, and what is left of its deadline if asked
// for.
void append_call_head(std::string& out, const CallHead& head);
// "name: value" lines; those that frame a message are left out.
void append_fields(std::string& out, const Headers& fields);

}  // namespace penstock::http
