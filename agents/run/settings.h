#pragma once

#include <optional>
#include <string>
#include <vector>

namespace penstock::run {

inline constexpr unsigned kMostThreads = 256;

// What penstock-run tells the program that it starts, by way of the environment, and its children with it.
struct Settings {
  std::string service;
  // Where /metrics and /debug/fibers are served.
  std::string address = "127.0.0.1";
  unsigned short port = 0;
  // Of the kernel, that run those of the program as fibers.
  unsigned threads = 1;
  std::string policy_file;
  std::string controller;
  std::string node;
  bool stats = false;
  // Parts of the file names of libraries whose own threads stay the kernel's.
  std::vector<std::string> plain_threads;

  // Into the environment.
  void publish() const;
  // Empty: this process was not started by penstock-run.
  static std::optional<Settings> received();
};

}  // namespace penstock::run
