#pragma once

#include <boost/asio/buffer.hpp>
#include <boost/beast/http/basic_parser.hpp>
#include <boost/beast/http/error.hpp>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace penstock::http {

// Beast's parser of one message, which may be given its chunks in pieces of any size.
template <bool is_request>
class MessageParser : public boost::beast::http::basic_parser<is_request> {
  using Base = boost::beast::http::basic_parser<is_request>;

 public:
  // As Beast's, which takes it for granted that a chunk's header is not looked at before five bytes are there.
  std::size_t put(boost::asio::const_buffer buffer, boost::system::error_code& ec) {
    // The shortest of what ends a body.
    constexpr std::size_t kLastChunk = std::string_view("0\r\n\r\n").size();
    if (this->is_header_done() && !in_chunk_ && this->chunked() && buffer.size() < kLastChunk) {
      ec = boost::beast::http::error::need_more;
      return 0;
    }
    return Base::put(buffer, ec);
  }

 private:
  using text = boost::beast::string_view;

  void on_chunk_header_impl(std::uint64_t size, text, boost::beast::error_code&) final { in_chunk_ = size != 0; }
  std::size_t on_chunk_body_impl(std::uint64_t left, text body, boost::beast::error_code& ec) final {
    const std::size_t taken = this->on_body_impl(body, ec);
    in_chunk_ = taken != left;
    return taken;
  }
  // Bodies of both kinds.
  std::size_t on_body_impl(text body, boost::beast::error_code& ec) override = 0;

  bool in_chunk_ = false;
};

}  // namespace penstock::http
