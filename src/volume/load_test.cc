// What opening refuses although every checksum fits.
#include "volume/format.h"
#include "volume/meta_block.h"
#include "volume/volume_test_support.h"

namespace handback::testing {
namespace {

// Bytes of the device, changed by edit() and written back.
template <typename Edit>
void edit_device(VolumeFixture& fixture, Edit edit) {
  AlignedBuffer all(fixture.device->geometry().size_bytes);
  auto raw = make_device_file(*fixture.device);
  Aiocb aiocb;
  aiocb.prepare_read(*raw, 0, all.span());
  ASSERT_TRUE(fixture.issuer->run(aiocb).ok());
  edit(all.span());
  aiocb.prepare_write(*raw, 0, all.span());
  ASSERT_TRUE(fixture.issuer->run(aiocb).ok());
}

TEST(VolumeLoad, RefusesExtentsThatShareABlockOrLieOutsideTheDataArea) {
  for (const std::uint64_t wrong : {std::uint64_t{0}, std::uint64_t{5}, std::uint64_t{1} << 40}) {
    SCOPED_TRACE(wrong);
    VolumeFixture fixture(MemoryDeviceOptions{.size_bytes = 4 << 20});
    std::array<std::uint64_t, 2> blocks{};
    for (std::size_t i = 0; i < blocks.size(); ++i) {
      auto file = fixture.create("/" + std::to_string(i));
      must(file->preallocate(0, 4 * fs_block));
      blocks[i] = file->extents().at(0).addr / fs_block;
    }
    fixture.close();
    constexpr std::uint64_t unwritten = snapshot_unwritten_bit;
    const std::uint64_t from = blocks[1] | unwritten;
    // The second file's extent: into the first one's, or elsewhere.
    const std::uint64_t to = (wrong == 0 ? blocks[0] + 1 : wrong) | unwritten;
    const Layout layout = layout_for(1024);
    unsigned edited = 0;
    edit_device(fixture, [&](std::span<std::byte> bytes) {
      for (const std::uint64_t slot : layout.slot_start) {
        const auto block = bytes.subspan(slot * fs_block, fs_block);
        MetaHeader header;
        if (meta_open(block, MetaType::checkpoint, slot, nullptr, &header) != MetaFault::none)
          continue;
        for (std::size_t at = meta_header_bytes; at + sizeof from <= fs_block; ++at) {
          if (std::memcmp(block.data() + at, &from, sizeof from) != 0) continue;
          std::memcpy(block.data() + at, &to, sizeof to);
          ++edited;
          break;
        }
        meta_seal(block, header);
      }
    });
    ASSERT_EQ(edited, 1U);
    EXPECT_TRUE(is_error(Volume::open(*fixture.issuer, *fixture.device), Errc::damaged));
    const CheckReport report = must(check_volume(*fixture.issuer, *fixture.device));
    ASSERT_EQ(report.findings.size(), 1U);
    EXPECT_EQ(report.findings[0].structure, "extent");
  }
}

}  // namespace
}  // namespace handback::testing
