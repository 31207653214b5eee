#include "penstock/agent.h"

#include <grpcpp/grpcpp.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <condition_variable>
#include <fstream>
#include <mutex>
#include <optional>
#include <random>
#include <sstream>
#include <stdexcept>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "agents/embedded/backoff.h"
#include "agents/embedded/counters.h"
#include "agents/embedded/push_receiver.h"
#include "agents/embedded/stream.h"
#include "policy/convert.h"
#include "policy/yaml.h"

namespace penstock {

namespace {

using std::chrono::steady_clock;

// Counters that the connection does not take are dropped: the next ones hold everything that these did.
constexpr std::size_t kMaxBacklog = 8;
// While an upstream is in trouble: the fleet's test for the cause lives on what nodes stream. And how often is looked
// whether one is.
constexpr auto kTroubledPeriod = std::chrono::milliseconds(100);
constexpr auto kLookEvery = std::chrono::milliseconds(100);
// Decisions that wait for the stream; the oldest are forgotten, the log has them.
constexpr std::size_t kMaxUnsent = 1000;

std::string read_file(const std::string& path, const char* option) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream content;
  if (!file || !(content << file.rdbuf())) {
    throw std::invalid_argument(absl::StrCat(option, ": cannot read ", path));
  }
  return std::move(content).str();
}

std::shared_ptr<grpc::ChannelCredentials> make_credentials(const AgentTls& tls) {
  if (tls.ca_file.empty()) {
    if (!tls.certificate_file.empty() || !tls.key_file.empty()) {
      throw std::invalid_argument("tls: a certificate without ca_file");
    }
    return grpc::InsecureChannelCredentials();
  }
  if (tls.certificate_file.empty() != tls.key_file.empty()) {
    throw std::invalid_argument("tls: certificate_file and key_file belong together");
  }
  grpc::SslCredentialsOptions options;
  options.pem_root_certs = read_file(tls.ca_file, "tls.ca_file");
  if (!tls.certificate_file.empty()) {
    options.pem_cert_chain = read_file(tls.certificate_file, "tls.certificate_file");
    options.pem_private_key = read_file(tls.key_file, "tls.key_file");
  }
  return grpc::SslCredentials(options);
}

decision::Policy load_local_policy(const AgentOptions& options, const std::string& service) {
  decision::Policy policy;
  if (options.policy_file.empty()) {
    policy.service = service;
    policy.pools.emplace_back();
    return policy;
  }
  const auto loaded = policy::load_policy(options.policy_file);
  if (!loaded.ok()) throw std::invalid_argument(std::string(loaded.status().message()));
  auto converted = policy::to_decision(*loaded);
  if (!converted.ok()) {
    throw std::invalid_argument(absl::StrCat(options.policy_file, ": ", converted.status().message()));
  }
  if (converted->service != service) {
    throw std::invalid_argument(absl::StrCat(options.policy_file, ": spec.service: governs ", converted->service,
                                             ", but this service is ", service));
  }
  return *std::move(converted);
}

void check(const AgentOptions& options) {
  if (options.controller.empty()) return;
  if (options.node.empty()) throw std::invalid_argument("node: required with a controller");
  if (options.node.size() > 255) throw std::invalid_argument("node: longer than 255 characters");
  if (options.counters_period.count() < 10) throw std::invalid_argument("counters_period: below 10 ms");
  if (options.connect_timeout.count() < 1) throw std::invalid_argument("connect_timeout: below 1 ms");
  if (options.backoff_min.count() < 1 || options.backoff_max < options.backoff_min) {
    throw std::invalid_argument("backoff: not 1 ms <= backoff_min <= backoff_max");
  }
}

}  // namespace

struct Agent::State {
  State(Runtime& given, AgentOptions given_options)
      : runtime(given),
        options(std::move(given_options)),
        local(load_local_policy(options, runtime.options().service)),
        receiver(runtime, local),
        backoff(options.backoff_min, options.backoff_max, options.seed != 0 ? options.seed : std::random_device{}()) {
    check(options);
    if (!options.controller.empty()) credentials = make_credentials(options.tls);
    runtime.apply_policy(local);
  }

