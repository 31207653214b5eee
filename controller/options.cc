#include "controller/options.h"

#include <arpa/inet.h>
#include <unistd.h>

#include <charconv>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "policy/http_url.h"

namespace penstock::controller {
namespace {

absl::Status wrong(const std::string& flag, const std::string& message) {
  return absl::InvalidArgumentError(absl::StrCat(flag, ": ", message));
}

absl::StatusOr<absl::Duration> duration(const std::string& flag, const std::string& text, absl::Duration least,
                                        absl::Duration most) {
  absl::Duration value;
  if (!absl::ParseDuration(text, &value)) return wrong(flag, absl::StrCat("\"", text, "\" is no duration such as 5s"));
  if (value < least || value > most)
    return wrong(flag,
                 absl::StrCat("must be between ", absl::FormatDuration(least), " and ", absl::FormatDuration(most)));
  return value;
}

}  // namespace

absl::StatusOr<HostPort> HostPort::parse(const std::string& flag, const std::string& text) {
  const std::size_t colon = text.rfind(':');
  HostPort result;
  const char* end = text.data() + text.size();
  if (colon == std::string::npos ||
      std::from_chars(text.data() + colon + 1, end, result.port) != std::from_chars_result{end, std::errc{}} ||
      result.port < 0 || result.port > 65535)
    return wrong(flag, absl::StrCat("\"", text, "\" is not HOST:PORT"));
  result.host = text.substr(0, colon);
  if (result.host.size() > 2 && result.host.front() == '[' && result.host.back() == ']')
    result.host = result.host.substr(1, result.host.size() - 2);
  if (result.host.empty()) return wrong(flag, "the host is missing; 0.0.0.0 listens on every address");
  return result;
}

bool HostPort::loopback() const {
  if (host == "localhost") return true;
  in_addr four{};
  if (inet_pton(AF_INET, host.c_str(), &four) == 1) return (ntohl(four.s_addr) >> 24) == 127;
  in6_addr six{};
  return inet_pton(AF_INET6, host.c_str(), &six) == 1 && IN6_IS_ADDR_LOOPBACK(&six);
}

std::string HostPort::text() const {
  return host.find(':') == std::string::npos ? absl::StrCat(host, ":", port) : absl::StrCat("[", host, "]:", port);
}

absl::StatusOr<Settings> understand(const Options& options) {
  Settings settings;
  auto grpc = HostPort::parse("--grpc", options.grpc);
  if (!grpc.ok()) return grpc.status();
  settings.grpc = *grpc;
  auto http = HostPort::parse("--http", options.http);
  if (!http.ok()) return http.status();
  settings.http = *http;
  if (settings.http.host == "localhost") settings.http.host = "127.0.0.1";

  const int given = !options.tls_cert.empty() + !options.tls_key.empty() + !options.tls_ca.empty();
  if (given != 0 && given != 3) return wrong("--tls-cert, --tls-key, --tls-ca", "all three or none");
  for (const auto& [flag, file] : {std::pair<const char*, const std::string&>{"--tls-cert", options.tls_cert},
                                   {"--tls-key", options.tls_key},
                                   {"--tls-ca", options.tls_ca},
                                   {"--roles", options.roles_file},
                                   {"--prometheus-ca", options.prometheus_ca}})
    if (!file.empty() && access(file.c_str(), R_OK) != 0) return wrong(flag, absl::StrCat(file, " cannot be read"));
  settings.tls_cert = options.tls_cert;
  settings.tls_key = options.tls_key;
  settings.tls_ca = options.tls_ca;
  settings.prometheus_ca = options.prometheus_ca;
  if (!settings.grpc.loopback() && !settings.tls())
    return wrong("--grpc", absl::StrCat(settings.grpc.text(),
                                        " can be reached from elsewhere: give --tls-cert, --tls-key and --tls-ca, or "
                                        "listen on loopback"));
  if (!settings.http.loopback())
    return wrong("--http", absl::StrCat(settings.http.text(),
                                        " can be reached from elsewhere, and HTTP here has no TLS: listen on loopback "
                                        "and put a proxy with TLS before it"));

  for (const auto& entry : options.roles)
    if (auto status = settings.roles.add(entry); !status.ok()) return wrong("--role", std::string(status.message()));
  if (!options.roles_file.empty())
    if (auto status = settings.roles.load(options.roles_file); !status.ok())
      return wrong("--roles", std::string(status.message()));
  if (!settings.roles.empty() && !settings.tls())
    return wrong("--role", "roles are given to certificates: give --tls-cert, --tls-key and --tls-ca as well");
  if (settings.roles.empty() && settings.tls())
    return wrong("--role", "with TLS at least one role is needed, or nobody may do anything");

  if (!options.prometheus.empty()) {
    const auto url = policy::parse_http_url(options.prometheus);
    if (!url)
      return wrong("--prometheus",
                   absl::StrCat("\"", options.prometheus, "\" is not as in http[s]://HOST[:PORT][/PREFIX]"));
    settings.prometheus = url->text();
    if (!url->tls && !options.prometheus_ca.empty())
      return wrong("--prometheus-ca", absl::StrCat("proves who answers at https://, not at ", settings.prometheus));
  }
  if (options.data.empty()) return wrong("--data", "is required");
  settings.data = options.data;
  settings.addresses = options.addresses;

  auto scrape = duration("--scrape-interval", options.scrape_interval, absl::Milliseconds(100), absl::Minutes(5));
  if (!scrape.ok()) return scrape.status();
  settings.scrape_interval = absl::ToChronoMilliseconds(*scrape);
  auto period = duration("--period", options.period, absl::Milliseconds(50), absl::Minutes(1));
  if (!period.ok()) return period.status();
  settings.period = absl::ToChronoMilliseconds(*period);
  if (options.history != "0") {
    auto history = duration("--history", options.history, absl::Hours(24), absl::Hours(24 * 28));
    if (!history.ok()) return history.status();
    settings.history = absl::ToChronoHours(*history);
  }
  auto ttl = duration("--lease-ttl", options.lease_ttl, absl::Seconds(1), absl::Minutes(10));
  if (!ttl.ok()) return ttl.status();
  settings.lease_ttl = absl::ToChronoMilliseconds(*ttl);
  auto retention = duration("--decision-retention", options.decision_retention, absl::Hours(1), absl::Hours(24 * 3660));
  if (!retention.ok()) return retention.status();
  settings.decision_retention = absl::ToChronoSeconds(*retention);
  return settings;
}

}  // namespace penstock::controller
