#include <hiredis/hiredis.h>

#include <stdexcept>

#include "bench/clients/clients.h"

namespace bench {
namespace {

class Redis final : public Client {
 public:
  explicit Redis(const std::string& where) {
    const Place place = to_place(where);
    connection_.reset(redisConnect(place.host.c_str(), std::stoi(place.port)));
    if (connection_ == nullptr || connection_->err != 0) {
      throw std::runtime_error(connection_ != nullptr ? connection_->errstr : "no memory");
    }
  }

  // Waits for a list in which nothing comes.
  void call() override {
    const std::unique_ptr<void, decltype(&freeReplyObject)> reply(redisCommand(connection_.get(), "BLPOP nothing 1"),
                                                                  &freeReplyObject);
    if (reply == nullptr) throw std::runtime_error(connection_->errstr);
    if (static_cast<const redisReply*>(reply.get())->type != REDIS_REPLY_NIL) {
      throw std::runtime_error("another answer");
    }
  }

 private:
  std::unique_ptr<redisContext, decltype(&redisFree)> connection_{nullptr, &redisFree};
};

}  // namespace

std::unique_ptr<Client> make_redis(const std::string& where) { return std::make_unique<Redis>(where); }

}  // namespace bench
