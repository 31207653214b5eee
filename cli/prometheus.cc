#include "cli/prometheus.h"

#include <cctype>

#include "cli/failure.h"
#include "cli/http_connection.h"
#include "policy/http_url.h"
#include "policy/text.h"

namespace penstock::cli {
namespace {

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

// Of a redirection; empty: it names none.
std::string location(const std::string& head) {
  constexpr std::string_view kName = "\r\nlocation:";
  const std::size_t at = policy::lower_case(head).find(kName);
  if (at == std::string::npos) return "";
  const std::size_t begin = head.find_first_not_of(' ', at + kName.size());
  return excerpt(head.substr(begin, head.find("\r\n", begin) - begin));
}

}  // namespace

std::string ask_prometheus(const Prometheus& prometheus, const std::string& endpoint,
                           const std::map<std::string, std::string>& parameters, std::chrono::seconds timeout) {
  const auto url = policy::parse_http_url(prometheus.url);
  if (!url)
    throw Failure(kUsage, "--prometheus: \"" + prometheus.url + "\" is not as in http[s]://HOST[:PORT][/PREFIX]");
  const std::string shown = url->text();
  std::string form;
  for (const auto& [name, value] : parameters) form += (form.empty() ? "" : "&") + name + "=" + encode(value);
  HttpConnection connection(*url, prometheus.ca_file, timeout);
  // HTTP/1.0: the answer comes in one piece and ends with the connection.
  connection.send("POST " + url->prefix + endpoint + " HTTP/1.0\r\nHost: " + url->authority +
                  "\r\nConnection: close\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: " +
                  std::to_string(form.size()) + "\r\n\r\n" + form);
  std::string answer = connection.receive_all();
  const std::size_t body = answer.find("\r\n\r\n");
  if (!answer.starts_with("HTTP/1.") || body == std::string::npos) throw Failure(kFailed, shown + " answers no HTTP");
  const std::string status = answer.substr(answer.find(' ') + 1, 3);
  if (status.starts_with('3'))
    throw Failure(kFailed, shown + " answers HTTP " + status + ": Prometheus is elsewhere: " +
                               location(answer.substr(0, body + 2)) + "; --prometheus must name it");
  answer.erase(0, body + 4);
  if (!answer.starts_with('{')) throw Failure(kFailed, shown + " answers HTTP " + status + ": " + excerpt(answer));
  return answer;
}

}  // namespace penstock::cli
