#include "runtime/interpose/threads/thread_data.h"

#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <link.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string_view>
#include <utility>

#include "runtime/fiber/without_thread_exit.h"
#include "runtime/interpose/interposed.h"
#include "runtime/interpose/real.h"
#include "runtime/interpose/threads/program.h"
#include "runtime/interpose/threads/program_thread.h"

namespace penstock::interpose {
namespace {

struct Place {
  std::size_t module;
  std::size_t offset;
};

constinit Real<void*(Place*)> real_tls_get_addr{"__tls_get_addr"};
constinit Real<int(void (*)(void*), void*, void*)> real_thread_atexit{"__cxa_thread_atexit_impl"};
constinit Real<void(int)> real_exit{"exit"};
PENSTOCK_FOUND_EARLY(real_tls_get_addr)
PENSTOCK_FOUND_EARLY(real_thread_atexit)
PENSTOCK_FOUND_EARLY(real_exit)

constexpr std::size_t kMostModules = 512;

// What a module's data begins with.
struct Module {
  enum class Owner : std::uint8_t { unknown, kernel_thread, program };
  std::atomic<Owner> owner{Owner::unknown};
  const void* image = nullptr;
  std::size_t filled = 0;
  std::size_t bytes = 0;
  std::size_t alignment = 1;
};
constinit std::array<Module, kMostModules> modules;

// A destructor of the C library's thread, which exit() runs for whichever of its fibers calls it.
struct AtThreadExit {
  void (*const destroy)(void*);
  void* const object;
};

bool is_fiber_with_data() noexcept {
  const ProgramThread* thread = ProgramThread::current();
  return thread != nullptr && thread->keeps_values();
}

void destroy_unless_on_fiber(void* argument) {
  auto* entry = static_cast<AtThreadExit*>(argument);
  if (is_fiber_with_data()) return;
  const AtThreadExit kept = *entry;
  delete entry;
  kept.destroy(kept.object);
}

std::string_view file_name(std::string_view path) { return path.substr(path.rfind('/') + 1); }

// Of ours, with what it is made of, and of the C and C++ libraries. They are told apart by name: they have one.
bool is_kernel_threads(std::string_view path, bool ours) {
  constexpr std::string_view kNames[] = {
      "libc.so.", "ld-linux",    "libstdc++.so.", "libboost_fiber.", "libspdlog.so", "libprometheus", "libasan",
      "libgrpc",  "libprotobuf", "libabsl_",      "libunwind.so",    "libdw.so",     "libelf.so",     "libpenstock-"};
  const std::string_view name = file_name(path);
  return ours || std::any_of(std::begin(kNames), std::end(kNames),
                             [name](std::string_view prefix) { return name.starts_with(prefix); });
}

const ElfW(Phdr) * segment(const dl_phdr_info& info, ElfW(Word) type) {
  for (ElfW(Half) i = 0; i < info.dlpi_phnum; ++i) {
    if (info.dlpi_phdr[i].p_type == type) return &info.dlpi_phdr[i];
  }
  return nullptr;
}

bool contains(const dl_phdr_info& info, const void* address) {
  const auto at = reinterpret_cast<std::uintptr_t>(address) - info.dlpi_addr;
  for (ElfW(Half) i = 0; i < info.dlpi_phnum; ++i) {
    const auto& part = info.dlpi_phdr[i];
    if (part.p_type == PT_LOAD && at - part.p_vaddr < part.p_memsz) return true;
  }
  return false;
}

bool is_static(const dl_phdr_info& info) {
  const auto* dynamic = segment(info, PT_DYNAMIC);
  if (dynamic == nullptr) return false;
  const auto* entry = reinterpret_cast<const ElfW(Dyn)*>(info.dlpi_addr + dynamic->p_vaddr);
  for (; entry->d_tag != DT_NULL; ++entry) {
    if (entry->d_tag == DT_FLAGS) return (entry->d_un.d_val & DF_STATIC_TLS) != 0;
  }
  return false;
}

int learn(dl_phdr_info* info, std::size_t, void* argument) {
  const std::size_t wanted = *static_cast<const std::size_t*>(argument);
  if (info->dlpi_tls_modid != wanted) return 0;
  Module& module = modules[wanted];
  const bool ours = contains(*info, &modules);
  if (is_kernel_threads(info->dlpi_name, ours)) {
    module.owner.store(Module::Owner::kernel_thread, std::memory_order_release);
    return 1;
  }
  const auto* tls = segment(*info, PT_TLS);
  if (tls == nullptr) return 1;
  module.image = reinterpret_cast<const void*>(info->dlpi_addr + tls->p_vaddr);
  module.filled = tls->p_filesz;
  module.bytes = tls->p_memsz;
  module.alignment = std::max<std::size_t>(tls->p_align, alignof(std::max_align_t));
  // From now on its number is its own.
  if (info->dlpi_name[0] != '\0') ::dlopen(info->dlpi_name, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE);
  module.owner.store(Module::Owner::program, std::memory_order_release);
  return 1;
}

int object_to(dl_phdr_info* info, std::size_t, void* argument) {
  std::string found = fixed_thread_data(*info);
  if (found.empty()) return 0;
  *static_cast<std::string*>(argument) = std::move(found) + ", which fibers would share";
  return 1;
}

}  // namespace

std::string fixed_thread_data(const dl_phdr_info& info) {
  const auto* tls = segment(info, PT_TLS);
  if (tls == nullptr || tls->p_memsz == 0 || is_kernel_threads(info.dlpi_name, contains(info, &modules))) return "";
  const bool is_program = info.dlpi_name[0] == '\0';
  if (!is_program && !is_static(info)) return "";
  return (is_program ? program_invocation_name : info.dlpi_name) + (" has " + std::to_string(tls->p_memsz)) +
         " bytes of thread_local data at addresses fixed for each thread of the kernel";
}

std::string thread_data_objection() {
  std::string why;
  ::dl_iterate_phdr(object_to, &why);
  return why;
}

ThreadData::~ThreadData() {
  if (blocks_ == nullptr) return;
  for (std::byte* block : *blocks_) std::free(block);
  delete blocks_;
}

std::byte* ThreadData::block(std::size_t module) noexcept {
  static_assert(kModules == kMostModules);
  if (module >= kModules) return nullptr;
  if (blocks_ != nullptr && (*blocks_)[module] != nullptr) return (*blocks_)[module];
  Module& known = modules[module];
  Module::Owner owner = known.owner.load(std::memory_order_acquire);
  if (owner == Module::Owner::kernel_thread) return nullptr;
  if (owner == Module::Owner::unknown) {
    ::dl_iterate_phdr(learn, &module);
    owner = known.owner.load(std::memory_order_acquire);
    if (owner != Module::Owner::program) return nullptr;
  }
  if (blocks_ == nullptr) blocks_ = new std::array<std::byte*, kModules>{};
  const std::size_t bytes = (known.bytes + known.alignment - 1) / known.alignment * known.alignment;
  auto* block = static_cast<std::byte*>(std::aligned_alloc(known.alignment, bytes));
  if (block == nullptr) std::abort();  // as the loader does
  std::memcpy(block, known.image, known.filled);
  std::memset(block + known.filled, 0, bytes - known.filled);
  return (*blocks_)[module] = block;
}

}  // namespace penstock::interpose