  void work();
  void connect_once();
  void serve(agent::Stream& stream);
  v1::AgentMessage make_hello() const;
  void send_counters(agent::Stream& stream, Instant now);
  void take(const v1::Push& push, agent::Stream& stream, Instant now);
  // True when the lease ended now.
  bool expire(Instant now);
  // What the controller asks for; else what the options say, or more often in trouble.
  Duration counters_period() const {
    if (const auto asked = receiver.counters_period()) return *asked;
    return runtime.in_trouble() ? std::min<Duration>(options.counters_period, kTroubledPeriod)
                                : options.counters_period;
  }
  void pause(std::chrono::milliseconds duration);
  void note_status();
  bool stopping() {
    std::lock_guard lock(mutex);
    return stop_requested;
  }

  Runtime& runtime;
  const AgentOptions options;
  const decision::Policy local;
  const std::chrono::system_clock::time_point started_wall = std::chrono::system_clock::now();
  const Instant started = steady_clock::now();
  std::shared_ptr<grpc::ChannelCredentials> credentials;

  // Theirs is the registry's life, which is longer than the agent's.
  Gauge& lease_gauge = runtime.metrics().gauge("penstock_node_lease_seconds",
                                               "Time until the controller's lease on this node ends; 0 without one.");
  Gauge& revision_gauge =
      runtime.metrics().gauge("penstock_node_policy_revision",
                              "Revision of the controller's policy in force; 0 while the local policy governs.");

  // Of the agent's thread.
  agent::PushReceiver receiver;
  agent::Backoff backoff;
  std::vector<Runtime::BreakerEvent> unsent_events;
  std::vector<NodeDecision> unsent_decisions;

  mutable std::mutex mutex;
  std::condition_variable changed;
  bool stop_requested = false;
  agent::Stream* open_stream = nullptr;
  AgentStatus status;
  Instant lease_end{};

  std::thread thread;
};

void Agent::State::note_status() {
  const Instant now = steady_clock::now();
  const Duration lease = receiver.lease_left(now);
  lease_gauge.set(decision::seconds(lease));
  revision_gauge.set(static_cast<double>(receiver.policy_revision()));
  std::lock_guard lock(mutex);
  status.epoch = receiver.epoch();
  status.version = receiver.version();
  status.policy_revision = receiver.policy_revision();
  status.pushes = receiver.taken();
  status.refused = receiver.refused();
  status.refusal = receiver.refusal();
  lease_end = receiver.leased() ? receiver.lease_end() : Instant{};
}

bool Agent::State::expire(Instant now) {
  if (!receiver.expire(now)) return false;
  spdlog::warn("lease ended: pools and upstreams follow the fallback of policy \"{}\" until a controller is back",
               runtime.policy().name);
  note_status();
  return true;
}

v1::AgentMessage Agent::State::make_hello() const {
  v1::AgentMessage message;
  v1::Hello& hello = *message.mutable_hello();
  hello.set_node(options.node);
  hello.set_service(runtime.options().service);
  hello.set_version(PENSTOCK_VERSION);
  hello.mutable_labels()->insert(options.labels.begin(), options.labels.end());
  hello.set_metrics_address(options.metrics_address);
  hello.set_applied_epoch(receiver.epoch());
  hello.set_applied_version(receiver.version());
  hello.set_policy_revision(receiver.policy_revision());
  return message;
}

void Agent::State::send_counters(agent::Stream& stream, Instant now) {
  auto events = runtime.take_breaker_events();
  unsent_events.insert(unsent_events.end(), std::make_move_iterator(events.begin()),
                       std::make_move_iterator(events.end()));
  auto decisions = runtime.take_decisions();
  unsent_decisions.insert(unsent_decisions.end(), std::make_move_iterator(decisions.begin()),
                          std::make_move_iterator(decisions.end()));
  const auto bound = [](auto& unsent) {
    if (unsent.size() > kMaxUnsent) unsent.erase(unsent.begin(), unsent.end() - kMaxUnsent);
  };
  bound(unsent_events);
  bound(unsent_decisions);
  if (stream.backlog() >= kMaxBacklog) return;
  v1::AgentMessage message;
  v1::Counters& counters = *message.mutable_counters();
  counters = agent::to_counters(runtime.stats(), unsent_events, unsent_decisions);
  unsent_events.clear();
  unsent_decisions.clear();
  *counters.mutable_uptime() = policy::to_proto(now - started);
  *counters.mutable_start_time() = policy::to_proto(started_wall);
  counters.set_scheduler_threads(runtime.threads());
  *counters.mutable_lease() = policy::to_proto(receiver.lease_left(now));
  counters.set_draining(runtime.draining());
  stream.send(std::move(message));
}

