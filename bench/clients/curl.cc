#include <curl/curl.h>

#include <stdexcept>

#include "bench/clients/clients.h"

namespace bench {
namespace {

std::size_t take(char*, std::size_t size, std::size_t count, void* sum) {
  *static_cast<std::size_t*>(sum) += size * count;
  return size * count;
}

class Curl final : public Client {
 public:
  explicit Curl(const std::string& url) : curl_(curl_easy_init()) {
    curl_easy_setopt(curl_, CURLOPT_URL, url.c_str());
    curl_easy_setopt(curl_, CURLOPT_NOSIGNAL, 1L);
    // The server's certificate is its own.
    curl_easy_setopt(curl_, CURLOPT_SSL_VERIFYPEER, 0L);
    curl_easy_setopt(curl_, CURLOPT_SSL_VERIFYHOST, 0L);
    curl_easy_setopt(curl_, CURLOPT_WRITEFUNCTION, &take);
    curl_easy_setopt(curl_, CURLOPT_WRITEDATA, &received_);
  }
  ~Curl() override { curl_easy_cleanup(curl_); }

  void call() override {
    received_ = 0;
    const CURLcode code = curl_easy_perform(curl_);
    if (code != CURLE_OK) throw std::runtime_error(curl_easy_strerror(code));
    if (received_ == 0) throw std::runtime_error("an empty answer");
  }

 private:
  CURL* const curl_;
  std::size_t received_ = 0;
};

std::unique_ptr<Client> make(const std::string& url) {
  static const CURLcode ready = curl_global_init(CURL_GLOBAL_ALL);
  if (ready != CURLE_OK) throw std::runtime_error(curl_easy_strerror(ready));
  return std::make_unique<Curl>(url);
}

}  // namespace

std::unique_ptr<Client> make_curl(const std::string& where) { return make("http://" + where + "/"); }
std::unique_ptr<Client> make_curl_tls(const std::string& where) { return make("https://" + where + "/"); }

}  // namespace bench
