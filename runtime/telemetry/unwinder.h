#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

// Call stacks, also of contexts that do not run, read by the tables that C++ exceptions use. On x86_64; elsewhere every
// stack is empty.
namespace penstock::telemetry {

using Address = std::uintptr_t;

// Where a context stands. Of the general registers, those that a call preserves.
struct Registers {
  // As DWARF numbers them.
  static constexpr int kRbx = 3, kRbp = 6, kRsp = 7, kR12 = 12, kReturn = 16;
  static constexpr int kCount = 17;

  std::array<Address, kCount> value{};
  // A bit for each register whose value is known.
  std::uint32_t known = 0;
  // The instruction pointer is that of the next instruction, as after an interrupt, and not a return address.
  bool interrupted = false;

  void set(int number, Address to) {
    value[static_cast<std::size_t>(number)] = to;
    known |= 1U << number;
  }
  bool has(int number) const { return (known >> number & 1U) != 0; }
  Address ip() const { return value[kReturn]; }
  Address sp() const { return value[kRsp]; }

  // Of a context that Boost.Context's jump_fcontext left, from what it keeps of it.
  static Registers of_fcontext(const void* saved);
  // Of what a signal interrupted; `context` is the third argument of its handler.
  static Registers of_signal(const void* context);
};

// The memory of one stack: the stack itself, or a copy of a piece of it.
struct StackMemory {
  Address low = 0;
  Address high = 0;
  const std::byte* data = nullptr;

  static StackMemory itself(const void* low, const void* high) {
    return {reinterpret_cast<Address>(low), reinterpret_cast<Address>(high), static_cast<const std::byte*>(low)};
  }
  // False: outside.
  [[gnu::no_sanitize("address", "thread")]] bool read(Address at, Address& word) const;
};

// Finds callers. Reads nothing but the stack given and the unwind tables of loaded objects.
//
// What it learnt of a return address it keeps: a further stack costs some 20 ns a frame. Not thread-safe.
class Unwinder {
 public:
  // Keeps nothing and allocates nothing: for signal handlers.
  struct NoCache {};
  explicit Unwinder(NoCache) {}
  Unwinder();

  // The addresses of the calls, innermost first: each within the function that called, so that it can be looked up
  // as it is. Ends where no table says how to go on. Returns how many.
  std::size_t walk(Registers at, const StackMemory& stack, Address* calls, std::size_t most);

  // How one frame is undone.
  struct Rule {
    Address pc = 0;
    // The frame's caller's stack pointer: that register plus that offset.
    std::int32_t cfa_offset = 0;
    std::int32_t return_offset = 0;
    // Where rbx, rbp, r12 to r15 were saved, relative to the caller's stack pointer; kUnchanged.
    std::array<std::int16_t, 6> saved{};
    std::uint8_t cfa_register = 0;
    // A bit for each of them that is relative to rbp instead.
    std::uint8_t saved_by_rbp = 0;
    // realigned: the caller's stack pointer is in memory, at cfa_offset from rbp.
    enum Kind : std::uint8_t { unknown, ordinary, realigned, plt, signal, outermost } kind = unknown;
  };
  static constexpr std::int16_t kUnchanged = INT16_MAX;

 private:
  const Rule& rule(Address pc, Rule& fresh);

  std::vector<Rule> cache_;
};

}  // namespace penstock::telemetry
