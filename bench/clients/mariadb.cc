#include <mysql.h>

#include <stdexcept>

#include "bench/clients/clients.h"

namespace bench {
namespace {

class Mariadb final : public Client {
 public:
  explicit Mariadb(const std::string& where) : connection_(mysql_init(nullptr), &mysql_close) {
    const Place place = to_place(where);
    if (mysql_real_connect(connection_.get(), place.host.c_str(), "bench", nullptr, nullptr,
                           static_cast<unsigned>(std::stoi(place.port)), nullptr, 0) == nullptr) {
      throw std::runtime_error(mysql_error(connection_.get()));
    }
  }

  void call() override {
    if (mysql_query(connection_.get(), "SELECT SLEEP(1)") != 0)
      throw std::runtime_error(mysql_error(connection_.get()));
    const std::unique_ptr<MYSQL_RES, decltype(&mysql_free_result)> result(mysql_store_result(connection_.get()),
                                                                          &mysql_free_result);
    const MYSQL_ROW row = result != nullptr ? mysql_fetch_row(result.get()) : nullptr;
    if (row == nullptr || row[0] != std::string("0")) throw std::runtime_error("another answer");
  }

 private:
  std::unique_ptr<MYSQL, decltype(&mysql_close)> connection_;
};

}  // namespace

std::unique_ptr<Client> make_mariadb(const std::string& where) {
  static const int ready = mysql_library_init(0, nullptr, nullptr);
  if (ready != 0) throw std::runtime_error("mysql_library_init");
  return std::make_unique<Mariadb>(where);
}

}  // namespace bench
