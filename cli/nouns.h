#pragma once

#include <map>
#include <string>

#include "cli/client.h"
#include "cli/printer.h"

namespace penstock::cli {

// Which of a noun's resources are wanted; empty fields match everything.
struct Selection {
  std::string name;
  std::string service;
  // Nodes and policies only.
  std::map<std::string, std::string> labels = {};
};

// All pages, in the order of the controller.
v1::ListNodesResponse list_nodes(Client& client, const Selection& selection);
v1::ListPoolsResponse list_pools(Client& client, const Selection& selection);
v1::ListUpstreamsResponse list_upstreams(Client& client, const Selection& selection);
v1::ListPoliciesResponse list_policies(Client& client, const Selection& selection);

// `noun` is "nodes", "pools", "upstreams", "breakers" or "policies".
Result get(Client& client, const std::string& noun, const Selection& selection);

}  // namespace penstock::cli
