#include "agents/run/target.h"

#include <elf.h>
#include <link.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string_view>
#include <system_error>
#include <vector>

namespace penstock::run {
namespace {

constexpr int kMostInterpreters = 4;

class ElfFile {
 public:
  explicit ElfFile(std::string_view bytes) : bytes_(bytes) {}

  bool is_native() const {
    return bytes_.size() >= sizeof(ElfW(Ehdr)) && std::memcmp(bytes_.data(), ELFMAG, SELFMAG) == 0 &&
           header().e_ident[EI_CLASS] == ELFCLASS64 && header().e_machine == EM_X86_64;
  }
  const ElfW(Phdr) * segment(ElfW(Word) type) const {
    for (ElfW(Half) i = 0; i < header().e_phnum; ++i) {
      const std::size_t at = header().e_phoff + std::size_t{i} * sizeof(ElfW(Phdr));
      if (at + sizeof(ElfW(Phdr)) > bytes_.size()) return nullptr;
      const auto* found = reinterpret_cast<const ElfW(Phdr)*>(bytes_.data() + at);
      if (found->p_type == type) return found;
    }
    return nullptr;
  }
  bool contains(std::string_view text) const { return bytes_.find(text) != bytes_.npos; }

 private:
  const ElfW(Ehdr) & header() const { return *reinterpret_cast<const ElfW(Ehdr)*>(bytes_.data()); }
  const std::string_view bytes_;
};

std::string contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

std::string objection_to_elf(const std::string& path, const std::string& bytes) {
  const ElfFile file(bytes);
  if (!file.is_native()) return path + " is no program for this processor and the 64-bit C library";
  if (file.segment(PT_INTERP) == nullptr) {
    return path + " is linked statically, so that no library can stand before its C library";
  }
  if (file.contains("Go buildinf:"))
    return path + " is a Go program, which has a scheduler and system calls of its own";
  if (const auto* data = file.segment(PT_TLS); data != nullptr && data->p_memsz != 0) {
    return path + " has " + std::to_string(data->p_memsz) +
           " bytes of thread_local data at addresses fixed for each thread of the kernel, which fibers would share";
  }
  if (file.contains("liburing.so")) return path + " uses io_uring, whose waits no library call is made for";
  return "";
}

}  // namespace

std::string find_program(const std::string& name) {
  if (name.find('/') != name.npos) {
    if (::access(name.c_str(), X_OK) == 0) return name;
    throw std::system_error(errno, std::generic_category(), name);
  }
  const char* path = std::getenv("PATH");
  std::istringstream folders(path != nullptr ? path : "/usr/local/bin:/usr/bin:/bin");
  for (std::string folder; std::getline(folders, folder, ':');) {
    const std::string file = (folder.empty() ? "." : folder) + "/" + name;
    struct stat status {};
    if (::stat(file.c_str(), &status) == 0 && S_ISREG(status.st_mode) && ::access(file.c_str(), X_OK) == 0) return file;
  }
  throw std::system_error(ENOENT, std::generic_category(), name);
}

std::string objection_to(const std::string& given) {
  std::string path = given;
  for (int i = 0; i < kMostInterpreters; ++i) {
    struct stat status {};
    if (::stat(path.c_str(), &status) == 0 && (status.st_mode & (S_ISUID | S_ISGID)) != 0) {
      return path + " changes its user or group when it is started, and the system preloads nothing into such programs";
    }
    const std::string bytes = contents(path);
    if (!bytes.starts_with("#!")) return objection_to_elf(path, bytes);
    std::istringstream line(bytes.substr(2, bytes.find('\n') - 2));
    std::vector<std::string> words{std::istream_iterator<std::string>(line), {}};
    if (words.empty()) return path + " names no interpreter";
    path = words[0];
    if (path.ends_with("/env") && words.size() > 1) {
      try {
        path = find_program(words.back());
      } catch (const std::system_error&) {
        return "";
      }
    }
  }
  return "";
}

}  // namespace penstock::run
