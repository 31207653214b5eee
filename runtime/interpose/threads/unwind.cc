#include "runtime/interpose/threads/unwind.h"

#include <pthread.h>
#include <setjmp.h>
#include <unistd.h>
#include <unwind.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "runtime/interpose/interposed.h"
#include "runtime/interpose/real.h"
#include "runtime/interpose/threads/program_thread.h"

namespace penstock::interpose {
namespace {

// What the C library keeps of the stack pointer in a jmp_buf is scrambled with a value of the thread control block.
constexpr int kStackPointer = 6;
std::uintptr_t stack_pointer(const __pthread_unwind_buf_t& buffer) noexcept {
  auto value = static_cast<std::uintptr_t>(buffer.__cancel_jmp_buf[0].__cancel_jmp_buf[kStackPointer]);
  asm("ror $17, %0\n\txor %%fs:0x30, %0" : "+r"(value)::"cc");
  return value;
}

void caught_and_kept(_Unwind_Reason_Code, _Unwind_Exception*) noexcept {
  constexpr char kComplaint[] = "FATAL: exception not rethrown\n";
  static_cast<void>(!::write(STDERR_FILENO, kComplaint, sizeof kComplaint - 1));
  std::abort();
}

}  // namespace

void unwind_thread(ProgramThread& thread) {
  auto* exception = static_cast<_Unwind_Exception*>(std::calloc(1, sizeof(_Unwind_Exception)));
  exception->exception_cleanup = caught_and_kept;
  _Unwind_ForcedUnwind(
      exception,
      [](int, _Unwind_Action actions, _Unwind_Exception_Class, _Unwind_Exception* exception, _Unwind_Context* context,
         void* argument) {
        auto& thread = *static_cast<ProgramThread*>(argument);
        __pthread_unwind_buf_t* next = thread.cleanups;
        const bool at_end = (actions & _UA_END_OF_STACK) != 0;
        if (next != nullptr && (at_end || _Unwind_GetCFA(context) >= stack_pointer(*next))) {
          std::free(exception);
          ::longjmp(reinterpret_cast<__jmp_buf_tag*>(next->__cancel_jmp_buf), 1);
        }
        if (at_end) {
          std::free(exception);
          thread.end_first();
        }
        return _URC_NO_REASON;
      },
      &thread);
  // No frame has information for unwinding.
  if (thread.cleanups != nullptr) ::longjmp(reinterpret_cast<__jmp_buf_tag*>(thread.cleanups->__cancel_jmp_buf), 1);
  thread.end_first();
}

}  // namespace penstock::interpose

// What pthread_cleanup_push() and pthread_cleanup_pop() are in C. The C library keeps one list for each of its threads.
namespace penstock::interpose::real {
constinit Real<void(__pthread_unwind_buf_t*)> register_cancel{"__pthread_register_cancel"};
constinit Real<void(__pthread_unwind_buf_t*)> unregister_cancel{"__pthread_unregister_cancel"};
constinit Real<void(__pthread_unwind_buf_t*)> register_cancel_defer{"__pthread_register_cancel_defer"};
constinit Real<void(__pthread_unwind_buf_t*)> unregister_cancel_restore{"__pthread_unregister_cancel_restore"};
constinit Real<void(__pthread_unwind_buf_t*)> unwind_next{"__pthread_unwind_next"};
PENSTOCK_FOUND_EARLY(register_cancel)
PENSTOCK_FOUND_EARLY(unregister_cancel)
PENSTOCK_FOUND_EARLY(register_cancel_defer)
PENSTOCK_FOUND_EARLY(unregister_cancel_restore)
PENSTOCK_FOUND_EARLY(unwind_next)
}  // namespace penstock::interpose::real

using namespace penstock::interpose;

namespace {
// In a buffer's private words: the next outer one, and the type of cancellation before it.
constexpr int kOuter = 0;
constexpr int kType = 1;
}  // namespace

PENSTOCK_INTERPOSED void __pthread_register_cancel(__pthread_unwind_buf_t* buffer) {
  ProgramThread* thread = ProgramThread::current();
  if (thread == nullptr) return real::register_cancel(buffer);
  buffer->__pad[kOuter] = thread->cleanups;
  thread->cleanups = buffer;
}

PENSTOCK_INTERPOSED void __pthread_unregister_cancel(__pthread_unwind_buf_t* buffer) {
  ProgramThread* thread = ProgramThread::current();
  if (thread == nullptr) return real::unregister_cancel(buffer);
  thread->cleanups = static_cast<__pthread_unwind_buf_t*>(buffer->__pad[kOuter]);
}

PENSTOCK_INTERPOSED void __pthread_register_cancel_defer(__pthread_unwind_buf_t* buffer) {
  ProgramThread* thread = ProgramThread::current();
  if (thread == nullptr) return real::register_cancel_defer(buffer);
  __pthread_register_cancel(buffer);
  buffer->__pad[kType] = thread->cancellation.asynchronous ? thread : nullptr;
  thread->cancellation.asynchronous = false;
}

PENSTOCK_INTERPOSED void __pthread_unregister_cancel_restore(__pthread_unwind_buf_t* buffer) {
  ProgramThread* thread = ProgramThread::current();
  if (thread == nullptr) return real::unregister_cancel_restore(buffer);
  __pthread_unregister_cancel(buffer);
  thread->cancellation.asynchronous = buffer->__pad[kType] != nullptr;
  if (thread->cancellation.asynchronous) test_cancel();
}

PENSTOCK_INTERPOSED __attribute__((noreturn)) void __pthread_unwind_next(__pthread_unwind_buf_t* buffer) {
  ProgramThread* thread = ProgramThread::current();
  if (thread == nullptr) {
    real::unwind_next(buffer);
    std::abort();
  }
  thread->cleanups = static_cast<__pthread_unwind_buf_t*>(buffer->__pad[kOuter]);
  unwind_thread(*thread);
}
