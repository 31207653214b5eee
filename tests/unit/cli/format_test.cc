#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <sstream>

#include "cli/client.h"
#include "cli/decisions.h"
#include "cli/failure.h"
#include "cli/printer.h"
#include "cli/resource.h"
#include "cli/table.h"
#include "cli/text_diff.h"
#include "tests/unit/own_path.h"

namespace penstock::cli {
namespace {

using testing::HasSubstr;

struct Plain {
  std::ostringstream out;
  std::ostringstream err;
  Console console{out, err};
};

TEST(Table, IsAlignedAndShowsWideColumnsOnDemand) {
  const Table table{{{"NAME"}, {"LIMIT", true}, {"REASON", false, true}},
                    {{"default", "64", "min"}, {"slow", "20000", ""}}};
  Plain plain;
  EXPECT_EQ(format(table, plain.console, false),
            "NAME     LIMIT\n"
            "default     64\n"
            "slow     20000\n");
  EXPECT_EQ(format(table, plain.console, true),
            "NAME     LIMIT  REASON\n"
            "default     64  min\n"
            "slow     20000  -\n");
  EXPECT_EQ(format(table, plain.console, false, false),
            "default     64\n"
            "slow     20000\n");
  EXPECT_EQ(format({{{"NAME"}}, {}}, plain.console, false), "");
}

TEST(Table, LongLinesAreWholeWhereThereIsNoTerminal) {
  const std::string text(500, 'x');
  Plain plain;
  EXPECT_THAT(format({{{"A"}, {"B"}}, {{text, text}}}, plain.console, false), HasSubstr(text + "  " + text));
}

TEST(Table, HasNoColourUnlessTheConsoleHas) {
  const Table table{{{"STATE"}}, {{Cell("open", Colour::red)}}};
  Plain plain;
  EXPECT_EQ(format(table, plain.console, false).find('\033'), std::string::npos);
  plain.console.colour = true;
  EXPECT_THAT(format(table, plain.console, false), HasSubstr("\033["));
}

TEST(Printer, AnEmptyTableIsAMessageNotData) {
  Plain plain;
  print({.nothing = "no pools"}, Output::table, plain.console);
  EXPECT_EQ(plain.out.str(), "");
  EXPECT_EQ(plain.err.str(), "no pools\n");
}

TEST(Console, EveryLineOfAnErrorIsMarked) {
  Plain plain;
  plain.console.error("a.yaml:1:2: x: is required\na.yaml:3:4: y: is required");
  EXPECT_EQ(plain.err.str(), "error: a.yaml:1:2: x: is required\nerror: a.yaml:3:4: y: is required\n");
  EXPECT_EQ(plain.out.str(), "");
}

TEST(Diff, ShowsChangesWithContext) {
  Plain plain;
  EXPECT_EQ(unified_diff("a\nb\n", "a\nb\n", "x", "y", plain.console), "");
  EXPECT_EQ(unified_diff("1\n2\n3\n4\n5\n6\n7\n8\n", "1\n2\n3\n4\nfive\n6\n7\n8\n", "x", "y", plain.console),
            "--- x\n+++ y\n@@ -2,7 +2,7 @@\n 2\n 3\n 4\n-5\n+five\n 6\n 7\n 8\n");
  EXPECT_EQ(unified_diff("", "a\nb\n", "x", "y", plain.console), "--- x\n+++ y\n@@ -0,0 +1,2 @@\n+a\n+b\n");
  EXPECT_EQ(unified_diff("a\nb\n", "a\n", "x", "y", plain.console), "--- x\n+++ y\n@@ -1,2 +1 @@\n a\n-b\n");
}

TEST(Diff, ChangesFarApartAreHunksOfTheirOwn) {
  std::string before;
  std::string after;
  for (int i = 0; i < 40; ++i) {
    before += std::to_string(i) + "\n";
    after += i == 5 || i == 30 ? "x\n" : std::to_string(i) + "\n";
  }
  Plain plain;
  const std::string diff = unified_diff(before, after, "x", "y", plain.console);
  EXPECT_THAT(diff, HasSubstr("@@ -3,7 +3,7 @@\n"));
  EXPECT_THAT(diff, HasSubstr("@@ -28,7 +28,7 @@\n"));
}

TEST(Diff, AppliesWithPatch) {
  const std::string before = "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\nk\nl\nm\n";
  const std::string after = "z\na\nb\nc\ne\nf\ng\nh\ni\nj\nk\nl\nm\nn\n";
  const std::string path = own_path("diff");
  const auto write = [](const std::string& name, const std::string& text) {
    FILE* file = fopen(name.c_str(), "w");
    fputs(text.c_str(), file);
    fclose(file);
  };
  Plain plain;
  write(path + ".txt", before);
  write(path + ".after", after);
  write(path + ".patch", unified_diff(before, after, path + ".txt", path + ".txt", plain.console));
  if (std::system("command -v patch >/dev/null") != 0) GTEST_SKIP() << "patch is not installed";
  EXPECT_EQ(
      std::system(("patch -s " + path + ".txt " + path + ".patch && cmp " + path + ".txt " + path + ".after").c_str()),
      0);
  for (const char* suffix : {".txt", ".after", ".patch"}) std::remove((path + suffix).c_str());
}

TEST(Resource, IsAKindAndAName) {
  EXPECT_EQ(parse_resource("upstream/payments").kind, "upstream");
  EXPECT_EQ(parse_resource("breakers/payments").kind, "upstream");
  EXPECT_EQ(parse_resource("nodes/a/b").name, "a/b");
  for (const char* text : {"", "pool", "pool/", "/x", "thing/x"}) EXPECT_THROW(parse_resource(text), Failure) << text;
}

TEST(Times, AreTakenAsTimesOrAges) {
  EXPECT_EQ(parse_time_option("--at", "2024-05-01T12:00:00Z").seconds(), 1714564800);
  const auto ago = parse_time_option("--since", "10m").seconds();
  EXPECT_NEAR(static_cast<double>(ago), static_cast<double>(time(nullptr) - 600), 5);
  EXPECT_EQ(format_time(parse_time_option("--at", "2024-05-01T12:00:00.5Z")), "2024-05-01 12:00:00Z");
}

TEST(Decisions, AreOneLineEach) {
  v1::Decision decision;
  decision.mutable_time()->set_seconds(1714564800);
  decision.set_kind("upstream");
  decision.set_name("A");
  decision.set_service("shop");
  decision.set_node("n1");
  decision.set_action("trip");
  decision.set_message("usefulness 0.01 below 0.05");
  Plain plain;
  EXPECT_EQ(line(decision, plain.console),
            "2024-05-01 12:00:00Z  trip       upstream/A            shop@n1       usefulness 0.01 below 0.05");
}

TEST(RequestId, IsARandomUuid) {
  std::set<std::string> ids;
  for (int i = 0; i < 100; ++i) ids.insert(new_request_id());
  EXPECT_EQ(ids.size(), 100u);
  EXPECT_THAT(*ids.begin(), testing::MatchesRegex("[0-9a-f]+-[0-9a-f]+-4[0-9a-f]+-[89ab][0-9a-f]+-[0-9a-f]+"));
  EXPECT_EQ(ids.begin()->size(), 36u);
}

}  // namespace
}  // namespace penstock::cli
