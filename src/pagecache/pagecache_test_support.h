// A file for tests of the page cache alone: bytes in memory, whose I/O ends at once or when the
// test says so.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <handback/issuer.h>
#include <algorithm>
#include <cstring>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "base/base_test_support.h"
#include "pagecache/address_space.h"

namespace handback::testing {

struct FakeFile final : File, CachedFile {
  explicit FakeFile(PageCache& cache) : space(cache, *this) {}
  ~FakeFile() override { space.drop(0, ~std::uint64_t{0}); }

  // --- as its users see it ---
  Outcome read_iter(Kiocb& kiocb, IovView to) noexcept override {
    return space.read(kiocb, to, ahead);
  }
  Outcome write_iter(Kiocb& kiocb, IovView from) noexcept override {
    return space.write(kiocb, from, write_through);
  }

  // --- as the cache sees it ---
  Outcome page_io(PageIo& io, IovView iov) noexcept override {
    ios.push_back({io.ki_pos, iov.length(), io.is_write(), io.is_write() ? io.valid_end : 0});
    if (!holds) return carry_out(io, iov);
    held.push_back({&io, iov});
    return NotFinal{};
  }
  [[nodiscard]] std::uint64_t published_size() const noexcept override {
    return published.load(std::memory_order_acquire);
  }
  [[nodiscard]] std::uint64_t size_bytes_max() const noexcept override {
    return std::uint64_t{1} << 40;
  }
  Outcome reserve(CacheTask& /*task*/, std::uint64_t offset, std::uint64_t length,
                  bool /*nowait*/) noexcept override {
    return offset + length > space_bytes ? IoResult::failure(Errc::no_space) : IoResult{};
  }
  Outcome make_durable(CacheTask& /*task*/) noexcept override {
    ++made_durable;
    return IoResult{};
  }
  [[nodiscard]] DioInflight& direct_writes() noexcept override { return direct; }
  [[nodiscard]] IoResult check_writable() const noexcept override { return {}; }

  IoResult carry_out(PageIo& io, IovView iov) noexcept {
    if (!next_result.ok()) return std::exchange(next_result, {});
    std::uint64_t at = io.ki_pos;
    if (io.is_write()) {
      if (bytes.size() < at + iov.length()) bytes.resize(at + iov.length());
      for (std::uint32_t i = 0; i < iov.count; ++i) {
        std::memcpy(bytes.data() + at, iov.segments[i].iov_base, iov.segments[i].iov_len);
        at += iov.segments[i].iov_len;
      }
      if (io.valid_end > published) published = io.valid_end;
      return IoResult::success(static_cast<std::uint32_t>(iov.length()));
    }
    const std::uint64_t end = std::max<std::uint64_t>(published, at);
    std::uint64_t left = std::min(iov.length(), end - at);
    const auto count = static_cast<std::uint32_t>(left);
    for (std::uint32_t i = 0; i < iov.count && left != 0; ++i) {
      const std::uint64_t now = std::min<std::uint64_t>(left, iov.segments[i].iov_len);
      std::memcpy(iov.segments[i].iov_base, bytes.data() + at, now);
      at += now;
      left -= now;
    }
    return IoResult::success(count);
  }

  // Ends the oldest I/O that is held, with what it finds or `result`.
  void end_one(IoResult result = {}) noexcept {
    auto [io, iov] = held.front();
    held.pop_front();
    const IoResult ended = result.ok() ? carry_out(*io, iov) : result;
    io->ki_complete(*io, ended);
  }

  // What is on the device.
  void set_bytes(std::size_t length, std::uint8_t seed) {
    bytes.resize(length);
    for (std::size_t i = 0; i < length; ++i)
      bytes[i] = static_cast<std::byte>(seed + i / page_bytes * 7 + i % 251);
    published = length;
  }

