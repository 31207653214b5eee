#include "controller/store/decision_log.h"

#include <spdlog/spdlog.h>

#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <thread>

#include "absl/strings/str_cat.h"
#include "controller/process_log.h"
#include "controller/store/decision_fields.h"
#include "controller/store/state.h"
#include "policy/convert.h"
#include "proto/errors/error.h"

namespace penstock::controller {
namespace {

constexpr std::chrono::minutes kPruneInterval{10};

// The conditions of a filter as SQL, and their values.
struct Where {
  std::string sql;
  std::vector<std::string> texts;
  std::vector<std::int64_t> times;
};

Where where(const DecisionFilter& filter) {
  Where result;
  const std::pair<const char*, const std::string&> columns[] = {{"kind", filter.kind},
                                                                {"name", filter.name},
                                                                {"service", filter.service},
                                                                {"node", filter.node},
                                                                {"action", filter.action}};
  for (const auto& [column, value] : columns) {
    if (value.empty()) continue;
    absl::StrAppend(&result.sql, " AND ", column, " = ?");
    result.texts.push_back(value);
  }
  if (filter.since) {
    result.sql += " AND time >= ?";
    result.times.push_back(to_micros(*filter.since));
  }
  if (filter.until) {
    result.sql += " AND time <= ?";
    result.times.push_back(to_micros(*filter.until));
  }
  return result;
}

absl::StatusOr<std::vector<v1::Decision>> select(sqlite3* handle, const DecisionFilter& filter,
                                                 const std::string& range, std::int64_t bound, const std::string& order,
                                                 int limit) {
  const Where conditions = where(filter);
  Statement query(handle, absl::StrCat("SELECT decision FROM decisions WHERE ", range, conditions.sql, " ORDER BY id ",
                                       order, " LIMIT ", limit));
  int parameter = 0;
  query.bind(++parameter, bound);
  for (const auto& text : conditions.texts) query.bind(++parameter, text);
  for (const auto time : conditions.times) query.bind(++parameter, time);
  std::vector<v1::Decision> result;
  for (;;) {
    auto row = query.step();
    if (!row.ok()) return store_error(row.status());
    if (!*row) return result;
    if (!result.emplace_back().ParseFromString(query.bytes(0)))
      return absl::DataLossError("store: a decision cannot be read");
  }
}

}  // namespace

struct DecisionLog::State {
  Store& store;
  Clock& clock;
  std::chrono::seconds retention;

  mutable std::mutex mutex;
  std::condition_variable work, done;
  std::deque<v1::Decision> pending;
  std::int64_t next_id = 1;
  std::int64_t durable_id = 0;
  std::uint64_t attempts = 0;
  absl::Status last_attempt;
  bool flush_wanted = false;
  bool stopping = false;

  std::mutex listeners_mutex;
  std::map<std::uint64_t, std::function<void(const v1::Decision&)>> listeners;
  std::condition_variable call_ended;
  // Key of the listener that is being called; 0: none.
  std::uint64_t called = 0;
  std::thread::id announcer;
  std::uint64_t next_key = 1;

  // Only the writer's.
  std::chrono::steady_clock::time_point next_prune{};
  std::thread writer;

  absl::Status write(const std::deque<v1::Decision>& batch) {
    std::lock_guard lock(store.state_->mutex);
    Transaction transaction(*store.state_->database);
    if (!transaction.begun().ok()) return transaction.begun();
    Statement add(store.state_->handle(),
                  "INSERT INTO decisions(id, time, kind, name, service, node, action, decision) "
                  "VALUES(?, ?, ?, ?, ?, ?, ?, ?)");
    for (const auto& decision : batch) {
      add.bind(1, decision.id()).bind(2, to_micros(policy::to_chrono(decision.time()))).bind(3, decision.kind());
      add.bind(4, decision.name()).bind(5, decision.service()).bind(6, decision.node()).bind(7, decision.action());
      add.bind_blob(8, decision.SerializeAsString());
      if (auto status = add.run(); !status.ok()) return status;
      add.reset();
    }
    return transaction.commit();
  }

  void run() {
    std::unique_lock lock(mutex);
    while (true) {
      if (std::chrono::steady_clock::now() >= next_prune) {
        next_prune = std::chrono::steady_clock::now() + kPruneInterval;
        lock.unlock();
        if (auto dropped = prune(); !dropped.ok())
          spdlog::error("the decision log cannot be pruned: {}", std::string(dropped.status().message()));
        lock.lock();
      }
      if (!work.wait_until(lock, next_prune, [&] { return stopping || flush_wanted || !pending.empty(); })) continue;
      if (!stopping && !flush_wanted) work.wait_for(lock, kFlushInterval, [&] { return stopping || flush_wanted; });
      flush_wanted = false;
      if (pending.empty()) {
        last_attempt = absl::OkStatus();
      } else {
        std::deque<v1::Decision> batch = pending;
        lock.unlock();
        auto status = write(batch);
        lock.lock();
        last_attempt = status;
        if (status.ok()) {
          while (!pending.empty() && pending.front().id() <= batch.back().id()) pending.pop_front();
          durable_id = batch.back().id();
        } else {
          spdlog::error("the decision log cannot be written: {}", std::string(status.message()));
        }
        ++attempts;
        done.notify_all();
        if (status.ok()) {
          lock.unlock();
          announce(batch);
          lock.lock();
        } else if (!stopping) {
          work.wait_for(lock, std::chrono::seconds(1), [&] { return stopping; });
        }
        if (stopping && (pending.empty() || !status.ok())) return;
        continue;
      }
      ++attempts;
      done.notify_all();
      if (stopping) return;
    }
  }

