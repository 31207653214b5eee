#pragma once

#include <spdlog/fmt/fmt.h>

#include <string_view>

namespace penstock::telemetry {

// For the log: a text that may hold what a client or a third party sent, such as an exception's. Its control characters
// are shown as "\x0a", so that nobody writes lines of his own into the log.
struct OneLine {
  std::string_view text;
};

}  // namespace penstock::telemetry

template <>
struct fmt::formatter<penstock::telemetry::OneLine> {
  constexpr auto parse(format_parse_context& context) { return context.begin(); }
  template <class Context>
  auto format(const penstock::telemetry::OneLine& line, Context& context) const {
    auto out = context.out();
    for (const char c : line.text) {
      const auto byte = static_cast<unsigned char>(c);
      if (byte >= 0x20 && byte != 0x7f) {
        *out++ = c;
      } else {
        out = fmt::format_to(out, "\\x{:02x}", byte);
      }
    }
    return out;
  }
};
