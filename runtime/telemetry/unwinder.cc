#include "runtime/telemetry/unwinder.h"

#include <ucontext.h>

#include "runtime/telemetry/unwind_tables.h"

namespace penstock::telemetry {
namespace {

// 160 KiB, kept only while stacks are taken.
constexpr std::size_t kCachedRules = 4096;
constexpr int kSaved[] = {3, 6, 12, 13, 14, 15};

Address moved(Address at, std::int32_t by) { return at + static_cast<Address>(std::intptr_t{by}); }

}  // namespace

[[gnu::no_sanitize("address", "thread")]] bool StackMemory::read(Address at, Address& word) const {
  if (at < low || at > high - sizeof word || high < sizeof word || at % alignof(Address) != 0) return false;
  word = *reinterpret_cast<const volatile Address*>(data + (at - low));
  return true;
}

#if defined(__x86_64__)

[[gnu::no_sanitize("address", "thread")]] Registers Registers::of_fcontext(const void* saved) {
  // MXCSR and x87 control word, the stack protector's canary, r12 to r15, rbx, rbp, and the return address.
  const auto* words = static_cast<const volatile Address*>(saved);
  Registers registers;
  for (int i = 0; i < 4; ++i) registers.set(kR12 + i, words[2 + i]);
  registers.set(kRbx, words[6]);
  registers.set(kRbp, words[7]);
  registers.set(kReturn, words[8]);
  registers.set(kRsp, reinterpret_cast<Address>(saved) + 9 * sizeof(Address));
  return registers;
}

Registers Registers::of_signal(const void* context) {
  const auto& general = static_cast<const ucontext_t*>(context)->uc_mcontext.gregs;
  Registers registers;
  const auto take = [&](int number, int from) { registers.set(number, static_cast<Address>(general[from])); };
  take(kRbx, REG_RBX);
  take(kRbp, REG_RBP);
  take(kRsp, REG_RSP);
  take(kR12, REG_R12);
  take(kR12 + 1, REG_R13);
  take(kR12 + 2, REG_R14);
  take(kR12 + 3, REG_R15);
  take(kReturn, REG_RIP);
  registers.interrupted = true;
  return registers;
}

#else

Registers Registers::of_fcontext(const void*) { return {}; }
Registers Registers::of_signal(const void*) { return {}; }

#endif

Unwinder::Unwinder() : cache_(kCachedRules) {}

const Unwinder::Rule& Unwinder::rule(Address pc, Rule& fresh) {
  if (cache_.empty()) return fresh = find_unwind_rule(pc);
  Rule& slot = cache_[(pc ^ pc >> 12) % kCachedRules];
  if (slot.pc != pc) slot = find_unwind_rule(pc);
  return slot;
}

std::size_t Unwinder::walk(Registers at, const StackMemory& stack, Address* calls, std::size_t most) {
  std::size_t count = 0;
  Rule fresh;
  while (count < most && at.has(Registers::kReturn) && at.ip() > 1 && at.has(Registers::kRsp)) {
    // A return address may be the first of the next function: the call is before it.
    const Address pc = at.interrupted ? at.ip() : at.ip() - 1;
    calls[count++] = pc;
    const Rule& how = rule(pc, fresh);
    Registers caller = at;
    caller.interrupted = false;
    Address cfa = 0, word = 0;
    switch (how.kind) {
      case Rule::unknown:
      case Rule::outermost:
        return count;
      case Rule::signal: {
        // The handler's return address is below the kernel's frame, which begins with a ucontext_t.
        Registers interrupted;
        const auto take = [&](int number, std::size_t general) {
          if (stack.read(at.sp() + 5 * sizeof(Address) + general * sizeof(Address), word))
            interrupted.set(number, word);
        };
#if defined(__x86_64__)
        take(Registers::kRbx, REG_RBX);
        take(Registers::kRbp, REG_RBP);
        take(Registers::kRsp, REG_RSP);
        for (int i = 0; i < 4; ++i) take(Registers::kR12 + i, static_cast<std::size_t>(REG_R12 + i));
        take(Registers::kReturn, REG_RIP);
#endif
        interrupted.interrupted = true;
        at = interrupted;
        continue;
      }
      case Rule::plt:
        cfa = at.sp() + 8 + ((at.ip() & 15) >= 11 ? 8 : 0);
        break;
      case Rule::ordinary:
        if (!at.has(how.cfa_register)) return count;
        cfa = moved(at.value[how.cfa_register], how.cfa_offset);
        break;
      case Rule::realigned:
        if (!at.has(Registers::kRbp) || !stack.read(moved(at.value[Registers::kRbp], how.cfa_offset), cfa))
          return count;
        break;
    }
    // A stack only shrinks towards its callers: also what ends a walk over garbage.
    if (cfa <= at.sp() || !stack.read(moved(cfa, how.return_offset), word)) return count;
    caller.set(Registers::kReturn, word);
    caller.set(Registers::kRsp, cfa);
    for (std::size_t i = 0; i < how.saved.size(); ++i) {
      if (how.saved[i] == kUnchanged) continue;
      const bool by_rbp = (how.saved_by_rbp >> i & 1) != 0;
      if (!stack.read(moved(by_rbp ? at.value[Registers::kRbp] : cfa, how.saved[i]), word)) return count;
      caller.set(kSaved[i], word);
    }
    at = caller;
  }
  return count;
}

}  // namespace penstock::telemetry
