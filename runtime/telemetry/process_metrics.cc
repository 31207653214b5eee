#include "runtime/telemetry/process_metrics.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>

#include "penstock/metrics.h"

namespace penstock::telemetry {
namespace {

// The whole of a small file of /proc, which never blocks; empty when it cannot be read.
std::string read_proc(const char* path) {
  const int fd = ::open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return {};
  std::string text(4096, '\0');
  const ssize_t size = ::read(fd, text.data(), text.size());
  ::close(fd);
  text.resize(size > 0 ? static_cast<std::size_t>(size) : 0);
  return text;
}

// The n-th word, from 0.
std::string_view word(std::string_view text, int n) {
  for (; n > 0; --n) {
    const std::size_t space = text.find(' ');
    if (space == std::string_view::npos) return {};
    text.remove_prefix(space + 1);
  }
  return text.substr(0, text.find_first_of(" \n"));
}

std::uint64_t number(std::string_view text) { return std::strtoull(std::string(text).c_str(), nullptr, 10); }

// In seconds since the epoch.
std::optional<double> start_time() {
  const std::string stat = read_proc("/proc/self/stat");
  // The name, second field, may contain blanks and parentheses; field 22 is the start in ticks since boot.
  const std::size_t name_end = stat.rfind(')');
  if (name_end == std::string::npos) return std::nullopt;
  const std::string_view rest = std::string_view(stat).substr(name_end + 2);
  const double since_boot = static_cast<double>(number(word(rest, 19))) / static_cast<double>(::sysconf(_SC_CLK_TCK));
  timespec boot{}, now{};
  ::clock_gettime(CLOCK_BOOTTIME, &boot);
  ::clock_gettime(CLOCK_REALTIME, &now);
  const auto as_seconds = [](const timespec& t) { return static_cast<double>(t.tv_sec) + 1e-9 * t.tv_nsec; };
  return as_seconds(now) - as_seconds(boot) + since_boot;
}

std::optional<double> open_descriptors() {
  DIR* directory = ::opendir("/proc/self/fd");
  if (directory == nullptr) return std::nullopt;
  double count = 0;
  while (const dirent* entry = ::readdir(directory)) count += entry->d_name[0] != '.';
  ::closedir(directory);
  // Less the one that lists them.
  return count - 1;
}

}  // namespace

std::uint64_t resident_bytes() {
  static const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  return number(word(read_proc("/proc/self/statm"), 1)) * page;
}

ResidentMemory::~ResidentMemory() {
  if (fd_ >= 0) ::close(fd_);
}

std::uint64_t ResidentMemory::bytes() {
  static const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  if (fd_ < 0) fd_ = ::open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
  std::array<char, 128> text;
  const ssize_t size = fd_ < 0 ? -1 : ::pread(fd_, text.data(), text.size(), 0);
  std::uint64_t pages = 0;
  if (size > 0) {
    const std::string_view second = word({text.data(), static_cast<std::size_t>(size)}, 1);
    std::from_chars(second.data(), second.data() + second.size(), pages);
  }
  if (pages > 0) return pages * page;
  // The program may have closed what it does not know.
  fd_ = -1;
  return resident_bytes();
}

decision::Duration cpu_time() {
  timespec used{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
  return std::chrono::seconds(used.tv_sec) + std::chrono::nanoseconds(used.tv_nsec);
}

// The kernel's clock of another thread's processor time (clock_getcpuclockid(3) for threads by their number).
decision::Duration cpu_time_of_thread(pid_t thread) {
  constexpr int kPerThread = 4, kScheduled = 2;
  const auto clock = static_cast<clockid_t>((~static_cast<unsigned>(thread) << 3) | kPerThread | kScheduled);
  timespec time{};
  if (::clock_gettime(clock, &time) != 0) return decision::Duration::zero();
  return std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
}

void register_process_metrics(MetricsRegistry& metrics) {
  using Emit = MetricsRegistry::Emit;
  metrics.collect("process_cpu_seconds_total", "User and system CPU time of the process.", "counter",
                  [](const Emit& emit) { emit({}, decision::seconds(cpu_time())); });
  metrics.collect("process_resident_memory_bytes", "Resident memory of the process.", "gauge",
                  [](const Emit& emit) { emit({}, static_cast<double>(resident_bytes())); });
  metrics.collect("process_open_fds", "Open file descriptors.", "gauge", [](const Emit& emit) {
    if (auto count = open_descriptors()) emit({}, *count);
  });
  metrics.collect("process_max_fds", "Limit of open file descriptors.", "gauge", [](const Emit& emit) {
    rlimit limit{};
    if (::getrlimit(RLIMIT_NOFILE, &limit) == 0) emit({}, static_cast<double>(limit.rlim_cur));
  });
  metrics.collect("process_start_time_seconds", "Start of the process since the Unix epoch.", "gauge",
                  [start = start_time()](const Emit& emit) {
                    if (start) emit({}, *start);
                  });
  metrics.gauge("penstock_build_info", "1; the version is a label.", {{"version", PENSTOCK_VERSION}}).set(1);
}

}  // namespace penstock::telemetry
