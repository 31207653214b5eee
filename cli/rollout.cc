#include "cli/rollout.h"

#include <chrono>
#include <thread>

namespace penstock::cli {
namespace {

using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

std::string acknowledged(const v1::PolicyStatus& status) {
  return std::to_string(status.nodes_applied()) + " of " + std::to_string(status.nodes()) + " nodes";
}

void wait_for_nodes(Session& session, const v1::Policy& policy) {
  const std::string name = "policy/" + policy.metadata().name();
  const auto start = Clock::now();
  bool told = false;
  v1::GetPolicyRequest request;
  request.set_name(policy.metadata().name());
  while (true) {
    const v1::Policy now = session.client().call(request);
    const v1::PolicyStatus& status = now.status();
    if (now.metadata().revision() > policy.metadata().revision())
      throw Failure(kConflict, name + " was changed meanwhile: revision " + std::to_string(now.metadata().revision()));
    if (status.observed_revision() >= policy.metadata().revision() && status.nodes_applied() >= status.nodes()) {
      const bool shadow = now.spec().mode() == v1::POLICY_MODE_SHADOW;
      session.console.out << name << (shadow ? " in SHADOW on " : " in force on ") << acknowledged(status) << std::endl;
      return;
    }
    const auto waited = Clock::now() - start;
    if (waited > session.connection.timeout)
      throw Failure(kUnreachable, name + " is in force on " + acknowledged(status) + " only");
    if (!told && waited > 1s) {
      session.console.note("waiting for the nodes: " + acknowledged(status));
      told = true;
    }
    std::this_thread::sleep_for(100ms);
  }
}

}  // namespace

std::string etag_of_revision(Client& client, const std::string& name, std::int64_t revision) {
  v1::ListPoliciesRequest list;
  v1::ListPoliciesResponse page;
  list.set_page_size(1000);
  std::int64_t now = 0;
  std::string etag = "0";
  do {
    page = client.call(list);
    for (const v1::Policy& policy : page.policies())
      if (policy.metadata().name() == name) {
        now = policy.metadata().revision();
        etag = policy.metadata().etag();
      }
    list.set_page_token(page.next_page_token());
  } while (!page.next_page_token().empty());
  if (now != revision)
    throw Failure(kConflict, "policy/" + name +
                                 (now == 0 ? " does not exist" : " has revision " + std::to_string(now)) +
                                 ", expected " + (revision == 0 ? "none" : std::to_string(revision)));
  return etag;
}

void report(Session& session, const v1::ApplyPolicyResponse& response, bool dry_run, bool wait) {
  const v1::Policy& policy = response.policy();
  std::ostream& out = session.console.out;
  out << "policy/" << policy.metadata().name();
  if (!response.changed()) {
    out << " unchanged (revision " << policy.metadata().revision() << ")" << std::endl;
  } else if (dry_run) {
    out << " would be changed (dry run)" << std::endl;
  } else {
    out << " revision " << policy.metadata().revision() << " applied" << std::endl;
  }
  if (wait && !dry_run) wait_for_nodes(session, policy);
}

}  // namespace penstock::cli
