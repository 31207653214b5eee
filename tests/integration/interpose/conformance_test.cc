#include <gtest/gtest.h>
#include <signal.h>

#include <cstdlib>
#include <future>
#include <string>
#include <vector>

#include "penstock/runtime.h"
#include "tests/integration/interpose/cases.h"

namespace penstock {
namespace {

std::vector<const Case*> all_cases() {
  std::vector<const Case*> all;
  for (const Case* list : {kCases, kMoreCases, kIoCases, kThreadCases, kIpcCases}) {
    for (; list->name != nullptr; ++list) all.push_back(list);
  }
  return all;
}

std::string said(const Case& one) {
  char* text = nullptr;
  std::size_t size = 0;
  FILE* out = ::open_memstream(&text, &size);
  one.run(out);
  ::fclose(out);
  std::string result(text, size);
  std::free(text);
  return result;
}

class Conformance : public ::testing::TestWithParam<const Case*> {
 protected:
  Conformance() { ::signal(SIGPIPE, SIG_IGN); }
};

TEST_P(Conformance, SaysOnAFiberWhatItSaysOnAThread) {
  const std::string plain = said(*GetParam());
  ASSERT_NE(plain, "");
  Runtime runtime({.threads = 1});
  std::promise<std::string> promise;
  runtime.spawn("case", [&] { promise.set_value(said(*GetParam())); });
  EXPECT_EQ(promise.get_future().get(), plain);
}

INSTANTIATE_TEST_SUITE_P(Of, Conformance, ::testing::ValuesIn(all_cases()),
                         [](const auto& info) { return std::string(info.param->name); });

}  // namespace
}  // namespace penstock
