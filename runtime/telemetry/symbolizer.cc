#include "runtime/telemetry/symbolizer.h"

#include <cxxabi.h>
#include <elfutils/libdwfl.h>
#include <fmt/format.h>
#include <libelf.h>
#include <unistd.h>

#include <cstdlib>
#include <mutex>
#include <string_view>
#include <unordered_map>

namespace penstock::telemetry {
namespace {

// Addresses whose names are remembered; call sites of one program.
constexpr std::size_t kMostRemembered = 16'384;

std::string demangled(const char* name) {
  int status = 0;
  char* text = abi::__cxa_demangle(name, nullptr, nullptr, &status);
  if (text == nullptr) return name;
  std::string result = text;
  std::free(text);
  return result;
}

std::string_view file_name(std::string_view path) { return path.substr(path.rfind('/') + 1); }

// Debug information in files of its own is not looked for: that might ask a server.
int no_separate_file(Dwfl_Module*, void**, const char*, Dwarf_Addr, const char*, const char*, GElf_Word, char**) {
  return -1;
}

// As the library does it, but for the descriptors: it would keep one of each file, for as long as the process lives.
int find_object(Dwfl_Module* module, void** user_data, const char* name, Dwarf_Addr base, char** file, Elf** elf) {
  const int fd = ::dwfl_linux_proc_find_elf(module, user_data, name, base, file, elf);
  if (fd < 0) return fd;
  *elf = ::elf_begin(fd, ELF_C_READ_MMAP_PRIVATE, nullptr);
  // Mapped, it is read without.
  if (*elf != nullptr) ::elf_cntl(*elf, ELF_C_FDREAD);
  ::close(fd);
  return -1;
}

}  // namespace

std::string Symbol::text(Address at) const {
  if (function.empty()) return fmt::format("{:#x} in {}", at, object.empty() ? "?" : object);
  if (file.empty()) return object.empty() ? function : function + " (" + object + ")";
  return fmt::format("{} {}:{}", function, file_name(file), line);
}

struct Symbolizer::State {
  void open() {
    if (session != nullptr) ::dwfl_end(session);
    session = ::dwfl_begin(&callbacks);
    if (session == nullptr) return;
    ::dwfl_linux_proc_report(session, ::getpid());
    ::dwfl_report_end(session, nullptr, nullptr);
  }

  std::mutex mutex;
  const Dwfl_Callbacks callbacks{.find_elf = find_object,
                                 .find_debuginfo = no_separate_file,
                                 .section_address = nullptr,
                                 .debuginfo_path = nullptr};
  Dwfl* session = nullptr;
  std::unordered_map<Address, Symbol> remembered;
};

// Never destroyed: threads may still ask after static destructors have begun.
Symbolizer& Symbolizer::instance() {
  static auto& symbolizer = *new Symbolizer;
  return symbolizer;
}

Symbolizer::Symbolizer() : state_(new State) {}

Symbol Symbolizer::find(Address at) {
  const std::lock_guard lock(state_->mutex);
  if (const auto known = state_->remembered.find(at); known != state_->remembered.end()) return known->second;
  if (state_->session == nullptr) state_->open();
  Dwfl_Module* module = state_->session != nullptr ? ::dwfl_addrmodule(state_->session, at) : nullptr;
  if (module == nullptr) {
    // Perhaps loaded since.
    state_->open();
    if (state_->session != nullptr) module = ::dwfl_addrmodule(state_->session, at);
  }
  Symbol symbol;
  if (module != nullptr) {
    const char* path = ::dwfl_module_info(module, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr);
    if (path != nullptr) symbol.object = file_name(path);
    if (const char* name = ::dwfl_module_addrname(module, at)) symbol.function = demangled(name);
    if (Dwfl_Line* line = ::dwfl_module_getsrc(module, at)) {
      if (const char* file = ::dwfl_lineinfo(line, nullptr, &symbol.line, nullptr, nullptr, nullptr))
        symbol.file = file;
    }
  }
  if (state_->remembered.size() >= kMostRemembered) state_->remembered.clear();
  return state_->remembered.emplace(at, std::move(symbol)).first->second;
}

}  // namespace penstock::telemetry