using namespace penstock;
using namespace penstock::interpose;

PENSTOCK_INTERPOSED void* __tls_get_addr(penstock::interpose::Place* place) {
  ProgramThread* thread = ProgramThread::current();
  if (thread != nullptr && thread->keeps_values()) {
    if (std::byte* block = thread->data.block(place->module)) return block + place->offset;
  }
  return real_tls_get_addr(place);
}

PENSTOCK_INTERPOSED int __cxa_thread_atexit_impl(void (*destroy)(void*), void* object, void* library) {
  if (fiber::WithoutThreadExit::active()) return 0;
  ProgramThread* thread = ProgramThread::current();
  if (thread == nullptr || !thread->keeps_values()) {
    if (!makes_fibers_of_threads()) return real_thread_atexit(destroy, object, library);
    auto* entry = new (std::nothrow) AtThreadExit{destroy, object};
    if (entry == nullptr) std::abort();  // as the C library does
    return real_thread_atexit(destroy_unless_on_fiber, entry, library);
  }
  auto* entry = new (std::nothrow) ProgramThread::AtExit{destroy, object, thread->at_exit};
  if (entry == nullptr) std::abort();
  thread->at_exit = entry;
  return 0;
}

PENSTOCK_INTERPOSED __attribute__((noreturn)) void exit(int status) noexcept {
  ProgramThread* thread = ProgramThread::current();
  if (thread != nullptr && thread->keeps_values()) thread->destroy_thread_data();
  real_exit(status);
  std::abort();
}