  absl::StatusOr<std::int64_t> prune() {
    std::lock_guard lock(store.state_->mutex);
    Transaction transaction(*store.state_->database);
    if (!transaction.begun().ok()) return store_error(transaction.begun());
    sqlite3* handle = store.state_->handle();
    const std::int64_t before = to_micros(clock.wall() - retention);
    Statement note(
        handle,
        "UPDATE pruned SET through = max(through, coalesce((SELECT max(id) FROM decisions WHERE time < ?), 0))");
    note.bind(1, before);
    if (auto status = note.run(); !status.ok()) return store_error(status);
    Statement drop(handle, "DELETE FROM decisions WHERE time < ?");
    drop.bind(1, before);
    if (auto status = drop.run(); !status.ok()) return store_error(status);
    Statement count(handle, "SELECT changes()");
    auto row = count.step();
    if (!row.ok()) return store_error(row.status());
    const std::int64_t dropped = count.integer(0);
    if (auto status = transaction.commit(); !status.ok()) return store_error(status);
    return dropped;
  }

  void announce(const std::deque<v1::Decision>& batch) {
    std::unique_lock lock(listeners_mutex);
    announcer = std::this_thread::get_id();
    for (const auto& decision : batch) {
      std::vector<std::uint64_t> keys;
      for (const auto& [key, listener] : listeners) keys.push_back(key);
      for (const auto key : keys) {
        const auto found = listeners.find(key);
        if (found == listeners.end()) continue;
        const auto listener = found->second;
        called = key;
        lock.unlock();
        listener(decision);
        lock.lock();
        called = 0;
        call_ended.notify_all();
      }
    }
  }
};

DecisionLog::DecisionLog(Store& store, Clock& clock, std::chrono::seconds retention)
    : state_(new State{store, clock, retention}) {
  {
    std::lock_guard lock(store.state_->mutex);
    Statement last(store.state_->handle(),
                   "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'decisions'");
    if (auto row = last.step(); row.ok() && *row) state_->durable_id = last.integer(0);
  }
  state_->next_id = state_->durable_id + 1;
  state_->writer = std::thread([this] { state_->run(); });
}

DecisionLog::~DecisionLog() {
  {
    std::lock_guard lock(state_->mutex);
    state_->stopping = true;
  }
  state_->work.notify_all();
  state_->writer.join();
}

std::int64_t DecisionLog::append(v1::Decision decision) {
  if (!decision.has_time()) *decision.mutable_time() = policy::to_proto(state_->clock.wall());
  std::int64_t id;
  {
    std::lock_guard lock(state_->mutex);
    id = state_->next_id++;
    decision.set_id(id);
    state_->pending.push_back(decision);
    if (state_->pending.size() > kMaxPending) state_->pending.pop_front();
  }
  state_->work.notify_all();
  log_event("decision", decision_fields(decision));
  return id;
}

absl::Status DecisionLog::flush() {
  std::unique_lock lock(state_->mutex);
  const std::int64_t target = state_->next_id - 1;
  while (state_->durable_id < target) {
    const std::uint64_t attempt = state_->attempts;
    state_->flush_wanted = true;
    state_->work.notify_all();
    state_->done.wait(lock, [&] { return state_->attempts != attempt || state_->durable_id >= target; });
    if (state_->durable_id < target && !state_->last_attempt.ok()) return store_error(state_->last_attempt);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<v1::Decision>> DecisionLog::list(const DecisionFilter& filter, int limit,
                                                            std::int64_t before_id) const {
  if (auto status = const_cast<DecisionLog*>(this)->flush(); !status.ok()) return status;
  std::lock_guard lock(state_->store.state_->mutex);
  return select(state_->store.state_->handle(), filter, "id < ?",
                before_id > 0 ? before_id : std::numeric_limits<std::int64_t>::max(), "DESC", limit);
}

absl::StatusOr<std::vector<v1::Decision>> DecisionLog::list_after(const DecisionFilter& filter, std::int64_t after_id,
                                                                  int limit) const {
  std::lock_guard lock(state_->store.state_->mutex);
  Statement pruned(state_->store.state_->handle(), "SELECT through FROM pruned");
  auto row = pruned.step();
  if (!row.ok()) return store_error(row.status());
  if (*row && after_id < pruned.integer(0))
    return errors::to_absl({.reason = errors::Reason::compacted,
                            .message = absl::StrCat("decisions after ", after_id, " are no longer kept; the oldest is ",
                                                    pruned.integer(0) + 1),
                            .metadata = {{"oldest", absl::StrCat(pruned.integer(0) + 1)}}});
  return select(state_->store.state_->handle(), filter, "id > ?", after_id, "ASC", limit);
}

std::int64_t DecisionLog::last_id() const {
  std::lock_guard lock(state_->mutex);
  return state_->durable_id;
}

absl::StatusOr<std::int64_t> DecisionLog::prune() { return state_->prune(); }

std::uint64_t DecisionLog::subscribe(std::function<void(const v1::Decision&)> listener) {
  std::lock_guard lock(state_->listeners_mutex);
  const std::uint64_t key = state_->next_key++;
  state_->listeners.emplace(key, std::move(listener));
  return key;
}

void DecisionLog::unsubscribe(std::uint64_t key) {
  std::unique_lock lock(state_->listeners_mutex);
  state_->listeners.erase(key);
  state_->call_ended.wait(lock,
                          [&] { return state_->called != key || state_->announcer == std::this_thread::get_id(); });
}

void DecisionLog::unsubscribe_soon(std::uint64_t key) {
  std::lock_guard lock(state_->listeners_mutex);
  state_->listeners.erase(key);
}

}  // namespace penstock::controller
