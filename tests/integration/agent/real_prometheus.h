#pragma once

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdint>
#include <fstream>
#include <string>
#include <vector>

extern char** environ;

namespace penstock {

inline std::uint16_t free_port() {
  const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  ::bind(fd, reinterpret_cast<sockaddr*>(&address), size);
  ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
  ::close(fd);
  return ntohs(address.sin_port);
}

// A real Prometheus that scrapes every 250 ms what the controller's /sd lists.
class Prometheus {
 public:
  Prometheus(const std::string& directory, std::uint16_t port, const std::string& controller) {
    std::ofstream(directory + "/prometheus.yml") << "global: {scrape_interval: 250ms}\n"
                                                    "scrape_configs:\n"
                                                    "  - job_name: penstock\n"
                                                    "    http_sd_configs:\n"
                                                    "      - {url: \"http://"
                                                 << controller << "/sd\", refresh_interval: 1s}\n";
    std::vector<std::string> arguments{PROMETHEUS, "--config.file=" + directory + "/prometheus.yml",
                                       "--storage.tsdb.path=" + directory + "/tsdb",
                                       "--web.listen-address=127.0.0.1:" + std::to_string(port)};
    std::vector<char*> argv;
    for (auto& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    const std::string log = directory + "/prometheus.log";
    posix_spawn_file_actions_addopen(&actions, 2, log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
    posix_spawn_file_actions_adddup2(&actions, 2, 1);
    if (posix_spawn(&pid_, PROMETHEUS, &actions, nullptr, argv.data(), environ) != 0) pid_ = -1;
    posix_spawn_file_actions_destroy(&actions);
  }
  ~Prometheus() { end(); }
  void end() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }

 private:
  pid_t pid_ = -1;
};

}  // namespace penstock
