#include "runtime/interpose/threads/plain_libraries.h"

#include <link.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string_view>

#include "penstock/spin_lock.h"
#include "runtime/interpose/threads/thread_data.h"

namespace penstock::interpose {
namespace {

constexpr std::string_view kComputing[] = {"openblas", "libblis", "libmkl_", "libgomp", "libomp", "libiomp", "libtbb"};

// Which libraries there are, as the loader counts them.
struct Loaded {
  unsigned long long added = 0;
  unsigned long long removed = 0;
  bool operator==(const Loaded&) const = default;
};

struct Library {
  std::uintptr_t begin;
  std::uintptr_t end;
  bool shares_data;
  bool operator==(const Library&) const = default;
};

struct Libraries {
  const Library* begin() const noexcept { return items.data(); }
  const Library* end() const noexcept { return items.data() + count; }
  bool contain(const void* code) const noexcept {
    const auto at = reinterpret_cast<std::uintptr_t>(code);
    return std::any_of(begin(), end(), [at](const Library& one) { return at >= one.begin && at < one.end; });
  }

  std::array<Library, 64> items{};
  std::size_t count = 0;
};

// Of the moment when the loader had counted so many.
struct Known {
  SpinLock lock;
  Loaded loaded;
  bool began = false;
  Libraries libraries;
};
constinit Known known;
// Never destroyed: threads look at them without the lock.
constinit std::atomic<const Libraries*> published{nullptr};
// Never destroyed.
const std::vector<std::string>* others = nullptr;

struct Scan {
  const bool began;
  Libraries found;
  std::string said;
};

bool is_named(std::string_view path) {
  const std::string_view name = path.substr(path.rfind('/') + 1);
  const auto is_part = [name](std::string_view part) { return name.find(part) != name.npos; };
  return std::any_of(std::begin(kComputing), std::end(kComputing), is_part) ||
         (others != nullptr && std::any_of(others->begin(), others->end(), is_part));
}

int count_loaded(dl_phdr_info* info, std::size_t, void* argument) {
  *static_cast<Loaded*>(argument) = {info->dlpi_adds, info->dlpi_subs};
  return 1;
}

int find(dl_phdr_info* info, std::size_t, void* argument) {
  auto& scan = *static_cast<Scan*>(argument);
  const std::string data = scan.began ? fixed_thread_data(*info) : "";
  if ((data.empty() && !is_named(info->dlpi_name)) || scan.found.count == scan.found.items.size()) return 0;
  Library library{.begin = UINTPTR_MAX, .end = 0, .shares_data = !data.empty()};
  for (ElfW(Half) i = 0; i < info->dlpi_phnum; ++i) {
    const auto& part = info->dlpi_phdr[i];
    if (part.p_type != PT_LOAD) continue;
    library.begin = std::min(library.begin, std::uintptr_t{info->dlpi_addr + part.p_vaddr});
    library.end = std::max(library.end, std::uintptr_t{info->dlpi_addr + part.p_vaddr + part.p_memsz});
  }
  scan.found.items[scan.found.count++] = library;
  if (data.empty() || std::find(known.libraries.begin(), known.libraries.end(), library) != known.libraries.end()) {
    return 0;
  }
  scan.said += (scan.said.empty() ? "" : "; ") + data + ", which fibers share";
  return 0;
}

}  // namespace

void add_plain_libraries(const std::vector<std::string>& names) { others = new std::vector<std::string>(names); }

bool makes_plain_threads(const void* code, bool began, void (*tell)(const std::string&)) {
  Loaded loaded;
  ::dl_iterate_phdr(count_loaded, &loaded);
  Scan scan{.began = began, .found = {}, .said = {}};
  bool found = false;
  {
    const std::lock_guard guard(known.lock);
    if (known.loaded != loaded || known.began != began) {
      ::dl_iterate_phdr(find, &scan);
      known.loaded = loaded;
      known.began = began;
      if (!std::equal(scan.found.begin(), scan.found.end(), known.libraries.begin(), known.libraries.end())) {
        known.libraries = scan.found;
        published.store(new Libraries(scan.found), std::memory_order_release);
        any_plain_library.store(true, std::memory_order_release);
      }
    }
    found = known.libraries.contain(code);
  }
  if (!scan.said.empty()) tell(scan.said);
  return found;
}

bool find_plain_library(const void* code) noexcept {
  const Libraries* libraries = published.load(std::memory_order_acquire);
  return libraries != nullptr && libraries->contain(code);
}

}  // namespace penstock::interpose
