#include <libpq-fe.h>

#include <stdexcept>

#include "bench/clients/clients.h"

namespace bench {
namespace {

class Postgresql final : public Client {
 public:
  explicit Postgresql(const std::string& where) {
    const Place place = to_place(where);
    const char* names[] = {"host", "port", "user", "dbname", nullptr};
    const char* values[] = {place.host.c_str(), place.port.c_str(), "bench", "postgres", nullptr};
    connection_.reset(PQconnectdbParams(names, values, 0));
    if (PQstatus(connection_.get()) != CONNECTION_OK) throw std::runtime_error(PQerrorMessage(connection_.get()));
  }

  void call() override {
    const std::unique_ptr<PGresult, decltype(&PQclear)> result(
        PQexec(connection_.get(), "SELECT 'slept' FROM pg_sleep(1)"), &PQclear);
    if (PQresultStatus(result.get()) != PGRES_TUPLES_OK) throw std::runtime_error(PQerrorMessage(connection_.get()));
    if (PQgetvalue(result.get(), 0, 0) != std::string("slept")) throw std::runtime_error("another answer");
  }

 private:
  std::unique_ptr<PGconn, decltype(&PQfinish)> connection_{nullptr, &PQfinish};
};

}  // namespace

std::unique_ptr<Client> make_postgresql(const std::string& where) { return std::make_unique<Postgresql>(where); }

}  // namespace bench
