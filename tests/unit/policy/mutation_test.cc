#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>

#include <random>
#include <string>

#include "policy/convert.h"
#include "policy/print.h"
#include "policy/yaml.h"
#include "tests/unit/policy/sample.h"

namespace penstock::policy {
namespace {

// Whatever a file holds, reading ends with policies or with problems that can be printed.
void must_survive(const std::string& text) {
  const ParsedFile file = parse_file(text);
  for (const Problem& problem : file.problems) ASSERT_FALSE(to_string(problem, "f").empty());
  if (!file.problems.empty()) return;
  for (const Document& document : file.documents) {
    ASSERT_TRUE(to_decision(document.policy()).ok()) << text;
    const auto again = parse_yaml(to_yaml(document.policy()), "again");
    ASSERT_TRUE(again.ok()) << text << again.status().message();
    ASSERT_TRUE(google::protobuf::util::MessageDifferencer::Equals(again->front(), document.policy())) << text;
  }
}

class Mutations : public testing::TestWithParam<unsigned> {};

TEST_P(Mutations, NeverCrashTheReader) {
  std::mt19937 random(GetParam());
  const std::string interesting = "\t\n\r -:?{}[],&*!|>'\"%@`#~<=.0159azAZ\x7f\x80\xc3\xff";
  const std::string characters = interesting + '\0';
  for (int round = 0; round < 1500; ++round) {
    std::string text = kShop;
    for (int changes = 1 + static_cast<int>(random() % 6); changes > 0; --changes) {
      const std::size_t at = random() % text.size();
      switch (random() % 5) {
        case 0:
          text[at] = static_cast<char>(random());
          break;
        case 1:
          text[at] = characters[random() % characters.size()];
          break;
        case 2:
          text.insert(at, 1, characters[random() % characters.size()]);
          break;
        case 3:
          text.erase(at, 1 + random() % 20);
          break;
        default:
          text.insert(at, text.substr(random() % text.size(), random() % 60));
      }
      if (text.empty()) text = " ";
    }
    ASSERT_NO_THROW(must_survive(text)) << text;
    if (HasFatalFailure()) return;
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, Mutations, testing::Values(1, 2, 3, 4));

TEST(Mutation, EveryPrefixIsReadOrRefused) {
  const std::string text = kShop;
  for (std::size_t size = 0; size < text.size(); ++size) must_survive(text.substr(0, size));
}

}  // namespace
}  // namespace penstock::policy
