#include "bench/clients/clients.h"

#include <netdb.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <map>
#include <stdexcept>

namespace bench {

std::unique_ptr<Client> make_client(const std::string& kind, const std::string& where) {
  static const std::map<std::string, std::unique_ptr<Client> (*)(const std::string&)> kKinds = {
      {"libcurl", make_curl},       {"libcurl-tls", make_curl_tls}, {"libpq", make_postgresql}, {"hiredis", make_redis},
      {"libmariadb", make_mariadb}, {"openssl", make_tls},          {"smtp", make_smtp}};
  const auto found = kKinds.find(kind);
  if (found == kKinds.end()) throw std::runtime_error("no client " + kind);
  return found->second(where);
}

Place to_place(const std::string& where) {
  const std::size_t colon = where.rfind(':');
  if (colon == where.npos) throw std::runtime_error(where + ": not host:port");
  return {where.substr(0, colon), where.substr(colon + 1)};
}

int connected_socket(const std::string& where) {
  const Place place = to_place(where);
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* results = nullptr;
  if (const int error = ::getaddrinfo(place.host.c_str(), place.port.c_str(), &hints, &results)) {
    throw std::runtime_error(::gai_strerror(error));
  }
  const int fd = ::socket(results->ai_family, results->ai_socktype, results->ai_protocol);
  const bool connected = fd >= 0 && ::connect(fd, results->ai_addr, results->ai_addrlen) == 0;
  const int error = errno;
  ::freeaddrinfo(results);
  if (connected) return fd;
  if (fd >= 0) ::close(fd);
  throw std::runtime_error(std::string("connect: ") + std::strerror(error));
}

double cpu_seconds() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
         static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

namespace {

// Of this program: rusage would count what its parent had before.
double most_mebibytes() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmHWM:")) return std::stod(line.substr(6)) / 1024;
  }
  return 0;
}

}  // namespace

void print(const Measured& measured) {
  std::printf("%.3f %.3f %.1f %d\n", measured.wall_s, measured.cpu_s, most_mebibytes(), measured.failed);
}

void allow_descriptors() {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace bench
