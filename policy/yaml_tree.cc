#include "policy/yaml_tree.h"

#include <yaml-cpp/emitterstyle.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <sstream>
#include <utility>

namespace penstock::policy {
namespace {

Position position(const YAML::Mark& mark) {
  if (mark.is_null()) return {};
  return {mark.line + 1, mark.column + 1};
}

class TreeBuilder : public YAML::EventHandler {
 public:
  explicit TreeBuilder(YamlText& out) : out_(out) {}

  void OnDocumentStart(const YAML::Mark&) override { open_.clear(); }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    refuse(mark, "?", anchor);
    add({.kind = YamlNode::Kind::null, .position = position(mark)});
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    out_.problems.push_back({position(mark), "", "aliases are not accepted: write the value out"});
    add({.kind = YamlNode::Kind::null, .position = position(mark)});
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    refuse(mark, tag, anchor);
    add({.kind = YamlNode::Kind::scalar, .position = position(mark), .text = value, .quoted = tag == "!"});
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    refuse(mark, tag, anchor);
    open_.push_back({.kind = YamlNode::Kind::sequence, .position = position(mark)});
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    refuse(mark, tag, anchor);
    open_.push_back({.kind = YamlNode::Kind::mapping, .position = position(mark)});
  }
  void OnMapEnd() override { close(); }

 private:
  void refuse(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor) {
    if (anchor != 0) out_.problems.push_back({position(mark), "", "anchors are not accepted"});
    if (!tag.empty() && tag != "?" && tag != "!")
      out_.problems.push_back({position(mark), "", "tags are not accepted: " + tag.substr(0, 60)});
  }

  void add(YamlNode node) {
    if (open_.empty()) {
      out_.documents.push_back(std::move(node));
    } else {
      open_.back().children.push_back(std::move(node));
    }
  }

  void close() {
    YamlNode node = std::move(open_.back());
    open_.pop_back();
    add(std::move(node));
  }

  YamlText& out_;
  // The sequences and mappings around what comes next.
  std::vector<YamlNode> open_;
};

}  // namespace

YamlText read_yaml(std::string_view text) {
  YamlText result;
  if (text.size() > kMaxFileBytes) {
    result.problems.push_back({{}, "", "the file is larger than 1 MiB"});
    return result;
  }
  std::istringstream stream{std::string(text)};
  try {
    YAML::Parser parser(stream);
    TreeBuilder builder(result);
    while (parser.HandleNextDocument(builder)) {
    }
  } catch (const YAML::Exception& error) {
    result.problems.push_back({position(error.mark), "", error.msg});
  }
  return result;
}

}  // namespace penstock::policy
