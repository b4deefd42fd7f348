// SHA-256 of what is given piece by piece.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <span>
#include <string>

namespace tool {

using Digest = std::array<unsigned char, 32>;

class Sha256 {
 public:
  Sha256();
  ~Sha256();

  void start();
  void add(std::span<const std::byte> bytes);
  [[nodiscard]] Digest finish();

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

// Of a whole file of the host, read through its page cache. Throws Failure.
[[nodiscard]] Digest sha256_of_host_file(const std::string& path);

}  // namespace tool
