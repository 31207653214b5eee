#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "penstock/v1/admin.pb.h"

namespace penstock::cli {

// What stands of a resource by one policy.
struct Stand {
  // A pool's limit, or what a test concluded ("search ours"), and the sentence behind it.
  std::string value;
  std::string message;
  std::string policy;
  google::protobuf::Timestamp time;
};

// Where policies that act and policies in SHADOW do not say the same.
struct Disagreement {
  std::string kind, name, service, node;
  // Unset: it has decided nothing about it.
  std::optional<Stand> acting, shadow;
  // Since when, without interruption, they differ.
  google::protobuf::Timestamp since;
};

// What decisions, oldest first, leave standing of pools and upstreams; where both sides say the same is left out.
// `compared`: on how many resources either side has decided anything.
std::vector<Disagreement> disagreements(const std::vector<v1::Decision>& decisions, int& compared);

}  // namespace penstock::cli
