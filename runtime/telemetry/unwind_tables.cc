#include "runtime/telemetry/unwind_tables.h"

#include <dlfcn.h>

#include <cstring>

// The call frame information of the Linux Standard Base and DWARF, section 6.4, as far as compilers for x86_64 use it.
namespace penstock::telemetry {

#if defined(__x86_64__)
namespace {

using Rule = Unwinder::Rule;

// How a pointer is encoded: the format in the low half, what it is relative to in the high half.
constexpr std::uint8_t kAbsent = 0xff, kRelativeToItself = 0x10, kRelativeToTable = 0x30, kIndirect = 0x80;

struct Reader {
  const std::uint8_t* at;
  const std::uint8_t* end;

  bool left() const { return at < end; }
  template <class T>
  T take() {
    T value{};
    std::memcpy(&value, at, sizeof value);
    at += sizeof value;
    return value;
  }
  std::uint64_t uleb() {
    std::uint64_t value = 0;
    for (unsigned shift = 0;; shift += 7) {
      const auto byte = take<std::uint8_t>();
      if (shift < 64) value |= static_cast<std::uint64_t>(byte & 0x7f) << shift;
      if ((byte & 0x80) == 0) return value;
    }
  }
  std::int64_t sleb() {
    std::uint64_t value = 0;
    for (unsigned shift = 0;;) {
      const auto byte = take<std::uint8_t>();
      if (shift < 64) value |= static_cast<std::uint64_t>(byte & 0x7f) << shift;
      shift += 7;
      if ((byte & 0x80) != 0) continue;
      if ((byte & 0x40) != 0 && shift < 64) value |= ~std::uint64_t{0} << shift;
      return static_cast<std::int64_t>(value);
    }
  }
  Address pointer(std::uint8_t encoding, Address table) {
    const auto here = reinterpret_cast<Address>(at);
    Address value;
    switch (encoding & 0x0f) {
      case 0x00:
      case 0x04:
      case 0x0c:
        value = take<std::uint64_t>();
        break;
      case 0x01:
        value = uleb();
        break;
      case 0x02:
        value = take<std::uint16_t>();
        break;
      case 0x03:
        value = take<std::uint32_t>();
        break;
      case 0x09:
        value = static_cast<Address>(sleb());
        break;
      case 0x0a:
        value = static_cast<Address>(static_cast<std::intptr_t>(take<std::int16_t>()));
        break;
      default:
        value = static_cast<Address>(static_cast<std::intptr_t>(take<std::int32_t>()));
        break;
    }
    if (value == 0) return 0;
    if ((encoding & 0x70) == kRelativeToItself) value += here;
    if ((encoding & 0x70) == kRelativeToTable) value += table;
    if ((encoding & kIndirect) != 0) std::memcpy(&value, reinterpret_cast<const void*>(value), sizeof value);
    return value;
  }
};

// A record of .eh_frame, after its length.
Reader record(const std::uint8_t* at) {
  Reader reader{at, at + 4};
  std::uint64_t length = reader.take<std::uint32_t>();
  if (length == 0xffffffff) {
    reader.end += 8;
    length = reader.take<std::uint64_t>();
  }
  reader.end = reader.at + length;
  return reader;
}

// The table of .eh_frame_hdr, sorted by function: where the record of the last function that begins at or before pc is.
const std::uint8_t* find_record(const void* header, Address pc) {
  const auto table = reinterpret_cast<Address>(header);
  Reader reader{static_cast<const std::uint8_t*>(header), nullptr};
  if (reader.take<std::uint8_t>() != 1) return nullptr;
  const auto frame_encoding = reader.take<std::uint8_t>();
  const auto count_encoding = reader.take<std::uint8_t>();
  // Offsets of four bytes from the table: what every linker writes.
  if (reader.take<std::uint8_t>() != (kRelativeToTable | 0x0b)) return nullptr;
  reader.pointer(frame_encoding, table);
  if (count_encoding == kAbsent) return nullptr;
  const std::size_t count = reader.pointer(count_encoding, table);
  struct Entry {
    std::int32_t function, record;
  };
  const auto entry = [first = reader.at](std::size_t i) {
    Entry result;
    std::memcpy(&result, first + i * sizeof result, sizeof result);
    return result;
  };
  const auto wanted = static_cast<std::int64_t>(pc - table);
  std::size_t low = 0, high = count;
  while (low < high) {
    const std::size_t middle = (low + high) / 2;
    if (entry(middle).function <= wanted) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  if (low == 0) return nullptr;
  return reinterpret_cast<const std::uint8_t*>(table + static_cast<Address>(std::intptr_t{entry(low - 1).record}));
}

// What a common information entry says for all functions that share it.
struct Common {
  std::uint64_t code_alignment = 1;
  std::int64_t data_alignment = 1;
  std::uint8_t pointer_encoding = 0;
  bool signal = false;
  bool augmented = false;
  Reader instructions{};
};

bool read_common(const std::uint8_t* at, Common& common) {
  Reader reader = record(at);
  if (reader.take<std::uint32_t>() != 0) return false;
  const auto version = reader.take<std::uint8_t>();
  if (version != 1 && version != 3) return false;
  const char* augmentation = reinterpret_cast<const char*>(reader.at);
  reader.at += std::strlen(augmentation) + 1;
  common.code_alignment = reader.uleb();
  common.data_alignment = reader.sleb();
  if ((version == 1 ? reader.take<std::uint8_t>() : reader.uleb()) != Registers::kReturn) return false;
  if (*augmentation == 'z') {
    common.augmented = true;
    const std::uint64_t length = reader.uleb();
    const std::uint8_t* after = reader.at + length;
    for (const char* c = augmentation + 1; *c != '\0'; ++c) {
      if (*c == 'R') {
        common.pointer_encoding = reader.take<std::uint8_t>();
      } else if (*c == 'P') {
        const auto encoding = reader.take<std::uint8_t>();
        // Never followed: only its size matters.
        reader.pointer(encoding & 0x0f, 0);
      } else if (*c == 'L') {
        reader.take<std::uint8_t>();
      } else if (*c == 'S') {
        common.signal = true;
      }
    }
    reader.at = after;
  } else if (*augmentation != '\0') {
    return false;
  }
  common.instructions = reader;
  return true;
}

// A row of the table that the instructions spell out.
struct Row {
  Rule rule;
  bool return_undefined = false;
  // How the caller's stack pointer is found, if not from a register.
  Rule::Kind kind = Rule::ordinary;
};

// An expression, of the few that compilers write. "rbp + offset" in `offset`, with or without a dereference.
bool is_rbp_relative(Reader expression, bool dereferenced, std::int32_t& offset) {
  constexpr std::uint8_t kRbpPlus = 0x76, kDereference = 0x06;
  if (expression.take<std::uint8_t>() != kRbpPlus) return false;
  offset = static_cast<std::int32_t>(expression.sleb());
  if (dereferenced && (!expression.left() || expression.take<std::uint8_t>() != kDereference)) return false;
  return !expression.left();
}
bool is_plt(Reader expression) { return expression.take<std::uint8_t>() == 0x77; }  // rsp + offset ...

int saved_index(std::uint64_t number) {
  switch (number) {
    case 3:
      return 0;
    case 6:
      return 1;
    case 12:
    case 13:
    case 14:
    case 15:
      return static_cast<int>(number) - 10;
    default:
      return -1;
  }
}

// Runs instructions until the row that holds for pc is reached. False: an instruction that is not known.
bool run(Reader reader, const Common& common, const Row& initial, Address location, Address pc, Row& row) {
  constexpr int kDepth = 8;
  Row remembered[kDepth];
  int depth = 0;
  const auto save = [&](std::uint64_t number, std::int64_t offset) {
    offset *= common.data_alignment;
    if (number == Registers::kReturn) {
      row.rule.return_offset = static_cast<std::int32_t>(offset);
    } else if (const int i = saved_index(number); i >= 0) {
      row.rule.saved[static_cast<std::size_t>(i)] = static_cast<std::int16_t>(offset);
      row.rule.saved_by_rbp &= static_cast<std::uint8_t>(~(1U << i));
    }
  };
  const auto restore = [&](std::uint64_t number) {
    if (const int i = saved_index(number); i >= 0) {
      row.rule.saved[static_cast<std::size_t>(i)] = initial.rule.saved[static_cast<std::size_t>(i)];
    }
  };
  const auto advance = [&](std::uint64_t by) { location += by * common.code_alignment; };
  while (reader.left() && location <= pc) {
    const auto op = reader.take<std::uint8_t>();
    const std::uint8_t low = op & 0x3f;
    switch (op >> 6) {
      case 1:
        advance(low);
        continue;
      case 2:
        save(low, static_cast<std::int64_t>(reader.uleb()));
        continue;
      case 3:
        restore(low);
        continue;
      default:
        break;
    }
    switch (op) {
      case 0x00:  // nop
        break;
      case 0x01:  // set_loc
        location = reader.pointer(common.pointer_encoding, 0);
        break;
      case 0x02:
        advance(reader.take<std::uint8_t>());
        break;
      case 0x03:
        advance(reader.take<std::uint16_t>());
        break;
      case 0x04:
        advance(reader.take<std::uint32_t>());
        break;
      case 0x05: {  // offset_extended
        const std::uint64_t number = reader.uleb();
        save(number, static_cast<std::int64_t>(reader.uleb()));
        break;
      }
      case 0x06:
        restore(reader.uleb());
        break;
      case 0x07: {  // undefined
        if (reader.uleb() == Registers::kReturn) row.return_undefined = true;
        break;
      }
      case 0x08:  // same_value
        restore(reader.uleb());
        break;
      case 0x09:  // register
        reader.uleb();
        reader.uleb();
        break;
      case 0x0a:
        if (depth == kDepth) return false;
        remembered[depth++] = row;
        break;
      case 0x0b:
        if (depth == 0) return false;
        row = remembered[--depth];
        break;
      case 0x0c:  // def_cfa
        row.rule.cfa_register = static_cast<std::uint8_t>(reader.uleb());
        row.rule.cfa_offset = static_cast<std::int32_t>(reader.uleb());
        row.kind = Rule::ordinary;
        break;
      case 0x0d:
        row.rule.cfa_register = static_cast<std::uint8_t>(reader.uleb());
        row.kind = Rule::ordinary;
        break;
      case 0x0e:
        row.rule.cfa_offset = static_cast<std::int32_t>(reader.uleb());
        break;
      case 0x0f:  // def_cfa_expression
      {
        const std::uint64_t length = reader.uleb();
        const Reader expression{reader.at, reader.at + length};
        row.kind = is_rbp_relative(expression, true, row.rule.cfa_offset) ? Rule::realigned
                   : is_plt(expression)                                   ? Rule::plt
                                                                          : Rule::unknown;
        reader.at += length;
        break;
      }
      case 0x10:    // expression
      case 0x16: {  // val_expression
        const int i = saved_index(reader.uleb());
        const std::uint64_t length = reader.uleb();
        std::int32_t offset = 0;
        if (op == 0x10 && i >= 0 && is_rbp_relative({reader.at, reader.at + length}, false, offset)) {
          row.rule.saved[static_cast<std::size_t>(i)] = static_cast<std::int16_t>(offset);
          row.rule.saved_by_rbp |= static_cast<std::uint8_t>(1U << i);
        }
        reader.at += length;
        break;
      }
      case 0x11: {  // offset_extended_sf
        const std::uint64_t number = reader.uleb();
        save(number, reader.sleb());
        break;
      }
      case 0x12:  // def_cfa_sf
        row.rule.cfa_register = static_cast<std::uint8_t>(reader.uleb());
        row.rule.cfa_offset = static_cast<std::int32_t>(reader.sleb() * common.data_alignment);
        row.kind = Rule::ordinary;
        break;
      case 0x13:
        row.rule.cfa_offset = static_cast<std::int32_t>(reader.sleb() * common.data_alignment);
        break;
      case 0x2e:  // GNU_args_size
        reader.uleb();
        break;
      default:
        return false;
    }
  }
  return true;
}

}  // namespace

[[gnu::no_sanitize("address", "undefined")]] Rule find_unwind_rule(Address pc) noexcept {
  Rule none;
  none.pc = pc;
  dl_find_object object{};
  if (::_dl_find_object(reinterpret_cast<void*>(pc), &object) != 0 || object.dlfo_eh_frame == nullptr) return none;
  const std::uint8_t* found = find_record(object.dlfo_eh_frame, pc);
  if (found == nullptr) return none;

  Reader reader = record(found);
  const std::uint8_t* base = reader.at;
  const auto back = reader.take<std::uint32_t>();
  if (back == 0) return none;
  Common common;
  if (!read_common(base - back, common)) return none;
  const Address begin = reader.pointer(common.pointer_encoding, 0);
  const Address size = reader.pointer(common.pointer_encoding & 0x0f, 0);
  if (pc < begin || pc >= begin + size) return none;
  if (common.augmented) reader.at += reader.uleb();

  Row initial;
  initial.rule.saved.fill(Unwinder::kUnchanged);
  Row row = initial;
  if (!run(common.instructions, common, initial, 0, 0, row)) return none;
  initial = row;
  if (!run(reader, common, initial, begin, pc, row)) return none;

  row.rule.pc = pc;
  row.rule.kind = common.signal ? Rule::signal : row.return_undefined ? Rule::outermost : row.kind;
  if (row.rule.kind == Rule::plt || row.rule.kind == Rule::realigned) row.rule.return_offset = -8;
  // A register that is not kept here, such as r10 in a function that realigns its stack.
  if (row.rule.kind == Rule::ordinary && row.rule.cfa_register >= Registers::kCount) return none;
  return row.rule;
}

#else

Unwinder::Rule find_unwind_rule(Address pc) noexcept {
  Unwinder::Rule none;
  none.pc = pc;
  return none;
}

#endif

}  // namespace penstock::telemetry
