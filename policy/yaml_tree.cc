#include "policy/yaml_tree.h"

#include <yaml-cpp/depthguard.h>
#include <yaml-cpp/emitterstyle.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
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

  void OnDocumentStart(const YAML::Mark& mark) override {
    // Where a document cannot begin, such as at a ",", the parser gives empty ones for ever.
    if (mark.pos == begin_) throw YAML::ParserException(mark, "is no YAML");
    begin_ = mark.pos;
    open_.clear();
  }
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
  // Of the latest document.
  int begin_ = -1;
};

// The offset of the first byte that is not part of well-formed UTF-8, or npos.
std::size_t find_malformed_utf8(std::string_view text) {
  for (std::size_t at = 0; at < text.size();) {
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
    const unsigned char first = byte(at);
    const int length = first < 0x80 ? 1 : first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
    if (length == 0 || at + length > text.size()) return at;
    for (int i = 1; i < length; ++i)
      if ((byte(at + i) & 0xc0) != 0x80) return at;
    // Overlong forms, surrogates, and what is beyond U+10FFFF.
    if (length >= 3) {
      const unsigned char second = byte(at + 1);
      if ((first == 0xe0 && second < 0xa0) || (first == 0xed && second > 0x9f) || (first == 0xf0 && second < 0x90) ||
          (first == 0xf4 && second > 0x8f))
        return at;
    }
    at += length;
  }
  return std::string_view::npos;
}

// What YAML does not allow; yaml-cpp takes some of it for the end of the text, and looks for more for ever.
std::size_t find_control_character(std::string_view text) {
  const auto found = std::ranges::find_if(
      text, [](unsigned char c) { return (c < ' ' && c != '\t' && c != '\n' && c != '\r') || c == 0x7f; });
  return found == text.end() ? std::string_view::npos : static_cast<std::size_t>(found - text.begin());
}

Position position_at(std::string_view text, std::size_t at) {
  const std::string_view before = text.substr(0, at);
  const auto line = static_cast<int>(std::ranges::count(before, '\n')) + 1;
  return {line, static_cast<int>(at - (before.rfind('\n') + 1)) + 1};
}

}  // namespace

YamlText read_yaml(std::string_view text) {
  YamlText result;
  if (text.size() > kMaxFileBytes) {
    result.problems.push_back({{}, "", "the file is larger than 1 MiB"});
    return result;
  }
  if (const std::size_t at = find_malformed_utf8(text); at != std::string_view::npos) {
    result.problems.push_back({position_at(text, at), "", "is not UTF-8"});
    return result;
  }
  if (const std::size_t at = find_control_character(text); at != std::string_view::npos) {
    result.problems.push_back({position_at(text, at), "", "holds a control character"});
    return result;
  }
  std::istringstream stream{std::string(text)};
  try {
    YAML::Parser parser(stream);
    TreeBuilder builder(result);
    while (parser.HandleNextDocument(builder)) {
    }
  } catch (const YAML::DeepRecursion& error) {
    result.problems.push_back({position(error.mark), "", "is nested too deeply"});
  } catch (const YAML::Exception& error) {
    result.problems.push_back({position(error.mark), "", error.msg});
  }
  return result;
}

}  // namespace penstock::policy
