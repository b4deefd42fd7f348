// Which function of this program an address belongs to: from the table of symbols that the linker
// left in the program's file.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace tool {

class Functions {
 public:
  // Reads the table. Has no function if the program was stripped.
  Functions();

  // The name of the function that holds `address`, demangled; empty if that is outside the program
  // (in a library, say) or not known.
  [[nodiscard]] std::string name_at(std::uintptr_t address) const;
  [[nodiscard]] bool empty() const noexcept { return functions_.empty(); }

 private:
  struct Function {
    std::uintptr_t begin;
    std::uintptr_t end;
    std::string symbol;
  };
  std::vector<Function> functions_;  // In the order of their begins.
};

}  // namespace tool
