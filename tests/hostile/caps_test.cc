// Goal: what opening and checking take is bounded by the volume's geometry, whatever it claims.
// Method: device reads and allocations are counted, exactly where nothing is damaged, and against
// the bound for the largest number in every field.
#include <gtest/gtest.h>

#include <handback/issuer.h>
#include <handback/volume.h>

#include <string>

#include "hostile/allocations.h"
#include "hostile/base_images.h"
#include "hostile/format_fields.h"
#include "hostile/image_device.h"

namespace hostile::testing {
namespace {

constexpr std::uint64_t log_blocks = 64;  // Of a volume of 4 MiB, as are its areas' 32.
constexpr std::uint64_t area_blocks = 32;
constexpr std::uint64_t metadata_blocks = 3 + log_blocks + 2 * area_blocks + 1;
constexpr std::uint64_t data_blocks = 1024 - metadata_blocks;

class Caps : public ::testing::Test {
 protected:
  struct Took {
    std::uint64_t blocks_read;
    std::size_t bytes;
  };
  template <typename Action>
  Took took(ImageDevice& device, Action action) {
    device.reset_counters();
    reset_allocated_peak();
    const std::size_t before = allocated_bytes();
    action();
    return {device.counters().blocks_read, allocated_bytes_peak() - before};
  }
  Took check(ImageDevice& device) {
    return took(device, [&] { static_cast<void>(handback::check_volume(*issuer_, device)); });
  }
  Took open(ImageDevice& device) {
    return took(device, [&] {
      static_cast<void>(handback::Volume::open(*issuer_, device, {.read_only = true}));
    });
  }
  std::unique_ptr<handback::Issuer> issuer_ = std::move(*handback::Issuer::create());
};

TEST_F(Caps, EachMetadataBlockIsReadOnce) {
  for (const BaseImage& base : base_images()) {
    if (base.name == "unconfirmed" || base.name == "logged" || base.name == "preallocated" ||
        base.name == "torn" || base.name == "overwritten") {
      continue;  // Their logs name data that is looked at.
    }
    SCOPED_TRACE(base.name);
    ImageDevice device(base.bytes);
    std::uint64_t checkpoint_blocks = 0;
    std::uint64_t page_blocks = 0;  // Of checksums.
    for (const Field& field : fields_of(base.bytes)) {
      if (std::string_view(field.structure) == "checkpoint" &&
          std::string_view(field.name) == "magic") {
        ++checkpoint_blocks;
      }
      if (std::string_view(field.name) == "stale_count") page_blocks = 1;
    }
    EXPECT_EQ(open(device).blocks_read, 1 + 2 + checkpoint_blocks + log_blocks + page_blocks);
    EXPECT_EQ(check(device).blocks_read, 2 + 2 + checkpoint_blocks + log_blocks + page_blocks);
    issuer_->detach(device);
  }
}

TEST_F(Caps, TheLargestNumberInAnyFieldReadsAndAllocatesNoMoreThanTheAreasHold) {
  // The log, and a full checkpoint area three times: as blocks, as payload, and in tables.
  constexpr std::size_t bytes_max = (log_blocks + 3 * area_blocks) * block_bytes + (256U << 10);
  constexpr std::uint64_t blocks_max = 2 * metadata_blocks + data_blocks;
  for (const BaseImage& base : base_images()) {
    ImageDevice device(base.bytes);
    for (const Field& field : fields_of(base.bytes)) {
      if (field.bytes == 0) continue;
      for (const std::uint64_t value : {~std::uint64_t{0}, std::uint64_t{1} << 62,
                                        (std::uint64_t{1} << 31) - 1, std::uint64_t{0x7fff}}) {
        const unsigned bytes = std::min<unsigned>(field.bytes, 8);
        put_number(device.change(field.at, bytes), 0, value, bytes);
        device.seal(field.sealed);
        SCOPED_TRACE(base.name + ": " + field.structure + "." + field.name + " = " +
                     std::to_string(value));
        for (const Took& took : {open(device), check(device)}) {
          EXPECT_LE(took.blocks_read, blocks_max);
          EXPECT_LE(took.bytes, bytes_max);
        }
        device.restore();
      }
    }
    issuer_->detach(device);
  }
}

// What is made of a checkpoint in memory: docs/format.md has these figures.
TEST_F(Caps, WhatACheckpointBecomesInMemoryIsProportionalToIt) {
  constexpr std::uint64_t files = 5000;
  ImageDevice device(std::vector<std::byte>(64U << 20));
  ASSERT_TRUE(handback::Volume::format(*issuer_, device));
  {
    auto volume = std::move(*handback::Volume::open(*issuer_, device));
    for (std::uint64_t i = 0; i < files; ++i) {
      auto file = volume->open_file(*issuer_, "/file-" + std::to_string(i), {.create = true});
      ASSERT_TRUE(file) << file.error().message();
      ASSERT_TRUE((*file)->preallocate(0, 4096));
    }
    ASSERT_TRUE(volume->close(*issuer_));
  }
  constexpr std::size_t log_bytes = (64U << 20) / 64;
  constexpr std::size_t payload_bytes = files * (34 + 20 + 10 + 10);
  constexpr std::size_t each = 600;  // An inode with its extent and its entry.
  const Took opened = open(device);
  const Took checked = check(device);
  RecordProperty("open_bytes", static_cast<int>(opened.bytes));
  RecordProperty("check_bytes", static_cast<int>(checked.bytes));
  EXPECT_LE(opened.bytes, log_bytes + 2 * payload_bytes + files * each);
  EXPECT_LE(checked.bytes, log_bytes + 4 * payload_bytes + files * each);
}

}  // namespace
}  // namespace hostile::testing
