#include "runtime/telemetry/thread_stack.h"

#include <semaphore.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <fstream>
#include <mutex>
#include <sstream>

#include "runtime/fiber/scheduler.h"
#include "runtime/fiber/stack_arena.h"

namespace penstock::telemetry {
namespace {

constexpr std::size_t kMostCalls = 48;
constexpr std::size_t kMostStack = 64 * 1024;
constexpr long kPatienceNanoseconds = 50'000'000;

// What a thread is asked to write down. One question at a time; an answer that comes too late finds nobody's number.
struct Question {
  std::atomic<pid_t> asked{0};
  std::array<Address, kMostCalls> calls;
  std::size_t count = 0;
  fiber::TaskName fiber;
  sem_t answered;
};
Question question;

void on_question(int, siginfo_t*, void* context) noexcept {
  const int error = errno;
  pid_t me = static_cast<pid_t>(::syscall(SYS_gettid));
  if (question.asked.compare_exchange_strong(me, -1)) {
    const Registers at = Registers::of_signal(context);
    const auto* sp = reinterpret_cast<const std::byte*>(at.sp());
    const fiber::StackPlace place = fiber::StackArena::find(sp);
    if (place.lowest != nullptr && !place.in_guard) {
      const StackMemory stack = StackMemory::itself(sp, place.lowest + place.bytes);
      question.count = Unwinder(Unwinder::NoCache{}).walk(at, stack, question.calls.data(), question.calls.size());
    } else {
      // A callback of the dispatcher: where it stands, and nothing of a stack whose bounds are not known.
      question.calls[0] = at.ip();
      question.count = 1;
    }
    question.fiber = {};
    if (fiber::Scheduler* scheduler = fiber::Scheduler::current()) scheduler->running().state.describe(question.fiber);
    ::sem_post(&question.answered);
  }
  errno = error;
}

bool prepare() {
  static const bool ready = [] {
    ::sem_init(&question.answered, 0, 0);
    struct sigaction action {};
    action.sa_sigaction = on_question;
    action.sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK;
    ::sigemptyset(&action.sa_mask);
    return ::sigaction(SIGURG, &action, nullptr) == 0;
  }();
  return ready;
}

// Of a thread in a system call: "number arguments.. sp pc" (proc(5)).
bool read_system_call(pid_t thread, ThreadStack& found) {
  std::ifstream file("/proc/self/task/" + std::to_string(thread) + "/syscall");
  std::string line;
  if (!std::getline(file, line) || line.empty() || line.starts_with("running")) return false;
  std::istringstream words(line);
  std::string word, sp_text, pc_text;
  while (words >> word) {
    sp_text = std::move(pc_text);
    pc_text = word;
  }
  const Address sp = std::strtoull(sp_text.c_str(), nullptr, 0);
  const Address pc = std::strtoull(pc_text.c_str(), nullptr, 0);
  if (sp == 0 || pc == 0) return false;
  found.in_system_call = true;

  // A copy, since the thread may go on meanwhile; the kernel knows what of it is memory.
  std::size_t bytes = kMostStack;
  const fiber::StackPlace place = fiber::StackArena::find(reinterpret_cast<const void*>(sp));
  if (place.lowest != nullptr) {
    bytes = std::min(bytes, static_cast<std::size_t>(reinterpret_cast<Address>(place.lowest) + place.bytes - sp));
  }
  std::vector<std::byte> copy(bytes);
  const iovec here{copy.data(), bytes};
  const iovec there{reinterpret_cast<void*>(sp), bytes};
  ssize_t got = ::process_vm_readv(::getpid(), &here, 1, &there, 1, 0);
  if (got <= 0) return true;
  Registers at;
  at.set(Registers::kRsp, sp);
  at.set(Registers::kReturn, pc);
  at.interrupted = true;
  found.calls.resize(kMostCalls);
  Unwinder unwinder;
  found.calls.resize(
      unwinder.walk(at, {sp, sp + static_cast<Address>(got), copy.data()}, found.calls.data(), found.calls.size()));
  return true;
}

}  // namespace

ThreadStack stack_of_thread(pid_t thread) {
  static std::mutex one_at_a_time;
  const std::lock_guard lock(one_at_a_time);
  ThreadStack found;
  if (read_system_call(thread, found) || !prepare()) return found;

  while (::sem_trywait(&question.answered) == 0) {
  }
  question.asked = thread;
  if (::syscall(SYS_tgkill, ::getpid(), thread, SIGURG) != 0) {
    question.asked = 0;
    return found;
  }
  timespec until;
  ::clock_gettime(CLOCK_REALTIME, &until);
  until.tv_nsec += kPatienceNanoseconds;
  if (until.tv_nsec >= 1'000'000'000) {
    until.tv_nsec -= 1'000'000'000;
    ++until.tv_sec;
  }
  int waited;
  while ((waited = ::sem_timedwait(&question.answered, &until)) != 0 && errno == EINTR) {
  }
  pid_t unanswered = thread;
  if (question.asked.compare_exchange_strong(unanswered, 0)) return found;
  // It is answering right now.
  while (waited != 0 && (waited = ::sem_wait(&question.answered)) != 0 && errno == EINTR) {
  }
  found.calls.assign(question.calls.begin(), question.calls.begin() + static_cast<std::ptrdiff_t>(question.count));
  found.fiber = question.fiber.view();
  return found;
}

}  // namespace penstock::telemetry
