#pragma once

#include <grpcpp/impl/service_type.h>

#include <memory>

namespace penstock::controller {

class Admin;
class Authenticator;
class DecisionLog;

// AdminService over `admin`: roles checked, errors as the table in proto/ has them. All arguments outlive it.
std::unique_ptr<grpc::Service> make_admin_service(Admin& admin, DecisionLog& log, const Authenticator& authenticator);

}  // namespace penstock::controller
