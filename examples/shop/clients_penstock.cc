#include "examples/shop/handlers.h"
#include "examples/shop/third_parties.h"
#include "penstock/http.h"
#include "penstock/runtime.h"

namespace shop {
namespace {

class PenstockClients final : public Clients {
 public:
  explicit PenstockClients(penstock::Runtime& runtime) : client_(runtime) {}

  std::string get(const std::string& url, const std::string& user_try) override {
    penstock::http::Response answer = client_.get(url, {{std::string(kTryHeader), user_try}});
    if (answer.status != 200) {
      throw penstock::http::CallError(url + " answered " + std::to_string(answer.status));
    }
    return std::move(answer.body);
  }

 private:
  penstock::http::Client client_;
};

}  // namespace

std::unique_ptr<Clients> make_clients(penstock::Runtime& runtime) { return std::make_unique<PenstockClients>(runtime); }

}  // namespace shop
