// A file whose requests a test ends when and where it likes, for tests of issuers.
#pragma once

#include <handback/issuer.h>
#include <functional>
#include <memory>
#include <vector>

#include "base/base_test_support.h"
#include "base/kernel_failure_test_support.h"

namespace handback::testing {

inline std::unique_ptr<Issuer> make_issuer(const IssuerOptions& options = {}) {
  return value_of(Issuer::create(options));
}

// Remembers every request it was asked for. Says NotFinal to each unless `on_start` says otherwise;
// whoever holds the Kiocb then calls its ki_complete.
class FakeFile final : public File {
 public:
  explicit FakeFile(std::uint64_t id = 0) : id_(id) {}

  Outcome read_iter(Kiocb& kiocb, IovView to) noexcept override {
    ++reads;
    return start(kiocb, to);
  }
  Outcome write_iter(Kiocb& kiocb, IovView from) noexcept override {
    ++writes;
    return start(kiocb, from);
  }
  [[nodiscard]] std::uint64_t file_id() const noexcept override { return id_; }

  std::function<Outcome(Kiocb&, IovView)> on_start;
  std::vector<Kiocb*> started;  // Oldest first.
  unsigned reads = 0;
  unsigned writes = 0;

 private:
  Outcome start(Kiocb& kiocb, IovView iov) noexcept {
    started.push_back(&kiocb);
    if (on_start) return on_start(kiocb, iov);
    return NotFinal{};
  }

  std::uint64_t id_;
};

inline void complete(Kiocb& kiocb, Outcome outcome) noexcept {
  kiocb.ki_complete(kiocb, outcome);
}

// A request that counts its deliveries.
struct TestAiocb : Aiocb {
  unsigned delivered = 0;
  std::function<void()> on_delivered;

  void prepare_read_of(File& file, std::uint64_t offset = 0, std::span<std::byte> to = {}) {
    prepare_read(file, offset, to, &TestAiocb::called);
  }
  void prepare_write_of(File& file, std::uint64_t offset = 0, std::span<const std::byte> from = {},
                        KiocbFlags flags = KiocbFlags::none) {
    prepare_write(file, offset, from, flags, &TestAiocb::called);
  }

  static void called(Aiocb& aiocb) noexcept {
    auto& self = static_cast<TestAiocb&>(aiocb);
    ++self.delivered;
    // The function may destroy the request, and so itself.
    if (const auto then = self.on_delivered) then();
  }
};

}  // namespace handback::testing
