#pragma once

#include <exception>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

#include "penstock/error.h"

// For tests of code that runs on fibers.
namespace penstock::testing {

class SwitchAssertionFailed : public std::logic_error {
 public:
  explicit SwitchAssertionFailed(const std::string& what) : std::logic_error(what) {}
};

struct SwitchExpectations {
  // The fiber has to wait at least once, so that others get to run.
  bool must_switch = true;
  // The longest that it may run without a switch, to about a microsecond.
  Duration max_blocking = Duration::max();
  // Told what was wrong, at the end of the scope; empty: SwitchAssertionFailed is thrown.
  std::function<void(const std::string&)> on_failure;
};

// Fails at the end of its scope when the calling fiber did not switch within it, or blocked the loop for too long: code
// that is believed to wait, and really blocks its thread, is found by its unit test.
//
//   SwitchAssertion assertion({.max_blocking = std::chrono::milliseconds(20)});
//   client.get("http://127.0.0.1:8080/");
//
// Made and destroyed on one fiber (std::logic_error elsewhere). Scopes nest. Says nothing when the scope is left by an
// exception.
class SwitchAssertion {
 public:
  explicit SwitchAssertion(SwitchExpectations expected = {});
  // May throw SwitchAssertionFailed, or what on_failure throws.
  ~SwitchAssertion() noexcept(false);
  SwitchAssertion(const SwitchAssertion&) = delete;
  SwitchAssertion& operator=(const SwitchAssertion&) = delete;

  // As of now.
  bool switched() const;
  Duration longest_blocking() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
  const int exceptions_ = std::uncaught_exceptions();
};

// The same around one function; returns what it returns.
template <class F>
decltype(auto) assert_switches(F&& fn, SwitchExpectations expected = {}) {
  const SwitchAssertion assertion(std::move(expected));
  return std::forward<F>(fn)();
}

}  // namespace penstock::testing
