#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <utility>

#include "tests/unit/cli/invocation.h"
#include "tests/unit/own_path.h"

namespace penstock::cli {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

TEST(CommandLine, HelpIsDataAndSucceeds) {
  const std::pair<std::vector<std::string>, std::string> cases[] = {{{"--help"}, "--controller"},
                                                                    {{"apply", "-h"}, "--expect-revision"}};
  for (const auto& [arguments, shown] : cases) {
    const Invocation help = invoke(arguments);
    EXPECT_EQ(help.exit_code, kOk);
    EXPECT_THAT(help.out, HasSubstr(shown));
    EXPECT_THAT(help.err, IsEmpty());
  }
  EXPECT_THAT(invoke({"--version"}).out, StartsWith("penstockctl "));
}

TEST(CommandLine, MisspeltCommandIsNamed) {
  EXPECT_THAT(invoke({"aply"}).err, HasSubstr("\"aply\" is no command (did you mean apply?)"));
  EXPECT_THAT(invoke({"xyzzy"}).err, HasSubstr("\"xyzzy\" is no command; see penstockctl --help"));
  EXPECT_EQ(invoke({"aply"}).exit_code, kUsage);
}

TEST(CommandLine, WrongUseIsTwoAndSaysWhatIsWrong) {
  for (const std::vector<std::string>& arguments : std::vector<std::vector<std::string>>{
           {},
           {"aply"},
           {"apply"},
           {"apply", "-f", "x", "--dry-run=client"},
           {"get"},
           {"get", "things"},
           {"get", "pools", "-o", "xml"},
           {"get", "pools", "-l", "a=b"},
           {"get", "nodes", "-l", "ab"},
           {"get", "pool/a", "b"},
           {"why", "payments"},
           {"why", "thing/payments"},
           {"why", "policy/shop"},
           {"why", "pool/default", "--at", "yesterday"},
           {"history", "pool/default"},
           {"rollback", "policy/shop"},
           {"events", "--since", "5"},
           {"breaker"},
           {"breaker", "open", "A"},
           {"breaker", "open", "A", "--ttl", "10m"},
           {"breaker", "open", "A", "--ttl", "ten", "--reason", "x"},
           {"pool", "set", "p", "--limit", "0", "--ttl", "1m", "--reason", "x"},
           {"status", "--timeout", "0s"},
           {"status", "--timeout", "5"},
           {"status", "--tls-cert", "/nonexistent"},
           {"status", "--tls-ca", "/nonexistent"},
           {"completion", "tcsh"},
           {"explain", "polcy"},
           {"explain", "policy.upstreams.braker"},
       }) {
    const Invocation wrong = invoke(arguments);
    EXPECT_EQ(wrong.exit_code, kUsage) << testing::PrintToString(arguments) << wrong.err;
    EXPECT_THAT(wrong.err, StartsWith("error: ")) << testing::PrintToString(arguments);
    EXPECT_THAT(wrong.out, IsEmpty()) << testing::PrintToString(arguments);
  }
}

TEST(CommandLine, NothingListening) {
  for (const std::vector<std::string>& arguments : std::vector<std::vector<std::string>>{
           {"status"}, {"get", "pools"}, {"why", "pool/default"}, {"events", "-f"}, {"top"}}) {
    std::vector<std::string> all = arguments;
    all.insert(all.end(), {"--controller", "127.0.0.1:1", "--timeout", "2s"});
    const Invocation refused = invoke(all);
    EXPECT_EQ(refused.exit_code, kUnreachable) << refused.err;
    EXPECT_THAT(refused.err, HasSubstr("error: controller 127.0.0.1:1: ")) << refused.err;
    EXPECT_THAT(refused.out, IsEmpty());
  }
}

TEST(Explain, ShowsTheCommentsOfTheProto) {
  const Invocation breaker = invoke({"explain", "policy.upstreams.breaker"});
  EXPECT_EQ(breaker.exit_code, kOk);
  EXPECT_THAT(breaker.out, StartsWith("policy.spec.upstreams.breaker  <Breaker>\n"));
  EXPECT_THAT(breaker.out, HasSubstr("  errorRatio  <number>\n      Explicit rule: open when more than this share"));
  EXPECT_EQ(invoke({"explain", "policy.spec.upstreams.breaker"}).out, breaker.out);

  const Invocation discipline = invoke({"explain", "policy.pools.queue.discipline"});
  EXPECT_THAT(discipline.out, HasSubstr("newestFirst"));
  EXPECT_THAT(discipline.out, HasSubstr("CoDel"));
  EXPECT_THAT(invoke({"explain", "policy.pools.memory"}).out, HasSubstr("at least 1 MiB"));
  EXPECT_THAT(invoke({"explain", "policy.upstreams.braker"}).err, HasSubstr("did you mean breaker?"));
}

TEST(Completion, KnowsEveryCommand) {
  for (const char* shell : {"bash", "zsh", "fish"}) {
    const Invocation script = invoke({"completion", shell});
    EXPECT_EQ(script.exit_code, kOk);
    for (const char* command : {"apply", "rollback", "breaker", "completion", "expect-revision", "upstreams"})
      EXPECT_THAT(script.out, HasSubstr(command)) << shell;
  }
}

TEST(Completion, CompletesInBash) {
  const std::string script = invoke({"completion", "bash"}).out;
  const std::string path = own_path("completion.bash");
  const auto complete = [&](const std::string& words, int at) {
    FILE* file = fopen(path.c_str(), "w");
    fputs((script + "COMP_WORDS=(" + words + "); COMP_CWORD=" + std::to_string(at) +
           "; _penstockctl 2>/dev/null; echo \"${COMPREPLY[*]}\"\n")
              .c_str(),
          file);
    fclose(file);
    FILE* bash = popen(("bash " + path).c_str(), "r");
    char line[4096] = "";
    if (fgets(line, sizeof line, bash) == nullptr) line[0] = '\0';
    pclose(bash);
    return std::string(line);
  };
  EXPECT_EQ(complete("penstockctl ro", 1), "rollback\n");
  EXPECT_EQ(complete("penstockctl breaker ''", 2), "open close auto\n");
  EXPECT_EQ(complete("penstockctl get pol", 2), "policies\n");
  EXPECT_EQ(complete("penstockctl apply --exp", 2), "--expect-revision\n");
  EXPECT_EQ(complete("penstockctl breaker open --cont", 3), "--controller\n");
  std::remove(path.c_str());
}

TEST(CommandLine, UnknownRivalsAreNamedWithTheKnown) {
  const Invocation invocation = invoke({"simulate", "--scenario", "normal", "--rivals", "vegas,nobody"});
  EXPECT_EQ(invocation.exit_code, kUsage);
  EXPECT_THAT(invocation.err, HasSubstr("unknown rival \"nobody\"; known: all, none, threads-640, unlimited, vegas"));
}

}  // namespace
}  // namespace penstock::cli
