// Goal: a volume takes time and randomness from the environment of its issuer and nowhere else.
#include <handback/environment.h>

#include "volume/volume_test_support.h"

namespace handback::testing {
namespace {

struct FixedEnvironment final : Environment {
  std::uint64_t now_ns = 5;
  [[nodiscard]] std::uint64_t monotonic_ns() noexcept override { return now_ns; }
  [[nodiscard]] std::int64_t realtime_ns() noexcept override { return 1'000; }
  void random_bytes(std::span<std::byte> to) override {
    std::fill(to.begin(), to.end(), std::byte{7});
  }
};

std::vector<std::byte> image_after_use(FixedEnvironment& environment) {
  auto device = make_memory_device({.size_bytes = 4 << 20});
  auto issuer = must(Issuer::create({.environment = &environment}));
  must(Volume::format(*issuer, *device));
  auto volume = must(Volume::open(*issuer, *device));
  must(volume->mkdir("/d"));
  must(volume->close(*issuer));
  auto raw = make_device_file(*device);
  AlignedBuffer image(4 << 20);
  Aiocb read;
  read.prepare_read(*raw, 0, image.span());
  EXPECT_TRUE(issuer->run(read).ok());
  return bytes_of(image.span());
}

TEST(VolumeEnvironment, MakesTheSameBytesTwice) {
  FixedEnvironment environment;
  EXPECT_EQ(image_after_use(environment), image_after_use(environment));
}

TEST(VolumeEnvironment, GivesTheTimesOfChanges) {
  FixedEnvironment environment;
  auto device = make_memory_device({.size_bytes = 4 << 20});
  auto issuer = must(Issuer::create({.environment = &environment}));
  must(Volume::format(*issuer, *device));
  auto volume = must(Volume::open(*issuer, *device));
  must(volume->mkdir("/d"));
  EXPECT_EQ(must(volume->stat("/d")).mtime_ns, 1'000);
  EXPECT_EQ(volume->info().id, "07070707-0707-4707-8707-070707070707");
}

TEST(VolumeEnvironment, SaysWhenTheCommitIntervalHasPassed) {
  FixedEnvironment environment;
  auto device = make_memory_device({.size_bytes = 4 << 20});
  auto issuer = must(Issuer::create({.environment = &environment}));
  must(Volume::format(*issuer, *device));
  auto volume = must(Volume::open(*issuer, *device, {.commit_interval_ms = 10}));
  must(volume->mkdir("/d"));
  for (int i = 0; i < 4; ++i)
    issuer->poll();
  EXPECT_EQ(volume->info().log_used_bytes, 0U);
  environment.now_ns += 10'000'000;
  for (int i = 0; i < 4; ++i)
    issuer->poll();
  EXPECT_EQ(volume->info().log_used_bytes, 4096U);
}

}  // namespace
}  // namespace handback::testing
