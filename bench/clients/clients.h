#pragma once

#include <memory>
#include <string>
#include <vector>

// Clients of third parties as programs use them: plain synchronous code, which knows nothing of Penstock.
namespace bench {

class Client {
 public:
  virtual ~Client() = default;
  // One call that takes the other side a second. Throws std::runtime_error.
  virtual void call() = 0;
};

// Of a kind, connected, or about to connect with its call. `where` is host:port, or the folder of a Unix socket.
std::unique_ptr<Client> make_client(const std::string& kind, const std::string& where);

std::unique_ptr<Client> make_curl(const std::string& where);
std::unique_ptr<Client> make_curl_tls(const std::string& where);
std::unique_ptr<Client> make_postgresql(const std::string& where);
std::unique_ptr<Client> make_redis(const std::string& where);
std::unique_ptr<Client> make_mariadb(const std::string& where);
std::unique_ptr<Client> make_tls(const std::string& where);
std::unique_ptr<Client> make_smtp(const std::string& where);

struct Place {
  std::string host, port;
};
Place to_place(const std::string& where);
// A plain blocking socket. Throws std::runtime_error.
int connected_socket(const std::string& where);

// What a run took, from when all were connected until all calls had ended.
struct Measured {
  double wall_s, cpu_s;
  int failed;
};
// With the most memory that the process has had: one line.
void print(const Measured& measured);
double cpu_seconds();
// As many descriptors as the system allows.
void allow_descriptors();

}  // namespace bench
