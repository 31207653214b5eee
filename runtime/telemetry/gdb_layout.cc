#include "runtime/telemetry/gdb_layout.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>
#include <mutex>

#include "runtime/fiber/fiber_access.h"
#include "runtime/fiber/scheduler.h"
#include "runtime/fiber/waiter.h"
#include "runtime/http/connection.h"
#include "runtime/telemetry/revealed.h"
#include "runtime/telemetry/suspended_context.h"

namespace penstock::telemetry {

struct ContextOfProperties {
  friend constexpr auto member_of(ContextOfProperties);
};
struct WaitingForOfWaiter {
  friend constexpr auto member_of(WaitingForOfWaiter);
};
struct NameSizeOfFiber {
  friend constexpr auto member_of(NameSizeOfFiber);
};
struct PeerOfConnection {
  friend constexpr auto member_of(PeerOfConnection);
};
template struct Revealed<&boost::fibers::fiber_properties::ctx_, ContextOfProperties>;
template struct Revealed<&fiber::Waiter::waiting_for_, WaitingForOfWaiter>;
template struct Revealed<&Fiber::State::name_size_, NameSizeOfFiber>;
template struct Revealed<&http::Connection::peer_, PeerOfConnection>;

namespace {

using fiber::FiberState;
using fiber::Properties;
using fiber::WaitingFor;

// Where a member lies in its class, which is how the Itanium ABI represents a pointer to one.
template <class Class, class Type>
long offset(Type Class::*member) {
  static_assert(sizeof member == sizeof(long));
  long result;
  std::memcpy(&result, &member, sizeof result);
  return result;
}

template <class Class, class Type>
constexpr long size_of_class(Type Class::*) {
  return sizeof(Class);
}

// Its private base: only this kind of cast may name it.
long task_in_connection() {
  alignas(http::Connection) static std::byte room[sizeof(http::Connection)];
  auto* task = (fiber::Task*)reinterpret_cast<http::Connection*>(room);
  return reinterpret_cast<std::byte*>(task) - room;
}

std::mutex& threads_mutex() {
  // Never destroyed: threads may end after static destructors have begun.
  static auto& mutex = *new std::mutex;
  return mutex;
}

}  // namespace

// What the script reads: names and numbers, up to a null.
struct GdbLayout {
  const char* name;
  long value;
};

}  // namespace penstock::telemetry

using namespace penstock;
using namespace penstock::telemetry;

extern "C" {
// Found by these names.
[[gnu::used]] constinit GdbThread* penstock_gdb_threads = nullptr;
extern const GdbLayout penstock_gdb_layout[];
[[gnu::used]] const GdbLayout penstock_gdb_layout[] = {
    {"fiber.listed", offset(&Properties::listed)},
    {"fiber.context", offset(static_cast<boost::fibers::context * Properties::*>(member_of(ContextOfProperties{})))},
    {"fiber.phase", offset(&Properties::phase)},
    {"fiber.since", offset(&Properties::since)},
    {"fiber.task", offset(&Properties::state) + offset(&FiberState::task)},
    {"fiber.id", offset(&Properties::state) + offset(&FiberState::id)},
    {"fiber.started", offset(&Properties::state) + offset(&FiberState::started)},
    {"fiber.deadline", offset(&Properties::state) + offset(&FiberState::deadline)},
    {"fiber.waiter", offset(&Properties::state) + offset(&FiberState::waiter)},
    {"fiber.upstream", offset(&Properties::state) + offset(&FiberState::upstream)},
    {"context.saved", offset(member_of(ContextOfFiber{})) + offset(member_of(SavedOfContext{}))},
    {"waiter.what", offset(member_of(WaitingForOfWaiter{})) + offset(&WaitingFor::what)},
    {"waiter.name", offset(member_of(WaitingForOfWaiter{})) + offset(&WaitingFor::name)},
    {"waiter.fiber", offset(member_of(WaitingForOfWaiter{})) + offset(&WaitingFor::fiber)},
    // Relative to their tasks.
    {"penstock::Fiber::State.name_size", offset(member_of(NameSizeOfFiber{}))},
    {"penstock::Fiber::State.name", size_of_class(member_of(NameSizeOfFiber{}))},
    {"penstock::http::Connection.host",
     offset(member_of(PeerOfConnection{})) + offset(&net::Endpoint::host) - task_in_connection()},
    {"penstock::http::Connection.port",
     offset(member_of(PeerOfConnection{})) + offset(&net::Endpoint::port) - task_in_connection()},
    {nullptr, 0},
};
}  // extern "C"

namespace penstock::telemetry {

GdbThread::GdbThread(unsigned index, const void* fibers, const Instant* now)
    : index_(index), thread_(static_cast<unsigned long>(::syscall(SYS_gettid))), fibers_(fibers), now_(now) {
  const std::lock_guard lock(threads_mutex());
  next_ = penstock_gdb_threads;
  penstock_gdb_threads = this;
}

GdbThread::~GdbThread() {
  const std::lock_guard lock(threads_mutex());
  GdbThread** at = &penstock_gdb_threads;
  while (*at != this) at = &(*at)->next_;
  *at = next_;
}

}  // namespace penstock::telemetry
