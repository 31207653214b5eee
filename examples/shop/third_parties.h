#pragma once

#include <memory>
#include <string>

namespace penstock {
class Runtime;
}

namespace shop {

// How the shop calls its third parties: with Penstock's client, or with libraries that know nothing of Penstock.
class Clients {
 public:
  virtual ~Clients() = default;
  // The body of a 200; throws when there is none. The user's try is handed on.
  virtual std::string get(const std::string& url, const std::string& user_try) = 0;
};

std::unique_ptr<Clients> make_clients(penstock::Runtime& runtime);

}  // namespace shop
