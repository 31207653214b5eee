#include <pthread.h>
#include <setjmp.h>
#include <signal.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "runtime/interpose/guard.h"
#include "runtime/interpose/interposed.h"
#include "runtime/interpose/real.h"
#include "runtime/interpose/threads/program_thread.h"
#include "runtime/interpose/threads/signals.h"

// setjmp() and longjmp(), with which programs leave handlers of signals: read() with alarm(). The C library saves and
// restores the mask of the kernel's thread; of a fiber it is to be the fiber's. Sanitizers have their own.
#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

namespace penstock::interpose {
namespace {

using Jump = void(__jmp_buf_tag*, int);
constinit Real<Jump> real_longjmp{"longjmp"};
constinit Real<Jump> real_plain_longjmp{"_longjmp"};
constinit Real<Jump> real_siglongjmp{"siglongjmp"};
constinit Real<Jump> real_checked_longjmp{"__longjmp_chk"};
constinit Real<int(__jmp_buf_tag*, int)> real_sigsetjmp{"__sigsetjmp"};
PENSTOCK_FOUND_EARLY(real_longjmp)
PENSTOCK_FOUND_EARLY(real_plain_longjmp)
PENSTOCK_FOUND_EARLY(real_siglongjmp)
PENSTOCK_FOUND_EARLY(real_checked_longjmp)
PENSTOCK_FOUND_EARLY(real_sigsetjmp)

// Of the mask that a buffer keeps the C library uses the kernel's part. The end of the rest is ours.
struct Saved {
  std::uint64_t mark;
  std::uint64_t mask;
};
constexpr std::uint64_t kMark = 0x70656E73746F636B;
constexpr std::size_t kSavedAt = sizeof(__sigset_t) - sizeof(Saved);

Saved saved_in(const __jmp_buf_tag& buffer) noexcept {
  Saved saved;
  std::memcpy(&saved, reinterpret_cast<const char*>(&buffer.__saved_mask) + kSavedAt, sizeof saved);
  return saved;
}

// The C library keeps it so that nobody can overwrite it with an address of his own.
const char* stack_pointer_of(const __jmp_buf_tag& buffer) noexcept {
  constexpr int kStackPointer = 6;
  auto at = static_cast<std::uint64_t>(buffer.__jmpbuf[kStackPointer]);
  asm("rorq $17, %0\n\txorq %%fs:0x30, %0" : "+r"(at));
  return reinterpret_cast<const char*>(at);
}

void before_jump(__jmp_buf_tag* buffer) noexcept {
  sigset_t restored = buffer->__saved_mask;
  if (const Saved saved = saved_in(*buffer); saved.mark == kMark)
    std::memcpy(&restored, &saved.mask, sizeof saved.mask);
  leave_handlers(stack_pointer_of(*buffer), buffer->__mask_was_saved != 0 ? &restored : nullptr, restored);
  if (buffer->__mask_was_saved != 0) std::memcpy(&buffer->__saved_mask, &restored, sizeof(Saved::mask));
}

}  // namespace
}  // namespace penstock::interpose

using namespace penstock::interpose;

// Before the C library's, which it tells.
extern "C" __attribute__((used)) auto penstock_before_sigsetjmp(__jmp_buf_tag* buffer, int saves_mask) {
  if (saves_mask != 0) {
    const ProgramThread* thread = may_wait() != nullptr ? ProgramThread::current() : nullptr;
    Saved saved{};
    if (thread != nullptr) {
      saved.mark = kMark;
      std::memcpy(&saved.mask, &thread->blocked, sizeof saved.mask);
    }
    std::memcpy(reinterpret_cast<char*>(&buffer->__saved_mask) + kSavedAt, &saved, sizeof saved);
  }
  return real_sigsetjmp.get();
}

// They return twice, to the caller's frame, so that nothing of ours may be below it.
asm(R"(
  .pushsection .text
  .globl setjmp
  .type setjmp, @function
setjmp:
  .cfi_startproc
  endbr64
  movl $1, %esi
  jmp .Lsaves_mask
  .cfi_endproc
  .size setjmp, .-setjmp

  .globl __sigsetjmp
  .type __sigsetjmp, @function
__sigsetjmp:
  .cfi_startproc
  endbr64
.Lsaves_mask:
  pushq %rdi
  .cfi_adjust_cfa_offset 8
  pushq %rsi
  .cfi_adjust_cfa_offset 8
  subq $8, %rsp
  .cfi_adjust_cfa_offset 8
  call penstock_before_sigsetjmp
  addq $8, %rsp
  .cfi_adjust_cfa_offset -8
  popq %rsi
  .cfi_adjust_cfa_offset -8
  popq %rdi
  .cfi_adjust_cfa_offset -8
  jmp *%rax
  .cfi_endproc
  .size __sigsetjmp, .-__sigsetjmp
  .popsection
)");

#define PENSTOCK_JUMP(name, real)                                                             \
  PENSTOCK_INTERPOSED __attribute__((noreturn)) void name(__jmp_buf_tag* buffer, int value) { \
    before_jump(buffer);                                                                      \
    real(buffer, value);                                                                      \
    std::abort();                                                                             \
  }
PENSTOCK_JUMP(longjmp, real_longjmp)
PENSTOCK_JUMP(_longjmp, real_plain_longjmp)
PENSTOCK_JUMP(siglongjmp, real_siglongjmp)
PENSTOCK_JUMP(__longjmp_chk, real_checked_longjmp)

#endif
