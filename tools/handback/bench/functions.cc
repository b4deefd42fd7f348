#include "handback/bench/functions.h"

#include <cxxabi.h>
#include <elf.h>
#include <link.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <memory>
#include <span>

namespace tool {
namespace {

// Where the program was loaded. Its own entry is the first.
std::uintptr_t load_address() {
  std::uintptr_t address = 0;
  dl_iterate_phdr(
      [](dl_phdr_info* object, std::size_t /*bytes*/, void* to) {
        *static_cast<std::uintptr_t*>(to) = object->dlpi_addr;
        return 1;
      },
      &address);
  return address;
}

std::string demangled(const std::string& symbol) {
  int status = 0;
  const std::unique_ptr<char, void (*)(void*)> name(
      abi::__cxa_demangle(symbol.c_str(), nullptr, nullptr, &status), std::free);
  return status == 0 ? name.get() : symbol;
}

// The part of `file` from `offset` on; empty if it does not have that much.
std::span<const char> part(std::span<const char> file, std::uint64_t offset, std::uint64_t bytes) {
  if (offset > file.size() || bytes > file.size() - offset) return {};
  return file.subspan(offset, bytes);
}

template <typename T>
std::vector<T> records(std::span<const char> from) {
  std::vector<T> values(from.size() / sizeof(T));
  if (!values.empty()) std::memcpy(values.data(), from.data(), values.size() * sizeof(T));
  return values;
}

}  // namespace

Functions::Functions() {
  std::ifstream in("/proc/self/exe", std::ios::binary);
  const std::vector<char> file(std::istreambuf_iterator<char>(in), {});
  const auto headers = records<ElfW(Ehdr)>(part(file, 0, sizeof(ElfW(Ehdr))));
  if (headers.empty() || std::memcmp(headers[0].e_ident, ELFMAG, SELFMAG) != 0) return;
  const auto sections = records<ElfW(Shdr)>(
      part(file, headers[0].e_shoff, std::uint64_t{headers[0].e_shnum} * sizeof(ElfW(Shdr))));
  const std::uintptr_t loaded = load_address();
  for (const auto& section : sections) {
    if (section.sh_type != SHT_SYMTAB || section.sh_link >= sections.size()) continue;
    const auto& named = sections[section.sh_link];
    const auto names = part(file, named.sh_offset, named.sh_size);
    for (const auto& symbol : records<ElfW(Sym)>(part(file, section.sh_offset, section.sh_size))) {
      if (ELF64_ST_TYPE(symbol.st_info) != STT_FUNC || symbol.st_size == 0) continue;
      if (symbol.st_name >= names.size()) continue;
      const auto name = names.subspan(symbol.st_name);
      functions_.push_back({loaded + symbol.st_value, loaded + symbol.st_value + symbol.st_size,
                            std::string(name.data(), strnlen(name.data(), name.size()))});
    }
  }
  std::stable_sort(functions_.begin(), functions_.end(),
                   [](const Function& a, const Function& b) { return a.begin < b.begin; });
}

std::string Functions::name_at(std::uintptr_t address) const {
  auto next = std::upper_bound(
      functions_.begin(), functions_.end(), address,
      [](std::uintptr_t value, const Function& function) { return value < function.begin; });
  if (next == functions_.begin()) return "";
  const Function& function = *std::prev(next);
  return address < function.end ? demangled(function.symbol) : "";
}

}  // namespace tool