void Agent::State::take(const v1::Push& push, agent::Stream& stream, Instant now) {
  v1::AgentMessage answer;
  *answer.mutable_ack() = receiver.receive(push, now);
  if (answer.ack().has_error()) {
    spdlog::warn("refused push version={} epoch={}: {}", push.version(), push.epoch(), answer.ack().error().message());
  }
  stream.send(std::move(answer));
  note_status();
}

// Until the stream has ended or has to be given up.
void Agent::State::serve(agent::Stream& stream) {
  receiver.open_stream();
  const Instant first_push_due = steady_clock::now() + options.connect_timeout;
  Instant counters_due = first_push_due;
  Instant last_counters = steady_clock::now();
  bool connected = false;
  std::string ending;
  while (!stopping()) {
    Instant now = steady_clock::now();
    // A controller that let the lease end on an open stream is hung, or its pushes were refused; the next stream begins
    // with everything.
    if (expire(now)) {
      ending = "the lease ended on the open stream";
      break;
    }
    if (!connected && now >= first_push_due) {
      ending = "no push arrived in time";
      break;
    }
    const Instant due = std::min({receiver.lease_end(), counters_due, connected ? Instant::max() : first_push_due});
    const auto message = stream.receive(std::min(due, now + kLookEvery));
    now = steady_clock::now();
    if (message && message->has_push()) {
      take(message->push(), stream, now);
      if (!connected) {
        connected = true;
        counters_due = now;
        backoff.reset();
        std::lock_guard lock(mutex);
        status.connected = true;
        spdlog::info("joined the controller at {}: epoch {}, policy revision {}", options.controller, receiver.epoch(),
                     receiver.policy_revision());
      }
    } else if (!message) {
      if (const auto ended = stream.ended()) {
        ending = ended->ok() ? "the controller closed the stream" : ended->error_message();
        break;
      }
    }
    // Trouble that has just begun does not wait for the next turn.
    counters_due = std::min(counters_due, connected ? last_counters + counters_period() : counters_due);
    if (now >= counters_due) {
      send_counters(stream, now);
      counters_due = std::max(counters_due + counters_period(), now);
      last_counters = now;
    }
    note_status();
  }
  std::lock_guard lock(mutex);
  status.connected = false;
  // The same refusal at every attempt is said once.
  if (!ending.empty() && (connected || ending != status.disconnect))
    spdlog::warn("{} the controller at {}: {}", connected ? "lost" : "cannot join", options.controller, ending);
  status.disconnect = ending;
}

void Agent::State::connect_once() {
  // A channel of its own for every attempt: gRPC's back-off must not add to ours.
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  if (!options.tls.server_name.empty()) arguments.SetSslTargetNameOverride(options.tls.server_name);
  agent::Stream stream(grpc::CreateCustomChannel(options.controller, credentials, arguments), make_hello());
  {
    std::lock_guard lock(mutex);
    open_stream = &stream;
  }
  serve(stream);
  std::lock_guard lock(mutex);
  open_stream = nullptr;
}

void Agent::State::pause(std::chrono::milliseconds duration) {
  const Instant until = steady_clock::now() + duration;
  while (true) {
    const Instant now = steady_clock::now();
    expire(now);
    if (now >= until) return;
    std::unique_lock lock(mutex);
    if (changed.wait_until(lock, std::min(until, receiver.lease_end()), [&] { return stop_requested; })) return;
  }
}

void Agent::State::work() {
  while (!stopping()) {
    connect_once();
    if (!stopping()) pause(backoff.next());
    note_status();
  }
}

Agent::Agent(Runtime& runtime, AgentOptions options) : state_(std::make_unique<State>(runtime, std::move(options))) {}

Agent::~Agent() { stop(); }

void Agent::start() {
  if (state_->options.controller.empty() || state_->thread.joinable()) return;
  state_->thread = std::thread([state = state_.get()] { state->work(); });
}

void Agent::stop() {
  {
    std::lock_guard lock(state_->mutex);
    state_->stop_requested = true;
    if (state_->open_stream != nullptr) state_->open_stream->wake();
    state_->changed.notify_all();
  }
  if (state_->thread.joinable()) state_->thread.join();
}

AgentStatus Agent::status() const {
  std::lock_guard lock(state_->mutex);
  AgentStatus status = state_->status;
  status.lease = std::max(Duration{}, state_->lease_end - steady_clock::now());
  if (state_->lease_end == Instant{}) status.lease = {};
  return status;
}

}  // namespace penstock
