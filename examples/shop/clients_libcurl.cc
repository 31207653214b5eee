// Plain libcurl and libpq, as in any synchronous code base: not one line of theirs, or here, knows of fibers. That they
// wait without holding a thread, are guarded as upstreams and end at the request's deadline comes from linking
// penstock::interpose.
#include <curl/curl.h>
#include <libpq-fe.h>

#include <cstdlib>
#include <mutex>
#include <stdexcept>
#include <vector>

#include "examples/shop/handlers.h"
#include "examples/shop/third_parties.h"

namespace shop {
namespace {

// Connections that are kept between calls.
template <class T, void (*end)(T*)>
class Kept {
 public:
  ~Kept() {
    for (T* each : free_) end(each);
  }
  // Null: there is none.
  T* take() {
    const std::lock_guard guard(mutex_);
    if (free_.empty()) return nullptr;
    T* last = free_.back();
    free_.pop_back();
    return last;
  }
  void give_back(T* one) {
    const std::lock_guard guard(mutex_);
    free_.push_back(one);
  }

 private:
  std::mutex mutex_;
  std::vector<T*> free_;
};

std::size_t append(char* data, std::size_t size, std::size_t count, void* body) {
  static_cast<std::string*>(body)->append(data, size * count);
  return size * count;
}

class LibraryClients final : public Clients {
 public:
  LibraryClients() : database_(std::getenv("SHOP_DATABASE")) { curl_global_init(CURL_GLOBAL_ALL); }

  std::string get(const std::string& url, const std::string& user_try) override {
    CURL* curl = handles_.take();
    if (curl == nullptr) curl = curl_easy_init();
    std::string body;
    curl_slist* headers = curl_slist_append(nullptr, (std::string(kTryHeader) + ": " + user_try).c_str());
    curl_easy_setopt(curl, CURLOPT_URL, url.c_str());
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_FAILONERROR, 1L);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, &append);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &body);
    const CURLcode code = curl_easy_perform(curl);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, nullptr);
    curl_slist_free_all(headers);
    if (code != CURLE_OK) {
      curl_easy_cleanup(curl);
      throw std::runtime_error(url + ": " + curl_easy_strerror(code));
    }
    handles_.give_back(curl);
    if (database_ != nullptr) count_visit();
    return body;
  }

 private:
  void count_visit() {
    PGconn* connection = connections_.take();
    if (connection == nullptr) connection = PQconnectdb(database_);
    PGresult* result = PQexec(connection, "SELECT now()");
    const bool good = PQresultStatus(result) == PGRES_TUPLES_OK;
    PQclear(result);
    if (good) return connections_.give_back(connection);
    const std::string error = PQerrorMessage(connection);
    PQfinish(connection);
    throw std::runtime_error("database: " + error);
  }

  Kept<CURL, curl_easy_cleanup> handles_;
  Kept<PGconn, PQfinish> connections_;
  // A libpq connection string; null: no database.
  const char* const database_;
};

}  // namespace

std::unique_ptr<Clients> make_clients(penstock::Runtime&) { return std::make_unique<LibraryClients>(); }

}  // namespace shop
