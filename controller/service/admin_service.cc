#include "controller/service/admin_service.h"

#include <google/protobuf/empty.pb.h>
#include <grpcpp/grpcpp.h>

#include "controller/service/admin.h"
#include "controller/service/decision_watch.h"
#include "controller/service/roles.h"
#include "penstock/v1/admin.grpc.pb.h"
#include "proto/errors/error.h"

namespace penstock::controller {
namespace {

using grpc::CallbackServerContext;
using grpc::ServerUnaryReactor;

class AdminService final : public v1::AdminService::CallbackService {
 public:
  AdminService(Admin& admin, DecisionLog& log, const Authenticator& authenticator)
      : admin_(admin), log_(log), authenticator_(authenticator) {}

  ServerUnaryReactor* GetStatus(CallbackServerContext* context, const v1::GetStatusRequest*,
                                v1::ControllerStatus* response) override {
    return read(context, response, [&] { return absl::StatusOr<v1::ControllerStatus>(admin_.status()); });
  }
  ServerUnaryReactor* GetPolicy(CallbackServerContext* context, const v1::GetPolicyRequest* request,
                                v1::Policy* response) override {
    return read(context, response, [&] { return admin_.get_policy(*request); });
  }
  ServerUnaryReactor* ListPolicies(CallbackServerContext* context, const v1::ListPoliciesRequest* request,
                                   v1::ListPoliciesResponse* response) override {
    return read(context, response, [&] { return admin_.list_policies(*request); });
  }
  ServerUnaryReactor* ListPolicyRevisions(CallbackServerContext* context, const v1::ListPolicyRevisionsRequest* request,
                                          v1::ListPolicyRevisionsResponse* response) override {
    return read(context, response, [&] { return admin_.list_revisions(*request); });
  }
  ServerUnaryReactor* ListNodes(CallbackServerContext* context, const v1::ListNodesRequest* request,
                                v1::ListNodesResponse* response) override {
    return read(context, response, [&] { return admin_.list_nodes(*request); });
  }
  ServerUnaryReactor* ListPools(CallbackServerContext* context, const v1::ListPoolsRequest* request,
                                v1::ListPoolsResponse* response) override {
    return read(context, response, [&] { return admin_.list_pools(*request); });
  }
  ServerUnaryReactor* ListUpstreams(CallbackServerContext* context, const v1::ListUpstreamsRequest* request,
                                    v1::ListUpstreamsResponse* response) override {
    return read(context, response, [&] { return admin_.list_upstreams(*request); });
  }
  ServerUnaryReactor* ListDecisions(CallbackServerContext* context, const v1::ListDecisionsRequest* request,
                                    v1::ListDecisionsResponse* response) override {
    return read(context, response, [&] { return admin_.list_decisions(*request); });
  }
  ServerUnaryReactor* Why(CallbackServerContext* context, const v1::WhyRequest* request,
                          v1::WhyResponse* response) override {
    return read(context, response, [&] { return admin_.why(*request); });
  }
  grpc::ServerWriteReactor<v1::Decision>* WatchDecisions(CallbackServerContext* context,
                                                         const v1::WatchDecisionsRequest* request) override {
    auto caller = authenticator_.authenticate(*context);
    return watch_decisions(log_, *request, caller.ok() ? caller->may_read() : caller.status());
  }

  ServerUnaryReactor* ApplyPolicy(CallbackServerContext* context, const v1::ApplyPolicyRequest* request,
                                  v1::ApplyPolicyResponse* response) override {
    return change(context, response, [&](const std::string& author) { return admin_.apply(*request, author); });
  }
  ServerUnaryReactor* DeletePolicy(CallbackServerContext* context, const v1::DeletePolicyRequest* request,
                                   google::protobuf::Empty* response) override {
    return change(context, response, [&](const std::string& author) -> absl::StatusOr<google::protobuf::Empty> {
      if (auto status = admin_.remove(*request, author); !status.ok()) return status;
      return google::protobuf::Empty();
    });
  }
  ServerUnaryReactor* RollbackPolicy(CallbackServerContext* context, const v1::RollbackPolicyRequest* request,
                                     v1::ApplyPolicyResponse* response) override {
    return change(context, response, [&](const std::string& author) { return admin_.rollback(*request, author); });
  }
  ServerUnaryReactor* SetBreaker(CallbackServerContext* context, const v1::SetBreakerRequest* request,
                                 v1::Override* response) override {
    return change(context, response, [&](const std::string& author) { return admin_.set_breaker(*request, author); });
  }
  ServerUnaryReactor* SetPoolLimit(CallbackServerContext* context, const v1::SetPoolLimitRequest* request,
                                   v1::Override* response) override {
    return change(context, response,
                  [&](const std::string& author) { return admin_.set_pool_limit(*request, author); });
  }
  ServerUnaryReactor* DrainNode(CallbackServerContext* context, const v1::DrainNodeRequest* request,
                                v1::Override* response) override {
    return change(context, response, [&](const std::string& author) { return admin_.drain_node(*request, author); });
  }

 private:
  template <class Response, class Call>
  ServerUnaryReactor* read(CallbackServerContext* context, Response* response, Call call) {
    auto caller = authenticator_.authenticate(*context);
    const absl::Status allowed = caller.ok() ? caller->may_read() : caller.status();
    return finish(context, response, allowed.ok() ? call() : absl::StatusOr<Response>(allowed));
  }

  template <class Response, class Call>
  ServerUnaryReactor* change(CallbackServerContext* context, Response* response, Call call) {
    auto caller = authenticator_.authenticate(*context);
    const absl::Status allowed = caller.ok() ? caller->may_change() : caller.status();
    return finish(context, response, allowed.ok() ? call(caller->identity) : absl::StatusOr<Response>(allowed));
  }

  template <class Response>
  ServerUnaryReactor* finish(CallbackServerContext* context, Response* response, absl::StatusOr<Response> result) {
    if (result.ok()) *response = *std::move(result);
    auto* reactor = context->DefaultReactor();
    reactor->Finish(errors::to_grpc(result.status()));
    return reactor;
  }

  Admin& admin_;
  DecisionLog& log_;
  const Authenticator& authenticator_;
};

}  // namespace

std::unique_ptr<grpc::Service> make_admin_service(Admin& admin, DecisionLog& log, const Authenticator& authenticator) {
  return std::make_unique<AdminService>(admin, log, authenticator);
}

}  // namespace penstock::controller
