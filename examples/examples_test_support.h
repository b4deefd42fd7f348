// What the tests of the examples share: issuers, buffers, and requests that take one line.
#pragma once

#include <gtest/gtest.h>

#include <handback/handback.h>
#include <csignal>
#include <cstring>
#include <memory>
#include <ostream>
#include <string>

#include "failing_device_test_support.h"

namespace handback {

// For GoogleTest's messages.
inline void PrintTo(const IoResult& result, std::ostream* out) {
  *out << describe(result);
}
inline void PrintTo(const RouteDecision& decision, std::ostream* out) {
  *out << to_string(decision.route) << '/' << to_string(decision.reason);
}

}  // namespace handback

namespace examples::testing {

template <typename T>
T value_of(handback::Result<T>&& result) {
  if (!result) {
    ADD_FAILURE() << result.error().message();
    std::abort();
  }
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

inline std::unique_ptr<handback::Issuer> make_issuer(const handback::IssuerOptions& options = {}) {
  return value_of(handback::Issuer::create(options));
}

inline constexpr std::uint32_t block_bytes = 4096;

// One block, or several, full of one byte.
inline handback::AlignedBuffer filled(char with, std::size_t blocks = 1) {
  handback::AlignedBuffer buffer(blocks * block_bytes);
  std::memset(buffer.data(), with, buffer.size());
  return buffer;
}

// The first byte of each block of `file`, up to its end: "aab".
inline std::string blocks_of(handback::Issuer& issuer, handback::File& file) {
  std::string text;
  handback::AlignedBuffer block(block_bytes);
  for (std::uint64_t offset = 0;; offset += block_bytes) {
    handback::Aiocb read;
    read.prepare_read(file, offset, block.span());
    const handback::IoResult result = issuer.run(read);
    if (!result.ok()) return text + "!";
    if (result.bytes() == 0) return text;
    text += static_cast<char>(block.data()[0]);
    EXPECT_EQ(std::memcmp(block.data(), block.data() + 1, result.bytes() - 1), 0) << offset;
  }
}

inline void deliver_all(handback::Issuer& issuer) {
  while (issuer.in_flight() != 0)
    issuer.wait();
}

// A request with its own block.
struct Block : handback::Aiocb {
  explicit Block(char with) : data(filled(with)) {}
  handback::AlignedBuffer data;

  void submit(handback::Issuer& through, handback::File& file, std::uint64_t offset,
              handback::KiocbFlags flags = handback::KiocbFlags::none) {
    delivered = false;
    prepare_write(file, offset, data.span(), flags, [](handback::Aiocb& done) noexcept {
      static_cast<Block&>(done).delivered = true;
    });
    through.submit(*this);
  }
  [[nodiscard]] handback::RouteDecision routed() const { return {route, route_reason}; }
  bool delivered = false;
};

inline handback::IoResult write(handback::Issuer& issuer, handback::File& file,
                                std::uint64_t offset, char with,
                                handback::KiocbFlags flags = handback::KiocbFlags::none) {
  Block block(with);
  block.submit(issuer, file, offset, flags);
  while (!block.delivered)
    issuer.wait();
  return block.result;
}

// As a caller does that has no Aiocb: ki_complete is null, and it waits inside the file.
inline handback::IoResult run_sync(handback::Kiocb& kiocb, handback::Issuer& issuer,
                                   handback::File& file, std::uint64_t offset,
                                   std::span<std::byte> data, handback::KiocbFlags flags) {
  kiocb.ki_filp = &file;
  kiocb.ki_pos = offset;
  kiocb.ki_flags = handback::KiocbFlags::direct | flags;
  kiocb.issuer = &issuer;
  const iovec segment{data.data(), data.size()};
  const handback::IovView iov{&segment, 1};
  return (kiocb.is_write() ? file.write_iter(kiocb, iov) : file.read_iter(kiocb, iov)).result();
}

// Threads live on in a forked child only by chance: each death test starts its program anew.
class ThreadedDeathTest : public ::testing::Test {
 protected:
  ThreadedDeathTest() : style_(GTEST_FLAG_GET(death_test_style)) {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
  }
  ~ThreadedDeathTest() override { GTEST_FLAG_SET(death_test_style, style_); }

 private:
  std::string style_;
};

inline constexpr handback::IoResult whole_block = handback::IoResult::success(block_bytes);

}  // namespace examples::testing