  struct Io {
    std::uint64_t offset;
    std::uint64_t length;
    bool write;
    std::uint64_t valid_end;
    friend bool operator==(const Io&, const Io&) = default;
  };
  static Io read_of(std::uint64_t page, std::uint64_t pages) {
    return {page * page_bytes, pages * page_bytes, false, 0};
  }

  struct Held {
    PageIo* io;
    IovView iov;
  };

  std::vector<std::byte> bytes;
  std::atomic<std::uint64_t> published{0};
  std::uint64_t space_bytes = ~std::uint64_t{0};
  bool holds = false;
  bool write_through = false;
  unsigned made_durable = 0;
  IoResult next_result;  // Of the next I/O that is carried out, if it is an error.
  std::vector<Io> ios;
  std::deque<Held> held;
  DioInflight direct;
  ReadaheadState ahead;
  AddressSpace space;
};

inline void PrintTo(const FakeFile::Io& io, std::ostream* out) {
  *out << (io.write ? "write " : "read ") << io.length << " at " << io.offset;
  if (io.write) *out << ", valid to " << io.valid_end;
}

struct PageCacheRig {
  explicit PageCacheRig(std::uint64_t memory_bytes_max = page_cache_bytes_min)
      : issuer(std::move(*Issuer::create())),
        cache(PageCacheOptions{.memory_bytes_max = memory_bytes_max}),
        file(std::make_unique<FakeFile>(cache)) {}

  void start_read(Aiocb& aiocb, std::uint64_t offset, std::span<std::byte> to,
                  KiocbFlags flags = KiocbFlags::none) {
    aiocb.prepare_buffered_read(*file, offset, to, flags);
    issuer->submit(aiocb);
  }
  void start_write(Aiocb& aiocb, std::uint64_t offset, std::span<const std::byte> from,
                   KiocbFlags flags = KiocbFlags::none) {
    aiocb.prepare_buffered_write(*file, offset, from, flags);
    issuer->submit(aiocb);
  }
  // Polls until nothing more happens.
  unsigned poll() {
    unsigned delivered = 0;
    for (unsigned quiet = 0; quiet < 3; ++quiet) {
      const unsigned now = issuer->poll();
      delivered += now;
      if (now != 0) quiet = 0;
    }
    return delivered;
  }
  // Ends all I/O that is held, as it comes.
  void end_all() {
    for (poll(); !file->held.empty(); poll())
      file->end_one();
  }
  IoResult read(std::uint64_t offset, std::span<std::byte> to,
                KiocbFlags flags = KiocbFlags::none) {
    Aiocb aiocb;
    start_read(aiocb, offset, to, flags);
    poll();
    EXPECT_EQ(issuer->in_flight(), 0U);
    return aiocb.result;
  }
  IoResult write(std::uint64_t offset, std::span<const std::byte> from,
                 KiocbFlags flags = KiocbFlags::none) {
    Aiocb aiocb;
    start_write(aiocb, offset, from, flags);
    poll();
    EXPECT_EQ(issuer->in_flight(), 0U);
    return aiocb.result;
  }
  std::vector<std::byte> contents(std::uint64_t offset, std::size_t length) {
    std::vector<std::byte> to(length);
    const IoResult result = read(offset, to);
    EXPECT_TRUE(result.ok()) << describe(result);
    to.resize(result.bytes());
    return to;
  }
  [[nodiscard]] std::vector<std::byte> on_device(std::uint64_t offset, std::size_t length) const {
    return {file->bytes.begin() + static_cast<std::ptrdiff_t>(offset),
            file->bytes.begin() + static_cast<std::ptrdiff_t>(offset + length)};
  }

  std::unique_ptr<Issuer> issuer;
  PageCache cache;
  std::unique_ptr<FakeFile> file;
};

inline std::vector<std::byte> some_bytes(std::size_t length, std::uint8_t seed) {
  std::vector<std::byte> bytes(length);
  for (std::size_t i = 0; i < length; ++i)
    bytes[i] = static_cast<std::byte>(seed + i * 31 + i / 256);
  return bytes;
}

}  // namespace handback::testing
