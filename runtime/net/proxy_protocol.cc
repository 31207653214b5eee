#include "runtime/net/proxy_protocol.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/un.h>

#include <algorithm>
#include <charconv>
#include <cstring>

namespace penstock::net {
namespace {

using Result = ProxyHeader::Result;

constexpr std::string_view kSignature2("\r\n\r\n\0\r\nQUIT\n", 12);
constexpr std::string_view kSignature1 = "PROXY ";
// Its end included.
constexpr std::size_t kMostLine = 107;
constexpr std::size_t kFixed = 16;
constexpr std::size_t kUnixPath = 108;

ProxyHeader refuse(const char* why) { return {Result::refused, 0, {}, why}; }

unsigned byte_at(std::string_view bytes, std::size_t i) { return static_cast<unsigned char>(bytes[i]); }
unsigned number_at(std::string_view bytes, std::size_t i) { return byte_at(bytes, i) << 8 | byte_at(bytes, i + 1); }

// The text up to the next space, which it takes as well; the rest if there is none.
std::string_view take_word(std::string_view& line) {
  const std::size_t end = line.find(' ');
  const std::string_view word = line.substr(0, end);
  line = end == line.npos ? std::string_view() : line.substr(end + 1);
  return word;
}

bool read_port(std::string_view text, std::uint16_t& port) {
  if (text.empty() || (text.size() > 1 && text.front() == '0')) return false;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  return error == std::errc() && end == text.data() + text.size();
}

std::string read_address(int family, const void* bytes) {
  char text[INET6_ADDRSTRLEN] = "";
  ::inet_ntop(family, bytes, text, sizeof text);
  return text;
}

ProxyHeader parse_line(std::string_view bytes) {
  const std::size_t end = bytes.find('\n');
  if (end == bytes.npos) return bytes.size() < kMostLine ? ProxyHeader{} : refuse("the line is too long");
  if (end >= kMostLine) return refuse("the line is too long");
  if (bytes[end - 1] != '\r') return refuse("the line does not end in CR LF");
  ProxyHeader header{Result::complete, end + 1, {}, ""};
  std::string_view line = bytes.substr(kSignature1.size(), end - 1 - kSignature1.size());
  if (std::any_of(line.begin(), line.end(), [](unsigned char c) { return c < ' ' || c > '~'; })) {
    return refuse("the line holds control characters");
  }
  const std::string_view protocol = take_word(line);
  // Whatever follows is to be ignored.
  if (protocol == "UNKNOWN") return header;
  if (protocol != "TCP4" && protocol != "TCP6") return refuse("an unknown protocol");
  const int family = protocol == "TCP4" ? AF_INET : AF_INET6;
  std::string text[2];
  in6_addr addresses[2];
  for (int i = 0; i < 2; ++i) {
    text[i] = take_word(line);
    if (::inet_pton(family, text[i].c_str(), &addresses[i]) != 1) return refuse("a malformed address");
  }
  std::uint16_t ports[2];
  const std::string_view from = take_word(line), to = line;
  if (!read_port(from, ports[0]) || !read_port(to, ports[1])) return refuse("a malformed port");
  header.source = Endpoint{read_address(family, &addresses[0]), ports[0]};
  return header;
}

// Of the rest behind the addresses: type, length and value, one after another.
bool well_formed_extras(std::string_view extras) {
  while (!extras.empty()) {
    if (extras.size() < 3) return false;
    const std::size_t size = 3 + number_at(extras, 1);
    if (size > extras.size()) return false;
    extras.remove_prefix(size);
  }
  return true;
}

ProxyHeader parse_binary(std::string_view bytes) {
  // What is wrong is said as soon as it is seen: a client that speaks something else may wait for an answer.
  if (bytes.size() > 12 && byte_at(bytes, 12) >> 4 != 2) return refuse("an unknown version");
  if (bytes.size() > 12 && (byte_at(bytes, 12) & 0xf) > 1) return refuse("an unknown command");
  if (bytes.size() < kFixed) return {};
  const std::size_t length = number_at(bytes, 14);
  if (kFixed + length > kMostProxyHeader) return refuse("the header is too long");
  if (bytes.size() < kFixed + length) return {};
  ProxyHeader header{Result::complete, kFixed + length, {}, ""};
  // The proxy's own connection: no more than the length counts.
  if ((byte_at(bytes, 12) & 0xf) == 0) return header;

  const std::string_view body = bytes.substr(kFixed, length);
  std::size_t addresses = 0;
  switch (byte_at(bytes, 13)) {
    case 0x00:  // not said
      break;
    case 0x11: {  // TCP over IPv4
      addresses = 12;
      if (length >= addresses) {
        header.source = Endpoint{read_address(AF_INET, body.data()), static_cast<std::uint16_t>(number_at(body, 8))};
      }
      break;
    }
    case 0x21: {  // TCP over IPv6
      addresses = 36;
      if (length >= addresses) {
        header.source = Endpoint{read_address(AF_INET6, body.data()), static_cast<std::uint16_t>(number_at(body, 32))};
      }
      break;
    }
    case 0x31: {  // a Unix stream
      addresses = 2 * kUnixPath;
      if (length >= addresses) {
        const std::string_view path = body.substr(0, kUnixPath);
        const std::string name(path.substr(0, path.find('\0')));
        // Unnamed, or abstract.
        header.source = Endpoint{name.starts_with('/') ? name : "/", 0};
      }
      break;
    }
    default:
      return refuse("an address family or protocol that is no stream");
  }
  if (length < addresses) return refuse("too short for its addresses");
  // A proxy that says nothing of addresses may leave anything in their place.
  if (addresses != 0 && !well_formed_extras(body.substr(addresses))) return refuse("malformed extras");
  return header;
}

}  // namespace

ProxyHeader parse_proxy_header(std::string_view bytes) {
  if (bytes.empty()) return {};
  for (const std::string_view signature : {kSignature2, kSignature1}) {
    const std::size_t common = std::min(bytes.size(), signature.size());
    if (bytes.substr(0, common) != signature.substr(0, common)) continue;
    if (common < signature.size()) return {};
    return signature == kSignature2 ? parse_binary(bytes) : parse_line(bytes);
  }
  return refuse("no PROXY header");
}

}  // namespace penstock::net
