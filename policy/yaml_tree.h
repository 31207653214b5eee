#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "policy/yaml.h"

// A YAML text as a tree in which every node knows where it stands. Built from the parser's events and not from its own
// node tree, because that one hides duplicate keys, aliases and the places of keys.
namespace penstock::policy {

struct YamlNode {
  enum class Kind { null, scalar, sequence, mapping };
  Kind kind = Kind::null;
  Position position;
  // Of a scalar.
  std::string text;
  bool quoted = false;
  // Of a sequence: its elements. Of a mapping: key, value, key, value.
  std::vector<YamlNode> children;
};

struct YamlText {
  // One per document.
  std::vector<YamlNode> documents;
  // Syntax errors, and what is refused everywhere: anchors, aliases, tags.
  std::vector<Problem> problems;
};

YamlText read_yaml(std::string_view text);

}  // namespace penstock::policy
