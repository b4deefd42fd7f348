// A volume on a memory device that outlives it, for tests: format, open, close, reopen, "power
// cut".
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <handback/iomap.h>
#include <handback/issuer.h>
#include <handback/memory_device.h>
#include <handback/volume.h>
#include <cstring>
#include <memory>
#include <random>
#include <string>

#include "base/base_test_support.h"

namespace handback::testing {

inline constexpr std::uint64_t block = 4096;
inline constexpr std::uint64_t sector = 512;
inline constexpr int eio = 5;

// A device's cache, for tests that run on several.
struct CacheCase {
  const char* name;
  bool volatile_cache;
  bool fua = false;
  std::uint64_t unit = block;  // Bytes of one append.
};
inline void PrintTo(const CacheCase& cache, std::ostream* out) {
  *out << cache.name;
}

// The value of a Result, or the end of the test with the error's text.
template <typename T>
T must(Result<T>&& result) {
  if (!result) {
    ADD_FAILURE() << errc_name(result.error().code()) << ": " << result.error().message();
    std::abort();
  }
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

template <typename T>
::testing::AssertionResult is_error(const Result<T>& result, Errc code) {
  if (result) return ::testing::AssertionFailure() << "succeeded";
  if (result.error().code() == code) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure()
         << errc_name(result.error().code()) << ": " << result.error().message();
}

// Bytes that differ everywhere and depend on the seed.
inline void fill_pattern(std::span<std::byte> to, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  for (std::size_t i = 0; i + 8 <= to.size(); i += 8) {
    const std::uint64_t word = random();
    std::memcpy(to.data() + i, &word, sizeof word);
  }
}

inline AlignedBuffer pattern(std::size_t bytes, std::uint64_t seed) {
  AlignedBuffer buffer(bytes);
  fill_pattern(buffer.span(), seed);
  return buffer;
}

struct VolumeFixture {
  explicit VolumeFixture(const MemoryDeviceOptions& device_options = {},
                         const FormatOptions& format_options = {})
      : VolumeFixture(make_memory_device(device_options), format_options) {}
  explicit VolumeFixture(std::unique_ptr<BlockDevice> on, const FormatOptions& format_options = {})
      : device(std::move(on)), issuer(must(Issuer::create())) {
    must(Volume::format(*issuer, *device, format_options));
    open();
  }

  void open(const VolumeOptions& options = {}) {
    volume = must(Volume::open(*issuer, *device, options));
  }
  void close() {
    must(volume->close(*issuer));
    volume.reset();
  }
  // What is not on the device is lost, as by SIGKILL.
  void kill() { volume.reset(); }

  // Makes everything durable, gives up the handle, and opens the volume again after a close or a
  // kill.
  void kill_files(std::unique_ptr<VolumeFile>& file, bool clean = false) {
    must(volume->sync(*issuer));
    file.reset();
    if (clean) {
      close();
    } else {
      kill();
    }
    open();
  }

  std::unique_ptr<VolumeFile> create(const std::string& path) {
    return must(volume->open_file(*issuer, path, {.create = true}));
  }
  std::unique_ptr<VolumeFile> reopen(const std::string& path) {
    return must(volume->open_file(*issuer, path));
  }

  IoResult write(VolumeFile& file, std::uint64_t offset, std::span<const std::byte> from,
                 KiocbFlags flags = KiocbFlags::none) {
    Aiocb aiocb;
    aiocb.prepare_write(file, offset, from, flags);
    const IoResult result = issuer->run(aiocb);
    last_route = aiocb.route;
    last_reason = aiocb.route_reason;
    last_offset = aiocb.ki_pos;
    return result;
  }
  IoResult read(VolumeFile& file, std::uint64_t offset, std::span<std::byte> to) {
    Aiocb aiocb;
    aiocb.prepare_read(file, offset, to);
    const IoResult result = issuer->run(aiocb);
    last_route = aiocb.route;
    last_reason = aiocb.route_reason;
    return result;
  }
  // The file's bytes [offset, offset + length).
  std::vector<std::byte> contents(VolumeFile& file, std::uint64_t offset, std::size_t length) {
    AlignedBuffer buffer(length);
    const IoResult result = read(file, offset, buffer.span());
    EXPECT_TRUE(result.ok()) << describe(result);
    return {buffer.data(), buffer.data() + std::min<std::size_t>(result.bytes(), length)};
  }

  std::unique_ptr<BlockDevice> device;
  std::unique_ptr<Issuer> issuer;
  std::unique_ptr<Volume> volume;
  Route last_route = Route::none;
  RouteReason last_reason = RouteReason::none;
  std::uint64_t last_offset = 0;
};

inline std::vector<std::byte> bytes_of(std::span<const std::byte> span) {
  return {span.begin(), span.end()};
}

}  // namespace handback::testing
