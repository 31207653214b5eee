#pragma once

#include <stdexcept>
#include <string>

namespace penstock::cli {

// Exit codes, the same for every command.
inline constexpr int kOk = 0;
// Also: differs.
inline constexpr int kFailed = 1;
inline constexpr int kUsage = 2;
inline constexpr int kInvalidPolicy = 3;
// Unreachable, or timed out.
inline constexpr int kUnreachable = 4;
inline constexpr int kConflict = 5;

// Ends the command. Every line of the message is shown as an error of its own.
class Failure : public std::runtime_error {
 public:
  Failure(int exit_code, const std::string& message) : std::runtime_error(message), exit_code_(exit_code) {}
  int exit_code() const { return exit_code_; }

 private:
  int exit_code_;
};

}  // namespace penstock::cli
