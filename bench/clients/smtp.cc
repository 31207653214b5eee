#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <stdexcept>

#include "bench/clients/clients.h"

namespace bench {
namespace {

// A dialogue of lines over a stream of the C library.
class Smtp final : public Client {
 public:
  explicit Smtp(const std::string& where) : stream_(::fdopen(connected_socket(where), "r+"), &::fclose) {
    expect(nullptr, "220");
    expect("EHLO client", "250");
  }
  ~Smtp() override {
    ::fputs("QUIT\r\n", stream_.get());
    ::fflush(stream_.get());
  }

  void call() override {
    expect("MAIL FROM:<a@example.com>", "250");
    expect("RCPT TO:<b@example.com>", "250");
    expect("DATA", "354");
    // Taken after a second.
    expect("Subject: hello\r\n\r\nhello\r\n.", "250");
  }

 private:
  void expect(const char* command, const char* code) {
    if (command != nullptr) {
      ::fprintf(stream_.get(), "%s\r\n", command);
      ::fflush(stream_.get());
    }
    char line[512];
    if (::fgets(line, sizeof line, stream_.get()) == nullptr) throw std::runtime_error("the connection ended");
    if (::strncmp(line, code, 3) != 0) throw std::runtime_error(line);
  }

  const std::unique_ptr<FILE, decltype(&::fclose)> stream_;
};

}  // namespace

std::unique_ptr<Client> make_smtp(const std::string& where) { return std::make_unique<Smtp>(where); }

}  // namespace bench
