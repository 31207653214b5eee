#pragma once

#include <google/protobuf/descriptor.h>

#include <memory>
#include <string>
#include <vector>

namespace penstock::cli {

// The declarations of the wire with their comments, as they were when the program was built.
class Documentation {
 public:
  Documentation();
  ~Documentation();

  // What the proto says of "policy.spec.upstreams.breaker"; `spec` may be left out. Throws Failure (usage) with the
  // names that there are.
  std::string explain(const std::string& path) const;

 private:
  const google::protobuf::Descriptor* root(const std::string& name) const;
  std::vector<std::string> roots() const;

  std::unique_ptr<google::protobuf::DescriptorPool> pool_;
  // Policies first.
  std::vector<const google::protobuf::FileDescriptor*> files_;
};

}  // namespace penstock::cli
