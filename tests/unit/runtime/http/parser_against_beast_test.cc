#include <gtest/gtest.h>

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <cctype>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/http/message.h"
#include "tests/unit/runtime/http/parsed.h"

namespace penstock::http {
namespace {

namespace beast = boost::beast::http;

template <bool is_request>
Message parse_by_beast(std::string_view text) {
  Message message;
  beast::parser<is_request, beast::string_body> parser;
  parser.eager(true);
  parser.header_limit(1 << 20);
  parser.body_limit(boost::none);
  boost::system::error_code ec;
  while (!parser.is_done() && message.used < text.size()) {
    const std::string_view rest = text.substr(message.used);
    // It takes for granted that the end of the last chunk has come as a whole.
    if (parser.is_header_done() && parser.chunked() && rest.size() < 5) break;
    const std::size_t used = parser.put(boost::asio::const_buffer(rest.data(), rest.size()), ec);
    message.used += used;
    if (ec || used == 0) break;
  }
  if (ec && ec != beast::error::need_more) {
    message.error = ParseError::cut_off;
    return message;
  }
  if (!is_request && !parser.is_done() && parser.got_some()) {
    ec = {};
    parser.put_eof(ec);
  }
  message.complete = parser.is_done();
  if (!message.complete) return message;
  message.keep_alive = parser.keep_alive();
  const auto& parsed = parser.get();
  if constexpr (is_request) {
    message.method = parsed.method_string();
    message.target = parsed.target();
  } else {
    message.status = parsed.result_int();
  }
  message.body = parsed.body();
  for (const auto& field : parsed) message.headers.emplace_back(field.name_string(), field.value());
  return message;
}

struct Sample {
  std::string name, text;
};

std::vector<Sample> corpus(const char* folder) {
  std::vector<Sample> samples;
  for (const auto& file : std::filesystem::directory_iterator(std::string(PENSTOCK_CORPUS) + "/" + folder)) {
    std::ifstream in(file.path(), std::ios::binary);
    samples.push_back({file.path().filename(), std::string(std::istreambuf_iterator<char>(in), {})});
  }
  std::sort(samples.begin(), samples.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  return samples;
}

// A few bytes changed, left out, doubled, or taken from another sample.
std::string mutate(std::string text, const std::vector<Sample>& samples, std::mt19937& random) {
  constexpr std::string_view kBytes = "\r\n\t :;,=\"\\0123aAfF-/%\x7f\x01\xe4";
  const auto below = [&](std::size_t n) {
    return n == 0 ? 0 : std::uniform_int_distribution<std::size_t>(0, n - 1)(random);
  };
  for (std::size_t times = 1 + below(3); times > 0; --times) {
    const std::size_t at = below(text.size());
    const std::size_t n = std::min(text.size() - at, 1 + below(6));
    switch (below(5)) {
      case 0:
        text.insert(at, 1, kBytes[below(kBytes.size())]);
        break;
      case 1:
        text.erase(at, n);
        break;
      case 2:
        if (at < text.size()) text[at] = kBytes[below(kBytes.size())];
        break;
      case 3:
        text.insert(at, text.substr(at, n));
        break;
      default:
        const std::string& other = samples[below(samples.size())].text;
        const std::size_t from = other.find("\r\n", below(other.size()));
        const std::size_t to = text.find("\r\n", at);
        if (from == other.npos || to == text.npos) break;
        text.insert(to, other.substr(from, other.find("\r\n", from + 2) - from));
    }
  }
  return text;
}

std::string shown(const Message& m) {
  std::string text = (m.complete                    ? "complete"
                      : m.error != ParseError::none ? std::string(to_string(m.error))
                                                    : "incomplete") +
                     " used=" + std::to_string(m.used) + " keep=" + std::to_string(m.keep_alive) + " " + m.method +
                     " " + m.target + std::to_string(m.status);
  for (const auto& [name, value] : m.headers) text += "\n  " + name + "=" + value;
  return text + "\n  body=" + m.body;
}

// For Beast, trailers are fields like others, and those of one name stand together.
void sort_fields(Message& message) {
  message.headers.insert(message.headers.end(), message.trailers.begin(), message.trailers.end());
  message.trailers.clear();
  const auto lower = [](std::string name) {
    for (char& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    return name;
  };
  std::stable_sort(message.headers.begin(), message.headers.end(),
                   [&](const auto& a, const auto& b) { return lower(a.first) < lower(b.first); });
}

// Where we are to differ.
bool differs(std::string_view text, const Message& ours) {
  // A reason may be left out with the space before it.
  if (ours.status != 0 && text.find("\r\n") == std::string_view("HTTP/1.1 200").size()) return true;
  return ours.error == ParseError::encoding || ours.error == ParseError::length_and_encoding ||
         ours.error == ParseError::chunk_extension || ours.error == ParseError::status;
}

template <class Parse, class ByBeast>
void compare(const char* folder, Parse&& parse, ByBeast&& by_beast) {
  const std::vector<Sample> samples = corpus(folder);
  ASSERT_GE(samples.size(), 5u);
  std::mt19937 random(20260101);
  std::size_t complete = 0;
  for (std::size_t round = 0; round < 40'000; ++round) {
    const Sample& sample = samples[round % samples.size()];
    const std::string text = round < samples.size() ? sample.text : mutate(sample.text, samples, random);
    Message ours = parse(text);
    Message theirs = by_beast(text);
    if (ours.complete) ++complete;
    if (differs(text, ours)) continue;
    const auto has = [](const Headers& fields, std::string_view name) {
      return std::any_of(fields.begin(), fields.end(),
                         [&](const auto& field) { return same_token(field.first, name); });
    };
    // RFC 9112, 6.1: it is not to be trusted.
    const std::string_view line = std::string_view(text).substr(0, text.find("\r\n"));
    if (has(ours.headers, "Transfer-Encoding") && (line.starts_with("HTTP/1.0") || line.ends_with("HTTP/1.0"))) {
      theirs.keep_alive = false;
    }
    // A trailer says nothing about the connection.
    if (has(ours.trailers, "Connection")) continue;
    // It knows no parameters of codings.
    if (std::any_of(ours.headers.begin(), ours.headers.end(), [](const auto& field) {
          return same_token(field.first, "Transfer-Encoding") && field.second.find(';') != std::string::npos;
        })) {
      continue;
    }
    sort_fields(ours);
    sort_fields(theirs);
    ASSERT_TRUE(ours.complete == theirs.complete && (!ours.complete || ours == theirs))
        << sample.name << ": " << ::testing::PrintToString(text) << "\nours " << shown(ours) << "\nBeast's "
        << shown(theirs);
  }
  EXPECT_GT(complete, 5'000u);
}

TEST(ParserAgainstBeast, Requests) {
  compare(
      "request_parser", [](std::string_view text) { return parse_request(text, text.size()); }, parse_by_beast<true>);
}

TEST(ParserAgainstBeast, Answers) {
  compare(
      "response_parser",
      [](std::string_view text) { return parse_answer(text, std::max<std::size_t>(1, text.size())); },
      parse_by_beast<false>);
}

}  // namespace
}  // namespace penstock::http
