#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <unistd.h>

#include <cstring>

#include "runtime/telemetry/symbolizer.h"

namespace penstock::telemetry {
namespace {

class File {
 public:
  explicit File(const char* path) : fd_(::open(path, O_RDONLY | O_CLOEXEC)) {}
  ~File() {
    if (fd_ >= 0) ::close(fd_);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  bool read(void* to, std::size_t bytes, std::uint64_t at) const {
    return fd_ >= 0 && ::pread(fd_, to, bytes, static_cast<off_t>(at)) == static_cast<ssize_t>(bytes);
  }

 private:
  const int fd_;
};

// Looks for the function that holds `address`, in one table of symbols. True: found, and its name read.
bool search(const File& file, const Elf64_Shdr& table, const Elf64_Shdr& strings, Address address, char* name,
            std::size_t room) {
  constexpr std::size_t kBatch = 64;
  Elf64_Sym symbols[kBatch];
  const std::uint64_t count = table.sh_size / sizeof(Elf64_Sym);
  for (std::uint64_t i = 0; i < count; i += kBatch) {
    const std::uint64_t batch = count - i < kBatch ? count - i : kBatch;
    if (!file.read(symbols, batch * sizeof(Elf64_Sym), table.sh_offset + i * sizeof(Elf64_Sym))) return false;
    for (std::uint64_t k = 0; k < batch; ++k) {
      const Elf64_Sym& symbol = symbols[k];
      if (ELF64_ST_TYPE(symbol.st_info) != STT_FUNC || symbol.st_shndx == SHN_UNDEF) continue;
      if (address < symbol.st_value || address >= symbol.st_value + symbol.st_size) continue;
      if (symbol.st_name >= strings.sh_size) continue;
      const std::uint64_t left = strings.sh_size - symbol.st_name;
      const std::size_t bytes = left < room - 1 ? left : room - 1;
      if (!file.read(name, bytes, strings.sh_offset + symbol.st_name)) return false;
      name[bytes] = '\0';
      return true;
    }
  }
  return false;
}

}  // namespace

MangledName find_mangled_name(Address at) noexcept {
  MangledName result;
  dl_find_object object{};
  if (::_dl_find_object(reinterpret_cast<void*>(at), &object) != 0) return result;
  const link_map* map = object.dlfo_link_map;
  if (map == nullptr) return result;
  const char* path = map->l_name != nullptr && *map->l_name != '\0' ? map->l_name : "/proc/self/exe";
  const char* slash = std::strrchr(path, '/');
  std::strncpy(result.object, slash != nullptr ? slash + 1 : path, sizeof result.object - 1);

  const File file(path);
  Elf64_Ehdr header;
  if (!file.read(&header, sizeof header, 0) || std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 ||
      header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_shentsize != sizeof(Elf64_Shdr)) {
    return result;
  }
  // All of the symbols, if the file was not stripped; otherwise those that it exports.
  for (const Elf64_Word kind : {SHT_SYMTAB, SHT_DYNSYM}) {
    for (unsigned i = 0; i < header.e_shnum; ++i) {
      Elf64_Shdr table, strings;
      if (!file.read(&table, sizeof table, header.e_shoff + i * sizeof table) || table.sh_type != kind) continue;
      if (!file.read(&strings, sizeof strings, header.e_shoff + table.sh_link * sizeof strings)) continue;
      if (search(file, table, strings, at - map->l_addr, result.name, sizeof result.name)) return result;
      result.name[0] = '\0';
    }
  }
  return result;
}

}  // namespace penstock::telemetry
