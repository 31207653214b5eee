#pragma once

#include <memory>
#include <string>
#include <vector>

#include "cli/client.h"
#include "cli/console.h"
#include "cli/failure.h"

namespace penstock::cli {

// One run of the program: what its commands share.
class Session {
 public:
  explicit Session(Console console) : console(console) {}

  Console console;
  // Filled in by the options.
  Connection connection;
  // Of a command that ends well but does not answer 0.
  int exit_code = kOk;

  // Connects at the first use.
  Client& client() {
    if (!client_) {
      client_ = std::make_unique<Client>(connection);
      client_->on_slow([this] { console.note("waiting for controller " + connection.controller + " ..."); });
    }
    return *client_;
  }

 private:
  std::unique_ptr<Client> client_;
};

// Reads the arguments (without the program's name), runs the command and returns the exit code.
int run(std::vector<std::string> arguments, Console console);

}  // namespace penstock::cli
