// Goal: a file that grows again within a block never shows what lay behind its end before, whatever
// moment the power is cut at: the zeros are durable before the record that makes the file longer.
// Fails with the planted bug tail_zeros_left_in_the_cache.
#include <ostream>

#include "volume/power_cut_device.h"
#include "volume/volume_test_support.h"

namespace handback::testing {
namespace {

constexpr std::uint64_t device_bytes = 4 << 20;
constexpr std::uint64_t kept_bytes = sector;
constexpr std::uint64_t write_offset = 4 * sector;

struct TailCase {
  const char* name;
  bool volatile_cache;
  bool fua;
};
void PrintTo(const TailCase& tail, std::ostream* out) {
  *out << tail.name;
}

class TailPowerCut : public ::testing::TestWithParam<TailCase> {
 protected:
  // Opens what a cut at `moment` leaves, and returns the file's size.
  std::uint64_t size_after(const PowerCutDevice& device, std::uint64_t moment, std::uint64_t seed) {
    SCOPED_TRACE(::testing::Message() << "moment " << moment << ", image seed " << seed);
    std::mt19937_64 random(seed);
    AlignedBuffer image(device_bytes);
    device.image_at(moment, random, image.span());
    VolumeFixture copy = opened_on(image);
    auto file = copy.reopen("/f");
    const std::uint64_t size = file->size();
    const std::vector<std::byte> zeros(write_offset - kept_bytes);
    if (size > kept_bytes) {
      EXPECT_GE(size, write_offset + sector);
      EXPECT_EQ(copy.contents(*file, kept_bytes, zeros.size()), zeros);
    }
    file.reset();
    return size;
  }

 private:
  static VolumeFixture opened_on(AlignedBuffer& image) {
    VolumeFixture copy({.size_bytes = device_bytes, .logical_block_bytes = sector});
    copy.kill();
    auto raw = make_device_file(*copy.device);
    Aiocb fill;
    fill.prepare_write(*raw, 0, image.span());
    EXPECT_TRUE(copy.issuer->run(fill).ok());
    copy.open();
    return copy;
  }
};

TEST_P(TailPowerCut, NeverShowsWhatWasTruncated) {
  auto memory = make_memory_device({.size_bytes = device_bytes, .logical_block_bytes = sector});
  PowerCutDevice device(*memory, GetParam().volatile_cache, GetParam().fua);
  auto issuer = must(Issuer::create());
  must(Volume::format(*issuer, device));
  auto volume = must(Volume::open(*issuer, device));
  auto file = must(volume->open_file(*issuer, "/f", {.create = true}));
  const AlignedBuffer data = pattern(4096, 1);
  Aiocb aiocb;
  aiocb.prepare_write(*file, 0, data.span(), KiocbFlags::dsync);
  ASSERT_TRUE(issuer->run(aiocb).ok());
  must(file->truncate(*issuer, kept_bytes));
  must(volume->sync(*issuer));
  const std::uint64_t first = device.now();
  aiocb.prepare_write(*file, write_offset, data.span().first(sector), KiocbFlags::dsync);
  ASSERT_TRUE(issuer->run(aiocb).ok());
  const std::uint64_t last = device.now();
  for (std::uint64_t moment = first; moment <= last; ++moment) {
    for (std::uint64_t seed = 0; seed < 5; ++seed) {
      const std::uint64_t size = size_after(device, moment, seed);
      if (moment == last) {
        EXPECT_EQ(size, write_offset + sector) << seed;
      }
    }
  }
  file.reset();
  volume.reset();
  issuer->detach(device);
}

INSTANTIATE_TEST_SUITE_P(Devices, TailPowerCut,
                         ::testing::Values(TailCase{"write_through", false, false},
                                           TailCase{"cache_with_fua", true, true},
                                           TailCase{"cache_flush_only", true, false}),
                         [](const auto& device) { return std::string(device.param.name); });

}  // namespace
}  // namespace handback::testing
