#include "runtime/http/server_thread.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "penstock/fiber.h"
#include "runtime/fiber/waiter.h"
#include "runtime/http/connection.h"
#include "runtime/http/router.h"
#include "runtime/http/server_state.h"

namespace penstock::http {
namespace {

// After an answer that leaves the rest of a request unread: a close right away would reset the connection, and the
// client might never see the answer.
constexpr auto kLinger = std::chrono::seconds(1);
constexpr Duration kSeldomest = std::chrono::seconds(1);
// How long the drain waits for the first request of a connection.
constexpr auto kFirstRequest = std::chrono::milliseconds(100);
// And for the rest of what has begun, a header or a handshake.
constexpr auto kRestOfHeader = std::chrono::seconds(1);
constexpr std::size_t kAccounts = 256;

std::size_t index(Stage stage) { return static_cast<std::size_t>(stage); }

}  // namespace

struct ServerThread::Stages {
  using List = boost::intrusive::list<Connection, boost::intrusive::base_hook<StageHook>,
                                      boost::intrusive::constant_time_size<false>>;
  std::array<List, kStages> lists;
};

ServerThread::ServerThread(ServerState& server) : server(server), stages_(std::make_unique<Stages>()) {}

ServerThread::~ServerThread() = default;

void ServerThread::keep() {
  const ServerOptions& options = server.options;
  const Duration period =
      std::min({kSeldomest, Duration(options.header_timeout) / 4, Duration(options.idle_timeout) / 4});
  try {
    while (!(server.ended.load() && !accepting && open_ == 0)) {
      sleep_for(period);
      if (server.ended.load() && !draining) drain();
      expire(Stage::fresh, options.header_timeout);
      expire(Stage::partial, options.header_timeout);
      expire(Stage::idle, options.idle_timeout);
      expire(Stage::lingering, kLinger);
    }
  } catch (const Cancelled&) {
    const CancelShield shield;
    closing = true;
    for (const Stage stage : {Stage::fresh, Stage::idle, Stage::partial, Stage::lingering}) close_all(stage);
    // Those that are served are cancelled as well.
    while (open_ != 0) {
      fiber::Waiter waiter;
      last_left_ = &waiter;
      waiter.wait();
      last_left_ = nullptr;
    }
  }
}

void ServerThread::drain() {
  draining = true;
  // A request that has just come is read and served.
  auto& idle = stages_->lists[index(Stage::idle)];
  while (!idle.empty()) idle.front().look();
  // Those that have only just connected have said nothing yet. A first request is worth the wait: its client has no
  // reason to expect that the connection might end.
  auto& fresh = stages_->lists[index(Stage::fresh)];
  const Instant until = std::chrono::steady_clock::now() + kFirstRequest;
  do {
    sleep_for(std::chrono::milliseconds(1));
  } while (!fresh.empty() && std::chrono::steady_clock::now() < until);
  while (!fresh.empty()) fresh.front().look();
  // Until they have looked.
  sleep_for(std::chrono::milliseconds(1));
  const Instant patient = std::chrono::steady_clock::now() + kRestOfHeader;
  while (awaits_headers() && std::chrono::steady_clock::now() < patient) sleep_for(std::chrono::milliseconds(10));
  // One client that says its header, or shakes hands, byte by byte must not hold up the end of the process.
  const auto& partial = stages_->lists[index(Stage::partial)];
  count_busy(-static_cast<int>(partial.size()) - handshakes_);
  hurried_ = true;
}

bool ServerThread::awaits_headers() const { return handshakes_ != 0 || !stages_->lists[index(Stage::partial)].empty(); }

void ServerThread::expire(Stage stage, Duration after) {
  auto& list = stages_->lists[index(stage)];
  const Instant before = fiber::cached_now() - after;
  while (!list.empty() && list.front().since() <= before) list.front().expire();
}

void ServerThread::close_all(Stage stage) {
  auto& list = stages_->lists[index(stage)];
  while (!list.empty()) list.front().close();
}

void ServerThread::enter(Connection& connection, Stage stage) {
  ++open_;
  connection.set_stage(stage);
  stages_->lists[index(stage)].push_back(connection);
  count(stage, 1);
}

void ServerThread::move(Connection& connection, Stage stage) {
  const Stage from = connection.stage();
  auto& list = stages_->lists[index(from)];
  list.erase(list.iterator_to(connection));
  connection.set_stage(stage);
  stages_->lists[index(stage)].push_back(connection);
  count(stage, 1);
  count(from, -1);
}

void ServerThread::leave(Connection& connection) {
  auto& list = stages_->lists[index(connection.stage())];
  list.erase(list.iterator_to(connection));
  count(connection.stage(), -1);
  if (--open_ == 0 && last_left_ != nullptr) last_left_->notify();
}

// The drain waits for connections with a request, or with part of one.
void ServerThread::count(Stage stage, int change) {
  if (stage == Stage::active || (stage == Stage::partial && !hurried_)) count_busy(change);
}

void ServerThread::count_handshake(int change) {
  handshakes_ += change;
  if (hurried_) count_busy(-change);
}

void ServerThread::count_busy(int change) {
  busy_ += static_cast<std::size_t>(change);
  if (busy_ == 0) {
    work_.reset();
  } else if (!work_) {
    work_.emplace(server.runtime);
  }
}

RouteMetrics& ServerThread::metrics(const Route* route) {
  const std::size_t at = route == nullptr ? 0 : route->index + 1;
  if (metrics_.size() <= at) metrics_.resize(at + 1);
  if (!metrics_[at]) {
    metrics_[at] =
        std::make_unique<RouteMetrics>(server.runtime.metrics(), route == nullptr ? "other" : route->pattern);
  }
  return *metrics_[at];
}

std::shared_ptr<fiber::RequestAccount> ServerThread::take_account() {
  if (accounts_.empty()) return std::make_shared<fiber::RequestAccount>();
  auto account = std::move(accounts_.back());
  accounts_.pop_back();
  return account;
}

void ServerThread::give_account(std::shared_ptr<fiber::RequestAccount> account) {
  // Fibers of the handler's may still use it.
  if (account.use_count() > 1 || accounts_.size() >= kAccounts) return;
  account->running = account->ready = Duration::zero();
  account->waiting.clear();
  account->trace = {};
  account->priority = decision::Priority::normal;
  account->tenant = decision::kOthers;
  accounts_.push_back(std::move(account));
}

}  // namespace penstock::http
