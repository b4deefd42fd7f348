// What the tests of every room use: values of Results, bytes, and seeds that can be replayed.
#pragma once

#include <gtest/gtest.h>

#include <handback/error.h>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <ostream>
#include <random>
#include <span>
#include <utility>
#include <vector>

namespace handback {

// For GoogleTest's messages.
inline void PrintTo(const IoResult& result, std::ostream* out) {
  *out << describe(result) << " {" << errc_name(result.code()) << ", detail "
       << static_cast<unsigned>(result.detail()) << ", errno " << result.host_errno() << ", bytes "
       << result.bytes() << '}';
}

}  // namespace handback

namespace handback::testing {

// The value of a Result, or the end of the test program with the error's text.
template <typename T>
T value_of(Result<T>&& result) {
  if (!result) {
    ADD_FAILURE() << errc_name(result.error().code()) << ": " << result.error().message();
    std::abort();
  }
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

inline std::uint64_t number_from_environment(const char* name, std::uint64_t otherwise) {
  const char* const text = std::getenv(name);
  return text != nullptr ? std::strtoull(text, nullptr, 0) : otherwise;
}

// Of a random test that runs several seeds: HB_SEED decides for one, else the first few.
struct Seeds {
  std::uint64_t first;
  std::uint64_t count;
};
inline Seeds seeds_from_environment(std::uint64_t count) {
  return {number_from_environment("HB_SEED", 1), std::getenv("HB_SEED") != nullptr ? 1 : count};
}

// The seed of a random test, printed with what replays it. HB_SEED decides, else chance.
inline std::uint64_t announce_seed() {
  const char* const given = std::getenv("HB_SEED");
  const std::uint64_t seed =
      given != nullptr ? std::strtoull(given, nullptr, 0) : std::uint64_t{std::random_device{}()};
  const auto* const test = ::testing::UnitTest::GetInstance()->current_test_info();
  std::cout << "HB_SEED=" << seed << " (replays " << test->test_suite_name() << '.' << test->name()
            << ")\n";
  return seed;
}

// Bytes that differ everywhere and depend on the seed.
inline void fill_random(std::span<std::byte> to, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  for (std::size_t i = 0; i < to.size(); i += sizeof(std::uint64_t)) {
    const std::uint64_t word = random();
    std::memcpy(to.data() + i, &word, std::min(sizeof word, to.size() - i));
  }
}

inline std::vector<std::byte> random_bytes(std::size_t count, std::uint64_t seed) {
  std::vector<std::byte> bytes(count);
  fill_random(bytes, seed);
  return bytes;
}

}  // namespace handback::testing
