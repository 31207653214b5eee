#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "penstock/http.h"
#include "runtime/http/message_parser.h"
#include "runtime/http/request_head.h"

namespace penstock::http {

// Why a request is not served; the connection is of no further use.
struct Refusal {
  int status;
  std::string why;
};

// Beast's parser of one request. What it finds in the header goes to the thread's draft, of which head() makes what the
// request keeps: between the first put() of a header and head() the fiber must not wait.
class RequestParser final : public MessageParser<true> {
 public:
  // No body limit: zero.
  RequestParser(std::size_t max_header_bytes, std::uint64_t max_body_bytes);

  // Of a complete header.
  RequestHead head() const;
  // What Beast leaves open of a complete header; null: nothing is wrong with it.
  const char* check_framing(int& status) const;
  bool expects_continue() const noexcept { return expects_continue_; }
  int http_version() const noexcept { return version_; }

  // Bodies: pieces of the text are appended there, as long as it is set; else each put() leaves one in piece().
  void append_to(std::string* body) noexcept { body_ = body; }
  std::string_view piece() const noexcept { return piece_; }
  void forget_piece() noexcept { piece_ = {}; }
  const Headers& trailers() const noexcept { return trailers_; }

  // What an error of put() means to the client.
  Refusal refusal(const boost::system::error_code& ec) const;

 private:
  using field = boost::beast::http::field;
  using text = boost::beast::string_view;
  using error_code = boost::beast::error_code;

  void on_request_impl(boost::beast::http::verb, text method, text target, int version, error_code& ec) override;
  void on_response_impl(int, text, int, error_code&) override {}
  void on_field_impl(field id, text name, text value, error_code& ec) override;
  void on_header_impl(error_code&) override { header_done_ = true; }
  void on_body_init_impl(const boost::optional<std::uint64_t>&, error_code&) override {}
  std::size_t on_body_impl(text body, error_code&) override;
  void on_finish_impl(error_code&) override {}

  std::string* body_ = nullptr;
  std::string_view piece_;
  Headers trailers_;
  int version_ = 0;
  std::uint8_t hosts_ = 0;
  std::uint8_t encodings_ = 0;
  bool started_ = false;
  bool header_done_ = false;
  bool length_ = false;
  bool plainly_chunked_ = false;
  bool expects_ = false;
  bool expects_continue_ = false;
};

}  // namespace penstock::http
